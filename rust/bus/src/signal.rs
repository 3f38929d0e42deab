//! Waking who waits, at no cost while nobody does.
//!
//! A waiter registers ([`Signal::arm`]), then looks once more whether what it waits for is there, then sleeps. A notifier
//! makes its change visible, passes a full fence, and looks at one flag ([`Signal::notify`]). Of the two fences one comes
//! first, so either the waiter sees the change or the notifier sees the waiter (Dekker). A registration is used up by the
//! first notification: however many events follow, one wake-up serves them all.

use crate::sync::{AtomicBool, Mutex, Ordering, full_fence, lock};
use std::sync::Arc;

/// What is woken: a sleeping thread, an event loop, a thread that serves many subscriptions.
pub trait Wake: Send + Sync {
    /// Called once for a registration, from the notifying thread; must not block. `token` is the one given to
    /// [`Signal::arm`].
    fn wake(&self, token: u64);

    /// Told that it will be called in some microseconds, where that is known: who sleeps may wake up for it.
    fn soon(&self) {}
}

/// The two words of a waiter.
type Waiter = (Arc<dyn Wake>, u64);

/// A place to wait for one condition.
#[derive(Default)]
pub struct Signal {
    armed: AtomicBool,
    waiters: Mutex<Vec<Waiter>>,
}

impl std::fmt::Debug for Signal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Signal").field("armed", &self.armed).finish_non_exhaustive()
    }
}

impl Signal {
    /// Registers a waiter for the next notification. The caller must check its condition again before it sleeps.
    pub fn arm(&self, wake: Arc<dyn Wake>, token: u64) {
        let mut waiters = lock(&self.waiters);
        waiters.push((wake, token));
        self.armed.store(true, Ordering::Relaxed);
        drop(waiters);
        full_fence();
    }

    /// Takes back a registration that was not used.
    pub fn disarm(&self, wake: &Arc<dyn Wake>, token: u64) {
        let mut waiters = lock(&self.waiters);
        waiters.retain(|(other, number)| !(Arc::ptr_eq(other, wake) && *number == token));
        if waiters.is_empty() {
            self.armed.store(false, Ordering::Relaxed);
        }
    }

    /// Whether somebody waits. Meaningful only after a full fence that follows the change.
    #[inline]
    pub fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    /// Wakes everybody who waits. The caller has passed a full fence after its change, or uses [`Signal::notify`].
    #[cold]
    pub fn wake_all(&self) {
        let waiters = {
            let mut waiters = lock(&self.waiters);
            self.armed.store(false, Ordering::Relaxed);
            std::mem::take(&mut *waiters)
        };
        for (wake, token) in waiters {
            wake.wake(token);
        }
    }

    /// Wakes everybody who waits, if anybody does.
    #[inline]
    pub fn notify(&self) {
        full_fence();
        if self.is_armed() {
            self.wake_all();
        }
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
mod loom_models {
    use super::*;
    use crate::ring::Ring;
    use loom::thread;

    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(&self, _token: u64) {
            self.0.store(true, Ordering::Release);
        }
    }

    #[test]
    fn a_value_pushed_while_a_consumer_goes_to_sleep_is_seen_or_wakes_it() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let shared = Arc::new((Ring::new(2), Signal::default()));
            let flag = Arc::new(Flag(AtomicBool::new(false)));
            let other = Arc::clone(&shared);
            let producer = thread::spawn(move || {
                other.0.push(1).unwrap();
                other.1.notify();
            });
            shared.1.arm(Arc::clone(&flag) as Arc<dyn Wake>, 0);
            let seen = shared.0.is_ready();
            producer.join().unwrap();
            assert!(seen || flag.0.load(Ordering::Acquire), "the value is there and nobody was told");
        });
    }
}
