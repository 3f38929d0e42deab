//! Schemas of tables, read once and then known again.
//!
//! A producer describes the types of what it exports anew each time. To read a description costs more than to carry the
//! table, so each thread remembers the last few: one that says the same, byte for byte, is not read again. A description
//! is told by its key, which is also where it is checked for what would make reading it go beyond the structure.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{CStr, c_char};
use std::sync::Arc;

use arrow_array::ffi::FFI_ArrowSchema;
use arrow_array::new_empty_array;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::import::contained;
use super::layout::Layout;
use super::shared::Shared;

/// The name of the column that a bare array becomes.
pub(super) const BARE_COLUMN: &str = "value";
/// How deeply types may nest, as in Arrow C++.
const NESTING_MAX: usize = 64;
/// How many descriptions a thread remembers, and of how many bytes each at most.
const REMEMBERED: usize = 16;
const KEY_BYTES_MAX: usize = 1 << 16;

thread_local! {
    static MEMORY: RefCell<Memory> = const { RefCell::new(Memory { key: Vec::new(), known: VecDeque::new() }) };
}

/// What is known of the tables of one schema.
pub(super) struct Description {
    pub(super) schema: SchemaRef,
    /// The schema for consumers.
    pub(super) structure: Arc<Shared<FFI_ArrowSchema>>,
    /// The type of the arrays as the producer exports them.
    pub(super) source: Field,
    /// What the arrays look like that need not be read to be handed on.
    pub(super) layout: Option<Layout>,
}

struct Memory {
    /// The key of the description in hand; kept for its allocation.
    key: Vec<u8>,
    /// The latest first.
    known: VecDeque<(Box<[u8]>, Arc<Description>)>,
}

impl Description {
    /// Reads a description, or finds that it is known.
    pub(super) fn import(schema: &FFI_ArrowSchema) -> Result<Arc<Self>, ArrowError> {
        // The thread may be ending, when nothing is remembered any more.
        MEMORY.try_with(|memory| memory.borrow_mut().find(schema)).unwrap_or_else(|_| {
            write_key(schema, 0, &mut Vec::new())?;
            Self::read(schema).map(Arc::new)
        })
    }

    /// Describes tables that were made here.
    pub(super) fn of(schema: SchemaRef) -> Result<Self, ArrowError> {
        let source = field_of_schema(&schema);
        Self::new(schema, source, None, None)
    }

    /// Reads a description that was checked.
    fn read(structure: &FFI_ArrowSchema) -> Result<Self, ArrowError> {
        let field = contained(|| Field::try_from(structure))?;
        if let DataType::Struct(fields) = field.data_type() {
            let schema = Arc::new(Schema::new_with_metadata(fields.clone(), field.metadata().clone()));
            let layout = Layout::of(field.data_type(), false);
            if layout.is_some() {
                // What the Arrow crates cannot make they cannot read either.
                contained(|| Ok(new_empty_array(field.data_type())))?;
            }
            return Self::new(schema, field, layout, Some(structure));
        }
        // A producer that exports a bare type leaves open whether values may be null, so they may.
        let column = field.clone().with_name(BARE_COLUMN).with_nullable(true);
        Self::new(Arc::new(Schema::new(vec![column])), field, None, None)
    }

    fn new(
        schema: SchemaRef,
        source: Field,
        layout: Option<Layout>,
        origin: Option<&FFI_ArrowSchema>,
    ) -> Result<Self, ArrowError> {
        let structure = contained(|| FFI_ArrowSchema::try_from(&field_of_schema(&schema)))?;
        if let Some(origin) = origin {
            // SAFETY: the Arrow crates made the structure a moment ago of what they read from the origin.
            unsafe { copy_flags(&structure, origin) };
        }
        // SAFETY: the Arrow crates made it a moment ago.
        let structure = Arc::new(unsafe { Shared::new(structure) });
        Ok(Self { schema, structure, source, layout })
    }

    /// Whether its arrays are bare ones, not structs.
    pub(super) fn is_bare(&self) -> bool {
        !matches!(self.source.data_type(), DataType::Struct(_))
    }
}

/// Takes over what is said below the root. The Arrow crates read that the keys of a map are sorted, and do not write it.
///
/// # Safety
/// Both are valid, nobody else uses `ours`, and it has no more below it than `origin`.
unsafe fn copy_flags(ours: &FFI_ArrowSchema, origin: &FFI_ArrowSchema) {
    let count = usize::try_from(ours.n_children).unwrap_or(0);
    // SAFETY: the caller's promise.
    let children = (0..count).map(|index| unsafe { (*ours.children.add(index), *origin.children.add(index)) });
    for (ours, origin) in children.chain([(ours.dictionary, origin.dictionary)]) {
        if !ours.is_null() && !origin.is_null() {
            // SAFETY: the caller's promise.
            unsafe {
                (*ours).flags = (*origin).flags;
                copy_flags(&*ours, &*origin);
            }
        }
    }
}

/// The structure that a table is in the interface.
pub(super) fn field_of_schema(schema: &Schema) -> Field {
    Field::new_struct("", schema.fields().clone(), false).with_metadata(schema.metadata().clone())
}

/// The field that a structure describes.
pub(super) fn field(schema: &FFI_ArrowSchema) -> Result<Field, ArrowError> {
    write_key(schema, 0, &mut Vec::new())?;
    contained(|| Field::try_from(schema))
}

impl Memory {
    fn find(&mut self, schema: &FFI_ArrowSchema) -> Result<Arc<Description>, ArrowError> {
        self.key.clear();
        write_key(schema, 0, &mut self.key)?;
        if let Some(index) = self.known.iter().position(|(key, _)| **key == *self.key) {
            self.known.swap(0, index);
            return Ok(self.known[0].1.clone());
        }
        let description = Arc::new(Description::read(schema)?);
        if self.key.len() <= KEY_BYTES_MAX {
            self.known.truncate(REMEMBERED - 1);
            self.known.push_front((self.key.as_slice().into(), description.clone()));
        } else {
            self.key = Vec::new();
        }
        Ok(description)
    }
}

/// Writes all that a description says, and refuses what would make reading it go astray or recurse without end.
fn write_key(schema: &FFI_ArrowSchema, depth: usize, key: &mut Vec<u8>) -> Result<(), ArrowError> {
    if depth > NESTING_MAX {
        return Err(invalid(&format!("its types nest more than {NESTING_MAX} deep")));
    }
    if (depth == 0 && schema.release.is_none()) || schema.format.is_null() {
        return Err(invalid("its schema was released already"));
    }
    let count = usize::try_from(schema.n_children).map_err(|_| damaged())?;
    if count > 0 && schema.children.is_null() {
        return Err(damaged());
    }
    // SAFETY: where there is a text, it ends with a zero.
    unsafe {
        write_text(schema.format, key);
        write_text(schema.name, key);
        write_metadata(schema.metadata.cast(), key)?;
    }
    key.extend_from_slice(&schema.flags.to_ne_bytes());
    key.extend_from_slice(&schema.n_children.to_ne_bytes());
    for index in 0..count {
        // SAFETY: `children` points to as many pointers as `n_children` says, each to an ArrowSchema of its own.
        let child = unsafe { schema.children.add(index).read().as_ref() };
        write_key(child.ok_or_else(damaged)?, depth + 1, key)?;
    }
    let dictionary = schema.dictionary();
    key.push(u8::from(dictionary.is_some()));
    dictionary.map_or(Ok(()), |dictionary| write_key(dictionary, depth + 1, key))
}

/// # Safety
/// `text` is null or ends with a zero.
unsafe fn write_text(text: *const c_char, key: &mut Vec<u8>) {
    if !text.is_null() {
        key.push(1);
        // SAFETY: the caller's promise.
        key.extend_from_slice(unsafe { CStr::from_ptr(text) }.to_bytes());
    }
    key.push(0);
}

/// # Safety
/// `metadata` is null or a count of pairs, and of each the length and the bytes of both.
unsafe fn write_metadata(metadata: *const u8, key: &mut Vec<u8>) -> Result<(), ArrowError> {
    if metadata.is_null() {
        key.push(0);
        return Ok(());
    }
    key.push(1);
    let mut read = 0;
    let number = |read: &mut usize, key: &mut Vec<u8>| {
        // SAFETY: the caller's promise; a number follows wherever one is asked for.
        let number = unsafe { metadata.add(*read).cast::<i32>().read_unaligned() };
        *read += size_of::<i32>();
        key.extend_from_slice(&number.to_ne_bytes());
        usize::try_from(number).map_err(|_| damaged())
    };
    for _ in 0..2 * number(&mut read, key)? {
        let length = number(&mut read, key)?;
        // SAFETY: the caller's promise.
        key.extend_from_slice(unsafe { std::slice::from_raw_parts(metadata.add(read), length) });
        read += length;
    }
    Ok(())
}

fn damaged() -> ArrowError {
    invalid("its schema is damaged")
}

fn invalid(reason: &str) -> ArrowError {
    ArrowError::CDataInterface(reason.to_owned())
}
