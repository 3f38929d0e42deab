//! A futex. The instant is absolute, on the system's monotonic clock, so that nothing that happens between computing it and
//! going to sleep makes the sleep longer.

use super::ASLEEP;
use std::io;
use std::sync::atomic::AtomicU32;

#[derive(Debug)]
pub(super) struct Bed;

impl Bed {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    pub(super) fn sleep_here(&self) {}

    pub(super) fn wait(&self, word: &AtomicU32, for_ns: Option<i64>) {
        let until = for_ns.map(|for_ns| {
            let until_ns = monotonic_ns().saturating_add(for_ns);
            libc::timespec { tv_sec: until_ns / 1_000_000_000, tv_nsec: until_ns % 1_000_000_000 }
        });
        let until = until.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the word outlives the call, and `until` is null or points to a valid time on this stack.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
                ASLEEP,
                until,
                std::ptr::null::<u32>(),
                libc::FUTEX_BITSET_MATCH_ANY,
            );
        }
    }

    pub(super) fn wake(&self, word: &AtomicU32) {
        // SAFETY: the word outlives the call.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1) };
    }
}

fn monotonic_ns() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writing. The call cannot fail with this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
