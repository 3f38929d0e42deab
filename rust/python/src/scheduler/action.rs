//! What timers do when they fire, natively or by handing over to Python.

use super::Calls;
use super::jobs::Shared;
use super::native::Native;
use super::tally::Tally;
use super::tasks::{NativeJobs, NativeTask};
use crate::node::lock;
use chronofabric_scheduler::{Action, Firing};
use pyo3::prelude::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// What a timer does, and where that is counted.
pub(crate) struct Do {
    pub(crate) act: Act,
    pub(crate) tally: Arc<Tally>,
    /// How late a start may be.
    pub(crate) tolerance_ns: i64,
    /// Whether it is done by who moves the time.
    pub(crate) simulated: bool,
}

/// The kinds of actions.
pub(crate) enum Act {
    /// What needs no interpreter.
    Native(Native),
    /// Let a job come that needs none.
    Release(Arc<NativeJobs>),
    /// Call Python.
    Call(Arc<Waiting>),
}

/// Firings for which Python has not been called yet.
pub(crate) struct Waiting {
    target: Py<PyAny>,
    calls: Arc<Calls>,
    firings: Mutex<Firings>,
    waiting_max: usize,
    /// Those of the timer; known with its first firing.
    tally: std::sync::OnceLock<(Arc<Tally>, i64)>,
}

/// What waits, and whether the call before still runs: there is one at a time, also of a coroutine.
#[derive(Default)]
struct Firings {
    waiting: VecDeque<Firing>,
    runs: bool,
}

/// What there is to do for whoever has its turn to call.
pub(crate) enum Turn {
    Call(Firing),
    /// The call before has not ended yet.
    Busy,
    /// It was taken back.
    Nothing,
}

impl Waiting {
    /// The next firing that waits, for which a call begins now.
    pub(crate) fn begin(&self) -> Turn {
        let mut firings = lock(&self.firings);
        if firings.runs && !firings.waiting.is_empty() {
            return Turn::Busy;
        }
        let Some(firing) = firings.waiting.pop_front() else { return Turn::Nothing };
        firings.runs = true;
        Turn::Call(firing)
    }

    /// Takes back the calls that wait; how many.
    pub(crate) fn discard(self: &Arc<Self>) -> usize {
        let discarded = std::mem::take(&mut lock(&self.firings).waiting).len();
        if discarded > 0 {
            self.calls.forget(self);
            if let Some((tally, _)) = self.tally.get() {
                tally.discarded(discarded as u64);
            }
        }
        discarded
    }

    pub(crate) fn target(&self) -> &Py<PyAny> {
        &self.target
    }

    /// Told when Python is about to be called.
    pub(crate) fn started(&self, lateness_ns: i64) {
        if let Some((tally, tolerance_ns)) = self.tally.get() {
            tally.called(lateness_ns);
            if lateness_ns > *tolerance_ns {
                tally.late_start();
            }
        }
    }

    /// Told when the call of Python has ended; whether that was later than the tolerance.
    pub(crate) fn completed(self: &Arc<Self>, due_ns: i64, failed: bool) -> bool {
        lock(&self.firings).runs = false;
        self.calls.go_on(self);
        let Some((tally, tolerance_ns)) = self.tally.get() else { return false };
        if failed {
            tally.failed();
        }
        tally.completed(self.calls.source.now_ns() - due_ns, *tolerance_ns)
    }

    pub(crate) fn hand_over(self: &Arc<Self>, tally: &Arc<Tally>, tolerance_ns: i64, firing: Firing) {
        self.tally.get_or_init(|| (Arc::clone(tally), tolerance_ns));
        {
            let mut firings = lock(&self.firings);
            if firings.waiting.len() >= self.waiting_max {
                // The newest that waits stands for this one too.
                if let Some(newest) = firings.waiting.back_mut() {
                    newest.missed += firing.missed + 1;
                }
                tally.coalesced(1);
                return;
            }
            firings.waiting.push_back(firing);
        }
        self.calls.push(Arc::clone(self));
    }
}

impl Waiting {
    /// What to hand over to whom.
    pub(crate) fn new(target: Py<PyAny>, calls: &Arc<Calls>, waiting_max: usize) -> Arc<Self> {
        let (calls, firings, waiting_max) = (Arc::clone(calls), Mutex::default(), waiting_max.max(1));
        Arc::new(Self { target, calls, firings, waiting_max, tally: std::sync::OnceLock::new() })
    }
}

impl Act {
    /// What is native, jobs that are, or what to hand to Python.
    pub(crate) fn new(object: &Bound<'_, PyAny>, calls: &Arc<Calls>, waiting_max: usize) -> PyResult<Self> {
        if let Some(native) = Native::new(object)? {
            return Ok(Self::Native(native));
        }
        if let Ok(task) = object.cast::<NativeTask>() {
            return Ok(Self::Release(task.get().jobs()));
        }
        Ok(Self::Call(Waiting::new(object.clone().unbind(), calls, waiting_max)))
    }
}

impl Do {
    /// Takes back the calls of Python that wait; how many.
    pub(crate) fn discard(&self) -> usize {
        if let Act::Call(waiting) = &self.act { waiting.discard() } else { 0 }
    }

    /// Whether it lets jobs come that wait in a queue.
    pub(crate) fn comes_to(&self, queue: &Shared) -> bool {
        matches!(&self.act, Act::Release(jobs) if jobs.come_to(queue))
    }
}

impl Action for Do {
    fn fire(&self, firing: Firing) {
        let lateness_ns = firing.now_ns - firing.due_ns;
        self.tally.fired(lateness_ns, firing.missed);
        if lateness_ns > self.tolerance_ns && !matches!(self.act, Act::Call(_)) {
            self.tally.late_start();
        }
        match &self.act {
            Act::Native(native) => {
                // Who moves simulated time may hold the interpreter, which a fork wants too.
                let done = if self.simulated { native.act(firing) } else { native.act_outside(firing) };
                if !done {
                    self.tally.failed();
                }
            }
            Act::Release(jobs) => jobs.release(firing.due_ns),
            Act::Call(waiting) => waiting.hand_over(&self.tally, self.tolerance_ns, firing),
        }
    }

    fn soon(&self) {
        match &self.act {
            // The worker waits for it by itself.
            Act::Native(_) | Act::Release(_) => {}
            Act::Call(waiting) => waiting.calls.wake.soon(),
        }
    }

    fn is_awaited(&self) -> bool {
        matches!(self.act, Act::Release(_))
    }
}
