#![allow(clippy::unwrap_used)]

use super::*;
use crate::signal::{Signal, Wake};
use crate::sync::{AtomicBool, Mutex, lock};
use loom::sync::Arc;
use loom::thread;

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[test]
fn two_producers_and_a_consumer_lose_and_double_nothing() {
    for capacity in [1, 2] {
        model(move || {
            let ring = Arc::new(Ring::new(capacity));
            let other = Arc::clone(&ring);
            let producer = thread::spawn(move || other.push(1).is_ok());
            let pushed = usize::from(ring.push(2).is_ok());
            let mut seen: Vec<i32> = ring.pop().map(|(_, value)| value).into_iter().collect();
            let pushed = pushed + usize::from(producer.join().unwrap());
            while let Some((_, value)) = ring.pop_settled() {
                seen.push(value);
            }
            assert_eq!(seen.len(), pushed);
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), pushed);
        });
    }
}

#[test]
fn two_consumers_never_take_the_same_value() {
    model(|| {
        let ring = Arc::new(Ring::new(2));
        ring.push(1).unwrap();
        ring.push(2).unwrap();
        let other = Arc::clone(&ring);
        let consumer = thread::spawn(move || other.pop().map(|(_, value)| value));
        let mine = ring.pop().map(|(_, value)| value);
        let theirs = consumer.join().unwrap();
        assert!(mine.is_some() && theirs.is_some() && mine != theirs);
    });
}

/// Runs two producers and two consumers of whatever shape, with batches, to the end: all is received once.
fn batches_are_received_once<P: Side, C: Side>(
    capacity: usize,
    preemptions: usize,
    sides: fn(usize) -> (Vec<Producer<usize, P, C>>, Vec<Consumer<usize, P, C>>),
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let (producers, mut consumers) = sides(capacity);
        let mut last = consumers.pop().unwrap();
        let producers: Vec<_> = (0..)
            .zip(producers)
            .map(|(id, mut producer)| thread::spawn(move || producer.push_many(2, |index| 10 * id + index)))
            .collect();
        let consumers: Vec<_> = consumers
            .into_iter()
            .map(|mut consumer| {
                thread::spawn(move || {
                    let mut seen = Vec::new();
                    consumer.pop_many(2, |position, value| seen.push((position, value)));
                    seen
                })
            })
            .collect();
        let mut seen = Vec::new();
        last.pop_many(2, |position, value| seen.push((position, value)));
        let counts: Vec<_> = producers.into_iter().map(|producer| producer.join().unwrap()).collect();
        seen.extend(consumers.into_iter().flat_map(|consumer| consumer.join().unwrap()));
        while last.pop_many(2, |position, value| seen.push((position, value))) > 0 {}
        seen.sort_unstable();
        assert!(seen.iter().map(|(position, _)| *position).eq(0..counts.iter().sum::<usize>() as u64));
        for (id, count) in counts.into_iter().enumerate() {
            let of_one = seen.iter().map(|(_, value)| *value).filter(|value| value / 10 == id);
            assert!(of_one.eq((0..count).map(|index| 10 * id + index)), "in order, each once");
        }
    });
}

fn many_many(capacity: usize) -> (Vec<Producer<usize, Many, Many>>, Vec<Consumer<usize, Many, Many>>) {
    let (producer, consumer) = Ring::split(capacity);
    (vec![producer.clone(), producer], vec![consumer.clone(), consumer])
}

#[test]
fn two_batch_producers_and_two_batch_consumers_lose_and_double_nothing() {
    batches_are_received_once(2, 2, many_many);
    batches_are_received_once(3, 2, many_many);
}

#[test]
fn two_batch_producers_and_a_sole_consumer_lose_and_double_nothing() {
    for capacity in [1, 2, 3] {
        batches_are_received_once(capacity, 3, |capacity| {
            let (producer, consumer) = Ring::<_, Many, Sole>::split(capacity);
            (vec![producer.clone(), producer], vec![consumer])
        });
    }
}

#[test]
fn a_sole_producer_and_two_batch_consumers_lose_and_double_nothing() {
    for capacity in [1, 2, 3] {
        batches_are_received_once(capacity, 3, |capacity| {
            let (producer, consumer) = Ring::<_, Sole, Many>::split(capacity);
            (vec![producer], vec![consumer.clone(), consumer])
        });
    }
}

#[test]
fn a_sole_producer_goes_round_a_small_ring_ahead_of_a_sole_consumer() {
    model(|| {
        let (mut producer, mut consumer) = Ring::<usize, Sole, Sole>::split(1);
        let producer = thread::spawn(move || (0..3).filter(|value| producer.push(*value).is_ok()).collect::<Vec<_>>());
        let mut seen: Vec<_> = (0..3).filter_map(|_| consumer.pop()).map(|(_, value)| value).collect();
        let pushed = producer.join().unwrap();
        seen.extend(std::iter::from_fn(|| consumer.pop()).map(|(_, value)| value));
        assert_eq!(seen, pushed);
    });
}

#[test]
fn many_producers_go_round_a_small_ring_ahead_of_a_sole_consumer() {
    model(|| {
        let (producer, mut consumer) = Ring::<usize, Many, Sole>::split(1);
        let producers: Vec<_> = [producer.clone(), producer]
            .into_iter()
            .map(|mut producer| thread::spawn(move || (0..2).filter(|value| producer.push(*value).is_ok()).count()))
            .collect();
        let seen = (0..2).filter_map(|_| consumer.pop()).count();
        let pushed: usize = producers.into_iter().map(|producer| producer.join().unwrap()).sum();
        assert_eq!(seen + std::iter::from_fn(|| consumer.pop()).count(), pushed);
    });
}

/// A ring, the lock that exclusive access stands for, and whether somebody uses the ring without it.
struct Taken {
    ring: Ring<usize>,
    lock: Mutex<()>,
    shared: AtomicBool,
    signal: Signal,
}

impl Taken {
    fn new(capacity: usize) -> Arc<Self> {
        let (lock, shared) = (Mutex::new(()), AtomicBool::new(false));
        Arc::new(Self { ring: Ring::new(capacity), lock, shared, signal: Signal::default() })
    }

    /// Does what holders of the lock do: by exclusive access, as long as nobody does without the lock.
    fn held<R>(&self, exclusive: impl FnOnce(Exclusive) -> R, concurrent: impl FnOnce(Concurrent) -> R) -> R {
        let _held = lock(&self.lock);
        if self.shared.load(Ordering::Relaxed) {
            return concurrent(Concurrent);
        }
        // SAFETY: the lock is held, and who does without it says so while holding it.
        exclusive(unsafe { Exclusive::new() })
    }

    fn push_held(&self, value: usize) -> bool {
        let ring = &self.ring;
        self.held(|access| ring.push_with(access, value).is_ok(), |access| ring.push_with(access, value).is_ok())
    }

    fn pop_held(&self) -> Option<usize> {
        let ring = &self.ring;
        let popped = self.held(
            |access| {
                let popped = ring.pop_with(access);
                // As receivers do, and the collector: nobody can take the value meanwhile.
                ring.look_at_all(|value| assert!(*value > 0));
                popped
            },
            |access| ring.pop_with(access),
        );
        popped.map(|(_, value)| value)
    }
}

#[test]
fn who_begins_to_do_without_the_lock_meets_all_that_its_holders_did() {
    for capacity in [1, 2] {
        model(move || {
            let taken = Taken::new(capacity);
            let outside = {
                let taken = Arc::clone(&taken);
                thread::spawn(move || {
                    taken.held(|_| taken.shared.store(true, Ordering::Relaxed), |_| {});
                    usize::from(taken.ring.push(10).is_ok())
                })
            };
            let holder = {
                let taken = Arc::clone(&taken);
                thread::spawn(move || taken.pop_held().into_iter().collect::<Vec<_>>())
            };
            let pushed = usize::from(taken.push_held(1)) + usize::from(taken.push_held(2));
            let pushed = pushed + outside.join().unwrap();
            let mut seen = holder.join().unwrap();
            seen.extend(std::iter::from_fn(|| taken.ring.pop_settled()).map(|(_, value)| value));
            assert_eq!(seen.len(), pushed);
            assert!(seen.iter().filter(|value| **value < 10).is_sorted());
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), pushed);
        });
    }
}

#[test]
fn who_goes_to_sleep_with_the_lock_held_sees_or_hears_of_a_value_without_a_fence() {
    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(&self, _token: u64) {
            self.0.store(true, Ordering::Release);
        }
    }
    model(|| {
        let taken = Taken::new(2);
        let flag = std::sync::Arc::new(Flag(AtomicBool::new(false)));
        let producer = {
            let taken = Arc::clone(&taken);
            thread::spawn(move || {
                let _held = lock(&taken.lock);
                // SAFETY: the lock is held, and nobody does without it.
                taken.ring.push_with(unsafe { Exclusive::new() }, 1).unwrap();
                if taken.signal.is_armed() {
                    taken.signal.wake_all();
                }
            })
        };
        let held = lock(&taken.lock);
        taken.signal.arm(std::sync::Arc::clone(&flag) as std::sync::Arc<dyn Wake>, 0);
        let seen = taken.ring.is_ready();
        drop(held);
        producer.join().unwrap();
        assert!(seen || flag.0.load(Ordering::Acquire), "the value is there and nobody was told");
    });
}
