//! Publishing without the interpreter: what is published, and where, is settled while the interpreter is held.

use crate::node::{Outcome, Topic};
use crate::payload::{Content, Record, Stock, Value};
use crate::publisher::{Accompaniment, Publisher};
use chronofabric_bus::{Concurrent, Extras, NewEvent, Reason};
use chronofabric_clock::TimeSource;
use chronofabric_scheduler::Firing;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use std::sync::Arc;

/// A publish that is ready: a publisher with a payload. Who has it needs no interpreter.
#[pyclass(module = "chronofabric._core.bus", frozen)]
pub(crate) struct PreparedPublish {
    native: Arc<NativePublish>,
    payload: Py<PyAny>,
}

impl PreparedPublish {
    pub(crate) fn new(publisher: &Publisher, payload: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = payload.py();
        let plain = Accompaniment { priority: None, deadline: None, headers: None, time: None, retain: false };
        // Refuses what a publish would, and imports what a publish imports.
        let payload = publisher.event(payload, &plain)?.payload.to_python(py)?;
        let stock = Stock::new(payload.bind(py))?;
        Ok(Self { native: Arc::new(NativePublish::new(py, publisher, Some(stock))?), payload })
    }

    pub(crate) fn native(&self) -> Arc<NativePublish> {
        Arc::clone(&self.native)
    }
}

#[pymethods]
impl PreparedPublish {
    /// Where it publishes.
    #[getter]
    fn topic(&self) -> &str {
        self.native.topic.info().name()
    }

    /// What it publishes.
    #[getter]
    fn payload(&self, py: Python<'_>) -> Py<PyAny> {
        self.payload.clone_ref(py)
    }

    /// Shows the collector what this object alone keeps: not what a timer may still publish, or an event carries.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.payload)?;
        if Arc::strong_count(&self.native) == 1
            && let Some(held) = self.native.stock.as_ref().and_then(Stock::alone)
        {
            visit.call(held)?;
        }
        Ok(())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("PreparedPublish('{}', {})", self.topic(), self.payload.bind(py).repr()?))
    }
}

/// A topic, what its events carry, and what goes beside.
pub(crate) struct NativePublish {
    topic: Arc<Topic>,
    source: TimeSource,
    priority: u8,
    retain: bool,
    deadline_ns: Option<i64>,
    /// Otherwise when it was due, and how late it is.
    stock: Option<Stock>,
}

impl NativePublish {
    /// As a publisher does it.
    pub(crate) fn new(py: Python<'_>, publisher: &Publisher, stock: Option<Stock>) -> PyResult<Self> {
        let topic = publisher.shared_topic(py)?;
        let source = publisher.node.bus.source().clone();
        let Publisher { priority, retain, deadline_ns, .. } = *publisher;
        Ok(Self { topic, source, priority, retain, deadline_ns, stock })
    }

    /// Publishes, and waits for nobody: what finds no room is dropped, and counted as that. Says whether the bus took it.
    pub(crate) fn publish(&self, firing: Firing) -> bool {
        let content = self.stock.as_ref().map_or_else(|| tick(firing), Stock::content);
        let deadline = |deadline_ns| {
            let deadline_ns = Some(self.source.now_ns().saturating_add(deadline_ns));
            Box::new(Extras { deadline_ns, ..*Extras::empty() })
        };
        let extras = self.deadline_ns.map(deadline);
        let event = NewEvent { priority: self.priority, retain: self.retain, extras, ..NewEvent::new(content) };
        let mut outcome = Outcome::default();
        let published = self.topic.publish(Concurrent, event, &mut outcome).is_ok();
        for blocked in outcome.blocked.drain(..) {
            blocked.give_up(Reason::Timeout, &mut outcome.victims);
        }
        // Releasing a Python object here defers it to a thread that has the interpreter.
        outcome.victims.clear();
        outcome.unwanted.clear();
        published
    }
}

fn tick(firing: Firing) -> Content {
    Content::of_record(Record(vec![
        ("due", Value::Integer(firing.due_ns)),
        ("lateness_ns", Value::Integer(firing.now_ns - firing.due_ns)),
        ("missed", Value::Integer(i64::try_from(firing.missed).unwrap_or(i64::MAX))),
    ]))
}
