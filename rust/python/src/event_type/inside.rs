//! An event's cell is its object: the cell begins with room for the header of one.

use crate::node::Event;
use pyo3::ffi;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;

/// The room for an object's header at the start of each cell. While the cell is no object, nobody reads it.
pub(crate) struct Face(#[allow(dead_code)] MaybeUninit<ffi::PyObject>);

// SAFETY: it is a place; what is written there belongs to the interpreter, and is used by threads that are attached.
unsafe impl Send for Face {}

impl Default for Face {
    fn default() -> Self {
        Self(MaybeUninit::uninit())
    }
}

/// How large an object is.
pub(super) const OBJECT_BYTES: usize = Event::CELL_BYTES;

/// Makes an event an object, whose one reference is the caller's.
///
/// # Safety
/// Nobody else refers to the event's cell; the class is that of events, and the thread is attached.
#[inline(always)]
pub(super) unsafe fn object(event: Event, class: *mut ffi::PyTypeObject) -> *mut ffi::PyObject {
    let object = event.into_face().as_ptr().cast::<ffi::PyObject>();
    // SAFETY: the header lies at the start of the cell, which this thread has for itself. It is written as `PyObject_Init` does,
    // but for the reference to the class, which each object would take and give back.
    unsafe {
        (*object).ob_refcnt = 1;
        (*object).ob_type = class;
    }
    object
}

/// The event of an object.
///
/// # Safety
/// An object made by [`object`], to which the caller has a reference.
#[inline(always)]
pub(super) unsafe fn borrow(object: *mut ffi::PyObject) -> ManuallyDrop<Event> {
    // SAFETY: passed on; it is only borrowed.
    unsafe { ManuallyDrop::new(Event::from_face(NonNull::new_unchecked(object).cast())) }
}

/// The event of an object that is none any more.
///
/// # Safety
/// An object made by [`object`], to which nobody refers.
#[inline(always)]
pub(super) unsafe fn take(object: *mut ffi::PyObject, _class: *mut ffi::PyTypeObject) -> Event {
    // SAFETY: passed on; the object was the one reference to its cell.
    unsafe { Event::from_face(NonNull::new_unchecked(object).cast()) }
}

/// Gives up a reference to an object, unless it is the last one to an event: then the caller takes that apart.
///
/// # Safety
/// The caller gives up a reference of its own, and the thread is attached.
#[inline(always)]
pub(super) unsafe fn is_last(object: *mut ffi::PyObject, class: *mut ffi::PyTypeObject) -> bool {
    // SAFETY: passed on.
    unsafe {
        let last = ffi::Py_TYPE(object) == class && ffi::Py_REFCNT(object) == 1;
        if !last {
            decref(object);
        }
        last
    }
}

unsafe extern "C" {
    /// What the macro of the stable ABI calls when a count reaches zero.
    fn _Py_Dealloc(object: *mut ffi::PyObject);
}

/// Whether an object lives for ever, as `None` and many others do since CPython 3.12: it is not counted, and the lower half of
/// where its count would be is negative. What is counted has fewer references than that.
#[inline(always)]
unsafe fn is_immortal(object: *mut ffi::PyObject) -> bool {
    // SAFETY: the object lives.
    cfg!(target_pointer_width = "64") && unsafe { (*object).ob_refcnt as i32 } < 0
}

/// One reference more. Inline, as the macro of the stable ABI of CPython 3.11 is; PyO3 calls a function. That macro counts what
/// lives for ever, too, and later versions put up with it; here a payload such as `True` may come by billions of times.
///
/// # Safety
/// The object lives, and the thread is attached.
#[inline(always)]
pub(crate) unsafe fn incref(object: *mut ffi::PyObject) {
    // SAFETY: passed on.
    unsafe {
        if !is_immortal(object) {
            (*object).ob_refcnt += 1;
        }
    }
}

/// One reference less; see [`incref`].
///
/// # Safety
/// The caller gives up a reference of its own, and the thread is attached.
#[inline(always)]
pub(crate) unsafe fn decref(object: *mut ffi::PyObject) {
    // SAFETY: passed on.
    unsafe {
        if is_immortal(object) {
            return;
        }
        (*object).ob_refcnt -= 1;
        if (*object).ob_refcnt == 0 {
            _Py_Dealloc(object);
        }
    }
}
