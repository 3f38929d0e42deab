//! A flag that is raised without the interpreter, by guards, timers and jobs, and looked at or waited for by anybody.

use crate::node::{detached, forks, lock};
use crate::subscription::duration_ns;
use crate::waiting::{SIGNAL_SLICE, SLICE, in_main_thread};
use pyo3::prelude::*;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it was raised since it was last cleared, and who waits for the first time.
#[pyclass(module = "chronofabric._core.bus", frozen)]
#[derive(Default)]
pub(crate) struct Flag {
    state: Mutex<State>,
    raised: Condvar,
}

#[derive(Default)]
struct State {
    count: u64,
    /// To notify nobody would cost a system call all the same.
    sleepers: usize,
}

impl Flag {
    pub(crate) fn raise(&self) {
        let sleepers = {
            let mut state = lock(&self.state);
            state.count += 1;
            state.sleepers
        };
        if sleepers > 0 {
            self.raised.notify_all();
        }
    }

    /// Sleeps until it is raised, for no longer than a time; says whether it is.
    fn sleep(&self, longest: Duration) -> bool {
        let mut state = lock(&self.state);
        state.sleepers += 1;
        let waited = self.raised.wait_timeout_while(state, longest, |state| state.count == 0);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.sleepers -= 1;
        state.count > 0
    }
}

#[pymethods]
impl Flag {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Whether it was set since it was last cleared.
    fn is_set(&self) -> bool {
        lock(&self.state).count > 0
    }

    /// How often it was set since it was last cleared.
    #[getter]
    fn count(&self) -> u64 {
        lock(&self.state).count
    }

    /// Sets it, as a guard does.
    fn set(&self) {
        self.raise();
    }

    /// Clears it; the count starts again at 0.
    fn clear(&self) {
        lock(&self.state).count = 0;
    }

    /// Waits until it is set, for no longer than a timeout; says whether it is.
    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let timeout = timeout.map(|timeout| duration_ns(timeout, "timeout")).transpose()?;
        let timeout = timeout.map(|timeout_ns| Duration::from_nanos(timeout_ns.unsigned_abs()));
        let started = Instant::now();
        let main = in_main_thread();
        // Signal handlers run in the main thread; any thread looks from time to time whether it is in a forked child.
        let slice = if main { SIGNAL_SLICE } else { SLICE };
        let forks_before = forks();
        loop {
            let left = timeout.map_or(slice, |timeout| timeout.saturating_sub(started.elapsed()));
            let is_set = if left.is_zero() { self.is_set() } else { detached(py, || self.sleep(left.min(slice))) };
            if main {
                py.check_signals()?;
            }
            let is_over = timeout.is_some_and(|timeout| started.elapsed() >= timeout);
            if is_set || is_over || forks() != forks_before {
                return Ok(is_set);
            }
        }
    }

    fn __repr__(&self) -> String {
        format!("Flag(count={})", self.count())
    }
}
