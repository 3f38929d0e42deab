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
//! On several workers one more task goes to the first worker on which it fits beside those that are there; where there is
//! none, the set is divided anew: each task, the ones of high utilisation first, goes to the first worker on which it fits.
//! That is sufficient, not necessary.

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

/// Why a set does not fit with its last task, the one that is asked about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Misfit {
    /// The share of one worker that all tasks would take together, on however many they are.
    pub utilisation: f64,
    /// How many workers there are.
    pub workers: usize,
    /// The share that would be taken of the worker that has most room, on which the cause was found.
    pub worker_utilisation: f64,
    /// What breaks.
    pub cause: Cause,
    /// How long a job that began before may block others there.
    pub blocking_ns: u64,
    /// The task that breaks it: the one that blocks, where one does.
    pub task: usize,
    /// The task that is asked about.
    pub asked: usize,
    /// The longest budget with which the task that is asked about would fit, if it can at all. On several workers a longer
    /// one may fit again; one nanosecond more does not.
    pub budget_fits_ns: Option<u64>,
}

/// What a set that does not fit breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// All together ask for more than there is.
    Utilisation,
    /// In an interval more has to be done than it is long, with what blocks it.
    Demand {
        /// How long it is.
        interval_ns: u64,
        /// What has to be done within it.
        demand_ns: u64,
        /// The task that blocks it; none where nothing does, or what is reserved for jobs outside of the set.
        blocker: Option<usize>,
    },
    /// There is too much to look at.
    Intricate,
}

impl fmt::Display for Misfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, blocking_ns, task, asked, .. } = *self;
        let (percent, of_worker) = (self.utilisation * 100.0, self.worker_utilisation * 100.0);
        if workers > 1 {
            write!(formatter, "none of {workers} workers has room; on the one with most ")?;
        }
        match self.cause {
            Cause::Utilisation => write!(formatter, "the tasks would take {of_worker:.1} % of the worker's time")?,
            Cause::Demand { interval_ns, demand_ns, blocker } => {
                write!(formatter, "within {interval_ns} ns there may be {demand_ns} ns to do")?;
                match blocker {
                    Some(blocker) => write!(
                        formatter,
                        ", after {blocking_ns} ns of a job of task {blocker} that cannot be interrupted"
                    )?,
                    None if blocking_ns > 0 => write!(
                        formatter,
                        ", after {blocking_ns} ns of a job without a guarantee, for which that is reserved"
                    )?,
                    None => {}
                }
                write!(formatter, "; task {task} breaks it")?;
            }
            Cause::Intricate => write!(formatter, "more than {POINTS_MAX} instants would have to be looked at")?,
        }
        write!(formatter, " (utilisation of all tasks together: {percent:.1} % of one worker)")?;
        match self.budget_fits_ns {
            Some(budget_ns) => write!(formatter, ": task {asked} fits with a budget of {budget_ns} ns"),
            None if self.cause == Cause::Intricate => {
                write!(formatter, ": give task {asked} a shorter budget, or a deadline as long as its period")
            }
            None => write!(
                formatter,
                ": no budget of task {asked} fits; give it a longer period or deadline, or another worker"
            ),
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
/// // The one that is asked about is the last, whichever breaks it.
/// let misfit = fits(&[longer, fast], 0).unwrap_err();
/// assert_eq!((misfit.task, misfit.budget_fits_ns), (0, Some(4)));
/// ```
///
/// # Errors
///
/// [`Misfit`], which says with what budget the last of them would fit.
pub fn fits(tasks: &[TaskTimes], reserved_ns: u64) -> Result<Fit, Misfit> {
    judge(tasks, reserved_ns).map_err(|broken| {
        let fits_with = |changed: &[TaskTimes]| judge(changed, reserved_ns).is_ok();
        let numbers: Vec<usize> = (0..tasks.len()).collect();
        broken.misfit(tasks, &numbers, tasks, 1, fits_with)
    })
}

/// Whether one more task fits beside those that are on some workers already; for each the number of its worker from then on.
/// The last of `tasks` is the new one; `worker_of` says where the others are.
///
/// # Errors
///
/// [`Misfit`] on the worker that has most room.
pub fn admit(tasks: &[TaskTimes], worker_of: &[usize], workers: usize, reserved_ns: u64) -> Result<Vec<usize>, Misfit> {
    let workers = workers.max(1);
    let Some(new) = tasks.len().checked_sub(1) else { return Ok(Vec::new()) };
    let on: Vec<Vec<usize>> = (0..workers)
        .map(|worker| (0..new).filter(|task| worker_of.get(*task) == Some(&worker)).chain([new]).collect())
        .collect();
    let members = |worker: usize, tasks: &[TaskTimes]| on[worker].iter().map(|task| tasks[*task]).collect::<Vec<_>>();
    let beside = |tasks: &[TaskTimes]| (0..workers).find(|worker| judge(&members(*worker, tasks), reserved_ns).is_ok());
    if let Some(worker) = beside(tasks) {
        return Ok(worker_of.iter().copied().take(new).chain([worker]).collect());
    }
    if let Some(divided) = divide(tasks, workers, reserved_ns) {
        return Ok(divided);
    }
    let most_room =
        (0..workers).min_by(|a, b| utilisation(&members(*a, tasks)).total_cmp(&utilisation(&members(*b, tasks))));
    let worker = most_room.unwrap_or(0);
    let here = members(worker, tasks);
    match judge(&here, reserved_ns) {
        // It was judged before, and does not.
        Ok(_) => Ok(worker_of.iter().copied().take(new).chain([worker]).collect()),
        Err(broken) => Err(broken.misfit(tasks, &on[worker], &here, workers, |changed| {
            beside(changed).is_some() || divide(changed, workers, reserved_ns).is_some()
        })),
    }
}

/// Divides tasks among workers, the ones of high utilisation first: for each the number of its worker, where all fit.
pub fn divide(tasks: &[TaskTimes], workers: usize, reserved_ns: u64) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by(|a, b| tasks[*b].utilisation().total_cmp(&tasks[*a].utilisation()));
    let mut on = vec![Vec::new(); workers.max(1)];
    let mut worker_of = vec![0; tasks.len()];
    for task in order {
        worker_of[task] = on.iter_mut().position(|members: &mut Vec<TaskTimes>| {
            members.push(tasks[task]);
            let fits = judge(members, reserved_ns).is_ok();
            if !fits {
                members.pop();
            }
            fits
        })?;
    }
    Some(worker_of)
}

/// What a set breaks on one worker.
struct Broken {
    cause: Cause,
    /// The task that breaks it, as those that the worker has are numbered.
    task: usize,
    blocking_ns: u64,
}

impl Broken {
    /// What breaks with the last of all tasks, and what budget of it would not: `numbers` are those of the tasks `here`, on
    /// the worker where it was found.
    fn misfit(
        self,
        tasks: &[TaskTimes],
        numbers: &[usize],
        here: &[TaskTimes],
        workers: usize,
        fits: impl Fn(&[TaskTimes]) -> bool,
    ) -> Misfit {
        let asked = tasks.len() - 1;
        let mut changed = tasks.to_vec();
        // Beside others that stay where they are, what fits with a budget fits with a shorter one.
        let (mut fits_ns, mut breaks_ns) = (0, tasks[asked].budget_ns);
        while breaks_ns - fits_ns > 1 && self.cause != Cause::Intricate {
            let middle_ns = fits_ns + (breaks_ns - fits_ns) / 2;
            changed[asked].budget_ns = middle_ns;
            if fits(&changed) {
                fits_ns = middle_ns;
            } else {
                breaks_ns = middle_ns;
            }
        }
        let cause = match self.cause {
            Cause::Demand { interval_ns, demand_ns, blocker } => {
                Cause::Demand { interval_ns, demand_ns, blocker: blocker.map(|task| numbers[task]) }
            }
            cause => cause,
        };
        Misfit {
            utilisation: utilisation(tasks),
            workers,
            worker_utilisation: utilisation(here),
            cause,
            blocking_ns: self.blocking_ns,
            task: numbers[self.task],
            asked,
            budget_fits_ns: (fits_ns > 0).then_some(fits_ns),
        }
    }
}

fn utilisation(tasks: &[TaskTimes]) -> f64 {
    tasks.iter().map(TaskTimes::utilisation).sum()
}

fn judge(tasks: &[TaskTimes], reserved_ns: u64) -> Result<Fit, Broken> {
    let utilisation = utilisation(tasks);
    let broken = |cause| {
        let shortest_ns = tasks.iter().map(|task| task.deadline_ns).min();
        let blockers = tasks.iter().filter(|task| Some(task.deadline_ns) > shortest_ns).map(|task| task.budget_ns);
        let blocking_ns = blockers.max().unwrap_or(0).max(reserved_ns).saturating_sub(1);
        Broken { cause, task: tasks.len() - 1, blocking_ns }
    };
    if utilisation > 1.0 + ROUNDING {
        return Err(broken(Cause::Utilisation));
    }
    let mut fit = Fit { utilisation, blocking_ns: reserved_ns.saturating_sub(1), tightest: None };
    let Some(bound_ns) = bound_ns(tasks, utilisation, reserved_ns) else {
        return Err(broken(Cause::Intricate));
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
            // One of a nanosecond blocks nobody, and what is reserved may block for longer.
            let blocker = blocker.filter(|_| budget_ns > 1 && budget_ns >= reserved_ns);
            let cause = Cause::Demand { interval_ns, demand_ns, blocker };
            return Err(Broken { cause, task: blocker.unwrap_or(newest), blocking_ns });
        }
        fit.blocking_ns = fit.blocking_ns.max(blocking_ns);
        let left_ns = interval_ns - demand_ns as u64 - blocking_ns;
        if fit.tightest.is_none_or(|(_, least_ns)| left_ns < least_ns) {
            fit.tightest = Some((interval_ns, left_ns));
        }
    }
    Err(broken(Cause::Intricate))
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

    fn all_fit(tasks: &[TaskTimes], worker_of: &[usize], workers: usize) -> bool {
        let here = |worker| tasks.iter().zip(worker_of).filter(move |(_, on)| **on == worker).map(|(task, _)| *task);
        worker_of.len() == tasks.len()
            && worker_of.iter().all(|worker| *worker < workers)
            && (0..workers).all(|worker| fits(&here(worker).collect::<Vec<_>>(), 0).is_ok())
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
        fn with_the_budget_that_is_named_it_fits_and_with_one_nanosecond_more_it_does_not(
            tasks in set(true), reserved_ns in 0_u64..4,
        ) {
            if let Err(misfit) = fits(&tasks, reserved_ns)
                && misfit.cause != Cause::Intricate
            {
                let last = tasks.len() - 1;
                let with = |budget_ns| {
                    let mut changed = tasks.clone();
                    changed[last].budget_ns = budget_ns;
                    fits(&changed, reserved_ns).is_ok()
                };
                prop_assert_eq!(misfit.asked, last);
                let fits_ns = misfit.budget_fits_ns.unwrap_or(0);
                // On one worker no longer one does either, and each shorter one does.
                prop_assert!((1..=fits_ns).all(with));
                prop_assert!(!(fits_ns + 1..=tasks[last].budget_ns).any(with));
            }
        }

        #[test]
        fn divided_tasks_fit_on_their_workers(tasks in set(true), workers in 1_usize..4) {
            match divide(&tasks, workers, 0) {
                Some(worker_of) => prop_assert!(all_fit(&tasks, &worker_of, workers)),
                None => prop_assert!(workers > 1 || fits(&tasks, 0).is_err()),
            }
        }

        #[test]
        fn one_more_task_is_admitted_beside_the_others_and_the_budget_that_is_named_would_be(
            tasks in prop::collection::vec(set(true), 1..4), workers in 1_usize..4,
        ) {
            let (mut admitted, mut worker_of) = (Vec::new(), Vec::new());
            for task in tasks.concat() {
                let with = |budget_ns| {
                    let mut all = admitted.clone();
                    all.push(TaskTimes { budget_ns, ..task });
                    admit(&all, &worker_of, workers, 0)
                };
                match with(task.budget_ns) {
                    Ok(placed) => {
                        admitted.push(task);
                        prop_assert!(all_fit(&admitted, &placed, workers));
                        worker_of = placed;
                    }
                    Err(misfit) if misfit.cause != Cause::Intricate => {
                        prop_assert_eq!(misfit.asked, admitted.len());
                        let fits_ns = misfit.budget_fits_ns.unwrap_or(0);
                        prop_assert!(fits_ns == 0 || with(fits_ns).is_ok());
                        prop_assert!(with(fits_ns + 1).is_err());
                    }
                    Err(_) => {}
                }
            }
        }
    }

    #[test]
    fn a_refusal_explains_itself() {
        let misfit = fits(&[task(10, 10, 5), task(100, 100, 20)], 0).unwrap_err();
        let text = misfit.to_string();
        for part in [
            "within 10 ns there may be 5 ns",
            "after 19 ns of a job of task 1 that",
            "task 1 breaks it",
            "70.0 % of one worker",
            "task 1 fits with a budget of 6 ns",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let misfit = fits(&[task(10, 10, 6), task(10, 10, 6)], 0).unwrap_err();
        assert_eq!((misfit.cause, misfit.budget_fits_ns), (Cause::Utilisation, Some(4)));
    }

    #[test]
    fn a_refusal_is_about_the_task_that_is_asked_about_whichever_comes_first() {
        // The new one has the higher utilisation, and the old one blocks it.
        let misfit = admit(&[task(100, 100, 6), task(10, 10, 6)], &[0], 1, 0).unwrap_err();
        assert_eq!((misfit.task, misfit.asked, misfit.blocking_ns, misfit.budget_fits_ns), (0, 1, 5, Some(5)));
        let misfit = admit(&[task(100, 100, 1), task(1_000, 1_000, 999)], &[0], 1, 0).unwrap_err();
        assert_eq!((misfit.task, misfit.asked, misfit.budget_fits_ns), (1, 1, Some(100)));
        // Beside one that takes all there is nothing fits.
        let misfit = admit(&[task(10, 10, 10), task(10, 10, 1)], &[0], 1, 0).unwrap_err();
        assert_eq!((misfit.cause, misfit.asked, misfit.budget_fits_ns), (Cause::Utilisation, 1, None));
        assert!(misfit.to_string().contains("no budget of task 1 fits"), "{misfit}");
    }

    #[test]
    fn on_several_workers_a_refusal_tells_the_worker_from_all_of_them() {
        let misfit = admit(&[task(10, 10, 6), task(10, 10, 6), task(10, 10, 7)], &[0, 1], 2, 0).unwrap_err();
        let text = misfit.to_string();
        assert_eq!((misfit.workers, misfit.asked, misfit.budget_fits_ns), (2, 2, Some(4)));
        assert!(
            text.contains("none of 2 workers has room; on the one with most the tasks would take 130.0 %"),
            "{text}"
        );
        assert!(text.contains("190.0 % of one worker"), "{text}");
    }

    #[test]
    fn what_fits_on_no_worker_is_admitted_where_dividing_all_anew_makes_room() {
        let tasks = [task(10, 10, 3), task(10, 10, 3), task(10, 10, 7), task(10, 10, 7)];
        let placed = admit(&tasks[..3], &[0, 0], 2, 0).unwrap();
        assert_eq!(placed, [0, 0, 1]);
        let placed = admit(&tasks, &placed, 2, 0).unwrap();
        assert!(all_fit(&tasks, &placed, 2));
    }

    #[test]
    fn what_runs_outside_of_the_set_blocks_it() {
        assert!(fits(&[task(10, 10, 5)], 6).is_ok());
        let misfit = fits(&[task(10, 10, 5)], 7).unwrap_err();
        assert!(matches!(misfit.cause, Cause::Demand { interval_ns: 10, demand_ns: 5, blocker: None }), "{misfit}");
        assert!(misfit.to_string().contains("after 6 ns of a job without a guarantee"), "{misfit}");
    }

    #[test]
    fn a_set_that_cannot_be_looked_at_whole_is_refused_and_says_so() {
        let misfit = fits(&[task(2, 2, 1), task(4, 3, 2)], 0).unwrap_err();
        assert_eq!(misfit.cause, Cause::Intricate);
    }
}
