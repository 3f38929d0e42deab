//! Timers as Python holds them, and what they do when they fire.
//!
//! What needs no interpreter happens in the thread that fires. What Python is called for is handed over: it waits in
//! `calls`, in the order of firing, and whoever runs it is woken through its [`Wakeups`]. On a simulated source it is run at
//! once, in the thread that moves the time.

mod action;
mod execution_time;
mod jobs;
mod native;
mod tally;
mod tasks;

use crate::clock::{instant_ns, source_of};
use crate::errors;
use crate::node::{detached, forks, lock};
use crate::subscription::duration_ns;
use crate::waiting::Wakeups;
use action::{Act, Do, Turn, Waiting};
use chronofabric_bus::Wake;
use chronofabric_clock::{Attendant, TimeSource};
use chronofabric_scheduler::{
    Class, Firing, MissedTicks, Period, Realtime, Refused, SchedulerError, Spin, Timer as Core, Timers as Wheel,
    TimersOptions,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use tally::Tally;

/// What the timers of one place share.
struct Service {
    name: String,
    /// Gone only while it is dropped.
    wheel: Option<Wheel<Do>>,
    tally: Arc<Tally>,
    calls: Arc<Calls>,
    forks: u32,
    pid: u32,
}

/// Calls of Python that wait, in the order in which their timers fired.
struct Calls {
    waiting: Mutex<InTurn>,
    /// How whoever runs them is told, and by which number.
    wake: Arc<dyn Wake>,
    token: u64,
    source: TimeSource,
}

/// Calls that wait for whoever runs them, and those that wait for the end of the one before of the same timer.
#[derive(Default)]
struct InTurn {
    ready: VecDeque<Arc<Waiting>>,
    behind: Vec<Arc<Waiting>>,
}

impl Calls {
    fn push(&self, call: Arc<Waiting>) {
        let first = {
            let mut waiting = lock(&self.waiting);
            waiting.ready.push_back(call);
            waiting.ready.len() == 1
        };
        if first && self.source.as_simulated().is_none() {
            self.wake.wake(self.token);
        }
    }

    /// The next call, which begins now.
    fn take(&self) -> Option<(Arc<Waiting>, Firing)> {
        let mut waiting = lock(&self.waiting);
        loop {
            let next = waiting.ready.pop_front()?;
            match next.begin() {
                Turn::Call(firing) => return Some((next, firing)),
                Turn::Busy => waiting.behind.push(next),
                Turn::Nothing => {}
            }
        }
    }

    /// Has those come to their turn that waited for the end of a call.
    fn go_on(&self, ended: &Arc<Waiting>) {
        let next: Vec<_> = {
            let behind = &mut lock(&self.waiting).behind;
            behind.extract_if(.., |each| Arc::ptr_eq(each, ended)).collect()
        };
        for call in next {
            self.push(call);
        }
    }

    /// Drops the places of what was taken back: who cancels and arms again and again would fill it otherwise, while a call runs.
    fn forget(&self, discarded: &Arc<Waiting>) {
        let InTurn { ready, behind } = &mut *lock(&self.waiting);
        ready.retain(|each| !Arc::ptr_eq(each, discarded));
        behind.retain(|each| !Arc::ptr_eq(each, discarded));
    }

    /// Takes back all that wait; how many.
    fn discard(&self) -> usize {
        let InTurn { ready, behind } = std::mem::take(&mut *lock(&self.waiting));
        ready.iter().chain(&behind).map(|each| each.discard()).sum()
    }
}

/// Acts when simulated time comes to a timer, and has Python called at once.
struct Simulated {
    service: Weak<Service>,
    runner: Py<PyAny>,
}

impl Attendant for Simulated {
    fn next_due_ns(&self) -> Option<i64> {
        self.service.upgrade()?.wheel().next_due_ns()
    }

    fn act(&self) {
        let Some(service) = self.service.upgrade() else { return };
        // One after the other, so that what Python does on the way is there for those that follow.
        while service.wheel().fire_next() {
            if !lock(&service.calls.waiting).ready.is_empty() {
                Python::attach(|py| {
                    if let Err(error) = self.runner.call0(py) {
                        error.write_unraisable(py, Some(self.runner.bind(py)));
                    }
                });
            }
        }
    }
}

impl Service {
    fn wheel(&self) -> &Wheel<Do> {
        // `None` is stored by `drop` only, which no reference outlives.
        self.wheel.as_ref().unwrap_or_else(|| std::process::abort())
    }

    fn check(&self, py: Python<'_>) -> PyResult<()> {
        if forks() == self.forks {
            return Ok(());
        }
        let message = format!(
            "timers '{}' belong to process {}, which this process was forked from; make new ones here",
            self.name, self.pid
        );
        Err(errors::exception(py, "ForkedError", &message, |attributes| {
            attributes.set_item("name", &*self.name)?;
            attributes.set_item("owner_pid", self.pid)
        }))
    }

    fn error(&self, py: Python<'_>, error: &SchedulerError) -> PyErr {
        let message = format!("timers '{}': {error}", self.name);
        match error {
            SchedulerError::Closed => {
                errors::exception(py, "ClosedError", &message, |attributes| attributes.set_item("name", &*self.name))
            }
            _ => scheduler_error(py, error, &message),
        }
    }
}

/// What Python asks of the system, by the keys of its `Realtime.options`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Asked {
    scheduling: String,
    priority: u8,
    runtime_ns: u64,
    period_ns: u64,
    processor: Option<usize>,
    lock_memory: bool,
    awake_processors: bool,
}

impl From<Asked> for Realtime {
    fn from(asked: Asked) -> Self {
        let Asked { scheduling, priority, runtime_ns, period_ns, processor, lock_memory, awake_processors } = asked;
        let class = match &*scheduling {
            "fifo" => Class::Fifo { priority },
            "deadline" => Class::Deadline { runtime_ns, period_ns },
            _ => Class::Usual,
        };
        Self { class, processor, lock_memory, awake_processors }
    }
}

/// Option, reason and cost of what was refused.
pub(crate) fn refusals(refused: &[Refused]) -> Vec<(&'static str, String, &'static str)> {
    refused.iter().map(|refused| (refused.option, refused.reason.clone(), refused.cost)).collect()
}

/// What the scheduler refused, as the exception that users catch.
#[cold]
pub(crate) fn scheduler_error(py: Python<'_>, error: &SchedulerError, message: &str) -> PyErr {
    match error {
        SchedulerError::TimerLimit { limit } => {
            errors::exception(py, "TimerLimitError", message, |attributes| attributes.set_item("limit", *limit))
        }
        SchedulerError::QueueLimit { limit } => {
            errors::exception(py, "JobLimitError", message, |attributes| attributes.set_item("limit", *limit))
        }
        SchedulerError::Option { name, value, .. } => errors::exception(py, "ArgumentError", message, |attributes| {
            attributes.set_item("argument", *name)?;
            attributes.set_item("value", *value)
        }),
        _ => errors::exception(py, "ChronofabricError", message, |_| Ok(())),
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let Some(wheel) = self.wheel.take() else { return };
        if forks() == self.forks {
            drop(wheel);
        } else {
            // Its thread is the parent's, and may hold its lock for ever.
            std::mem::forget(wheel);
        }
    }
}

/// A wheel of timers and the thread that fires them.
#[pyclass(module = "chronofabric._core.scheduler", frozen, weakref)]
pub(crate) struct Timers {
    service: Arc<Service>,
    /// Keeps what acts on simulated time alive.
    attendant: OnceLock<Arc<Simulated>>,
}

#[pymethods]
impl Timers {
    #[new]
    #[pyo3(signature = (name, source, wakeups, token, *, timers_max, spin_ns, realtime))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        name: String,
        source: &Bound<'_, PyAny>,
        wakeups: &Wakeups,
        token: u64,
        timers_max: usize,
        spin_ns: Option<i64>,
        realtime: Asked,
    ) -> PyResult<Self> {
        let source = source_of(source)?;
        let spin = spin_ns.map_or(Spin::Auto, Spin::Fixed);
        let options = TimersOptions { timers_max, spin, realtime: realtime.into() };
        let wheel =
            Wheel::new(source.clone(), &options).map_err(|error| scheduler_error(py, &error, &error.to_string()))?;
        let calls = Arc::new(Calls { waiting: Mutex::default(), wake: wakeups.wake(), token, source });
        let (forks, pid) = (forks(), std::process::id());
        let service = Service { name, wheel: Some(wheel), tally: Arc::default(), calls, forks, pid };
        Ok(Self { service: Arc::new(service), attendant: OnceLock::new() })
    }

    /// On a simulated source: has timers fire as its time moves, with Python called by `runner`.
    fn attend(&self, runner: Py<PyAny>) {
        let Some(simulated) = self.service.calls.source.as_simulated() else { return };
        let attendant = Arc::new(Simulated { service: Arc::downgrade(&self.service), runner });
        if self.attendant.set(Arc::clone(&attendant)).is_ok() {
            let known: Arc<dyn Attendant> = attendant;
            simulated.attend(Arc::downgrade(&known));
        }
    }

    /// Makes a timer that is not armed.
    #[pyo3(signature = (act, *, period_ns = None, missed = "skip", waiting_max = 1, tolerance_ns = 0, measured = false))]
    fn timer(
        &self,
        act: &Bound<'_, PyAny>,
        period_ns: Option<i64>,
        missed: &str,
        waiting_max: usize,
        tolerance_ns: i64,
        measured: bool,
    ) -> PyResult<Timer> {
        let py = act.py();
        self.service.check(py)?;
        let missed = match missed {
            "catch-up" => MissedTicks::CatchUp,
            "delay" => MissedTicks::Delay,
            _ => MissedTicks::Skip,
        };
        let act = Act::new(act, &self.service.calls, waiting_max)?;
        let tally = if measured { Arc::default() } else { Arc::clone(&self.service.tally) };
        let period = period_ns.map(|period_ns| Period { period_ns, missed });
        let simulated = self.service.calls.source.as_simulated().is_some();
        let core = self.service.wheel().timer(period, Do { act, tally, tolerance_ns, simulated });
        Ok(Timer { core, service: Arc::clone(&self.service) })
    }

    /// The next call of Python that waits; it counts as started.
    fn take(&self) -> Option<Call> {
        let (waiting, firing) = self.service.calls.take()?;
        waiting.started(self.service.calls.source.now_ns() - firing.due_ns);
        Some(Call { waiting, firing })
    }

    /// When the next timer is due.
    #[getter]
    fn next_due_ns(&self, py: Python<'_>) -> PyResult<Option<i64>> {
        self.service.check(py)?;
        Ok(self.service.wheel().next_due_ns())
    }

    /// Fires what is due, in the calling thread.
    fn fire_due(&self, py: Python<'_>) -> PyResult<()> {
        self.service.check(py)?;
        match self.attendant.get() {
            Some(attendant) => attendant.act(),
            None => {
                detached(py, || self.service.wheel().fire_due());
            }
        }
        Ok(())
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.service.check(py)?;
        Ok(self.service.wheel().len())
    }

    /// The time of its source.
    fn now(&self) -> i64 {
        self.service.calls.source.now_ns()
    }

    /// Whether its source is simulated.
    #[getter]
    fn simulated(&self) -> bool {
        self.service.calls.source.as_simulated().is_some()
    }

    /// How many calls of Python wait.
    #[getter]
    fn waiting(&self) -> usize {
        lock(&self.service.calls.waiting).ready.len()
    }

    /// What was asked of the system and refused: option, reason, cost.
    #[getter]
    fn refused(&self) -> Vec<(&'static str, String, &'static str)> {
        refusals(&self.service.wheel().refused())
    }

    /// The figures of all timers that have none of their own.
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.service.tally.report(py)
    }

    /// Ends the thread and takes all timers back; how many were armed. Calls that wait go on waiting.
    fn close(&self, py: Python<'_>) -> PyResult<usize> {
        self.service.check(py)?;
        Ok(detached(py, || self.service.wheel().close()))
    }

    /// Takes back the calls that wait; how many.
    fn discard(&self) -> usize {
        self.service.calls.discard()
    }

    /// Whether this is a forked child of the process that made it.
    #[getter]
    fn forked(&self) -> bool {
        forks() != self.service.forks
    }
}

impl Timers {
    /// Whatever they share.
    fn service(&self) -> Arc<Service> {
        Arc::clone(&self.service)
    }

    /// Where calls of Python are handed over, and where that is counted.
    fn calls(&self) -> (&Arc<Calls>, &Arc<Tally>) {
        (&self.service.calls, &self.service.tally)
    }
}

/// A timer. Dropping it leaves the timer as it is.
#[pyclass(module = "chronofabric._core.scheduler", frozen, weakref)]
pub(crate) struct Timer {
    core: Arc<Core<Do>>,
    service: Arc<Service>,
}

#[pymethods]
impl Timer {
    /// Arms it for an instant, whether it is armed, has fired, or was cancelled.
    fn rearm_at(&self, instant: &Bound<'_, PyAny>) -> PyResult<()> {
        self.arm(instant.py(), instant_ns(instant, "instant")?)
    }

    /// Arms it for a time from now.
    fn rearm(&self, delay: &Bound<'_, PyAny>) -> PyResult<()> {
        let delay_ns = duration_ns(delay, "delay")?;
        self.arm(delay.py(), self.service.calls.source.now_ns().saturating_add(delay_ns))
    }

    /// Whether it will fire.
    #[getter]
    fn armed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.due_ns(py)?.is_some())
    }

    /// Takes it back, and the calls of Python that wait; whether it was armed, or any waited.
    fn cancel(&self, py: Python<'_>) -> PyResult<bool> {
        self.service.check(py)?;
        let was_armed = self.service.wheel().cancel(&self.core);
        Ok(self.core.action().discard() > 0 || was_armed)
    }

    /// When it fires next.
    #[getter]
    fn due_ns(&self, py: Python<'_>) -> PyResult<Option<i64>> {
        self.service.check(py)?;
        Ok(self.service.wheel().due_ns(&self.core))
    }

    /// Its figures, or those that it shares with others.
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.core.action().tally.report(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.due_ns(py)?.map_or_else(|| "Timer(not armed)".to_owned(), |due_ns| format!("Timer(due_ns={due_ns})")))
    }
}

impl Timer {
    fn arm(&self, py: Python<'_>, due_ns: i64) -> PyResult<()> {
        self.service.check(py)?;
        self.service.wheel().arm_again(&self.core, due_ns).map_err(|error| self.service.error(py, &error))
    }
}

/// A call of Python that was handed over and counts as started.
#[pyclass(module = "chronofabric._core.scheduler", frozen)]
pub(crate) struct Call {
    waiting: Arc<Waiting>,
    firing: Firing,
}

#[pymethods]
impl Call {
    /// What is to be called.
    #[getter]
    fn target(&self, py: Python<'_>) -> Py<PyAny> {
        self.waiting.target().clone_ref(py)
    }

    /// When the timer was due.
    #[getter]
    fn due_ns(&self) -> i64 {
        self.firing.due_ns
    }

    /// When the timer fired.
    #[getter]
    fn fired_ns(&self) -> i64 {
        self.firing.now_ns
    }

    /// How many further ticks it stands for: left out, or fired while it waited.
    #[getter]
    fn missed(&self) -> u64 {
        self.firing.missed
    }

    /// Told when it has ended; whether that was later than the tolerance.
    fn completed(&self, failed: bool) -> bool {
        self.waiting.completed(self.firing.due_ns, failed)
    }
}

/// Adds the submodule `scheduler`.
pub(crate) fn register(parent: &Bound<'_, PyModule>) -> PyResult<()> {
    let module = PyModule::new(parent.py(), "scheduler")?;
    module.add_class::<Timers>()?;
    module.add_class::<Timer>()?;
    module.add_class::<Call>()?;
    module.add_class::<execution_time::ExecutionTime>()?;
    module.add_class::<jobs::DeadlineQueue>()?;
    module.add_class::<jobs::QueuedJob>()?;
    module.add_class::<jobs::Worker>()?;
    module.add_class::<tasks::JobAccount>()?;
    module.add_class::<tasks::NativeTask>()?;
    module.add_function(wrap_pyfunction!(jobs::admission, &module)?)?;
    parent.add_submodule(&module)
}
