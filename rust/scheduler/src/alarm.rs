//! Where the thread that fires sleeps: until an instant, or until it is called.
//!
//! One word says which of three holds: nobody sleeps, somebody sleeps, somebody was called. A caller enters the system only
//! where somebody sleeps. How the system lets a thread sleep is in `system`, one file for each.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg_attr(target_os = "linux", path = "alarm/linux.rs")]
#[cfg_attr(windows, path = "alarm/windows.rs")]
#[cfg_attr(not(any(target_os = "linux", windows)), path = "alarm/other.rs")]
mod system;

#[cfg(windows)]
pub(crate) use system::high_resolution_timer;

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
const CALLED: u32 = 2;

/// For one sleeper and any number of callers.
#[derive(Debug)]
pub(crate) struct Alarm {
    word: AtomicU32,
    bed: system::Bed,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { word: AtomicU32::new(AWAKE), bed: system::Bed::new()? })
    }

    /// Told by the thread that will sleep here.
    pub(crate) fn sleep_here(&self) {
        self.bed.sleep_here();
    }

    /// Ends the sleep of who sleeps here, or else the next one before it begins.
    pub(crate) fn call(&self) {
        if self.word.swap(CALLED, Ordering::AcqRel) == ASLEEP {
            self.bed.wake(&self.word);
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
            self.bed.wait(&self.word, for_ns);
        }
        self.word.store(AWAKE, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_sleep_lasts_as_long_as_it_was_told() {
        let alarm = Alarm::new().unwrap();
        alarm.sleep_here();
        let started = Instant::now();
        alarm.sleep(Some(2_000_000));
        assert!(started.elapsed() >= Duration::from_millis(2));
    }

    #[test]
    fn a_call_that_came_too_late_does_not_end_the_next_sleep() {
        let alarm = Alarm::new().unwrap();
        alarm.sleep_here();
        // What a caller does that found the sleeper asleep and was overtaken by the end of its sleep.
        alarm.bed.wake(&alarm.word);
        let started = Instant::now();
        alarm.sleep(Some(2_000_000));
        assert!(started.elapsed() >= Duration::from_millis(2));
    }

    #[test]
    fn a_call_before_the_sleep_ends_it_at_once() {
        let alarm = Alarm::new().unwrap();
        alarm.sleep_here();
        alarm.call();
        assert!(alarm.is_called());
        alarm.sleep(None);
        assert!(!alarm.is_called());
    }

    #[test]
    fn a_call_ends_a_sleep_without_end() {
        let alarm = Alarm::new().unwrap();
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
