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
    Plain = 0,
    /// Exports Arrow, as often as it is asked.
    Arrow = 1,
    /// Exports Arrow once and is then used up.
    OneShot = 2,
    /// Is a [`Table`] already.
    Table = 3,
}

const SLOTS: usize = 256;
const KIND_MASK: usize = 3;

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
        None => learn(&object.get_type()),
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
    let seen = slot(class).load(Ordering::Acquire);
    (seen.map_addr(|address| address & !KIND_MASK) == class).then(|| match seen.addr() & KIND_MASK {
        0 => Kind::Plain,
        1 => Kind::Arrow,
        2 => Kind::OneShot,
        _ => Kind::Table,
    })
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
fn learn(class: &Bound<'_, PyType>) -> PyResult<Kind> {
    let kind = decide(class)?;
    let raw = class.as_type_ptr();
    if raw.addr() & KIND_MASK != 0 {
        return Ok(kind);
    }
    let owned = class.clone().into_ptr().cast::<ffi::PyTypeObject>();
    let evicted = slot(raw).swap(owned.map_addr(|address| address | kind as usize), Ordering::AcqRel);
    let evicted = evicted.map_addr(|address| address & !KIND_MASK).cast::<ffi::PyObject>();
    if !evicted.is_null() {
        // SAFETY: what a slot holds owns a reference, the swap gave it to this thread alone, and the thread is attached.
        drop(unsafe { Bound::from_owned_ptr(class.py(), evicted) });
    }
    Ok(kind)
}

fn decide(class: &Bound<'_, PyType>) -> PyResult<Kind> {
    let py = class.py();
    if class.is(Table::type_object(py)) {
        return Ok(Kind::Table);
    }
    let has = |name| class.getattr_opt(name).map(|found| found.is_some_and(|method| !method.is_none()));
    if has(intern!(py, "__arrow_c_stream__"))? {
        let read_forward =
            has(intern!(py, "__next__"))? || has(intern!(py, "read_next_batch"))? || has(intern!(py, "read_next"))?;
        return Ok(if read_forward { Kind::OneShot } else { Kind::Arrow });
    }
    Ok(if has(intern!(py, "__arrow_c_array__"))? { Kind::Arrow } else { Kind::Plain })
}
