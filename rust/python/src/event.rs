//! Events as Python sees them: a reference to the shared cell, whose parts are made when they are looked at.

use crate::clock::Stamp;
use crate::node::{Cell, lock};
use crate::payload::Content;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMappingProxy, PyString};
use std::sync::Mutex;

/// One event.
#[pyclass(module = "chronofabric._core.bus", frozen)]
pub(crate) struct Event {
    cell: Cell,
}

impl Event {
    #[inline]
    pub(crate) fn new(cell: Cell) -> Self {
        Self { cell }
    }
}

#[inline]
pub(crate) fn payload(py: Python<'_>, cell: &Cell) -> PyResult<Py<PyAny>> {
    cell.payload().map_or_else(|| Ok(py.None()), |content| content.to_python(py))
}

/// The payload of an event that is not needed any more.
#[inline]
pub(crate) fn into_payload(py: Python<'_>, cell: Cell) -> PyResult<Py<PyAny>> {
    cell.into_payload().map_or_else(|cell| payload(py, &cell), |content: Content| content.into_python(py))
}

#[pymethods]
impl Event {
    /// The topic it was published on.
    #[getter]
    fn topic<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, self.cell.topic().name())
    }

    /// What was published.
    #[getter]
    fn payload(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        payload(py, &self.cell)
    }

    /// When it entered the fabric, on the hybrid logical clock of its node.
    #[getter]
    fn stamp(&self) -> Stamp {
        Stamp::new(self.cell.stamp, self.cell.topic().node())
    }

    /// When it happened, in nanoseconds since the Unix epoch.
    #[getter]
    fn time(&self) -> i64 {
        self.cell.time_ns
    }

    /// The id of the node that it entered the fabric on.
    #[getter]
    fn node(&self) -> String {
        self.cell.topic().node().to_string()
    }

    /// 0 (low), 1 (normal), 2 (high) or 3 (urgent).
    #[getter]
    fn priority(&self) -> u8 {
        self.cell.priority
    }

    /// When it should have been acted on, in nanoseconds since the Unix epoch.
    #[getter]
    fn deadline(&self) -> Option<i64> {
        self.cell.extras.as_ref().and_then(|extras| extras.deadline_ns)
    }

    /// What travels beside the payload.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> Bound<'py, PyMappingProxy> {
        let headers = self.cell.extras.as_ref().and_then(|extras| extras.headers.as_ref());
        let headers = headers.map_or_else(|| PyDict::new(py), |headers| headers.bind(py).clone());
        PyMappingProxy::new(py, headers.as_mapping())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let payload = payload(py, &self.cell)?;
        let shown = payload.bind(py).repr()?.to_string();
        let shown: String =
            if shown.chars().count() > 80 { shown.chars().take(77).chain("...".chars()).collect() } else { shown };
        Ok(format!("Event(topic='{}', time={}, payload={shown})", self.cell.topic().name(), self.cell.time_ns))
    }
}

/// Several events received together; a sequence that makes each event when it is asked for.
#[pyclass(module = "chronofabric._core.bus", frozen, sequence)]
pub(crate) struct Batch {
    cells: Vec<Cell>,
}

impl Batch {
    pub(crate) fn new(cells: Vec<Cell>) -> Self {
        Self { cells }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

#[pymethods]
impl Batch {
    fn __len__(&self) -> usize {
        self.cells.len()
    }

    fn __getitem__(&self, index: isize) -> PyResult<Event> {
        let place = if index < 0 { index + self.cells.len() as isize } else { index };
        usize::try_from(place)
            .ok()
            .and_then(|place| self.cells.get(place))
            .map(|cell| Event::new(cell.clone()))
            .ok_or_else(|| PyIndexError::new_err(format!("index {index} in a batch of {} events", self.cells.len())))
    }

    /// The bare payloads.
    #[getter]
    fn payloads<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let payloads = self.cells.iter().map(|cell| payload(py, cell)).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, payloads)
    }

    fn __repr__(&self) -> String {
        format!("Batch({} events)", self.cells.len())
    }
}

/// An event that was not delivered.
#[pyclass(module = "chronofabric._core.bus", frozen, get_all)]
pub(crate) struct DeadLetter {
    /// The event.
    event: Py<Event>,
    /// Why it was not delivered.
    reason: &'static str,
}

impl DeadLetter {
    pub(crate) fn new(py: Python<'_>, cell: Cell, reason: &'static str) -> PyResult<Self> {
        Ok(Self { event: Py::new(py, Event::new(cell))?, reason })
    }
}

#[pymethods]
impl DeadLetter {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("DeadLetter(reason='{}', event={})", self.reason, self.event.get().__repr__(py)?))
    }
}

/// A flag that a guard sets without Python, to be looked at or waited for.
#[pyclass(module = "chronofabric._core.bus", frozen)]
#[derive(Default)]
pub(crate) struct Flag {
    count: Mutex<u64>,
}

impl Flag {
    pub(crate) fn raise(&self) {
        *lock(&self.count) += 1;
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
        *lock(&self.count) > 0
    }

    /// How often it was set since it was last cleared.
    #[getter]
    fn count(&self) -> u64 {
        *lock(&self.count)
    }

    /// Sets it, as a guard does.
    fn set(&self) {
        self.raise();
    }

    /// Clears it; the count starts again at 0.
    fn clear(&self) {
        *lock(&self.count) = 0;
    }

    fn __repr__(&self) -> String {
        format!("Flag(count={})", self.count())
    }
}
