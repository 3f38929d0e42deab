//! Filters: what they turn away, and what the books say of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unsafe_code)]

mod common;

use chronofabric_bus::{
    Bus, BusOptions, Concurrent, ContentFilter, Exclusive, Failures, Filters, Judgement, NewEvent, Outcome, Overflow,
    Pattern, RetentionRule, Share, Subscription, SubscriptionOptions,
};
use chronofabric_clock::{HybridLogicalClock, NodeId, TimeSource};
use common::{Counted, ME, bus, publish};
use std::sync::Arc;

/// Only even numbers; a glance suffices for those below a hundred.
struct Even;

impl ContentFilter<Counted> for Even {
    fn judge(&self, payload: &Counted, place: Option<usize>) -> Judgement<Counted> {
        let number = payload.number + place.unwrap_or(0) as u64;
        if number.is_multiple_of(2) { Judgement::Matches } else { Judgement::Differs }
    }
    fn glance(&self, payload: &Counted) -> Option<bool> {
        (payload.number < 100).then_some(payload.number.is_multiple_of(2))
    }
    fn failures(&self) -> Failures {
        Failures::default()
    }
}

fn even() -> Filters<Counted> {
    Filters { content: Some(Arc::new(Even)), ..Filters::default() }
}

fn subscribe(
    bus: &Bus<Counted>,
    options: SubscriptionOptions,
    filters: Filters<Counted>,
) -> Arc<Subscription<Counted>> {
    bus.subscribe_filtered(Pattern::parse("a").unwrap(), options, filters).unwrap()
}

fn received(subscription: &Subscription<Counted>) -> Vec<u64> {
    let events = std::iter::from_fn(|| subscription.try_receive(Concurrent, ME, || 0));
    events.map(|event| event.payload().unwrap().number).collect()
}

#[test]
fn what_is_turned_away_is_counted_and_displaces_nothing_whatever_the_access() {
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let options = SubscriptionOptions { capacity: 2, overflow: Overflow::DropNewest, ..Default::default() };
    let filtered = subscribe(&bus, options, even());
    let all = subscribe(&bus, SubscriptionOptions::default(), Filters::default());
    // SAFETY: this thread is the only one that uses the bus.
    let access = unsafe { Exclusive::new() };
    for number in [1, 2, 3, 101, 103] {
        assert!(topic.publish_payload(access, Counted::new(number), 1).is_none_or(|rest| rest.published.is_ok()));
    }
    drop(publish(&topic, 4, 1));
    assert_eq!(topic.published(), 6);
    assert_eq!(received(&filtered), [2, 4]);
    assert_eq!(received(&all), [1, 2, 3, 101, 103, 4]);
    let books = filtered.books();
    assert_eq!((books.offered, books.filtered, books.delivered, books.balance()), (6, 4, 2, 0));
    assert_eq!(books.dropped.iter().sum::<u64>(), 0);
}

#[test]
fn each_event_of_a_batch_is_judged_by_itself_and_waits_behind_those_before_it() {
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let options = SubscriptionOptions { capacity: 2, overflow: Overflow::Block, ..Default::default() };
    let filtered = subscribe(&bus, options, even());
    let mut outcome = Outcome::default();
    topic.publish_batch(Concurrent, NewEvent::new(Counted::new(0)), 10, &mut outcome).unwrap();
    let mut numbers = Vec::new();
    let mut take = || {
        let events = std::iter::from_fn(|| filtered.try_receive(Concurrent, ME, || 0));
        let number = |event: Share<Counted>| {
            event.payload().unwrap().number + event.places().map_or(0, |places| places.start as u64)
        };
        numbers.extend(events.map(number));
    };
    while !outcome.blocked.is_empty() {
        take();
        let mut first = outcome.blocked.remove(0);
        while !first.retry(Concurrent, &mut outcome.victims) {
            take();
        }
    }
    take();
    assert_eq!(numbers, [0, 2, 4, 6, 8]);
    let books = filtered.books();
    assert_eq!((books.offered, books.filtered, books.balance()), (10, 5, 0));
}

#[test]
fn the_last_event_before_a_quiet_time_is_due_at_its_end() {
    let source = TimeSource::simulated(0);
    let time = Arc::clone(source.as_simulated().unwrap());
    let clock = Arc::new(HybridLogicalClock::new(source.clone(), NodeId([1; 16])));
    let bus = Bus::new(source, clock, BusOptions::default());
    let topic = bus.topic("a").unwrap();
    let filters = Filters { debounce_ns: Some(10), ..Filters::default() };
    let quiet = subscribe(&bus, SubscriptionOptions::default(), filters);
    assert_eq!(quiet.due_ns(), None);
    drop(publish(&topic, 1, 1));
    time.set(5).unwrap();
    drop(publish(&topic, 2, 1));
    assert!(!quiet.is_ready());
    assert_eq!((quiet.books().pending, quiet.books().filtered), (1, 1));
    time.set(15).unwrap();
    assert!(quiet.is_ready());
    assert_eq!(received(&quiet), [2]);
    assert_eq!((quiet.due_ns(), quiet.books().balance()), (None, 0));
}

#[test]
fn what_a_topic_keeps_is_judged_before_a_new_subscription_gets_it() {
    let bus = bus();
    let pattern = Pattern::parse("a").unwrap();
    bus.set_retention(&pattern, RetentionRule { last: 10, capacity_bytes: None }).unwrap();
    let topic = bus.topic("a").unwrap();
    (98..104).for_each(|number| drop(publish(&topic, number, 1)));
    let late = subscribe(&bus, SubscriptionOptions { history: 10, ..Default::default() }, even());
    drop(publish(&topic, 105, 1));
    drop(publish(&topic, 106, 1));
    assert_eq!(received(&late), [98, 100, 102, 106]);
    let books = late.books();
    assert_eq!((books.replayed, books.offered, books.filtered, books.balance()), (6, 2, 4, 0));
}
