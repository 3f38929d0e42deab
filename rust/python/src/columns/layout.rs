//! Whether the structures of an array fit its type, before anything that they point to is read.
//!
//! What the interface cannot show (how long a buffer is, what is in it) a producer is trusted with, as everywhere in
//! Arrow. What it can show is held against the type: how many buffers, children and dictionaries there are, that none is
//! missing where rows need it, and that children are as long as their parents refer to.

use std::ptr;

use arrow_array::ffi::FFI_ArrowArray;
use arrow_data::{BufferSpec, layout};
use arrow_schema::{ArrowError, DataType, Field};

/// More rows than any memory holds, and few enough that counting their bytes does not overflow.
const ROWS_MAX: usize = 1 << 48;

/// What the structures of a type look like.
pub(super) struct Layout {
    buffers: usize,
    form: Form,
    nullable: bool,
    children: Vec<Layout>,
    dictionary: Option<Box<Layout>>,
}

/// What the buffers after the validity bitmap say, of one row each.
enum Form {
    /// Nothing.
    Nothing,
    /// A bit.
    Bits,
    /// Bytes, this many.
    Fixed(usize),
    /// Where its bytes end in the next buffer.
    Bytes(Offset),
    /// Where its values end in the child.
    List(Offset),
    /// Its values in the child, this many.
    FixedSizeList(usize),
    /// Its bytes or where they are in further buffers.
    View,
}

#[derive(Clone, Copy)]
enum Offset {
    Int32,
    Int64,
}

/// How structures fit.
pub(super) enum Fit {
    /// They can be handed on as they are.
    Exact,
    /// They say something that not every consumer understands, so they are to be read and written anew.
    Loose,
}

impl Layout {
    /// The layout of a type; none for those that are always read.
    pub(super) fn of(data_type: &DataType, nullable: bool) -> Option<Self> {
        let of = |field: &Field| Self::of(field.data_type(), field.is_nullable());
        let (mut children, mut dictionary) = (Vec::new(), None);
        let form = match data_type {
            DataType::Null => Form::Nothing,
            DataType::Boolean => Form::Bits,
            DataType::Utf8 | DataType::Binary => Form::Bytes(Offset::Int32),
            DataType::LargeUtf8 | DataType::LargeBinary => Form::Bytes(Offset::Int64),
            DataType::Utf8View | DataType::BinaryView => Form::View,
            DataType::FixedSizeBinary(size) => Form::Fixed(usize::try_from(*size).ok()?),
            DataType::List(field) | DataType::Map(field, _) => {
                children.push(of(field)?);
                Form::List(Offset::Int32)
            }
            DataType::LargeList(field) => {
                children.push(of(field)?);
                Form::List(Offset::Int64)
            }
            DataType::FixedSizeList(field, size) => {
                children.push(of(field)?);
                Form::FixedSizeList(usize::try_from(*size).ok()?)
            }
            DataType::Struct(fields) => {
                children = fields.iter().map(|field| of(field)).collect::<Option<_>>()?;
                Form::Nothing
            }
            DataType::Dictionary(key, values) => {
                dictionary = Some(Box::new(Self::of(values, true)?));
                Form::Fixed(key.primitive_width()?)
            }
            DataType::Union(..) | DataType::RunEndEncoded(..) | DataType::ListView(_) | DataType::LargeListView(_) => {
                return None;
            }
            other => Form::Fixed(other.primitive_width()?),
        };
        let expected = layout(data_type);
        let buffers = expected.buffers.iter().filter(|buffer| !matches!(buffer, BufferSpec::AlwaysNull)).count();
        let buffers = buffers + usize::from(expected.can_contain_null_mask) + usize::from(expected.variadic);
        Some(Self { buffers, form, nullable, children, dictionary })
    }

    /// Holds the struct of a table against its type.
    ///
    /// # Safety
    /// The array is not released; its pointers are null or point to as many elements as it says.
    pub(super) unsafe fn check_table(&self, array: &FFI_ArrowArray) -> Result<Fit, ArrowError> {
        // SAFETY: the caller's promise.
        if let Fit::Loose = unsafe { self.check(array)? } {
            return Ok(Fit::Loose);
        }
        let nulls = array.null_count != 0 && !array.buffer(0).is_null();
        // Not every consumer takes a table that starts in the middle of its columns, or whose rows have a bitmap.
        let same_rows = |index| array.child(index).length == array.length;
        if nulls || array.offset != 0 || !(0..self.children.len()).all(same_rows) {
            return Ok(Fit::Loose);
        }
        let breaks_promise =
            |(index, child): (usize, &Self)| !child.nullable && child.may_have_nulls(array.child(index));
        Ok(if self.children.iter().enumerate().any(breaks_promise) { Fit::Loose } else { Fit::Exact })
    }

    fn may_have_nulls(&self, array: &FFI_ArrowArray) -> bool {
        match self.buffers {
            0 => array.length > 0,
            _ => array.null_count != 0 && !array.buffer(0).is_null(),
        }
    }

    /// # Safety
    /// As for [`Layout::check_table`].
    unsafe fn check(&self, array: &FFI_ArrowArray) -> Result<Fit, ArrowError> {
        let count = |number: i64| usize::try_from(number).map_err(|_| damaged("a negative length"));
        let (length, offset) = (count(array.length)?, count(array.offset)?);
        let end = length.saturating_add(offset);
        if end > ROWS_MAX || array.null_count > array.length {
            return Err(damaged("an impossible length"));
        }
        let buffers = count(array.n_buffers)?;
        if buffers > 0 && array.buffers.is_null() {
            return Err(damaged("no buffers"));
        }
        // SAFETY: the caller's promise.
        unsafe { self.check_links(array)? };
        let has_views = matches!(self.form, Form::View);
        if (buffers > self.buffers && !has_views) || (0 < buffers && buffers < self.buffers) {
            return Err(damaged(&format!("{buffers} buffers where its type has {}", self.buffers)));
        }
        // Some producers leave out the buffers of what has no values of its own.
        let mut fit = if buffers < self.buffers { Fit::Loose } else { Fit::Exact };
        if buffers > 0 && array.buffer(0).is_null() && array.null_count > 0 {
            fit = Fit::Loose;
        }
        if length > 0 && buffers >= self.buffers {
            // SAFETY: there are as many buffers as the type has.
            unsafe { self.check_buffers(array, end)? };
        }
        let dictionary = self.dictionary.iter().map(|layout| (&**layout, array.dictionary.cast_const()));
        let children =
            self.children.iter().enumerate().map(|(index, layout)| (layout, ptr::from_ref(array.child(index))));
        for (layout, below) in children.chain(dictionary) {
            // SAFETY: the links were checked, and the caller's promise covers all below.
            if let Fit::Loose = unsafe { layout.check(&*below)? } {
                fit = Fit::Loose;
            }
        }
        Ok(fit)
    }

    /// # Safety
    /// As for [`Layout::check_table`].
    unsafe fn check_links(&self, array: &FFI_ArrowArray) -> Result<(), ArrowError> {
        let expected = self.children.len();
        if usize::try_from(array.n_children).ok() != Some(expected) {
            return Err(damaged(&format!("{} children where its type has {expected}", array.n_children)));
        }
        // SAFETY: the caller's promise.
        let is_null = |index| unsafe { (*array.children.add(index)).is_null() };
        if expected > 0 && (array.children.is_null() || (0..expected).any(is_null)) {
            return Err(damaged("no children"));
        }
        if array.dictionary.is_null() == self.dictionary.is_some() {
            return Err(damaged("a dictionary where its type has none, or none where it has one"));
        }
        Ok(())
    }

    /// # Safety
    /// The array has rows and as many buffers as the type.
    unsafe fn check_buffers(&self, array: &FFI_ArrowArray, end: usize) -> Result<(), ArrowError> {
        let present = |index: usize| match array.buffer(index) {
            buffer if buffer.is_null() => Err(damaged("rows and no buffer for them")),
            buffer => Ok(buffer),
        };
        let child_has = |rows: usize| match array.child(0).length {
            length if usize::try_from(length).is_ok_and(|length| length >= rows) => Ok(()),
            _ => Err(damaged("rows that point behind the end of its child")),
        };
        match self.form {
            Form::Nothing => {
                let too_short = |index| array.child(index).length < array.length.saturating_add(array.offset);
                if (0..self.children.len()).any(too_short) {
                    return Err(damaged("children of fewer rows than itself"));
                }
            }
            Form::Fixed(0) => {}
            Form::Bits | Form::Fixed(_) => drop(present(1)?),
            Form::Bytes(offset) => {
                // SAFETY: offsets are one more than rows.
                let last = unsafe { offset.last(present(1)?, array, end)? };
                if last > 0 {
                    present(2)?;
                }
            }
            // SAFETY: as above.
            Form::List(offset) => child_has(unsafe { offset.last(present(1)?, array, end)? })?,
            Form::FixedSizeList(size) => child_has(end.saturating_mul(size))?,
            Form::View => {
                present(1)?;
                let further = array.num_buffers() - self.buffers;
                if further > 0 {
                    let lengths = present(array.num_buffers() - 1)?.cast::<i64>();
                    for index in 0..further {
                        // SAFETY: the last buffer has the length of each of the others.
                        match unsafe { lengths.add(index).read_unaligned() } {
                            0 => {}
                            length if length > 0 => drop(present(2 + index)?),
                            _ => return Err(damaged("a negative length")),
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl Offset {
    /// The offset behind the last row.
    ///
    /// # Safety
    /// There are offsets up to `end`.
    unsafe fn last(self, offsets: *const u8, array: &FFI_ArrowArray, end: usize) -> Result<usize, ArrowError> {
        let at = |index: usize| match self {
            // SAFETY: the caller's promise.
            Self::Int32 => i64::from(unsafe { offsets.cast::<i32>().add(index).read_unaligned() }),
            // SAFETY: the caller's promise.
            Self::Int64 => unsafe { offsets.cast::<i64>().add(index).read_unaligned() },
        };
        let (first, last) = (at(array.offset()), at(end));
        if first < 0 || last < first {
            return Err(damaged("offsets that are negative or fall"));
        }
        usize::try_from(last).map_err(|_| damaged("an impossible length"))
    }
}

fn damaged(problem: &str) -> ArrowError {
    ArrowError::CDataInterface(format!("its array has {problem}"))
}
