//! What timers do when they fire, natively or by handing over to Python.

use super::Calls;
use super::tally::Tally;
use crate::event::Flag;
use crate::guard::function_at;
use crate::node::{Outcome, lock};
use crate::payload::{Content, Record, Value};
use crate::publisher::Publisher;
use chronofabric_bus::{Concurrent, NewEvent, Reason};
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
}

/// The kinds of actions.
pub(crate) enum Act {
    /// Raise a flag.
    Flag(Py<Flag>),
    /// Call a C function with the instant and how late it is, in nanoseconds.
    Function(extern "C" fn(i64, f64)),
    /// Publish when it was due and how late it is.
    Publish(Target),
    /// Write a one of eight bytes to a descriptor: what an eventfd counts.
    #[cfg(unix)]
    Descriptor(std::os::fd::OwnedFd),
    /// Call Python.
    Call(Arc<Waiting>),
}

/// Where a native publish goes.
pub(crate) type Target = Arc<crate::node::Topic>;

/// Firings for which Python has not been called yet.
pub(crate) struct Waiting {
    target: Py<PyAny>,
    calls: Arc<Calls>,
    firings: Mutex<VecDeque<Firing>>,
    waiting_max: usize,
    /// Those of the timer; known with its first firing.
    tally: std::sync::OnceLock<(Arc<Tally>, i64)>,
}

impl Waiting {
    /// The next firing that waits.
    pub(crate) fn take(&self) -> Option<Firing> {
        lock(&self.firings).pop_front()
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
    pub(crate) fn completed(&self, due_ns: i64, failed: bool) -> bool {
        let Some((tally, tolerance_ns)) = self.tally.get() else { return false };
        if failed {
            tally.failed();
        }
        tally.completed(self.calls.source.now_ns() - due_ns, *tolerance_ns)
    }

    fn hand_over(self: &Arc<Self>, action: &Do, firing: Firing) {
        self.tally.get_or_init(|| (Arc::clone(&action.tally), action.tolerance_ns));
        {
            let mut firings = lock(&self.firings);
            if firings.len() >= self.waiting_max {
                // The newest that waits stands for this one too.
                if let Some(newest) = firings.back_mut() {
                    newest.missed += firing.missed + 1;
                }
                action.tally.coalesced(1);
                return;
            }
            firings.push_back(firing);
        }
        self.calls.push(Arc::clone(self));
    }
}

impl Act {
    /// A flag, a publisher, the address of a C function, a descriptor in a tuple of one, or what to hand to Python.
    pub(crate) fn new(object: &Bound<'_, PyAny>, calls: &Arc<Calls>, waiting_max: usize) -> PyResult<Self> {
        if let Ok(flag) = object.cast::<Flag>() {
            return Ok(Self::Flag(flag.clone().unbind()));
        }
        if let Ok(publisher) = object.cast::<Publisher>() {
            let target = publisher.get().shared_topic(object.py())?;
            return Ok(Self::Publish(target));
        }
        if let Ok(address) = object.extract::<usize>() {
            return Ok(Self::Function(function_at(object.py(), address)?));
        }
        #[cfg(unix)]
        if let Ok((descriptor,)) = object.extract::<(std::os::fd::RawFd,)>() {
            return descriptor_of(object.py(), descriptor).map(Self::Descriptor);
        }
        let (target, calls) = (object.clone().unbind(), Arc::clone(calls));
        let (firings, waiting_max) = (Mutex::default(), waiting_max.max(1));
        Ok(Self::Call(Arc::new(Waiting { target, calls, firings, waiting_max, tally: std::sync::OnceLock::new() })))
    }
}

/// A descriptor of our own for the same file, so that the caller may close its.
#[cfg(unix)]
#[allow(unsafe_code)]
fn descriptor_of(py: Python<'_>, descriptor: std::os::fd::RawFd) -> PyResult<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;

    // SAFETY: a number that is no open descriptor makes these calls fail, and nothing else.
    let (flags, copy) =
        unsafe { (libc::fcntl(descriptor, libc::F_GETFL), libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0)) };
    if copy < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: it was just made, and nobody else has it.
    let owned = unsafe { std::os::fd::OwnedFd::from_raw_fd(copy) };
    if flags & libc::O_NONBLOCK == 0 {
        let hint = "writing to it could make all timers wait; call os.set_blocking(descriptor, False) first";
        return Err(crate::errors::argument(py, "descriptor", descriptor.into_pyobject(py)?.as_any(), hint));
    }
    Ok(owned)
}

impl Action for Do {
    fn fire(&self, firing: Firing) {
        let lateness_ns = firing.now_ns - firing.due_ns;
        self.tally.fired(lateness_ns, firing.missed);
        if lateness_ns > self.tolerance_ns && !matches!(self.act, Act::Call(_)) {
            self.tally.late_start();
        }
        match &self.act {
            Act::Flag(flag) => flag.get().raise(),
            Act::Function(function) => function(firing.due_ns, lateness_ns as f64),
            Act::Publish(topic) => self.publish(topic, firing, lateness_ns),
            #[cfg(unix)]
            Act::Descriptor(descriptor) => self.write(descriptor),
            Act::Call(waiting) => waiting.hand_over(self, firing),
        }
    }
}

impl Do {
    fn publish(&self, topic: &Target, firing: Firing, lateness_ns: i64) {
        let record = Record(vec![
            ("due", Value::Integer(firing.due_ns)),
            ("lateness_ns", Value::Integer(lateness_ns)),
            ("missed", Value::Integer(i64::try_from(firing.missed).unwrap_or(i64::MAX))),
        ]);
        let mut outcome = Outcome::default();
        if topic.publish(Concurrent, NewEvent::new(Content::of_record(record)), &mut outcome).is_err() {
            self.tally.failed();
        }
        // The thread that fires waits for nobody: what finds no room is dropped, and counted as that.
        for blocked in outcome.blocked.drain(..) {
            blocked.give_up(Reason::Timeout, &mut outcome.victims);
        }
        outcome.victims.clear();
    }

    #[cfg(unix)]
    #[allow(unsafe_code)]
    fn write(&self, descriptor: &std::os::fd::OwnedFd) {
        use std::os::fd::AsRawFd;

        let one = 1_u64.to_ne_bytes();
        // SAFETY: the descriptor is open and the bytes are there.
        let written = unsafe { libc::write(descriptor.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        if written < 0 {
            self.tally.failed();
        }
    }
}
