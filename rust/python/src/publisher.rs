//! Publishing, and waiting for room where a subscription asks for that.

use crate::columns::{self, Kind, Table};
use crate::errors;
use crate::node::{Counted, Node, Outcome, Topic, Victims, detached, thread_number};
use crate::payload::{Content, interpreter};
use crate::prepared::PreparedPublish;
use crate::request::{Request, Timeout};
use crate::subscription::{Core, count, duration_ns, sleeps};
use crate::waiting::{AWAKE, Condition, PATIENCE, wait};
use chronofabric_bus::{Blocked, BusError, Extras, NewEvent, PRIORITIES, PRIORITY_NORMAL, Reason, Wake};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDateTime, PyDict, PyList, PyMapping, PyString, PyTuple};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

type BlockedEvent = Blocked<Content>;

/// How long a publisher sleeps at most before it looks for room again: subscribers announce room most of a ring at a time.
const ROOM_SLICE: Duration = Duration::from_millis(1);

/// After how many events of one call others get their turn.
const TURN: usize = 1024;

/// Lets signal handlers and other threads have their turn, so that a list of millions is neither deaf to Ctrl-C nor keeps
/// the interpreter to itself. By a call of a Python function that does nothing: releasing the interpreter for a moment
/// would wake those who want it and be back before them, and they would never come to insist on it.
#[cold]
fn take_turns(py: Python<'_>) -> PyResult<()> {
    static NOTHING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let nothing = NOTHING.get_or_try_init(py, || py.eval(c"lambda: None", None, None).map(Bound::unbind))?;
    nothing.call0(py).map(drop)
}

/// What every event of a publisher must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Schema {
    Any,
    Arrow,
}

/// A handle for one topic.
#[pyclass(module = "chronofabric._core.bus", frozen, subclass, weakref)]
pub(crate) struct Publisher {
    pub(crate) topic: Arc<Topic>,
    pub(crate) node: Arc<Node>,
    pub(crate) priority: u8,
    /// Whether its topic keeps each of its events for subscribers to come.
    pub(crate) retain: bool,
    /// How long after publishing its events are to be acted on, where a publish says nothing else.
    pub(crate) deadline_ns: Option<i64>,
    schema: Schema,
    arrow_schema: Option<Py<PyAny>>,
    /// Whether it asks nothing of its events, and adds nothing to them.
    plain: bool,
}

/// What may accompany a payload, as Python gives it.
pub(crate) struct Accompaniment<'a, 'py> {
    pub(crate) priority: Option<&'a Bound<'py, PyAny>>,
    pub(crate) deadline: Option<&'a Bound<'py, PyAny>>,
    pub(crate) headers: Option<&'a Bound<'py, PyAny>>,
    pub(crate) time: Option<i64>,
    pub(crate) retain: bool,
}

impl Accompaniment<'_, '_> {
    /// Whether there is nothing but, perhaps, a time.
    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.priority.is_none() && self.deadline.is_none() && self.headers.is_none() && !self.retain
    }
}

/// A priority by number or name.
pub(crate) fn priority_of(value: &Bound<'_, PyAny>) -> PyResult<u8> {
    let refuse = || {
        errors::argument(
            value.py(),
            "priority",
            value,
            "it must be 'low', 'normal', 'high', 'urgent' or a number from 0 to 3",
        )
    };
    if let Ok(name) = value.cast::<PyString>() {
        return match name.to_str()? {
            "low" => Ok(0),
            "normal" => Ok(PRIORITY_NORMAL),
            "high" => Ok(2),
            "urgent" => Ok(3),
            _ => Err(refuse()),
        };
    }
    let number = value.extract::<u8>().ok().filter(|number| usize::from(*number) < PRIORITIES);
    number.filter(|_| !value.is_instance_of::<pyo3::types::PyBool>()).ok_or_else(refuse)
}

impl Publisher {
    pub(crate) fn new(
        py: Python<'_>,
        node: &Arc<Node>,
        name: &str,
        priority: Option<&Bound<'_, PyAny>>,
        schema: Option<&Bound<'_, PyAny>>,
        retain: bool,
        deadline_ns: Option<i64>,
    ) -> PyResult<Self> {
        node.check(py)?;
        let priority = priority.map_or(Ok(PRIORITY_NORMAL), priority_of)?;
        let arrow_schema = match schema {
            Some(schema)
                if !schema.hasattr("__arrow_c_schema__")? && schema.extract::<&str>().ok() != Some("arrow") =>
            {
                let hint = "it must be 'arrow' for any Arrow data, or a schema such as pyarrow.schema(...)";
                return Err(errors::argument(py, "schema", schema, hint));
            }
            Some(schema) if schema.hasattr("__arrow_c_schema__")? => Some(schema.clone().unbind()),
            _ => None,
        };
        let topic = node.bus.topic(name).map_err(|error| node.error(py, &error))?;
        let schema = if schema.is_some() { Schema::Arrow } else { Schema::Any };
        if retain {
            node.bus.retain(&topic);
        }
        let plain = schema == Schema::Any && !retain && deadline_ns.is_none();
        Ok(Self { topic, node: Arc::clone(node), priority, retain, deadline_ns, schema, arrow_schema, plain })
    }

    /// Its topic, for who publishes on it without the interpreter from now on.
    pub(crate) fn shared_topic(&self, py: Python<'_>) -> PyResult<Arc<Topic>> {
        self.node.check(py)?;
        self.node.bus.share(&self.topic);
        Ok(Arc::clone(&self.topic))
    }

    /// Refuses what [`Publisher::event`] would, before a topic is made for it.
    #[cold]
    pub(crate) fn check_event(node: &Node, payload: &Bound<'_, PyAny>, with: &Accompaniment<'_, '_>) -> PyResult<()> {
        Content::new(payload)?;
        with.priority.map(priority_of).transpose()?;
        with.deadline.map(|deadline| instant_ns(node, deadline)).transpose()?;
        with.headers.map(headers_of).transpose()?;
        Ok(())
    }

    /// The event to publish, or why it is refused.
    pub(crate) fn event(
        &self,
        payload: &Bound<'_, PyAny>,
        with: &Accompaniment<'_, '_>,
    ) -> PyResult<NewEvent<Content>> {
        let content = Content::new(payload).map_err(|error| self.name_topic(payload.py(), error))?;
        if self.schema == Schema::Arrow {
            self.check_schema(payload, &content)?;
        }
        self.accompanied(content, with)
    }

    /// A payload, or those of a batch, with what goes beside.
    fn accompanied(&self, content: Content, with: &Accompaniment<'_, '_>) -> PyResult<NewEvent<Content>> {
        let retain = self.retain || with.retain;
        if with.retain {
            self.node.bus.retain(&self.topic);
        }
        let mut event = NewEvent { priority: self.priority, time_ns: with.time, retain, ..NewEvent::new(content) };
        if let Some(priority) = with.priority {
            event.priority = priority_of(priority)?;
        }
        if with.deadline.is_some() || with.headers.is_some() || self.deadline_ns.is_some() {
            let deadline_ns = match with.deadline {
                Some(deadline) => Some(instant_ns(&self.node, deadline)?),
                None => self.default_deadline_ns(),
            };
            let headers = with.headers.map(headers_of).transpose()?;
            event.extras = Some(Box::new(Extras { deadline_ns, headers, ..*Extras::empty() }));
        }
        Ok(event)
    }

    /// When its next event is to be acted on, where its publish does not say.
    pub(crate) fn default_deadline_ns(&self) -> Option<i64> {
        self.deadline_ns.map(|deadline_ns| self.node.bus.source().now_ns().saturating_add(deadline_ns))
    }

    /// Says on an error about a payload which topic it was for.
    #[cold]
    fn name_topic(&self, py: Python<'_>, error: PyErr) -> PyErr {
        // An error of another kind, raised by the payload itself, has no such attribute and needs none.
        if error.value(py).hasattr("topic").unwrap_or(false) {
            let _ = error.value(py).setattr("topic", self.topic.info().name());
        }
        error
    }

    #[cold]
    fn check_schema(&self, payload: &Bound<'_, PyAny>, content: &Content) -> PyResult<()> {
        let py = payload.py();
        let kind = payload.get_type().fully_qualified_name()?.to_string();
        let topic = self.topic.info().name();
        let refuse = |message: &str| {
            errors::exception(py, "PayloadError", message, |attributes| {
                attributes.set_item("topic", topic)?;
                attributes.set_item("kind", &*kind)
            })
        };
        let table = content.as_object().and_then(|object| object.bind(py).cast::<Table>().ok());
        let Some(table) = table else {
            return Err(refuse(&format!(
                "topic '{topic}' carries Arrow (schema=), but a {kind} was published; publish a table, or \
                 cf.Table.from_numpy({{...}})"
            )));
        };
        let Some(expected) = &self.arrow_schema else { return Ok(()) };
        let pyarrow = py.import("pyarrow")?;
        let (expected, found) =
            (pyarrow.call_method1("schema", (expected,))?, pyarrow.call_method1("schema", (table,))?);
        if found.call_method1("equals", (&expected,))?.is_truthy()? {
            return Ok(());
        }
        Err(refuse(&format!("topic '{topic}' carries\n{expected}\nbut a table was published with\n{found}")))
    }

    /// Whether it publishes from this process, and without a look at what.
    #[inline(always)]
    pub(crate) fn takes_anything(&self) -> bool {
        self.plain && !self.node.is_forked()
    }

    /// Refuses to work in a forked child.
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.node.check(py)
    }

    /// Publishes, and waits for room where a subscription asks for that.
    #[inline(always)]
    pub(crate) fn send(
        &self,
        payload: &Bound<'_, PyAny>,
        with: &Accompaniment<'_, '_>,
        outcome: &mut Outcome,
    ) -> PyResult<()> {
        let py = payload.py();
        let published = if with.is_plain() && with.time.is_none() && self.plain {
            let payload = Content::new(payload).map_err(|error| self.name_topic(py, error))?;
            let event = NewEvent { priority: self.priority, ..NewEvent::new(payload) };
            self.topic.publish(interpreter(py), event, outcome).map(drop)
        } else {
            self.topic.publish(interpreter(py), self.event(payload, with)?, outcome).map(drop)
        };
        self.finish(py, published, outcome)
    }

    /// What remains after the rings are filled.
    #[inline(always)]
    pub(crate) fn finish(
        &self,
        py: Python<'_>,
        published: Result<(), Box<BusError>>,
        outcome: &mut Outcome,
    ) -> PyResult<()> {
        if let Err(error) = published {
            return Err(self.node.error(py, &error));
        }
        if !outcome.waking().is_empty() {
            wake(py, outcome);
        }
        outcome.victims.clear();
        outcome.unwanted.clear();
        if !outcome.blocked.is_empty() {
            return self.wait_for_room(py, outcome);
        }
        match outcome.gathered.take() {
            Some(receiver) => wait(py, &self.node, &mut Turn::of(receiver), None).map(drop),
            None => Ok(()),
        }
    }

    /// As [`Publisher::finish`], but what found no room comes back instead of being waited for.
    #[cold]
    pub(crate) fn not_waiting(
        &self,
        py: Python<'_>,
        published: Result<(), Box<BusError>>,
        mut outcome: Outcome,
    ) -> PyResult<Option<BlockedPublish>> {
        outcome.wake();
        published.map_err(|error| self.node.error(py, &error))?;
        outcome.victims.clear();
        outcome.unwanted.clear();
        if outcome.blocked.is_empty() {
            return Ok(None);
        }
        let started_ns = self.node.bus.source().now_ns();
        let timeout_ns = |blocked: &BlockedEvent| blocked.subscription().options().block_timeout_ns;
        let waiting = outcome
            .blocked
            .drain(..)
            .map(|blocked| (started_ns.saturating_add(timeout_ns(&blocked)), blocked))
            .collect();
        Ok(Some(BlockedPublish {
            waiting: Mutex::new(waiting),
            expired: Mutex::default(),
            started_ns,
            node: Arc::clone(&self.node),
            topic: self.topic.info().name().to_owned(),
        }))
    }

    #[cold]
    #[inline(never)]
    fn wait_for_room(&self, py: Python<'_>, outcome: &mut Outcome) -> PyResult<()> {
        let started_ns = self.node.bus.source().now_ns();
        let me = thread_number();
        let (mut deadlocks, mut timeouts) = (Vec::new(), Vec::new());
        let (mine, others): (Vec<BlockedEvent>, Vec<BlockedEvent>) =
            outcome.blocked.drain(..).partition(|blocked| blocked.subscription().receiver() == me);
        let mut longest_ns = 0;
        for mut blocked in mine {
            let mut victims = Victims::new();
            // Another thread may have made room meanwhile.
            if !blocked.retry(interpreter(py), &mut victims) {
                deadlocks.push(blocked.subscription().options().name.to_string());
                blocked.give_up(Reason::WouldDeadlock, &mut victims);
            }
        }
        for blocked in others {
            let timeout_ns = blocked.subscription().options().block_timeout_ns;
            let mut room = Room { blocked, victims: Victims::new() };
            let waited = wait(py, &self.node, &mut room, Some(started_ns.saturating_add(timeout_ns)));
            let Room { blocked, mut victims } = room;
            match waited {
                Ok(true) => {}
                Ok(false) => {
                    timeouts.push(blocked.subscription().options().name.to_string());
                    longest_ns = longest_ns.max(timeout_ns);
                    blocked.give_up(Reason::Timeout, &mut victims);
                }
                // Interrupted: this one and those after it are counted as cancelled when they are dropped.
                Err(error) => return Err(error),
            }
        }
        let topic = self.topic.info().name();
        if !deadlocks.is_empty() {
            return Err(would_deadlock(py, topic, deadlocks));
        }
        if !timeouts.is_empty() {
            return Err(publish_timeout(py, topic, timeouts, longest_ns));
        }
        if self.node.bus.is_closed() {
            return Err(self.node.error(py, &chronofabric_bus::BusError::Closed));
        }
        Ok(())
    }
}

impl Publisher {
    /// Publishes the items of a tuple, batch by batch.
    fn send_batches(
        &self,
        all: &Bound<'_, PyTuple>,
        with: &Accompaniment<'_, '_>,
        outcome: &mut Outcome,
    ) -> PyResult<usize> {
        let (py, count) = (all.py(), all.len());
        for first in (0..count).step_by(TURN) {
            if first > 0 {
                take_turns(py)?;
            }
            let last = count.min(first + TURN);
            let payloads = Content::of_batch(all.get_slice(first, last));
            let batch = self.accompanied(payloads, with)?;
            let published = self.topic.publish_batch(interpreter(py), batch, last - first, outcome);
            self.finish(py, published, outcome)?;
        }
        Ok(count)
    }
}

/// The items of a list or tuple, if it has more than one and none of them exports Arrow.
fn sequence_of_plain<'py>(payloads: &Bound<'py, PyAny>) -> Option<Bound<'py, PyTuple>> {
    let all = match (payloads.cast_exact::<PyList>(), payloads.cast_exact::<PyTuple>()) {
        (Ok(list), _) => list.to_tuple(),
        (_, Ok(tuple)) => tuple.clone(),
        _ => return None,
    };
    let mut known = std::ptr::null_mut();
    let plain = all.iter_borrowed().all(|item| {
        let class = item.get_type_ptr();
        let plain = class == known || matches!(columns::known_kind(&item), Some(Kind::Plain | Kind::Table));
        known = class;
        plain
    });
    (plain && all.len() > 1).then_some(all)
}

/// A deadline: a duration from now, a `datetime`, or a stamp.
#[cold]
fn instant_ns(node: &Node, value: &Bound<'_, PyAny>) -> PyResult<i64> {
    if let Ok(stamp) = value.cast::<crate::clock::Stamp>() {
        return Ok(stamp.get().time_ns());
    }
    if value.is_instance_of::<PyDateTime>() {
        return value.py().import("chronofabric.duration")?.getattr("instant_ns")?.call1((value,))?.extract();
    }
    Ok(node.bus.source().now_ns().saturating_add(duration_ns(value, "deadline")?))
}

fn would_deadlock(py: Python<'_>, topic: &str, names: Vec<String>) -> PyErr {
    let message = format!(
        "publishing on '{topic}' would wait for {}, which this same thread receives from, so it would wait for itself; \
         receive in another thread, use publish_async, or another overflow policy",
        names.join(", ")
    );
    errors::exception(py, "WouldDeadlock", &message, |attributes| {
        attributes.set_item("topic", topic)?;
        attributes.set_item("subscriptions", names)
    })
}

#[cold]
pub(crate) fn publish_timeout(py: Python<'_>, topic: &str, names: Vec<String>, timeout_ns: i64) -> PyErr {
    let message = format!(
        "'{topic}' was not delivered to {} within {} ms: full, and nobody made room; every other subscription has the event",
        names.join(", "),
        timeout_ns as f64 / 1e6
    );
    errors::exception(py, "PublishTimeout", &message, |attributes| {
        attributes.set_item("topic", topic)?;
        attributes.set_item("subscriptions", names)?;
        attributes.set_item("timeout_ns", timeout_ns)
    })
}

/// A recorded time.
pub(crate) fn time_of(value: &Bound<'_, PyAny>) -> PyResult<i64> {
    let number = value.extract::<i64>().ok().filter(|_| !value.is_instance_of::<pyo3::types::PyBool>());
    let hint = "it must be a whole number of nanoseconds since the Unix epoch";
    number.ok_or_else(|| errors::argument(value.py(), "time", value, hint))
}

/// Whether to retain.
pub(crate) fn truth_of(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value.extract().map_err(|_| errors::argument(value.py(), "retain", value, "it must be True or False"))
}

/// The text of a topic.
pub(crate) fn topic_text<'a>(topic: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    topic
        .cast::<PyString>()
        .map_err(PyErr::from)
        .and_then(|text| text.to_str())
        .map_err(|_| errors::argument(topic.py(), "topic", topic, "it must be a text such as 'plant/7/temperature'"))
}

fn headers_of(headers: &Bound<'_, PyAny>) -> PyResult<Py<PyDict>> {
    let py = headers.py();
    let refuse = || errors::argument(py, "headers", headers, "it must be a mapping from text to anything");
    let mapping = headers.cast::<PyMapping>().map_err(|_| refuse())?;
    let copy = PyDict::new(py);
    copy.update(mapping)?;
    if copy.keys().iter().all(|key| key.is_instance_of::<PyString>()) { Ok(copy.unbind()) } else { Err(refuse()) }
}

/// A receiver whose turn cost its publisher more than this is not given the interpreter for so many wake-ups: it works long,
/// or others have taken the interpreter, or the core, in between.
const COSTLY: Duration = Duration::from_micros(500);
const COSTLY_WAKE_UPS: u32 = 256;

/// Wakes the receivers of what was published. One whose waits are so long that it sleeps has the interpreter, and the core, at
/// once, and goes back to sleep within microseconds; otherwise it would run only when this thread lets go of both.
#[cold]
#[inline(never)]
fn wake(py: Python<'_>, outcome: &mut Outcome) {
    let Some(receiver) = outcome.waking().iter().find(|receiver| sleeps(receiver)).cloned() else {
        return outcome.wake();
    };
    let costly = &receiver.waiting().costly;
    let left = costly.load(Ordering::Relaxed);
    if left > 0 {
        costly.store(left - 1, Ordering::Relaxed);
        return outcome.wake();
    }
    let began = Instant::now();
    detached(py, || {
        outcome.wake_sleepers();
        std::thread::yield_now();
    });
    // With the interpreter again: another thread may have closed a subscription meanwhile, and be emptying it.
    outcome.empty_closed();
    if began.elapsed() > COSTLY {
        costly.store(COSTLY_WAKE_UPS, Ordering::Relaxed);
    }
}

/// The turn of a receiver that waits while a burst has gathered: over when it waits again, or was too slow. Otherwise a ring
/// of many thousand events would be filled before it gets the interpreter, and all of them would have left the caches.
struct Turn {
    receiver: Arc<Core>,
    since: Instant,
}

impl Turn {
    fn of(receiver: Arc<Core>) -> Self {
        Self { receiver, since: Instant::now() }
    }
}

impl Condition for Turn {
    fn check(&mut self, _py: Python<'_>) -> bool {
        self.is_true()
    }
    fn glance(&mut self) -> bool {
        self.is_true()
    }
    fn is_true(&self) -> bool {
        let waiting = self.receiver.waiting();
        let over = waiting.receivers.load(Ordering::Relaxed) > 0 && self.receiver.pending() == 0;
        let late = self.since.elapsed() >= PATIENCE;
        if late && !over {
            waiting.impatient.store(true, Ordering::Relaxed);
        }
        over || late || self.receiver.is_closed()
    }
    fn waits(&self, waits: bool) {
        count(&self.receiver.waiting().publishers, waits);
    }
    fn awake(&self) -> Duration {
        PATIENCE
    }
    fn arm(&self, _wake: Arc<dyn Wake>) {}
    fn disarm(&self, _wake: &Arc<dyn Wake>) {}
    fn slice(&self) -> Duration {
        PATIENCE
    }
}

/// One event that waits for room in one subscription.
struct Room {
    blocked: BlockedEvent,
    victims: Victims,
}

impl Condition for Room {
    fn check(&mut self, py: Python<'_>) -> bool {
        self.blocked.retry(interpreter(py), &mut self.victims)
    }
    /// A patient publisher waits until the receiver waits in its turn: it has the interpreter until then.
    fn glance(&mut self) -> bool {
        let waiting = self.blocked.subscription().waiting();
        if !waiting.impatient.load(Ordering::Relaxed) {
            return waiting.receivers.load(Ordering::Relaxed) > 0 && self.blocked.has_room();
        }
        let done = self.blocked.has_credit();
        if done {
            // The receiver is fast after all.
            waiting.impatient.store(false, Ordering::Relaxed);
        }
        done
    }
    fn is_true(&self) -> bool {
        self.blocked.has_room()
    }
    fn awake(&self) -> Duration {
        if self.blocked.subscription().waiting().impatient.load(Ordering::Relaxed) { AWAKE } else { PATIENCE }
    }
    fn waits(&self, waits: bool) {
        count(&self.blocked.subscription().waiting().publishers, waits);
    }
    fn parks(&self) {
        // Staying awake did not help: the receiver takes its time.
        self.blocked.subscription().waiting().impatient.store(true, Ordering::Relaxed);
    }
    fn arm(&self, wake: Arc<dyn Wake>) {
        self.blocked.arm(wake, 0);
    }
    fn disarm(&self, wake: &Arc<dyn Wake>) {
        self.blocked.disarm(wake, 0);
    }
    fn slice(&self) -> Duration {
        ROOM_SLICE
    }
}

#[pymethods]
impl Publisher {
    #[new]
    #[pyo3(signature = (bus, topic, *, priority = None, schema = None, retain = false, deadline_ns = None))]
    fn create(
        bus: &Bound<'_, crate::bus::Bus>,
        topic: &Bound<'_, PyAny>,
        priority: Option<&Bound<'_, PyAny>>,
        schema: Option<&Bound<'_, PyAny>>,
        retain: bool,
        deadline_ns: Option<i64>,
    ) -> PyResult<Self> {
        Self::new(bus.py(), &bus.get().node, topic_text(topic)?, priority, schema, retain, deadline_ns)
    }

    /// Takes a payload for publishing it, as often as one likes, without the interpreter.
    fn prepare(&self, payload: &Bound<'_, PyAny>) -> PyResult<PreparedPublish> {
        PreparedPublish::new(self, payload)
    }

    /// Publishes a request and waits for its answer.
    #[pyo3(
        signature = (payload, *, timeout = Timeout::DEFAULT, priority = None, deadline = None, headers = None),
        text_signature = "($self, payload, *, timeout='1 s', priority=None, deadline=None, headers=None)"
    )]
    fn request(
        &self,
        payload: &Bound<'_, PyAny>,
        timeout: Timeout,
        priority: Option<&Bound<'_, PyAny>>,
        deadline: Option<&Bound<'_, PyAny>>,
        headers: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        self.ask(payload, &Accompaniment { priority, deadline, headers, time: None, retain: false }, timeout)
    }

    /// Publishes a request without waiting.
    #[pyo3(
        signature = (payload, *, timeout = Timeout::DEFAULT, priority = None, deadline = None, headers = None),
        text_signature = "($self, payload, *, timeout='1 s', priority=None, deadline=None, headers=None)"
    )]
    fn request_start(
        &self,
        payload: &Bound<'_, PyAny>,
        timeout: Timeout,
        priority: Option<&Bound<'_, PyAny>>,
        deadline: Option<&Bound<'_, PyAny>>,
        headers: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Request> {
        self.ask_start(payload, &Accompaniment { priority, deadline, headers, time: None, retain: false }, timeout)
    }

    /// Publishes the payloads of an iterable, one event each; says how many.
    #[pyo3(signature = (payloads, *, priority = None, deadline = None, headers = None, retain = false))]
    fn publish_many(
        &self,
        payloads: &Bound<'_, PyAny>,
        priority: Option<&Bound<'_, PyAny>>,
        deadline: Option<&Bound<'_, PyAny>>,
        headers: Option<&Bound<'_, PyAny>>,
        retain: bool,
    ) -> PyResult<usize> {
        let py = payloads.py();
        self.node.check(py)?;
        if self.node.bus.is_closed() {
            return Err(self.node.error(py, &chronofabric_bus::BusError::Closed));
        }
        let with = Accompaniment { priority, deadline, headers, time: None, retain };
        let mut outcome = Outcome::default();
        if self.schema == Schema::Any
            && let Some(all) = sequence_of_plain(payloads)
        {
            return self.send_batches(&all, &with, &mut outcome);
        }
        let mut count = 0;
        // What is iterated over may be a generator.
        let _calling = Counted::calling();
        for payload in payloads.try_iter()? {
            self.send(&payload?, &with, &mut outcome)?;
            count += 1;
            if count % TURN == 0 {
                take_turns(py)?;
            }
        }
        Ok(count)
    }

    /// Publishes without waiting; what found no room comes back, to be tried again.
    #[pyo3(signature = (payload, *, priority = None, deadline = None, headers = None, time = None, retain = false))]
    #[allow(clippy::too_many_arguments)]
    fn publish_start(
        &self,
        payload: &Bound<'_, PyAny>,
        priority: Option<&Bound<'_, PyAny>>,
        deadline: Option<&Bound<'_, PyAny>>,
        headers: Option<&Bound<'_, PyAny>>,
        time: Option<&Bound<'_, PyAny>>,
        retain: bool,
    ) -> PyResult<Option<BlockedPublish>> {
        let py = payload.py();
        self.node.check(py)?;
        let time = time.map(time_of).transpose()?;
        let event = self.event(payload, &Accompaniment { priority, deadline, headers, time, retain })?;
        let mut outcome = Outcome::default();
        let published = self.topic.publish(interpreter(py), event, &mut outcome).map(drop);
        self.not_waiting(py, published, outcome)
    }

    /// The topic it publishes on.
    #[getter]
    fn topic(&self) -> &str {
        self.topic.info().name()
    }

    fn __repr__(&self) -> String {
        format!("Publisher('{}')", self.topic.info().name())
    }
}

/// A publish that found no room in some subscriptions. Dropping it gives up, counted as cancelled.
#[pyclass(module = "chronofabric._core.bus", frozen)]
pub(crate) struct BlockedPublish {
    waiting: Mutex<Vec<(i64, BlockedEvent)>>,
    /// Which subscriptions it gave up on, and when.
    expired: Mutex<Vec<(i64, String)>>,
    started_ns: i64,
    node: Arc<Node>,
    topic: String,
}

impl BlockedPublish {
    pub(crate) fn arm(&self, wake: &Arc<dyn Wake>, token: u64) {
        for (_, blocked) in &*crate::node::lock(&self.waiting) {
            blocked.arm(Arc::clone(wake), token);
        }
    }

    pub(crate) fn disarm(&self, wake: &Arc<dyn Wake>, token: u64) {
        for (_, blocked) in &*crate::node::lock(&self.waiting) {
            blocked.disarm(wake, token);
        }
    }
}

#[pymethods]
impl BlockedPublish {
    /// Tries again; says whether it is over. Raises `PublishTimeout` when it is over because time ran out.
    fn retry(&self, py: Python<'_>) -> PyResult<bool> {
        self.node.check(py)?;
        let now_ns = self.node.bus.source().now_ns();
        let mut victims = Victims::new();
        let mut waiting = std::mem::take(&mut *crate::node::lock(&self.waiting));
        let mut left = Vec::new();
        for (deadline_ns, mut blocked) in waiting.drain(..) {
            let held_up = left.iter().any(|(_, before)| blocked.is_behind(before));
            if !held_up && blocked.retry(interpreter(py), &mut victims) {
                continue;
            }
            if now_ns >= deadline_ns {
                let name = blocked.subscription().options().name.to_string();
                crate::node::lock(&self.expired).push((deadline_ns, name));
                blocked.give_up(Reason::Timeout, &mut victims);
            } else {
                left.push((deadline_ns, blocked));
            }
        }
        if !left.is_empty() {
            *crate::node::lock(&self.waiting) = left;
            return Ok(false);
        }
        let expired = std::mem::take(&mut *crate::node::lock(&self.expired));
        if let Some(last_ns) = expired.iter().map(|(deadline_ns, _)| *deadline_ns).max() {
            let names = expired.into_iter().map(|(_, name)| name).collect();
            return Err(publish_timeout(py, &self.topic, names, last_ns.saturating_sub(self.started_ns)));
        }
        if self.node.bus.is_closed() {
            return Err(self.node.error(py, &chronofabric_bus::BusError::Closed));
        }
        Ok(true)
    }

    /// Seconds until the first of its timeouts.
    #[getter]
    fn timeout(&self) -> f64 {
        let now_ns = self.node.bus.source().now_ns();
        let waiting = crate::node::lock(&self.waiting);
        waiting.iter().map(|(deadline_ns, _)| (deadline_ns - now_ns).max(0) as f64 / 1e9).fold(f64::INFINITY, f64::min)
    }
}
