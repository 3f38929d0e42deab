//! The simulated source: time moves when it is told to, and only forward.
//!
//! Invariants:
//! - The time never decreases; setting it to what it is already is allowed and wakes nobody new.
//! - A wait ends in `true` only after the time has been set to its deadline or beyond; every move wakes all waiters, in
//!   whatever order the system runs them.
//! - The caller's cancel flag is asked without the lock held, so it may take locks of its own.
//! - On its way forward time stops at every instant that an attendant names, in order, and the attendants act there, one
//!   after the other as they were added, in the thread that moves the time.

use crate::ClockError;
use crate::sync::lock;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, Weak};
use std::time::Duration;

/// How often a waiter asks whether it has been cancelled, by real time; [`SimulatedSource::wake`] makes it ask at once.
const CANCEL_CHECK: Duration = Duration::from_millis(20);

/// Something that acts at instants of simulated time, without a thread of its own.
pub trait Attendant: Send + Sync {
    /// The next instant at which it has something to do.
    fn next_due_ns(&self) -> Option<i64>;
    /// Does what is due now. May move the time itself.
    fn act(&self);
}

/// Time that moves when it is told to.
///
/// ```
/// use chronofabric_clock::SimulatedSource;
///
/// let source = SimulatedSource::new(1_000);
/// source.advance(500)?;
/// assert_eq!(source.now_ns(), 1_500);
/// assert!(source.set(1_499).is_err());
/// # Ok::<(), chronofabric_clock::ClockError>(())
/// ```
pub struct SimulatedSource {
    /// Written under `moving` only, read anywhere.
    now_ns: AtomicI64,
    moving: Mutex<()>,
    moved: Condvar,
    attendants: Mutex<Vec<Weak<dyn Attendant>>>,
}

impl fmt::Debug for SimulatedSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SimulatedSource").field("now_ns", &self.now_ns).finish_non_exhaustive()
    }
}

impl SimulatedSource {
    /// A source that stands at an instant.
    pub fn new(start_ns: i64) -> Self {
        let (moving, moved, attendants) = (Mutex::new(()), Condvar::new(), Mutex::default());
        Self { now_ns: AtomicI64::new(start_ns), moving, moved, attendants }
    }

    /// Where simulated time stands.
    #[inline]
    pub fn now_ns(&self) -> i64 {
        self.now_ns.load(Ordering::Acquire)
    }

    /// Moves time forward to an instant and wakes the waiters.
    ///
    /// # Errors
    ///
    /// [`ClockError::Backwards`] if the instant has passed; time stays where it is.
    pub fn set(&self, time_ns: i64) -> Result<(), ClockError> {
        let moving = self.lock();
        self.move_to(time_ns, moving)
    }

    /// Moves time forward by an amount, wakes the waiters, and returns where time stands then.
    ///
    /// # Errors
    ///
    /// [`ClockError::Backwards`] if the amount is negative, [`ClockError::OutOfRange`] if the sum exceeds 64 bits; time
    /// stays where it is.
    pub fn advance(&self, by_ns: i64) -> Result<i64, ClockError> {
        let moving = self.lock();
        let now_ns = self.now_ns();
        let time_ns = now_ns.checked_add(by_ns).ok_or(ClockError::OutOfRange { now_ns, by_ns })?;
        self.move_to(time_ns, moving)?;
        Ok(time_ns)
    }

    /// Has an attendant act at its instants for as long as it lives.
    pub fn attend(&self, attendant: Weak<dyn Attendant>) {
        let mut attendants = lock(&self.attendants);
        attendants.retain(|each| each.strong_count() > 0);
        attendants.push(attendant);
    }

    /// Makes every waiter ask at once whether it has been cancelled. Without it a waiter asks every 20 ms of real time.
    pub fn wake(&self) {
        let _moving = self.lock();
        self.moved.notify_all();
    }

    /// Waits until time has been moved to the deadline: `true`; or until `cancelled` answers true: `false`.
    pub(crate) fn wait_until(&self, deadline_ns: i64, cancelled: &dyn Fn() -> bool) -> bool {
        loop {
            if cancelled() {
                return false;
            }
            let moving = self.lock();
            if self.now_ns() >= deadline_ns {
                return true;
            }
            // Awake, early or not, both conditions are looked at again.
            drop(self.moved.wait_timeout(moving, CANCEL_CHECK));
        }
    }

    fn move_to(&self, time_ns: i64, moving: MutexGuard<'_, ()>) -> Result<(), ClockError> {
        let now_ns = self.now_ns();
        if time_ns < now_ns {
            return Err(ClockError::Backwards { now_ns, requested_ns: time_ns });
        }
        drop(moving);
        loop {
            // Asked anew each time: what acts may bring others, or have something to do again.
            let attendants: Vec<_> = lock(&self.attendants).iter().filter_map(Weak::upgrade).collect();
            let next_ns = attendants.iter().filter_map(|each| each.next_due_ns()).min();
            let Some(next_ns) = next_ns.filter(|next_ns| *next_ns <= time_ns) else { break };
            self.reach(next_ns);
            for each in attendants {
                if each.next_due_ns().is_some_and(|due_ns| due_ns <= self.now_ns()) {
                    each.act();
                }
            }
        }
        self.reach(time_ns);
        Ok(())
    }

    /// Stands at an instant, unless somebody moved past it meanwhile.
    fn reach(&self, time_ns: i64) {
        let moving = self.lock();
        if time_ns > self.now_ns() {
            self.now_ns.store(time_ns, Ordering::Release);
        }
        drop(moving);
        self.moved.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        lock(&self.moving)
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    #[test]
    fn going_back_is_refused_and_changes_nothing() {
        let source = SimulatedSource::new(100);
        let error = source.set(99).unwrap_err().to_string();
        assert!(error.contains("100 ns") && error.contains("99 ns"), "{error}");
        assert!(matches!(source.advance(-1), Err(ClockError::Backwards { now_ns: 100, requested_ns: 99 })));
        assert!(matches!(source.advance(i64::MAX), Err(ClockError::OutOfRange { now_ns: 100, .. })));
        assert_eq!(source.now_ns(), 100);
        source.set(100).unwrap();
        assert_eq!(source.now_ns(), 100);
    }

    #[test]
    fn a_waiter_is_woken_by_the_advance_that_reaches_its_deadline() {
        let source = SimulatedSource::new(0);
        let reached = thread::scope(|scope| {
            let waiter = scope.spawn(|| (source.wait_until(10, &|| false), source.now_ns()));
            for _ in 0..10 {
                source.advance(1).unwrap();
            }
            waiter.join().unwrap()
        });
        assert_eq!(reached, (true, 10));
    }

    #[test]
    fn every_waiter_wakes_at_its_own_deadline() {
        let source = SimulatedSource::new(0);
        thread::scope(|scope| {
            let waiters: Vec<_> = (1..=4)
                .map(|deadline| {
                    let source = &source;
                    scope.spawn(move || (source.wait_until(deadline, &|| false), source.now_ns() >= deadline))
                })
                .collect();
            for now in 1..=4 {
                source.set(now).unwrap();
            }
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap(), (true, true));
            }
        });
    }

    #[test]
    fn a_cancelled_waiter_returns_though_time_stands_still() {
        let source = SimulatedSource::new(0);
        let cancelled = AtomicBool::new(false);
        let reached = thread::scope(|scope| {
            let waiter = scope.spawn(|| source.wait_until(1, &|| cancelled.load(Ordering::Acquire)));
            cancelled.store(true, Ordering::Release);
            source.wake();
            waiter.join().unwrap()
        });
        assert!(!reached);
    }

    #[test]
    fn the_cancel_flag_may_move_the_time_itself() {
        let source = SimulatedSource::new(0);
        let reached = source.wait_until(3, &|| {
            source.advance(1).unwrap();
            false
        });
        assert!(reached);
        assert_eq!(source.now_ns(), 3);
    }

    /// Acts at instants one after the other, notes when it did, and moves the time by some on its way.
    struct Diary {
        source: Arc<SimulatedSource>,
        instants: Mutex<Vec<i64>>,
        acted: Mutex<Vec<i64>>,
        moves_by_ns: i64,
    }

    impl Attendant for Diary {
        fn next_due_ns(&self) -> Option<i64> {
            lock(&self.instants).first().copied()
        }

        fn act(&self) {
            lock(&self.instants).remove(0);
            lock(&self.acted).push(self.source.now_ns());
            if self.moves_by_ns > 0 {
                self.source.advance(self.moves_by_ns).unwrap();
            }
        }
    }

    fn diary(source: &Arc<SimulatedSource>, instants: &[i64], moves_by_ns: i64) -> Arc<Diary> {
        let (instants, acted) = (Mutex::new(instants.to_vec()), Mutex::default());
        let diary = Arc::new(Diary { source: Arc::clone(source), instants, acted, moves_by_ns });
        let known: Arc<dyn Attendant> = Arc::<Diary>::clone(&diary);
        source.attend(Arc::downgrade(&known));
        diary
    }

    #[test]
    fn time_stops_where_an_attendant_has_something_to_do() {
        let source = Arc::new(SimulatedSource::new(0));
        let (first, second) = (diary(&source, &[3, 5, 20], 0), diary(&source, &[4, 5], 0));
        source.advance(10).unwrap();
        assert_eq!(*lock(&first.acted), [3, 5]);
        assert_eq!(*lock(&second.acted), [4, 5]);
        assert_eq!(source.now_ns(), 10);
        drop(first);
        source.set(30).unwrap();
        assert_eq!(source.now_ns(), 30);
    }

    #[test]
    fn an_attendant_may_move_the_time_itself_and_past_the_target() {
        let source = Arc::new(SimulatedSource::new(0));
        let diary = diary(&source, &[3, 5], 10);
        source.advance(4).unwrap();
        // From 3 it went to 13, with the instant 5 on its way, from where it went to 15.
        assert_eq!(*lock(&diary.acted), [3, 5]);
        assert_eq!(source.now_ns(), 15);
    }

    proptest! {
        #[test]
        fn time_is_the_sum_of_the_accepted_moves(moves in prop::collection::vec(-5_i64..50, 0..100)) {
            let source = SimulatedSource::new(7);
            let mut expected = 7;
            for by_ns in moves {
                prop_assert_eq!(source.advance(by_ns).is_ok(), by_ns >= 0);
                expected += by_ns.max(0);
                prop_assert_eq!(source.now_ns(), expected);
            }
        }
    }
}
