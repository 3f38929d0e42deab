//! The arithmetic that keeps a free-running counter on the system's wall clock. Pure: no clock is read here.
//!
//! # Method
//!
//! Time is a broken line over the counter. A piece of it ([`Line`]) starts at `(base_ticks, base_ns)` and rises with
//! the slewed rate for one interval, after that with the steady rate, so that an idle process does not overshoot. The
//! first interval lasts 16 ms, each later one twice as long up to 1.024 s. When one has passed, the next reader takes a
//! [`Sample`] of counter and wall clock and [`Discipline::resynchronise`] answers with the next piece:
//!
//! - Steady rate: the rise of the wall clock over that of the counter since the last sample. A rate that differs by
//!   more than 10 ppm from the one in force is believed only when the next sample repeats it; a step of the wall clock
//!   does not.
//! - Slewed rate: the steady rate plus what removes the present error within the interval, at most 500 ppm.
//! - A wall clock that is ahead by more than a second is followed at once. One that is behind never makes time step
//!   back; time then runs 500 ppm slower until the two meet.
//! - A piece begins one nanosecond above the end of the last, so that a read that the processor moved across the seam
//!   by a few dozen cycles still does not step back: the rates of two pieces are about 1 000 ppm apart at most.
//!
//! # Error
//!
//! A sample is the middle of a wall clock reading bracketed by two counts, the narrowest of several, and off by at most
//! half the bracket: typically 20 ns, never accepted above 5 us unless the machine offers no better eight times in a
//! row. Between samples the rate is off by twice that over one interval, which is below 0.1 ppm, plus what the wall
//! clock's own discipline changes meanwhile. In the steady state readings are therefore within a microsecond of the
//! wall clock; after calibration over a few milliseconds they start within some 10 us and get there in about a second.

/// Fraction bits of a rate in nanoseconds per tick.
const RATE_BITS: u32 = 32;
const FIRST_INTERVAL_NS: f64 = 16e6;
const LAST_INTERVAL_NS: f64 = 1.024e9;
/// The most that the rate is bent to remove an error.
const MAX_SLEW: f64 = 500e-6;
/// The most that a measured rate may differ from the one in force, or from the one measured before, to be believed.
const MAX_RATE_CHANGE: f64 = 10e-6;
/// A wall clock further ahead than this is followed at once.
const MAX_LAG_NS: i64 = 1_000_000_000;
/// A wider bracket was interrupted: its middle tells too little.
const MAX_BRACKET_NS: f64 = 10e3;
const MAX_POSTPONEMENTS: u32 = 8;

/// The wall clock at a count of the counter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// The middle of the bracket.
    pub(crate) ticks: u64,
    pub(crate) wall_ns: i64,
    /// How long the reading of the wall clock took.
    pub(crate) bracket_ticks: u64,
}

/// One piece of the broken line that is time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    base_ticks: u64,
    base_ns: i64,
    interval_ticks: u64,
    /// Nanoseconds per tick during the interval, in units of 2^-32.
    slewed_rate: u64,
    /// Nanoseconds per tick after it.
    steady_rate: u64,
}

impl Line {
    /// The time at `ticks`, or `None` when the interval has passed and a resynchronisation is due.
    #[inline(always)]
    pub(crate) fn within_interval(&self, ticks: u64) -> Option<i64> {
        let elapsed = ticks.wrapping_sub(self.base_ticks);
        (elapsed <= self.interval_ticks).then(|| self.base_ns.wrapping_add(rise(elapsed, self.slewed_rate)))
    }

    /// The time at `ticks`, however late; at the base for counts before it (cores that disagree, a counter that
    /// restarted).
    pub(crate) fn at(&self, ticks: u64) -> i64 {
        let elapsed = ticks.wrapping_sub(self.base_ticks);
        if elapsed > u64::MAX / 2 {
            return self.base_ns;
        }
        let slewed = elapsed.min(self.interval_ticks);
        self.base_ns
            .saturating_add(rise(slewed, self.slewed_rate))
            .saturating_add(rise(elapsed - slewed, self.steady_rate))
    }

    /// The piece that follows this one from `ticks` on.
    pub(crate) fn continued(&self, ticks: u64, correction: &Correction) -> Self {
        Self {
            base_ticks: ticks,
            base_ns: self.at(ticks).saturating_add(1).saturating_add(correction.jump_ns),
            interval_ticks: correction.interval_ticks,
            slewed_rate: correction.slewed_rate,
            steady_rate: correction.steady_rate,
        }
    }

    #[inline(always)]
    pub(crate) fn from_words(words: [u64; 5]) -> Self {
        let [base_ticks, base_ns, interval_ticks, slewed_rate, steady_rate] = words;
        Self { base_ticks, base_ns: base_ns.cast_signed(), interval_ticks, slewed_rate, steady_rate }
    }

    pub(crate) fn to_words(self) -> [u64; 5] {
        [self.base_ticks, self.base_ns.cast_unsigned(), self.interval_ticks, self.slewed_rate, self.steady_rate]
    }
}

/// How the next piece differs from a plain continuation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Correction {
    jump_ns: i64,
    interval_ticks: u64,
    slewed_rate: u64,
    steady_rate: u64,
}

/// What is remembered from sample to sample.
#[derive(Clone, Debug)]
pub(crate) struct Discipline {
    ns_per_tick: f64,
    interval_ns: f64,
    previous: Sample,
    /// A measured rate that was not believed, and is if the next sample repeats it.
    doubted_ns_per_tick: Option<f64>,
    postponements: u32,
    error_ns: i64,
}

impl Discipline {
    /// Starts at a sample, with a rate measured beforehand.
    pub(crate) fn start(ns_per_tick: f64, sample: Sample) -> (Self, Line) {
        let discipline = Self {
            ns_per_tick,
            interval_ns: FIRST_INTERVAL_NS,
            previous: sample,
            doubted_ns_per_tick: None,
            postponements: 0,
            error_ns: 0,
        };
        let correction = discipline.correction(0, 0.0);
        let line = Line {
            base_ticks: sample.ticks,
            base_ns: sample.wall_ns,
            interval_ticks: correction.interval_ticks,
            slewed_rate: correction.slewed_rate,
            steady_rate: correction.steady_rate,
        };
        (discipline, line)
    }

    /// Takes a new sample into account, with the line in force at it.
    pub(crate) fn resynchronise(&mut self, line: &Line, sample: Sample) -> Correction {
        if sample.bracket_ticks as f64 * self.ns_per_tick > MAX_BRACKET_NS && self.postponements < MAX_POSTPONEMENTS {
            self.postponements += 1;
            self.interval_ns = FIRST_INTERVAL_NS;
            return self.correction(0, 0.0);
        }
        self.postponements = 0;
        self.measure_rate(&sample);
        self.previous = sample;
        self.interval_ns = (self.interval_ns * 2.0).min(LAST_INTERVAL_NS);
        self.error_ns = sample.wall_ns.saturating_sub(line.at(sample.ticks));
        if self.error_ns > MAX_LAG_NS {
            return self.correction(self.error_ns, 0.0);
        }
        self.correction(0, (self.error_ns as f64 / self.interval_ns).clamp(-MAX_SLEW, MAX_SLEW))
    }

    /// How far the wall clock was ahead at the last sample, before it was corrected.
    pub(crate) fn error_ns(&self) -> i64 {
        self.error_ns
    }

    pub(crate) fn ns_per_tick(&self) -> f64 {
        self.ns_per_tick
    }

    fn measure_rate(&mut self, sample: &Sample) {
        let ticks = sample.ticks.wrapping_sub(self.previous.ticks).cast_signed();
        if ticks <= 0 {
            self.doubted_ns_per_tick = None;
            return;
        }
        let measured = sample.wall_ns.saturating_sub(self.previous.wall_ns) as f64 / ticks as f64;
        let is_close_to = |rate: f64| (measured / rate - 1.0).abs() <= MAX_RATE_CHANGE;
        if is_close_to(self.ns_per_tick) || (measured > 0.0 && self.doubted_ns_per_tick.is_some_and(is_close_to)) {
            self.ns_per_tick = measured;
            self.doubted_ns_per_tick = None;
        } else {
            self.doubted_ns_per_tick = Some(measured);
        }
    }

    fn correction(&self, jump_ns: i64, slew: f64) -> Correction {
        Correction {
            jump_ns,
            interval_ticks: (self.interval_ns / self.ns_per_tick) as u64,
            slewed_rate: fixed_point(self.ns_per_tick * (1.0 + slew)),
            steady_rate: fixed_point(self.ns_per_tick),
        }
    }
}

fn fixed_point(ns_per_tick: f64) -> u64 {
    (ns_per_tick * (1_u64 << RATE_BITS) as f64).round() as u64
}

/// Nanoseconds in `ticks`, rounded down.
#[inline(always)]
fn rise(ticks: u64, rate: u64) -> i64 {
    ((u128::from(ticks) * u128::from(rate)) >> RATE_BITS) as i64
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A counter and a wall clock of known rates, and the line that is to follow.
    struct Bench {
        true_ns: u64,
        ticks_per_ns: f64,
        wall_offset_ns: i64,
        bracket_ticks: u64,
        discipline: Discipline,
        line: Line,
    }

    impl Bench {
        const START_NS: i64 = 1_700_000_000_000_000_000;

        fn new(ticks_per_ns: f64, calibration_error: f64) -> Self {
            let sample = Sample { ticks: 0, wall_ns: Self::START_NS, bracket_ticks: 50 };
            let (discipline, line) = Discipline::start((1.0 + calibration_error) / ticks_per_ns, sample);
            Self { true_ns: 0, ticks_per_ns, wall_offset_ns: Self::START_NS, bracket_ticks: 50, discipline, line }
        }

        fn ticks(&self) -> u64 {
            (self.true_ns as f64 * self.ticks_per_ns) as u64
        }

        fn wall_ns(&self) -> i64 {
            self.true_ns as i64 + self.wall_offset_ns
        }

        /// A read as `CounterSource` does it.
        fn read_after(&mut self, ns: u64) -> i64 {
            self.true_ns += ns;
            let ticks = self.ticks();
            if let Some(reading) = self.line.within_interval(ticks) {
                assert_eq!(reading, self.line.at(ticks));
                return reading;
            }
            let sample = Sample { ticks, wall_ns: self.wall_ns(), bracket_ticks: self.bracket_ticks };
            let correction = self.discipline.resynchronise(&self.line, sample);
            self.line = self.line.continued(ticks, &correction);
            self.line.at(ticks)
        }

        fn error_ns_after(&mut self, ns: u64) -> i64 {
            self.read_after(ns) - self.wall_ns()
        }
    }

    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1_000 * MS;

    /// Steps of the wall clock, either way.
    fn jumps() -> std::ops::Range<i64> {
        -5 * SECOND as i64..5 * SECOND as i64
    }

    #[test]
    fn a_rough_calibration_converges_within_two_seconds_to_below_a_microsecond() {
        for error in [-300e-6, -10e-6, 0.0, 10e-6, 300e-6] {
            let mut bench = Bench::new(2.9, error);
            for _ in 0..200 {
                bench.read_after(10 * MS);
            }
            let left_ns = bench.error_ns_after(10 * MS);
            assert!(left_ns.abs() < 1_000, "calibrated off by {error}, still off by {left_ns} ns");
        }
    }

    #[test]
    fn a_calibration_off_by_more_than_the_slew_is_repaired_by_the_second_sample() {
        let mut bench = Bench::new(1.0, 5e-3);
        for _ in 0..600 {
            bench.read_after(10 * MS);
        }
        let left_ns = bench.error_ns_after(10 * MS);
        assert!(left_ns.abs() < 1_000, "still off by {left_ns} ns");
    }

    #[test]
    fn an_idle_hour_does_not_overshoot() {
        let mut bench = Bench::new(3.0, 20e-6);
        for _ in 0..100 {
            bench.read_after(20 * MS);
        }
        bench.wall_offset_ns += 400_000;
        bench.read_after(2 * SECOND);
        let error_ns = bench.error_ns_after(3_600 * SECOND);
        assert!(error_ns.abs() < 50_000, "off by {error_ns} ns after an idle hour");
    }

    #[test]
    fn a_wall_clock_a_second_ahead_is_followed_at_once_and_one_behind_is_slewed_to() {
        let mut bench = Bench::new(3.0, 0.0);
        for _ in 0..500 {
            bench.read_after(10 * MS);
        }
        bench.wall_offset_ns += 90 * SECOND as i64;
        bench.read_after(2 * SECOND);
        assert!(bench.error_ns_after(MS).abs() < 1_000);

        bench.wall_offset_ns -= 10 * MS as i64;
        let mut last = bench.read_after(MS);
        let mut slowest = f64::MAX;
        for _ in 0..2_500 {
            let reading = bench.read_after(10 * MS);
            assert!(reading >= last);
            slowest = slowest.min((reading - last) as f64 / (10 * MS) as f64);
            last = reading;
        }
        assert!(slowest > 1.0 - MAX_SLEW - 1e-6, "slewed at a rate of {slowest}");
        assert!(bench.error_ns_after(MS).abs() < 1_000);
    }

    #[test]
    fn a_step_of_the_wall_clock_does_not_change_the_rate() {
        let mut bench = Bench::new(3.0, 0.0);
        for _ in 0..500 {
            bench.read_after(10 * MS);
        }
        let before = bench.discipline.ns_per_tick();
        bench.wall_offset_ns += 700 * MS as i64;
        bench.read_after(1_100 * MS);
        assert!((bench.discipline.ns_per_tick() / before - 1.0).abs() < 1e-9);
    }

    #[test]
    fn an_interrupted_sample_is_postponed_but_not_for_ever() {
        let mut bench = Bench::new(1.0, 0.0);
        for _ in 0..500 {
            bench.read_after(10 * MS);
        }
        bench.wall_offset_ns += 100_000;
        bench.bracket_ticks = 50_000;
        bench.read_after(2 * SECOND);
        assert!(bench.discipline.error_ns().abs() < 1_000, "a sample that took 50 us was believed");
        for _ in 0..MAX_POSTPONEMENTS {
            bench.read_after(20 * MS);
        }
        assert!((bench.discipline.error_ns() - 100_000).abs() < 1_000);
    }

    #[test]
    fn a_counter_that_restarts_does_not_take_time_back() {
        let mut bench = Bench::new(1.0, 0.0);
        let before = bench.read_after(500 * MS);
        bench.true_ns = 5;
        bench.wall_offset_ns += 2 * SECOND as i64 + 500 * MS as i64;
        let after = bench.read_after(0);
        assert!(after > before);
        assert!(bench.error_ns_after(0).abs() < 1_000);
    }

    #[test]
    fn words_hold_a_line() {
        let line = Line { base_ticks: 1, base_ns: -2, interval_ticks: 3, slewed_rate: 4, steady_rate: u64::MAX };
        assert_eq!(Line::from_words(line.to_words()), line);
    }

    proptest! {
        #[test]
        fn time_never_steps_back_whatever_the_wall_clock_does(
            ticks_per_ns in 0.02..5.0_f64,
            calibration_error in -2e-3..2e-3_f64,
            steps in prop::collection::vec((0..3 * SECOND, prop::option::weighted(0.2, jumps())), 1..200),
        ) {
            let mut bench = Bench::new(ticks_per_ns, calibration_error);
            let mut last = bench.read_after(0);
            for (pause_ns, step_ns) in steps {
                bench.wall_offset_ns += step_ns.unwrap_or(0);
                let reading = bench.read_after(pause_ns);
                prop_assert!(reading >= last, "stepped back from {last} to {reading}");
                last = reading;
            }
        }
    }
}
