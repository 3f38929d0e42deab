//! What topics keep, beside publishers that do not stop for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use chronofabric_bus::{
    Bus, BusError, BusOptions, Concurrent, NewEvent, Order, Outcome, Overflow, Pattern, Reason, RetentionRule, Share,
    Subscription, SubscriptionOptions, Topic,
};
use chronofabric_clock::{HybridLogicalClock, NodeId, TimeSource};
use common::{ALIVE, Counted, ME, bus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// The tests of this file count living payloads and so run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn last(last: usize) -> RetentionRule {
    RetentionRule { last, capacity_bytes: None }
}

fn history(history: usize, capacity: usize) -> SubscriptionOptions {
    SubscriptionOptions { history, capacity, ..Default::default() }
}

fn retain(topic: &Topic<Counted>, number: u64, size: usize) {
    let mut outcome = Outcome::default();
    let event = NewEvent { retain: true, ..NewEvent::new(Counted::sized(number, size)) };
    topic.publish(Concurrent, event, &mut outcome).unwrap();
}

fn publish(topic: &Topic<Counted>, number: u64) {
    topic.publish(Concurrent, NewEvent::new(Counted::new(number)), &mut Outcome::default()).unwrap();
}

fn received(subscription: &Subscription<Counted>) -> Vec<(u64, bool)> {
    let all: Vec<Share<Counted>> = std::iter::from_fn(|| subscription.try_receive(Concurrent, ME, || 0)).collect();
    all.iter().map(|event| (event.payload().unwrap().number, event.is_retained())).collect()
}

fn bounded(retained_bytes_max: usize) -> Bus<Counted> {
    let source = TimeSource::system();
    let clock = Arc::new(HybridLogicalClock::new(source.clone(), NodeId([1; 16])));
    Bus::new(source, clock, BusOptions { topics_max: 32, retained_bytes_max })
}

#[test]
fn a_subscription_that_comes_while_others_publish_gets_each_event_once_and_in_order() {
    let _alone = alone();
    let before = ALIVE.load(Ordering::SeqCst);
    let (rounds, kept) = if cfg!(miri) { (2, 3) } else { (40, 5) };
    for order in [Order::Publisher, Order::Causal] {
        let bus = bus();
        bus.set_retention(&pattern("**"), last(kept)).unwrap();
        let topics: Vec<_> = ["a", "b", "c"].iter().map(|name| bus.topic(name).unwrap()).collect();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for topic in &topics {
                scope.spawn(|| {
                    (0..).take_while(|_| !stop.load(Ordering::Relaxed)).for_each(|number| publish(topic, number))
                });
            }
            for _ in 0..rounds {
                let options = SubscriptionOptions { overflow: Overflow::DropNewest, order, ..history(kept, 256) };
                let subscription = bus.subscribe(pattern("b"), options).unwrap();
                while subscription.pending() < 64 {
                    std::thread::yield_now();
                }
                let seen = received(&subscription);
                bus.unsubscribe(&subscription, Reason::Unsubscribed, &mut Default::default());
                let first = seen[0].0;
                // What was pushed up to now has no gap; later ones may have found it full meanwhile.
                let without_gap = seen[..64].iter().zip(first..).all(|((number, _), expected)| *number == expected);
                assert!(without_gap, "{seen:?}");
                let retained = seen.iter().filter(|(_, retained)| *retained).count();
                assert_eq!(retained as u64, (first + retained as u64).min(kept as u64));
                assert!(seen[..retained].iter().all(|(_, retained)| *retained));
                assert_eq!(subscription.books().replayed, retained as u64);
                assert_eq!(subscription.books().balance(), 0);
            }
            stop.store(true, Ordering::Relaxed);
        });
        bus.close(&mut Default::default());
        assert_eq!(bus.retention().bytes, 0);
        drop((bus, topics));
    }
    assert_eq!(ALIVE.load(Ordering::SeqCst), before, "what was kept is dropped with the bus");
}

#[test]
fn a_topic_keeps_what_is_retained_or_what_the_last_rule_that_matches_says() {
    let _alone = alone();
    let bus = bus();
    let topic = bus.topic("a/b").unwrap();
    let kept = |all: usize| received(&bus.subscribe(pattern("a/b"), history(all, 64)).unwrap());
    bus.retain(&topic);
    retain(&topic, 0, 8);
    retain(&topic, 1, 8);
    publish(&topic, 2);
    assert_eq!(kept(9), [(1, true)]);
    bus.set_retention(&pattern("a/*"), last(3)).unwrap();
    (3..7).for_each(|number| publish(&topic, number));
    assert_eq!(kept(9), [(4, true), (5, true), (6, true)]);
    assert_eq!(kept(1), [(6, true)]);
    assert_eq!(kept(0), []);
    bus.set_retention(&pattern("**"), last(2)).unwrap();
    assert_eq!(kept(9), [(5, true), (6, true)]);
    // Said again, it is the last.
    bus.set_retention(&pattern("a/*"), last(1)).unwrap();
    let later = bus.topic("a/c").unwrap();
    (0..3).for_each(|number| publish(&later, number));
    assert_eq!(received(&bus.subscribe(pattern("a/c"), history(9, 64)).unwrap()), [(2, true)]);
    assert_eq!(bus.forget(&pattern("a/*")), 2);
    assert_eq!(kept(9), []);
    bus.set_retention(&pattern("**"), last(0)).unwrap();
    retain(&topic, 7, 8);
    assert_eq!(kept(9), []);
}

#[test]
fn what_is_kept_is_bounded_in_bytes_for_a_topic_and_over_all() {
    let _alone = alone();
    let cell = Share::<Counted>::CELL_BYTES;
    let bus = bounded(4 * (cell + 36));
    let topics = [bus.topic("a").unwrap(), bus.topic("b").unwrap()];
    let kept = |name: &str| received(&bus.subscribe(pattern(name), history(99, 64)).unwrap()).len();
    bus.set_retention(&pattern("*"), last(99)).unwrap();
    (0..3).for_each(|number| retain(&topics[0], number, 36));
    (0..3).for_each(|number| retain(&topics[1], number, 36));
    assert_eq!((kept("a"), kept("b")), (3, 1), "a topic makes room with its own events only");
    assert_eq!(bus.retention().past_bound, 2);
    retain(&topics[1], 3, 4 * (cell + 36));
    assert_eq!((kept("a"), kept("b")), (3, 0), "rather nothing than what is no longer the last");
    bus.set_retention(&pattern("a"), RetentionRule { last: 99, capacity_bytes: Some(2 * (cell + 36)) }).unwrap();
    assert_eq!(kept("a"), 2);
    retain(&topics[0], 4, 3 * (cell + 36));
    assert_eq!((kept("a"), bus.retention().bytes, bus.retention().events), (0, 0, 0));
    for rule in
        [RetentionRule { last: 1 << 21, capacity_bytes: None }, RetentionRule { last: 1, capacity_bytes: Some(0) }]
    {
        assert!(matches!(bus.set_retention(&pattern("a"), rule), Err(BusError::Option { .. })));
    }
}

#[test]
fn events_of_a_batch_are_kept_one_by_one() {
    let _alone = alone();
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    bus.set_retention(&pattern("a"), last(2)).unwrap();
    topic.publish_batch(Concurrent, NewEvent::new(Counted::new(0)), 5, &mut Outcome::default()).unwrap();
    assert_eq!(received(&bus.subscribe(pattern("a"), history(9, 64)).unwrap()), [(3, true), (4, true)]);
}
