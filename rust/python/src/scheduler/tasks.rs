//! What became of the jobs of a task, and tasks whose jobs need no interpreter.
//!
//! Jobs of Python and native ones are judged and counted by the same [`Account`]. A native job comes from its worker, which
//! waits for the instant by itself, or from the thread that fires timers where the worker is busy; it waits in the queue of
//! its worker beside those of Python, and is done by the worker before that asks for the interpreter again.

use super::action::Waiting;
use super::jobs::{Band, DeadlineQueue, Entry, QueuedJob, Shared};
use super::native::Native;
use super::tally::Tally;
use super::{Timers, scheduler_error};
use crate::guard::percentiles;
use crate::node::lock;
use chronofabric_bus::{Histogram, Percentiles};
use chronofabric_clock::TimeSource;
use chronofabric_scheduler::{ExecutionTime, Firing};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// An execution weighs half as much as one so many executions later.
pub(crate) const HALF_LIFE: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
/// The share of executions that end within what is expected of the next.
const EXPECTED: f64 = 0.9;
/// How many misses of a native task wait for the interpreter.
const MISSES_MAX: usize = 1_024;

/// What becomes of a job that has not begun when its deadline has passed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnMiss {
    Run,
    Skip,
    DeadLetter,
}

#[derive(Default)]
struct Counts {
    released: AtomicU64,
    started: AtomicU64,
    completed: AtomicU64,
    late_starts: AtomicU64,
    late_ends: AtomicU64,
    skipped: AtomicU64,
    dead_lettered: AtomicU64,
    cancelled: AtomicU64,
    refused: AtomicU64,
    overruns: AtomicU64,
    errors: AtomicU64,
}

fn one_more(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// The policies of one task, and what became of its jobs.
pub(crate) struct Account {
    tolerance_ns: i64,
    /// How long a job may take; 0 where nobody said.
    budget_ns: i64,
    on_miss: OnMiss,
    demotes: bool,
    guaranteed: AtomicBool,
    /// Whether a job without a guarantee that will be late makes room for those that need not be.
    feasible_first: bool,
    counts: Counts,
    /// How long after they had come jobs began.
    starts: Histogram,
    learnt: Mutex<ExecutionTime>,
}

impl Account {
    /// Whether a job that is about to begin does; otherwise how late it is.
    fn begins(&self, arrival_ns: i64, deadline_ns: i64, now_ns: i64) -> Result<(), i64> {
        let late_ns = now_ns.saturating_sub(deadline_ns);
        if late_ns > self.tolerance_ns {
            one_more(&self.counts.late_starts);
            match self.on_miss {
                OnMiss::Run => {}
                OnMiss::Skip => {
                    one_more(&self.counts.skipped);
                    return Err(late_ns);
                }
                OnMiss::DeadLetter => {
                    one_more(&self.counts.dead_lettered);
                    return Err(late_ns);
                }
            }
        }
        one_more(&self.counts.started);
        self.starts.record(now_ns.saturating_sub(arrival_ns));
        Ok(())
    }

    /// Takes note of the end of a job; whether it took longer than its budget.
    fn ended(&self, deadline_ns: i64, started_ns: i64, ended_ns: i64) -> bool {
        one_more(&self.counts.completed);
        if ended_ns.saturating_sub(deadline_ns) > self.tolerance_ns {
            one_more(&self.counts.late_ends);
        }
        // A clock that went back meanwhile counts as no time.
        let took_ns = ended_ns.saturating_sub(started_ns).max(0);
        lock(&self.learnt).observe(took_ns.unsigned_abs());
        let overran = self.budget_ns > 0 && took_ns > self.budget_ns;
        if overran {
            one_more(&self.counts.overruns);
            if self.demotes {
                self.guaranteed.store(false, Ordering::Relaxed);
            }
        }
        overran
    }

    /// Where a job waits.
    fn band(&self, deadline_ns: i64) -> Band {
        if self.guaranteed.load(Ordering::Relaxed) {
            return Band::Guaranteed;
        }
        let latest_start_ns = self.feasible_first.then(|| {
            let learnt_ns = lock(&self.learnt).quantile_ns(EXPECTED);
            let expected_ns =
                learnt_ns.map_or(self.budget_ns, |learnt_ns| i64::try_from(learnt_ns).unwrap_or(i64::MAX));
            deadline_ns.saturating_add(self.tolerance_ns).saturating_sub(expected_ns)
        });
        Band::BestEffort { latest_start_ns }
    }
}

/// [`Account`], as Python keeps it.
#[pyclass(module = "chronofabric._core.scheduler", frozen)]
pub(crate) struct JobAccount(Arc<Account>);

#[pymethods]
impl JobAccount {
    #[new]
    #[pyo3(signature = (*, tolerance_ns, budget_ns, on_miss, demotes, guaranteed, feasible_first))]
    fn new(
        tolerance_ns: i64,
        budget_ns: i64,
        on_miss: &str,
        demotes: bool,
        guaranteed: bool,
        feasible_first: bool,
    ) -> Self {
        let on_miss = match on_miss {
            "run" => OnMiss::Run,
            "dead-letter" => OnMiss::DeadLetter,
            _ => OnMiss::Skip,
        };
        let guaranteed = AtomicBool::new(guaranteed);
        let learnt = Mutex::new(ExecutionTime::new(HALF_LIFE));
        let (counts, starts) = (Counts::default(), Histogram::default());
        let account =
            Account { tolerance_ns, budget_ns, on_miss, demotes, guaranteed, feasible_first, counts, starts, learnt };
        Self(Arc::new(account))
    }

    /// Takes note of a job that has come.
    fn released(&self) {
        one_more(&self.0.counts.released);
    }

    /// Lets a job of Python come to a queue; one that finds no room is counted too.
    fn release(
        &self,
        py: Python<'_>,
        queue: &DeadlineQueue,
        job: Py<PyAny>,
        deadline_ns: i64,
        priority: u8,
    ) -> PyResult<QueuedJob> {
        one_more(&self.0.counts.released);
        let entry = Entry::Python(job, Some(Arc::clone(&self.0)));
        queue.shared().push(self.0.band(deadline_ns), deadline_ns, priority, entry).map_err(|error| {
            one_more(&self.0.counts.refused);
            scheduler_error(py, &error, &error.to_string())
        })
    }

    /// Takes back its jobs that wait in a queue.
    fn take_back(&self, queue: &DeadlineQueue) {
        let taken = queue.shared().take_back(&self.0);
        self.0.counts.cancelled.fetch_add(taken as u64, Ordering::Relaxed);
    }

    /// Takes note of a job that was taken back.
    fn cancelled(&self) {
        one_more(&self.0.counts.cancelled);
    }

    /// Takes note of a job, or a handler, that failed.
    fn failed(&self) {
        one_more(&self.0.counts.errors);
    }

    /// Takes note of a job that is about to begin; how late it is where it does not run.
    fn begins(&self, arrival_ns: i64, deadline_ns: i64, now_ns: i64) -> Option<i64> {
        self.0.begins(arrival_ns, deadline_ns, now_ns).err()
    }

    /// Takes note of the end of a job; whether it took longer than its budget.
    fn ended(&self, deadline_ns: i64, started_ns: i64, ended_ns: i64) -> bool {
        self.0.ended(deadline_ns, started_ns, ended_ns)
    }

    /// Whether its task was admitted.
    #[getter]
    fn guaranteed(&self) -> bool {
        self.0.guaranteed.load(Ordering::Relaxed)
    }

    /// Tells it that its task is not.
    fn without_guarantee(&self) {
        self.0.guaranteed.store(false, Ordering::Relaxed);
    }

    /// The duration within which a share of its jobs ended; none before the first.
    fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        lock(&self.0.learnt).quantile_ns(quantile)
    }

    /// How many jobs were learnt from.
    #[getter]
    fn observations(&self) -> u64 {
        lock(&self.0.learnt).observations()
    }

    /// The counts, how long after they had come jobs began, and how long they took.
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = PyDict::new(py);
        let counts = &self.0.counts;
        for (name, count) in [
            ("released", &counts.released),
            ("started", &counts.started),
            ("completed", &counts.completed),
            ("late_starts", &counts.late_starts),
            ("late_ends", &counts.late_ends),
            ("skipped", &counts.skipped),
            ("dead_lettered", &counts.dead_lettered),
            ("cancelled", &counts.cancelled),
            ("refused", &counts.refused),
            ("overruns", &counts.overruns),
            ("errors", &counts.errors),
        ] {
            report.set_item(name, count.load(Ordering::Relaxed))?;
        }
        report.set_item("start_ns", percentiles(py, &self.0.starts.percentiles())?)?;
        report.set_item("execution_ns", percentiles(py, &summary(&lock(&self.0.learnt)))?)?;
        Ok(report)
    }
}

/// Count and quantiles, and the longest.
pub(crate) fn summary(learnt: &ExecutionTime) -> Percentiles {
    // No quantile is beyond the longest, where its bucket may be.
    let longest_ns = learnt.longest_ns().unwrap_or(0);
    let quantile = |q| learnt.quantile_ns(q).unwrap_or(0).min(longest_ns);
    Percentiles {
        count: learnt.observations(),
        p50_ns: quantile(0.5),
        p90_ns: quantile(0.9),
        p99_ns: quantile(0.99),
        max_ns: longest_ns,
    }
}

/// Where jobs that need no interpreter come from.
pub(crate) struct NativeJobs {
    native: Native,
    account: Arc<Account>,
    /// That of the worker which admission gave it to; it refers to those of the jobs that wait in it.
    queue: Mutex<Weak<Shared>>,
    source: TimeSource,
    deadline_ns: i64,
    priority: u8,
    /// Told of jobs that were late and are not run, and where that is counted.
    missed: Option<(Arc<Waiting>, Arc<Tally>)>,
    cancelled: AtomicBool,
}

impl NativeJobs {
    /// Lets a job come, unless the task was cancelled.
    pub(crate) fn release(self: &Arc<Self>, arrival_ns: i64) {
        if self.cancelled.load(Ordering::Relaxed) {
            return;
        }
        one_more(&self.account.counts.released);
        let deadline_ns = arrival_ns.saturating_add(self.deadline_ns);
        if self.push(arrival_ns, deadline_ns).is_err() {
            one_more(&self.account.counts.refused);
        }
    }

    /// Whether they wait in a queue.
    pub(crate) fn come_to(&self, queue: &Shared) -> bool {
        std::ptr::eq(lock(&self.queue).as_ptr(), queue)
    }

    fn push(
        self: &Arc<Self>,
        arrival_ns: i64,
        deadline_ns: i64,
    ) -> Result<QueuedJob, chronofabric_scheduler::SchedulerError> {
        let job = NativeJob { jobs: Arc::clone(self), arrival_ns, deadline_ns };
        let queue = lock(&self.queue).upgrade().ok_or(chronofabric_scheduler::SchedulerError::Closed)?;
        queue.push(self.account.band(deadline_ns), deadline_ns, self.priority, Entry::Native(job))
    }
}

/// A job that needs no interpreter.
pub(crate) struct NativeJob {
    jobs: Arc<NativeJobs>,
    arrival_ns: i64,
    deadline_ns: i64,
}

impl NativeJob {
    /// When it came.
    pub(crate) fn arrival_ns(&self) -> i64 {
        self.arrival_ns
    }

    /// Whether it is counted there.
    pub(crate) fn is_of(&self, account: &Arc<Account>) -> bool {
        Arc::ptr_eq(&self.jobs.account, account)
    }

    /// Does it, or what is to be done where it comes too late; in the thread of its worker, without the interpreter. Says
    /// when that was done.
    pub(crate) fn run(self) -> i64 {
        let NativeJobs { native, account, source, missed, .. } = &*self.jobs;
        let started_ns = source.now_ns();
        if self.jobs.cancelled.load(Ordering::Relaxed) {
            // It was on its way to the queue when those that waited there were taken back.
            one_more(&account.counts.cancelled);
            return started_ns;
        }
        let firing = Firing { due_ns: self.arrival_ns, now_ns: started_ns, missed: 0 };
        if account.begins(self.arrival_ns, self.deadline_ns, started_ns).is_err() {
            if let Some((waiting, tally)) = missed {
                waiting.hand_over(tally, account.tolerance_ns, firing);
            }
            return started_ns;
        }
        if !native.act_outside(firing) {
            one_more(&account.counts.errors);
        }
        let ended_ns = source.now_ns();
        account.ended(self.deadline_ns, started_ns, ended_ns);
        ended_ns
    }
}

/// [`NativeJobs`], as Python keeps them.
#[pyclass(module = "chronofabric._core.scheduler", frozen)]
pub(crate) struct NativeTask(Arc<NativeJobs>);

impl NativeTask {
    pub(crate) fn jobs(&self) -> Arc<NativeJobs> {
        Arc::clone(&self.0)
    }
}

#[pymethods]
impl NativeTask {
    /// Of what needs no interpreter; `missed` is called, as for a timer, for each job that was late and is not run.
    #[new]
    #[pyo3(signature = (act, timers, queue, account, *, deadline_ns, priority, missed = None))]
    fn new(
        act: &Bound<'_, PyAny>,
        timers: &Timers,
        queue: &DeadlineQueue,
        account: &JobAccount,
        deadline_ns: i64,
        priority: u8,
        missed: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let Some(native) = Native::new(act)? else {
            return Err(crate::errors::argument(act.py(), "act", act, "it must need no interpreter"));
        };
        let (calls, tally) = timers.calls();
        let missed = missed.map(|target| (Waiting::new(target, calls, MISSES_MAX), Arc::clone(tally)));
        let (account, queue, source) =
            (Arc::clone(&account.0), Mutex::new(Arc::downgrade(&queue.shared())), calls.source.clone());
        let cancelled = AtomicBool::new(false);
        Ok(Self(Arc::new(NativeJobs { native, account, queue, source, deadline_ns, priority, missed, cancelled })))
    }

    /// Lets one job come now, by a deadline of its own.
    fn submit(&self, py: Python<'_>, arrival_ns: i64, deadline_ns: i64) -> PyResult<QueuedJob> {
        self.0.push(arrival_ns, deadline_ns).map_err(|error| scheduler_error(py, &error, &error.to_string()))
    }

    /// Has its jobs wait for another worker from now on.
    fn move_to(&self, queue: &DeadlineQueue) {
        *lock(&self.0.queue) = Arc::downgrade(&queue.shared());
    }

    /// Lets one job come now.
    fn release(&self, arrival_ns: i64) {
        self.0.release(arrival_ns);
    }

    /// Does it in the calling thread, as a job of Python would.
    fn __call__(&self, due_ns: i64, now_ns: i64) -> bool {
        self.0.native.act(Firing { due_ns, now_ns, missed: 0 })
    }

    /// Lets no more jobs come, and none begin.
    fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }
}
