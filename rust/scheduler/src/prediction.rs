//! How long a task will run, learnt from how long it ran: quantiles, online, in bounded memory, with forgetting.
//!
//! An [`ExecutionTime`] counts observations in buckets whose width grows with the duration, 32 to a doubling, as
//! HdrHistogram does (G. Tene), which is DDSketch (C. Masson, J. E. Rim and H. K. Lee, "DDSketch: A Fast and
//! Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", PVLDB 12(12), 2019) with a bucket index that needs no
//! logarithm. Older observations weigh less, by forward decay (G. Cormode, V. Shkapenyuk, D. Srivastava and B. Xu,
//! "Forward Decay: A Practical Time Decay Model for Streaming Systems", ICDE 2009): the newest weighs 1, and one that
//! `h` others followed, `h` the half-life, a half.
//!
//! # What is guaranteed
//!
//! - **Value.** The estimate of a quantile is never below the exact weighted quantile (the least observation so that those
//!   up to it have the share `q` of all weight), and at most one part in 32 above it; below 64 ns it is exact. So what is
//!   admitted by an estimate is admitted by the exact quantile.
//! - **Rank.** No observation is ever in a wrong bucket or forgotten early, so the rank of an estimate has no error of its
//!   own, however heavy the tail, only that of a sum in double precision (less than 1e-9).
//! - **Change.** Where the distribution changes, and `k` observations follow, all older ones together have a share of
//!   less than 2^(-k/h). So the estimate lies between the quantiles, at `q` less and `q` plus that share, of what came since.
//! - **Memory.** At most [`EXECUTION_TIME_BYTES_MAX`], whatever is observed; a task that stays within one octave of durations takes 256
//!   bytes.
//!
//! Estimators of a single quantile in constant memory (P-square, R. Jain and I. Chlamtac, 1985) promise no error at all
//! and forget nothing; sketches of rank (Greenwald and Khanna, 2001; Karnin, Lang and Liberty, 2016) promise a rank that
//! in a heavy tail may be any value.

use std::num::NonZeroU32;

/// Buckets to a doubling of the duration: 2 to the power of this.
const SUB_BITS: u32 = 5;
const SUB: usize = 1 << SUB_BITS;
/// Groups of [`SUB`] buckets: the exact ones below [`SUB`], then one for each doubling.
const GROUPS: usize = 64 - SUB_BITS as usize + 1;
/// The weight of the newest observation at which all weights are divided by it.
const RENORMALISE_AT: f64 = (1_u128 << 100) as f64;
/// The share of the weight below which a bucket is forgotten then: less than rounding shows.
const FORGOTTEN_SHARE: f64 = 1e-18;

/// What one task takes at most, beside the fixed fields.
pub const EXECUTION_TIME_BYTES_MAX: usize = GROUPS * SUB * size_of::<f64>();

/// The execution times of one task.
///
/// ```
/// use chronofabric_scheduler::ExecutionTime;
/// use std::num::NonZeroU32;
///
/// let mut time = ExecutionTime::new(NonZeroU32::new(1_000).unwrap());
/// assert_eq!(time.quantile_ns(0.99), None);
/// for run in 0..100 {
///     time.observe(if run % 10 == 0 { 9_000 } else { 1_000 });
/// }
/// assert_eq!((time.quantile_ns(0.5), time.quantile_ns(0.99)), (Some(1_007), Some(9_215)));
/// ```
#[derive(Clone, Debug)]
pub struct ExecutionTime {
    /// Weights of the buckets from group `lowest` on, as if the first observation since they were divided weighed 1.
    weights: Vec<f64>,
    lowest: usize,
    /// What the next observation weighs by that measure, and by how much more the one after it.
    weight: f64,
    growth: f64,
    observations: u64,
    longest_ns: Option<u64>,
}

impl ExecutionTime {
    /// Nothing is known yet; an observation weighs half as much as one `half_life` observations later.
    pub fn new(half_life: NonZeroU32) -> Self {
        let growth = (1.0 / f64::from(half_life.get())).exp2();
        Self { weights: Vec::new(), lowest: 0, weight: 1.0, growth, observations: 0, longest_ns: None }
    }

    /// Takes note of one execution.
    pub fn observe(&mut self, duration_ns: u64) {
        let bucket = bucket_of(duration_ns);
        self.make_room(bucket / SUB);
        self.weights[bucket - self.lowest * SUB] += self.weight;
        self.observations += 1;
        self.longest_ns = self.longest_ns.max(Some(duration_ns));
        self.weight *= self.growth;
        if self.weight > RENORMALISE_AT {
            self.renormalise();
        }
    }

    /// The duration within which the share `q` of the executions ended, weighted by their age; None before the first.
    /// A `q` outside 0 to 1 counts as the nearer of these.
    pub fn quantile_ns(&self, q: f64) -> Option<u64> {
        let wanted = q.clamp(0.0, 1.0) * self.weights.iter().sum::<f64>();
        let mut up_to = 0.0;
        let mut reached = None;
        for (index, &weight) in self.weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            up_to += weight;
            reached = Some(upper(self.lowest * SUB + index));
            if up_to >= wanted {
                break;
            }
        }
        reached
    }

    /// The longest of all, forgotten ones included; None before the first.
    pub fn longest_ns(&self) -> Option<u64> {
        self.longest_ns
    }

    /// How many executions were observed, forgotten ones included.
    pub fn observations(&self) -> u64 {
        self.observations
    }

    /// What the buckets take, in bytes; never more than [`EXECUTION_TIME_BYTES_MAX`].
    pub fn bytes(&self) -> usize {
        self.weights.capacity() * size_of::<f64>()
    }

    fn make_room(&mut self, group: usize) {
        if self.weights.is_empty() {
            self.lowest = group;
        }
        let below = self.lowest.saturating_sub(group);
        let above = (group + 1).saturating_sub(self.lowest + self.weights.len() / SUB);
        if below + above > 0 {
            let mut grown = Vec::with_capacity(self.weights.len() + (below + above) * SUB);
            grown.resize(below * SUB, 0.0);
            grown.append(&mut self.weights);
            grown.resize(grown.len() + above * SUB, 0.0);
            self.weights = grown;
            self.lowest -= below;
        }
    }

    /// Divides all weights by that of the next observation, and lets go of groups at both ends that weigh nothing.
    fn renormalise(&mut self) {
        let least = FORGOTTEN_SHARE * self.weights.iter().sum::<f64>();
        for weight in &mut self.weights {
            *weight = if *weight < least { 0.0 } else { *weight / self.weight };
        }
        self.weight = 1.0;
        let used = |group: &[f64]| group.iter().any(|weight| *weight > 0.0);
        let groups = self.weights.len() / SUB;
        let first = self.weights.chunks(SUB).position(used).unwrap_or(0);
        let after = self.weights.chunks(SUB).rposition(used).map_or(groups, |last| last + 1);
        self.weights.truncate(after * SUB);
        self.weights.drain(..first * SUB);
        self.weights.shrink_to_fit();
        self.lowest += first;
    }
}

fn bucket_of(value: u64) -> usize {
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
    let shift = bucket / SUB - 1;
    let first = ((bucket % SUB + SUB) as u64) << shift;
    first | ((1 << shift) - 1)
}
