//! One batch of a table: the structures of its producer, and arrays over the same buffers once somebody looks at them.

use std::sync::{Arc, OnceLock};

use arrow_array::ffi::{FFI_ArrowArray, from_ffi_and_data_type};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StructArray, make_array};
use arrow_data::{ArrayData, ArrayDataBuilder};
use arrow_schema::{ArrowError, DataType};

use super::description::{BARE_COLUMN, Description};
use super::import::contained;
use super::layout::Fit;
use super::shared::Shared;

/// Rows, carried unread from the producer to its consumers.
#[derive(Clone)]
pub(super) struct Batch {
    /// A struct of the columns that starts at its first row and of which no row is null as a whole.
    structure: Arc<Shared<FFI_ArrowArray>>,
    read: OnceLock<Result<RecordBatch, String>>,
}

impl Batch {
    /// Takes over an array of the type that `description` says; refuses one that does not fit it.
    pub(super) fn import(array: FFI_ArrowArray, description: &Description) -> Result<Self, ArrowError> {
        if array.is_released() {
            return Err(invalid("its array was read already"));
        }
        if isize::try_from(array.len()).is_err() || isize::try_from(array.offset()).is_err() {
            return Err(invalid("its array has a negative length"));
        }
        if let Some(layout) = &description.layout {
            // SAFETY: the array is not released, and the interface holds its producer to what it says of its pointers.
            if let Fit::Exact = unsafe { layout.check_table(&array)? } {
                // SAFETY: the layout has as many children as there are, and none is missing.
                let structure = Arc::new(unsafe { Shared::new(array) });
                return Ok(Self { structure, read: OnceLock::new() });
            }
        }
        Ok(Self::of(record_batch(read(array, description.source.data_type())?, description)?))
    }

    /// A batch of arrays that are there already.
    pub(super) fn of(batch: RecordBatch) -> Self {
        let array = FFI_ArrowArray::new(&StructArray::from(batch.clone()).into_data());
        // SAFETY: the Arrow crates made it a moment ago.
        let structure = Arc::new(unsafe { Shared::new(array) });
        Self { structure, read: OnceLock::from(Ok(batch)) }
    }

    pub(super) fn num_rows(&self) -> usize {
        self.structure.root().len()
    }

    /// The structures, which are what a consumer gets.
    pub(super) fn structure(&self) -> &Arc<Shared<FFI_ArrowArray>> {
        &self.structure
    }

    /// The rows, of the type that `description` says.
    pub(super) fn rows(&self, description: &Description) -> Result<&RecordBatch, ArrowError> {
        let rows = self.read.get_or_init(|| {
            // A share, for this batch keeps the original, and would keep itself if what it read kept the batch.
            let array = read(self.structure.export(), description.source.data_type());
            array.and_then(|array| record_batch(array, description)).map_err(|error| error.to_string())
        });
        rows.as_ref().map_err(|reason| ArrowError::CDataInterface(reason.clone()))
    }
}

fn read(array: FFI_ArrowArray, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    // SAFETY: the array is not released and came with this type, to whose layout the interface holds its producer.
    contained(|| unsafe { from_ffi_and_data_type(array, data_type.clone()) }.map(|data| make_array(level(data))))
}

/// The same rows, with every struct and every list of fixed size beginning at its first row. Where these begin later, the
/// Arrow crates cut a struct below them twice.
fn level(data: ArrayData) -> ArrayData {
    if data.child_data().is_empty() {
        return data;
    }
    let mut children = data.child_data().iter().cloned().map(level).collect::<Vec<_>>();
    let values_in_row = match data.data_type() {
        DataType::Struct(_) => Some(1),
        DataType::FixedSizeList(_, size) => usize::try_from(*size).ok(),
        _ => None,
    };
    let builder = if let Some(values) = values_in_row {
        let (start, count) = (data.offset() * values, data.len() * values);
        for child in &mut children {
            if start != 0 || child.len() != count {
                *child = make_array(child.clone()).slice(start, count).to_data();
            }
        }
        ArrayDataBuilder::new(data.data_type().clone()).len(data.len()).nulls(data.nulls().cloned())
    } else {
        data.into_builder()
    };
    // SAFETY: these are the rows of valid data.
    unsafe { builder.child_data(children).build_unchecked() }
}

fn record_batch(array: ArrayRef, description: &Description) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(array.len()));
    let columns = if description.is_bare() {
        vec![array]
    } else {
        let structure = array.as_any().downcast_ref::<StructArray>();
        let structure = structure.ok_or_else(|| invalid("a struct turned out to be none"))?;
        if structure.null_count() > 0 {
            return Err(invalid(&format!(
                "{} of its {} rows are null as a whole, which a table cannot say; \
                 make the struct a column: pyarrow.table({{\"{BARE_COLUMN}\": array}})",
                structure.null_count(),
                structure.len()
            )));
        }
        structure.columns().to_vec()
    };
    RecordBatch::try_new_with_options(description.schema.clone(), columns, &options)
}

fn invalid(reason: &str) -> ArrowError {
    ArrowError::CDataInterface(reason.to_owned())
}
