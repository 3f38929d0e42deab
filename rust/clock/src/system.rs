//! The operating system's wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch by the system's wall clock, which may step either way when it is set.
///
/// Instants outside `i64` (before 1677 or after 2262) are held at its ends.
#[inline]
pub(crate) fn wall_ns() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => clamped_ns(since),
        Err(before) => -clamped_ns(before.duration()),
    }
}

/// Whole seconds that surely fit; cheaper than the 128 bits of `as_nanos`.
const SECONDS_MAX: u64 = i64::MAX.unsigned_abs() / 1_000_000_000;

#[inline]
fn clamped_ns(duration: Duration) -> i64 {
    let seconds = duration.as_secs();
    if seconds >= SECONDS_MAX {
        return i64::MAX;
    }
    seconds.cast_signed() * 1_000_000_000 + i64::from(duration.subsec_nanos())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_is_that_of_the_standard_library() {
        let before = SystemTime::now();
        let wall = wall_ns();
        let after = SystemTime::now();
        let ns = |instant: SystemTime| instant.duration_since(UNIX_EPOCH).map_or(0, clamped_ns);
        assert!(ns(before) <= wall && wall <= ns(after));
    }

    #[test]
    fn durations_beyond_the_range_are_held_at_its_end() {
        assert_eq!(clamped_ns(Duration::MAX), i64::MAX);
        assert_eq!(clamped_ns(Duration::new(1, 5)), 1_000_000_005);
    }
}
