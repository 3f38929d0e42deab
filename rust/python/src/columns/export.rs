//! Arrow out, through the PyCapsule interface, without a copy.
//!
//! A consumer may name the schema it would like. Where it differs from ours the values are converted here and now, with
//! an exception if they cannot be, rather than while the consumer reads, where an error is only a number and a text.

use std::ffi::{c_char, c_int};
use std::ptr;
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_cast::{CastOptions, can_cast_types, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};
use pyo3_arrow::ffi::{ArrayIterator, to_schema_pycapsule, to_stream_pycapsule};

use super::import::{Failure, contained, field_of_capsule};
use super::shared::Shared;

/// The types of a column.
pub(super) fn field_capsule<'py>(py: Python<'py>, field: &Field) -> PyResult<Bound<'py, PyCapsule>> {
    Ok(to_schema_pycapsule(py, field)?)
}

/// The chunks of a column.
pub(super) fn chunks_capsule(py: Python<'_>, arrays: Vec<ArrayRef>, field: FieldRef) -> PyResult<Bound<'_, PyCapsule>> {
    let reader = ArrayIterator::new(arrays.into_iter().map(Ok), field);
    Ok(to_stream_pycapsule(py, Box::new(reader), None)?)
}

/// The types of a table.
pub(super) fn schema_capsule<'py>(
    py: Python<'py>,
    schema: &Arc<Shared<FFI_ArrowSchema>>,
) -> PyResult<Bound<'py, PyCapsule>> {
    PyCapsule::new_with_value(py, schema.export(), c"arrow_schema")
}

/// A table of one batch.
pub(super) fn array_capsules<'py>(
    py: Python<'py>,
    schema: &Arc<Shared<FFI_ArrowSchema>>,
    array: &Arc<Shared<FFI_ArrowArray>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let array = PyCapsule::new_with_value(py, array.export(), c"arrow_array")?;
    PyTuple::new(py, [schema_capsule(py, schema)?, array])
}

/// A table of any batches.
pub(super) fn stream_capsule(py: Python<'_>, rows: Rows) -> PyResult<Bound<'_, PyCapsule>> {
    let stream = FFI_ArrowArrayStream {
        get_schema: Some(get_schema),
        get_next: Some(get_next),
        get_last_error: Some(get_last_error),
        release: Some(release),
        private_data: Box::into_raw(Box::new(rows)).cast(),
    };
    PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
}

/// What a stream of a table has not given out yet.
pub(super) struct Rows {
    pub(super) schema: Arc<Shared<FFI_ArrowSchema>>,
    pub(super) arrays: std::vec::IntoIter<Arc<Shared<FFI_ArrowArray>>>,
}

unsafe extern "C" fn get_schema(stream: *mut FFI_ArrowArrayStream, out: *mut FFI_ArrowSchema) -> c_int {
    // SAFETY: the interface calls this on a stream that is not released, from one thread at a time, with room for the
    // answer.
    unsafe {
        let rows = &*(*stream).private_data.cast::<Rows>();
        out.write(rows.schema.export());
    }
    0
}

unsafe extern "C" fn get_next(stream: *mut FFI_ArrowArrayStream, out: *mut FFI_ArrowArray) -> c_int {
    // SAFETY: as above.
    unsafe {
        let rows = &mut *(*stream).private_data.cast::<Rows>();
        out.write(rows.arrays.next().map_or_else(FFI_ArrowArray::empty, |array| array.export()));
    }
    0
}

unsafe extern "C" fn get_last_error(_: *mut FFI_ArrowArrayStream) -> *const c_char {
    ptr::null()
}

unsafe extern "C" fn release(stream: *mut FFI_ArrowArrayStream) {
    // SAFETY: the interface releases a stream once, and uses it no more.
    unsafe {
        (*stream).release = None;
        drop(Box::from_raw((*stream).private_data.cast::<Rows>()));
    }
}

/// The field that a consumer asked for, if that is another one than ours.
pub(super) fn requested_field(ours: &Field, requested: &Bound<'_, PyAny>) -> Result<Option<Field>, Failure> {
    let capsule = requested.cast::<PyCapsule>().map_err(PyErr::from)?;
    let wanted = field_of_capsule(capsule)?;
    Ok((wanted.data_type() != ours.data_type()).then_some(wanted))
}

/// The batches with their columns converted to the types of `wanted`, which must name the same columns.
pub(super) fn convert_batches(
    batches: &[&RecordBatch],
    ours: &Schema,
    wanted: &Field,
) -> Result<Converted, ArrowError> {
    let names = |fields: &[FieldRef]| fields.iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    let DataType::Struct(fields) = wanted.data_type() else {
        return Err(ArrowError::CastError(format!("a table was requested as {}", wanted.data_type())));
    };
    if names(fields) != names(ours.fields()) {
        let (theirs, ours) = (names(fields).join(", "), names(ours.fields()).join(", "));
        return Err(ArrowError::CastError(format!("the columns ({theirs}) were requested, but there are ({ours})")));
    }
    let schema = Arc::new(Schema::new_with_metadata(fields.clone(), ours.metadata().clone()));
    let converted = batches.iter().map(|batch| {
        let columns = batch.columns().iter().zip(fields).map(|(column, field)| convert(column, field));
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(schema.clone(), columns.collect::<Result<_, _>>()?, &options)
    });
    Ok((converted.collect::<Result<_, _>>()?, schema))
}

/// Batches and the schema that they have now.
type Converted = (Vec<RecordBatch>, SchemaRef);

/// A column as the type of `wanted`; a value that does not fit is an error, not a null.
pub(super) fn convert(column: &ArrayRef, wanted: &Field) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == wanted.data_type() {
        return Ok(column.clone());
    }
    if !can_cast_types(column.data_type(), wanted.data_type()) {
        let (ours, theirs, name) = (column.data_type(), wanted.data_type(), wanted.name());
        return Err(ArrowError::CastError(format!("column {name:?} is {ours}, which does not become {theirs}")));
    }
    contained(|| cast_with_options(column, wanted.data_type(), &CastOptions { safe: false, ..CastOptions::default() }))
}
