//! The counter source: the processor's cycle counter, kept on the wall clock, read without a lock or a system call.
//!
//! Invariants:
//! - A reading is the broken line of [`discipline`](crate::discipline) at the present count; the line lies under a
//!   [`Seqlock`], so a read is six loads, one count and one multiplication.
//! - Ordered readings never step back: not on one thread, and not from one thread to another that has seen its reading,
//!   as far as the counters of the cores agree (on machines that pass the checks in [`hardware`](crate::hardware) they
//!   do). The count is taken between the two looks at the sequence, and a writer takes the count at which its piece of
//!   the line begins after readers are held off.
//! - About once a second one reader that finds the interval over takes the discipline (`try_lock`: the others go on
//!   with the old line) and pays about half a microsecond for a sample of the wall clock. There is no thread behind
//!   this.

use crate::CounterKind;
use crate::discipline::{Discipline, Line, Sample};
use crate::hardware::Counter;
use crate::seqlock::Seqlock;
use crate::system::wall_ns;
use std::sync::{Mutex, OnceLock, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// How long calibration watches the counter: 20 ns of error at each end are 10 ppm of it.
const CALIBRATION: Duration = Duration::from_millis(4);
/// How many brackets a sample is the narrowest of.
const BRACKETS: usize = 5;

/// The process-wide counter source; obtained by [`CounterSource::process`] or
/// [`TimeSource::counter`](crate::TimeSource::counter).
#[derive(Debug)]
pub struct CounterSource {
    line: Seqlock<5>,
    counter: Counter,
    discipline: Mutex<Discipline>,
}

impl CounterSource {
    /// The one counter source of this process. The first call calibrates it, which takes about 5 ms.
    ///
    /// ```
    /// use chronofabric_clock::CounterSource;
    ///
    /// let counter = CounterSource::process();
    /// let first = counter.now_ns();
    /// assert!(counter.now_ns() >= first);
    /// ```
    pub fn process() -> &'static Self {
        static PROCESS: OnceLock<CounterSource> = OnceLock::new();
        PROCESS.get_or_init(|| Self::calibrated(Counter::detect()))
    }

    /// Nanoseconds since the Unix epoch.
    #[inline]
    pub fn now_ns(&self) -> i64 {
        if let Some((words, ticks)) = self.line.read(|| self.counter.ticks())
            && let Some(now_ns) = Line::from_words(words).within_interval(ticks)
        {
            return now_ns;
        }
        self.now_overdue_ns()
    }

    /// Nanoseconds since the Unix epoch, possibly a few dozen cycles old: see
    /// [`TimeSource::now_unordered_ns`](crate::TimeSource::now_unordered_ns).
    #[inline(always)]
    pub fn now_unordered_ns(&self) -> i64 {
        // One attempt here: what is read once stays in registers.
        if let Some((words, ticks)) = self.line.attempt(|| self.counter.ticks_unordered())
            && let Some(now_ns) = Line::from_words(words).within_interval(ticks)
        {
            return now_ns;
        }
        self.now_again_ns()
    }

    #[cold]
    #[inline(never)]
    fn now_again_ns(&self) -> i64 {
        self.now_ns()
    }

    /// Which counter is read.
    pub fn kind(&self) -> CounterKind {
        self.counter.kind()
    }

    /// Whether a counter of the processor with one rate in every power state is read; else it is the monotonic clock.
    pub fn is_invariant(&self) -> bool {
        self.kind() != CounterKind::Monotonic
    }

    /// The measured rate of the counter, in ticks per second.
    ///
    /// ```
    /// # use chronofabric_clock::CounterSource;
    /// assert!(CounterSource::process().ticks_per_second() > 1e6);
    /// ```
    pub fn ticks_per_second(&self) -> f64 {
        1e9 / self.discipline.lock().unwrap_or_else(PoisonError::into_inner).ns_per_tick()
    }

    /// How far the wall clock was ahead when this source last looked at it, before correcting itself.
    pub fn last_error_ns(&self) -> i64 {
        self.discipline.lock().unwrap_or_else(PoisonError::into_inner).error_ns()
    }

    fn calibrated(counter: Counter) -> Self {
        // The rate is that of the monotonic clock, which nobody can set in between.
        let start = narrowest(&counter, Instant::now);
        thread::sleep(CALIBRATION);
        let end = narrowest(&counter, Instant::now);
        let elapsed_ns = end.value.duration_since(start.value).as_nanos() as f64;
        let ns_per_tick = elapsed_ns / end.middle_ticks.wrapping_sub(start.middle_ticks) as f64;
        if counter.kind() != CounterKind::Monotonic && !(1e-3..1e6).contains(&ns_per_tick) {
            // A counter that stands still, or counts back, is none.
            return Self::calibrated(Counter::monotonic());
        }
        let (discipline, line) = Discipline::start(ns_per_tick, sample(&counter));
        Self { line: Seqlock::new(line.to_words()), counter, discipline: Mutex::new(discipline) }
    }

    /// A read that found its interval over, or a writing of the line that never ended.
    #[cold]
    #[inline(never)]
    fn now_overdue_ns(&self) -> i64 {
        match self.discipline.try_lock() {
            Ok(mut discipline) => self.resynchronise(&mut discipline),
            Err(TryLockError::Poisoned(poisoned)) => self.resynchronise(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {}
        }
        match self.line.read(|| self.counter.ticks()) {
            Some((words, ticks)) => Line::from_words(words).at(ticks),
            // The writer is gone: this is a process forked in the middle of its few stores.
            None => wall_ns(),
        }
    }

    fn resynchronise(&self, discipline: &mut Discipline) {
        let Some((words, ticks)) = self.line.read(|| self.counter.ticks()) else { return };
        let line = Line::from_words(words);
        if line.within_interval(ticks).is_some() {
            // Another reader was here between our look and our lock.
            return;
        }
        let correction = discipline.resynchronise(&line, sample(&self.counter));
        self.line.write(|| line.continued(self.counter.ticks(), &correction).to_words());
    }
}

/// A reading of some clock, and where the counter stood.
struct Bracketed<T> {
    value: T,
    middle_ticks: u64,
    width_ticks: u64,
}

/// Reads a clock several times between two counts and keeps the reading that took least: it was not interrupted.
fn narrowest<T>(counter: &Counter, read: impl Fn() -> T) -> Bracketed<T> {
    let bracketed = || {
        let before = counter.ticks();
        let value = read();
        let width_ticks = counter.ticks().wrapping_sub(before);
        Bracketed { value, middle_ticks: before.wrapping_add(width_ticks / 2), width_ticks }
    };
    let mut best = bracketed();
    for _ in 1..BRACKETS {
        let next = bracketed();
        if next.width_ticks < best.width_ticks {
            best = next;
        }
    }
    best
}

fn sample(counter: &Counter) -> Sample {
    let Bracketed { value, middle_ticks, width_ticks } = narrowest(counter, wall_ns);
    Sample { ticks: middle_ticks, wall_ns: value, bracket_ticks: width_ticks }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    fn both() -> [CounterSource; 2] {
        [Counter::detect(), Counter::monotonic()].map(CounterSource::calibrated)
    }

    #[test]
    fn readings_follow_the_wall_clock_with_hardware_and_with_the_fallback() {
        for source in both() {
            let before = wall_ns();
            let now = source.now_ns();
            let after = wall_ns();
            // The bound is loose: it tells a wrong unit or base, not an error of microseconds, which a busy machine
            // cannot tell from its own pauses.
            assert!(now > before - 2_000_000 && now < after + 2_000_000, "{:?}: {now} - {before}", source.kind());
        }
    }

    #[test]
    fn the_interval_ends_and_one_reader_resynchronises() {
        for source in both() {
            let first = source.line.read(|| ()).unwrap().0;
            let start = Instant::now();
            let mut last = source.now_ns();
            while source.line.read(|| ()).unwrap().0 == first {
                let now = source.now_ns();
                assert!(now >= last);
                last = now;
                assert!(start.elapsed() < Duration::from_secs(60), "never resynchronised");
            }
            assert!(source.last_error_ns().abs() < 10_000_000, "off by {} ns", source.last_error_ns());
        }
    }

    #[test]
    fn no_thread_reads_less_than_another_has_shown() {
        for source in both() {
            let shown = AtomicI64::new(source.now_ns());
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        for _ in 0..if cfg!(miri) { 50 } else { 200_000 } {
                            let seen = shown.load(Ordering::Acquire);
                            let now = source.now_ns();
                            assert!(now >= seen, "{:?}: another thread read {seen}, this one {now}", source.kind());
                            shown.fetch_max(now, Ordering::AcqRel);
                        }
                    });
                }
            });
        }
    }

    #[test]
    fn the_fallback_counts_nanoseconds_and_is_not_invariant() {
        let source = CounterSource::calibrated(Counter::monotonic());
        assert!(!source.is_invariant());
        assert!((source.ticks_per_second() / 1e9 - 1.0).abs() < 1e-2, "{}", source.ticks_per_second());
    }

    #[test]
    fn a_lost_writer_leaves_readers_on_the_wall_clock() {
        let source = CounterSource::calibrated(Counter::monotonic());
        let before = wall_ns();
        // A writing that panics in the middle stands for a fork in the middle: the sequence stays odd.
        let torn = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            source.line.write(|| std::panic::resume_unwind(Box::new(())));
        }));
        assert!(torn.is_err());
        assert!(source.now_ns() >= before);
    }
}
