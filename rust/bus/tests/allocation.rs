//! The hot path takes nothing from the allocator, and gives nothing back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unsafe_code)]

mod common;

use chronofabric_bus::{
    Concurrent, Exclusive, NewEvent, Outcome, Overflow, Pattern, Subscription, SubscriptionOptions,
};
use common::{Counted, ME, bus};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::{Arc, Mutex};

struct Counting;
thread_local! {
    /// Calls of this thread: what the harness does meanwhile in its own is none of the bus's business.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread in its last moments is not counted.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The tests take cells from one pool, which one of them must not find emptied by the other.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn exclusive_publishing_and_receiving_allocate_nothing_once_warm() {
    let _alone = ALONE.lock();
    let bus = bus();
    let topic = bus.topic("plant/7/temperature").unwrap();
    let options = SubscriptionOptions { overflow: Overflow::Block, capacity: 64, ..Default::default() };
    let one = bus.subscribe(Pattern::parse("plant/**").unwrap(), options.clone()).unwrap();
    // SAFETY: this thread is the only one that uses the bus.
    let access = unsafe { Exclusive::new() };
    let round = |receivers: &[&Arc<Subscription<Counted>>]| {
        for number in 0..40 {
            assert!(topic.publish_payload(access, Counted::new(number), 1).is_none());
        }
        for subscription in receivers {
            for number in 0..40 {
                let event = subscription.try_receive(access, ME, || 0).unwrap();
                assert_eq!(event.into_sole(access).payload().map(|payload| payload.number), Some(number));
            }
        }
    };
    let counted = |rounds: &dyn Fn()| {
        (0..10).for_each(|_| rounds());
        let before = CALLS.get();
        (0..100).for_each(|_| rounds());
        CALLS.get() - before
    };
    assert_eq!(counted(&|| round(&[&one])), 0);
    let two = bus.subscribe(Pattern::parse("plant/**").unwrap(), options).unwrap();
    assert_eq!(counted(&|| round(&[&one, &two])), 0);
}

#[test]
fn publishing_and_receiving_allocate_nothing_once_warm() {
    let _alone = ALONE.lock();
    let bus = bus();
    let topic = bus.topic("plant/7/temperature").unwrap();
    let subscriptions: Vec<_> = (0..3)
        .map(|_| {
            let options = SubscriptionOptions { overflow: Overflow::DropOldest, capacity: 16, ..Default::default() };
            bus.subscribe(Pattern::parse("plant/**").unwrap(), options).unwrap()
        })
        .collect();
    let mut outcome = Outcome::default();
    let mut round = || {
        for number in 0..20 {
            topic.publish(Concurrent, NewEvent::new(Counted::new(number)), &mut outcome).unwrap();
            outcome.victims.clear();
        }
        for subscription in &subscriptions {
            while subscription.try_receive(Concurrent, ME, || 0).is_some() {}
        }
    };
    (0..10).for_each(|_| round());
    let before = CALLS.get();
    (0..100).for_each(|_| round());
    assert_eq!(CALLS.get() - before, 0);
}
