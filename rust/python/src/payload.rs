//! What events carry on their way through the node: a Python object by reference, or a record made without Python.

use crate::columns::{self, Kind, Table};
use crate::errors;
use chronofabric_bus::{Magazine, Payload, Pool};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyString};
use std::sync::Arc;

/// How many unused cells the process keeps.
const CELLS_KEPT: usize = 1 << 16;

static POOL: Pool<Content> = Pool::new(CELLS_KEPT);

thread_local! {
    static MAGAZINE: Magazine<Content> = const { Magazine::new() };
}

/// A payload, in two words.
pub(crate) enum Content {
    /// Any Python object. Dropping it without the interpreter defers the release to the next thread that has it.
    Object(Py<PyAny>),
    /// The same with its size, which was asked for once: the object may change, and the count of bytes must not.
    Measured(Box<(Py<PyAny>, usize)>),
    /// Named values from a native source or a guard; becomes a dictionary when Python looks at it.
    Record(Arc<Record>),
}

/// Named values.
#[derive(Debug, Default)]
pub(crate) struct Record(pub(crate) Vec<(&'static str, Value)>);

/// One value of a record.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Integer(i64),
    Number(f64),
    Text(Arc<str>),
}

impl Payload for Content {
    type Headers = Py<PyDict>;

    fn pool() -> &'static Pool<Self> {
        &POOL
    }

    #[inline]
    fn magazine<R>(function: impl FnOnce(&Magazine<Self>) -> R) -> Option<R> {
        MAGAZINE.try_with(function).ok()
    }

    fn measure(&mut self) {
        if let Self::Object(object) = self {
            // Only a publisher that holds the interpreter has Python objects to publish.
            let measured = Python::attach(|py| (object.clone_ref(py), size_of(object.bind(py))));
            *self = Self::Measured(Box::new(measured));
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Object(_) => 0,
            Self::Measured(measured) => measured.1,
            Self::Record(record) => size_of_val(&*record.0),
        }
    }
}

impl Content {
    /// Takes a payload from Python: what exports Arrow becomes a table, everything else stays what it is.
    #[inline(always)]
    pub(crate) fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        match columns::kind(object)? {
            Kind::Plain | Kind::Table => Ok(Self::Object(object.clone().unbind())),
            kind => Self::import(object, kind),
        }
    }

    #[cold]
    fn import(object: &Bound<'_, PyAny>, kind: Kind) -> PyResult<Self> {
        let py = object.py();
        if matches!(kind, Kind::OneShot) {
            let name = object.get_type().fully_qualified_name()?.to_string();
            let message = format!(
                "a {name} can be read only once, but every subscriber would read it; wrap it: publish(cf.Table(reader))"
            );
            return Err(errors::exception(py, "PayloadError", &message, |attributes| {
                attributes.set_item("kind", name)
            }));
        }
        Ok(Self::Object(Py::new(py, Table::import(object)?)?.into_any()))
    }

    /// The payload as Python sees it.
    #[inline]
    pub(crate) fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Object(object) => Ok(object.clone_ref(py)),
            Self::Measured(measured) => Ok(measured.0.clone_ref(py)),
            Self::Record(record) => record.to_python(py),
        }
    }

    /// The Python object, where it is one.
    pub(crate) fn as_object(&self) -> Option<&Py<PyAny>> {
        match self {
            Self::Object(object) => Some(object),
            Self::Measured(measured) => Some(&measured.0),
            Self::Record(_) => None,
        }
    }

    /// As [`Content::as_object`], for the last holder.
    pub(crate) fn into_object(self) -> Option<Py<PyAny>> {
        match self {
            Self::Object(object) => Some(object),
            Self::Measured(measured) => Some(measured.0),
            Self::Record(_) => None,
        }
    }

    /// As [`Content::to_python`], for the last holder.
    #[inline]
    pub(crate) fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Object(object) => Ok(object),
            Self::Measured(measured) => Ok(measured.0),
            Self::Record(record) => record.to_python(py),
        }
    }
}

impl Record {
    fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let fields = PyDict::new(py);
        for (name, value) in &self.0 {
            match value {
                Value::Integer(value) => fields.set_item(*name, *value)?,
                Value::Number(value) => fields.set_item(*name, *value)?,
                Value::Text(value) => fields.set_item(*name, &**value)?,
            }
        }
        Ok(fields.into_any().unbind())
    }

    /// A field as a number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(field, _)| *field == name).and_then(|(_, value)| match value {
            Value::Integer(value) => Some(*value as f64),
            Value::Number(value) => Some(*value),
            Value::Text(_) => None,
        })
    }
}

/// How many bytes an object holds: its buffers where it has some, otherwise what `sys.getsizeof` says.
fn size_of(object: &Bound<'_, PyAny>) -> usize {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return bytes.as_bytes().len();
    }
    if let Ok(table) = object.cast::<Table>() {
        return table.get().nbytes();
    }
    if let Ok(text) = object.cast::<PyString>() {
        return text.to_str().map_or(0, str::len);
    }
    if let Ok(array) = object.cast::<PyByteArray>() {
        return array.len();
    }
    let buffers = object.getattr("nbytes").and_then(|size| size.extract::<usize>());
    let shallow = || object.py().import("sys")?.call_method1("getsizeof", (object,))?.extract::<usize>();
    buffers.or_else(|_| shallow()).unwrap_or(0)
}
