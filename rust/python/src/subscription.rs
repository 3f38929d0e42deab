//! Receiving: one by one, in batches, bare payloads, blocking and polling.

use crate::awaitable;
use crate::errors;
use crate::event::{Batch, DeadLetter};
use crate::event_type;
use crate::filter::filters_of;
use crate::groups::Membership;
use crate::hot;
use crate::node::{Contents, Event, Node, Victims, receiver};
use crate::pattern::{Pattern, pattern_of};
use crate::payload::{Content, collector, interpreter};
use crate::waiting::{AWAKE, Condition, PATIENCE, wait};
use chronofabric_bus::{BURST, Books, CausalCounts, Late, Order, Overflow, Reason, SubscriptionOptions, Wake};
use chronofabric_clock::Stamp;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::PyDict;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(crate) type Core = chronofabric_bus::Subscription<Content>;

/// The receiving end; subclassed in Python, which adds the asynchronous forms.
#[pyclass(module = "chronofabric._core.bus", frozen, subclass, weakref)]
pub(crate) struct Subscription {
    pub(crate) core: Arc<Core>,
    pub(crate) node: Arc<Node>,
    /// How many events had been received when somebody last began to wait.
    received: AtomicU64,
    /// The group whose subscription it shares.
    group: Option<Membership>,
    /// Whether it was closed by itself; others of its group may go on.
    left: AtomicBool,
    /// Whether nobody refers to it any more.
    abandoned: AtomicBool,
}

/// Waits until a subscription has something to do.
///
/// A receiver that has just emptied a good part of a ring expects as much again. It lets the burst arrive, as long as it
/// does not pause: taking the interpreter at the first event would only mean to sleep until the publisher lets it go, and
/// waking from that sleep costs as much as receiving a thousand events.
struct Ready<'a> {
    subscription: &'a Subscription,
    core: &'a Core,
    /// How long it is awake for a burst; none where none is expected.
    burst: Option<Duration>,
    /// How long the burst may stop before it has ended.
    pause: Duration,
    /// How many events waited at the last look.
    pending: usize,
    /// Since when so many wait.
    since: Instant,
    /// Since when any wait.
    began: Instant,
    /// When the burst was looked at last.
    looked: Instant,
}

/// How often a burst is looked at: each look takes the line of the ring's position from its publisher, who needs it for every
/// event.
const LOOK: Duration = Duration::from_micros(8);
/// A burst that stops for so long has ended: for as long as so many events of the last one took, within these bounds. The first
/// Arrow table after a pause takes longer than the others, because its thread has to collect the memory that the receiver's
/// has freed.
const PAUSE_EVENTS: u32 = 32;
const PAUSE: (Duration, Duration) = (Duration::from_micros(25), Duration::from_micros(250));
/// Receiving this part of a ring at once, and no fewer events than these, is a burst.
const BURST_SHARE: u64 = 4;
const BURST_MIN: u64 = 16;
/// Where a receiver is woken for each event, and soon, waiting a moment longer may find a burst: pyarrow, for one, lets go of
/// the interpreter in the middle of each publish. It is tried when two waits in a row were so, four, eight, and so on,
/// then one time in so many; who asks and is answered by turns loses a pause each time.
const TRIES: u32 = 256;
const TRIES_FIRST: u32 = 2;
/// The next burst may take its publisher so long for each event of the last.
const BURST_EACH: Duration = Duration::from_micros(30);
/// After so many waits in a row that were long enough to sleep, a receiver goes to sleep at once: staying awake would use a
/// core, and have it woken on another one than where its event is.
const SLEEPS: u32 = 4;
/// Of those one in so many stays awake all the same, to see whether waits have become short.
const LOOKS: u32 = 16;

impl<'a> Ready<'a> {
    fn new(subscription: &'a Subscription) -> Self {
        let core = &*subscription.core;
        let received = core.received();
        let at_once = received.saturating_sub(subscription.received.swap(received, Ordering::Relaxed));
        let capacity = core.options().capacity as u64;
        let is_burst = at_once >= (capacity.min(BURST) / BURST_SHARE).max(BURST_MIN);
        let soon = &core.waiting().soon;
        let tries = if is_burst {
            soon.store(0, Ordering::Relaxed);
            false
        } else {
            let soon = soon.fetch_add(1, Ordering::Relaxed) + 1;
            soon >= TRIES_FIRST && (soon.is_power_of_two() || soon.is_multiple_of(TRIES))
        };
        let each = |events: u64| BURST_EACH.saturating_mul(events.try_into().unwrap_or(u32::MAX)).min(PATIENCE);
        let burst = (is_burst || tries).then(|| each(at_once.max(BURST_MIN)));
        let pause = Duration::from_nanos(core.waiting().each_ns.load(Ordering::Relaxed).into()) * PAUSE_EVENTS;
        let pause = if tries { PAUSE.0 } else { pause.clamp(PAUSE.0, PAUSE.1) };
        let now = Instant::now();
        Self { subscription, core, burst, pause, pending: 0, since: now, began: now, looked: now }
    }
}

impl Ready<'_> {
    /// Notes how long each event of a burst took its publisher.
    fn learn(&self, pending: usize) {
        let each_ns = self.began.elapsed().as_nanos() / pending.max(1) as u128;
        self.core.waiting().each_ns.store(each_ns.try_into().unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

impl Condition for Ready<'_> {
    fn check(&mut self, _py: Python<'_>) -> bool {
        self.subscription.is_ready()
    }
    fn is_true(&self) -> bool {
        self.subscription.is_ready()
    }
    fn glance(&mut self) -> bool {
        if self.burst.is_some() {
            // A full ring is not enough: the publisher notices it with its next event, and only then lets the interpreter go.
            if self.core.waiting().publishers.load(Ordering::Relaxed) > 0 && self.subscription.is_ready() {
                self.learn(self.core.pending());
                return true;
            }
            let now = Instant::now();
            if now - self.looked < LOOK {
                return false;
            }
            self.looked = now;
        }
        let ready = self.subscription.is_ready();
        if ready {
            self.core.waiting().slept.store(0, Ordering::Relaxed);
        }
        if !ready || self.burst.is_none() {
            return ready;
        }
        let pending = self.core.pending();
        if self.subscription.is_closed() {
            return true;
        }
        if pending != self.pending {
            if self.pending == 0 {
                self.began = self.looked;
            }
            self.pending = pending;
            self.since = self.looked;
        }
        let ended = self.looked - self.since >= self.pause;
        if ended {
            self.learn(pending);
        }
        ended
    }
    fn awake(&self) -> Duration {
        let slept = self.core.waiting().slept.load(Ordering::Relaxed);
        let sleeps = slept >= SLEEPS && !slept.is_multiple_of(LOOKS);
        self.burst.unwrap_or(if sleeps { Duration::ZERO } else { AWAKE })
    }
    fn parks(&self) {
        self.core.waiting().slept.fetch_add(1, Ordering::Relaxed);
        self.core.waiting().soon.store(0, Ordering::Relaxed);
    }
    fn waits(&self, waits: bool) {
        let waiting = self.core.waiting();
        count(&waiting.receivers, waits);
        if waits && !self.subscription.is_ready() {
            // It has caught up: worth waiting for.
            waiting.impatient.store(false, Ordering::Relaxed);
        }
    }
    fn due_ns(&self) -> Option<i64> {
        self.core.due_ns()
    }
    fn arm(&self, wake: Arc<dyn Wake>) {
        self.core.items().arm(wake, 0);
    }
    fn disarm(&self, wake: &Arc<dyn Wake>) {
        self.core.items().disarm(wake, 0);
    }
}

/// Whether the waits of a receiver are so long that it sleeps.
pub(crate) fn sleeps(core: &Core) -> bool {
    core.waiting().slept.load(Ordering::Relaxed) >= SLEEPS
}

/// Counts who begins or ends to wait.
pub(crate) fn count(waiting: &AtomicU32, waits: bool) {
    if waits {
        waiting.fetch_add(1, Ordering::Relaxed);
    } else {
        waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What waiting for an event ended with.
pub(crate) enum Received {
    Event(Event),
    Closed,
    Timeout,
}

impl Subscription {
    #[inline(always)]
    pub(crate) fn try_receive(&self, py: Python<'_>) -> Option<Event> {
        if self.left.load(Ordering::Relaxed) {
            return None;
        }
        self.core.try_receive(interpreter(py), receiver(), || self.node.bus.source().now_ns())
    }

    /// The next event for who wants its payload alone.
    #[inline(always)]
    pub(crate) fn try_receive_contents(&self, py: Python<'_>) -> Option<Result<Contents, Event>> {
        if self.left.load(Ordering::Relaxed) {
            return None;
        }
        self.core.try_receive_contents(interpreter(py), receiver(), || self.node.bus.source().now_ns())
    }

    /// Whether nothing more can be received by it.
    pub(crate) fn is_closed(&self) -> bool {
        self.left.load(Ordering::Relaxed) || self.core.is_closed()
    }

    /// Whether receiving would not wait.
    pub(crate) fn is_ready(&self) -> bool {
        self.left.load(Ordering::Relaxed) || self.core.is_ready()
    }

    pub(crate) fn next(&self, py: Python<'_>) -> PyResult<Received> {
        self.node.check(py)?;
        match self.try_receive(py) {
            Some(event) => Ok(Received::Event(event)),
            None => self.next_waiting(py, None),
        }
    }

    #[cold]
    #[inline(never)]
    fn next_waiting(&self, py: Python<'_>, deadline_ns: Option<i64>) -> PyResult<Received> {
        loop {
            // Before the last look: what was accepted before the end is still handed out.
            let closed = self.is_closed();
            if let Some(event) = self.try_receive(py) {
                return Ok(Received::Event(event));
            }
            if closed {
                return Ok(Received::Closed);
            }
            if !wait(py, &self.node, &mut Ready::new(self), deadline_ns)? {
                return Ok(Received::Timeout);
            }
        }
    }

    fn closed_error(&self, py: Python<'_>) -> PyErr {
        let name = &self.core.options().name;
        errors::exception(py, "ClosedError", &format!("subscription '{name}' is closed"), |attributes| {
            attributes.set_item("name", &**name)
        })
    }
}

/// A timeout in nanoseconds, from a text, a timedelta or seconds.
pub(crate) fn duration_ns(value: &Bound<'_, PyAny>, argument: &str) -> PyResult<i64> {
    if let Ok(seconds) = value.extract::<f64>()
        && (0.0..9e9).contains(&seconds)
        && !value.is_instance_of::<pyo3::types::PyBool>()
    {
        return Ok((seconds * 1e9).round() as i64);
    }
    let py = value.py();
    let named = PyDict::new(py);
    named.set_item("argument", argument)?;
    py.import("chronofabric.duration")?.getattr("nanoseconds")?.call((value,), Some(&named))?.extract()
}

/// A whole number of at least `least`.
pub(crate) fn count_of(value: &Bound<'_, PyAny>, argument: &str, least: usize) -> PyResult<usize> {
    let number = value.extract::<usize>().ok().filter(|_| !value.is_instance_of::<pyo3::types::PyBool>());
    number.filter(|number| *number >= least).ok_or_else(|| {
        errors::argument(value.py(), argument, value, &format!("it must be a whole number of at least {least}"))
    })
}

#[pymethods]
impl Subscription {
    #[new]
    #[pyo3(signature = (bus, pattern, *, name, capacity, capacity_bytes, overflow, block_timeout_ns, dead_letters_max, order,
                        history, group = None, late = "deliver", condition = None, sample = None, rate_limit = None,
                        throttle_ns = None, debounce_ns = None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        bus: &Bound<'_, crate::bus::Bus>,
        pattern: &Bound<'_, PyAny>,
        name: &str,
        capacity: usize,
        capacity_bytes: Option<usize>,
        overflow: &Bound<'_, PyAny>,
        block_timeout_ns: i64,
        dead_letters_max: usize,
        order: &Bound<'_, PyAny>,
        history: usize,
        group: Option<&str>,
        late: &str,
        condition: Option<&Bound<'_, PyAny>>,
        sample: Option<u64>,
        rate_limit: Option<(i64, u32)>,
        throttle_ns: Option<i64>,
        debounce_ns: Option<i64>,
    ) -> PyResult<Self> {
        let py = bus.py();
        let node = Arc::clone(&bus.get().node);
        node.check(py)?;
        let policy = overflow.extract::<String>().unwrap_or_default();
        let overflow = match policy.as_str() {
            "drop-oldest" => Overflow::DropOldest,
            "drop-newest" => Overflow::DropNewest,
            "dead-letter" => Overflow::DeadLetter,
            "block" => Overflow::Block,
            _ => {
                let allowed = "it must be 'drop-oldest', 'drop-newest', 'dead-letter' or 'block'";
                return Err(errors::argument(py, "overflow", overflow, allowed));
            }
        };
        let order = match order.extract::<String>().unwrap_or_default().as_str() {
            "publisher" => Order::Publisher,
            "causal" => Order::Causal,
            "deadline" => Order::Deadline,
            _ => return Err(errors::argument(py, "order", order, "it must be 'publisher', 'causal' or 'deadline'")),
        };
        let late = match late {
            "mark" => Late::Mark,
            "dead-letter" => Late::DeadLetter,
            _ => Late::Deliver,
        };
        let pattern = pattern_of(pattern)?;
        let name: Box<str> = if name.is_empty() { group.unwrap_or(pattern.text()).into() } else { name.into() };
        let (filters, terms) = filters_of(condition, sample, rate_limit, throttle_ns, debounce_ns, &name)?;
        let options = SubscriptionOptions {
            name,
            capacity,
            capacity_bytes,
            overflow,
            block_timeout_ns,
            dead_letters_max,
            order,
            late,
            history,
        };
        let (core, group) = match group {
            Some(group) => {
                let (core, membership) = node.join(py, group, pattern, options, filters, terms)?;
                (core, Some(membership))
            }
            None => {
                let subscribed = node.bus.subscribe_filtered(pattern, options, filters);
                (subscribed.map_err(|error| node.error(py, &error))?, None)
            }
        };
        let (left, abandoned) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { core, node, received: AtomicU64::new(0), group, left, abandoned })
    }

    /// The next event; waits for it.
    #[pyo3(signature = (timeout = None))]
    fn receive<'py>(&self, py: Python<'py>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        self.node.check(py)?;
        let timeout_ns = timeout.map(|timeout| duration_ns(timeout, "timeout")).transpose()?;
        if let Some(event) = self.try_receive(py) {
            return event_type::create(py, event);
        }
        let deadline_ns = timeout_ns.map(|timeout| self.node.bus.source().now_ns().saturating_add(timeout));
        match self.next_waiting(py, deadline_ns)? {
            Received::Event(event) => event_type::create(py, event),
            Received::Closed => Err(self.closed_error(py)),
            Received::Timeout => {
                let name = &self.core.options().name;
                let waited = timeout_ns.unwrap_or(0) as f64 / 1e6;
                let message = format!("subscription '{name}' received nothing within {waited} ms");
                Err(errors::exception(py, "ReceiveTimeout", &message, |attributes| {
                    attributes.set_item("subscription", &**name)?;
                    attributes.set_item("timeout_ns", timeout_ns)
                }))
            }
        }
    }

    /// The next event if there is one now.
    fn poll<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.node.check(py)?;
        let closed = self.is_closed();
        match self.try_receive(py) {
            Some(event) => event_type::create(py, event).map(Some),
            None if closed => Err(self.closed_error(py)),
            None => Ok(None),
        }
    }

    /// Up to `limit` events that are there now, as a batch; possibly none.
    fn poll_batch(&self, py: Python<'_>, limit: &Bound<'_, PyAny>) -> PyResult<Batch> {
        self.node.check(py)?;
        Ok(self.take_batch(py, count_of(limit, "limit", 0)?))
    }

    fn __iter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        hot::iterate(slf, false)
    }

    fn __aiter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        awaitable::iterate(slf)
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.next(py)? {
            Received::Event(event) => event_type::create(py, event).map(Some),
            _ => Ok(None),
        }
    }

    /// An iterator over bare payloads.
    fn payloads(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        hot::iterate(slf, true)
    }

    /// An iterator over batches of 1 to `size` events.
    fn batches(slf: Bound<'_, Self>, size: &Bound<'_, PyAny>) -> PyResult<Batches> {
        slf.get().node.check(slf.py())?;
        Ok(Batches { size: count_of(size, "size", 1)?, subscription: slf.unbind() })
    }

    /// Hands nothing out until `resume`; what arrives meanwhile waits under the overflow policy.
    fn pause(&self, py: Python<'_>) -> PyResult<()> {
        self.node.check(py)?;
        self.core.set_paused(true);
        Ok(())
    }

    /// Hands out again.
    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        self.node.check(py)?;
        self.core.set_paused(false);
        Ok(())
    }

    /// Whether it hands nothing out for the time being.
    #[getter]
    fn paused(&self) -> bool {
        self.core.is_paused()
    }

    /// Whether it or its fabric was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.is_closed()
    }

    /// Whether receiving would not wait.
    #[getter]
    fn ready(&self) -> bool {
        self.is_ready()
    }

    /// The group whose events it shares; `None` where it has all for itself.
    #[getter]
    fn group(&self) -> Option<&str> {
        self.group.as_ref().map(Membership::name)
    }

    /// Says that the thread of a number is going to receive, before it has.
    fn serve_in(&self, receiver: u64) {
        self.core.serve_in(receiver);
    }

    /// How many events wait.
    #[getter]
    fn pending(&self) -> usize {
        self.core.pending()
    }

    /// The time of the stamp of the event that would be taken next, in nanoseconds; `None` where that does not show without
    /// taking it.
    #[getter]
    fn next_time_ns(&self, py: Python<'_>) -> Option<i64> {
        self.core.next_stamp(interpreter(py)).map(Stamp::time_ns)
    }

    /// When to look again although nothing was published, in nanoseconds of the node's time; `None` where nothing is kept
    /// back.
    #[getter]
    fn due(&self) -> Option<i64> {
        self.core.due_ns()
    }

    /// How many events its filters could not judge.
    #[getter]
    fn filter_errors(&self) -> u64 {
        self.core.filter_failures().count
    }

    /// Its name in reports.
    #[getter]
    fn name(&self) -> &str {
        &self.core.options().name
    }

    /// Its topics.
    #[getter]
    fn pattern(&self) -> Pattern {
        Pattern(self.core.pattern().clone())
    }

    /// How many events were late when their turn came; looked at only where `late` asks for it.
    #[getter]
    fn late(&self) -> u64 {
        self.core.late()
    }

    /// How many events may wait, for each priority; by deadline, over all of them.
    #[getter]
    fn capacity(&self) -> usize {
        self.core.options().capacity
    }

    /// The number of the thread that received last, zero for none.
    #[getter]
    fn receiver(&self) -> u64 {
        self.core.receiver()
    }

    /// The books as a dictionary.
    fn books_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.node.check(py)?;
        books_dict(py, &self.core.books())
    }

    /// What became of its causal order; `None` where it was not asked for.
    #[getter]
    fn causal_counts<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.node.check(py)?;
        let Some(counts) = self.core.causal_counts() else { return Ok(None) };
        let CausalCounts { held_back, late, duplicates, unordered, lost, contradictory } = counts;
        let all = PyDict::new(py);
        all.set_item("held_back", held_back)?;
        all.set_item("late", late)?;
        all.set_item("duplicates", duplicates)?;
        all.set_item("unordered", unordered)?;
        all.set_item("lost", lost)?;
        all.set_item("contradictory", contradictory)?;
        Ok(Some(all))
    }

    /// How long events waited to be received, as a dictionary of percentiles in nanoseconds.
    fn latency<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.node.check(py)?;
        crate::guard::percentiles(py, &self.core.latency())
    }

    /// The dead letters, oldest first; they stay.
    #[getter]
    fn dead_letters(&self, py: Python<'_>) -> PyResult<Vec<DeadLetter>> {
        self.node.check(py)?;
        self.core.dead_letters().into_iter().map(|letter| DeadLetter::new(py, letter)).collect()
    }

    /// Takes dead letters out, oldest first.
    #[pyo3(signature = (limit = None))]
    fn take_dead_letters(&self, py: Python<'_>, limit: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<DeadLetter>> {
        self.node.check(py)?;
        let limit = limit.map_or(Ok(usize::MAX), |limit| count_of(limit, "limit", 0))?;
        let letters = self.core.take_dead_letters(limit);
        letters.into_iter().map(|letter| DeadLetter::new(py, letter)).collect()
    }

    /// Offers dead letters again, oldest first, as long as there is room; says how many.
    #[pyo3(signature = (limit = None))]
    fn replay_dead_letters(&self, py: Python<'_>, limit: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
        self.node.check(py)?;
        let limit = limit.map_or(Ok(usize::MAX), |limit| count_of(limit, "limit", 0))?;
        let mut victims = Victims::new();
        Ok(self.core.replay_dead_letters(interpreter(py), limit, &mut victims))
    }

    /// Closes it; what waits is counted as dropped (unsubscribed).
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.node.check(py)?;
        self.leave();
        Ok(())
    }

    /// Shows the collector what this object alone keeps. What several members of a group have together it must not be shown
    /// by each of them, nor by one of them: the others would still have it.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let mut shown = Ok(());
        if self.node.is_forked() || self.group.as_ref().is_some_and(|group| !group.is_only()) {
            return shown;
        }
        self.core.look_at_own(collector(), |payload, headers| {
            if shown.is_ok() {
                shown = payload.traverse(&visit);
            }
            if shown.is_ok() {
                shown = visit.call(headers);
            }
        });
        shown
    }

    /// Nobody can receive from it any more.
    fn __clear__(&self) {
        self.abandon();
    }

    /// Waits until it has something to do or is closed; `False` when the timeout passed.
    #[pyo3(signature = (timeout_ns = None))]
    fn wait_ready(&self, py: Python<'_>, timeout_ns: Option<i64>) -> PyResult<bool> {
        self.node.check(py)?;
        let deadline_ns = timeout_ns.map(|timeout| self.node.bus.source().now_ns().saturating_add(timeout));
        wait(py, &self.node, &mut Ready::new(self), deadline_ns)
    }
}

impl Subscription {
    fn take_batch(&self, py: Python<'_>, limit: usize) -> Batch {
        if self.left.load(Ordering::Relaxed) {
            return Batch::new(Vec::new());
        }
        let now_ns = || self.node.bus.source().now_ns();
        Batch::new(self.core.try_receive_many(interpreter(py), receiver(), limit, now_ns))
    }

    fn leave(&self) {
        if self.left.swap(true, Ordering::Relaxed) {
            return;
        }
        match &self.group {
            Some(group) => self.node.leave_group(group.name(), &self.core),
            None => self.node.bus.unsubscribe(&self.core, Reason::Unsubscribed, &mut Victims::new()),
        }
    }

    /// A subscription that nobody can receive from any more is left, and its dead letters go with it.
    fn abandon(&self) {
        // In a forked child a lock may be held by a thread that does not exist here.
        if self.node.is_forked() {
            return;
        }
        if !self.is_closed() {
            self.leave();
        }
        if self.abandoned.swap(true, Ordering::AcqRel) {
            return;
        }
        // Those of a group belong to its other members, too.
        if self.group.as_ref().is_none_or(Membership::count_out) {
            drop(self.core.take_dead_letters(usize::MAX));
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// The books of a subscription, by name.
pub(crate) fn books_dict<'py>(py: Python<'py>, books: &Books) -> PyResult<Bound<'py, PyDict>> {
    let reasons = |counts: &[u64]| {
        let named = PyDict::new(py);
        for (reason, count) in Reason::ALL.iter().zip(counts).filter(|(_, count)| **count > 0) {
            named.set_item(reason.name(), *count)?;
        }
        PyResult::Ok(named)
    };
    let all = PyDict::new(py);
    all.set_item("offered", books.offered)?;
    all.set_item("replayed", books.replayed)?;
    all.set_item("delivered", books.delivered)?;
    all.set_item("filtered", books.filtered)?;
    all.set_item("dropped", reasons(&books.dropped)?)?;
    all.set_item("dead_lettered", reasons(&books.dead_lettered)?)?;
    all.set_item("pending", books.pending)?;
    Ok(all)
}

/// Batches of events.
#[pyclass(module = "chronofabric._core.bus", frozen)]
pub(crate) struct Batches {
    subscription: Py<Subscription>,
    size: usize,
}

#[pymethods]
impl Batches {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.subscription)
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        let subscription = self.subscription.get();
        subscription.node.check(py)?;
        loop {
            let closed = subscription.is_closed();
            let batch = subscription.take_batch(py, self.size);
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
            if closed {
                return Ok(None);
            }
            wait(py, &subscription.node, &mut Ready::new(subscription), None)?;
        }
    }
}
