//! The type of event objects, written against the C API.
//!
//! Receiving makes one object an event, so what that costs is what receiving costs. PyO3 gives every class the garbage
//! collector's header and, under the stable ABI, makes objects by calling `object.__new__`: together four times the cost of
//! the object itself. An event refers to a payload but is never itself referred to by what it holds before Python has it in
//! hand, and its payload is released with it, so it can do without the collector, as `int` or `str` do; a cycle through
//! an event that its own payload keeps is the one thing that is then not found.
//!
//! Everything here stays within the stable ABI. Fields are made when they are looked at.

use crate::clock::Stamp;
use crate::event::payload;
use crate::node::Cell;
use crate::payload::Content;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyMappingProxy, PyString, PyType};
use std::ffi::{CStr, c_void};
use std::mem::ManuallyDrop;

/// An event object.
#[repr(C)]
struct EventObject {
    base: ffi::PyObject,
    cell: ManuallyDrop<Cell>,
}

static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// Makes an event object.
#[inline]
pub(crate) fn create(py: Python<'_>, cell: Cell) -> PyResult<Bound<'_, PyAny>> {
    let class = class(py)?;
    // SAFETY: the memory is as large as the type says, and becomes a complete object before it is handed out.
    unsafe {
        let object = ffi::PyObject_Malloc(size_of::<EventObject>()).cast::<EventObject>();
        if object.is_null() {
            return Err(pyo3::exceptions::PyMemoryError::new_err("no memory for an event"));
        }
        ffi::PyObject_Init(object.cast(), class.as_ptr().cast());
        std::ptr::write(&raw mut (*object).cell, ManuallyDrop::new(cell));
        Ok(Bound::from_owned_ptr(py, object.cast()))
    }
}

/// The type, made on first use.
#[inline]
pub(crate) fn class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    TYPE.get_or_try_init(py, || make_class(py)).map(|class| class.bind(py))
}

#[cold]
fn make_class(py: Python<'_>) -> PyResult<Py<PyType>> {
    let mut getters: Vec<ffi::PyGetSetDef> = GETTERS
        .iter()
        .map(|(name, doc, getter)| ffi::PyGetSetDef {
            name: name.as_ptr(),
            get: Some(*getter),
            set: None,
            doc: doc.as_ptr(),
            closure: std::ptr::null_mut(),
        })
        .collect();
    getters.push(ffi::PyGetSetDef::default());
    // The type refers to them for as long as the process runs.
    let getters = Box::leak(getters.into_boxed_slice());
    let slot = |slot, pfunc: *mut c_void| ffi::PyType_Slot { slot, pfunc };
    let mut slots = [
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_getset, getters.as_mut_ptr().cast()),
        slot(ffi::Py_tp_doc, c"One event. Immutable, and shared by all who receive it.".as_ptr().cast_mut().cast()),
        slot(0, std::ptr::null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"chronofabric._core.bus.Event".as_ptr(),
        basicsize: size_of::<EventObject>() as i32,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION | ffi::Py_TPFLAGS_IMMUTABLETYPE)
            as u32,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the specification is complete; the slots are read during the call, what they point to is static or leaked.
    let class = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec))? };
    Ok(class.cast_into::<PyType>()?.unbind())
}

/// Called by the interpreter when the last reference goes.
unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter passes an object of this type that nobody else refers to, with the thread attached. Its memory
    // came from `PyObject_Malloc`; its type, made from a specification, is referred to by each object.
    unsafe {
        let class = ffi::Py_TYPE(object);
        let cell = ManuallyDrop::take(&mut (*object.cast::<EventObject>()).cell);
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(class.cast());
        // Last, because the payload's own destructor may run here. Its reference is given back through the C API: PyO3 does
        // not know that the interpreter is attached in here, and would put it off until some later call of its own.
        if let Ok(Some(payload)) = cell.into_payload().map(Content::into_object) {
            ffi::Py_DECREF(payload.into_ptr());
        }
    }
}

/// Runs a getter for the interpreter: gives it the cell, turns its error into an exception.
///
/// # Safety
/// Called by the interpreter with an event object and the thread attached.
unsafe fn with_cell(
    object: *mut ffi::PyObject,
    body: impl for<'py> FnOnce(Python<'py>, &Cell) -> PyResult<Bound<'py, PyAny>>,
) -> *mut ffi::PyObject {
    // SAFETY: a slot of a type is called with the thread attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the interpreter calls the slots of a type with objects of that type; the caller holds a reference to it.
    let cell = unsafe { &(*object.cast::<EventObject>()).cell };
    match body(py, cell) {
        Ok(value) => value.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}

type Getter = unsafe extern "C" fn(*mut ffi::PyObject, *mut c_void) -> *mut ffi::PyObject;

macro_rules! getter {
    ($name:ident, |$py:ident, $cell:ident| $body:expr) => {
        unsafe extern "C" fn $name(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
            // SAFETY: called by the interpreter as a getter of this type.
            unsafe { with_cell(object, |$py, $cell| $body) }
        }
    };
}

getter!(topic, |py, cell| Ok(PyString::new(py, cell.topic().name()).into_any()));
getter!(payload_of, |py, cell| payload(py, cell).map(|payload| payload.into_bound(py)));
getter!(stamp, |py, cell| Ok(Bound::new(py, Stamp::new(cell.stamp, cell.topic().node()))?.into_any()));
getter!(time, |py, cell| Ok(cell.time_ns.into_pyobject(py)?.into_any()));
getter!(node, |py, cell| Ok(PyString::new(py, &cell.topic().node().to_string()).into_any()));
getter!(priority, |py, cell| Ok(cell.priority.into_pyobject(py)?.into_any()));
getter!(deadline, |py, cell| {
    let deadline_ns = cell.extras.as_ref().and_then(|extras| extras.deadline_ns);
    Ok(deadline_ns.into_pyobject(py)?)
});
getter!(headers, |py, cell| {
    let headers = cell.extras.as_ref().and_then(|extras| extras.headers.as_ref());
    let headers = headers.map_or_else(|| PyDict::new(py), |headers| headers.bind(py).clone());
    Ok(PyMappingProxy::new(py, headers.as_mapping()).into_any())
});

const GETTERS: [(&CStr, &CStr, Getter); 8] = [
    (c"topic", c"The topic it was published on.", topic),
    (c"payload", c"What was published.", payload_of),
    (c"stamp", c"When it entered the fabric, on the hybrid logical clock of its node.", stamp),
    (c"time", c"When it happened, in nanoseconds since the Unix epoch.", time),
    (c"node", c"The id of the node that it entered the fabric on.", node),
    (c"priority", c"0 (low), 1 (normal), 2 (high) or 3 (urgent).", priority),
    (c"deadline", c"When it should have been acted on, in nanoseconds since the Unix epoch.", deadline),
    (c"headers", c"What travels beside the payload.", headers),
];

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter as a slot of this type.
    unsafe {
        with_cell(object, |py, cell| {
            let shown = payload(py, cell)?.into_bound(py).repr()?.to_string();
            let shown = if shown.chars().count() > SHOWN_MAX {
                shown.chars().take(SHOWN_MAX - 3).chain("...".chars()).collect()
            } else {
                shown
            };
            let text = format!("Event(topic='{}', time={}, payload={shown})", cell.topic().name(), cell.time_ns);
            Ok(PyString::new(py, &text).into_any())
        })
    }
}

/// How many characters of a payload a representation shows.
const SHOWN_MAX: usize = 80;
