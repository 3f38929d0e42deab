//! The ring beside the fastest queues there are, each in its own shape: one producer and one consumer, two and one, two
//! and two, value by value and in batches of 64.
//!
//! Everybody waits in the same way when the queue is full or empty: 16 looks with a spin hint between them, then a yield
//! for each. crossfire and kanal use their own blocking calls, which are faster than their trying ones between threads
//! that outnumber the cores. Every value that is received enters a sum that is checked.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use chronofabric_bus::{Consumer, Many, Producer, Ring, Side, Sole};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

/// How many values a measured run moves.
pub const VALUES: u64 = 200_000;
const BATCH: usize = 64;
/// The number that tells a consumer to stop.
const STOP: u64 = u64::MAX >> 1;

/// A value that carries a number.
pub trait Value: Copy + Default + Send + Sync + 'static {
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
pub struct Pair(u64, u32);

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
sends!([] kanal::Sender<T>, |own, first, count| own.send(T::new(first)).map(|()| 1).unwrap());
receives!([] kanal::Receiver<T>, |own| own.recv().ok());
sends!([] crossfire::Tx<crossfire::spsc::Array<T>>, |own, first, count| own.send(T::new(first)).map(|()| 1).unwrap());
receives!([] crossfire::Rx<crossfire::spsc::Array<T>>, |own| own.recv().ok());
sends!([] crossfire::MTx<crossfire::mpsc::Array<T>>, |own, first, count| own.send(T::new(first)).map(|()| 1).unwrap());
receives!([] crossfire::Rx<crossfire::mpsc::Array<T>>, |own| own.recv().ok());
sends!([] crossfire::MTx<crossfire::mpmc::Array<T>>, |own, first, count| own.send(T::new(first)).map(|()| 1).unwrap());
receives!([] crossfire::MRx<crossfire::mpmc::Array<T>>, |own| own.recv().ok());

/// disruptor's producers, of which a batch has to fit whole, and its poller, which takes all that is there.
struct Publisher<P>(P);

impl<T: Value, P: disruptor::Producer<T> + Send> Send1<T> for Publisher<P> {
    #[inline(always)]
    fn offer(&mut self, first: u64, _count: u64) -> u64 {
        self.0.try_publish(|event| *event = T::new(first)).is_ok().into()
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
fn wait_until(mut done: impl FnMut() -> bool) {
    let mut looks = 0_u32;
    while !done() {
        looks += 1;
        if looks < 16 {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

/// Moves all values from the producers to the consumers, each in a thread of its own: how long from the first that began
/// to the last that ended.
fn transfer<T: Value>(producers: Vec<impl Send1<T>>, consumers: Vec<impl Receive<T>>) -> Duration {
    let each = VALUES / producers.len() as u64;
    let (left, stops) = (AtomicUsize::new(producers.len()), consumers.len());
    let expected = producers.len() as u64 * (each * (each + 1) / 2);
    let barrier = Barrier::new(producers.len() + consumers.len());
    let sum = AtomicU64::new(0);
    let times = Mutex::new(Vec::new());
    let timed = |work: &mut dyn FnMut()| {
        barrier.wait();
        let begin = Instant::now();
        work();
        let end = Instant::now();
        times.lock().unwrap().push((begin, end));
    };
    std::thread::scope(|scope| {
        let (timed, left, sum) = (&timed, &left, &sum);
        for mut producer in producers {
            scope.spawn(move || {
                timed(&mut || {
                    let mut next = 1;
                    while next <= each {
                        wait_until(|| {
                            let sent = producer.offer(next, each + 1 - next);
                            next += sent;
                            sent > 0
                        });
                    }
                    if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                        (0..stops).for_each(|_| wait_until(|| producer.offer(STOP, 1) > 0));
                    }
                });
            });
        }
        for mut consumer in consumers {
            scope.spawn(move || {
                timed(&mut || {
                    let (mut own, mut stopped) = (0, false);
                    while !stopped {
                        wait_until(|| {
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

/// A way to move the values.
pub type Run = (&'static str, Box<dyn Fn() -> Duration>);

macro_rules! runs {
    ($($name:literal: $producers:expr => $consumers:expr, $make:pat = $made:expr;)*) => {
        vec![$(($name, Box::new(move || {
            let $make = $made;
            transfer::<T>($producers.into(), $consumers.into())
        }) as Box<dyn Fn() -> Duration>)),*]
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

pub fn one_to_one<T: Value>(capacity: usize) -> Vec<Run> {
    runs! {
        "chronofabric": [p] => [c], (p, c) = Ring::<T, Sole, Sole>::split(capacity);
        "disruptor": [Publisher(p)] => [c], (p, c) = single_disruptor::<T>(capacity);
        "rtrb": [p] => [c], (p, c) = rtrb::RingBuffer::<T>::new(capacity);
        "crossfire": [p] => [c], (p, c) = crossfire::spsc::bounded_blocking::<T>(capacity);
        "kanal": [p] => [c], (p, c) = kanal::bounded::<T>(capacity);
        "crossbeam ArrayQueue": [Arc::clone(&q)] => [q], q = Arc::new(ArrayQueue::<T>::new(capacity));
        "crossbeam channel": [p] => [c], (p, c) = crossbeam_channel::bounded::<T>(capacity);
    }
}

pub fn one_to_one_in_batches<T: Value>(capacity: usize) -> Vec<Run> {
    runs! {
        "chronofabric": [Batch(p)] => [Batch(c)], (p, c) = Ring::<T, Sole, Sole>::split(capacity);
        "disruptor": [Batch(Publisher(p))] => [c], (p, c) = single_disruptor::<T>(capacity);
        "rtrb": [Batch(p)] => [Batch(c)], (p, c) = rtrb::RingBuffer::<T>::new(capacity);
    }
}

pub fn two_to_one<T: Value>(capacity: usize) -> Vec<Run> {
    runs! {
        "chronofabric": [p.clone(), p] => [c], (p, c) = Ring::<T, Many, Sole>::split(capacity);
        "disruptor": [Publisher(p.clone()), Publisher(p)] => [c], (p, c) = multi_disruptor::<T>(capacity);
        "crossfire": [p.clone(), p] => [c], (p, c) = crossfire::mpsc::bounded_blocking::<T>(capacity);
        "kanal": [p.clone(), p] => [c], (p, c) = kanal::bounded::<T>(capacity);
        "crossbeam ArrayQueue": [Arc::clone(&q), Arc::clone(&q)] => [q], q = Arc::new(ArrayQueue::<T>::new(capacity));
        "crossbeam channel": [p.clone(), p] => [c], (p, c) = crossbeam_channel::bounded::<T>(capacity);
    }
}

pub fn two_to_one_in_batches<T: Value>(capacity: usize) -> Vec<Run> {
    runs! {
        "chronofabric": [Batch(p.clone()), Batch(p)] => [Batch(c)], (p, c) = Ring::<T, Many, Sole>::split(capacity);
        "disruptor": [Batch(Publisher(p.clone())), Batch(Publisher(p))] => [c], (p, c) = multi_disruptor::<T>(capacity);
    }
}

pub fn two_to_two<T: Value>(capacity: usize) -> Vec<Run> {
    runs! {
        "chronofabric": [Arc::clone(&q), Arc::clone(&q)] => [Arc::clone(&q), q], q = Arc::new(Ring::<T>::new(capacity));
        "crossfire": [p.clone(), p] => [c.clone(), c], (p, c) = crossfire::mpmc::bounded_blocking::<T>(capacity);
        "kanal": [p.clone(), p] => [c.clone(), c], (p, c) = kanal::bounded::<T>(capacity);
        "crossbeam ArrayQueue": [Arc::clone(&q), Arc::clone(&q)] => [Arc::clone(&q), q],
            q = Arc::new(ArrayQueue::<T>::new(capacity));
        "crossbeam channel": [p.clone(), p] => [c.clone(), c], (p, c) = crossbeam_channel::bounded::<T>(capacity);
    }
}

/// A shape by its name: for a capacity, whoever has that shape.
pub type Shape = (&'static str, fn(usize) -> Vec<Run>);

/// The shapes, for values of one kind.
pub fn shapes<T: Value>() -> [Shape; 5] {
    [
        ("1-1", one_to_one::<T>),
        ("1-1 in batches", one_to_one_in_batches::<T>),
        ("2-1", two_to_one::<T>),
        ("2-1 in batches", two_to_one_in_batches::<T>),
        ("2-2", two_to_two::<T>),
    ]
}

fn measure<T: Value>(criterion: &mut Criterion) {
    for (shape, runs) in shapes::<T>() {
        for capacity in [1024, 65_536] {
            let name = format!("rings, {shape}, {} bytes, capacity {capacity}", size_of::<T>());
            let mut group = criterion.benchmark_group(name);
            group.throughput(Throughput::Elements(VALUES)).sample_size(20);
            group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(1500));
            for (party, run) in runs(capacity) {
                group.bench_function(party, |bencher| bencher.iter_custom(|times| (0..times).map(|_| run()).sum()));
            }
            group.finish();
        }
    }
}

fn one_thread(criterion: &mut Criterion) {
    if cfg!(debug_assertions) {
        eprintln!("figures of a debug build would be false: run `cargo bench`");
        std::process::exit(2);
    }
    let mut group = criterion.benchmark_group("ring, one thread, push and pop 64 of 16 bytes");
    group.throughput(Throughput::Elements(64));
    let value = || std::hint::black_box(Pair::new(1));
    // SAFETY: one thread.
    let exclusive = unsafe { chronofabric_bus::Exclusive::new() };
    let (ring, peer) = (Ring::<Pair>::new(1024), ArrayQueue::new(1024));
    group.bench_function("chronofabric, exclusive", |bencher| {
        bencher.iter(|| {
            (0..64).for_each(|_| assert!(ring.push_with(exclusive, value()).is_ok()));
            (0..64).filter_map(|_| ring.pop_with(exclusive)).map(|(_, value)| value.number()).sum::<u64>()
        });
    });
    group.bench_function("chronofabric", |bencher| {
        bencher.iter(|| {
            (0..64).for_each(|_| assert!(ring.push(value()).is_ok()));
            (0..64).filter_map(|_| ring.pop()).map(|(_, value)| value.number()).sum::<u64>()
        });
    });
    group.bench_function("crossbeam ArrayQueue", |bencher| {
        bencher.iter(|| {
            (0..64).for_each(|_| assert!(peer.push(value()).is_ok()));
            (0..64).filter_map(|_| peer.pop()).map(Value::number).sum::<u64>()
        });
    });
    group.finish();
}

criterion_group!(benches, one_thread, measure::<u64>, measure::<Pair>);
criterion_main!(benches);
