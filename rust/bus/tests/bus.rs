//! The bus as its users see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use chronofabric_bus::{
    Blocked, BusError, Concurrent, Firing, NewEvent, Observed, Outcome, Overflow, Pattern, Reason, Share, Subscription,
    SubscriptionOptions, Tap, TapFactory, Topic, TopicInfo, Values, Victims,
};
use common::{ALIVE, Counted, ME, bus, publish};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// The tests of this file count living payloads and so run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn options(capacity: usize, overflow: Overflow) -> SubscriptionOptions {
    SubscriptionOptions { capacity, overflow, ..Default::default() }
}

fn drain(subscription: &Subscription<Counted>) -> Vec<u64> {
    std::iter::from_fn(|| subscription.try_receive(Concurrent, ME, || 0))
        .map(|cell| cell.payload().unwrap().number)
        .collect()
}

#[test]
fn every_matching_subscription_sees_every_event_and_all_share_one_payload() {
    let _alone = alone();
    let before = ALIVE.load(Ordering::SeqCst);
    let bus = bus();
    let topic = bus.topic("plant/7/temperature").unwrap();
    let patterns = ["plant/7/temperature", "plant/*/temperature", "**", "other/**"];
    let all: Vec<_> = patterns
        .iter()
        .map(|text| bus.subscribe(Pattern::parse(text).unwrap(), options(8, Overflow::DropOldest)).unwrap())
        .collect();
    for number in 0..3 {
        assert!(publish(&topic, number, 1).victims.is_empty());
    }
    assert_eq!(ALIVE.load(Ordering::SeqCst) - before, 3);
    let cells: Vec<_> =
        all[..3].iter().map(|subscription| subscription.try_receive(Concurrent, ME, || 0).unwrap()).collect();
    assert!(cells.iter().all(|cell| std::ptr::eq(cell.payload().unwrap(), cells[0].payload().unwrap())));
    drop(cells);
    for subscription in &all[..3] {
        assert_eq!(drain(subscription), [1, 2]);
        assert_eq!(subscription.books().balance(), 0);
    }
    assert!(drain(&all[3]).is_empty());
    assert_eq!(ALIVE.load(Ordering::SeqCst), before);
}

#[test]
fn the_last_holder_gets_the_payload_itself_and_others_do_not() {
    let _alone = alone();
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let one = bus.subscribe(Pattern::parse("a").unwrap(), SubscriptionOptions::default()).unwrap();
    let other = bus.subscribe(Pattern::parse("a").unwrap(), SubscriptionOptions::default()).unwrap();
    publish(&topic, 5, 1);
    let shared = one.try_receive(Concurrent, ME, || 0).unwrap().into_contents(Concurrent);
    assert!(shared.is_err(), "the other subscription holds the event too");
    drop(shared);
    assert_eq!(
        other.try_receive(Concurrent, ME, || 0).unwrap().into_contents(Concurrent).unwrap().payload.unwrap().number,
        5
    );
}

#[test]
fn the_most_urgent_priority_is_received_first_and_each_is_in_order() {
    let _alone = alone();
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let subscription = bus.subscribe(Pattern::parse("a").unwrap(), SubscriptionOptions::default()).unwrap();
    for (number, priority) in [(0, 1), (1, 0), (2, 3), (3, 1), (4, 3), (5, 2)] {
        publish(&topic, number, priority);
    }
    assert_eq!(drain(&subscription), [2, 4, 5, 0, 3, 1]);
}

#[test]
fn each_overflow_policy_keeps_what_it_promises() {
    let _alone = alone();
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let subscribe = |overflow| bus.subscribe(Pattern::parse("a").unwrap(), options(3, overflow)).unwrap();
    let (oldest, newest) = (subscribe(Overflow::DropOldest), subscribe(Overflow::DropNewest));
    let (dead, block) = (subscribe(Overflow::DeadLetter), subscribe(Overflow::Block));
    let mut waiting: Vec<Blocked<Counted>> = Vec::new();
    for number in 0..5 {
        waiting.extend(publish(&topic, number, 1).blocked);
    }
    assert_eq!(waiting.len(), 2);
    let mut victims = Victims::new();
    assert!(!waiting[0].retry(Concurrent, &mut victims), "there is no room yet");
    assert_eq!(drain(&oldest), [2, 3, 4]);
    assert_eq!(drain(&newest), [0, 1, 2]);
    assert_eq!(drain(&dead), [0, 1, 2]);
    let letters = dead.dead_letters();
    let numbers: Vec<_> = letters.iter().map(|(cell, reason)| (cell.payload().unwrap().number, *reason)).collect();
    assert_eq!(numbers, [(3, Reason::Overflow), (4, Reason::Overflow)]);
    assert_eq!(dead.replay_dead_letters(Concurrent, 1, &mut victims), 1);
    assert_eq!(drain(&dead), [3]);
    assert_eq!(dead.books().replayed, 1);
    assert_eq!(block.try_receive(Concurrent, ME, || 0).unwrap().payload().unwrap().number, 0);
    assert!(waiting.remove(0).retry(Concurrent, &mut victims), "now there is room");
    waiting.remove(0).give_up(Reason::Timeout, &mut victims);
    assert_eq!(drain(&block), [1, 2, 3]);
    assert_eq!(block.books().dropped[Reason::Timeout as usize], 1);
    for subscription in [&oldest, &newest, &dead, &block] {
        let books = subscription.books();
        assert_eq!((books.balance(), books.offered, books.pending), (0, 5, 0));
    }
}

#[test]
fn dead_letters_are_bounded_and_the_newest_is_dropped_when_they_are_full() {
    let _alone = alone();
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let options = SubscriptionOptions { dead_letters_max: 2, ..options(1, Overflow::DeadLetter) };
    let subscription = bus.subscribe(Pattern::parse("a").unwrap(), options).unwrap();
    (0..5).for_each(|number| drop(publish(&topic, number, 1)));
    let books = subscription.books();
    assert_eq!(books.dead_lettered[Reason::Overflow as usize], 2);
    assert_eq!(books.dropped[Reason::DeadLettersFull as usize], 2);
    assert_eq!(books.balance(), 0);
    let kept: Vec<_> =
        subscription.take_dead_letters(9).into_iter().map(|l| l.event.payload().unwrap().number).collect();
    assert_eq!(kept, [1, 2]);
}

#[test]
fn a_bound_in_bytes_holds_over_all_priorities_and_a_payload_beyond_it_is_never_queued() {
    let _alone = alone();
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let options = SubscriptionOptions { capacity_bytes: Some(20), ..options(100, Overflow::DropOldest) };
    let subscription = bus.subscribe(Pattern::parse("a").unwrap(), options).unwrap();
    let send = |number, size, priority| {
        topic
            .publish(
                Concurrent,
                NewEvent { priority, ..NewEvent::new(Counted::sized(number, size)) },
                &mut Outcome::default(),
            )
            .unwrap();
    };
    for (number, size, priority) in [(0, 10, 0), (1, 10, 1), (2, 21, 1), (3, 10, 3), (4, 15, 1)] {
        send(number, size, priority);
    }
    assert_eq!(drain(&subscription), [4]);
    let books = subscription.books();
    assert_eq!((books.dropped[Reason::TooLarge as usize], books.dropped[Reason::Overflow as usize]), (1, 3));
    assert_eq!(books.balance(), 0);
    send(5, 20, 1);
    assert_eq!(drain(&subscription), [5], "all bytes were given back");
}

#[test]
fn a_dead_letter_that_is_too_large_stays_and_does_not_keep_others_from_being_replayed() {
    let _alone = alone();
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let options = SubscriptionOptions { capacity_bytes: Some(10), ..options(1, Overflow::DeadLetter) };
    let subscription = bus.subscribe(Pattern::parse("a").unwrap(), options).unwrap();
    for (number, size) in [(0, 11), (1, 5), (2, 5)] {
        topic.publish(Concurrent, NewEvent::new(Counted::sized(number, size)), &mut Outcome::default()).unwrap();
    }
    assert_eq!(drain(&subscription), [1]);
    assert_eq!(subscription.replay_dead_letters(Concurrent, usize::MAX, &mut Victims::new()), 1);
    assert_eq!(drain(&subscription), [2]);
    let left: Vec<_> = subscription.dead_letters().into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(left, [Reason::TooLarge]);
    assert_eq!(subscription.books().balance(), 0);
    subscription.take_dead_letters(usize::MAX);
}

#[test]
fn pausing_keeps_buffering_and_unsubscribing_counts_what_was_left() {
    let _alone = alone();
    let before = ALIVE.load(Ordering::SeqCst);
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let subscription = bus.subscribe(Pattern::parse("a").unwrap(), options(8, Overflow::DropOldest)).unwrap();
    subscription.set_paused(true);
    publish(&topic, 0, 1);
    publish(&topic, 1, 1);
    assert!(drain(&subscription).is_empty() && !subscription.is_ready());
    subscription.set_paused(false);
    assert!(subscription.is_ready());
    assert_eq!(subscription.try_receive(Concurrent, ME, || 0).unwrap().payload().unwrap().number, 0);
    let mut victims = Victims::new();
    bus.unsubscribe(&subscription, Reason::Unsubscribed, &mut victims);
    assert_eq!(victims.len(), 1);
    drop(victims);
    publish(&topic, 2, 1);
    let books = subscription.books();
    assert_eq!((books.offered, books.delivered, books.dropped[Reason::Unsubscribed as usize]), (2, 1, 1));
    assert_eq!(ALIVE.load(Ordering::SeqCst), before);
}

#[test]
fn closing_empties_the_rings_and_refuses_what_comes_after() {
    let _alone = alone();
    let before = ALIVE.load(Ordering::SeqCst);
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let subscription = bus.subscribe(Pattern::parse("**").unwrap(), SubscriptionOptions::default()).unwrap();
    publish(&topic, 0, 1);
    let mut victims = Victims::new();
    assert_eq!(bus.close(&mut victims).len(), 1);
    assert!(bus.close(&mut victims).is_empty(), "the second close finds nothing");
    drop(victims);
    assert!(subscription.is_closed() && subscription.is_ready());
    assert_eq!(subscription.books().dropped[Reason::Closed as usize], 1);
    let event = NewEvent::new(Counted::new(1));
    assert!(matches!(
        topic.publish(Concurrent, event, &mut Outcome::default()).map_err(|error| *error),
        Err(BusError::Closed)
    ));
    assert!(matches!(bus.topic("b"), Err(BusError::Closed)));
    assert!(bus.subscribe(Pattern::parse("a").unwrap(), SubscriptionOptions::default()).is_err());
    assert_eq!(ALIVE.load(Ordering::SeqCst), before);
}

#[test]
fn the_topic_limit_and_options_out_of_range_are_refused() {
    let _alone = alone();
    let bus = bus();
    for number in 0..32 {
        bus.topic(&format!("t/{number}")).unwrap();
    }
    assert!(matches!(bus.topic("t/32"), Err(BusError::TopicLimit { limit: 32, .. })));
    assert!(bus.topic("t/31").is_ok());
    let pattern = || Pattern::parse("a").unwrap();
    assert!(bus.subscribe(pattern(), options(0, Overflow::Block)).is_err());
    let zero = SubscriptionOptions { capacity_bytes: Some(0), ..Default::default() };
    assert!(bus.subscribe(pattern(), zero).is_err());
    assert!(bus.subscriptions().is_empty());
}

#[test]
fn recorded_times_are_kept_but_never_step_back_within_a_topic() {
    let _alone = alone();
    let bus = bus();
    let subscription = bus.subscribe(Pattern::parse("**").unwrap(), SubscriptionOptions::default()).unwrap();
    for (topic, time_ns) in [("a", 100), ("a", 90), ("b", 50), ("a", 110)] {
        let event = NewEvent { time_ns: Some(time_ns), ..NewEvent::new(Counted::new(0)) };
        bus.topic(topic).unwrap().publish(Concurrent, event, &mut Outcome::default()).unwrap();
    }
    let times: Vec<_> =
        std::iter::from_fn(|| subscription.try_receive(Concurrent, ME, || 0)).map(|cell| cell.time_ns()).collect();
    assert_eq!(times, [100, 100, 50, 110]);
}

/// Fires on every event, onto the topic that it was given.
struct Echo {
    target: Arc<Topic<Counted>>,
    seen: Mutex<Vec<(i64, f64)>>,
    refused: AtomicU64,
}

impl Tap<Counted> for Echo {
    fn sample(&self, payload: &Counted, values: &mut Values) -> bool {
        values.push(payload.number as f64);
        payload.number != 13
    }
    fn evaluate(&self, event: &Observed, values: &[f64]) -> Option<Firing> {
        self.seen.lock().unwrap().push((event.time_ns, values[0]));
        Some(Firing { robustness: values[0], fires: true })
    }
    fn fire(&self, _event: &Observed, firing: Firing, outcome: &mut Outcome<Counted>) {
        let event = NewEvent::new(Counted::new(firing.robustness as u64 + 100));
        if self.target.publish(Concurrent, event, outcome).is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Only(&'static str, Arc<Echo>);

impl TapFactory<Counted> for Only {
    fn tap(&self, topic: &TopicInfo) -> Option<Arc<dyn Tap<Counted>>> {
        (topic.name() == self.0).then(|| Arc::clone(&self.1) as Arc<dyn Tap<Counted>>)
    }
}

#[test]
fn a_tap_sees_each_event_in_order_and_what_it_publishes_comes_after_its_cause() {
    let _alone = alone();
    let bus = bus();
    let echo = Arc::new(Echo { target: bus.topic("out").unwrap(), seen: Mutex::default(), refused: AtomicU64::new(0) });
    let id = bus.add_taps(Arc::new(Only("in", Arc::clone(&echo)))).unwrap();
    let subscription = bus.subscribe(Pattern::parse("**").unwrap(), SubscriptionOptions::default()).unwrap();
    let topic = bus.topic("in").unwrap();
    for number in [1, 13, 2] {
        publish(&topic, number, 1);
    }
    assert_eq!(drain(&subscription), [1, 101, 13, 2, 102]);
    bus.remove_taps(id);
    publish(&topic, 3, 1);
    assert_eq!(drain(&subscription), [3]);
    let seen = echo.seen.lock().unwrap();
    assert_eq!(seen.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [1.0, 2.0]);
    assert!(seen.is_sorted_by(|one, other| one.0 <= other.0));
}

/// Takes an event out of a subscription when it sees the number 3, as a receiver may at any moment.
struct MakesRoom(Arc<Subscription<Counted>>, Mutex<Vec<u64>>);

impl Tap<Counted> for MakesRoom {
    fn sample(&self, payload: &Counted, _values: &mut Values) -> bool {
        if payload.number == 3 {
            let taken = self.0.try_receive(Concurrent, ME, || 0).unwrap();
            self.1.lock().unwrap().push(taken.payload().unwrap().number);
        }
        true
    }
    fn evaluate(&self, _event: &Observed, _values: &[f64]) -> Option<Firing> {
        None
    }
    fn fire(&self, _event: &Observed, _firing: Firing, _outcome: &mut Outcome<Counted>) {}
}

struct Everywhere(Arc<MakesRoom>);

impl TapFactory<Counted> for Everywhere {
    fn tap(&self, _topic: &TopicInfo) -> Option<Arc<dyn Tap<Counted>>> {
        Some(Arc::clone(&self.0) as Arc<dyn Tap<Counted>>)
    }
}

#[test]
fn an_event_of_a_batch_that_found_no_room_is_not_overtaken_when_room_is_made_meanwhile() {
    let _alone = alone();
    let bus = bus();
    let subscription = bus.subscribe(Pattern::parse("**").unwrap(), options(2, Overflow::Block)).unwrap();
    let tap = Arc::new(MakesRoom(Arc::clone(&subscription), Mutex::default()));
    bus.add_taps(Arc::new(Everywhere(Arc::clone(&tap)))).unwrap();
    let topic = bus.topic("a").unwrap();
    let mut outcome = Outcome::default();
    topic.publish_batch(Concurrent, NewEvent::new(Counted::new(0)), 6, &mut outcome).unwrap();
    let mut seen = tap.1.lock().unwrap().clone();
    for mut blocked in outcome.blocked.drain(..) {
        while !blocked.retry(Concurrent, &mut outcome.victims) {
            seen.extend(drain(&subscription));
        }
    }
    seen.extend(drain(&subscription));
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    assert_eq!(subscription.books().balance(), 0);
}

#[test]
fn guards_that_publish_in_a_circle_are_stopped_and_told() {
    let _alone = alone();
    let bus = bus();
    let target = bus.topic("in").unwrap();
    let echo = Arc::new(Echo { target: Arc::clone(&target), seen: Mutex::default(), refused: AtomicU64::new(0) });
    bus.add_taps(Arc::new(Only("in", Arc::clone(&echo)))).unwrap();
    publish(&target, 1, 1);
    assert_eq!(echo.seen.lock().unwrap().len(), 16);
    assert_eq!(echo.refused.load(Ordering::Relaxed), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u8),
    Receive(usize),
    Pause(bool),
    Replay,
}

proptest::proptest! {
    #[test]
    fn one_subscription_behaves_like_a_plain_model(
        capacity in 1_usize..5,
        policy in 0_usize..4,
        steps in proptest::collection::vec(proptest::prop_oneof![
            4 => (0_u8..4).prop_map(Step::Publish),
            3 => (1_usize..4).prop_map(Step::Receive),
            1 => proptest::bool::ANY.prop_map(Step::Pause),
            1 => proptest::strategy::Just(Step::Replay),
        ], 0..80),
    ) {
        let _alone = alone();
        let overflow = [Overflow::DropOldest, Overflow::DropNewest, Overflow::DeadLetter, Overflow::Block][policy];
        let before = ALIVE.load(Ordering::SeqCst);
        let bus = bus();
        let topic = bus.topic("a").unwrap();
        let options = SubscriptionOptions { dead_letters_max: 3, ..options(capacity, overflow) };
        let subscription = bus.subscribe(Pattern::parse("a").unwrap(), options).unwrap();
        let mut queues: [VecDeque<u64>; 4] = Default::default();
        let mut dead: VecDeque<(u64, usize)> = VecDeque::new();
        let (mut offered, mut replayed, mut delivered, mut dropped, mut lettered) = (0, 0, 0, 0, 0);
        let mut paused = false;
        for step in steps {
            match step {
                Step::Publish(priority) => {
                    let number = offered;
                    offered += 1;
                    let queue = &mut queues[usize::from(priority)];
                    if queue.len() < capacity {
                        queue.push_back(number);
                    } else if overflow == Overflow::DropOldest {
                        queue.pop_front();
                        queue.push_back(number);
                        dropped += 1;
                    } else if overflow == Overflow::DeadLetter && dead.len() < 3 {
                        dead.push_back((number, usize::from(priority)));
                        lettered += 1;
                    } else {
                        dropped += 1;
                    }
                    for blocked in publish(&topic, number, priority).blocked {
                        blocked.give_up(Reason::Timeout, &mut Victims::new());
                    }
                }
                Step::Receive(count) => for _ in 0..count {
                    let expected = match paused {
                        true => None,
                        false => queues.iter_mut().rev().find_map(VecDeque::pop_front),
                    };
                    delivered += u64::from(expected.is_some());
                    let received = subscription.try_receive(Concurrent, ME, || 0).map(|cell| cell.payload().unwrap().number);
                    proptest::prop_assert_eq!(received, expected);
                },
                Step::Pause(pause) => {
                    paused = pause;
                    subscription.set_paused(pause);
                }
                Step::Replay => {
                    while let Some((number, priority)) = dead.front().copied() {
                        if queues[priority].len() >= capacity { break }
                        queues[priority].push_back(number);
                        dead.pop_front();
                        replayed += 1;
                    }
                    subscription.replay_dead_letters(Concurrent, usize::MAX, &mut Victims::new());
                }
            }
            let books = subscription.books();
            let pending = queues.iter().map(VecDeque::len).sum::<usize>();
            proptest::prop_assert_eq!(
                (books.offered, books.replayed, books.delivered, books.pending),
                (offered, replayed, delivered, pending as u64)
            );
            proptest::prop_assert_eq!(books.dropped.iter().sum::<u64>(), dropped);
            proptest::prop_assert_eq!(books.dead_lettered.iter().sum::<u64>(), lettered);
            proptest::prop_assert_eq!(books.balance(), 0);
        }
        bus.close(&mut Victims::new());
        subscription.take_dead_letters(usize::MAX);
        proptest::prop_assert_eq!(ALIVE.load(Ordering::SeqCst), before);
    }
}
use proptest::strategy::Strategy;

#[test]
fn the_books_stay_exact_while_threads_publish_receive_subscribe_and_leave() {
    let _alone = alone();
    let before = ALIVE.load(Ordering::SeqCst);
    for round in 0..20 {
        let bus = Arc::new(bus());
        let policies = [Overflow::DropOldest, Overflow::DropNewest, Overflow::DeadLetter, Overflow::Block];
        let stayed: Vec<_> = policies
            .iter()
            .map(|policy| bus.subscribe(Pattern::parse("t/**").unwrap(), options(1 + round, *policy)).unwrap())
            .collect();
        let each = 2_000_u64;
        let publishers: Vec<_> = (0..2)
            .map(|_| {
                let topic = bus.topic("t/x").unwrap();
                std::thread::spawn(move || {
                    for number in 0..each {
                        for mut blocked in publish(&topic, number, (number % 4) as u8).blocked {
                            for _ in 0..50 {
                                if blocked.retry(Concurrent, &mut Victims::new()) {
                                    break;
                                }
                                std::thread::yield_now();
                            }
                        }
                    }
                })
            })
            .collect();
        let received: Vec<_> = stayed
            .iter()
            .map(|subscription| {
                let subscription = Arc::clone(subscription);
                std::thread::spawn(move || {
                    let mut count = 0_u64;
                    while !subscription.is_closed() {
                        match subscription.try_receive(Concurrent, ME, || 0) {
                            Some(_) => count += 1,
                            None => std::thread::yield_now(),
                        }
                    }
                    count
                })
            })
            .collect();
        for _ in 0..20 {
            let guest = bus.subscribe(Pattern::parse("t/*").unwrap(), options(4, Overflow::DropOldest)).unwrap();
            let running = guest.books();
            assert_eq!(running.balance(), 0);
            std::thread::yield_now();
            bus.unsubscribe(&guest, Reason::Unsubscribed, &mut Victims::new());
        }
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        bus.close(&mut Victims::new());
        for (subscription, thread) in stayed.iter().zip(received) {
            let count = thread.join().unwrap();
            let books = subscription.books();
            assert_eq!((books.offered, books.delivered, books.pending), (2 * each, count, 0));
            assert_eq!(books.balance(), 0);
            subscription.take_dead_letters(usize::MAX);
        }
    }
    assert_eq!(ALIVE.load(Ordering::SeqCst), before);
}

#[test]
fn a_batch_is_taken_apart_where_it_overflows_and_every_reference_is_given_back_once() {
    let _alone = alone();
    for overflow in [Overflow::DropOldest, Overflow::DropNewest, Overflow::DeadLetter, Overflow::Block] {
        let bus = bus();
        let topic = bus.topic("a").unwrap();
        let subscribe = |capacity| {
            let options = SubscriptionOptions { overflow, capacity, dead_letters_max: 3, ..Default::default() };
            bus.subscribe(Pattern::parse("a").unwrap(), options).unwrap()
        };
        let (narrow, wide) = (subscribe(4), subscribe(64));
        let mut outcome = Outcome::default();
        topic.publish_batch(Concurrent, NewEvent::new(Counted::new(100)), 10, &mut outcome).unwrap();
        assert_eq!(outcome.blocked.len(), usize::from(overflow == Overflow::Block));
        outcome.victims.clear();
        let take = |subscription: &Arc<Subscription<Counted>>, limit| {
            let shares = subscription.try_receive_many(Concurrent, ME, limit, || 0);
            shares
                .into_iter()
                .flat_map(Share::each)
                .map(|event| (event.stamp(), event.into_sole(Concurrent)))
                .map(|(stamp, event)| {
                    assert_eq!(event.stamp(), stamp);
                    event.payload().unwrap().number
                })
                .collect::<Vec<_>>()
        };
        let expected: Vec<u64> =
            if overflow == Overflow::DropOldest { (106..110).collect() } else { (100..104).collect() };
        assert_eq!(take(&narrow, 64), expected, "{overflow:?}");
        assert_eq!(take(&wide, 3), [100, 101, 102]);
        assert_eq!(take(&wide, 64), (103..110).collect::<Vec<u64>>());
        let letters: Vec<_> = narrow.take_dead_letters(9).into_iter().map(|letter| letter.event).collect();
        assert_eq!(letters.len(), if overflow == Overflow::DeadLetter { 3 } else { 0 });
        if let Some(mut blocked) = outcome.blocked.pop() {
            let mut victims = Victims::new();
            assert!(!blocked.retry(Concurrent, &mut victims), "six are left for a ring of four");
            assert_eq!(take(&narrow, 64), [104, 105, 106, 107]);
            assert!(blocked.retry(Concurrent, &mut victims));
            assert_eq!(take(&narrow, 64), [108, 109]);
        }
        assert_eq!(narrow.books().balance(), 0);
        assert_eq!(narrow.books().offered, 10);
        drop((letters, outcome));
        assert_eq!(ALIVE.load(Ordering::SeqCst), 0, "{overflow:?}");
    }
}
