//! How long before an instant a thread that waits for it wakes up, because a sleep ends some microseconds late.

use chronofabric_clock::TimeSource;

/// The least margin of [`Spin::Auto`], and the greatest. On Windows the best of timers is half a millisecond late.
const MARGIN_NS: (i64, i64) = (10_000, if cfg!(windows) { 1_000_000 } else { 200_000 });
/// The longest sleep on the system's clock, which may be set meanwhile.
const SLICE_NS: i64 = 20_000_000;
/// A longer sleep than this ends early by a 64th, because the source and the system's clock may differ in rate.
const DRIFTLESS_NS: i64 = 50_000_000;

/// How long before an instant the thread that fires is awake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spin {
    /// As long as its sleeps have lately ended late, within bounds.
    #[default]
    Auto,
    /// This long, in nanoseconds.
    Fixed(i64),
}

/// How long before an instant a thread wakes up.
#[derive(Debug)]
pub struct Margin {
    spin: Spin,
    now_ns: i64,
}

/// A sleep on the way to an instant.
#[derive(Clone, Copy, Debug)]
pub struct Sleep {
    /// How long.
    pub for_ns: i64,
    /// When the margin begins, where it is slept until then.
    to_ns: Option<i64>,
}

impl Margin {
    pub(crate) fn new(spin: Spin) -> Self {
        let one_processor = std::thread::available_parallelism().is_ok_and(|count| count.get() == 1);
        let now_ns = match spin {
            // Looking at the clock keeps everybody else from running.
            Spin::Auto if one_processor => 0,
            Spin::Auto => MARGIN_NS.1 / 4,
            Spin::Fixed(margin_ns) => margin_ns,
        };
        Self { spin: if one_processor { Spin::Fixed(now_ns) } else { spin }, now_ns }
    }

    /// How long before, at this moment.
    pub(crate) fn ns(&self) -> i64 {
        self.now_ns
    }

    /// How to sleep on the way to an instant; not at all where the margin has begun.
    pub fn sleep(&self, source: &TimeSource, until_ns: i64) -> Option<Sleep> {
        let sleep_ns = until_ns.saturating_sub(source.now_ns()) - self.now_ns;
        let for_ns = match source {
            _ if sleep_ns <= 0 => return None,
            TimeSource::System => sleep_ns.min(SLICE_NS),
            _ if sleep_ns > DRIFTLESS_NS => sleep_ns - sleep_ns / 64,
            _ => sleep_ns,
        };
        Some(Sleep { for_ns, to_ns: (for_ns == sleep_ns).then_some(until_ns - self.now_ns) })
    }

    /// Takes account of a sleep that has ended now, by itself or because somebody called.
    pub fn learn(&mut self, source: &TimeSource, sleep: Sleep) {
        let Some(to_ns) = sleep.to_ns else { return };
        let late_ns = source.now_ns().saturating_sub(to_ns);
        if self.spin != Spin::Auto || late_ns < 0 {
            return;
        }
        // Up at once, down slowly: what is spent is a little time of a processor, what is saved is a late start.
        let wanted_ns = late_ns.saturating_add(late_ns / 2);
        let less_ns = self.now_ns - self.now_ns / 64;
        self.now_ns = wanted_ns.max(less_ns).clamp(MARGIN_NS.0, MARGIN_NS.1);
    }

    /// Waits awake for an instant, or until called.
    pub fn watch(&self, source: &TimeSource, until_ns: i64, is_called: impl Fn() -> bool) {
        // A clock that is set back meanwhile is not waited for by spinning.
        while (1..=self.now_ns).contains(&until_ns.saturating_sub(source.now_ns())) && !is_called() {
            std::hint::spin_loop();
        }
    }
}
