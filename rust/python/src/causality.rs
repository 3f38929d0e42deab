//! Vector clocks, dotted version vectors and the causal buffer.

use crate::clock::{clock_error, instant_ns};
use crate::errors;
use crate::node::lock;
use chronofabric_clock::{
    CausalBooks as Books, CausalBuffer as Buffer, CausalOptions, Dot, DottedVersionVector as Version, NodeId, OnFull,
    VectorClock as Clock,
};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyMapping, PyTuple, PyType};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::mem;
use std::sync::Mutex;

fn node_of(py: Python<'_>, node: &str) -> PyResult<NodeId> {
    node.parse().map_err(|error| clock_error(py, &error))
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A count of events.
fn counter_of(value: &Bound<'_, PyAny>, argument: &str) -> PyResult<u64> {
    let number = value.extract::<u64>().ok().filter(|_| !value.is_instance_of::<PyBool>());
    number.ok_or_else(|| {
        errors::argument(value.py(), argument, value, "it must be a whole number from 0, of up to 64 bits")
    })
}

/// How many events of each node are in the past of an event.
#[pyclass(module = "chronofabric._core.clock", frozen, eq)]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct VectorClock(pub(crate) Clock);

#[pymethods]
impl VectorClock {
    #[new]
    #[pyo3(signature = (counters = None))]
    fn new(py: Python<'_>, counters: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let mut clock = Clock::new();
        if let Some(counters) = counters {
            let mapping = counters.cast::<PyMapping>().map_err(|_| {
                let hint = "it must be a mapping of node ids, 32 hexadecimal digits each, to counts of events";
                errors::argument(py, "counters", counters, hint)
            })?;
            for item in mapping.items()? {
                let (node, counter): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
                let text: String = node.extract().map_err(|_| {
                    errors::argument(py, "counters", &node, "a node id is a text of 32 hexadecimal digits")
                })?;
                let raised = clock.raise(node_of(py, &text)?, counter_of(&counter, "counters")?);
                raised.map_err(|error| clock_error(py, &error))?;
            }
        }
        Ok(Self(clock))
    }

    /// The counts of all nodes that it knows.
    #[getter]
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = PyDict::new(py);
        for (node, counter) in self.0.iter() {
            counters.set_item(node.to_string(), counter)?;
        }
        Ok(counters)
    }

    /// The count of a node.
    fn get(&self, py: Python<'_>, node: &str) -> PyResult<u64> {
        Ok(self.0.get(node_of(py, node)?))
    }

    /// The clock after one more event of a node.
    fn increment(&self, py: Python<'_>, node: &str) -> PyResult<Self> {
        let mut next = self.0.clone();
        next.increment(node_of(py, node)?).map_err(|error| clock_error(py, &error))?;
        Ok(Self(next))
    }

    /// The clock of both pasts together.
    fn merge(&self, py: Python<'_>, other: &Self) -> PyResult<Self> {
        let mut merged = self.0.clone();
        merged.merge(&other.0).map_err(|error| clock_error(py, &error))?;
        Ok(Self(merged))
    }

    /// How the event of this clock is related to that of another.
    fn compare(&self, other: &Self) -> &'static str {
        self.0.compare(&other.0).name()
    }

    /// Whether the event of this clock could have caused that of another.
    fn happens_before(&self, other: &Self) -> bool {
        self.0.happens_before(&other.0)
    }

    /// Whether neither event could have caused the other.
    fn is_concurrent_with(&self, other: &Self) -> bool {
        self.0.is_concurrent_with(&other.0)
    }

    /// Its bytes.
    fn encode<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.encode())
    }

    /// A clock from its bytes.
    #[classmethod]
    fn decode(cls: &Bound<'_, PyType>, data: &[u8]) -> PyResult<Self> {
        Clock::decode(data).map(Self).map_err(|error| clock_error(cls.py(), &error))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __hash__(&self) -> u64 {
        hash_of(self)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        Ok((py.get_type::<Self>().getattr("decode")?, PyTuple::new(py, [self.encode(py)])?))
    }

    fn __repr__(&self) -> String {
        let counters: Vec<String> = self.0.iter().map(|(node, counter)| format!("'{node}': {counter}")).collect();
        format!("VectorClock({{{}}})", counters.join(", "))
    }
}

/// One version: its own event, and the events that its writer had seen.
#[pyclass(module = "chronofabric._core.clock", frozen, eq)]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct DottedVersionVector(Version);

fn versions(versions: &[PyRef<'_, DottedVersionVector>]) -> Vec<Version> {
    versions.iter().map(|version| version.0.clone()).collect()
}

#[pymethods]
impl DottedVersionVector {
    #[new]
    fn new(py: Python<'_>, node: &str, counter: &Bound<'_, PyAny>, context: &VectorClock) -> PyResult<Self> {
        let dot = Dot { node: node_of(py, node)?, counter: counter_of(counter, "counter")? };
        Version::new(dot, context.0.clone()).map(Self).map_err(|error| clock_error(py, &error))
    }

    /// The version that a node writes.
    #[staticmethod]
    #[pyo3(signature = (node, context, siblings = Vec::new()))]
    fn event(py: Python<'_>, node: &str, context: &VectorClock, siblings: Vec<PyRef<'_, Self>>) -> PyResult<Self> {
        let event = Version::event(node_of(py, node)?, &context.0, &versions(&siblings));
        event.map(Self).map_err(|error| clock_error(py, &error))
    }

    /// The versions that a context has not seen.
    #[staticmethod]
    #[pyo3(name = "discard")]
    fn discarded(known: Vec<PyRef<'_, Self>>, context: &VectorClock) -> Vec<Self> {
        Version::discard(&versions(&known), &context.0).into_iter().map(Self).collect()
    }

    /// The versions of two replicas without those that another one replaces.
    #[staticmethod]
    fn sync(first: Vec<PyRef<'_, Self>>, second: Vec<PyRef<'_, Self>>) -> Vec<Self> {
        Version::sync(&versions(&first), &versions(&second)).into_iter().map(Self).collect()
    }

    /// Everything that a reader of versions has seen.
    #[staticmethod]
    #[pyo3(name = "join")]
    fn joined(py: Python<'_>, known: Vec<PyRef<'_, Self>>) -> PyResult<VectorClock> {
        Version::join(&versions(&known)).map(VectorClock).map_err(|error| clock_error(py, &error))
    }

    /// The node that wrote it.
    #[getter]
    fn node(&self) -> String {
        self.0.dot().node.to_string()
    }

    /// The number of the writing event at that node.
    #[getter]
    fn counter(&self) -> u64 {
        self.0.dot().counter
    }

    /// What its writer had seen.
    #[getter]
    fn context(&self) -> VectorClock {
        VectorClock(self.0.context().clone())
    }

    /// Whether an event is its own, or was seen by its writer.
    fn contains(&self, py: Python<'_>, node: &str, counter: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.0.contains(Dot { node: node_of(py, node)?, counter: counter_of(counter, "counter")? }))
    }

    /// How this version is related to another.
    fn compare(&self, other: &Self) -> &'static str {
        self.0.compare(&other.0).name()
    }

    /// Whether the other version replaces this one.
    fn happens_before(&self, other: &Self) -> bool {
        self.0.happens_before(&other.0)
    }

    /// Whether neither version replaces the other.
    fn is_concurrent_with(&self, other: &Self) -> bool {
        self.0.is_concurrent_with(&other.0)
    }

    /// Its bytes.
    fn encode<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.encode())
    }

    /// A version from its bytes.
    #[classmethod]
    fn decode(cls: &Bound<'_, PyType>, data: &[u8]) -> PyResult<Self> {
        Version::decode(data).map(Self).map_err(|error| clock_error(cls.py(), &error))
    }

    fn __hash__(&self) -> u64 {
        hash_of(self)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        Ok((py.get_type::<Self>().getattr("decode")?, PyTuple::new(py, [self.encode(py)])?))
    }

    fn __repr__(&self) -> String {
        let dot = self.0.dot();
        format!("DottedVersionVector('{}', {}, {})", dot.node, dot.counter, self.context().__repr__())
    }
}

/// Messages of one node that others wait for.
#[pyclass(module = "chronofabric._core.clock", frozen, get_all, eq)]
#[derive(PartialEq)]
pub(crate) struct Gap {
    /// The node that sent them.
    node: String,
    /// The counter of the first.
    first: u64,
    /// The counter of the last.
    last: u64,
    /// Since when something has waited for them, in nanoseconds.
    since: i64,
}

#[pymethods]
impl Gap {
    fn __repr__(&self) -> String {
        format!("Gap(node='{}', first={}, last={}, since={})", self.node, self.first, self.last, self.since)
    }
}

/// What became of every message that a causal buffer received.
#[pyclass(module = "chronofabric._core.clock", frozen, eq)]
#[derive(PartialEq)]
pub(crate) struct CausalBooks(Books);

#[pymethods]
impl CausalBooks {
    /// Messages that arrived.
    #[getter]
    fn received(&self) -> u64 {
        self.0.received
    }

    /// Messages delivered in causal order.
    #[getter]
    fn delivered(&self) -> u64 {
        self.0.delivered
    }

    /// Messages that had arrived before.
    #[getter]
    fn duplicates(&self) -> u64 {
        self.0.duplicates
    }

    /// Messages that arrived after they were declared lost.
    #[getter]
    fn late(&self) -> u64 {
        self.0.late
    }

    /// Messages that could not be taken.
    #[getter]
    fn refused(&self) -> u64 {
        self.0.refused
    }

    /// Messages that wait for others.
    #[getter]
    fn pending(&self) -> u64 {
        self.0.pending
    }

    /// Messages declared lost.
    #[getter]
    fn lost(&self) -> u64 {
        self.0.lost
    }

    /// Messages delivered although their clocks contradict each other.
    #[getter]
    fn contradictory(&self) -> u64 {
        self.0.contradictory
    }

    /// Whether received = delivered + duplicates + late + refused + pending.
    #[getter]
    fn balanced(&self) -> bool {
        self.0.balanced()
    }

    fn __repr__(&self) -> String {
        let Books { received, delivered, duplicates, late, refused, pending, lost, contradictory } = self.0;
        format!(
            "CausalBooks(received={received}, delivered={delivered}, duplicates={duplicates}, late={late}, \
             refused={refused}, pending={pending}, lost={lost}, contradictory={contradictory})"
        )
    }
}

/// Puts messages that arrive in any order into causal order.
///
/// While its lock is held no Python code runs: messages are moved, and dropped only afterwards.
#[pyclass(module = "chronofabric._core.clock", frozen)]
pub(crate) struct CausalBuffer(Mutex<Buffer<Py<PyAny>>>);

type Messages = Vec<Py<PyAny>>;

#[pymethods]
impl CausalBuffer {
    #[new]
    #[pyo3(signature = (*, capacity = None, on_full = None, age_max = None, start = None))]
    fn new(
        py: Python<'_>,
        capacity: Option<&Bound<'_, PyAny>>,
        on_full: Option<&Bound<'_, PyAny>>,
        age_max: Option<&Bound<'_, PyAny>>,
        start: Option<&VectorClock>,
    ) -> PyResult<Self> {
        let mut options = CausalOptions::default();
        if let Some(value) = capacity {
            let number = value.extract::<usize>().ok().filter(|_| !value.is_instance_of::<PyBool>());
            let within = number.filter(|number| (1..=Buffer::<()>::CAPACITY_MAX).contains(number));
            options.capacity = within.ok_or_else(|| {
                let hint = format!("it must be a whole number from 1 to {}", Buffer::<()>::CAPACITY_MAX);
                errors::argument(py, "capacity", value, &hint)
            })?;
        }
        if let Some(value) = on_full {
            options.on_full = match value.extract::<String>().as_deref() {
                Ok("refuse") => OnFull::Refuse,
                Ok("declare-lost") => OnFull::DeclareLost,
                _ => return Err(errors::argument(py, "on_full", value, "it must be 'refuse' or 'declare-lost'")),
            };
        }
        if let Some(value) = age_max {
            let age_ns = crate::subscription::duration_ns(value, "age_max")?;
            if age_ns == 0 {
                return Err(errors::argument(py, "age_max", value, "it must be longer than no time"));
            }
            options.age_ns_max = Some(age_ns);
        }
        let empty = Clock::new();
        let buffer = Buffer::starting_at(start.map_or(&empty, |start| &start.0), options);
        buffer.map(|buffer| Self(Mutex::new(buffer))).map_err(|error| clock_error(py, &error))
    }

    /// Takes a message: what became of it, and what is delivered now.
    #[pyo3(signature = (sender, clock, message, *, time))]
    fn accept(
        &self,
        py: Python<'_>,
        sender: &str,
        clock: &VectorClock,
        message: Py<PyAny>,
        time: &Bound<'_, PyAny>,
    ) -> PyResult<(&'static str, Messages)> {
        let (sender, time_ns) = (node_of(py, sender)?, instant_ns(time, "time")?);
        let mut delivered = Messages::new();
        let arrival = lock(&self.0).accept(time_ns, sender, &clock.0, message, |message| delivered.push(message));
        Ok((arrival.name(), delivered))
    }

    /// Declares the missing messages of a node lost; returns what is delivered now.
    fn declare_lost(&self, py: Python<'_>, node: &str, through: &Bound<'_, PyAny>) -> PyResult<Messages> {
        let (node, through) = (node_of(py, node)?, counter_of(through, "through")?);
        let mut delivered = Messages::new();
        let declared = lock(&self.0).declare_lost(node, through, |message| delivered.push(message));
        declared.map(|_| delivered).map_err(|error| clock_error(py, &error))
    }

    /// Declares lost what was waited for as long as allowed; returns what is delivered now.
    fn expire(&self, time: &Bound<'_, PyAny>) -> PyResult<Messages> {
        let time_ns = instant_ns(time, "time")?;
        let mut delivered = Messages::new();
        lock(&self.0).expire(time_ns, |message| delivered.push(message));
        Ok(delivered)
    }

    /// What is missing.
    fn gaps(&self) -> Vec<Gap> {
        let gaps = lock(&self.0).gaps();
        let shown = |gap: chronofabric_clock::Gap| Gap {
            node: gap.node.to_string(),
            first: gap.first,
            last: gap.last,
            since: gap.since_ns,
        };
        gaps.into_iter().map(shown).collect()
    }

    /// What became of everything that arrived.
    fn books(&self) -> CausalBooks {
        CausalBooks(lock(&self.0).books())
    }

    /// What was delivered or declared lost.
    #[getter]
    fn delivered(&self) -> VectorClock {
        VectorClock(lock(&self.0).delivered())
    }

    /// How many messages wait.
    #[getter]
    fn pending(&self) -> usize {
        lock(&self.0).pending()
    }

    /// When `expire` has something to do.
    #[getter]
    fn next_expiry(&self) -> Option<i64> {
        lock(&self.0).next_expiry_ns()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // In use, it is alive: nothing needs to be visited.
        let Ok(buffer) = self.0.try_lock() else { return Ok(()) };
        buffer.iter_pending().try_for_each(|message| visit.call(message))
    }

    fn __clear__(&self) {
        let Ok(empty) = Buffer::new(CausalOptions::default()) else { return };
        let full = mem::replace(&mut *lock(&self.0), empty);
        drop(full);
    }

    #[classmethod]
    fn __class_getitem__<'py>(cls: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        cls.py().import("types")?.getattr("GenericAlias")?.call1((cls, item))
    }

    fn __repr__(&self) -> String {
        let buffer = lock(&self.0);
        format!("CausalBuffer(delivered={}, pending={})", buffer.books().delivered, buffer.pending())
    }
}

/// Adds its classes to the submodule `clock`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<VectorClock>()?;
    module.add_class::<DottedVersionVector>()?;
    module.add_class::<CausalBuffer>()?;
    module.add_class::<CausalBooks>()?;
    module.add_class::<Gap>()
}
