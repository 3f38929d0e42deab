//! Whether a set of periodic or sporadic tasks keeps its deadlines, on a worker that runs one job at a time to its end,
//! earliest deadline first, and never waits while a job does.
//!
//! A set keeps them exactly if its utilisation is at most one and, for every interval `t`,
//!
//! ```text
//! sum over tasks with D <= t of (1 + floor((t - D) / T)) C  +  max over tasks with D > t of (C - 1)  <=  t
//! ```
//!
//! where `C` is the budget, `D` the deadline and `T` the period, in whole nanoseconds: what must be done within `t`, and a job
//! that began a moment before and cannot be interrupted (George, Rivierre and Spuri, *Preemptive and non-preemptive real-time
//! uniprocessor scheduling*, INRIA 2966, 1996, theorem 7). With deadlines equal to periods it is the condition of Jeffay,
//! Stanat and Martel, *On non-preemptive scheduling of periodic and sporadic tasks*, RTSS 1991, theorem 4.1. For sporadic
//! tasks, and periodic ones of unknown phase, it is necessary too: a refused set has a legal pattern of arrivals that misses,
//! and the refusal names it.
//!
//! The left side changes only where a job's deadline comes in, and only `t` up to a bound need be looked at: the longest
//! deadline, beyond which nobody blocks, and, where deadlines are shorter than periods, the point from which the utilisation
//! alone decides. Where that would be more than [`POINTS_MAX`] points, the set is refused, and says so.
//!
//! On several workers a set is divided: each task, the ones of high utilisation first, goes to the first worker on which it
//! fits. That is sufficient, not necessary.

use std::fmt;

/// How many points of time are looked at before a set is refused for being too intricate.
pub const POINTS_MAX: usize = 1_000_000;

/// Rounding of a sum of quotients.
const ROUNDING: f64 = 1e-12;

/// A task as admission sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskTimes {
    /// The least time between two of its jobs.
    pub period_ns: u64,
    /// By when each has to be done, from its arrival; at most the period.
    pub deadline_ns: u64,
    /// How long each may take.
    pub budget_ns: u64,
}

impl TaskTimes {
    /// The share of a worker that it takes.
    pub fn utilisation(&self) -> f64 {
        self.budget_ns as f64 / self.period_ns as f64
    }
}

/// Why a set fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// The share of the worker that all tasks take together.
    pub utilisation: f64,
    /// The longest that a job waits for one that was not to be interrupted.
    pub blocking_ns: u64,
    /// The interval in which least time is left, and how much.
    pub tightest: Option<(u64, u64)>,
}

/// Why a set does not fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Misfit {
    /// The share of the worker that all tasks would take together.
    pub utilisation: f64,
    /// What breaks.
    pub cause: Cause,
    /// The task that breaks it.
    pub task: usize,
    /// The longest budget with which this task would fit, if it can at all.
    pub budget_fits_ns: Option<u64>,
}

/// What a set that does not fit breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// All together ask for more than there is.
    Utilisation,
    /// In an interval more has to be done than it is long.
    Demand {
        /// How long it is.
        interval_ns: u64,
        /// What has to be done within it.
        demand_ns: u64,
        /// How long a job that began before may still block it.
        blocking_ns: u64,
    },
    /// There is too much to look at.
    Intricate,
}

impl fmt::Display for Misfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (task, percent) = (self.task, self.utilisation * 100.0);
        match self.cause {
            Cause::Utilisation => {
                write!(formatter, "the tasks take {percent:.1} % of a worker; the last is task {task}")?
            }
            Cause::Demand { interval_ns, demand_ns, blocking_ns } => write!(
                formatter,
                "within {interval_ns} ns there may be {demand_ns} ns to do, after {blocking_ns} ns of a job that cannot be \
                 interrupted; task {task} breaks it (utilisation {percent:.1} %)"
            )?,
            Cause::Intricate => write!(
                formatter,
                "at a utilisation of {percent:.2} % more than {POINTS_MAX} instants would have to be looked at"
            )?,
        }
        match self.budget_fits_ns {
            Some(budget_ns) => write!(formatter, ": it fits with a budget of {budget_ns} ns"),
            None => write!(formatter, ": no budget of it fits; give it a longer period or deadline, or another worker"),
        }
    }
}

/// Whether tasks keep their deadlines on one worker. `reserved_ns` is how long jobs that are not among them may take:
/// whatever runs outside of the set blocks it too.
///
/// ```
/// use chronofabric_scheduler::{TaskTimes, fits};
///
/// let fast = TaskTimes { period_ns: 10, deadline_ns: 10, budget_ns: 5 };
/// let slow = TaskTimes { period_ns: 100, deadline_ns: 100, budget_ns: 6 };
/// assert!(fits(&[fast, slow], 0).is_ok());
/// let longer = TaskTimes { budget_ns: 7, ..slow };
/// let misfit = fits(&[fast, longer], 0).unwrap_err();
/// assert_eq!((misfit.task, misfit.budget_fits_ns), (1, Some(6)));
/// ```
///
/// # Errors
///
/// [`Misfit`], which says what would fit.
pub fn fits(tasks: &[TaskTimes], reserved_ns: u64) -> Result<Fit, Misfit> {
    judge(tasks, reserved_ns).map_err(|(cause, task)| {
        let mut changed = tasks.to_vec();
        let mut fits_with = |budget_ns| {
            changed[task].budget_ns = budget_ns;
            judge(&changed, reserved_ns).is_ok()
        };
        // What fits with a budget fits with a shorter one.
        let (mut fits_ns, mut breaks_ns) = (0, tasks[task].budget_ns);
        while breaks_ns - fits_ns > 1 && cause != Cause::Intricate {
            let middle_ns = fits_ns + (breaks_ns - fits_ns) / 2;
            if fits_with(middle_ns) {
                fits_ns = middle_ns;
            } else {
                breaks_ns = middle_ns;
            }
        }
        Misfit { utilisation: utilisation(tasks), cause, task, budget_fits_ns: (fits_ns > 0).then_some(fits_ns) }
    })
}

/// Divides tasks among workers: for each the number of its worker.
///
/// # Errors
///
/// [`Misfit`] of the first task that fits on none, on the worker on which it has most room, with its number in `tasks`.
pub fn divide(tasks: &[TaskTimes], workers: usize, reserved_ns: u64) -> Result<Vec<usize>, Misfit> {
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by(|a, b| tasks[*b].utilisation().total_cmp(&tasks[*a].utilisation()));
    let mut on = vec![Vec::new(); workers.max(1)];
    let mut worker_of = vec![0; tasks.len()];
    for task in order {
        let mut best: Option<Misfit> = None;
        let found = on.iter_mut().enumerate().find_map(|(worker, members): (usize, &mut Vec<TaskTimes>)| {
            members.push(tasks[task]);
            match fits(members, reserved_ns) {
                Ok(_) => Some(worker),
                Err(misfit) => {
                    members.pop();
                    let misfit = Misfit { task, ..misfit };
                    if best.is_none_or(|best| misfit.utilisation < best.utilisation) {
                        best = Some(misfit);
                    }
                    None
                }
            }
        });
        match (found, best) {
            (Some(worker), _) => worker_of[task] = worker,
            (None, Some(misfit)) => return Err(misfit),
            (None, None) => {}
        }
    }
    Ok(worker_of)
}

fn utilisation(tasks: &[TaskTimes]) -> f64 {
    tasks.iter().map(TaskTimes::utilisation).sum()
}

fn judge(tasks: &[TaskTimes], reserved_ns: u64) -> Result<Fit, (Cause, usize)> {
    let utilisation = utilisation(tasks);
    if utilisation > 1.0 + ROUNDING {
        return Err((Cause::Utilisation, tasks.len() - 1));
    }
    let mut fit = Fit { utilisation, blocking_ns: reserved_ns.saturating_sub(1), tightest: None };
    let Some(bound_ns) = bound_ns(tasks, utilisation, reserved_ns) else {
        return Err((Cause::Intricate, tasks.len() - 1));
    };
    // Whoever blocks within an interval has a deadline beyond it: the longest budget among those, from the back.
    let mut by_deadline: Vec<usize> = (0..tasks.len()).collect();
    by_deadline.sort_by_key(|task| tasks[*task].deadline_ns);
    let mut blockers = vec![None; tasks.len() + 1];
    for place in (0..tasks.len()).rev() {
        let longest = blockers[place + 1];
        let here = by_deadline[place];
        let longer = longest.is_none_or(|task: usize| tasks[here].budget_ns > tasks[task].budget_ns);
        blockers[place] = if longer { Some(here) } else { longest };
    }
    let mut points = Points::new(tasks);
    let mut demand_ns: u128 = 0;
    for _ in 0..POINTS_MAX {
        let Some((interval_ns, _)) = points.peek().filter(|point| point.0 <= bound_ns) else { return Ok(fit) };
        let mut newest = 0;
        while let Some((_, task)) = points.peek().filter(|point| point.0 == interval_ns) {
            demand_ns += u128::from(tasks[task].budget_ns);
            newest = task;
            points.next();
        }
        let beyond = by_deadline.partition_point(|task| tasks[*task].deadline_ns <= interval_ns);
        let blocker = blockers[beyond];
        let budget_ns = blocker.map_or(0, |task| tasks[task].budget_ns);
        let blocking_ns = budget_ns.max(reserved_ns).saturating_sub(1);
        if demand_ns + u128::from(blocking_ns) > u128::from(interval_ns) {
            let demand_ns = u64::try_from(demand_ns).unwrap_or(u64::MAX);
            let task = blocker.filter(|_| budget_ns > 1).unwrap_or(newest);
            return Err((Cause::Demand { interval_ns, demand_ns, blocking_ns }, task));
        }
        fit.blocking_ns = fit.blocking_ns.max(blocking_ns);
        let left_ns = interval_ns - demand_ns as u64 - blocking_ns;
        if fit.tightest.is_none_or(|(_, least_ns)| left_ns < least_ns) {
            fit.tightest = Some((interval_ns, left_ns));
        }
    }
    Err((Cause::Intricate, tasks.len() - 1))
}

/// Up to where intervals have to be looked at: beyond, the utilisation alone decides.
fn bound_ns(tasks: &[TaskTimes], utilisation: f64, reserved_ns: u64) -> Option<u64> {
    let longest_ns = tasks.iter().map(|task| task.deadline_ns).max().unwrap_or(0);
    let slack: f64 = tasks.iter().map(|task| (task.period_ns - task.deadline_ns) as f64 * task.utilisation()).sum();
    let slack = slack + reserved_ns as f64;
    if slack == 0.0 {
        return Some(longest_ns);
    }
    let left = 1.0 - utilisation;
    if left <= ROUNDING {
        return None;
    }
    let bound = slack / left;
    (bound < 2_f64.powi(62)).then(|| longest_ns.max(bound.ceil() as u64))
}

/// The instants at which jobs have to be done when all tasks begin at once and come as often as they may, in order.
struct Points {
    heap: std::collections::BinaryHeap<std::cmp::Reverse<(u64, usize)>>,
    periods_ns: Vec<u64>,
}

impl Points {
    fn new(tasks: &[TaskTimes]) -> Self {
        let heap = tasks.iter().enumerate().map(|(task, times)| std::cmp::Reverse((times.deadline_ns, task))).collect();
        Self { heap, periods_ns: tasks.iter().map(|task| task.period_ns).collect() }
    }

    fn peek(&self) -> Option<(u64, usize)> {
        self.heap.peek().map(|first| first.0)
    }

    fn next(&mut self) {
        if let Some(mut first) = self.heap.peek_mut() {
            first.0.0 = first.0.0.saturating_add(self.periods_ns[first.0.1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn task(period_ns: u64, deadline_ns: u64, budget_ns: u64) -> TaskTimes {
        TaskTimes { period_ns, deadline_ns, budget_ns }
    }

    /// Jeffay, Stanat and Martel as they wrote it, by trying every interval.
    fn jeffay(tasks: &[TaskTimes]) -> bool {
        let mut tasks = tasks.to_vec();
        tasks.sort_by_key(|task| task.period_ns);
        let shortest = tasks[0].period_ns;
        utilisation(&tasks) <= 1.0 + ROUNDING
            && (1..tasks.len()).all(|i| {
                (shortest + 1..tasks[i].period_ns).all(|l| {
                    let others: u64 = tasks[..i].iter().map(|task| (l - 1) / task.period_ns * task.budget_ns).sum();
                    l >= tasks[i].budget_ns + others
                })
            })
    }

    /// George, Rivierre and Spuri by trying every interval of a long time.
    fn george(tasks: &[TaskTimes], until_ns: u64) -> bool {
        utilisation(tasks) <= 1.0 + ROUNDING
            && (1..until_ns).all(|t| {
                let jobs = |task: &TaskTimes| 1 + (t - task.deadline_ns) / task.period_ns;
                let demand: u64 =
                    tasks.iter().filter(|task| task.deadline_ns <= t).map(|task| jobs(task) * task.budget_ns).sum();
                let later = tasks.iter().filter(|task| task.deadline_ns > t);
                // Where nothing has to be done yet, nothing is blocked.
                demand == 0 || demand + later.map(|task| task.budget_ns - 1).max().unwrap_or(0) <= t
            })
    }

    fn set(deadlines: bool) -> impl Strategy<Value = Vec<TaskTimes>> {
        let one = (2_u64..30, 1_u64..8, 0.0_f64..1.0).prop_map(move |(period_ns, budget_ns, share)| {
            let budget_ns = budget_ns.min(period_ns);
            let room = ((period_ns - budget_ns) as f64 * share) as u64;
            task(period_ns, if deadlines { period_ns - room } else { period_ns }, budget_ns)
        });
        prop::collection::vec(one, 1..5)
    }

    proptest! {
        #[test]
        fn with_deadlines_equal_to_periods_it_is_the_condition_of_jeffay(tasks in set(false)) {
            prop_assert_eq!(fits(&tasks, 0).is_ok(), jeffay(&tasks));
        }

        #[test]
        fn with_shorter_deadlines_it_is_the_condition_of_george(tasks in set(true)) {
            prop_assume!(utilisation(&tasks) < 0.999 || utilisation(&tasks) > 1.001);
            prop_assert_eq!(fits(&tasks, 0).is_ok(), george(&tasks, 3_000));
        }

        #[test]
        fn what_would_fit_fits_and_one_nanosecond_more_does_not(tasks in set(true)) {
            if let Err(misfit) = fits(&tasks, 0)
                && let Some(budget_ns) = misfit.budget_fits_ns
            {
                let mut changed = tasks.clone();
                changed[misfit.task].budget_ns = budget_ns;
                prop_assert!(fits(&changed, 0).is_ok());
                changed[misfit.task].budget_ns = budget_ns + 1;
                prop_assert!(fits(&changed, 0).is_err());
            }
        }

        #[test]
        fn divided_tasks_fit_on_their_workers(tasks in set(true), workers in 1_usize..4) {
            if let Ok(worker_of) = divide(&tasks, workers, 0) {
                for worker in 0..workers {
                    let here: Vec<_> =
                        tasks.iter().zip(&worker_of).filter(|(_, on)| **on == worker).map(|(task, _)| *task).collect();
                    prop_assert!(here.is_empty() || fits(&here, 0).is_ok());
                }
            } else {
                prop_assert!(workers > 1 || fits(&tasks, 0).is_err());
            }
        }
    }

    #[test]
    fn a_refusal_explains_itself() {
        let misfit = fits(&[task(10, 10, 5), task(100, 100, 20)], 0).unwrap_err();
        let text = misfit.to_string();
        assert!(text.contains("within 10 ns") && text.contains("task 1") && text.contains("budget of 6 ns"), "{text}");
        let misfit = fits(&[task(10, 10, 6), task(10, 10, 6)], 0).unwrap_err();
        assert_eq!((misfit.cause, misfit.budget_fits_ns), (Cause::Utilisation, Some(4)));
    }

    #[test]
    fn what_runs_outside_of_the_set_blocks_it() {
        assert!(fits(&[task(10, 10, 5)], 6).is_ok());
        let misfit = fits(&[task(10, 10, 5)], 7).unwrap_err();
        assert!(matches!(misfit.cause, Cause::Demand { interval_ns: 10, demand_ns: 5, blocking_ns: 6 }), "{misfit}");
    }

    #[test]
    fn a_set_that_cannot_be_looked_at_whole_is_refused_and_says_so() {
        let misfit = fits(&[task(2, 2, 1), task(4, 3, 2)], 0).unwrap_err();
        assert_eq!(misfit.cause, Cause::Intricate);
    }
}
