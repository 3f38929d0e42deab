//! The maximum over a sliding window of ages, in amortised constant time.
//!
//! The monotone queue (Lemire, "Streaming Maximum-Minimum Filter Using No More than Three Comparisons per Element",
//! 2006), over ages instead of counts: of two samples in the window the older one can be the maximum only while it is
//! larger, so the candidates are kept strictly decreasing from the oldest to the newest, and the front one is the
//! answer. A window `[a, b]` with `a > 0` first holds each sample back until it is `a` old. The minimum is the
//! complement of the maximum of complements.

use std::collections::VecDeque;

use crate::formula::Interval;
use crate::margin::Margin;

/// A margin and the time of its sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dated {
    pub(crate) time_ns: i64,
    pub(crate) margin: Margin,
}

impl Dated {
    /// How long before `now_ns` it was; times never go back.
    #[inline]
    pub(crate) fn age_ns(&self, now_ns: i64) -> u64 {
        now_ns.abs_diff(self.time_ns)
    }
}

/// Candidates for a maximum: times never decrease, margins strictly do, from the front to the back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates(VecDeque<Dated>);

impl Candidates {
    /// Adds the newest candidate; those it outlives and outdoes go.
    #[inline]
    pub(crate) fn admit(&mut self, newest: Dated) {
        while self.0.back().is_some_and(|candidate| candidate.margin <= newest.margin) {
            self.0.pop_back();
        }
        self.0.push_back(newest);
    }

    /// Lowers every candidate to `ceiling` at most. All that it reaches become equal, so the newest stands for them.
    #[inline]
    pub(crate) fn lower(&mut self, ceiling: Margin) {
        let mut lowered = None;
        while let Some(candidate) = self.0.front()
            && candidate.margin >= ceiling
        {
            lowered = Some(candidate.time_ns);
            self.0.pop_front();
        }
        if let Some(time_ns) = lowered {
            self.0.push_front(Dated { time_ns, margin: ceiling });
        }
    }

    /// Drops what is older than `age_ns`.
    #[inline]
    pub(crate) fn expire(&mut self, now_ns: i64, age_ns: u64) {
        while self.0.front().is_some_and(|candidate| candidate.age_ns(now_ns) > age_ns) {
            self.0.pop_front();
        }
    }

    #[inline]
    pub(crate) fn maximum(&self) -> Margin {
        self.0.front().map_or(Margin::FALSE, |candidate| candidate.margin)
    }

    pub(crate) fn oldest_ns(&self) -> Option<i64> {
        self.0.front().map(|candidate| candidate.time_ns)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The maximum over the samples whose age lies in an interval.
#[derive(Clone, Debug)]
pub(crate) struct SlidingMaximum {
    start_ns: u64,
    end_ns: u64,
    /// Samples younger than the window, oldest first.
    pending: VecDeque<Dated>,
    candidates: Candidates,
}

impl SlidingMaximum {
    pub(crate) fn new(interval: Interval) -> Self {
        Self {
            start_ns: interval.start_ns.unsigned_abs(),
            end_ns: interval.end_ns.unsigned_abs(),
            pending: VecDeque::new(),
            candidates: Candidates::default(),
        }
    }

    /// Takes the newest sample and gives the maximum over the window that ends with it.
    #[inline]
    pub(crate) fn push(&mut self, time_ns: i64, margin: Margin) -> Margin {
        self.candidates.expire(time_ns, self.end_ns);
        let newest = Dated { time_ns, margin };
        if self.start_ns == 0 {
            self.candidates.admit(newest);
        } else {
            while let Some(oldest) = self.pending.front()
                && oldest.age_ns(time_ns) >= self.start_ns
            {
                if oldest.age_ns(time_ns) <= self.end_ns {
                    self.candidates.admit(*oldest);
                }
                self.pending.pop_front();
            }
            self.pending.push_back(newest);
        }
        self.candidates.maximum()
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len() + self.candidates.len()
    }

    /// Whether a sample at `time_ns` can be taken while holding `limit` samples at most.
    ///
    /// A full window has room only if its oldest sample leaves by then: this is known before any margin is, so a
    /// sample can be refused before it has changed anything.
    #[inline]
    pub(crate) fn has_room(&self, time_ns: i64, limit: usize) -> bool {
        self.len() < limit || has_expired(&self.candidates, self.pending.front().copied(), time_ns, self.end_ns)
    }

    pub(crate) fn clear(&mut self) {
        self.pending.clear();
        self.candidates.clear();
    }
}

/// Whether the oldest sample of a window is older than its end.
#[cold]
pub(crate) fn has_expired(candidates: &Candidates, pending: Option<Dated>, now_ns: i64, end_ns: u64) -> bool {
    let oldest_ns = candidates.oldest_ns().or(pending.map(|pending| pending.time_ns));
    oldest_ns.is_some_and(|oldest_ns| now_ns.abs_diff(oldest_ns) > end_ns)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn run(start_ns: i64, end_ns: i64, samples: &[(i64, f64)]) -> Vec<f64> {
        let mut window = SlidingMaximum::new(Interval { start_ns, end_ns });
        samples.iter().map(|(time_ns, value)| window.push(*time_ns, Margin::from_f64(*value)).to_f64()).collect()
    }

    #[test]
    fn the_maximum_slides_and_both_ends_are_closed() {
        let samples = [(0, 5.0), (1, 3.0), (2, 1.0), (3, 2.0), (6, 0.0)];
        assert_eq!(run(0, 2, &samples), [5.0, 5.0, 5.0, 3.0, 0.0]);
    }

    #[test]
    fn a_delayed_window_holds_samples_back_and_may_be_empty() {
        let none = f64::NEG_INFINITY;
        let samples = [(0, 5.0), (1, 3.0), (2, 1.0), (3, 2.0), (9, 0.0)];
        assert_eq!(run(1, 2, &samples), [none, 5.0, 5.0, 3.0, none]);
    }

    #[test]
    fn the_extremes_of_time_are_ordinary_times() {
        assert_eq!(run(0, i64::MAX, &[(i64::MIN, 1.0), (i64::MAX, 0.0)]), [1.0, 0.0]);
        assert_eq!(run(0, 5, &[(i64::MAX - 5, 1.0), (i64::MAX, 0.0)]), [1.0, 1.0]);
        assert_eq!(run(5, 9, &[(i64::MIN, 1.0), (i64::MIN + 5, 0.0)])[1], 1.0);
    }

    #[test]
    fn of_equal_samples_the_newest_stands_for_all() {
        let mut window = SlidingMaximum::new(Interval { start_ns: 0, end_ns: 10 });
        for time_ns in 0..8 {
            window.push(time_ns, Margin::from_f64(1.0));
        }
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn a_full_window_has_room_again_when_its_oldest_sample_leaves() {
        for start_ns in [0, 4] {
            let mut window = SlidingMaximum::new(Interval { start_ns, end_ns: 10 });
            window.push(0, Margin::from_f64(2.0));
            window.push(1, Margin::from_f64(1.0));
            assert!(window.has_room(10, 3));
            assert!(!window.has_room(10, 2));
            assert!(window.has_room(11, 2));
            window.push(11, Margin::from_f64(0.0));
            assert_eq!(window.len(), 2);
        }
    }
}
