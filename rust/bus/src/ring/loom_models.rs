#![allow(clippy::unwrap_used)]

use super::*;
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
