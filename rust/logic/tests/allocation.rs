//! Once its windows have filled, a monitor allocates nothing.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use chronofabric_logic::{Formula, Monitor, MonitorOptions};

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
fn a_warm_monitor_allocates_nothing() {
    let formula = Formula::parse(
        "historically[0, 100 ns](x > 0.5 + abs(y)) and once[20 ns, 100 ns](min(x, y) > 0) \
         or (x > 0 since[0, 100 ns] y > 0) and (x > 0 since[10 ns, 100 ns] y > 0) or once(x > 3) since y > 3",
    )
    .unwrap();
    let mut monitor = Monitor::new(&formula, MonitorOptions::default());
    let mut feed = |times: std::ops::Range<i64>| {
        for time_ns in times {
            // Sawtooths of both directions: the first fills the queues of minima, the second those of maxima.
            let phase = (time_ns % 400) as f64;
            monitor.update(time_ns, &[phase, 400.0 - phase]).unwrap();
        }
    };
    assert!(allocations(|| feed(0..2_000)) > 0, "the counter counts");
    assert_eq!(allocations(|| feed(2_000..100_000)), 0);
}

#[test]
fn a_monitor_that_is_reset_keeps_its_memory() {
    let formula = Formula::parse("once[0, 100 ns](x > 0)").unwrap();
    let mut monitor = Monitor::new(&formula, MonitorOptions::default());
    let feed = |monitor: &mut Monitor| {
        for time_ns in 0..1_000 {
            monitor.update(time_ns, &[-time_ns as f64]).unwrap();
        }
    };
    feed(&mut monitor);
    assert_eq!(monitor.memory_samples(), 101);
    assert_eq!(
        allocations(|| {
            monitor.reset();
            feed(&mut monitor);
        }),
        0
    );
}
