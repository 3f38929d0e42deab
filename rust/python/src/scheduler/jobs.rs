//! Jobs by deadline as Python holds them, and the answers of admission.

use super::scheduler_error;
use crate::clock::instant_ns;
use crate::errors;
use crate::node::{detached, lock};
use chronofabric_scheduler::{Cause, DeadlineQueue as Queue, JobHandle, TaskTimes, divide, fits};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long a worker waits before it looks whether its process still is the one that it began in.
const SLICE: Duration = Duration::from_millis(500);

/// Jobs that wait: those with a guarantee, and those that run when none of them waits.
struct State {
    guaranteed: Queue<Py<PyAny>>,
    best_effort: Queue<Py<PyAny>>,
    closed: bool,
}

/// Jobs by deadline, then priority, then age.
#[pyclass(module = "chronofabric._core.scheduler", frozen, weakref)]
pub(crate) struct DeadlineQueue {
    state: Mutex<State>,
    changed: Condvar,
}

/// A job that was pushed.
#[pyclass(module = "chronofabric._core.scheduler", frozen)]
pub(crate) struct QueuedJob {
    queue: Py<DeadlineQueue>,
    handle: JobHandle,
    guaranteed: bool,
}

#[pymethods]
impl DeadlineQueue {
    #[new]
    #[pyo3(signature = (jobs_max = 65_536))]
    fn new(py: Python<'_>, jobs_max: usize) -> PyResult<Self> {
        if jobs_max == 0 {
            let value = jobs_max.into_pyobject(py)?;
            return Err(errors::argument(py, "jobs_max", value.as_any(), "it must be at least 1"));
        }
        let state = State { guaranteed: Queue::new(jobs_max), best_effort: Queue::new(jobs_max), closed: false };
        Ok(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Adds a job.
    #[pyo3(signature = (job, deadline, *, priority = 0, best_effort = false))]
    fn push(
        slf: Bound<'_, Self>,
        job: Py<PyAny>,
        deadline: &Bound<'_, PyAny>,
        priority: u8,
        best_effort: bool,
    ) -> PyResult<QueuedJob> {
        let py = slf.py();
        let deadline_ns = instant_ns(deadline)?;
        let queue = slf.get();
        let pushed = {
            let mut state = lock(&queue.state);
            if state.closed {
                drop(state);
                return Err(errors::exception(py, "ClosedError", "the queue is closed", |_| Ok(())));
            }
            let band = if best_effort { &mut state.best_effort } else { &mut state.guaranteed };
            band.push(deadline_ns, priority, job)
        };
        let handle = pushed.map_err(|error| scheduler_error(py, &error, &error.to_string()))?;
        queue.changed.notify_one();
        Ok(QueuedJob { queue: slf.unbind(), handle, guaranteed: !best_effort })
    }

    /// Takes the most urgent job, with its deadline, if one waits.
    fn pop(&self) -> Option<(i64, Py<PyAny>)> {
        lock(&self.state).pop()
    }

    /// Takes the most urgent job, and waits for one; none once the queue is closed.
    fn wait(&self, py: Python<'_>) -> Option<(i64, Py<PyAny>)> {
        let forks = crate::node::forks();
        loop {
            let (next, closed) = detached(py, || {
                let state = lock(&self.state);
                let waits = |state: &mut State| state.is_empty() && !state.closed;
                let waited = self.changed.wait_timeout_while(state, SLICE, waits);
                let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
                (state.pop(), state.closed)
            });
            if next.is_some() || closed || crate::node::forks() != forks {
                return next;
            }
        }
    }

    fn __len__(&self) -> usize {
        let state = lock(&self.state);
        state.guaranteed.len() + state.best_effort.len()
    }

    /// The earliest deadline of those that come first.
    #[getter]
    fn next_deadline_ns(&self) -> Option<i64> {
        let state = lock(&self.state);
        state.guaranteed.next_deadline_ns().or_else(|| state.best_effort.next_deadline_ns())
    }

    /// Wakes everybody who waits, and takes no more; what waits can still be popped.
    fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.guaranteed.is_empty() && self.best_effort.is_empty()
    }

    fn pop(&mut self) -> Option<(i64, Py<PyAny>)> {
        self.guaranteed.pop().or_else(|| self.best_effort.pop())
    }
}

#[pymethods]
impl QueuedJob {
    /// Takes it out; whether it still waited.
    fn cancel(&self) -> bool {
        let job = {
            let mut state = lock(&self.queue.get().state);
            let band = if self.guaranteed { &mut state.guaranteed } else { &mut state.best_effort };
            band.cancel(self.handle)
        };
        // Dropped without the lock, because its destructor may push.
        job.is_some()
    }
}

/// Whether tasks of `(period_ns, deadline_ns, budget_ns)` fit on some workers, and why.
#[pyfunction]
pub(crate) fn admission<'py>(
    py: Python<'py>,
    tasks: Vec<(u64, u64, u64)>,
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
        let outcome = divide(&tasks, workers, reserved_ns);
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
            answer.set_item("budget_fits_ns", misfit.budget_fits_ns)?;
            if let Cause::Demand { interval_ns, demand_ns, blocking_ns } = misfit.cause {
                answer.set_item("interval_ns", interval_ns)?;
                answer.set_item("demand_ns", demand_ns)?;
                answer.set_item("blocking_ns", blocking_ns)?;
            }
        }
    }
    Ok(answer)
}

fn blocking_on(tasks: &[TaskTimes], worker_of: &[usize], worker: usize, reserved_ns: u64) -> Option<u64> {
    let here: Vec<_> = tasks.iter().zip(worker_of).filter(|(_, on)| **on == worker).map(|(task, _)| *task).collect();
    if here.is_empty() { None } else { fits(&here, reserved_ns).ok().map(|fit| fit.blocking_ns) }
}
