//! The rows of a table at which a condition holds.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray};
use arrow_buffer::{BooleanBuffer, Buffer};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType};
use arrow_select::filter::filter_record_batch;
use chronofabric_logic::{Column as Values, Condition};
use pyo3::prelude::*;

use super::Table;
use super::batch::Batch;
use super::import::contained;

/// What is left of a table.
pub(crate) enum Selected {
    All,
    Some(Table),
    None,
}

/// Why a table cannot be judged.
pub(crate) enum Refusal {
    /// There is no such column, or there are several.
    Column(String),
    /// A column has no numbers.
    Kind(String, DataType),
    Broken(ArrowError),
}

impl Refusal {
    pub(crate) fn describe(&self, py: Python<'_>, table: &Table) -> String {
        match self {
            Self::Column(name) => match table.index_of(py, name) {
                Err(error) => error.value(py).str().map_or_else(|_| error.to_string(), |text| text.to_string()),
                Ok(_) => format!("there is no column {name:?}"),
            },
            Self::Kind(name, data_type) => format!("column {name:?} is of type {data_type}, which has no numbers"),
            Self::Broken(error) => error.to_string(),
        }
    }
}

impl From<ArrowError> for Refusal {
    fn from(error: ArrowError) -> Self {
        Self::Broken(error)
    }
}

impl Table {
    /// The rows at which a condition holds, whose signals are columns. It does not hold where one of them is null or NaN.
    pub(crate) fn select(&self, condition: &Condition, signals: &[String]) -> Result<Selected, Refusal> {
        let places = signals.iter().map(|name| self.place_of(name)).collect::<Result<Vec<_>, _>>()?;
        let mut kept = Vec::with_capacity(self.batches.len());
        for batch in &self.batches {
            let rows = batch.rows(&self.description)?;
            let columns = places.iter().map(|place| numbers(rows.column(*place))).collect::<Result<Vec<_>, _>>()?;
            let columns: Vec<&dyn Values> = columns.iter().map(|column| &**column).collect();
            let found = condition.rows(&columns, rows.num_rows());
            if found.matching() == rows.num_rows() {
                kept.push(batch.clone());
            } else if found.matching() > 0 {
                let bits = BooleanBuffer::new(Buffer::from_vec(found.into_words()), 0, rows.num_rows());
                let bits = BooleanArray::new(bits, None);
                kept.push(Batch::of(contained(|| filter_record_batch(rows, &bits))?));
            }
        }
        let left: usize = kept.iter().map(Batch::num_rows).sum();
        Ok(match left {
            0 => Selected::None,
            left if left == self.num_rows => Selected::All,
            _ => Selected::Some(Self::new(Arc::clone(&self.description), kept)),
        })
    }

    fn place_of(&self, name: &str) -> Result<usize, Refusal> {
        let fields = self.schema().fields();
        let mut found = fields.iter().enumerate().filter(|(_, field)| field.name() == name);
        let (Some((place, field)), None) = (found.next(), found.next()) else {
            return Err(Refusal::Column(name.to_owned()));
        };
        let mut data_type = field.data_type();
        if let DataType::Dictionary(_, values) = data_type {
            data_type = values;
        }
        if !data_type.is_numeric() && *data_type != DataType::Boolean {
            return Err(Refusal::Kind(name.to_owned(), data_type.clone()));
        }
        Ok(place)
    }
}

/// A column as numbers: as it lies there, where it does.
fn numbers(array: &ArrayRef) -> Result<Box<dyn Values>, ArrowError> {
    macro_rules! of_types {
        ($($data_type:ident: $type:ident),*) => {
            match array.data_type() {
                $(DataType::$data_type => Numbers::<$type>::of(array),)*
                _ => Numbers::<Float64Type>::of(&contained(|| cast(array, &DataType::Float64))?),
            }
        };
    }
    let numbers = of_types!(
        Float64: Float64Type, Float32: Float32Type, Int64: Int64Type, Int32: Int32Type, Int16: Int16Type, Int8: Int8Type,
        UInt64: UInt64Type, UInt32: UInt32Type, UInt16: UInt16Type, UInt8: UInt8Type
    );
    numbers.ok_or_else(|| ArrowError::CastError(format!("{} turned out to be no number", array.data_type())))
}

struct Numbers<T: ArrowPrimitiveType>(PrimitiveArray<T>);

impl<T: ArrowPrimitiveType> Numbers<T>
where
    T::Native: Number,
{
    fn of(array: &ArrayRef) -> Option<Box<dyn Values>> {
        let array = array.as_any().downcast_ref::<PrimitiveArray<T>>()?;
        Some(Box::new(Self(array.clone())))
    }
}

impl<T: ArrowPrimitiveType> Values for Numbers<T>
where
    T::Native: Number,
{
    fn read<'a>(&'a self, first: usize, room: &'a mut [f64]) -> &'a [f64] {
        let values = &self.0.values()[first..first + room.len()];
        let nulls = self.0.nulls().filter(|nulls| nulls.null_count() > 0);
        if nulls.is_none()
            && let Some(there) = T::Native::as_they_are(values)
        {
            return there;
        }
        for (place, value) in room.iter_mut().zip(values) {
            *place = value.number();
        }
        if let Some(nulls) = nulls {
            let valid = nulls.inner().slice(first, room.len());
            for (place, valid) in room.iter_mut().zip(&valid) {
                *place = if valid { *place } else { f64::NAN };
            }
        }
        room
    }
}

/// What becomes a float as guards read it.
trait Number: Copy {
    fn number(self) -> f64;

    fn as_they_are(_values: &[Self]) -> Option<&[f64]> {
        None
    }
}

impl Number for f64 {
    fn number(self) -> f64 {
        self
    }

    fn as_they_are(values: &[Self]) -> Option<&[f64]> {
        Some(values)
    }
}

macro_rules! number {
    ($($type:ty),*) => {
        $(impl Number for $type {
            #[allow(clippy::cast_lossless)]
            fn number(self) -> f64 {
                self as f64
            }
        })*
    };
}

number!(f32, i64, i32, i16, i8, u64, u32, u16, u8);
