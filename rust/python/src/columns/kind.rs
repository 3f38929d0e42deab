//! What a payload is as far as Arrow goes, decided by its type and remembered.
//!
//! Every publish asks, so the common plain types are told by their address, and any other type is looked up once. What
//! was learnt is kept in a table of fixed size, one slot per hash: the word is the address of the type with the answer in
//! its low bits, and the table owns a reference to each type in it. That makes a bare comparison of addresses sound: while
//! a slot shows an address its type is alive, and so is the type of the object in hand, so equal addresses are one type.

use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyNone, PyString, PyTuple, PyType};
use pyo3::{PyTypeInfo, ffi, intern};

use super::Table;

/// What a payload is as far as Arrow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Not Arrow: it travels as itself.
    Plain,
    /// Exports Arrow, as often as it is asked.
    Arrow,
    /// Exports Arrow once and is then used up.
    OneShot,
    /// Is a [`Table`] already.
    Table,
}

/// How a payload that exports Arrow is best asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// As it offers.
    Unknown,
    /// A `pyarrow.RecordBatch`: its array is all it has, and its stream costs twice as much.
    Batch,
    /// A `pyarrow.Table`: its rows are in memory, so reading its stream never waits.
    Table,
}

const SLOTS: usize = 256;
const CLASS_MASK: usize = 7;
/// What is remembered of types, by number.
const CLASSES: [(Kind, Source); 6] = [
    (Kind::Plain, Source::Unknown),
    (Kind::Arrow, Source::Unknown),
    (Kind::OneShot, Source::Unknown),
    (Kind::Table, Source::Unknown),
    (Kind::Arrow, Source::Batch),
    (Kind::Arrow, Source::Table),
];

/// The last of the common types that was met: payloads mostly come in runs of one type.
static LAST_COMMON: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(std::ptr::null_mut());

static SEEN: [AtomicPtr<ffi::PyTypeObject>; SLOTS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; SLOTS];

/// Says what a payload is.
///
/// A type is asked once, so methods added to a class after its first publish are not seen.
#[inline]
pub(crate) fn kind(object: &Bound<'_, PyAny>) -> PyResult<Kind> {
    match known_kind(object) {
        Some(kind) => Ok(kind),
        None => learn(&object.get_type()).map(|class| class.0),
    }
}

/// Says what a payload is, if its type has been asked already.
#[inline(always)]
pub(crate) fn known_kind(object: &Bound<'_, PyAny>) -> Option<Kind> {
    let class = object.get_type_ptr();
    if class == LAST_COMMON.load(Ordering::Relaxed) {
        return Some(Kind::Plain);
    }
    if is_common(object.py(), class) {
        LAST_COMMON.store(class, Ordering::Relaxed);
        return Some(Kind::Plain);
    }
    seen(class).map(|class| class.0)
}

/// Says how to ask for Arrow.
pub(super) fn source(object: &Bound<'_, PyAny>) -> PyResult<Source> {
    match seen(object.get_type_ptr()) {
        Some(class) => Ok(class.1),
        None => learn(&object.get_type()).map(|class| class.1),
    }
}

#[inline]
fn seen(class: *mut ffi::PyTypeObject) -> Option<(Kind, Source)> {
    let seen = slot(class).load(Ordering::Acquire);
    let number = seen.addr() & CLASS_MASK;
    (seen.map_addr(|address| address & !CLASS_MASK) == class).then(|| CLASSES[number % CLASSES.len()])
}

#[inline]
fn is_common(py: Python<'_>, class: *mut ffi::PyTypeObject) -> bool {
    class == PyFloat::type_object_raw(py)
        || class == PyDict::type_object_raw(py)
        || class == PyInt::type_object_raw(py)
        || class == PyString::type_object_raw(py)
        || class == PyBytes::type_object_raw(py)
        || class == PyBool::type_object_raw(py)
        || class == PyList::type_object_raw(py)
        || class == PyTuple::type_object_raw(py)
        || class == PyNone::type_object_raw(py)
}

#[inline]
fn slot(class: *mut ffi::PyTypeObject) -> &'static AtomicPtr<ffi::PyTypeObject> {
    // Fibonacci hashing: the upper bits of the product depend on all bits of the address.
    let hash = (class.addr() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
    &SEEN[hash as usize % SLOTS]
}

#[cold]
fn learn(class: &Bound<'_, PyType>) -> PyResult<(Kind, Source)> {
    let number = decide(class)?;
    let raw = class.as_type_ptr();
    if raw.addr() & CLASS_MASK != 0 {
        return Ok(CLASSES[number]);
    }
    let owned = class.clone().into_ptr().cast::<ffi::PyTypeObject>();
    let evicted = slot(raw).swap(owned.map_addr(|address| address | number), Ordering::AcqRel);
    let evicted = evicted.map_addr(|address| address & !CLASS_MASK).cast::<ffi::PyObject>();
    if !evicted.is_null() {
        // SAFETY: what a slot holds owns a reference, the swap gave it to this thread alone, and the thread is attached.
        drop(unsafe { Bound::from_owned_ptr(class.py(), evicted) });
    }
    Ok(CLASSES[number])
}

/// The number of what a type is.
fn decide(class: &Bound<'_, PyType>) -> PyResult<usize> {
    let py = class.py();
    let number = |wanted| CLASSES.iter().position(|class| *class == wanted).unwrap_or(0);
    if class.is(Table::type_object(py)) {
        return Ok(number((Kind::Table, Source::Unknown)));
    }
    let has = |name| class.getattr_opt(name).map(|found| found.is_some_and(|method| !method.is_none()));
    let (stream, array) = (has(intern!(py, "__arrow_c_stream__"))?, has(intern!(py, "__arrow_c_array__"))?);
    let kind = if stream
        && (has(intern!(py, "__next__"))? || has(intern!(py, "read_next_batch"))? || has(intern!(py, "read_next"))?)
    {
        Kind::OneShot
    } else if stream || array {
        Kind::Arrow
    } else {
        Kind::Plain
    };
    let source = match &*class.fully_qualified_name()?.to_string_lossy() {
        "pyarrow.lib.RecordBatch" if kind == Kind::Arrow && array => Source::Batch,
        "pyarrow.lib.Table" if kind == Kind::Arrow && stream => Source::Table,
        _ => Source::Unknown,
    };
    Ok(number((kind, source)))
}
