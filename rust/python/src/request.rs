//! Requests: events that somebody waits for an answer to.
//!
//! A request travels like every other event. Beside its payload it carries a handle to a slot, in which its asker waits;
//! every copy of the event has one. The first answer settles the slot. When the last handle goes before that, nobody can
//! answer any more, and the asker learns it at once: a request that was dropped, or that its receivers let go of, does not
//! have to run into its timeout.
//!
//! Each request ends in one way, and is counted in it: answered, failed, unanswered, timed out or cancelled.

use crate::errors;
use crate::node::{Event, Node, Outcome, forks, lock, thread_number};
use crate::payload::{Content, interpreter};
use crate::publisher::{Accompaniment, BlockedPublish, Publisher};
use crate::subscription::duration_ns;
use crate::waiting::{Condition, hand_over, wait};
use chronofabric_bus::{BusError, Extras, NewEvent, Signal, Wake};
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What became of the requests of a node.
#[derive(Default)]
struct Counts {
    asked: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    unanswered: AtomicU64,
    timed_out: AtomicU64,
    cancelled: AtomicU64,
    late: AtomicU64,
    surplus: AtomicU64,
}

/// What the requests of a node have in common.
pub(crate) struct Requests {
    counts: Counts,
    /// Whether the node was closed: nobody waits any more.
    ended: AtomicBool,
    ending: Signal,
    forks: u32,
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self { counts: Counts::default(), ended: AtomicBool::new(false), ending: Signal::default(), forks: forks() }
    }

    /// Says that nothing is handed out from now on; [`Requests::wake`] follows.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Wakes who still waits, because the event is in somebody's hands.
    pub(crate) fn wake(&self) {
        self.ending.notify();
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn is_forked(&self) -> bool {
        forks() != self.forks
    }

    /// The counts by name.
    pub(crate) fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let Counts { asked, answered, failed, unanswered, timed_out, cancelled, late, surplus } = &self.counts;
        let all = PyDict::new(py);
        for (name, count) in [
            ("asked", asked),
            ("answered", answered),
            ("failed", failed),
            ("unanswered", unanswered),
            ("timed_out", timed_out),
            ("cancelled", cancelled),
            ("late", late),
            ("surplus", surplus),
        ] {
            all.set_item(name, count.load(Ordering::Relaxed))?;
        }
        Ok(all)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What a request ends with, as far as others decide it.
enum Answer {
    Value(Py<PyAny>),
    Error(Py<PyBaseException>),
    /// Nobody has the event any more.
    Nobody,
}

enum State {
    Waiting,
    Settled(Answer),
    /// The asker has taken the answer.
    Taken,
    /// The asker has gone without one.
    Left,
}

/// Where the asker waits.
struct Slot {
    state: Mutex<State>,
    /// Whether there is something to take; quicker to look at.
    settled: AtomicBool,
    signal: Signal,
    handles: AtomicUsize,
    requests: Arc<Requests>,
}

impl Slot {
    /// Puts an answer in; says whether it is the one that the asker gets.
    fn settle(&self, answer: Answer) -> bool {
        let counts = &self.requests.counts;
        let counter = match &answer {
            Answer::Value(_) => &counts.answered,
            Answer::Error(_) => &counts.failed,
            Answer::Nobody if self.requests.has_ended() => &counts.cancelled,
            Answer::Nobody => &counts.unanswered,
        };
        let refused = {
            let mut state = lock(&self.state);
            match &*state {
                State::Waiting => {
                    *state = State::Settled(answer);
                    None
                }
                State::Left => Some((answer, &counts.late)),
                _ => Some((answer, &counts.surplus)),
            }
        };
        // Dropped here, after the lock: that may run foreign code.
        if let Some((answer, counter)) = refused {
            if !matches!(answer, Answer::Nobody) {
                count(counter);
            }
            return false;
        }
        count(counter);
        hand_over();
        self.settled.store(true, Ordering::Release);
        self.signal.notify();
        true
    }

    fn take(&self) -> Option<Answer> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Settled(answer) => Some(answer),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Gives up waiting, unless an answer has come.
    fn leave(&self) -> bool {
        let mut state = lock(&self.state);
        let waiting = matches!(&*state, State::Waiting);
        if waiting {
            *state = State::Left;
        }
        waiting
    }
}

/// The way to the asker, in every copy of the event.
pub(crate) struct Handle(Arc<Slot>);

impl Clone for Handle {
    fn clone(&self) -> Self {
        // As for `Arc`: a new one comes from an existing one.
        self.0.handles.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // In a forked child nobody waits, and a lock may be held by a thread that does not exist here.
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1 && !self.0.requests.is_forked() {
            self.0.settle(Answer::Nobody);
        }
    }
}

impl Handle {
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        if !self.0.requests.is_forked() {
            return Ok(());
        }
        let message =
            "this request was made in the process that this one was forked from, and nobody here waits for it";
        Err(errors::exception(py, "ForkedError", message, |_| Ok(())))
    }
}

/// Answers an event; says whether its asker gets the answer.
pub(crate) fn reply(event: &Event, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    let Some(handle) = event.reply() else { return Ok(false) };
    handle.check(py)?;
    let value = Content::new(value)?.to_python(py)?;
    Ok(handle.0.settle(Answer::Value(value)))
}

/// Answers an event with an exception.
pub(crate) fn reply_error(event: &Event, error: &Bound<'_, PyAny>) -> PyResult<bool> {
    let Ok(error) = error.cast::<PyBaseException>() else {
        return Err(errors::argument(error.py(), "error", error, "it must be an exception, such as ValueError('...')"));
    };
    let Some(handle) = event.reply() else { return Ok(false) };
    handle.check(error.py())?;
    Ok(handle.0.settle(Answer::Error(error.clone().unbind())))
}

/// Who waits for the answer to a request. Dropping it gives up, counted as cancelled.
struct Asking {
    slot: Arc<Slot>,
    node: Arc<Node>,
    topic: Box<str>,
    timeout_ns: Option<i64>,
    deadline_ns: Option<i64>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.slot.leave() {
            count(&self.slot.requests.counts.cancelled);
        }
    }
}

impl Condition for &Asking {
    fn check(&mut self, _py: Python<'_>) -> bool {
        self.is_true()
    }
    fn is_true(&self) -> bool {
        self.slot.settled.load(Ordering::Acquire) || self.slot.requests.has_ended()
    }
    fn glance(&mut self) -> bool {
        self.is_true()
    }
    fn waits(&self, _waits: bool) {}
    fn arm(&self, wake: Arc<dyn Wake>) {
        self.slot.requests.ending.arm(Arc::clone(&wake), 0);
        self.slot.signal.arm(wake, 0);
    }
    fn disarm(&self, wake: &Arc<dyn Wake>) {
        self.slot.requests.ending.disarm(wake, 0);
        self.slot.signal.disarm(wake, 0);
    }
}

impl Asking {
    fn new(node: &Arc<Node>, topic: &str, timeout: Timeout) -> (Self, Handle) {
        let slot = Arc::new(Slot {
            state: Mutex::new(State::Waiting),
            settled: AtomicBool::new(false),
            signal: Signal::default(),
            handles: AtomicUsize::new(1),
            requests: Arc::clone(&node.requests),
        });
        count(&slot.requests.counts.asked);
        let deadline_ns = timeout.0.map(|timeout| node.bus.source().now_ns().saturating_add(timeout));
        let handle = Handle(Arc::clone(&slot));
        (Self { slot, node: Arc::clone(node), topic: topic.into(), timeout_ns: timeout.0, deadline_ns }, handle)
    }

    /// What it ended with; `None` while it has not.
    fn outcome(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match self.slot.take() {
            Some(Answer::Value(value)) => return Ok(Some(value)),
            Some(Answer::Error(error)) => return Err(self.failed(py, error.into_bound(py))),
            Some(Answer::Nobody) if self.slot.requests.has_ended() => {
                return Err(self.node.error(py, &BusError::Closed));
            }
            Some(Answer::Nobody) => return Err(nobody_answers(py, &self.topic, LET_GO)),
            None => {}
        }
        if self.slot.requests.has_ended() {
            return Err(self.node.error(py, &BusError::Closed));
        }
        let over = self.deadline_ns.is_some_and(|deadline_ns| self.node.bus.source().now_ns() >= deadline_ns);
        if !over {
            return Ok(None);
        }
        if !self.slot.leave() {
            // It came just now.
            return self.outcome(py);
        }
        count(&self.slot.requests.counts.timed_out);
        Err(self.timed_out(py))
    }

    #[cold]
    fn timed_out(&self, py: Python<'_>) -> PyErr {
        let waited = self.timeout_ns.unwrap_or(0) as f64 / 1e6;
        let message = format!(
            "nobody answered '{}' within {waited} ms, although it was received or still waits; answer by event.reply(...), \
             or give a longer timeout",
            self.topic
        );
        errors::exception(py, "RequestTimeout", &message, |attributes| {
            attributes.set_item("topic", &*self.topic)?;
            attributes.set_item("timeout_ns", self.timeout_ns)
        })
    }

    #[cold]
    fn failed(&self, py: Python<'_>, error: Bound<'_, PyBaseException>) -> PyErr {
        let cause = PyErr::from_value(error.clone().into_any());
        let text = || -> PyResult<String> {
            let lines = py.import("traceback")?.call_method1("format_exception", (&error,))?;
            lines.extract::<Vec<String>>().map(|lines| lines.concat())
        };
        let kind = error.get_type().name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
        let shown = error.str().map_or_else(|_| String::new(), |text| text.to_string());
        let message = format!("the answer to '{}' raised {kind}: {shown}", self.topic);
        let raised = errors::exception(py, "AnswerError", &message, |attributes| {
            attributes.set_item("topic", &*self.topic)?;
            // What cannot even be shown is left out.
            attributes.set_item("traceback", text().unwrap_or_default())
        });
        raised.set_cause(py, Some(cause));
        raised
    }
}

const NO_SUBSCRIPTION: &str = "no subscription matches it; have @fabric.answers(...), or a subscription whose receiver calls \
                               event.reply(...), before asking";
const LET_GO: &str = "its receivers dropped it, filtered it away, or let go of it without event.reply(...)";

#[cold]
fn nobody_answers(py: Python<'_>, topic: &str, why: &str) -> PyErr {
    let message = format!("nobody answers '{topic}': {why}");
    errors::exception(py, "NoAnswerer", &message, |attributes| attributes.set_item("topic", topic))
}

/// Refuses a request that no subscription would get.
#[cold]
pub(crate) fn refuse_unreceived(py: Python<'_>, node: &Node, topic: &str) -> PyErr {
    if node.bus.is_closed() {
        return node.error(py, &BusError::Closed);
    }
    count(&node.requests.counts.asked);
    count(&node.requests.counts.unanswered);
    nobody_answers(py, topic, NO_SUBSCRIPTION)
}

/// How long an asker waits; `None` for ever.
#[derive(Clone, Copy)]
pub(crate) struct Timeout(Option<i64>);

impl Timeout {
    /// What is written as `'1 s'` in the signatures.
    pub(crate) const DEFAULT: Self = Self(Some(1_000_000_000));
}

impl<'py> FromPyObject<'_, 'py> for Timeout {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.is_none() { Ok(Self(None)) } else { duration_ns(&value, "timeout").map(|timeout| Self(Some(timeout))) }
    }
}

impl Publisher {
    /// Publishes a request and waits for its answer.
    pub(crate) fn ask(
        &self,
        payload: &Bound<'_, PyAny>,
        with: &Accompaniment<'_, '_>,
        timeout: Timeout,
    ) -> PyResult<Py<PyAny>> {
        let py = payload.py();
        self.refuse_unanswerable(py)?;
        if self.topic.is_received_only_by(thread_number()) {
            return Err(self.asks_itself(py));
        }
        let (asking, event) = self.request_of(payload, with, timeout)?;
        let mut outcome = Outcome::default();
        let published = self.topic.publish(interpreter(py), event, &mut outcome).map(drop);
        self.finish(py, published, &mut outcome)?;
        hand_over();
        loop {
            wait(py, &self.node, &mut &asking, asking.deadline_ns)?;
            if let Some(answer) = asking.outcome(py)? {
                return Ok(answer);
            }
        }
    }

    /// Publishes a request without waiting.
    pub(crate) fn ask_start(
        &self,
        payload: &Bound<'_, PyAny>,
        with: &Accompaniment<'_, '_>,
        timeout: Timeout,
    ) -> PyResult<Request> {
        let py = payload.py();
        self.refuse_unanswerable(py)?;
        let (asking, event) = self.request_of(payload, with, timeout)?;
        let mut outcome = Outcome::default();
        let published = self.topic.publish(interpreter(py), event, &mut outcome).map(drop);
        let blocked = self.not_waiting(py, published, outcome)?;
        Ok(Request { asking: Mutex::new(Some(Arc::new(asking))), blocked: Mutex::new(blocked) })
    }

    /// The event of a request, and who waits for its answer.
    fn request_of(
        &self,
        payload: &Bound<'_, PyAny>,
        with: &Accompaniment<'_, '_>,
        timeout: Timeout,
    ) -> PyResult<(Asking, NewEvent<Content>)> {
        let mut event = self.event(payload, with)?;
        let (asking, handle) = Asking::new(&self.node, self.topic.info().name(), timeout);
        event.extras.get_or_insert_with(Extras::empty).reply = Some(handle);
        Ok((asking, event))
    }

    fn refuse_unanswerable(&self, py: Python<'_>) -> PyResult<()> {
        self.node.check(py)?;
        if self.topic.receivers() > 0 {
            Ok(())
        } else {
            Err(refuse_unreceived(py, &self.node, self.topic.info().name()))
        }
    }

    #[cold]
    fn asks_itself(&self, py: Python<'_>) -> PyErr {
        let topic = self.topic.info().name();
        let names = self.topic.subscription_names();
        let message = format!(
            "a request on '{topic}' would wait for {}, which this same thread receives from, so it would wait for itself; \
             answer in another thread, or use request_async",
            names.join(", ")
        );
        errors::exception(py, "WouldDeadlock", &message, |attributes| {
            attributes.set_item("topic", topic)?;
            attributes.set_item("subscriptions", names)
        })
    }
}

/// A request that waits for its answer.
#[pyclass(module = "chronofabric._core.bus", frozen)]
pub(crate) struct Request {
    /// `None` once it is over.
    asking: Mutex<Option<Arc<Asking>>>,
    blocked: Mutex<Option<BlockedPublish>>,
}

impl Request {
    fn asking(&self) -> Option<Arc<Asking>> {
        lock(&self.asking).clone()
    }

    pub(crate) fn arm(&self, wake: &Arc<dyn Wake>, token: u64) {
        let Some(asking) = self.asking() else { return wake.wake(token) };
        asking.slot.requests.ending.arm(Arc::clone(wake), token);
        asking.slot.signal.arm(Arc::clone(wake), token);
        if (&*asking).is_true() {
            self.disarm(wake, token);
            wake.wake(token);
        }
    }

    pub(crate) fn disarm(&self, wake: &Arc<dyn Wake>, token: u64) {
        if let Some(asking) = self.asking() {
            asking.slot.requests.ending.disarm(wake, token);
            asking.slot.signal.disarm(wake, token);
        }
    }
}

#[pymethods]
impl Request {
    /// What the publish found no room for, handed out once; `None` where everybody has the request.
    fn take_blocked(&self) -> Option<BlockedPublish> {
        lock(&self.blocked).take()
    }

    /// The answer in a tuple; `None` while there is none. Raises what it ended with otherwise.
    fn outcome(&self, py: Python<'_>) -> PyResult<Option<(Py<PyAny>,)>> {
        let Some(asking) = self.asking() else {
            return Err(pyo3::exceptions::PyRuntimeError::new_err("the request is over"));
        };
        asking.node.check(py)?;
        Ok(asking.outcome(py)?.map(|answer| (answer,)))
    }

    /// When it times out, in nanoseconds of the node's time source; `None` for never.
    #[getter]
    fn deadline_ns(&self) -> Option<i64> {
        self.asking()?.deadline_ns
    }

    /// Gives up; what comes then is late.
    fn cancel(&self) {
        let asking = lock(&self.asking).take();
        drop(asking);
    }
}

/// Whether somebody waits, or waited, for an answer to an event.
pub(crate) fn is_request(event: &Event) -> bool {
    event.reply().is_some()
}
