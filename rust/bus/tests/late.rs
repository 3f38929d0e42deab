//! Order by deadline, and events that are late.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use chronofabric_bus::{
    Access, Bus, Concurrent, Exclusive, Extras, Late, NewEvent, Order, Outcome, Overflow, Pattern, Reason,
    Subscription, SubscriptionOptions, Victims,
};
use common::{Counted, ME, bus};
use proptest::prelude::*;
use std::sync::Arc;

fn subscribe(bus: &Bus<Counted>, options: SubscriptionOptions) -> Arc<Subscription<Counted>> {
    bus.subscribe(Pattern::parse("a").unwrap(), options).unwrap()
}

fn event(number: u64, size: usize, deadline_ns: Option<i64>, priority: u8) -> NewEvent<Counted> {
    let extras = deadline_ns.map(|_| Box::new(Extras { deadline_ns, ..*Extras::empty() }));
    NewEvent { priority, extras, ..NewEvent::new(Counted::sized(number, size)) }
}

fn numbers(subscription: &Subscription<Counted>, now_ns: i64) -> Vec<u64> {
    std::iter::from_fn(|| subscription.try_receive(Concurrent, ME, || now_ns))
        .map(|event| event.payload().unwrap().number)
        .collect()
}

#[test]
fn late_events_are_set_aside_or_marked_in_every_order_and_the_books_balance() {
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    for order in [Order::Publisher, Order::Causal, Order::Deadline] {
        for late in [Late::Deliver, Late::Mark, Late::DeadLetter] {
            for batch in [false, true] {
                let options = SubscriptionOptions { order, late, dead_letters_max: 1, ..Default::default() };
                let subscription = subscribe(&bus, options);
                for (number, deadline_ns) in [(0, Some(50)), (1, Some(60)), (2, Some(100)), (3, None)] {
                    topic.publish(Concurrent, event(number, 1, deadline_ns, 1), &mut Outcome::default()).unwrap();
                }
                let received: Vec<_> = if batch {
                    subscription.try_receive_many(Concurrent, ME, 10, || 100)
                } else {
                    std::iter::from_fn(|| subscription.try_receive(Concurrent, ME, || 100)).collect()
                };
                let received: Vec<_> =
                    received.iter().map(|event| (event.payload().unwrap().number, event.late_ns())).collect();
                let books = subscription.books();
                assert_eq!((books.balance(), books.offered, books.pending), (0, 4, 0));
                let letters: Vec<_> = subscription.dead_letters().iter().map(|letter| letter.late_ns).collect();
                let set_aside = books.dead_lettered[Reason::Late as usize];
                match late {
                    Late::Deliver => assert_eq!(received, [(0, None), (1, None), (2, None), (3, None)]),
                    Late::Mark => assert_eq!(received, [(0, Some(50)), (1, Some(40)), (2, None), (3, None)]),
                    Late::DeadLetter => {
                        assert_eq!(received, [(2, None), (3, None)]);
                        assert_eq!((letters, set_aside), (vec![Some(50)], 1));
                        assert_eq!(books.dropped[Reason::DeadLettersFull as usize], 1);
                        assert_eq!(subscription.replay_dead_letters(Concurrent, 9, &mut Victims::new()), 0);
                    }
                }
                assert_eq!(subscription.late(), if late == Late::Deliver { 0 } else { 2 });
                bus.unsubscribe(&subscription, Reason::Unsubscribed, &mut Victims::new());
                assert_eq!(subscription.books().balance(), 0);
            }
        }
    }
}

/// Publishes a payload alone, with its own deadline, and a batch; says which events had which deadline, from their times.
fn deadlines(access: impl Access, bus: &Bus<Counted>, name: &str) -> Vec<(u64, Option<i64>)> {
    let topic = bus.topic(name).unwrap();
    let subscription = bus.subscribe(Pattern::parse(name).unwrap(), SubscriptionOptions::default()).unwrap();
    let mut outcome = Outcome::default();
    assert!(topic.publish_payload(access, Counted::new(0), 1).is_none());
    topic.publish(access, event(1, 1, Some(7), 1), &mut outcome).unwrap();
    topic.publish_batch(access, event(2, 1, None, 1), 2, &mut outcome).unwrap();
    assert!(outcome.is_settled());
    let received: Vec<_> = std::iter::from_fn(|| subscription.try_receive(Concurrent, ME, || 0))
        .map(|event| (event.payload().unwrap().number, event.deadline_ns(), event.time_ns()))
        .collect();
    assert_eq!((subscription.books().balance(), subscription.books().offered), (0, 4));
    bus.unsubscribe(&subscription, Reason::Unsubscribed, &mut Victims::new());
    received
        .into_iter()
        .map(|(number, deadline_ns, time_ns)| (number, deadline_ns.map(|at| if at == 7 { 7 } else { at - time_ns })))
        .collect()
}

#[test]
fn a_topic_gives_its_deadline_to_events_that_have_none_with_either_access() {
    const HOUR_NS: i64 = 3_600_000_000_000;
    let bus = bus();
    let (all, one) = (Pattern::parse("**").unwrap(), Pattern::parse("a").unwrap());
    let with = |deadline_ns| vec![(0, deadline_ns), (1, Some(7)), (2, deadline_ns), (2, deadline_ns)];
    // SAFETY: this thread is the only one that uses the bus.
    let exclusive = unsafe { Exclusive::new() };
    let check = |name: &str, deadline_ns: Option<i64>| {
        // The system's clock may be set meanwhile, and the time of an event never decreases: so not to the nanosecond.
        let rounded = |found: Vec<(u64, Option<i64>)>| -> Vec<_> {
            let round = |ns: i64| if ns == 7 { 7 } else { (ns + HOUR_NS / 2) / HOUR_NS * HOUR_NS };
            found.into_iter().map(|(number, ns)| (number, ns.map(round))).collect()
        };
        assert_eq!(rounded(deadlines(exclusive, &bus, name)), with(deadline_ns), "{name}");
        assert_eq!(rounded(deadlines(Concurrent, &bus, name)), with(deadline_ns), "{name}");
    };
    check("a", None);
    bus.set_deadline(&all, Some(HOUR_NS)).unwrap();
    check("a", Some(HOUR_NS));
    check("b", Some(HOUR_NS));
    bus.set_deadline(&one, Some(2 * HOUR_NS)).unwrap();
    check("a", Some(2 * HOUR_NS));
    check("b", Some(HOUR_NS));
    bus.set_deadline(&all, None).unwrap();
    check("a", None);
    check("new", None);
    bus.close(&mut Victims::new());
    assert!(bus.set_deadline(&all, Some(1)).is_err());
}

#[test]
fn of_a_batch_what_finds_no_room_waits_and_comes_in_its_place() {
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let options =
        SubscriptionOptions { order: Order::Deadline, capacity: 2, overflow: Overflow::Block, ..Default::default() };
    let subscription = subscribe(&bus, options);
    let mut outcome = Outcome::default();
    topic.publish_batch(Concurrent, event(0, 1, None, 1), 4, &mut outcome).unwrap();
    let mut blocked = outcome.blocked.pop().unwrap();
    let mut victims = Victims::new();
    assert!(!blocked.retry(Concurrent, &mut victims) && !blocked.has_room());
    let stamps: Vec<_> = subscription
        .try_receive_many(Concurrent, ME, 9, || 0)
        .iter()
        .map(|share| (share.stamp(), share.len()))
        .collect();
    assert_eq!(stamps[0].1, 2, "those of one batch come together");
    assert!(blocked.has_room() && blocked.has_credit() && blocked.retry(Concurrent, &mut victims));
    let rest = subscription.try_receive_many(Concurrent, ME, 9, || 0);
    assert_eq!((rest.len(), rest[0].len(), rest[0].stamp().0), (1, 2, stamps[0].0.0 + 2));
    assert_eq!((subscription.books().balance(), subscription.books().delivered), (0, 4));
}

#[test]
fn threads_together_lose_nothing_and_each_receives_in_order() {
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let subscription =
        subscribe(&bus, SubscriptionOptions { order: Order::Deadline, capacity: 64, ..Default::default() });
    std::thread::scope(|scope| {
        for publisher in 0..3 {
            let topic = &topic;
            scope.spawn(move || {
                for number in 0..2_000 {
                    let deadline_ns = (number % 3 > 0).then_some((number * 7_919 % 1_000) as i64);
                    let event = event(publisher * 2_000 + number, 1, deadline_ns, (number % 4) as u8);
                    topic.publish(Concurrent, event, &mut Outcome::default()).unwrap();
                }
            });
        }
        scope.spawn(|| (0..4_000).for_each(|_| drop(subscription.try_receive(Concurrent, ME, || 0))));
    });
    let books = subscription.books();
    assert_eq!((books.balance(), books.offered), (0, 6_000));
    assert_eq!(books.pending, numbers(&subscription, 0).len() as u64);
    assert_eq!(subscription.pending(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Publish { deadline_ns: Option<i64>, priority: u8, size: usize },
    Take(usize),
    Replay(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let deadline_ns = prop_oneof![Just(None), (0..6_i64).prop_map(Some)];
    prop_oneof![
        4 => (deadline_ns, 0..4_u8, 1..12_usize)
            .prop_map(|(deadline_ns, priority, size)| Step::Publish { deadline_ns, priority, size }),
        1 => (1..4_usize).prop_map(Step::Take),
        1 => (1..4_usize).prop_map(Step::Replay),
    ]
}

/// An event as a list can sort it: without a deadline last, the earliest deadline, the highest priority, the oldest.
type Model = (bool, i64, u8, u64, usize);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 512 }))]
    #[test]
    fn what_waits_is_a_sorted_list(
        steps in prop::collection::vec(step(), 1..60),
        policy in prop_oneof![Just(Overflow::DropOldest), Just(Overflow::DropNewest), Just(Overflow::DeadLetter)],
        capacity in 1..6_usize,
        capacity_bytes in prop_oneof![Just(None), (8..24_usize).prop_map(Some)],
    ) {
        let bus = bus();
        let topic = bus.topic("a").unwrap();
        let options = SubscriptionOptions {
            order: Order::Deadline, capacity, capacity_bytes, overflow: policy, dead_letters_max: 3, ..Default::default()
        };
        let subscription = subscribe(&bus, options);
        let (mut waiting, mut dead): (Vec<Model>, Vec<Model>) = Default::default();
        let fits = |waiting: &[Model], size: usize| {
            let bytes: usize = waiting.iter().map(|each| each.4).sum();
            waiting.len() < capacity && capacity_bytes.is_none_or(|limit| bytes + size <= limit)
        };
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Publish { deadline_ns, priority, size } => {
                    topic.publish(Concurrent, event(number, size, deadline_ns, priority), &mut Outcome::default()).unwrap();
                    let new = (deadline_ns.is_none(), deadline_ns.unwrap_or(0), 3 - priority, number, size);
                    if capacity_bytes.is_some_and(|limit| size > limit) {
                        // Kept, but for ever: replaying leaves it where it is.
                        if policy == Overflow::DeadLetter && dead.len() < 3 { dead.push((true, -1, 0, number, size)); }
                    } else if fits(&waiting, size) {
                        waiting.push(new);
                    } else if policy == Overflow::DeadLetter {
                        if dead.len() < 3 { dead.push(new); }
                    } else if policy == Overflow::DropOldest {
                        loop {
                            if fits(&waiting, size) { waiting.push(new); break; }
                            let class = |each: &Model| (each.0, each.1, each.2);
                            let Some(least) = waiting.iter().map(class).max().filter(|least| *least >= class(&new)) else {
                                break;
                            };
                            let place = waiting.iter().position(|each| class(each) == least).unwrap();
                            waiting.remove(place);
                        }
                    }
                    waiting.sort();
                }
                Step::Take(limit) => {
                    let taken = subscription.try_receive_many(Concurrent, ME, limit, || 0);
                    let taken: Vec<u64> = taken.iter().map(|event| event.payload().unwrap().number).collect();
                    let expected: Vec<u64> = waiting.drain(..limit.min(waiting.len())).map(|each| each.3).collect();
                    prop_assert_eq!(taken, expected);
                }
                Step::Replay(limit) => {
                    let (mut count, mut kept) = (0, Vec::new());
                    while count < limit && !dead.is_empty() {
                        if dead[0].1 < 0 { kept.push(dead.remove(0)); continue; }
                        if !fits(&waiting, dead[0].4) { break; }
                        waiting.push(dead.remove(0));
                        count += 1;
                    }
                    kept.append(&mut dead);
                    dead = kept;
                    waiting.sort();
                    prop_assert_eq!(subscription.replay_dead_letters(Concurrent, limit, &mut Victims::new()), count);
                }
            }
            prop_assert_eq!(subscription.pending(), waiting.len());
            prop_assert_eq!(subscription.dead_letters_len(), dead.len());
            prop_assert_eq!(subscription.books().balance(), 0);
        }
        prop_assert_eq!(numbers(&subscription, 0), waiting.iter().map(|each| each.3).collect::<Vec<_>>());
        subscription.close(Reason::Closed, &mut Victims::new());
        prop_assert_eq!(subscription.books().balance(), 0);
    }
}
