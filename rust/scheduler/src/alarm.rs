//! Where the thread that fires sleeps: until an instant, or until it is called.
//!
//! One word says which of three holds: nobody sleeps, somebody sleeps, somebody was called. A caller enters the system only
//! where somebody sleeps. On Linux the instant is absolute, on the system's monotonic clock, so that nothing that happens
//! between computing it and going to sleep makes the sleep longer.

use std::sync::atomic::{AtomicU32, Ordering};

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
const CALLED: u32 = 2;

/// For one sleeper and any number of callers.
#[derive(Debug)]
pub(crate) struct Alarm {
    word: AtomicU32,
    #[cfg(not(target_os = "linux"))]
    sleeper: std::sync::OnceLock<std::thread::Thread>,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU32::new(AWAKE),
            #[cfg(not(target_os = "linux"))]
            sleeper: std::sync::OnceLock::new(),
        }
    }

    /// Ends the sleep of who sleeps here, or else the next one before it begins.
    pub(crate) fn call(&self) {
        if self.word.swap(CALLED, Ordering::AcqRel) == ASLEEP {
            self.wake();
        }
    }

    /// Whether somebody called since the last sleep.
    pub(crate) fn is_called(&self) -> bool {
        self.word.load(Ordering::Acquire) == CALLED
    }

    /// Sleeps for a time, without end where there is none, or until called.
    pub(crate) fn sleep(&self, for_ns: Option<i64>) {
        if for_ns.is_none_or(|for_ns| for_ns > 0)
            && self.word.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
        {
            self.wait(for_ns);
        }
        self.word.store(AWAKE, Ordering::Release);
    }

    #[cfg(target_os = "linux")]
    fn wait(&self, for_ns: Option<i64>) {
        let until = for_ns.map(|for_ns| {
            let until_ns = monotonic_ns().saturating_add(for_ns);
            libc::timespec { tv_sec: until_ns / 1_000_000_000, tv_nsec: until_ns % 1_000_000_000 }
        });
        let until = until.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the word outlives the call, and `until` is null or points to a valid time on this stack.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.word.as_ptr(),
                libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
                ASLEEP,
                until,
                std::ptr::null::<u32>(),
                libc::FUTEX_BITSET_MATCH_ANY,
            );
        }
    }

    #[cfg(target_os = "linux")]
    fn wake(&self) {
        // SAFETY: the word outlives the call.
        unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1) };
    }

    #[cfg(not(target_os = "linux"))]
    fn wait(&self, for_ns: Option<i64>) {
        use std::time::{Duration, Instant};

        let started = Instant::now();
        let length = for_ns.map(|for_ns| Duration::from_nanos(for_ns.unsigned_abs()));
        while self.word.load(Ordering::Acquire) == ASLEEP {
            match length.map(|length| length.saturating_sub(started.elapsed())) {
                None => std::thread::park(),
                Some(left) if left.is_zero() => return,
                Some(left) => std::thread::park_timeout(left),
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn wake(&self) {
        if let Some(sleeper) = self.sleeper.get() {
            sleeper.unpark();
        }
    }

    /// Told by the thread that will sleep here.
    pub(crate) fn sleep_here(&self) {
        #[cfg(not(target_os = "linux"))]
        let _ = self.sleeper.set(std::thread::current());
    }
}

#[cfg(target_os = "linux")]
fn monotonic_ns() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writing. The call cannot fail with this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_sleep_lasts_as_long_as_it_was_told() {
        let alarm = Alarm::new();
        alarm.sleep_here();
        let started = Instant::now();
        alarm.sleep(Some(2_000_000));
        assert!(started.elapsed() >= Duration::from_millis(2));
    }

    #[test]
    fn a_call_before_the_sleep_ends_it_at_once() {
        let alarm = Alarm::new();
        alarm.sleep_here();
        alarm.call();
        assert!(alarm.is_called());
        alarm.sleep(None);
        assert!(!alarm.is_called());
    }

    #[test]
    fn a_call_ends_a_sleep_without_end() {
        let alarm = Alarm::new();
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                alarm.sleep_here();
                alarm.sleep(None);
            });
            while !sleeper.is_finished() {
                alarm.call();
                std::thread::yield_now();
            }
        });
    }
}
