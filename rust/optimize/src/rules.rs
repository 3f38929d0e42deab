//! Dispatching rules: whenever the machine is free, the job of the greatest index among those whose predecessors have
//! ended is next. Both take `O((n + pairs) log n)`.
//!
//! - EDF, earliest due date first (J. R. Jackson, "Scheduling a Production Line to Minimize Maximum Tardiness", 1955):
//!   what an executor by deadline does by itself. Among equal due dates the greater weight goes first.
//! - ATC, apparent tardiness cost (A. P. J. Vepsalainen and T. E. Morton, "Priority Rules for Job Shops with Weighted
//!   Tardiness Costs", Management Science 33(8), 1987): weight by processing time, discounted exponentially by the slack
//!   that is left, in units of a look-ahead times the mean processing time. It is tried with several look-aheads.

use crate::batch::Batch;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// The look-aheads that are tried; good ones lie in this range, the greater the more due dates differ.
const LOOK_AHEADS: [f64; 7] = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0];

/// The order of earliest due dates.
pub(crate) fn edf(batch: &Batch) -> Vec<u32> {
    let jobs = batch.jobs();
    let urgency = |job: usize| Reverse((jobs[job].due, Reverse(jobs[job].weight), job as u32));
    let mut ready = BinaryHeap::new();
    dispatch(
        batch,
        &mut ready,
        |ready, job| ready.push(urgency(job)),
        |ready, _| ready.pop().map(|Reverse(most)| most.2),
    )
}

/// The best order by apparent tardiness cost.
pub(crate) fn atc(batch: &Batch) -> Vec<u32> {
    let with = |look_ahead: &f64| {
        let order = atc_with(batch, *look_ahead);
        (batch.cost(order.iter().map(|&job| job as usize)), order)
    };
    LOOK_AHEADS.iter().map(with).min_by_key(|(cost, _)| *cost).map(|(_, order)| order).unwrap_or_default()
}

/// An index of a job, in logarithms; of equal ones the earlier job is the greater.
#[derive(PartialEq)]
struct Index(f64, Reverse<u32>);

impl Eq for Index {}

impl PartialOrd for Index {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Index {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

/// The ready jobs. With `s` the scale of the slack, the logarithm of the index is `ln(w / p)` where no slack is left, and
/// `ln(w / p) - (d - p) / s + t / s` before: at any time `t` the order within either group does not depend on `t`.
#[derive(Default)]
struct Ready {
    slack: BinaryHeap<Index>,
    /// The same jobs by the time at which their slack is used up.
    turning: BinaryHeap<Reverse<(i64, u32)>>,
    /// Those without slack.
    pressing: BinaryHeap<Index>,
    /// Whether a job has left `slack` otherwise than from its top, where its entry is still.
    gone: Vec<bool>,
}

fn atc_with(batch: &Batch, look_ahead: f64) -> Vec<u32> {
    let jobs = batch.jobs();
    let mean = jobs.iter().map(|job| job.processing as f64).sum::<f64>() / jobs.len().max(1) as f64;
    let scale = look_ahead * mean;
    let ratio = |job: usize| (jobs[job].weight as f64 / jobs[job].processing as f64).ln();
    let latest_start = |job: usize| jobs[job].due - jobs[job].processing;
    let mut ready = Ready { gone: vec![false; jobs.len()], ..Ready::default() };
    dispatch(
        batch,
        &mut ready,
        |ready, job| {
            let discounted = ratio(job) - latest_start(job) as f64 / scale;
            ready.slack.push(Index(discounted, Reverse(job as u32)));
            ready.turning.push(Reverse((latest_start(job), job as u32)));
        },
        |ready, now| {
            while let Some(&Reverse((turns, job))) = ready.turning.peek()
                && turns <= now
            {
                ready.turning.pop();
                if !std::mem::replace(&mut ready.gone[job as usize], true) {
                    ready.pressing.push(Index(ratio(job as usize), Reverse(job)));
                }
            }
            while ready.slack.peek().is_some_and(|top| ready.gone[top.1.0 as usize]) {
                ready.slack.pop();
            }
            let patient = ready.slack.peek().map(|top| Index(top.0 + now as f64 / scale, top.1));
            if patient.is_some() && patient.as_ref() > ready.pressing.peek() {
                ready.slack.pop().map(|top| {
                    ready.gone[top.1.0 as usize] = true;
                    top.1.0
                })
            } else {
                ready.pressing.pop().map(|top| top.1.0)
            }
        },
    )
}

/// Runs a rule: `add` is told of each job that has become ready, `next` takes the one to start at a time.
fn dispatch<R>(
    batch: &Batch,
    ready: &mut R,
    add: impl Fn(&mut R, usize),
    next: impl Fn(&mut R, i64) -> Option<u32>,
) -> Vec<u32> {
    let mut waits_for = batch.waits_for();
    for job in (0..batch.len()).filter(|&job| waits_for[job] == 0) {
        add(ready, job);
    }
    let mut order = Vec::with_capacity(batch.len());
    let mut now = 0;
    while let Some(job) = next(ready, now) {
        order.push(job);
        now += batch.jobs()[job as usize].processing;
        for &after in batch.successors(job as usize) {
            waits_for[after as usize] -= 1;
            if waits_for[after as usize] == 0 {
                add(ready, after as usize);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Job;
    use proptest::prelude::*;

    fn batches() -> impl Strategy<Value = Batch> {
        let job = (1_u64..50, 0_u64..600, 0_u32..5);
        let jobs = prop::collection::vec(job, 1..30);
        (jobs, prop::collection::vec((0_usize..30, 0_usize..30), 0..30)).prop_map(|(jobs, pairs)| {
            let jobs: Vec<Job> =
                jobs.into_iter().map(|(processing, due, weight)| Job { processing, due, weight }).collect();
            let pairs: Vec<_> =
                pairs.into_iter().filter(|&(first, second)| first < second && second < jobs.len()).collect();
            Batch::new(&jobs, &pairs).unwrap()
        })
    }

    /// Holds an order to its definition: each job is ready, and no ready one has an index that is greater by more than
    /// rounding.
    fn follows(batch: &Batch, order: &[u32], index: impl Fn(usize, i64) -> f64) -> Result<(), TestCaseError> {
        let mut ended = vec![false; batch.len()];
        let mut now = 0;
        for &job in order {
            let job = job as usize;
            let ready: Vec<usize> = (0..batch.len())
                .filter(|&job| !ended[job] && batch.predecessors(job).iter().all(|&before| ended[before as usize]))
                .collect();
            prop_assert!(ready.contains(&job));
            let greatest = ready.iter().map(|&job| index(job, now)).fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(index(job, now) >= greatest * (1.0 - 1e-9), "{job} at {now}: {greatest}");
            ended[job] = true;
            now += batch.jobs()[job].processing;
        }
        prop_assert_eq!(order.len(), batch.len());
        Ok(())
    }

    proptest! {
        #[test]
        fn earliest_due_date_first_takes_the_earliest_of_those_that_are_ready(batch in batches()) {
            follows(&batch, &edf(&batch), |job, _| 1.0 / (1.0 + batch.jobs()[job].due as f64))?;
        }

        #[test]
        fn apparent_tardiness_cost_takes_the_greatest_index_of_its_definition(
            batch in batches(),
            look_ahead in prop::sample::select(LOOK_AHEADS.to_vec()),
        ) {
            let jobs = batch.jobs();
            let mean = jobs.iter().map(|job| job.processing).sum::<i64>() as f64 / jobs.len() as f64;
            follows(&batch, &atc_with(&batch, look_ahead), |job, now| {
                let job = jobs[job];
                let slack = (job.due - job.processing - now).max(0) as f64;
                job.weight as f64 / job.processing as f64 * (-slack / (look_ahead * mean)).exp()
            })?;
        }
    }
}
