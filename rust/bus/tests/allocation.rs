//! The hot path takes nothing from the allocator, and gives nothing back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unsafe_code)]

mod common;

use chronofabric_bus::{Concurrent, NewEvent, Outcome, Overflow, Pattern, SubscriptionOptions};
use common::{ME, Counted, bus};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;
static CALLS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn publishing_and_receiving_allocate_nothing_once_warm() {
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
    let before = CALLS.load(Ordering::Relaxed);
    (0..100).for_each(|_| round());
    assert_eq!(CALLS.load(Ordering::Relaxed) - before, 0);
}
