//! Counts of durations in buckets whose width grows with the duration, as in HdrHistogram (Tene): 32 buckets to a doubling,
//! so a percentile is at most 3.2 % too high, from 1 ns to 292 years in 15 kB, and recording is one atomic addition.

use std::sync::atomic::{AtomicU64, Ordering};

const SUB_BITS: u32 = 5;
const SUB: usize = 1 << SUB_BITS;
const BUCKETS: usize = (64 - SUB_BITS as usize) * SUB;

/// The histogram.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    max: AtomicU64,
}

/// A summary of a histogram, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// How many durations were recorded.
    pub count: u64,
    /// Half were at most this long.
    pub p50_ns: u64,
    /// Nine of ten were at most this long.
    pub p90_ns: u64,
    /// 99 of a hundred were at most this long.
    pub p99_ns: u64,
    /// The longest, exactly.
    pub max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), max: AtomicU64::new(0) }
    }
}

fn bucket(value: u64) -> usize {
    if value < SUB as u64 {
        return value as usize;
    }
    let shift = 63 - value.leading_zeros() - SUB_BITS;
    (shift as usize + 1) * SUB + ((value >> shift) as usize - SUB)
}

/// The largest value that falls into a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < SUB {
        return bucket as u64;
    }
    let shift = (bucket / SUB - 1) as u32;
    (((bucket % SUB + SUB) as u128 + 1) * (1_u128 << shift) - 1).min(u128::from(u64::MAX)) as u64
}

impl Histogram {
    /// Records a duration; a negative one, from a clock that was set back, counts as zero.
    #[inline]
    pub fn record(&self, duration_ns: i64) {
        let value = duration_ns.max(0) as u64;
        if let Some(count) = self.buckets.get(bucket(value)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if value > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(value, Ordering::Relaxed);
        }
    }

    /// The summary.
    pub fn percentiles(&self) -> Percentiles {
        let counts: Vec<u64> = self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let count: u64 = counts.iter().sum();
        let max_ns = self.max.load(Ordering::Relaxed);
        let at = |hundredths: u64| {
            let rank = (u128::from(count) * u128::from(hundredths)).div_ceil(100).max(1) as u64;
            let mut seen = 0;
            counts.iter().position(|count| {
                seen += count;
                seen >= rank
            })
        };
        let value = |hundredths| at(hundredths).map_or(0, |bucket| upper(bucket).min(max_ns));
        Percentiles { count, p50_ns: value(50), p90_ns: value(90), p99_ns: value(99), max_ns }
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn percentiles_are_the_sorted_ones_within_the_width_of_a_bucket(
            mut values in proptest::collection::vec((0_u32..62, any::<u64>()), 1..300),
        ) {
            let histogram = Histogram::default();
            let mut sorted: Vec<u64> = values.drain(..).map(|(shift, bits)| (bits >> 2) >> shift).collect();
            sorted.iter().for_each(|value| histogram.record(*value as i64));
            sorted.sort_unstable();
            let summary = histogram.percentiles();
            prop_assert_eq!(summary.count, sorted.len() as u64);
            prop_assert_eq!(Some(&summary.max_ns), sorted.last());
            for (hundredths, found) in [(50, summary.p50_ns), (90, summary.p90_ns), (99, summary.p99_ns)] {
                let exact = sorted[(sorted.len() * hundredths).div_ceil(100).max(1) - 1];
                prop_assert!(found >= exact && found as f64 <= exact as f64 * 1.032, "{found} for {exact}");
            }
        }
    }

    #[test]
    fn every_bucket_holds_its_own_upper_end_and_the_next_value_is_in_the_next_bucket() {
        for index in 0..BUCKETS {
            assert_eq!(bucket(upper(index)), index);
            if index + 1 < BUCKETS {
                assert_eq!(bucket(upper(index) + 1), index + 1);
            }
        }
    }
}
