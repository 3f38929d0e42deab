//! Jobs by deadline as Python holds them, and the answers of admission.

use super::tasks::{Account, NativeJob};
use super::{Asked, Service, Timers, refusals, scheduler_error};
use crate::clock::{instant_ns, source_of};
use crate::errors;
use crate::node::{detached, lock};
use crate::subscription::count_of;
use chronofabric_clock::TimeSource;
use chronofabric_scheduler::{
    Cause, Class, DeadlineQueue as Queue, Granted, JobHandle, Margin, Realtime, Refused, SchedulerError, TaskTimes,
    admit, fits,
};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// What a scheduling class is called where it is refused.
const CLASS: &str = "class";
/// How long a worker waits before it looks whether its process still is the one that it began in.
const SLICE: Duration = Duration::from_millis(500);

/// How many jobs may wait, where nobody says.
const JOBS_MAX: usize = 65_536;

/// A job that waits.
pub(crate) enum Entry {
    /// Of Python, whatever it is, and where it is counted if it is of a task.
    Python(Py<PyAny>, Option<Arc<Account>>),
    /// Of those that need no interpreter.
    Native(NativeJob),
}

impl Entry {
    fn is_of(&self, account: &Arc<Account>) -> bool {
        match self {
            Self::Python(_, known) => known.as_ref().is_some_and(|known| Arc::ptr_eq(known, account)),
            Self::Native(job) => job.is_of(account),
        }
    }
}

/// Those with a guarantee go before all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Band {
    Guaranteed,
    BestEffort {
        /// When it has to begin to be done by its deadline; one that has not begun by then waits for those that can.
        latest_start_ns: Option<i64>,
    },
}

/// A job without a guarantee.
struct Hopeful {
    entry: Entry,
    /// When it has to begin to be done by its deadline, where that matters.
    latest_start_ns: Option<i64>,
}

struct State {
    guaranteed: Queue<Entry>,
    best_effort: Queue<Hopeful>,
    /// How many wait for a job in their sleep: to wake nobody is a call of the system, too.
    sleepers: usize,
    closed: bool,
    /// Whether it is closed as soon as nothing waits.
    closes: bool,
}

/// The jobs that wait for one worker.
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// How many jobs were ever pushed, for a worker that waits awake.
    pushed: AtomicU64,
    /// What says whether a job can still be done in time.
    source: Option<TimeSource>,
}

/// Jobs by deadline, then priority, then age.
#[pyclass(module = "chronofabric._core.scheduler", frozen, weakref)]
pub(crate) struct DeadlineQueue(Arc<Shared>);

/// A job that was pushed.
#[pyclass(module = "chronofabric._core.scheduler", frozen)]
pub(crate) struct QueuedJob {
    queue: Arc<Shared>,
    handle: JobHandle,
    band: Band,
}

impl State {
    fn is_empty(&self) -> bool {
        self.guaranteed.is_empty() && self.best_effort.is_empty()
    }

    fn len(&self) -> usize {
        self.guaranteed.len() + self.best_effort.len()
    }

    fn is_closed(&self) -> bool {
        self.closed || self.closes && self.is_empty()
    }

    /// Takes the most urgent job, among those with a guarantee of those that had come by an instant where there are any.
    fn pop(&mut self, by_ns: i64, source: Option<&TimeSource>) -> Option<(i64, Entry)> {
        let had_come = |entry: &Entry| !matches!(entry, Entry::Native(job) if job.arrival_ns() > by_ns);
        if let Some(job) = self.guaranteed.pop_where(had_come).or_else(|| self.guaranteed.pop()) {
            return Some(job);
        }
        while let Some(first) = self.best_effort.first_mut()
            && first.latest_start_ns.zip(source).is_some_and(|(latest_ns, source)| source.now_ns() > latest_ns)
        {
            // It will be late whatever is done: it makes room for those that need not be.
            first.latest_start_ns = None;
            self.best_effort.postpone(i64::MAX);
        }
        self.best_effort.pop().map(|(deadline_ns, job)| (deadline_ns, job.entry))
    }
}

impl Shared {
    /// Adds a job.
    pub(crate) fn push(
        self: &Arc<Self>,
        band: Band,
        deadline_ns: i64,
        priority: u8,
        entry: Entry,
    ) -> Result<QueuedJob, SchedulerError> {
        let (pushed, sleepers) = {
            let mut state = lock(&self.state);
            let pushed = match band {
                _ if state.closed || state.closes => Err(SchedulerError::Closed),
                Band::Guaranteed => state.guaranteed.push(deadline_ns, priority, entry),
                Band::BestEffort { latest_start_ns } => {
                    state.best_effort.push(deadline_ns, priority, Hopeful { entry, latest_start_ns })
                }
            };
            (pushed, state.sleepers)
        };
        let handle = pushed?;
        self.pushed.fetch_add(1, Ordering::Release);
        if sleepers > 0 {
            self.changed.notify_one();
        }
        Ok(QueuedJob { queue: Arc::clone(self), handle, band })
    }

    /// Takes out the jobs that are counted in one place; how many.
    pub(crate) fn take_back(&self, account: &Arc<Account>) -> usize {
        let mut state = lock(&self.state);
        let certain = state.guaranteed.cancel_where(|entry| entry.is_of(account));
        let hopeful = state.best_effort.cancel_where(|job| job.entry.is_of(account));
        // Dropped without the lock, because their destructors may push.
        drop(state);
        certain.len() + hopeful.len()
    }

    /// The most urgent job of Python, after those native ones that are more urgent were done; waits until then, or until
    /// it is closed, for no longer than a slice. Says whether it is closed.
    fn next(&self, mut arrivals: Option<&mut Arrivals>) -> (Option<(i64, Py<PyAny>)>, bool) {
        let started = Instant::now();
        // Until when a job has to have come to be chosen from: the end of the one before, however long it takes to choose.
        let mut by_ns = i64::MAX;
        loop {
            if let Some(arrivals) = &arrivals {
                // All that has come is there before the most urgent is chosen, whether or not the thread that fires is.
                arrivals.timers.wheel().fire_due_by(by_ns);
            }
            let pushed = self.pushed.load(Ordering::Acquire);
            let (popped, closed) = {
                let mut state = lock(&self.state);
                // What waits when it is closed is not done any more.
                let popped = if state.closed { None } else { state.pop(by_ns, self.source.as_ref()) };
                (popped, state.is_closed())
            };
            match popped {
                Some((deadline_ns, Entry::Python(job, _))) => return (Some((deadline_ns, job)), closed),
                Some((_, Entry::Native(job))) => by_ns = job.run(),
                None if closed || started.elapsed() >= SLICE => return (None, closed),
                None if by_ns != i64::MAX => by_ns = i64::MAX,
                None => self.rest(arrivals.as_deref_mut(), pushed),
            }
        }
    }

    /// Waits for the next job: awake where one comes in some microseconds that nobody else is awake for.
    fn rest(&self, arrivals: Option<&mut Arrivals>, pushed: u64) {
        let Some((arrivals, (next_ns, next))) = arrivals.and_then(|arrivals| {
            let next = arrivals.timers.wheel().next()?;
            Some((arrivals, next))
        }) else {
            return self.sleep(SLICE);
        };
        let Arrivals { source, margin, .. } = arrivals;
        if next.is_some_and(|next| !next.action().comes_to(self)) {
            // Once it has come, the next one may be ours.
            return self.sleep(nanoseconds(next_ns.saturating_sub(source.now_ns())));
        }
        match margin.sleep(source, next_ns) {
            None => margin.watch(source, next_ns, || self.pushed.load(Ordering::Acquire) != pushed),
            Some(sleep) => {
                let longest = nanoseconds(sleep.for_ns);
                self.sleep(longest);
                if longest < SLICE {
                    margin.learn(source, sleep);
                }
            }
        }
    }

    /// Sleeps until a job waits, but for no longer than said, nor than a slice.
    fn sleep(&self, longest: Duration) {
        let mut state = lock(&self.state);
        state.sleepers += 1;
        let waits = |state: &mut State| state.is_empty() && !state.is_closed();
        let slept = self.changed.wait_timeout_while(state, longest.min(SLICE), waits);
        slept.unwrap_or_else(PoisonError::into_inner).0.sleepers -= 1;
    }

    /// Takes the most urgent job of Python, and waits for one; none once the queue is closed, or in a forked child.
    fn wait(
        &self,
        py: Python<'_>,
        mut turn: impl FnMut() -> (Option<(i64, Py<PyAny>)>, bool) + Send,
    ) -> Option<(i64, Py<PyAny>)> {
        let forks = crate::node::forks();
        loop {
            let (next, closed) = detached(py, &mut turn);
            if next.is_some() || closed || crate::node::forks() != forks {
                return next;
            }
        }
    }
}

/// Where the jobs of a worker come from, which it lets come by itself: it needs nobody to wake it for them.
struct Arrivals {
    timers: Arc<Service>,
    source: TimeSource,
    margin: Margin,
}

/// What the thread of a worker does between jobs of Python. It has the class that was asked for only meanwhile: with the
/// interpreter it would keep others from what it does not need itself.
#[pyclass(module = "chronofabric._core.scheduler", frozen)]
pub(crate) struct Worker {
    queue: Arc<Shared>,
    realtime: Realtime,
    arrivals: Mutex<Arrivals>,
    refused: OnceLock<Vec<Refused>>,
    /// Held as long as it works.
    granted: Mutex<Option<Granted>>,
}

#[pymethods]
impl Worker {
    #[new]
    fn new(queue: &DeadlineQueue, timers: &Timers, realtime: Asked) -> Self {
        let realtime = Realtime::from(realtime);
        let service = timers.service();
        let arrivals =
            Arrivals { source: service.calls.source.clone(), margin: service.wheel().margin(), timers: service };
        let (arrivals, refused, granted) = (Mutex::new(arrivals), OnceLock::new(), Mutex::default());
        Self { queue: queue.shared(), realtime, arrivals, refused, granted }
    }

    /// Takes the most urgent job, and waits for one; none once the queue is closed. What was asked of the system is asked
    /// for the thread that calls this first.
    fn wait(&self, py: Python<'_>) -> Option<(i64, Py<PyAny>)> {
        self.queue.wait(py, || {
            let class = self.granted_class();
            if class != Class::Usual {
                // It was granted before, and is asked for again because it may have been taken back.
                let _ = class.enter();
            }
            let next = self.queue.next(Some(&mut lock(&self.arrivals)));
            leave(class);
            next
        })
    }

    /// What was asked of the system and refused: option, reason, cost.
    #[getter]
    fn refused(&self) -> Vec<(&'static str, String, &'static str)> {
        self.refused.get().map(|refused| refusals(refused)).unwrap_or_default()
    }

    /// Told at the end of its thread: gives back what was granted for as long as it works.
    fn end(&self) {
        drop(lock(&self.granted).take());
    }
}

impl Worker {
    /// The class that the thread may have, which the first that calls this asks for.
    fn granted_class(&self) -> Class {
        let refused = self.refused.get_or_init(|| {
            let granted = self.realtime.ask();
            let refused = granted.refused.clone();
            *lock(&self.granted) = Some(granted);
            refused
        });
        let is_granted = refused.iter().all(|refused| refused.option != CLASS);
        if is_granted { self.realtime.class } else { Class::Usual }
    }
}

fn nanoseconds(ns: i64) -> Duration {
    Duration::from_nanos(ns.max(0).unsigned_abs())
}

/// Has the calling thread run as any other.
fn leave(class: Class) {
    if class != Class::Usual {
        // Everybody may.
        let _ = Class::Usual.enter();
    }
}

impl DeadlineQueue {
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0)
    }
}

#[pymethods]
impl DeadlineQueue {
    #[new]
    #[pyo3(signature = (jobs_max = None, *, clock = None), text_signature = "(jobs_max=65536, *, clock=None)")]
    fn new(jobs_max: Option<&Bound<'_, PyAny>>, clock: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let jobs_max = jobs_max.map_or(Ok(JOBS_MAX), |jobs_max| count_of(jobs_max, "jobs_max", 1))?;
        let (guaranteed, best_effort) = (Queue::new(jobs_max), Queue::new(jobs_max));
        let state = State { guaranteed, best_effort, sleepers: 0, closed: false, closes: false };
        let source = clock.map(source_of).transpose()?;
        Ok(Self(Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            pushed: AtomicU64::new(0),
            source,
        })))
    }

    /// Adds a job.
    #[pyo3(
        signature = (job, deadline, *, priority = None, best_effort = false, latest_start = None),
        text_signature = "($self, job, deadline, *, priority=0, best_effort=False, latest_start=None)"
    )]
    fn push(
        &self,
        job: Py<PyAny>,
        deadline: &Bound<'_, PyAny>,
        priority: Option<&Bound<'_, PyAny>>,
        best_effort: bool,
        latest_start: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<QueuedJob> {
        let py = deadline.py();
        let deadline_ns = instant_ns(deadline, "deadline")?;
        let priority = priority.map_or(Ok(0), priority_of)?;
        if let Some(instant) = latest_start
            && (!best_effort || self.0.source.is_none())
        {
            let hint = "it is for jobs pushed with best_effort=True to a queue that was given a clock";
            return Err(errors::argument(py, "latest_start", instant, hint));
        }
        let latest_start_ns = latest_start.map(|instant| instant_ns(instant, "latest_start")).transpose()?;
        let band = if best_effort { Band::BestEffort { latest_start_ns } } else { Band::Guaranteed };
        self.0.push(band, deadline_ns, priority, Entry::Python(job, None)).map_err(|error| match error {
            SchedulerError::Closed => errors::exception(py, "ClosedError", "the queue is closed", |_| Ok(())),
            error => scheduler_error(py, &error, &error.to_string()),
        })
    }

    /// Takes the most urgent job, with its deadline, if one waits.
    fn pop(&self, py: Python<'_>) -> Option<(i64, Py<PyAny>)> {
        loop {
            let (popped, closed) = {
                let mut state = lock(&self.0.state);
                (state.pop(i64::MAX, self.0.source.as_ref()), state.closed)
            };
            match popped? {
                (deadline_ns, Entry::Python(job, _)) => return Some((deadline_ns, job)),
                (_, Entry::Native(job)) if !closed => {
                    detached(py, || job.run());
                }
                (_, Entry::Native(_)) => {}
            }
        }
    }

    /// Takes the most urgent job, and waits for one; none once the queue is closed.
    fn wait(&self, py: Python<'_>) -> Option<(i64, Py<PyAny>)> {
        self.0.wait(py, || self.0.next(None))
    }

    fn __len__(&self) -> usize {
        lock(&self.0.state).len()
    }

    /// The earliest deadline of those that come first.
    #[getter]
    fn next_deadline_ns(&self) -> Option<i64> {
        let state = lock(&self.0.state);
        state.guaranteed.next_deadline_ns().or_else(|| state.best_effort.next_deadline_ns())
    }

    /// Wakes everybody who waits, and takes no more; what waits can still be popped. Says how many wait.
    fn close(&self) -> usize {
        let waiting = {
            let mut state = lock(&self.0.state);
            state.closed = true;
            state.len()
        };
        self.0.changed.notify_all();
        waiting
    }

    /// Takes no more, and wakes everybody who waits once nothing does.
    fn finish(&self) {
        lock(&self.0.state).closes = true;
        self.0.changed.notify_all();
    }
}

fn priority_of(value: &Bound<'_, PyAny>) -> PyResult<u8> {
    let number = value.extract::<u8>().ok().filter(|_| !value.is_instance_of::<PyBool>());
    number.ok_or_else(|| errors::argument(value.py(), "priority", value, "it must be a whole number from 0 to 255"))
}

#[pymethods]
impl QueuedJob {
    /// Takes it out; whether it still waited.
    fn cancel(&self) -> bool {
        let mut state = lock(&self.queue.state);
        // Dropped without the lock, because its destructor may push.
        let (certain, hopeful) = match self.band {
            Band::Guaranteed => (state.guaranteed.cancel(self.handle), None),
            Band::BestEffort { .. } => (None, state.best_effort.cancel(self.handle)),
        };
        drop(state);
        certain.is_some() || hopeful.is_some()
    }
}

/// Whether one more task fits on some workers, and why: tasks of `(period_ns, deadline_ns, budget_ns)` of which the last is
/// new, and the workers of the others.
#[pyfunction]
pub(crate) fn admission<'py>(
    py: Python<'py>,
    tasks: Vec<(u64, u64, u64)>,
    worker_of: Vec<usize>,
    workers: usize,
    reserved_ns: u64,
) -> PyResult<Bound<'py, PyDict>> {
    let tasks: Vec<_> = tasks
        .into_iter()
        .map(|(period_ns, deadline_ns, budget_ns)| TaskTimes { period_ns, deadline_ns, budget_ns })
        .collect();
    let sound = |task: &TaskTimes| {
        (1..=task.deadline_ns).contains(&task.budget_ns) && (1..=task.period_ns).contains(&task.deadline_ns)
    };
    if !tasks.iter().all(sound) {
        let message = "a task needs a budget of at least 1 ns, at most its deadline, which is at most its period";
        return Err(errors::exception(py, "ArgumentError", message, |_| Ok(())));
    }
    let answer = PyDict::new(py);
    let (outcome, blocking_ns) = py.detach(|| {
        let outcome = admit(&tasks, &worker_of, workers, reserved_ns);
        let blocking_ns = match &outcome {
            Ok(worker_of) => {
                (0..workers).filter_map(|worker| blocking_on(&tasks, worker_of, worker, reserved_ns)).max()
            }
            Err(_) => None,
        };
        (outcome, blocking_ns)
    });
    answer.set_item("admitted", outcome.is_ok())?;
    answer.set_item("utilisation", tasks.iter().map(TaskTimes::utilisation).sum::<f64>())?;
    match outcome {
        Ok(worker_of) => {
            answer.set_item("workers", worker_of)?;
            answer.set_item("blocking_ns", blocking_ns.unwrap_or(0))?;
            answer.set_item("reason", "every deadline is kept, as long as budgets are")?;
        }
        Err(misfit) => {
            answer.set_item("reason", misfit.to_string())?;
            answer.set_item("task", misfit.task)?;
            answer.set_item("blocking_ns", misfit.blocking_ns)?;
            answer.set_item("budget_fits_ns", misfit.budget_fits_ns)?;
            if let Cause::Demand { interval_ns, demand_ns, .. } = misfit.cause {
                answer.set_item("interval_ns", interval_ns)?;
                answer.set_item("demand_ns", demand_ns)?;
            }
        }
    }
    Ok(answer)
}

fn blocking_on(tasks: &[TaskTimes], worker_of: &[usize], worker: usize, reserved_ns: u64) -> Option<u64> {
    let here: Vec<_> = tasks.iter().zip(worker_of).filter(|(_, on)| **on == worker).map(|(task, _)| *task).collect();
    if here.is_empty() { None } else { fits(&here, reserved_ns).ok().map(|fit| fit.blocking_ns) }
}
