//! The time source that everything which waits or stamps asks. Dispatch is static: a match, not a call through a
//! pointer.

use crate::CounterSource;
use crate::simulated::SimulatedSource;
use crate::system::wall_ns;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// A wait on a real source notices its cancellation within this, on an unloaded machine.
pub const CANCEL_LATENCY_NS_MAX: i64 = 50_000_000;

/// The longest sleep of a wait on a real source; the rest up to [`CANCEL_LATENCY_NS_MAX`] is for the system to wake it.
const SLICE_NS: i64 = 20_000_000;

/// Where a part of a node takes its time from. Cheap to clone; clones share what moves them.
///
/// ```
/// use chronofabric_clock::TimeSource;
///
/// let source = TimeSource::simulated(0);
/// if let Some(simulated) = source.as_simulated() {
///     simulated.advance(1_000)?;
/// }
/// assert_eq!(source.clone().now_ns(), 1_000);
/// # Ok::<(), chronofabric_clock::ClockError>(())
/// ```
#[derive(Clone, Debug)]
pub enum TimeSource {
    /// The operating system's wall clock. It steps, either way, when it is set.
    System,
    /// The processor's counter, disciplined to the wall clock. It never steps back.
    Counter(&'static CounterSource),
    /// Time that moves when it is told to.
    Simulated(Arc<SimulatedSource>),
}

impl TimeSource {
    /// The operating system's wall clock.
    ///
    /// ```
    /// # use chronofabric_clock::TimeSource;
    /// assert!(TimeSource::system().now_ns() > 1_700_000_000_000_000_000);
    /// ```
    pub fn system() -> Self {
        Self::System
    }

    /// The process-wide counter source; the first call calibrates it, which takes about 5 ms.
    ///
    /// ```
    /// # use chronofabric_clock::TimeSource;
    /// let source = TimeSource::counter();
    /// let first = source.now_ns();
    /// assert!(source.now_ns() >= first);
    /// ```
    pub fn counter() -> Self {
        Self::Counter(CounterSource::process())
    }

    /// A new simulated source that stands at an instant.
    pub fn simulated(start_ns: i64) -> Self {
        Self::Simulated(Arc::new(SimulatedSource::new(start_ns)))
    }

    /// Nanoseconds since the Unix epoch.
    #[inline]
    pub fn now_ns(&self) -> i64 {
        match self {
            Self::Counter(counter) => counter.now_ns(),
            Self::System => wall_ns(),
            Self::Simulated(simulated) => simulated.now_ns(),
        }
    }

    /// Like [`TimeSource::now_ns`], but a counter may be read a few dozen cycles early, for half the cost.
    ///
    /// For callers that bring readings into order by other means, as a hybrid logical clock does: without such means a
    /// thread that has seen the reading of another can get a smaller one, by some 10 ns.
    #[inline(always)]
    pub fn now_unordered_ns(&self) -> i64 {
        match self {
            Self::Counter(counter) => counter.now_unordered_ns(),
            Self::System | Self::Simulated(_) => self.now_ns(),
        }
    }

    /// What kind of source this is: `"system"`, `"counter"` or `"simulated"`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Counter(_) => "counter",
            Self::Simulated(_) => "simulated",
        }
    }

    /// The counter behind this source, if it is one.
    pub fn as_counter(&self) -> Option<&'static CounterSource> {
        match self {
            Self::Counter(counter) => Some(counter),
            _ => None,
        }
    }

    /// The simulated time behind this source, if it is one.
    pub fn as_simulated(&self) -> Option<&Arc<SimulatedSource>> {
        match self {
            Self::Simulated(simulated) => Some(simulated),
            _ => None,
        }
    }

    /// Waits until this source reaches a deadline: `true`; or until `cancelled` answers true: `false`.
    ///
    /// `cancelled` is asked first, so a cancelled wait answers `false` even when its deadline has passed. On a real
    /// source the thread sleeps in slices and asks at least every 50 ms; on a simulated one it waits to be advanced
    /// and asks every 20 ms of real time, or at once after [`SimulatedSource::wake`]. No lock is held while
    /// `cancelled` runs.
    ///
    /// ```
    /// # use chronofabric_clock::TimeSource;
    /// let source = TimeSource::counter();
    /// let deadline_ns = source.now_ns() + 1_000_000;
    /// assert!(source.wait_until(deadline_ns, &|| false));
    /// assert!(source.now_ns() >= deadline_ns);
    /// assert!(!source.wait_until(i64::MAX, &|| true));
    /// ```
    pub fn wait_until(&self, deadline_ns: i64, cancelled: &dyn Fn() -> bool) -> bool {
        if let Self::Simulated(simulated) = self {
            return simulated.wait_until(deadline_ns, cancelled);
        }
        loop {
            if cancelled() {
                return false;
            }
            let left_ns = deadline_ns.saturating_sub(self.now_ns());
            if left_ns <= 0 {
                return true;
            }
            thread::sleep(Duration::from_nanos(left_ns.min(SLICE_NS).unsigned_abs()));
        }
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_wait_on_a_real_source_ends_at_its_deadline_and_not_before() {
        for source in [TimeSource::system(), TimeSource::counter()] {
            let deadline_ns = source.now_ns() + 2_000_000;
            assert!(source.wait_until(deadline_ns, &|| false));
            assert!(source.now_ns() >= deadline_ns, "{} woke early", source.name());
        }
    }

    #[test]
    fn an_unordered_reading_differs_from_an_ordered_one_by_its_age_only() {
        for source in [TimeSource::system(), TimeSource::counter(), TimeSource::simulated(3)] {
            let before = source.now_ns();
            let unordered = source.now_unordered_ns();
            let after = source.now_ns();
            assert!(before - 1_000 <= unordered && unordered <= after + 1_000, "{}", source.name());
        }
    }

    #[test]
    fn a_wait_for_the_past_ends_at_once() {
        for source in [TimeSource::system(), TimeSource::counter(), TimeSource::simulated(0)] {
            let asked = Cell::new(0);
            assert!(source.wait_until(i64::MIN, &|| {
                asked.set(asked.get() + 1);
                false
            }));
            assert_eq!(asked.get(), 1);
        }
    }

    #[test]
    fn a_cancelled_wait_answers_false_even_for_the_past() {
        for source in [TimeSource::system(), TimeSource::counter(), TimeSource::simulated(0)] {
            assert!(!source.wait_until(i64::MIN, &|| true), "{}", source.name());
        }
    }

    #[test]
    fn a_wait_that_would_never_end_is_cancelled_from_another_thread() {
        for source in [TimeSource::system(), TimeSource::counter(), TimeSource::simulated(0)] {
            let cancelled = AtomicBool::new(false);
            let reached = thread::scope(|scope| {
                let waiter = scope.spawn(|| source.wait_until(i64::MAX, &|| cancelled.load(Ordering::Acquire)));
                cancelled.store(true, Ordering::Release);
                waiter.join().unwrap()
            });
            assert!(!reached, "{}", source.name());
        }
    }

    #[test]
    fn the_slices_leave_time_to_wake_within_the_promise() {
        const { assert!(SLICE_NS * 2 <= CANCEL_LATENCY_NS_MAX) };
        let source = TimeSource::system();
        let asked = Cell::new(0);
        // Three slices and a bit: the flag is asked before each of them, however late the system wakes us.
        let deadline_ns = source.now_ns() + 3 * SLICE_NS + 1_000_000;
        assert!(source.wait_until(deadline_ns, &|| {
            asked.set(asked.get() + 1);
            false
        }));
        assert!(asked.get() >= 2, "asked {} times", asked.get());
    }

    #[test]
    fn sources_name_themselves_and_show_what_is_behind_them() {
        assert_eq!(TimeSource::system().name(), "system");
        assert_eq!(TimeSource::counter().name(), "counter");
        assert_eq!(TimeSource::simulated(0).name(), "simulated");
        assert!(TimeSource::counter().as_counter().is_some() && TimeSource::counter().as_simulated().is_none());
        assert!(TimeSource::simulated(0).as_simulated().is_some() && TimeSource::simulated(0).as_counter().is_none());
        assert!(TimeSource::system().as_simulated().is_none() && TimeSource::system().as_counter().is_none());
    }

    #[test]
    fn clones_share_simulated_time() {
        let source = TimeSource::simulated(5);
        let clone = source.clone();
        source.as_simulated().unwrap().set(9).unwrap();
        assert_eq!(clone.now_ns(), 9);
    }
}
