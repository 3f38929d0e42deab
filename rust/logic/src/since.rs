//! `left since[a, b] right` over a sliding window of ages, in amortised constant time.
//!
//! Write `w(j)` for what sample `j` contributes at sample `i`: the minimum of `right` at `j` and of `left` at every
//! sample after `j` up to `i`. The verdict is the maximum of `w` over the window. A new sample with margins `(l, r)`
//! changes every contribution by the same map, `w(j) := min(w(j), l)`, and adds `w(i) = r`.
//!
//! The map is monotone, so it never reverses the order of two contributions, and the rule of the monotone queue still
//! holds: of two samples in the window the older one matters only while it is larger. [`Candidates`] therefore stay
//! strictly decreasing, the map touches only those at the front (the largest) that exceed `l`, and it makes these
//! equal, so that the newest of them replaces them all. Each sample is added once and removed once.
//!
//! The maps `v -> max(min(v, l), r)` form a monoid under composition, `(l, r)` after `(l', r')` being
//! `(min(l', l), max(min(r', l), r))`, and aggregating it with two stacks (Tangwongsan, Hirzel and Schneider, 2021)
//! gives the same answers. The queue holds candidates instead of all samples, and has no moment at which it turns a
//! stack over.
//!
//! A window `[a, b]` with `a > 0` holds `right` back until it is `a` old; what `left` did meanwhile is the front of a
//! second monotone queue, of the minima of `left` over the samples that are held back.

use std::collections::VecDeque;

use crate::formula::Interval;
use crate::margin::Margin;
use crate::window::{Candidates, Dated, has_expired};

/// A minimum of `left` and the number of the sample it is from.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    sample: u64,
    margin: Margin,
}

/// The state of one `since` with an interval.
#[derive(Clone, Debug)]
pub(crate) struct SlidingSince {
    start_ns: u64,
    end_ns: u64,
    /// Samples pushed so far.
    pushed: u64,
    /// `right` of the samples younger than the window, oldest first.
    pending: VecDeque<Dated>,
    /// Minima of `left` over suffixes of the pending samples: numbers and margins strictly increase.
    minima: VecDeque<Numbered>,
    candidates: Candidates,
}

impl SlidingSince {
    pub(crate) fn new(interval: Interval) -> Self {
        Self {
            start_ns: interval.start_ns.unsigned_abs(),
            end_ns: interval.end_ns.unsigned_abs(),
            pushed: 0,
            pending: VecDeque::new(),
            minima: VecDeque::new(),
            candidates: Candidates::default(),
        }
    }

    /// Takes the newest sample and gives the verdict at it.
    #[inline]
    pub(crate) fn push(&mut self, time_ns: i64, left: Margin, right: Margin) -> Margin {
        self.candidates.expire(time_ns, self.end_ns);
        self.candidates.lower(left);
        let newest = Dated { time_ns, margin: right };
        if self.start_ns == 0 {
            self.candidates.admit(newest);
        } else {
            self.delay(newest, left);
        }
        self.candidates.maximum()
    }

    fn delay(&mut self, newest: Dated, left: Margin) {
        while self.minima.back().is_some_and(|minimum| minimum.margin >= left) {
            self.minima.pop_back();
        }
        self.minima.push_back(Numbered { sample: self.pushed, margin: left });

        let now_ns = newest.time_ns;
        while let Some(oldest) = self.pending.front().copied()
            && oldest.age_ns(now_ns) >= self.start_ns
        {
            let sample = self.pushed - self.pending.len() as u64;
            while self.minima.front().is_some_and(|minimum| minimum.sample <= sample) {
                self.minima.pop_front();
            }
            if oldest.age_ns(now_ns) <= self.end_ns {
                let since_then = self.minima.front().map_or(Margin::TRUE, |minimum| minimum.margin);
                self.candidates.admit(Dated { margin: oldest.margin.min(since_then), ..oldest });
            }
            self.pending.pop_front();
        }
        self.pending.push_back(newest);
        self.pushed += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len() + self.candidates.len()
    }

    /// Whether a sample at `time_ns` can be taken while holding `limit` samples at most.
    #[inline]
    pub(crate) fn has_room(&self, time_ns: i64, limit: usize) -> bool {
        self.len() < limit || has_expired(&self.candidates, self.pending.front().copied(), time_ns, self.end_ns)
    }

    pub(crate) fn clear(&mut self) {
        self.pushed = 0;
        self.pending.clear();
        self.minima.clear();
        self.candidates.clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn run(start_ns: i64, end_ns: i64, samples: &[(i64, f64, f64)]) -> Vec<f64> {
        let mut since = SlidingSince::new(Interval { start_ns, end_ns });
        let margin = Margin::from_f64;
        samples.iter().map(|(time, left, right)| since.push(*time, margin(*left), margin(*right)).to_f64()).collect()
    }

    #[test]
    fn left_is_read_after_the_sample_of_right() {
        // The mirror of `x until[0, 1] y` with x = (5, -1, 7), y = (-2, 5, -9): sampled 5, not the dense -1.
        assert_eq!(run(0, 1, &[(0, 7.0, -9.0), (1, -1.0, 5.0), (2, 5.0, -2.0)]), [-9.0, 5.0, 5.0]);
    }

    #[test]
    fn left_lowers_what_it_reaches_and_the_window_expires_the_rest() {
        let samples = [(0, 9.0, 8.0), (1, 9.0, 6.0), (2, 7.0, 1.0), (3, 4.0, 2.0), (4, 9.0, 0.0), (5, 9.0, 0.0)];
        assert_eq!(run(0, 2, &samples), [8.0, 8.0, 7.0, 4.0, 2.0, 2.0]);
    }

    #[test]
    fn a_delayed_window_keeps_what_left_did_meanwhile() {
        let none = f64::NEG_INFINITY;
        let samples = [(0, 9.0, 8.0), (1, 3.0, 7.0), (2, 5.0, 1.0), (3, 6.0, 2.0), (20, 9.0, 0.0)];
        // At 2: sample 0 with min(8, left 3, left 5). At 3: sample 1 with min(7, 5, 6) beats sample 0 with 3.
        assert_eq!(run(2, 3, &samples), [none, none, 3.0, 5.0, none]);
    }

    #[test]
    fn minima_never_outnumber_the_samples_held_back() {
        let mut since = SlidingSince::new(Interval { start_ns: 50, end_ns: 100 });
        for time_ns in 0..1_000 {
            let left = Margin::from_f64(time_ns as f64);
            since.push(time_ns, left, left);
            assert!(since.minima.len() <= since.pending.len());
        }
    }
}
