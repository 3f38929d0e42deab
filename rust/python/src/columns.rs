//! Arrow tables as payloads: immutable, shared between threads and with their producers and consumers.
//!
//! A table is a schema and its batches as they came, over the buffers of whoever made them: in and out through the
//! PyCapsule interface, nothing is copied. The only exception on the way out is a validity bitmap that starts in the
//! middle of a byte, as slices have it, which is copied so that it starts with one.

mod export;
mod import;
mod kind;
mod numpy;

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema as ArrowSchema, SchemaRef};
use arrow_select::concat::concat;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};
use pyo3_arrow::ffi::to_array_pycapsules;

use crate::errors;
use import::{Failure, contained};
pub(crate) use kind::{Kind, kind, known_kind};

/// How many columns a text names.
const COLUMNS_SHOWN: usize = 8;

/// Adds the submodule `columns` to `parent`.
pub(crate) fn register(parent: &Bound<'_, PyModule>) -> PyResult<()> {
    let module = PyModule::new(parent.py(), "columns")?;
    module.add_class::<Table>()?;
    module.add_class::<Column>()?;
    module.add_class::<Schema>()?;
    parent.add_submodule(&module)
}

/// Columns of equal length with names and types, over Arrow buffers that nobody copies.
#[pyclass(module = "chronofabric._core.columns", frozen)]
pub(crate) struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    num_rows: usize,
    num_bytes: OnceLock<usize>,
}

/// One column of a table, over the same buffers.
#[pyclass(module = "chronofabric._core.columns", frozen)]
pub(crate) struct Column {
    field: FieldRef,
    chunks: Vec<ArrayRef>,
    num_rows: usize,
}

/// The names and types of the columns of a table.
#[pyclass(module = "chronofabric._core.columns", frozen, eq)]
#[derive(PartialEq)]
pub(crate) struct Schema(SchemaRef);

impl Table {
    fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let num_rows = batches.iter().map(RecordBatch::num_rows).sum();
        Self { schema, batches, num_rows, num_bytes: OnceLock::new() }
    }

    /// Imports whatever exports Arrow through the PyCapsule interface, without copying. What can be read only once is
    /// read to its end.
    pub(crate) fn import(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        import::import(object)
    }

    /// The bytes that its rows take in their buffers.
    pub(crate) fn nbytes(&self) -> usize {
        *self.num_bytes.get_or_init(|| self.batches.iter().flat_map(RecordBatch::columns).map(bytes_of).sum())
    }

    /// How many rows it has.
    pub(crate) fn num_rows(&self) -> usize {
        self.num_rows
    }

    fn index_of(&self, py: Python<'_>, name: &str) -> PyResult<usize> {
        let mut found = self.schema.fields().iter().enumerate().filter(|(_, field)| field.name() == name);
        match (found.next(), found.next()) {
            (Some((index, _)), None) => Ok(index),
            (Some(_), Some(_)) => Err(no_column(py, name, &format!("several columns are called {name:?}"), None)),
            (None, _) => {
                let names = self.column_names();
                let matches = py.import("difflib")?.call_method1("get_close_matches", (name, &names, 1))?;
                let hint = match matches.extract::<Vec<String>>()?.pop() {
                    Some(near) => format!("did you mean {near:?}?"),
                    None if names.is_empty() => "the table has no columns".to_owned(),
                    None => format!("there are {}", listed(names.iter().map(|name| format!("{name:?}")))),
                };
                Err(no_column(py, name, &format!("there is no column {name:?}"), Some(hint)))
            }
        }
    }
}

fn no_column(py: Python<'_>, name: &str, problem: &str, hint: Option<String>) -> PyErr {
    let message = hint.as_ref().map_or_else(|| problem.to_owned(), |hint| format!("{problem}; {hint}"));
    errors::exception(py, "ArgumentError", &message, |attributes| {
        attributes.set_item("argument", "name")?;
        attributes.set_item("value", name)?;
        attributes.set_item("hint", hint)
    })
}

#[pymethods]
impl Table {
    #[new]
    #[pyo3(signature = (data, /))]
    fn py_new(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(table) = data.cast::<Self>() {
            return Ok(Self::new(table.get().schema.clone(), table.get().batches.clone()));
        }
        Self::import(data)
    }

    /// Makes a table over the memory of one-dimensional NumPy arrays.
    #[staticmethod]
    #[pyo3(signature = (columns, /))]
    fn from_numpy(columns: &Bound<'_, PyAny>) -> PyResult<Self> {
        numpy::from_numpy(columns)
    }

    /// The number of rows.
    #[getter(num_rows)]
    fn py_num_rows(&self) -> usize {
        self.num_rows()
    }

    /// The number of columns.
    #[getter]
    fn num_columns(&self) -> usize {
        self.schema.fields().len()
    }

    /// The names of the columns, in their order.
    #[getter]
    fn column_names(&self) -> Vec<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The bytes that the rows take in their buffers.
    #[getter(nbytes)]
    fn py_nbytes(&self) -> usize {
        self.nbytes()
    }

    /// The names and types of the columns.
    #[getter]
    fn schema(&self) -> Schema {
        Schema(self.schema.clone())
    }

    /// One column, by its name.
    #[pyo3(signature = (name, /))]
    fn column(&self, py: Python<'_>, name: &str) -> PyResult<Column> {
        let index = self.index_of(py, name)?;
        let chunks = self.batches.iter().map(|batch| batch.column(index).clone()).collect();
        Ok(Column { field: self.schema.fields()[index].clone(), chunks, num_rows: self.num_rows })
    }

    /// The same buffers as a `pyarrow.Table`.
    fn to_pyarrow<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("pyarrow")?.call_method1("table", (slf,))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export::schema_capsule(py, &export::field_of_schema(&self.schema))
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        slf: &Bound<'py, Self>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let (py, table) = (slf.py(), slf.get());
        let field = export::field_of_schema(&table.schema);
        let raise = |failure: Failure| failure.raise(slf);
        let Some(wanted) = export::requested_field(&field, requested_schema).map_err(raise)? else {
            return export::stream_capsule(py, export::structures(&table.batches), Arc::new(field));
        };
        let converted = py.detach(|| export::convert_batches(&table.batches, &table.schema, &wanted));
        let (batches, schema) = converted.map_err(|error| raise(error.into()))?;
        export::stream_capsule(py, export::structures(&batches), Arc::new(export::field_of_schema(&schema)))
    }

    fn __len__(&self) -> usize {
        self.num_rows
    }

    fn __eq__(&self, py: Python<'_>, other: &Self) -> bool {
        py.detach(|| self.schema == other.schema && self.num_rows == other.num_rows && same_rows(self, other))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        (slf.get_type(), (Self::to_pyarrow(slf)?,)).into_pyobject(py)
    }

    fn __repr__(&self) -> String {
        let (rows, columns) = (self.num_rows, self.schema.fields().len());
        let separator = if columns == 0 { "" } else { ": " };
        let names = described(&self.schema);
        format!("<Table {} x {}{separator}{names}>", counted(rows, "row"), counted(columns, "column"))
    }

    fn _repr_html_(&self) -> String {
        let rows = counted(self.num_rows, "row");
        let mut text = format!("<table><caption>{rows}</caption><tr><th>column</th><th>type</th></tr>");
        for field in self.schema.fields() {
            let (name, data_type) = (escaped(field.name()), escaped(&field.data_type().to_string()));
            // Writing to a text cannot fail.
            let _ = write!(text, "<tr><td>{name}</td><td>{data_type}</td></tr>");
        }
        text + "</table>"
    }
}

#[pymethods]
impl Column {
    /// The name of the column.
    #[getter]
    fn name(&self) -> &str {
        self.field.name()
    }

    /// The bytes that its values take in their buffers.
    #[getter]
    fn nbytes(&self) -> usize {
        self.chunks.iter().map(bytes_of).sum()
    }

    /// The same buffers as a `pyarrow.ChunkedArray`.
    fn to_pyarrow<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("pyarrow")?.call_method1("chunked_array", (slf,))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export::schema_capsule(py, &self.field)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        slf: &Bound<'py, Self>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let (chunks, field) = slf.get().requested(slf, requested_schema)?;
        export::stream_capsule(slf.py(), chunks, field)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        slf: &Bound<'py, Self>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let (chunks, field) = slf.get().requested(slf, requested_schema)?;
        let array = match &*chunks {
            [array] => array.clone(),
            chunks => {
                let joined = py.detach(|| join(chunks, field.data_type()));
                joined.map_err(|error| Failure::from(error).raise(slf))?
            }
        };
        Ok(to_array_pycapsules(py, field, &array, None)?)
    }

    fn __len__(&self) -> usize {
        self.num_rows
    }

    fn __repr__(&self) -> String {
        format!("<Column {}: {}>", described_field(&self.field), counted(self.num_rows, "row"))
    }
}

impl Column {
    /// Its arrays, converted if a consumer asked for another type.
    fn requested<'py>(
        &self,
        slf: &Bound<'py, Self>,
        requested: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Vec<ArrayRef>, FieldRef)> {
        let raise = |failure: Failure| failure.raise(slf);
        let Some(wanted) = export::requested_field(&self.field, requested).map_err(raise)? else {
            return Ok((self.chunks.clone(), self.field.clone()));
        };
        let field = Field::clone(&self.field).with_data_type(wanted.data_type().clone());
        let convert = || self.chunks.iter().map(|chunk| export::convert(chunk, &field)).collect::<Result<Vec<_>, _>>();
        let chunks = slf.py().detach(convert).map_err(|error| raise(error.into()))?;
        Ok((chunks, Arc::new(field)))
    }
}

#[pymethods]
impl Schema {
    /// The names of the columns, in their order.
    #[getter]
    fn names(&self) -> Vec<String> {
        self.0.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export::schema_capsule(py, &export::field_of_schema(&self.0))
    }

    fn __len__(&self) -> usize {
        self.0.fields().len()
    }

    fn __repr__(&self) -> String {
        format!("<Schema {}>", described(&self.0))
    }
}

/// One array of all chunks; this copies.
fn join(chunks: &[ArrayRef], data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let arrays = chunks.iter().map(|chunk| &**chunk).collect::<Vec<_>>();
    contained(|| if arrays.is_empty() { Ok(arrow_array::new_empty_array(data_type)) } else { concat(&arrays) })
}

/// Whether two tables of equal schema and length have equal rows, however each is cut into batches.
fn same_rows(left: &Table, right: &Table) -> bool {
    let (mut ours, mut theirs) = (left.batches.iter(), right.batches.iter());
    let (mut our_rest, mut their_rest): (Option<RecordBatch>, Option<RecordBatch>) = (None, None);
    loop {
        let filled = |rest: Option<RecordBatch>, batches: &mut std::slice::Iter<'_, RecordBatch>| {
            rest.filter(|batch| batch.num_rows() > 0).or_else(|| batches.find(|batch| batch.num_rows() > 0).cloned())
        };
        let (Some(one), Some(other)) = (filled(our_rest, &mut ours), filled(their_rest, &mut theirs)) else {
            return true;
        };
        let rows = one.num_rows().min(other.num_rows());
        let mut pairs = one.columns().iter().zip(other.columns());
        if !pairs.all(|(one, other)| contained(|| Ok(one.slice(0, rows) == other.slice(0, rows))).unwrap_or(false)) {
            return false;
        }
        our_rest = Some(one.slice(rows, one.num_rows() - rows));
        their_rest = Some(other.slice(rows, other.num_rows() - rows));
    }
}

fn bytes_of(array: &ArrayRef) -> usize {
    let data = array.to_data();
    let rows = contained(|| data.get_slice_memory_size()).unwrap_or_else(|_| data.get_buffer_memory_size());
    rows + bytes_behind_views(&data)
}

/// What long strings take whose rows only point to them. A slice counts all that it keeps alive.
fn bytes_behind_views(data: &ArrayData) -> usize {
    let own = match data.data_type() {
        DataType::Utf8View | DataType::BinaryView => data.buffers().iter().skip(1).map(|buffer| buffer.len()).sum(),
        _ => 0,
    };
    own + data.child_data().iter().map(bytes_behind_views).sum::<usize>()
}

fn described(schema: &ArrowSchema) -> String {
    listed(schema.fields().iter().map(|field| described_field(field)))
}

fn described_field(field: &Field) -> String {
    format!("{} {}", field.name(), field.data_type())
}

fn listed(parts: impl ExactSizeIterator<Item = String>) -> String {
    let rest = parts.len().saturating_sub(COLUMNS_SHOWN);
    let mut shown = parts.take(COLUMNS_SHOWN).collect::<Vec<_>>();
    if rest > 0 {
        shown.push(format!("and {rest} more"));
    }
    shown.join(", ")
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
