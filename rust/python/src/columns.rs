//! Arrow tables as payloads: immutable, shared between threads and with their producers and consumers.
//!
//! A table is a schema and its batches as they came, over the buffers of whoever made them: in and out through the
//! PyCapsule interface, nothing is copied. What comes in is checked and kept as the C structures that it is; each
//! consumer gets structures that show the same memory, and arrays are made of them when somebody asks for columns or
//! values. Only a few things are read at once and written anew: single columns, bare arrays, unions, run-end encoded
//! arrays and list views. There a validity bitmap that starts in the middle of a byte, as slices have it, is copied.

mod batch;
mod description;
mod export;
mod import;
mod kind;
mod layout;
mod numpy;
mod select;
mod shared;

use std::sync::{Arc, OnceLock};

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema as ArrowSchema, SchemaRef};
use arrow_select::concat::concat;
use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};
use pyo3_arrow::ffi::to_array_pycapsules;

use crate::{errors, html};
use batch::Batch;
use description::{Description, field_of_schema};
use export::Rows;
use import::{Failure, contained};
pub(crate) use kind::{Kind, kind, known_kind};
pub(crate) use select::Selected;

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
    description: Arc<Description>,
    batches: Vec<Batch>,
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
pub(crate) struct Schema(Arc<Description>);

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.0.schema == other.0.schema
    }
}

impl Table {
    fn new(description: Arc<Description>, batches: Vec<Batch>) -> Self {
        let num_rows = batches.iter().map(Batch::num_rows).sum();
        Self { description, batches, num_rows, num_bytes: OnceLock::new() }
    }

    /// A table of arrays that are there already.
    fn of(schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Self, ArrowError> {
        let description = Arc::new(Description::of(schema)?);
        Ok(Self::new(description, batches.into_iter().map(Batch::of).collect()))
    }

    /// Imports whatever exports Arrow through the PyCapsule interface, without copying. What can be read only once is
    /// read to its end.
    pub(crate) fn import(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        import::import(object)
    }

    /// The bytes that its rows take in their buffers; none where they cannot be read.
    pub(crate) fn nbytes(&self) -> usize {
        let bytes = |batches: Vec<&RecordBatch>| batches.into_iter().flat_map(RecordBatch::columns).map(bytes_of).sum();
        *self.num_bytes.get_or_init(|| self.rows().map_or(0, bytes))
    }

    /// How many rows it has.
    pub(crate) fn num_rows(&self) -> usize {
        self.num_rows
    }

    fn schema(&self) -> &SchemaRef {
        &self.description.schema
    }

    /// Its batches, read.
    fn rows(&self) -> Result<Vec<&RecordBatch>, ArrowError> {
        self.batches.iter().map(|batch| batch.rows(&self.description)).collect()
    }

    /// Its batches, converted if a consumer asked for other types.
    fn requested<'py>(slf: &Bound<'py, Self>, requested: Option<&Bound<'py, PyAny>>) -> PyResult<Option<Self>> {
        let Some(requested) = requested.filter(|capsule| !capsule.is_none()) else { return Ok(None) };
        let (table, raise) = (slf.get(), |failure: Failure| failure.raise(slf));
        let wanted = export::requested_field(&field_of_schema(table.schema()), requested).map_err(raise)?;
        let Some(wanted) = wanted else { return Ok(None) };
        let convert = || {
            let (batches, schema) = export::convert_batches(&table.rows()?, table.schema(), &wanted)?;
            Self::of(schema, batches)
        };
        slf.py().detach(convert).map(Some).map_err(|error| raise(error.into()))
    }

    fn index_of(&self, py: Python<'_>, name: &str) -> PyResult<usize> {
        let mut found = self.schema().fields().iter().enumerate().filter(|(_, field)| field.name() == name);
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
            return Ok(Self::new(table.get().description.clone(), table.get().batches.clone()));
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
        self.schema().fields().len()
    }

    /// The names of the columns, in their order.
    #[getter]
    fn column_names(&self) -> Vec<String> {
        self.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The bytes that the rows take in their buffers.
    #[getter(nbytes)]
    fn py_nbytes(&self) -> usize {
        self.nbytes()
    }

    /// The names and types of the columns.
    #[getter(schema)]
    fn py_schema(&self) -> Schema {
        Schema(self.description.clone())
    }

    /// One column, by its name.
    #[pyo3(signature = (name, /))]
    fn column(slf: &Bound<'_, Self>, name: &str) -> PyResult<Column> {
        let table = slf.get();
        let index = table.index_of(slf.py(), name)?;
        let batches = table.rows().map_err(|error| Failure::from(error).raise(slf))?;
        let chunks = batches.into_iter().map(|batch| batch.column(index).clone()).collect();
        Ok(Column { field: table.schema().fields()[index].clone(), chunks, num_rows: table.num_rows })
    }

    /// The same buffers as a `pyarrow.Table`.
    fn to_pyarrow<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("pyarrow")?.call_method1("table", (slf,))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export::schema_capsule(py, &self.description.structure)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        slf: &Bound<'py, Self>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let converted = Self::requested(slf, requested_schema)?;
        let table = converted.as_ref().unwrap_or(slf.get());
        let arrays = table.batches.iter().map(|batch| batch.structure().clone()).collect::<Vec<_>>();
        let rows = Rows { schema: table.description.structure.clone(), arrays: arrays.into_iter() };
        export::stream_capsule(slf.py(), rows)
    }

    /// A table of one batch is an array as well. One of several is not, for they would have to be copied, and consumers
    /// that look for this first are to find the stream.
    #[getter]
    fn __arrow_c_array__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        match slf.get().batches.len() {
            1 => slf.getattr(intern!(py, "_as_array")),
            count => Err(PyAttributeError::new_err(format!("a table of {count} batches is no array; use its stream"))),
        }
    }

    #[pyo3(signature = (requested_schema=None))]
    fn _as_array<'py>(
        slf: &Bound<'py, Self>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let converted = Self::requested(slf, requested_schema)?;
        let table = converted.as_ref().unwrap_or(slf.get());
        let [batch] = &*table.batches else { return Err(PyAttributeError::new_err("a table of one batch only")) };
        export::array_capsules(slf.py(), &table.description.structure, batch.structure())
    }

    fn __len__(&self) -> usize {
        self.num_rows
    }

    fn __eq__(slf: &Bound<'_, Self>, other: &Self) -> PyResult<bool> {
        let table = slf.get();
        let equal = || -> Result<bool, ArrowError> {
            let alike = table.schema() == other.schema() && table.num_rows == other.num_rows;
            Ok(alike && same_rows(table.rows()?, other.rows()?))
        };
        slf.py().detach(equal).map_err(|error| Failure::from(error).raise(slf))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        (slf.get_type(), (Self::to_pyarrow(slf)?,)).into_pyobject(py)
    }

    fn __repr__(&self) -> String {
        let (rows, columns) = (self.num_rows, self.schema().fields().len());
        let separator = if columns == 0 { "" } else { ": " };
        let names = described(self.schema());
        format!("<Table {} x {}{separator}{names}>", counted(rows, "row"), counted(columns, "column"))
    }

    fn _repr_html_(&self) -> String {
        let schema = self.schema();
        let row = |field: &FieldRef| vec![field.name().clone(), field.data_type().to_string()];
        let rows: Vec<_> = schema.fields().iter().take(html::ROWS_MAX).map(row).collect();
        html::table(&counted(self.num_rows, "row"), &["column", "type"], &rows, schema.fields().len())
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
        export::field_capsule(py, &self.field)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        slf: &Bound<'py, Self>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let (chunks, field) = slf.get().requested(slf, requested_schema)?;
        export::chunks_capsule(slf.py(), chunks, field)
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
        let requested = requested.filter(|capsule| !capsule.is_none());
        let wanted = requested.map_or(Ok(None), |requested| export::requested_field(&self.field, requested));
        let Some(wanted) = wanted.map_err(raise)? else {
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
        self.0.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export::schema_capsule(py, &self.0.structure)
    }

    fn __len__(&self) -> usize {
        self.0.schema.fields().len()
    }

    fn __repr__(&self) -> String {
        format!("<Schema {}>", described(&self.0.schema))
    }
}

/// One array of all chunks; this copies.
fn join(chunks: &[ArrayRef], data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let arrays = chunks.iter().map(|chunk| &**chunk).collect::<Vec<_>>();
    contained(|| if arrays.is_empty() { Ok(arrow_array::new_empty_array(data_type)) } else { concat(&arrays) })
}

/// Whether tables of equal schema and length have equal rows, however each is cut into batches.
fn same_rows(left: Vec<&RecordBatch>, right: Vec<&RecordBatch>) -> bool {
    let (mut ours, mut theirs) = (left.into_iter(), right.into_iter());
    let (mut our_rest, mut their_rest): (Option<RecordBatch>, Option<RecordBatch>) = (None, None);
    loop {
        let filled = |rest: Option<RecordBatch>, batches: &mut std::vec::IntoIter<&RecordBatch>| {
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
