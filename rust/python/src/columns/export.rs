//! Arrow out, through the PyCapsule interface, without a copy.
//!
//! A consumer may name the schema it would like. Where it differs from ours the values are converted here and now, with
//! an exception if they cannot be, rather than while the consumer reads, where an error is only a number and a text.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StructArray};
use arrow_cast::{CastOptions, can_cast_types, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use pyo3_arrow::ffi::{ArrayIterator, to_schema_pycapsule, to_stream_pycapsule};

use super::import::{Failure, contained, field_of_capsule};

/// The structure that a table is in the interface.
pub(super) fn field_of_schema(schema: &Schema) -> Field {
    Field::new_struct("", schema.fields().clone(), false).with_metadata(schema.metadata().clone())
}

pub(super) fn schema_capsule<'py>(py: Python<'py>, field: &Field) -> PyResult<Bound<'py, PyCapsule>> {
    Ok(to_schema_pycapsule(py, field)?)
}

/// A stream of arrays of one type.
pub(super) fn stream_capsule(py: Python<'_>, arrays: Vec<ArrayRef>, field: FieldRef) -> PyResult<Bound<'_, PyCapsule>> {
    let reader = ArrayIterator::new(arrays.into_iter().map(Ok), field);
    Ok(to_stream_pycapsule(py, Box::new(reader), None)?)
}

pub(super) fn structures(batches: &[RecordBatch]) -> Vec<ArrayRef> {
    batches.iter().map(|batch| Arc::new(StructArray::from(batch.clone())) as ArrayRef).collect()
}

/// The field that a consumer asked for, if it asked and if that is another one than ours.
pub(super) fn requested_field(ours: &Field, requested: Option<&Bound<'_, PyAny>>) -> Result<Option<Field>, Failure> {
    let Some(requested) = requested.filter(|capsule| !capsule.is_none()) else { return Ok(None) };
    let capsule = requested.cast::<PyCapsule>().map_err(PyErr::from)?;
    let wanted = field_of_capsule(capsule)?;
    Ok((wanted.data_type() != ours.data_type()).then_some(wanted))
}

/// The batches with their columns converted to the types of `wanted`, which must name the same columns.
pub(super) fn convert_batches(batches: &[RecordBatch], ours: &Schema, wanted: &Field) -> Result<Converted, ArrowError> {
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
