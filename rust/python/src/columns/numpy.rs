//! NumPy arrays as columns, over the memory they have.
//!
//! NumPy is found through the interpreter when somebody passes an array, never before. What an array says of itself is
//! read through the descriptor of `numpy.ndarray`, which a subclass cannot replace, for a wrong address would be fatal.

use std::mem::ManuallyDrop;
use std::panic::RefUnwindSafe;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

use super::Table;
use super::import::name_of_type;
use crate::errors;

const USABLE: &str = "integers, float16 to float64, bool, datetime64 and timedelta64 of s, ms, us or ns";

/// Keeps an array alive while buffers show its memory.
struct Owner(ManuallyDrop<Py<PyAny>>);

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: nothing uses the field after this, the only place that takes it.
        let array = unsafe { ManuallyDrop::take(&mut self.0) };
        // The last holder may be a consumer that calls from outside PyO3, for which PyO3 would put the release off until
        // somebody enters it again. Once the interpreter has ended there is nothing left to release.
        Python::try_attach(|_| drop(array));
    }
}

// Nobody looks at the array through its owner, so a panic leaves nothing half done to be seen.
impl RefUnwindSafe for Owner {}

/// Makes a table of one batch, a column per entry.
pub(super) fn from_numpy(columns: &Bound<'_, PyAny>) -> PyResult<Table> {
    let py = columns.py();
    let Ok(mapping) = columns.cast::<PyMapping>() else {
        let kind = name_of_type(columns);
        let message = format!("columns is a {kind}; it must map names to arrays: {{\"name\": array}}");
        return Err(argument(columns, &message));
    };
    let numpy = Numpy::find(py)?;
    let (mut fields, mut arrays, mut rows) = (Vec::new(), Vec::new(), None);
    for pair in mapping.items()?.try_iter()? {
        let (name, array) = pair?.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        let Ok(name) = name.extract::<String>() else {
            return Err(argument(&name, &format!("{} is no column name; names are text", name.repr()?)));
        };
        let column = numpy.column(&name, &array)?;
        let (first, length) = rows.get_or_insert_with(|| (name.clone(), column.len()));
        if column.len() != *length {
            let message = format!("column {first:?} has {length} rows, but {name:?} has {}", column.len());
            return Err(argument(&array, &message));
        }
        // Nullable whether or not one is, so that the schema follows from the types alone and not from the values.
        fields.push(Field::new(name, column.data_type().clone(), true));
        arrays.push(column);
    }
    let schema = Arc::new(Schema::new(fields));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.map_or(0, |(_, length)| length)));
    let batch = RecordBatch::try_new_with_options(schema.clone(), arrays, &options);
    batch.and_then(|batch| Table::of(schema, vec![batch])).map_err(|error| argument(columns, &error.to_string()))
}

fn argument(value: &Bound<'_, PyAny>, message: &str) -> PyErr {
    errors::exception(value.py(), "ArgumentError", message, |attributes| {
        attributes.set_item("argument", "columns")?;
        attributes.set_item("value", value)
    })
}

struct Numpy<'py> {
    module: Bound<'py, PyModule>,
    array_type: Bound<'py, PyAny>,
    masked_type: Bound<'py, PyAny>,
    interface: Bound<'py, PyAny>,
}

/// What an array says about its memory, all of it checked.
struct Memory {
    data_type: DataType,
    address: usize,
    length: usize,
    width: usize,
}

/// What `__array_interface__` says of an array: its type, address, shape and whether it has gaps.
struct Interface {
    typestr: String,
    address: usize,
    shape: Vec<usize>,
    strided: bool,
}

impl<'py> Numpy<'py> {
    fn find(py: Python<'py>) -> PyResult<Self> {
        let module = PyModule::import(py, "numpy")?;
        let array_type = module.getattr("ndarray")?;
        let masked_type = module.getattr("ma")?.getattr("MaskedArray")?;
        let interface = array_type.getattr("__array_interface__")?;
        Ok(Self { module, array_type, masked_type, interface })
    }

    fn column(&self, name: &str, array: &Bound<'py, PyAny>) -> PyResult<ArrayRef> {
        let refuse = |reason: &str| argument(array, &format!("column {name:?} {reason}"));
        if !array.is_instance(&self.array_type)? {
            let kind = name_of_type(array);
            return Err(refuse(&format!("is a {kind}, not a NumPy array; make it one: numpy.asarray(...)")));
        }
        if array.is_instance(&self.masked_type)? {
            return Err(refuse(
                "is a masked array, whose mask would be lost; use pyarrow.array(array, mask=array.mask)",
            ));
        }
        let described = self.describe(array)?;
        if described.shape.len() != 1 {
            let dimensions = described.shape.len();
            return Err(refuse(&format!("has {dimensions} dimensions; a column has one: pass each array[:, i]")));
        }
        let Some((data_type, width)) = arrow_type(&described.typestr) else {
            let dtype = array.getattr("dtype")?;
            return Err(refuse(&format!(
                "is of dtype {dtype}; usable are {USABLE}; for others use pyarrow.array(array)"
            )));
        };
        let memory = Memory { data_type, address: described.address, length: described.shape[0], width };
        if described.strided || !is_native(&described.typestr) || !memory.address.is_multiple_of(width) {
            // Gaps, the other byte order, or an odd address: Arrow has none of these, so this one is copied.
            let copy = self.copy(array)?;
            let address = self.describe(&copy)?.address;
            return Memory { address, ..memory }.column(copy.unbind()).map_err(|error| refuse(&error.to_string()));
        }
        memory.column(array.clone().unbind()).map_err(|error| refuse(&error.to_string()))
    }

    fn copy(&self, array: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = array.py();
        let options = PyDict::new(py);
        options.set_item("dtype", array.getattr("dtype")?.call_method1("newbyteorder", ("=",))?)?;
        options.set_item("order", "C")?;
        options.set_item("copy", true)?;
        self.module.call_method("array", (array,), Some(&options))
    }

    fn describe(&self, array: &Bound<'py, PyAny>) -> PyResult<Interface> {
        let py = array.py();
        let interface = self.interface.call_method1(intern!(py, "__get__"), (array,))?;
        let item = |name| interface.get_item(name);
        Ok(Interface {
            typestr: item("typestr")?.extract()?,
            address: item("data")?.get_item(0)?.extract()?,
            shape: item("shape")?.extract()?,
            strided: !item("strides")?.is_none(),
        })
    }
}

/// The type of a column and its width in bytes, for the kinds of NumPy that have one.
fn arrow_type(typestr: &str) -> Option<(DataType, usize)> {
    let data_type = match typestr.get(1..)? {
        "b1" => DataType::Boolean,
        "i1" => DataType::Int8,
        "i2" => DataType::Int16,
        "i4" => DataType::Int32,
        "i8" => DataType::Int64,
        "u1" => DataType::UInt8,
        "u2" => DataType::UInt16,
        "u4" => DataType::UInt32,
        "u8" => DataType::UInt64,
        "f2" => DataType::Float16,
        "f4" => DataType::Float32,
        "f8" => DataType::Float64,
        "M8[s]" => DataType::Timestamp(TimeUnit::Second, None),
        "M8[ms]" => DataType::Timestamp(TimeUnit::Millisecond, None),
        "M8[us]" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "M8[ns]" => DataType::Timestamp(TimeUnit::Nanosecond, None),
        "m8[s]" => DataType::Duration(TimeUnit::Second),
        "m8[ms]" => DataType::Duration(TimeUnit::Millisecond),
        "m8[us]" => DataType::Duration(TimeUnit::Microsecond),
        "m8[ns]" => DataType::Duration(TimeUnit::Nanosecond),
        _ => return None,
    };
    let width = data_type.primitive_width().unwrap_or(1);
    Some((data_type, width))
}

fn is_native(typestr: &str) -> bool {
    typestr.starts_with(if cfg!(target_endian = "little") { ['<', '|'] } else { ['>', '|'] })
}

impl Memory {
    fn column(self, array: Py<PyAny>) -> Result<ArrayRef, ArrowError> {
        let bytes = self.buffer(array)?;
        let (values, nulls) = match &self.data_type {
            // NumPy has a byte for each, Arrow a bit.
            DataType::Boolean => {
                let bits = BooleanBuffer::collect_bool(self.length, |row| bytes.as_slice()[row] != 0);
                (bits.into_inner(), None)
            }
            DataType::Timestamp(..) | DataType::Duration(_) => {
                let nulls = not_a_time(&bytes);
                (bytes, nulls)
            }
            _ => (bytes, None),
        };
        let data = ArrayData::builder(self.data_type).len(self.length).add_buffer(values).nulls(nulls);
        Ok(make_array(data.build()?))
    }

    fn buffer(&self, array: Py<PyAny>) -> Result<Buffer, ArrowError> {
        let too_long = || ArrowError::MemoryError("is longer than memory".to_owned());
        let length = self.length.checked_mul(self.width).ok_or_else(too_long)?;
        let Some(start) = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(self.address)) else {
            return Ok(Buffer::default());
        };
        if length == 0 {
            return Ok(Buffer::default());
        }
        // SAFETY: NumPy said that the array has `length` bytes without gaps from `start`, and while a reference to it is
        // held NumPy does not move them (`resize` refuses). That they stay as they are is the caller's promise.
        Ok(unsafe { Buffer::from_custom_allocation(start, length, Arc::new(Owner(ManuallyDrop::new(array)))) })
    }
}

/// NaT, the smallest of all, is null in Arrow. The values stay where they are.
fn not_a_time(values: &Buffer) -> Option<NullBuffer> {
    let times = values.typed_data::<i64>();
    let absent = times.contains(&i64::MIN);
    absent.then(|| NullBuffer::new(BooleanBuffer::collect_bool(times.len(), |row| times[row] != i64::MIN)))
}
