//! The bus of a node, as Python builds fabrics on.

use crate::actions::Worker;
use crate::awaitable;
use crate::clock::HybridLogicalClock;
use crate::errors;
use crate::event::{Batch, DeadLetter};
use crate::flag::Flag;
use crate::guard::{Guard, percentiles};
use crate::hot;
use crate::node::{self, Node, Outcome, Victims, detached, lock};
use crate::pattern::{self, Pattern, pattern_of};
use crate::publisher::{Accompaniment, BlockedPublish, Publisher, topic_text};
use crate::request::{Request, Timeout, refuse_unreceived};
use crate::subscription::{Batches, Core, Subscription, books_dict};
use crate::timer::Timer;
use crate::waiting::Wakeups;
use chronofabric_bus::{BusOptions, RetentionCounts, RetentionRule};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::sync::{Arc, Mutex};

/// The bus of one node.
#[pyclass(module = "chronofabric._core.bus", frozen, weakref)]
pub(crate) struct Bus {
    pub(crate) node: Arc<Node>,
    /// Publishers by topic, made when a topic is first published on by name.
    pub(crate) publishers: Py<PyDict>,
    worker: Mutex<Option<Arc<Worker>>>,
}

impl Bus {
    /// The thread for log lines and commands, started when the first guard needs it.
    pub(crate) fn worker(&self) -> std::io::Result<Arc<Worker>> {
        let mut worker = lock(&self.worker);
        match &*worker {
            Some(worker) => Ok(Arc::clone(worker)),
            None => Ok(Arc::clone(worker.insert(Arc::new(Worker::start()?)))),
        }
    }

    /// Publishes one payload on a topic by name.
    pub(crate) fn publish<'py>(
        &self,
        topic: &Bound<'py, PyAny>,
        payload: &Bound<'py, PyAny>,
        with: &Accompaniment<'_, 'py>,
    ) -> PyResult<()> {
        self.node.check(topic.py())?;
        let publisher = self.publisher_for(topic, payload, with)?;
        publisher.get().send(payload, with, &mut Outcome::default())
    }

    /// The publisher for a request on a topic.
    fn asker<'py>(
        &self,
        topic: &Bound<'py, PyAny>,
        payload: &Bound<'py, PyAny>,
        with: &Accompaniment<'_, 'py>,
    ) -> PyResult<Bound<'py, Publisher>> {
        let py = topic.py();
        self.node.check(py)?;
        if let Ok(Some(publisher)) = self.publishers.bind(py).get_item(topic) {
            return Ok(publisher.cast_into::<Publisher>()?);
        }
        let name = topic_text(topic)?;
        // What is refused must not leave a topic behind.
        if !self.node.bus.is_received(name).map_err(|error| self.node.error(py, &error))? {
            return Err(refuse_unreceived(py, &self.node, name));
        }
        self.publisher_for(topic, payload, with)
    }

    fn publisher_for<'py>(
        &self,
        topic: &Bound<'py, PyAny>,
        payload: &Bound<'py, PyAny>,
        with: &Accompaniment<'_, 'py>,
    ) -> PyResult<Bound<'py, Publisher>> {
        let py = topic.py();
        let known = self.publishers.bind(py);
        // What cannot be hashed is no text either, and is refused below.
        if let Ok(Some(publisher)) = known.get_item(topic) {
            return Ok(publisher.cast_into::<Publisher>()?);
        }
        let name = topic_text(topic)?;
        // What is refused must not leave a topic behind.
        Publisher::check_event(&self.node, payload, with)?;
        let publisher = Bound::new(py, Publisher::new(py, &self.node, name, None, None, false, None)?)?;
        known.set_item(topic, &publisher)?;
        Ok(publisher)
    }
}

#[pymethods]
impl Bus {
    #[new]
    #[pyo3(signature = (name, clock, *, topics_max, retained_bytes_max))]
    fn new(
        py: Python<'_>,
        name: String,
        clock: &HybridLogicalClock,
        topics_max: usize,
        retained_bytes_max: usize,
    ) -> PyResult<Self> {
        if !(1..=1 << 24).contains(&topics_max) {
            let value = topics_max.into_pyobject(py)?;
            return Err(errors::argument(py, "topics_max", value.as_any(), "it must lie between 1 and 16777216"));
        }
        let source = clock.clock.source().clone();
        let bus = node::Bus::new(source, Arc::clone(&clock.clock), BusOptions { topics_max, retained_bytes_max });
        Ok(Self {
            node: Arc::new(Node::new(name, bus)),
            publishers: PyDict::new(py).unbind(),
            worker: Mutex::default(),
        })
    }

    /// Raises `ForkedError` in a process forked from the node's.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.node.check(py)
    }

    /// Whether this process was forked from the node's.
    #[getter]
    fn forked(&self) -> bool {
        self.node.is_forked()
    }

    /// The node's time, in nanoseconds since the Unix epoch.
    fn now(&self) -> i64 {
        self.node.bus.source().now_ns()
    }

    /// Whether the node's time moves only when told.
    #[getter]
    fn simulated(&self) -> bool {
        self.node.bus.source().as_simulated().is_some()
    }

    /// Whether it takes no more events.
    #[getter]
    fn closed(&self) -> bool {
        self.node.bus.is_closed()
    }

    /// Refuses further publishing; what was accepted can still be received.
    fn stop_publishing(&self, py: Python<'_>) -> PyResult<()> {
        self.node.check(py)?;
        self.node.bus.stop_publishing();
        Ok(())
    }

    /// Publishes a request on a topic by name and waits for its answer.
    #[pyo3(
        signature = (topic, payload, *, timeout = Timeout::DEFAULT, priority = None, deadline = None, headers = None),
        text_signature = "($self, topic, payload, *, timeout='1 s', priority=None, deadline=None, headers=None)"
    )]
    fn request(
        &self,
        topic: &Bound<'_, PyAny>,
        payload: &Bound<'_, PyAny>,
        timeout: Timeout,
        priority: Option<&Bound<'_, PyAny>>,
        deadline: Option<&Bound<'_, PyAny>>,
        headers: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let with = Accompaniment { priority, deadline, headers, time: None, retain: false };
        self.asker(topic, payload, &with)?.get().ask(payload, &with, timeout)
    }

    /// Publishes a request on a topic by name without waiting.
    #[pyo3(
        signature = (topic, payload, *, timeout = Timeout::DEFAULT, priority = None, deadline = None, headers = None),
        text_signature = "($self, topic, payload, *, timeout='1 s', priority=None, deadline=None, headers=None)"
    )]
    fn request_start(
        &self,
        topic: &Bound<'_, PyAny>,
        payload: &Bound<'_, PyAny>,
        timeout: Timeout,
        priority: Option<&Bound<'_, PyAny>>,
        deadline: Option<&Bound<'_, PyAny>>,
        headers: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Request> {
        let with = Accompaniment { priority, deadline, headers, time: None, retain: false };
        self.asker(topic, payload, &with)?.get().ask_start(payload, &with, timeout)
    }

    /// What became of the requests.
    fn requests<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.node.check(py)?;
        self.node.requests.report(py)
    }

    /// Has the topics of a pattern keep their last events.
    fn set_retention(&self, pattern: &Bound<'_, PyAny>, last: usize, capacity_bytes: Option<usize>) -> PyResult<()> {
        let py = pattern.py();
        self.node.check(py)?;
        let rule = RetentionRule { last, capacity_bytes };
        let pattern = pattern_of(pattern)?;
        self.node.bus.set_retention(&pattern, rule).map_err(|error| self.node.error(py, &error))
    }

    /// Gives a deadline to the events on the topics of a pattern that have none of their own; of `None`, no more.
    fn set_deadline(&self, pattern: &Bound<'_, PyAny>, deadline_ns: Option<i64>) -> PyResult<()> {
        let py = pattern.py();
        self.node.check(py)?;
        let pattern = pattern_of(pattern)?;
        self.node.bus.set_deadline(&pattern, deadline_ns).map_err(|error| self.node.error(py, &error))
    }

    /// Gives up what the topics of a pattern keep; says how many events.
    fn forget(&self, pattern: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.node.check(pattern.py())?;
        Ok(self.node.bus.forget(&pattern_of(pattern)?))
    }

    /// What topics keep at this moment.
    fn retention<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.node.check(py)?;
        let RetentionCounts { events, bytes, bytes_max, past_bound } = self.node.bus.retention();
        let all = PyDict::new(py);
        all.set_item("events", events)?;
        all.set_item("bytes", bytes)?;
        all.set_item("bytes_max", bytes_max)?;
        all.set_item("past_bound", past_bound)?;
        Ok(all)
    }

    /// Lets pass what subscriptions keep back to see whether its topic stays quiet.
    fn hasten(&self, py: Python<'_>) -> PyResult<()> {
        self.node.check(py)?;
        self.node.bus.hasten();
        Ok(())
    }

    /// Closes every subscription, wakes everybody, ends the thread of actions.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.node.check(py)?;
        let mut victims = Victims::new();
        self.node.requests.end();
        let closed = self.node.bus.close(&mut victims);
        lock(&self.node.closed).extend(closed);
        drop(victims);
        self.node.requests.wake();
        self.publishers.bind(py).clear();
        let worker = lock(&self.worker).take();
        if let Some(worker) = worker {
            detached(py, || worker.stop());
        }
        Ok(())
    }

    /// Topics with how many events were published on each, by name.
    fn topics(&self, py: Python<'_>) -> PyResult<Vec<(String, u64)>> {
        self.node.check(py)?;
        let topics = self.node.bus.topics();
        Ok(topics.iter().map(|topic| (topic.info().name().to_owned(), topic.published())).collect())
    }

    /// How many topics there are.
    #[getter]
    fn topics_count(&self) -> usize {
        self.node.bus.topics_len()
    }

    /// What waits in each open subscription, who received from it last, and whether that is another thread that still
    /// lives.
    fn pending<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.node.check(py)?;
        let of = |subscription: &Arc<Core>| {
            let state = PyDict::new(py);
            state.set_item("pending", subscription.pending())?;
            state.set_item("receiver", subscription.receiver())?;
            state.set_item("received_elsewhere", node::is_other_thread(subscription.receiver()))?;
            state.set_item("paused", subscription.is_paused())?;
            Ok(state)
        };
        self.node.bus.subscriptions().iter().map(of).collect()
    }

    /// Books and waiting times of every subscription; after closing, of those that were closed with the node.
    fn subscriptions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.node.check(py)?;
        let mut all = lock(&self.node.closed).clone();
        all.extend(self.node.bus.subscriptions());
        let reports = all.iter().map(|subscription| report(py, subscription)).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, reports)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // A fabric that was never closed must not leave a thread behind. Not joined: this may be the interpreter's end.
        drop(lock(&self.worker).take());
    }
}

fn report<'py>(py: Python<'py>, subscription: &Arc<Core>) -> PyResult<Bound<'py, PyDict>> {
    let report = books_dict(py, &subscription.books())?;
    report.set_item("name", &*subscription.options().name)?;
    report.set_item("pattern", subscription.pattern().text())?;
    report.set_item("capacity", subscription.options().capacity)?;
    report.set_item("late", subscription.late())?;
    report.set_item("dead_letters", subscription.dead_letters_len())?;
    let failures = subscription.filter_failures();
    report.set_item("filter_errors", failures.count)?;
    report.set_item("filter_error", failures.reason.as_deref())?;
    report.set_item("latency_ns", percentiles(py, &subscription.latency())?)?;
    Ok(report)
}

/// Adds the submodule `bus`.
pub(crate) fn register(parent: &Bound<'_, PyModule>) -> PyResult<()> {
    let module = PyModule::new(parent.py(), "bus")?;
    module.add_class::<Bus>()?;
    module.add_class::<Publisher>()?;
    module.add_class::<crate::prepared::PreparedPublish>()?;
    module.add_class::<BlockedPublish>()?;
    module.add_class::<Request>()?;
    module.add_class::<Subscription>()?;
    module.add_class::<Batches>()?;
    module.add("Event", crate::event_type::class(parent.py())?)?;
    hot::register(&module)?;
    awaitable::register(&module)?;
    module.add_class::<Batch>()?;
    module.add_class::<DeadLetter>()?;
    module.add_class::<Pattern>()?;
    module.add_class::<Wakeups>()?;
    module.add_class::<Guard>()?;
    module.add_class::<Flag>()?;
    module.add_class::<Timer>()?;
    module.add_function(wrap_pyfunction!(pattern::regex, &module)?)?;
    module.add_function(wrap_pyfunction!(pattern::union, &module)?)?;
    module.add_function(wrap_pyfunction!(validate_topic, &module)?)?;
    module.add_function(wrap_pyfunction!(node::waiting, &module)?)?;
    module.add_function(wrap_pyfunction!(node::current_thread, &module)?)?;
    module.add_function(wrap_pyfunction!(node::calling, &module)?)?;
    module.add_function(wrap_pyfunction!(node::forking, &module)?)?;
    module.add_function(wrap_pyfunction!(node::fork_over, &module)?)?;
    module.add_function(wrap_pyfunction!(node::forked, &module)?)?;
    parent.add_submodule(&module)
}

/// Raises `TopicError` unless a text is a topic.
#[pyfunction]
fn validate_topic(py: Python<'_>, text: &str) -> PyResult<()> {
    chronofabric_bus::validate_topic(text).map_err(|error| errors::from_bus(py, &error))
}
