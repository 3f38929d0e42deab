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

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StructArray, make_array};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple, PyType};

use super::Table;
use crate::errors;

/// The name of the column that a bare array becomes.
const BARE_COLUMN: &str = "value";
/// How deeply types may nest, as in Arrow C++.
const NESTING_MAX: usize = 64;

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
    if object.is_instance_of::<PyType>() {
        // A class has the methods of its instances, but is none.
        return Ok(None);
    }
    let stream = intern!(py, "__arrow_c_stream__");
    if let Some(method) = object.getattr_opt(stream)?.filter(|method| !method.is_none()) {
        return read_stream(py, capsule(method.call0()?, "__arrow_c_stream__")?).map(Some);
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

fn read_stream(py: Python<'_>, capsule: Bound<'_, PyCapsule>) -> Result<Table, Failure> {
    let mut stream = Stream::take(&capsule)?;
    let field = py.detach(|| stream.field())?;
    let shape = Shape::of(&field);
    let mut batches = Vec::new();
    // A producer may do real work for each batch (a query, a file, a generator), so the interpreter is free meanwhile.
    while let Some(array) = py.detach(|| stream.next(field.data_type()))? {
        batches.push(shape.batch(array)?);
        py.check_signals()?;
    }
    Ok(Table::new(shape.schema, batches))
}

fn read_array(schema: Bound<'_, PyCapsule>, array: Bound<'_, PyCapsule>) -> Result<Table, Failure> {
    let field = field_of_capsule(&schema)?;
    let pointer = array.pointer_checked(Some(c"arrow_array"))?.cast::<FFI_ArrowArray>();
    // SAFETY: a capsule of this name points to an ArrowArray, aligned and initialized, which the interface allows to be
    // moved out; no other thread reads it, for this one is attached to the interpreter and holds the capsule.
    let taken = unsafe { FFI_ArrowArray::from_raw(pointer.as_ptr()) };
    let shape = Shape::of(&field);
    let batch = shape.batch(import_array(taken, field.data_type())?)?;
    Ok(Table::new(shape.schema, vec![batch]))
}

/// The field that a schema capsule describes.
pub(super) fn field_of_capsule(capsule: &Bound<'_, PyCapsule>) -> Result<Field, Failure> {
    let pointer = capsule.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    // SAFETY: a capsule of this name points to an ArrowSchema, aligned and initialized, which lives as long as it does.
    Ok(import_field(unsafe { pointer.as_ref() })?)
}

/// What the arrays of one source become: a table, or one column.
struct Shape {
    schema: SchemaRef,
    bare: bool,
}

impl Shape {
    fn of(field: &Field) -> Self {
        if let DataType::Struct(fields) = field.data_type() {
            let schema = Schema::new_with_metadata(fields.clone(), field.metadata().clone());
            return Self { schema: Arc::new(schema), bare: false };
        }
        // A producer that exports a bare type leaves open whether values may be null, so they may.
        let column = field.clone().with_name(BARE_COLUMN).with_nullable(true);
        Self { schema: Arc::new(Schema::new(vec![column])), bare: true }
    }

    fn batch(&self, array: ArrayRef) -> Result<RecordBatch, Failure> {
        let options = RecordBatchOptions::new().with_row_count(Some(array.len()));
        let columns = if self.bare {
            vec![array]
        } else {
            let structure = array.as_any().downcast_ref::<StructArray>();
            let structure = structure.ok_or_else(|| Failure::Text("a struct turned out to be none".to_owned()))?;
            if structure.null_count() > 0 {
                return Err(Failure::Text(format!(
                    "{} of its {} rows are null as a whole, which a table cannot say; \
                     make the struct a column: pyarrow.table({{\"{BARE_COLUMN}\": array}})",
                    structure.null_count(),
                    structure.len()
                )));
            }
            structure.columns().to_vec()
        };
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
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

    fn field(&mut self) -> Result<Field, ArrowError> {
        let read = self.0.get_schema.ok_or_else(|| invalid("its stream has no schema"))?;
        let mut schema = FFI_ArrowSchema::empty();
        // SAFETY: the stream is not released, and the callback fills the structure or returns an error.
        let code = unsafe { read(&raw mut self.0, &raw mut schema) };
        if code != 0 {
            return Err(self.error(code));
        }
        import_field(&schema)
    }

    fn next(&mut self, data_type: &DataType) -> Result<Option<ArrayRef>, ArrowError> {
        let read = self.0.get_next.ok_or_else(|| invalid("its stream has no batches"))?;
        let mut array = FFI_ArrowArray::empty();
        // SAFETY: the stream is not released, and the callback fills the structure, leaves it released at the end of
        // the stream, or returns an error.
        let code = unsafe { read(&raw mut self.0, &raw mut array) };
        if code != 0 {
            return Err(self.error(code));
        }
        if array.is_released() { Ok(None) } else { import_array(array, data_type).map(Some) }
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

fn import_field(schema: &FFI_ArrowSchema) -> Result<Field, ArrowError> {
    check_schema(schema, 0)?;
    contained(|| Field::try_from(schema))
}

/// Refuses what would make the conversion read beyond the structure or recurse without end.
fn check_schema(schema: &FFI_ArrowSchema, depth: usize) -> Result<(), ArrowError> {
    if depth > NESTING_MAX {
        return Err(invalid(&format!("its types nest more than {NESTING_MAX} deep")));
    }
    if (depth == 0 && schema.release.is_none()) || schema.format.is_null() {
        return Err(invalid("its schema was released already"));
    }
    let count = usize::try_from(schema.n_children).map_err(|_| invalid("its schema is damaged"))?;
    if count > 0 && schema.children.is_null() {
        return Err(invalid("its schema is damaged"));
    }
    for index in 0..count {
        // SAFETY: `children` points to as many pointers as `n_children` says, each to an ArrowSchema of its own.
        let child = unsafe { schema.children.add(index).read().as_ref() };
        check_schema(child.ok_or_else(|| invalid("its schema is damaged"))?, depth + 1)?;
    }
    schema.dictionary().map_or(Ok(()), |dictionary| check_schema(dictionary, depth + 1))
}

fn import_array(array: FFI_ArrowArray, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.is_released() {
        return Err(invalid("its array was read already"));
    }
    if isize::try_from(array.len()).is_err() || isize::try_from(array.offset()).is_err() {
        return Err(invalid("its array has a negative length"));
    }
    // SAFETY: the array is not released and came with this type, to whose layout the interface holds its producer.
    contained(|| unsafe { from_ffi_and_data_type(array, data_type.clone()) }.map(make_array))
}

/// Runs a conversion of the Arrow crates, which assert some properties of what they are given.
pub(super) fn contained<T>(conversion: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    // Nothing that the closure leaves half done is looked at afterwards.
    catch_unwind(AssertUnwindSafe(conversion)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(invalid(text.unwrap_or("the Arrow library gave up on it")))
    })
}
