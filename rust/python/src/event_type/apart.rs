//! An event is an object by itself, which refers to the cell: for a free-threaded interpreter.

use crate::node::Event;
use pyo3::ffi;
use std::cell::RefCell;
use std::mem::ManuallyDrop;

/// Cells need no room for a header.
#[derive(Default)]
pub(crate) struct Face;

/// An event as an object.
#[repr(C)]
struct Object {
    base: ffi::PyObject,
    event: ManuallyDrop<Event>,
}

/// How large an object is.
pub(super) const OBJECT_BYTES: usize = size_of::<Object>();

/// Makes an event an object, whose one reference is the caller's.
///
/// # Safety
/// The class is that of events, and the thread is attached.
#[inline]
pub(super) unsafe fn object(event: Event, class: *mut ffi::PyTypeObject) -> *mut ffi::PyObject {
    // SAFETY: the class has no header of the collector, so nobody sees the object before it is returned.
    unsafe {
        let object = ffi::PyType_GenericAlloc(class, 0);
        if object.is_null() {
            // As for everything else that Rust makes.
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<Object>());
        }
        (&raw mut (*object.cast::<Object>()).event).write(ManuallyDrop::new(event));
        object
    }
}

/// The event of an object.
///
/// # Safety
/// An object made by [`object`], to which the caller has a reference.
#[inline]
pub(super) unsafe fn borrow<'a>(object: *mut ffi::PyObject) -> &'a Event {
    // SAFETY: passed on; nobody writes to it before the last reference goes.
    unsafe { &(*object.cast::<Object>()).event }
}

/// The event of an object that is none any more.
///
/// # Safety
/// An object made by [`object`], to which nobody refers.
#[inline]
pub(super) unsafe fn take(object: *mut ffi::PyObject, class: *mut ffi::PyTypeObject) -> Event {
    // SAFETY: passed on. The memory is from the interpreter's allocator for objects, and each object refers to its class.
    unsafe {
        let event = (&raw const (*object.cast::<Object>()).event).read();
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(class.cast());
        ManuallyDrop::into_inner(event)
    }
}

thread_local! {
    /// References to events that were the payload of an event which is being taken apart; `None` where none is.
    static LEFT: RefCell<Option<Vec<*mut ffi::PyObject>>> = const { RefCell::new(None) };
}

/// Gives up a reference to an object, and says that the caller has nothing left to do. Whether it is the last reference only the
/// interpreter can tell; so that a chain of events does not take a frame of the stack each, the outermost call gives up those
/// of the calls inside it.
///
/// # Safety
/// The caller gives up a reference of its own, and the thread is attached.
pub(super) unsafe fn is_last(object: *mut ffi::PyObject, class: *mut ffi::PyTypeObject) -> bool {
    // SAFETY: the class of an object that lives.
    if unsafe { ffi::Py_TYPE(object) } != class {
        // SAFETY: passed on.
        unsafe { decref(object) };
        return false;
    }
    let put_off = |left: &RefCell<Option<Vec<_>>>| left.borrow_mut().as_mut().map(|left| left.push(object)).is_some();
    if LEFT.try_with(put_off).unwrap_or(false) {
        return false;
    }
    // Where the thread is ending there is no such list, and chains are as deep as they are.
    let outermost = LEFT.try_with(|left| left.replace(Some(Vec::new()))).is_ok();
    let mut next = Some(object);
    while let Some(object) = next {
        // SAFETY: passed on, or put off by a call inside this one. Nothing is borrowed while foreign code runs.
        unsafe { decref(object) };
        next = LEFT.try_with(|left| left.borrow_mut().as_mut().and_then(Vec::pop)).ok().flatten();
    }
    if outermost {
        LEFT.set(None);
    }
    false
}

/// One reference more.
///
/// # Safety
/// The object lives, and the thread is attached.
#[inline(always)]
pub(crate) unsafe fn incref(object: *mut ffi::PyObject) {
    // SAFETY: passed on.
    unsafe { ffi::Py_INCREF(object) };
}

/// One reference less.
///
/// # Safety
/// The caller gives up a reference of its own, and the thread is attached.
#[inline(always)]
pub(crate) unsafe fn decref(object: *mut ffi::PyObject) {
    // SAFETY: passed on.
    unsafe { ffi::Py_DECREF(object) };
}
