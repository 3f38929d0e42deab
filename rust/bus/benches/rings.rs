//! The ring beside the fastest queues there are, each in its own shape: one producer and one consumer, two and one, two
//! and two, value by value and in batches of 64. Prints a table: `cargo bench -p chronofabric-bus --bench rings`.
//!
//! A round runs everybody once, one after the other, beginning with another one each time, and compares within the round,
//! because a machine's speed drifts; a figure is a median over all rounds. After three rounds those go that are far from
//! the fastest. Threads are placed alike for everybody: producers on the processors from the first on, consumers from the
//! last on.
//!
//! Everybody waits in the same two ways when the queue is full or empty: by 16 looks with a spin hint between them and then
//! a yield for each, or, marked "yielding", by a yield for each look from the first on. Who has blocking calls of its own is
//! there with those as well, marked "own waiting"; who has several ways to hand over values is there with each of them. The
//! fastest of each party counts. Every value that is received enters a sum that is checked.
//!
//! Words choose cases whose name has all of them: `-- "1-1" "8 B"`. `--rounds N` and `--values N` say how much is run;
//! `--all` prints everybody's figures, `--party WORD` runs only those whose name has the word, to look at with a profiler. Without `--bench`, as a test runs it, it moves few values once and checks them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use chronofabric_bus::{Consumer, Many, Producer, Ring, Side, Sole};
use crossbeam_queue::ArrayQueue;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

const BATCH: usize = 64;
/// The number that tells a consumer to stop.
const STOP: u64 = u64::MAX >> 1;

/// A value that carries a number.
trait Value: Copy + Default + Send + Sync + 'static {
    fn new(number: u64) -> Self;
    fn number(self) -> u64;
}

impl Value for u64 {
    fn new(number: u64) -> Self {
        number
    }
    fn number(self) -> u64 {
        self
    }
}

/// Sixteen bytes, as an event's reference and its flags.
#[derive(Clone, Copy, Default)]
struct Pair(u64, u32);

impl Value for Pair {
    fn new(number: u64) -> Self {
        Self(number, number as u32)
    }
    fn number(self) -> u64 {
        assert_eq!(self.0 as u32, self.1, "half of another value");
        self.0
    }
}

trait Send1<T: Value>: Send {
    /// Tries to send the numbers `first` and up, at most `count`, and says how many it sent.
    fn offer(&mut self, first: u64, count: u64) -> u64;
}

trait Receive<T: Value>: Send {
    /// Hands what it finds to `receive` and says whether it found anything.
    fn take(&mut self, receive: impl FnMut(u64)) -> bool;
}

/// The queue's batches, where the bare handle stands for single values.
struct Batch<H>(H);

/// The queue's own way to wait, where the bare handle stands for a look.
struct Waiting<H>(H);

/// All that is there, by one call that also ends it.
struct Everything<H>(H);

macro_rules! sends {
    ([$($generics:tt)*] $handle:ty, |$self:ident, $first:ident, $count:ident| $offer:expr) => {
        impl<T: Value, $($generics)*> Send1<T> for $handle {
            #[inline(always)]
            fn offer(&mut self, $first: u64, $count: u64) -> u64 {
                let ($self, _) = (self, $count);
                $offer
            }
        }
    };
}

macro_rules! receives {
    ([$($generics:tt)*] $handle:ty, |$self:ident| $value:expr) => {
        impl<T: Value, $($generics)*> Receive<T> for $handle {
            #[inline(always)]
            fn take(&mut self, mut receive: impl FnMut(u64)) -> bool {
                let $self = self;
                let value: Option<T> = $value;
                value.map(|value| receive(value.number())).is_some()
            }
        }
    };
}

sends!([P: Side + Sync, C: Side + Sync] Producer<T, P, C>, |own, first, count| own.push(T::new(first)).is_ok().into());
receives!([P: Side + Sync, C: Side + Sync] Consumer<T, P, C>, |own| own.pop().map(|(_, value)| value));
sends!([P: Side + Sync, C: Side + Sync] Batch<Producer<T, P, C>>, |own, first, count| {
    own.0.push_many(BATCH.min(count as usize), |index| T::new(first + index as u64)) as u64
});

impl<T: Value, P: Side, C: Side> Receive<T> for Batch<Consumer<T, P, C>> {
    fn take(&mut self, mut receive: impl FnMut(u64)) -> bool {
        self.0.pop_many(BATCH, |_, value| receive(value.number())) > 0
    }
}

sends!([] Arc<Ring<T>>, |own, first, count| own.push(T::new(first)).is_ok().into());
receives!([] Arc<Ring<T>>, |own| Ring::pop(own).map(|(_, value)| value));

sends!([] rtrb::Producer<T>, |own, first, count| own.push(T::new(first)).is_ok().into());
receives!([] rtrb::Consumer<T>, |own| own.pop().ok());
sends!([] Batch<rtrb::Producer<T>>, |own, first, count| {
    match own.0.write_chunk_uninit(BATCH.min(count as usize)) {
        Ok(chunk) => chunk.fill_from_iter((first..).map(T::new)) as u64,
        Err(_) => 0,
    }
});

impl<T: Value> Receive<T> for Everything<rtrb::Consumer<T>> {
    fn take(&mut self, mut receive: impl FnMut(u64)) -> bool {
        let ready = self.0.slots();
        self.0.read_chunk(ready).unwrap().into_iter().for_each(|value| receive(value.number()));
        ready > 0
    }
}

impl<T: Value, P: Side, C: Side> Receive<T> for Everything<Consumer<T, P, C>> {
    fn take(&mut self, mut receive: impl FnMut(u64)) -> bool {
        self.0.pop_many(usize::MAX, |_, value| receive(value.number())) > 0
    }
}

impl<T: Value> Receive<T> for Batch<rtrb::Consumer<T>> {
    fn take(&mut self, mut receive: impl FnMut(u64)) -> bool {
        let ready = self.0.slots().min(BATCH);
        let chunk = self.0.read_chunk(ready).unwrap();
        chunk.into_iter().for_each(|value| receive(value.number()));
        ready > 0
    }
}

sends!([] Arc<ArrayQueue<T>>, |own, first, count| ArrayQueue::push(own, T::new(first)).is_ok().into());
receives!([] Arc<ArrayQueue<T>>, |own| ArrayQueue::pop(own));
sends!([] crossbeam_channel::Sender<T>, |own, first, count| own.try_send(T::new(first)).is_ok().into());
receives!([] crossbeam_channel::Receiver<T>, |own| own.try_recv().ok());
sends!([] Waiting<crossbeam_channel::Sender<T>>, |own, first, count| own.0.send(T::new(first)).map(|()| 1).unwrap());
receives!([] Waiting<crossbeam_channel::Receiver<T>>, |own| own.0.recv().ok());
sends!([] kanal::Sender<T>, |own, first, count| own.try_send(T::new(first)).unwrap().into());
receives!([] kanal::Receiver<T>, |own| own.try_recv().unwrap());
sends!([] Waiting<kanal::Sender<T>>, |own, first, count| own.0.send(T::new(first)).map(|()| 1).unwrap());
receives!([] Waiting<kanal::Receiver<T>>, |own| own.0.recv().ok());

macro_rules! crossfires {
    ($sender:ty, $receiver:ty) => {
        sends!([] $sender, |own, first, count| own.try_send(T::new(first)).is_ok().into());
        receives!([] $receiver, |own| own.try_recv().ok());
        sends!([] Waiting<$sender>, |own, first, count| own.0.send(T::new(first)).map(|()| 1).unwrap());
        receives!([] Waiting<$receiver>, |own| own.0.recv().ok());
    };
}
crossfires!(crossfire::Tx<crossfire::spsc::Array<T>>, crossfire::Rx<crossfire::spsc::Array<T>>);
crossfires!(crossfire::MTx<crossfire::mpsc::Array<T>>, crossfire::Rx<crossfire::mpsc::Array<T>>);
crossfires!(crossfire::MTx<crossfire::mpmc::Array<T>>, crossfire::MRx<crossfire::mpmc::Array<T>>);

/// disruptor's producers, of which a batch has to fit whole, and its poller, which takes all that is there.
struct Publisher<P>(P);

impl<T: Value, P: disruptor::Producer<T> + Send> Send1<T> for Publisher<P> {
    #[inline(always)]
    fn offer(&mut self, first: u64, _count: u64) -> u64 {
        self.0.try_publish(|event| *event = T::new(first)).is_ok().into()
    }
}

impl<T: Value, P: disruptor::Producer<T> + Send> Send1<T> for Waiting<Publisher<P>> {
    #[inline(always)]
    fn offer(&mut self, first: u64, _count: u64) -> u64 {
        self.0.0.publish(|event| *event = T::new(first));
        1
    }
}

impl<T: Value, P: disruptor::Producer<T> + Send> Send1<T> for Batch<Waiting<Publisher<P>>> {
    #[inline(always)]
    fn offer(&mut self, first: u64, count: u64) -> u64 {
        let count = BATCH.min(count as usize);
        self.0
            .0
            .0
            .batch_publish(count, |events| (first..).zip(events).for_each(|(number, event)| *event = T::new(number)));
        count as u64
    }
}

impl<T: Value, P: disruptor::Producer<T> + Send> Send1<T> for Batch<Publisher<P>> {
    #[inline(always)]
    fn offer(&mut self, first: u64, count: u64) -> u64 {
        let count = BATCH.min(count as usize);
        self.0
            .0
            .try_batch_publish(count, |events| {
                (first..).zip(events).for_each(|(number, event)| *event = T::new(number))
            })
            .map_or(0, |_| count as u64)
    }
}

macro_rules! polls {
    ($barrier:ty) => {
        impl<T: Value> Receive<T> for disruptor::EventPoller<T, $barrier> {
            #[inline(always)]
            fn take(&mut self, mut receive: impl FnMut(u64)) -> bool {
                let Ok(mut events) = self.poll() else { return false };
                (&mut events).for_each(|event| receive(event.number()));
                true
            }
        }
    };
}
polls!(disruptor::SingleProducerBarrier);
polls!(disruptor::MultiProducerBarrier);

/// Waits as everybody does here, until `done`.
#[inline(always)]
fn wait_until(spins: u32, mut done: impl FnMut() -> bool) {
    let mut looks = 0_u32;
    while !done() {
        looks += 1;
        if looks < spins {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

/// Keeps this thread to one processor, where the system can.
fn stay_on(processor: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: the set is this function's own, and zero is the calling thread.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
    let _ = processor;
}

/// Moves `values` from the producers to the consumers, each in a thread of its own: how long from the first that began
/// to the last that ended.
fn transfer<T: Value>(
    values: u64,
    spins: u32,
    producers: Vec<impl Send1<T>>,
    consumers: Vec<impl Receive<T>>,
) -> Duration {
    let processors = std::thread::available_parallelism().unwrap().get();
    let each = values / producers.len() as u64;
    let (left, stops) = (AtomicUsize::new(producers.len()), consumers.len());
    let expected = producers.len() as u64 * (each * (each + 1) / 2);
    let barrier = Barrier::new(producers.len() + consumers.len());
    let sum = AtomicU64::new(0);
    let times = Mutex::new(Vec::new());
    let timed = |processor: usize, work: &mut dyn FnMut()| {
        stay_on(processor);
        barrier.wait();
        let begin = Instant::now();
        work();
        let end = Instant::now();
        times.lock().unwrap().push((begin, end));
    };
    std::thread::scope(|scope| {
        let (timed, left, sum) = (&timed, &left, &sum);
        for (index, mut producer) in producers.into_iter().enumerate() {
            scope.spawn(move || {
                timed(index % processors, &mut || {
                    let mut next = 1;
                    while next <= each {
                        wait_until(spins, || {
                            let sent = producer.offer(next, each + 1 - next);
                            next += sent;
                            sent > 0
                        });
                    }
                    if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                        (0..stops).for_each(|_| wait_until(spins, || producer.offer(STOP, 1) > 0));
                    }
                });
            });
        }
        for (index, mut consumer) in consumers.into_iter().enumerate() {
            scope.spawn(move || {
                timed(processors - 1 - index % processors, &mut || {
                    let (mut own, mut stopped) = (0, false);
                    while !stopped {
                        wait_until(spins, || {
                            consumer.take(|number| match number {
                                STOP => stopped = true,
                                number => own += number,
                            })
                        });
                    }
                    sum.fetch_add(own, Ordering::Relaxed);
                });
            });
        }
    });
    assert_eq!(sum.into_inner(), expected, "something was lost or doubled");
    let times = times.into_inner().unwrap();
    times.iter().map(|time| time.1).max().unwrap() - times.iter().map(|time| time.0).min().unwrap()
}

/// Somebody's way to move so many values.
struct Party {
    name: &'static str,
    /// Whether it waits as everybody does, and not in its own way.
    waits: bool,
    run: Box<dyn Fn(u64, u32) -> Duration>,
}

/// A party and for how many looks it spins before it yields.
struct Way<'a> {
    party: &'a Party,
    name: String,
    spins: u32,
}

fn ways(parties: &[Party]) -> Vec<Way<'_>> {
    let spinning = parties.iter().map(|party| Way { party, name: party.name.into(), spins: 16 });
    let waiting = parties.iter().filter(|party| party.waits);
    let yielding = waiting.map(|party| Way { party, name: format!("{}, yielding", party.name), spins: 0 });
    spinning.chain(yielding).collect()
}

/// What the names of our own ways begin with.
const OURS: &str = "chronofabric";

macro_rules! parties {
    ($($name:literal: $producers:expr => $consumers:expr, $make:pat = $made:expr;)*) => {
        vec![$(Party { name: $name, waits: !$name.contains("own waiting"), run: Box::new(move |values, spins| {
            let $make = $made;
            transfer::<T>(values, spins, $producers.into(), $consumers.into())
        }) }),*]
    };
}

fn single_disruptor<T: Value>(
    capacity: usize,
) -> (impl disruptor::Producer<T> + Send, disruptor::EventPoller<T, disruptor::SingleProducerBarrier>) {
    let builder = disruptor::build_single_producer(capacity, T::default, disruptor::BusySpin);
    let (poller, builder) = builder.new_event_poller();
    (builder.build(), poller)
}

fn multi_disruptor<T: Value>(
    capacity: usize,
) -> (impl disruptor::Producer<T> + Send + Clone, disruptor::EventPoller<T, disruptor::MultiProducerBarrier>) {
    let builder = disruptor::build_multi_producer(capacity, T::default, disruptor::BusySpin);
    let (poller, builder) = builder.new_event_poller();
    (builder.build(), poller)
}

fn one_to_one<T: Value>(capacity: usize) -> Vec<Party> {
    parties! {
        "chronofabric": [p] => [c], (p, c) = Ring::<T, Sole, Sole>::split(capacity);
        "chronofabric, taking all": [p] => [Everything(c)], (p, c) = Ring::<T, Sole, Sole>::split(capacity);
        "disruptor": [Publisher(p)] => [c], (p, c) = single_disruptor::<T>(capacity);
        "disruptor, own waiting": [Waiting(Publisher(p))] => [c], (p, c) = single_disruptor::<T>(capacity);
        "rtrb": [p] => [c], (p, c) = rtrb::RingBuffer::<T>::new(capacity);
        "rtrb, taking all": [p] => [Everything(c)], (p, c) = rtrb::RingBuffer::<T>::new(capacity);
        "crossfire": [p] => [c], (p, c) = crossfire::spsc::bounded_blocking::<T>(capacity);
        "crossfire, own waiting": [Waiting(p)] => [Waiting(c)], (p, c) = crossfire::spsc::bounded_blocking::<T>(capacity);
        "kanal": [p] => [c], (p, c) = kanal::bounded::<T>(capacity);
        "kanal, own waiting": [Waiting(p)] => [Waiting(c)], (p, c) = kanal::bounded::<T>(capacity);
        "crossbeam ArrayQueue": [Arc::clone(&q)] => [q], q = Arc::new(ArrayQueue::<T>::new(capacity));
        "crossbeam channel": [p] => [c], (p, c) = crossbeam_channel::bounded::<T>(capacity);
        "crossbeam channel, own waiting": [Waiting(p)] => [Waiting(c)], (p, c) = crossbeam_channel::bounded::<T>(capacity);
    }
}

fn one_to_one_in_batches<T: Value>(capacity: usize) -> Vec<Party> {
    parties! {
        "chronofabric": [Batch(p)] => [Batch(c)], (p, c) = Ring::<T, Sole, Sole>::split(capacity);
        "chronofabric, taking all": [Batch(p)] => [Everything(c)], (p, c) = Ring::<T, Sole, Sole>::split(capacity);
        "disruptor": [Batch(Publisher(p))] => [c], (p, c) = single_disruptor::<T>(capacity);
        "disruptor, own waiting": [Batch(Waiting(Publisher(p)))] => [c], (p, c) = single_disruptor::<T>(capacity);
        "rtrb": [Batch(p)] => [Batch(c)], (p, c) = rtrb::RingBuffer::<T>::new(capacity);
        "rtrb, taking all": [Batch(p)] => [Everything(c)], (p, c) = rtrb::RingBuffer::<T>::new(capacity);
    }
}

fn two_to_one<T: Value>(capacity: usize) -> Vec<Party> {
    parties! {
        "chronofabric": [p.clone(), p] => [c], (p, c) = Ring::<T, Many, Sole>::split(capacity);
        "chronofabric, taking all": [p.clone(), p] => [Everything(c)], (p, c) = Ring::<T, Many, Sole>::split(capacity);
        "disruptor": [Publisher(p.clone()), Publisher(p)] => [c], (p, c) = multi_disruptor::<T>(capacity);
        "crossfire": [p.clone(), p] => [c], (p, c) = crossfire::mpsc::bounded_blocking::<T>(capacity);
        "crossfire, own waiting": [Waiting(p.clone()), Waiting(p)] => [Waiting(c)],
            (p, c) = crossfire::mpsc::bounded_blocking::<T>(capacity);
        "kanal": [p.clone(), p] => [c], (p, c) = kanal::bounded::<T>(capacity);
        "kanal, own waiting": [Waiting(p.clone()), Waiting(p)] => [Waiting(c)], (p, c) = kanal::bounded::<T>(capacity);
        "crossbeam ArrayQueue": [Arc::clone(&q), Arc::clone(&q)] => [q], q = Arc::new(ArrayQueue::<T>::new(capacity));
        "crossbeam channel": [p.clone(), p] => [c], (p, c) = crossbeam_channel::bounded::<T>(capacity);
        "crossbeam channel, own waiting": [Waiting(p.clone()), Waiting(p)] => [Waiting(c)],
            (p, c) = crossbeam_channel::bounded::<T>(capacity);
    }
}

fn two_to_one_in_batches<T: Value>(capacity: usize) -> Vec<Party> {
    parties! {
        "chronofabric": [Batch(p.clone()), Batch(p)] => [Batch(c)], (p, c) = Ring::<T, Many, Sole>::split(capacity);
        "chronofabric, taking all": [Batch(p.clone()), Batch(p)] => [Everything(c)],
            (p, c) = Ring::<T, Many, Sole>::split(capacity);
        "disruptor": [Batch(Publisher(p.clone())), Batch(Publisher(p))] => [c], (p, c) = multi_disruptor::<T>(capacity);
    }
}

fn two_to_two<T: Value>(capacity: usize) -> Vec<Party> {
    parties! {
        "chronofabric": [Arc::clone(&q), Arc::clone(&q)] => [Arc::clone(&q), q], q = Arc::new(Ring::<T>::new(capacity));
        "crossfire": [p.clone(), p] => [c.clone(), c], (p, c) = crossfire::mpmc::bounded_blocking::<T>(capacity);
        "crossfire, own waiting": [Waiting(p.clone()), Waiting(p)] => [Waiting(c.clone()), Waiting(c)],
            (p, c) = crossfire::mpmc::bounded_blocking::<T>(capacity);
        "kanal": [p.clone(), p] => [c.clone(), c], (p, c) = kanal::bounded::<T>(capacity);
        "kanal, own waiting": [Waiting(p.clone()), Waiting(p)] => [Waiting(c.clone()), Waiting(c)],
            (p, c) = kanal::bounded::<T>(capacity);
        "crossbeam ArrayQueue": [Arc::clone(&q), Arc::clone(&q)] => [Arc::clone(&q), q],
            q = Arc::new(ArrayQueue::<T>::new(capacity));
        "crossbeam channel": [p.clone(), p] => [c.clone(), c], (p, c) = crossbeam_channel::bounded::<T>(capacity);
        "crossbeam channel, own waiting": [Waiting(p.clone()), Waiting(p)] => [Waiting(c.clone()), Waiting(c)],
            (p, c) = crossbeam_channel::bounded::<T>(capacity);
    }
}

/// A shape by its name: for a capacity, whoever has that shape.
type Shape = (&'static str, fn(usize) -> Vec<Party>);

/// A case by its name, with whoever has that shape.
type Case = (String, Vec<Party>);

fn cases<T: Value>() -> Vec<Case> {
    let shapes: [Shape; 5] = [
        ("1-1", one_to_one::<T>),
        ("1-1 in batches", one_to_one_in_batches::<T>),
        ("2-1", two_to_one::<T>),
        ("2-1 in batches", two_to_one_in_batches::<T>),
        ("2-2", two_to_two::<T>),
    ];
    let name = |shape, capacity| format!("{shape}, {} B, capacity {capacity}", size_of::<T>());
    shapes
        .into_iter()
        .flat_map(|(shape, parties)| [1024, 65_536].map(|capacity| (name(shape, capacity), parties(capacity))))
        .collect()
}

/// One thread that pushes and pops 64 values again and again.
fn one_thread() -> Case {
    fn party(name: &'static str, bursts: impl Fn(u64) -> u64 + 'static) -> Party {
        let run = move |values, _spins| {
            let begin = Instant::now();
            assert_eq!(bursts(values / 64), values / 64 * 64);
            begin.elapsed()
        };
        Party { name, waits: false, run: Box::new(run) }
    }
    let value = || std::hint::black_box(Pair::new(1));
    // SAFETY: one thread.
    let exclusive = unsafe { chronofabric_bus::Exclusive::new() };
    let rings = [Ring::<Pair>::new(1024), Ring::new(1024)];
    let [ring, other] = rings;
    let peer = ArrayQueue::new(1024);
    let parties = vec![
        party("chronofabric, exclusive", move |bursts| {
            let burst = |_| {
                (0..64).for_each(|_| assert!(ring.push_with(exclusive, value()).is_ok()));
                (0..64).filter_map(|_| ring.pop_with(exclusive)).map(|(_, value)| value.number()).sum::<u64>()
            };
            (0..bursts).map(burst).sum()
        }),
        party("chronofabric", move |bursts| {
            let burst = |_| {
                (0..64).for_each(|_| assert!(other.push(value()).is_ok()));
                (0..64).filter_map(|_| other.pop()).map(|(_, value)| value.number()).sum::<u64>()
            };
            (0..bursts).map(burst).sum()
        }),
        party("crossbeam ArrayQueue", move |bursts| {
            let burst = |_| {
                (0..64).for_each(|_| assert!(peer.push(value()).is_ok()));
                (0..64).filter_map(|_| peer.pop()).map(Value::number).sum::<u64>()
            };
            (0..bursts).map(burst).sum()
        }),
    ];
    ("one thread, 16 B, bursts of 64".into(), parties)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs everybody once a round and gives each one's nanoseconds for a value, round by round; nothing for those that were
/// left out.
fn rounds(parties: &[Way<'_>], rounds: usize, values: u64) -> Vec<Vec<f64>> {
    const LOOK_AFTER: usize = 3;
    const FAR: f64 = 1.6;
    let mut times = vec![Vec::new(); parties.len()];
    let mut present: Vec<_> = (0..parties.len()).collect();
    for round in 0..rounds {
        if round == LOOK_AFTER {
            let medians = times.iter().map(|times: &Vec<f64>| median(times.iter().copied())).collect::<Vec<_>>();
            let of_peers = present.iter().filter(|index| !parties[**index].name.starts_with(OURS));
            let best = of_peers.map(|index| medians[*index]).fold(f64::INFINITY, f64::min);
            present.retain(|index| parties[*index].name.starts_with(OURS) || medians[*index] < best * FAR);
        }
        let begin = round % present.len();
        for index in present[begin..].iter().chain(&present[..begin]) {
            times[*index]
                .push((parties[*index].party.run)(values, parties[*index].spins).as_secs_f64() * 1e9 / values as f64);
        }
    }
    times
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut measured, mut all, mut count, mut values, mut words) = (false, false, 11, 2_000_000, Vec::new());
    let mut only = None;
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).expect("a number after the option");
        match argument.as_str() {
            "--bench" => measured = true,
            "--all" => all = true,
            "--quick" => count = 3,
            "--rounds" => count = number() as usize,
            "--values" => values = number(),
            "--party" => only = arguments.next(),
            _ => words.push(argument),
        }
    }
    if !measured {
        (count, values) = (1, 10_000);
    } else if cfg!(debug_assertions) {
        eprintln!("figures of a debug build would be false: run `cargo bench`");
        std::process::exit(2);
    }
    println!(
        "| case | ours, ns | best peer, ns | ratio | least | most | our way | peer |\n|---|---:|---:|---:|---:|---:|---|---|"
    );
    for (name, parties) in std::iter::once(one_thread()).chain(cases::<u64>()).chain(cases::<Pair>()) {
        if !words.iter().all(|word| name.contains(word.as_str())) {
            continue;
        }
        let parties = ways(&parties);
        if let Some(only) = &only {
            for party in parties.iter().filter(|party| party.name.contains(only.as_str())) {
                let time = median(
                    (0..count).map(|_| (party.party.run)(values, party.spins).as_secs_f64() * 1e9 / values as f64),
                );
                println!("{time:8.2}  {name}, {}", party.name);
            }
            continue;
        }
        let times = rounds(&parties, count, values);
        let complete = |index: &usize| times[*index].len() == count;
        let fastest = |own: bool| {
            let chosen =
                (0..parties.len()).filter(|index| parties[*index].name.starts_with(OURS) == own).filter(complete);
            chosen.min_by(|a, b| f64::total_cmp(&median(times[*a].iter().copied()), &median(times[*b].iter().copied())))
        };
        let (ours, peer) = (fastest(true).expect("we run"), fastest(false).expect("a peer runs"));
        let ratios: Vec<_> = times[ours].iter().zip(&times[peer]).map(|(ours, peer)| peer / ours).collect();
        let time = |index: usize| median(times[index].iter().copied());
        println!(
            "| {name} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} |",
            time(ours),
            time(peer),
            median(ratios.iter().copied()),
            ratios.iter().copied().fold(f64::INFINITY, f64::min),
            ratios.iter().copied().fold(0.0, f64::max),
            parties[ours].name,
            parties[peer].name,
        );
        if all {
            let mut order: Vec<_> = (0..parties.len()).collect();
            order.sort_by(|a, b| f64::total_cmp(&time(*a), &time(*b)));
            order.iter().for_each(|index| println!("    {:8.2}  {}", time(*index), parties[*index].name));
        }
    }
}
