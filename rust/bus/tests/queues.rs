//! What waits under one lock: events in their slots as they are, batches in one slot, against a plain list.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unsafe_code)]

mod common;

use chronofabric_bus::{
    Concurrent, Exclusive, NewEvent, Outcome, Overflow, Pattern, Reason, Share, Subscription, SubscriptionOptions,
    Victims,
};
use common::{ALIVE, Counted, ME, bus};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

/// Payloads are counted over the whole process.
static ALONE: Mutex<()> = Mutex::new(());

#[derive(Clone, Debug)]
enum Step {
    Publish,
    PublishWithoutTheAccess,
    PublishBatch(usize),
    Receive,
    ReceiveContents,
    ReceiveMany(usize),
    Share,
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Publish),
        1 => Just(Step::PublishWithoutTheAccess),
        4 => (1_usize..30).prop_map(Step::PublishBatch),
        6 => Just(Step::Receive),
        3 => Just(Step::ReceiveContents),
        4 => (0_usize..40).prop_map(Step::ReceiveMany),
        1 => Just(Step::Share),
        1 => Just(Step::Look),
    ];
    prop::collection::vec(step, 0..120)
}

fn policies() -> impl Strategy<Value = Overflow> {
    prop::sample::select(vec![Overflow::Block, Overflow::DropNewest, Overflow::DropOldest, Overflow::DeadLetter])
}

fn numbers(event: &Share<Counted>) -> Vec<u64> {
    let first = event.payload().unwrap().number;
    event.places().map_or_else(|| vec![first], |places| places.map(|place| first + place as u64).collect())
}

struct Model {
    waiting: VecDeque<u64>,
    capacity: usize,
    overflow: Overflow,
    delivered: u64,
    lost: u64,
}

impl Model {
    fn publish(&mut self, number: u64) {
        if self.waiting.len() < self.capacity {
            return self.waiting.push_back(number);
        }
        self.lost += 1;
        if self.overflow == Overflow::DropOldest {
            self.waiting.pop_front();
            self.waiting.push_back(number);
        }
    }

    fn receive(&mut self) -> Option<u64> {
        let number = self.waiting.pop_front();
        self.delivered += u64::from(number.is_some());
        number
    }
}

fn settle(outcome: &mut Outcome<Counted>) {
    outcome.wake();
    let mut victims = Victims::new();
    outcome.blocked.drain(..).for_each(|blocked| blocked.give_up(Reason::Timeout, &mut victims));
    outcome.victims.clear();
}

fn waiting(subscription: &Subscription<Counted>, access: Exclusive) -> usize {
    let mut found = 0;
    subscription.look_at_own(access, |_, _| found += 1);
    found
}

#[test]
fn who_wakes_without_the_lock_touches_no_event() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let subscription = bus.subscribe(Pattern::parse("a").unwrap(), SubscriptionOptions::default()).unwrap();
    subscription.close(Reason::Closed, &mut Victims::new());
    // SAFETY: this thread is the only one that uses the bus.
    let access = unsafe { Exclusive::new() };
    let mut outcome = Outcome::default();
    topic.publish_batch(access, NewEvent::new(Counted::new(0)), 5, &mut outcome).unwrap();
    outcome.wake_sleepers();
    assert_eq!((subscription.pending(), outcome.victims.len()), (5, 0));
    outcome.empty_closed();
    assert_eq!((subscription.pending(), subscription.books().balance()), (0, 0));
}

proptest! {
    #[test]
    fn what_waits_under_one_lock_is_what_a_list_would_hold(
        capacity in 1_usize..40,
        overflow in policies(),
        steps in steps(),
    ) {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ALIVE.load(Ordering::SeqCst);
        {
            let bus = bus();
            let topic = bus.topic("a").unwrap();
            let options = SubscriptionOptions { capacity, overflow, dead_letters_max: 1 << 20, ..Default::default() };
            let subscription = bus.subscribe(Pattern::parse("a").unwrap(), options).unwrap();
            // SAFETY: this thread is the only one that uses the bus.
            let access = unsafe { Exclusive::new() };
            let mut model = Model { waiting: VecDeque::new(), capacity, overflow, delivered: 0, lost: 0 };
            let (mut next, mut last, mut shared) = (0, None, false);
            for step in steps {
                let mut outcome = Outcome::default();
                match step {
                    Step::Publish => {
                        if let Some(mut unfinished) = topic.publish_payload(access, Counted::new(next), 1) {
                            settle(&mut unfinished.outcome);
                        }
                        model.publish(next);
                        next += 1;
                    }
                    Step::PublishWithoutTheAccess => {
                        topic.publish(Concurrent, NewEvent::new(Counted::new(next)), &mut outcome).unwrap();
                        model.publish(next);
                        next += 1;
                    }
                    Step::PublishBatch(count) => {
                        topic.publish_batch(access, NewEvent::new(Counted::new(next)), count, &mut outcome).unwrap();
                        (next..next + count as u64).for_each(|number| model.publish(number));
                        next += count as u64;
                    }
                    Step::Receive => {
                        let event = subscription.try_receive(access, ME, || 0);
                        if let Some(event) = &event {
                            prop_assert_eq!(event.topic().name(), "a");
                            prop_assert!(last < Some(event.stamp()));
                            last = Some(event.stamp());
                        }
                        prop_assert_eq!(event.as_ref().map(numbers), model.receive().map(|number| vec![number]));
                    }
                    Step::ReceiveContents => {
                        let received = subscription.try_receive_contents(access, ME, || 0);
                        let number = received.map(|received| match received {
                            Ok(contents) => contents.payload.unwrap().number,
                            Err(event) => numbers(&event)[0],
                        });
                        prop_assert_eq!(number, model.receive());
                    }
                    Step::ReceiveMany(limit) => {
                        let events = subscription.try_receive_many(access, ME, limit, || 0);
                        for event in &events {
                            prop_assert!(last < Some(event.stamp()));
                            last = Some(event.stamp());
                        }
                        let received: Vec<u64> = events.iter().flat_map(numbers).collect();
                        let expected: Vec<u64> = (0..limit).map_while(|_| model.receive()).collect();
                        prop_assert_eq!(received, expected);
                    }
                    Step::Share => {
                        bus.share(&topic);
                        shared = true;
                    }
                    Step::Look => {
                        let found = waiting(&subscription, access);
                        prop_assert!(shared || found <= model.waiting.len() + subscription.dead_letters_len());
                        // A batch of which a part is a dead letter may not be found to be nobody else's.
                        let whole = overflow != Overflow::DeadLetter;
                        prop_assert!(shared || !whole || model.waiting.is_empty() || found > 0);
                    }
                }
                settle(&mut outcome);
                let books = subscription.books();
                prop_assert_eq!(books.balance(), 0);
                prop_assert_eq!(books.offered, next);
                prop_assert_eq!(books.pending, model.waiting.len() as u64);
                prop_assert_eq!(subscription.pending(), model.waiting.len());
                prop_assert_eq!(subscription.is_ready(), !model.waiting.is_empty());
                prop_assert_eq!(books.delivered, model.delivered);
                let lost = books.dropped.iter().chain(&books.dead_lettered).sum::<u64>();
                prop_assert_eq!(lost, model.lost);
            }
            // What waits goes with the subscription, or is counted when it ends.
            if next % 2 == 0 {
                bus.unsubscribe(&subscription, Reason::Unsubscribed, &mut Victims::new());
                prop_assert_eq!(subscription.books().balance(), 0);
                prop_assert_eq!(subscription.books().pending, 0);
            }
            drop(bus);
            drop(topic);
            drop(subscription);
        }
        prop_assert_eq!(ALIVE.load(Ordering::SeqCst), before);
    }
}
