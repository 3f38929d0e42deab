#![allow(clippy::unwrap_used)]

use super::*;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

#[test]
fn holds_exactly_its_capacity_for_every_small_capacity() {
    for capacity in 1..if cfg!(miri) { 9 } else { 70 } {
        let ring = Ring::new(capacity);
        for lap in 0..3 {
            for value in 0..capacity {
                assert_eq!(ring.push(lap * 100 + value), Ok(()), "capacity {capacity}");
            }
            assert_eq!(ring.push(999), Err(999));
            assert_eq!(ring.len(), capacity);
            for value in 0..capacity {
                assert_eq!(ring.pop().map(|(_, value)| value), Some(lap * 100 + value));
            }
            assert!(ring.pop().is_none());
            assert!(!ring.is_ready());
        }
    }
}

#[test]
fn drops_what_is_left_inside_exactly_once() {
    let value = Arc::new(());
    let ring = Ring::new(8);
    for _ in 0..5 {
        ring.push(Arc::clone(&value)).unwrap();
    }
    drop(ring.pop());
    assert_eq!(Arc::strong_count(&value), 5);
    drop(ring);
    assert_eq!(Arc::strong_count(&value), 1);
}

proptest::proptest! {
    #[test]
    fn behaves_like_a_bounded_deque(capacity in 1_usize..20, steps in proptest::collection::vec(0_u8..3, 0..400)) {
        let ring = Ring::new(capacity);
        let mut model = VecDeque::new();
        for (number, step) in steps.into_iter().enumerate() {
            if step < 2 {
                let pushed = ring.push(number);
                if model.len() < capacity {
                    model.push_back(number);
                    proptest::prop_assert_eq!(pushed, Ok(()));
                } else {
                    proptest::prop_assert_eq!(pushed, Err(number));
                }
            } else {
                proptest::prop_assert_eq!(ring.pop().map(|(_, value)| value), model.pop_front());
            }
            proptest::prop_assert_eq!(ring.len(), model.len());
            proptest::prop_assert_eq!(ring.is_ready(), !model.is_empty());
        }
    }
}

/// One step of a single thread, by number.
fn step_of_a_handle<P: Side, C: Side>(
    (producer, consumer): &mut (Producer<usize, P, C>, Consumer<usize, P, C>),
    model: &mut VecDeque<usize>,
    (kind, size): (u8, usize),
    number: usize,
) {
    let capacity = producer.ring().capacity();
    let popped_before = producer.ring().positions().0;
    match kind {
        0 => {
            let expected = if model.len() < capacity { Ok(()) } else { Err(number) };
            assert_eq!(producer.push(number), expected);
            expected.is_ok().then(|| model.push_back(number));
        }
        1 => {
            let pushed = producer.push_many(size, |index| number + index);
            assert_eq!(pushed, size.min(capacity - model.len()));
            model.extend((0..pushed).map(|index| number + index));
        }
        2 => assert_eq!(consumer.pop(), model.pop_front().map(|value| (popped_before, value))),
        _ => {
            let mut popped = Vec::new();
            assert_eq!(
                consumer.pop_many(size, |position, value| popped.push((position, value))),
                size.min(model.len())
            );
            let expected: Vec<_> = (popped_before..).zip(model.drain(..size.min(model.len()))).collect();
            assert_eq!(popped, expected);
        }
    }
    assert_eq!(consumer.ring().len(), model.len());
    assert_eq!(consumer.ring().is_ready(), !model.is_empty());
}

fn behaves_like_a_deque<P: Side, C: Side>(capacity: usize, steps: &[(u8, usize)]) {
    let mut handles = Ring::<usize, P, C>::split(capacity);
    let mut model = VecDeque::new();
    for (number, step) in steps.iter().enumerate() {
        step_of_a_handle(&mut handles, &mut model, *step, 100 * number);
    }
}

proptest::proptest! {
    #[test]
    fn every_shape_behaves_like_a_bounded_deque_with_and_without_batches(
        capacity in 1_usize..20,
        steps in proptest::collection::vec((0_u8..4, 0_usize..25), 0..200),
    ) {
        behaves_like_a_deque::<Sole, Sole>(capacity, &steps);
        behaves_like_a_deque::<Many, Sole>(capacity, &steps);
        behaves_like_a_deque::<Sole, Many>(capacity, &steps);
        behaves_like_a_deque::<Many, Many>(capacity, &steps);
    }

    #[test]
    fn exclusive_and_concurrent_access_may_take_turns_on_one_ring(
        capacity in 1_usize..20,
        steps in proptest::collection::vec((proptest::bool::ANY, 0_u8..4, 0_usize..25), 0..200),
    ) {
        // SAFETY: one thread.
        let exclusive = unsafe { Exclusive::new() };
        let ring = Ring::new(capacity);
        let mut model = VecDeque::new();
        for (number, (alone, kind, size)) in steps.into_iter().enumerate() {
            let number = 100 * number;
            let mut popped = Vec::new();
            match (kind, alone) {
                (0, _) => {
                    let pushed = if alone { ring.push_with(exclusive, number) } else { ring.push(number) };
                    proptest::prop_assert_eq!(pushed.is_ok(), model.len() < capacity);
                    pushed.is_ok().then(|| model.push_back(number));
                }
                (1, _) => {
                    let make = |index| number + index;
                    let pushed = if alone { ring.push_many(exclusive, size, make) } else { ring.push_many(Concurrent, size, make) };
                    proptest::prop_assert_eq!(pushed, size.min(capacity - model.len()));
                    model.extend((0..pushed).map(make));
                }
                (2, true) => popped.extend(ring.pop_with(exclusive).map(|(_, value)| value)),
                (2, false) => popped.extend(ring.pop().map(|(_, value)| value)),
                (_, true) => { ring.pop_many(exclusive, size, |_, value| popped.push(value)); }
                (_, false) => { ring.pop_many(Concurrent, size, |_, value| popped.push(value)); }
            }
            let expected = match kind { 0 | 1 => 0, 2 => model.len().min(1), _ => model.len().min(size) };
            proptest::prop_assert_eq!(popped, model.drain(..expected).collect::<Vec<_>>());
            proptest::prop_assert_eq!(ring.len(), model.len());
        }
    }
}

#[test]
fn a_panic_while_a_batch_is_taken_drops_the_rest_of_it_and_frees_its_slots() {
    fn check<P: Side, C: Side>() {
        let (mut producer, mut consumer) = Ring::<Arc<()>, P, C>::split(4);
        let value = Arc::new(());
        assert_eq!(producer.push_many(9, |_| Arc::clone(&value)), 4);
        let mut taken = 0;
        let result = catch_unwind(AssertUnwindSafe(|| {
            consumer.pop_many(3, |_, _| {
                taken += 1;
                assert!(taken < 2, "the second one");
            });
        }));
        assert!(result.is_err());
        assert_eq!((Arc::strong_count(&value), producer.ring().positions()), (2, (3, 4)));
        assert_eq!(producer.push_many(9, |_| Arc::clone(&value)), 3);
        assert_eq!(consumer.pop_many(9, |_, _| ()), 4);
        assert_eq!(Arc::strong_count(&value), 1);
    }
    check::<Sole, Sole>();
    check::<Many, Sole>();
    check::<Sole, Many>();
    check::<Many, Many>();
}

#[test]
fn a_panic_while_a_sole_producer_fills_a_batch_leaves_what_it_made_before() {
    let (mut producer, mut consumer) = Ring::<usize, Sole, Many>::split(8);
    let make = |index| if index < 3 { index } else { panic!("the fourth one") };
    assert!(catch_unwind(AssertUnwindSafe(|| producer.push_many(5, make))).is_err());
    assert_eq!(producer.ring().positions(), (0, 3));
    assert_eq!(producer.push(7), Ok(()));
    assert_eq!(std::iter::from_fn(|| consumer.pop()).map(|(_, value)| value).collect::<Vec<_>>(), [0, 1, 2, 7]);
}

/// In a process of its own, which the panic is to end.
#[test]
#[cfg_attr(miri, ignore = "it starts a process")]
fn a_panic_while_one_of_many_producers_fills_a_batch_aborts() {
    const CHILD: &str = "CHRONOFABRIC_TEST_RING_ABORTS";
    if std::env::var_os(CHILD).is_some() {
        let _ = catch_unwind(|| Ring::new(8).push_many(Concurrent, 2, |_| -> u32 { panic!("made badly") }));
        return;
    }
    let name = "ring::tests::a_panic_while_one_of_many_producers_fills_a_batch_aborts";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(!child.status.success(), "the child went on");
    assert!(!String::from_utf8_lossy(&child.stdout).contains("test result"), "the test framework caught it");
}

#[test]
fn handles_drop_what_is_left_inside_exactly_once() {
    fn check<P: Side, C: Side>() {
        let value = Arc::new(());
        let (mut producer, mut consumer) = Ring::<Arc<()>, P, C>::split(8);
        for _ in 0..3 {
            producer.push_many(5, |_| Arc::clone(&value));
            consumer.pop_many(3, |_, _| ());
        }
        assert_eq!(Arc::strong_count(&value), 1 + producer.ring().len());
        assert_eq!(producer.ring().len(), 5);
        drop(producer);
        drop(consumer);
        assert_eq!(Arc::strong_count(&value), 1);
    }
    check::<Sole, Sole>();
    check::<Many, Sole>();
    check::<Sole, Many>();
    check::<Many, Many>();
}

/// The books of a ring: what every producer pushed was received once, each position once, each producer in order.
fn keeps_its_books<P: Side + Sync, C: Side + Sync>(
    capacity: usize,
    each: u64,
    producers: Vec<Producer<(u64, u64), P, C>>,
    consumers: Vec<Consumer<(u64, u64), P, C>>,
) {
    let (count, pushed) = (producers.len() as u64, each * producers.len() as u64);
    let taken = std::sync::atomic::AtomicU64::new(0);
    let mut received = std::thread::scope(|scope| {
        for (id, mut producer) in (0..).zip(producers) {
            scope.spawn(move || {
                let mut number = 0;
                while number < each {
                    let added = if number % 3 == 0 {
                        u64::from(producer.push((id, number)).is_ok())
                    } else {
                        let wanted = (number % 7 + 1).min(each - number);
                        producer.push_many(wanted as usize, |index| (id, number + index as u64)) as u64
                    };
                    number += added;
                    if added == 0 {
                        std::thread::yield_now();
                    }
                }
            });
        }
        let readers: Vec<_> = consumers
            .into_iter()
            .map(|mut consumer| {
                let taken = &taken;
                scope.spawn(move || {
                    let mut seen: Vec<(u64, (u64, u64))> = Vec::new();
                    while taken.load(std::sync::atomic::Ordering::Acquire) < pushed {
                        let before = seen.len();
                        if before.is_multiple_of(3) {
                            seen.extend(consumer.pop());
                        } else {
                            consumer.pop_many(before % 7 + 1, |position, value| seen.push((position, value)));
                        }
                        taken.fetch_add((seen.len() - before) as u64, std::sync::atomic::Ordering::AcqRel);
                        if seen.len() == before {
                            std::thread::yield_now();
                        }
                    }
                    assert_eq!(consumer.ring().positions(), (pushed, pushed));
                    assert!(seen.is_sorted_by_key(|(position, _)| *position), "a consumer went back");
                    seen
                })
            })
            .collect();
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect::<Vec<_>>()
    });
    received.sort_unstable();
    assert!(received.iter().map(|(position, _)| *position).eq(0..pushed), "positions, capacity {capacity}");
    for id in 0..count {
        let of_one = received.iter().filter(|(_, (producer, _))| *producer == id).map(|(_, (_, number))| *number);
        assert!(of_one.eq(0..each), "producer {id}, capacity {capacity}");
    }
}

#[test]
fn every_shape_keeps_its_books_between_threads() {
    const EACH: u64 = if cfg!(miri) { 20 } else { 2_000 };
    for capacity in [1, 2, 3, 64] {
        let (producer, consumer) = Ring::<_, Sole, Sole>::split(capacity);
        keeps_its_books(capacity, EACH, vec![producer], vec![consumer]);
        let (producer, consumer) = Ring::<_, Many, Sole>::split(capacity);
        keeps_its_books(capacity, EACH, vec![producer.clone(), producer.clone(), producer], vec![consumer]);
        let (producer, consumer) = Ring::<_, Sole, Many>::split(capacity);
        keeps_its_books(capacity, EACH, vec![producer], vec![consumer.clone(), consumer]);
        let (producer, consumer) = Ring::<_, Many, Many>::split(capacity);
        keeps_its_books(
            capacity,
            EACH,
            vec![producer.clone(), producer.clone(), producer],
            vec![consumer.clone(), consumer],
        );
    }
}

#[test]
fn many_threads_lose_and_double_nothing_and_keep_each_producer_in_order() {
    for capacity in [1, 2, 3, 64] {
        let ring = Arc::new(Ring::new(capacity));
        let (producers, each) = (3_u64, if cfg!(miri) { 20 } else { 5_000_u64 });
        let writers: Vec<_> = (0..producers)
            .map(|producer| {
                let ring = Arc::clone(&ring);
                std::thread::spawn(move || {
                    for number in 0..each {
                        while ring.push((producer, number)).is_err() {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let ring = Arc::clone(&ring);
                std::thread::spawn(move || {
                    let mut seen = Vec::new();
                    loop {
                        match ring.pop() {
                            Some((_, (u64::MAX, _))) => return seen,
                            Some((_, value)) => seen.push(value),
                            None => std::thread::yield_now(),
                        }
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        for _ in 0..2 {
            while ring.push((u64::MAX, 0)).is_err() {
                std::thread::yield_now();
            }
        }
        let mut all = Vec::new();
        for reader in readers {
            let seen = reader.join().unwrap();
            for producer in 0..producers {
                let numbers: Vec<_> = seen.iter().filter(|value| value.0 == producer).collect();
                assert!(numbers.is_sorted(), "a consumer saw one producer out of order");
            }
            all.extend(seen);
        }
        all.sort_unstable();
        let expected: Vec<_> =
            (0..producers).flat_map(|producer| (0..each).map(move |number| (producer, number))).collect();
        assert_eq!(all, expected);
    }
}
