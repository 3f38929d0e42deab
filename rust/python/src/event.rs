//! What Python sees beside single events: their payloads, batches of them, dead letters, and flags that guards set.

use crate::event_type;
use crate::node::{Cell, lock};
use crate::payload::Content;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use std::sync::Mutex;

#[inline]
pub(crate) fn payload(py: Python<'_>, cell: &Cell) -> PyResult<Py<PyAny>> {
    cell.payload().map_or_else(|| Ok(py.None()), |content| content.to_python(py))
}

/// The payload of an event that is not needed any more.
#[inline]
pub(crate) fn into_payload(py: Python<'_>, cell: Cell) -> PyResult<Py<PyAny>> {
    cell.into_payload().map_or_else(|cell| payload(py, &cell), |content: Content| content.into_python(py))
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

    fn __getitem__<'py>(&self, py: Python<'py>, index: isize) -> PyResult<Bound<'py, PyAny>> {
        let place = if index < 0 { index + self.cells.len() as isize } else { index };
        let cell = usize::try_from(place)
            .ok()
            .and_then(|place| self.cells.get(place))
            .ok_or_else(|| PyIndexError::new_err(format!("index {index} in a batch of {} events", self.cells.len())))?;
        event_type::create(py, cell.clone())
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
    event: Py<PyAny>,
    /// Why it was not delivered.
    reason: &'static str,
}

impl DeadLetter {
    pub(crate) fn new(py: Python<'_>, cell: Cell, reason: &'static str) -> PyResult<Self> {
        Ok(Self { event: event_type::create(py, cell)?.unbind(), reason })
    }
}

#[pymethods]
impl DeadLetter {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("DeadLetter(reason='{}', event={})", self.reason, self.event.bind(py).repr()?))
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
