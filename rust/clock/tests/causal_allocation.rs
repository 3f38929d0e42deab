//! A message in causal order passes a causal buffer without an allocation; so does the use of a small vector clock.
#![cfg(not(loom))]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use chronofabric_clock::{Arrival, CausalBuffer, CausalOptions, VectorClock};
use common::node;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is handed to the system allocator as it came; counting touches a thread-local without destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|allocations| allocations.set(allocations.get() + 1));
        // SAFETY: the caller's promise about `layout` is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, hence from the system allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn a_message_in_order_passes_without_an_allocation() {
    let mut buffer = CausalBuffer::new(CausalOptions::default()).unwrap();
    let mut clock = VectorClock::new();
    let mut pass = |rounds: u64| {
        for round in 0..rounds {
            let sender = node((round % 4) as u8);
            clock.increment(sender).unwrap();
            let mut heard = None;
            let arrival = buffer.accept(0, sender, &clock, round, |message| heard = Some(message));
            assert_eq!((arrival, heard), (Arrival::Delivered, Some(round)));
        }
    };
    assert!(allocations(|| pass(4)) > 0, "the counter counts");
    assert_eq!(allocations(|| pass(10_000)), 0);
}

#[test]
fn clocks_of_up_to_four_nodes_need_no_memory_of_their_own() {
    let first = VectorClock::from_counters((0..4).map(|number| (node(number), 1))).unwrap();
    let second = VectorClock::from_counters((1..4).map(|number| (node(number), 2))).unwrap();
    let used = allocations(|| {
        let mut both = first.clone();
        both.merge(&second).unwrap();
        both.increment(node(0)).unwrap();
        assert!(first.happens_before(&both) && second.happens_before(&both));
    });
    assert_eq!(used, 0);
}
