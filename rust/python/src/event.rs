//! What Python sees beside single events: batches of them, and dead letters.

use crate::event_type::{self, payload_of};
use crate::html;
use crate::node::Event;
use crate::payload::{Content, View};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Several events received together; a sequence that makes each event when it is asked for.
#[pyclass(module = "chronofabric._core.bus", frozen, sequence)]
pub(crate) struct Batch {
    /// Events that were published together are one share.
    shares: Vec<Event>,
    count: usize,
}

impl Batch {
    pub(crate) fn new(shares: Vec<Event>) -> Self {
        let count = shares.iter().map(Event::len).sum();
        Self { shares, count }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[pymethods]
impl Batch {
    fn __len__(&self) -> usize {
        self.count
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: isize) -> PyResult<Bound<'py, PyAny>> {
        let place = if index < 0 { index + self.count as isize } else { index };
        let mut left = usize::try_from(place).unwrap_or(usize::MAX);
        for share in &self.shares {
            match share.get(left) {
                Some(event) => return event_type::create(py, event),
                None => left = left.saturating_sub(share.len()),
            }
        }
        Err(PyIndexError::new_err(format!("index {index} in a batch of {} events", self.count)))
    }

    /// The bare payloads.
    #[getter]
    fn payloads<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let part = |share: &Event| match (share.payload().map(Content::view), share.places()) {
            (Some(View::Batch(all)), Some(places)) => {
                // SAFETY: the tuple lives as long as the share.
                let all = unsafe { Borrowed::from_ptr(py, all).cast_unchecked::<PyTuple>() };
                // All of it is the very same tuple.
                Some(all.get_slice(places.start, places.end))
            }
            _ => None,
        };
        if let [share] = &*self.shares
            && let Some(payloads) = part(share)
        {
            return Ok(payloads);
        }
        let mut payloads = Vec::with_capacity(self.count);
        for share in &self.shares {
            match part(share) {
                Some(part) => payloads.extend(part.iter()),
                None => payloads.push(payload_of(py, share)?.into_bound(py)),
            }
        }
        PyTuple::new(py, payloads)
    }

    fn __repr__(&self) -> String {
        format!("Batch({} events)", self.count)
    }

    /// Shows the first events in a notebook.
    fn _repr_html_(&self, py: Python<'_>) -> PyResult<String> {
        let first = self.shares.iter().flat_map(|share| (0..share.len()).filter_map(|place| share.get(place)));
        let rows =
            first.take(html::ROWS_MAX).map(|event| event_type::cells(py, &event)).collect::<PyResult<Vec<_>>>()?;
        Ok(html::table(&self.__repr__(), &["topic", "time", "payload"], &rows, self.count))
    }
}

/// An event that was not delivered.
#[pyclass(module = "chronofabric._core.bus", frozen, get_all)]
pub(crate) struct DeadLetter {
    /// The event.
    event: Py<PyAny>,
    /// Why it was not delivered.
    reason: &'static str,
    /// How long after its deadline its turn had come, in nanoseconds, where it was late.
    late_ns: Option<i64>,
}

impl DeadLetter {
    pub(crate) fn new(py: Python<'_>, letter: chronofabric_bus::DeadLetter<Content>) -> PyResult<Self> {
        let chronofabric_bus::DeadLetter { event, reason, late_ns } = letter;
        Ok(Self { event: event_type::create(py, event)?.unbind(), reason: reason.name(), late_ns })
    }
}

#[pymethods]
impl DeadLetter {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("DeadLetter(reason='{}', event={})", self.reason, self.event.bind(py).repr()?))
    }
}
