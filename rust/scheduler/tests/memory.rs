//! What a held timer takes of memory, as the allocator counts it, and that arming and cancelling take none.
#![allow(clippy::unwrap_used, missing_docs)]

use chronofabric_scheduler::Wheel;
use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as promised to this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as promised to this function.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_held_timer_takes_at_most_96_bytes_and_arming_again_takes_none() {
    let count = if cfg!(miri) { 1_000 } else { 1_000_000 };
    let before = HELD.load(Ordering::Relaxed);
    let mut wheel = Wheel::new(0, count);
    let mut handle = None;
    for number in 0..count as i64 {
        handle = Some(wheel.arm(number * 7_919 % 60_000_000_000, NonZeroU64::MIN).unwrap());
    }
    let bytes = (HELD.load(Ordering::Relaxed) - before) as usize;
    // The slots of the wheel itself, 22 kB, are not those of a timer.
    assert!(bytes <= 96 * count + 32 * 1_024, "{} bytes a timer", bytes / count);
    let calls = CALLS.load(Ordering::Relaxed);
    let mut handle = handle.unwrap();
    for number in 0..1_000 {
        wheel.cancel(handle).unwrap();
        handle = wheel.arm(number, NonZeroU64::MIN).unwrap();
        wheel.rearm(handle, 5 * number);
    }
    assert_eq!(CALLS.load(Ordering::Relaxed), calls);
    println!("{:.1} bytes a timer", bytes as f64 / count as f64);
}
