//! Arrow in, through the PyCapsule interface, without a copy.
//!
//! A capsule holds C structures with their own release callbacks. Taking one moves it out of the capsule and leaves a
//! released structure behind, so a capsule gives its data once. Everything a producer can get wrong within the interface
//! (no capsule, a capsule of another name, a released structure, a schema that makes no sense, an error while reading)
//! is a [`Failure`]; where the Arrow crates would panic on a structure, the panic ends here.
//!
//! <https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html>

use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_schema::{ArrowError, Field};
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple, PyType};

use super::Table;
use super::batch::Batch;
use super::description::{self, Description};
use super::kind::{Source, source};
use crate::errors;

/// Why something could not be taken over.
pub(super) enum Failure {
    /// The producer raised.
    Python(PyErr),
    /// What it exported cannot be used.
    Text(String),
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        Self::Text(match error {
            // The variant's own prefix says "C Data interface error", of which a reader gains nothing.
            ArrowError::CDataInterface(message) => message,
            error => error.to_string(),
        })
    }
}

impl Failure {
    /// The exception for the caller, whose argument was `object`. Ctrl-C and the like pass as they are.
    pub(super) fn raise(self, object: &Bound<'_, PyAny>) -> PyErr {
        let py = object.py();
        let cause = match self {
            Self::Python(error) if !error.is_instance_of::<PyException>(py) => return error,
            Self::Python(error) => Ok(error),
            Self::Text(message) => Err(message),
        };
        let kind = name_of_type(object);
        let reason = cause.as_ref().map_or_else(Clone::clone, ToString::to_string);
        let error = payload_error(py, &kind, &format!("the Arrow data of {kind} cannot be used: {reason}"));
        error.set_cause(py, cause.ok());
        error
    }
}

pub(super) fn payload_error(py: Python<'_>, kind: &str, message: &str) -> PyErr {
    errors::exception(py, "PayloadError", message, |attributes| attributes.set_item("kind", kind))
}

pub(super) fn name_of_type(object: &Bound<'_, PyAny>) -> String {
    let name = object.get_type().fully_qualified_name().map(|name| name.to_string());
    name.unwrap_or_else(|_| "object".to_owned())
}

/// Imports whatever exports Arrow: a struct becomes a table, anything else the one column `value`.
pub(super) fn import(object: &Bound<'_, PyAny>) -> PyResult<Table> {
    read(object).map_err(|failure| failure.raise(object))?.ok_or_else(|| {
        let kind = name_of_type(object);
        let message = format!(
            "{kind} exports no Arrow (it has neither __arrow_c_stream__ nor __arrow_c_array__); \
             NumPy arrays enter by Table.from_numpy({{\"name\": array}}), lists by pyarrow.array(...)"
        );
        payload_error(object.py(), &kind, &message)
    })
}

fn read(object: &Bound<'_, PyAny>) -> Result<Option<Table>, Failure> {
    let py = object.py();
    let source = source(object)?;
    if object.is_instance_of::<PyType>() {
        // A class has the methods of its instances, but is none.
        return Ok(None);
    }
    let stream = intern!(py, "__arrow_c_stream__");
    if !matches!(source, Source::Batch)
        && let Some(method) = object.getattr_opt(stream)?.filter(|method| !method.is_none())
    {
        let capsule = capsule(method.call0()?, "__arrow_c_stream__")?;
        return read_stream(py, &capsule, source).map(Some);
    }
    let array = intern!(py, "__arrow_c_array__");
    if let Some(method) = object.getattr_opt(array)?.filter(|method| !method.is_none()) {
        let pair = method.call0()?;
        let Ok((schema, array)) = pair.cast::<PyTuple>().map_err(PyErr::from).and_then(|pair| pair.extract()) else {
            return Err(nonsense("__arrow_c_array__", "a tuple of two capsules", &pair));
        };
        return read_array(capsule(schema, "__arrow_c_array__")?, capsule(array, "__arrow_c_array__")?).map(Some);
    }
    Ok(None)
}

fn nonsense(method: &str, wanted: &str, got: &Bound<'_, PyAny>) -> Failure {
    Failure::Text(format!("{method}() returned {} instead of {wanted}", name_of_type(got)))
}

fn capsule<'py>(object: Bound<'py, PyAny>, method: &str) -> Result<Bound<'py, PyCapsule>, Failure> {
    object.cast_into::<PyCapsule>().map_err(|error| nonsense(method, "a capsule", &error.into_inner()))
}

fn read_stream(py: Python<'_>, capsule: &Bound<'_, PyCapsule>, source: Source) -> Result<Table, Failure> {
    let mut stream = Stream::take(capsule)?;
    let description = work(py, source, || stream.description())?;
    let mut batches = Vec::new();
    while let Some(array) = work(py, source, || stream.next())? {
        batches.push(Batch::import(array, &description)?);
        py.check_signals()?;
    }
    Ok(Table::new(description, batches))
}

/// Has the producer work. It may do a lot for each batch (a query, a file, a generator), so the interpreter is free
/// meanwhile; one whose rows are in memory would only lose its turn.
fn work<T: Send>(py: Python<'_>, source: Source, work: impl FnOnce() -> T + Send) -> T {
    if matches!(source, Source::Table) { work() } else { py.detach(work) }
}

fn read_array(schema: Bound<'_, PyCapsule>, array: Bound<'_, PyCapsule>) -> Result<Table, Failure> {
    let pointer = schema.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    // SAFETY: a capsule of this name points to an ArrowSchema, aligned and initialized, which lives as long as it does.
    let description = Description::import(unsafe { pointer.as_ref() })?;
    let pointer = array.pointer_checked(Some(c"arrow_array"))?.cast::<FFI_ArrowArray>();
    // SAFETY: a capsule of this name points to an ArrowArray, aligned and initialized, which the interface allows to be
    // moved out; no other thread reads it, for this one is attached to the interpreter and holds the capsule.
    let taken = unsafe { FFI_ArrowArray::from_raw(pointer.as_ptr()) };
    let batch = Batch::import(taken, &description)?;
    Ok(Table::new(description, vec![batch]))
}

/// The field that a schema capsule describes.
pub(super) fn field_of_capsule(capsule: &Bound<'_, PyCapsule>) -> Result<Field, Failure> {
    let pointer = capsule.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    // SAFETY: a capsule of this name points to an ArrowSchema, aligned and initialized, which lives as long as it does.
    Ok(description::field(unsafe { pointer.as_ref() })?)
}

/// A stream that was taken out of its capsule.
struct Stream(FFI_ArrowArrayStream);

impl Stream {
    fn take(capsule: &Bound<'_, PyCapsule>) -> Result<Self, Failure> {
        let pointer = capsule.pointer_checked(Some(c"arrow_array_stream"))?.cast::<FFI_ArrowArrayStream>();
        // SAFETY: as for the array above.
        let stream = unsafe { FFI_ArrowArrayStream::from_raw(pointer.as_ptr()) };
        if stream.release.is_none() {
            return Err(Failure::Text("its stream was read already".to_owned()));
        }
        Ok(Self(stream))
    }

    fn description(&mut self) -> Result<Arc<Description>, ArrowError> {
        let read = self.0.get_schema.ok_or_else(|| invalid("its stream has no schema"))?;
        let mut schema = FFI_ArrowSchema::empty();
        // SAFETY: the stream is not released, and the callback fills the structure or returns an error.
        let code = unsafe { read(&raw mut self.0, &raw mut schema) };
        if code != 0 {
            return Err(self.error(code));
        }
        Description::import(&schema)
    }

    fn next(&mut self) -> Result<Option<FFI_ArrowArray>, ArrowError> {
        let read = self.0.get_next.ok_or_else(|| invalid("its stream has no batches"))?;
        let mut array = FFI_ArrowArray::empty();
        // SAFETY: the stream is not released, and the callback fills the structure, leaves it released at the end of
        // the stream, or returns an error.
        let code = unsafe { read(&raw mut self.0, &raw mut array) };
        if code != 0 {
            return Err(self.error(code));
        }
        Ok((!array.is_released()).then_some(array))
    }

    fn error(&mut self, code: c_int) -> ArrowError {
        let text = self.0.get_last_error.and_then(|read| {
            // SAFETY: the stream is not released.
            let text = unsafe { read(&raw mut self.0) };
            // SAFETY: where there is a text, it ends with a zero and lives until the next call, thus beyond the copy.
            (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
        });
        ArrowError::CDataInterface(text.unwrap_or_else(|| format!("reading its stream failed with error code {code}")))
    }
}

fn invalid(reason: &str) -> ArrowError {
    ArrowError::CDataInterface(reason.to_owned())
}

/// Runs a conversion of the Arrow crates, which assert some properties of what they are given.
pub(super) fn contained<T>(conversion: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    // Nothing that the closure leaves half done is looked at afterwards.
    catch_unwind(AssertUnwindSafe(conversion)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(invalid(text.unwrap_or("the Arrow library gave up on it")))
    })
}
