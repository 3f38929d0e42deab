//! The parking place that the standard library gives each thread.

use super::ASLEEP;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Bed(OnceLock<Thread>);

impl Bed {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(OnceLock::new()))
    }

    pub(super) fn sleep_here(&self) {
        let _ = self.0.set(thread::current());
    }

    pub(super) fn wait(&self, word: &AtomicU32, for_ns: Option<i64>) {
        let started = Instant::now();
        let length = for_ns.map(|for_ns| Duration::from_nanos(for_ns.unsigned_abs()));
        while word.load(Ordering::Acquire) == ASLEEP {
            match length.map(|length| length.saturating_sub(started.elapsed())) {
                None => thread::park(),
                Some(left) if left.is_zero() => return,
                Some(left) => thread::park_timeout(left),
            }
        }
    }

    pub(super) fn wake(&self, _word: &AtomicU32) {
        if let Some(sleeper) = self.0.get() {
            sleeper.unpark();
        }
    }
}
