//! The type of event objects, written against the C API.
//!
//! Receiving makes one object an event, so what that costs is what receiving costs. PyO3 gives every class the garbage
//! collector's header and, under the stable ABI, makes objects by calling `object.__new__`: together four times the cost of
//! all the rest. Here the cell of the event is the object: it begins with room for an object's header, which is filled in
//! when the event is received. An event that others receive too is copied into a cell of its own first.
//!
//! An event refers to a payload but is never itself referred to by what it holds before Python has it in hand, and its
//! payload is released with it, so it can do without the collector, as `int` or `str` do; a cycle through an event that
//! its own payload keeps is the one thing that is then not found.
//!
//! A free-threaded interpreter looks at objects that may have been freed a moment before, and only its own allocator keeps
//! that harmless. There an event is an object of that allocator, which refers to the cell.
//!
//! Everything here stays within the stable ABI. Fields are made when they are looked at.

use crate::causality::VectorClock;
use crate::clock::Stamp;
use crate::hot::FINAL;
use crate::html;
use crate::node::Event;
use crate::payload::{Content, interpreter};
use crate::request;
use chronofabric_bus::Payload;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyMappingProxy, PyString, PyType};
use std::ffi::{CStr, c_void};

/// The two ways in which an event is an object: its cell is, or it refers to its cell.
#[cfg_attr(Py_GIL_DISABLED, path = "event_type/apart.rs")]
#[cfg_attr(not(Py_GIL_DISABLED), path = "event_type/inside.rs")]
mod place;

pub(crate) use place::{Face, decref, incref};

static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// Makes an event object.
pub(crate) fn create(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyAny>> {
    let class = class(py)?.as_type_ptr();
    // SAFETY: the class is that of events, and is never freed.
    unsafe { Ok(Bound::from_owned_ptr(py, object(py, event, class))) }
}

/// Makes an event object, whose one reference is the caller's.
///
/// # Safety
/// `class` is the class of events; it outlives all its objects, because the module keeps it for ever.
#[inline(always)]
pub(crate) unsafe fn object(py: Python<'_>, event: Event, class: *mut ffi::PyTypeObject) -> *mut ffi::PyObject {
    // SAFETY: passed on; the event has a cell of its own.
    unsafe { place::object(event.into_sole_leaving(interpreter(py), drop_attached), class) }
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
    let methods = Box::leak(Box::new(methods()));
    let slot = |slot, pfunc: *mut c_void| ffi::PyType_Slot { slot, pfunc };
    let mut slots = [
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_getset, getters.as_mut_ptr().cast()),
        slot(ffi::Py_tp_methods, methods.as_mut_ptr().cast()),
        slot(ffi::Py_tp_doc, c"One event. Immutable, and shared by all who receive it.".as_ptr().cast_mut().cast()),
        slot(0, std::ptr::null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"chronofabric._core.bus.Event".as_ptr(),
        basicsize: place::OBJECT_BYTES as i32,
        itemsize: 0,
        flags: FINAL,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the specification is complete; the slots are read during the call, what they point to is static or leaked.
    let class = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec))? };
    Ok(class.cast_into::<PyType>()?.unbind())
}

/// Drops what counts references in PyO3's way, which does not know that the interpreter is attached in here.
#[cold]
#[inline(never)]
fn drop_attached<T>(value: T) {
    attached(|_| drop(value));
}

/// Tells PyO3 that the interpreter is attached, for as long as a body runs that a slot written against the C API calls.
///
/// While the interpreter ends, PyO3 lets nobody in who is not there by its own doing. The caller is attached all the same: then
/// what PyO3 is not told of only puts releases off, for ever.
pub(crate) fn attached<R>(body: impl for<'py> FnOnce(Python<'py>) -> R) -> R {
    let (mut body, mut result) = (Some(body), None);
    Python::try_attach(|py| result = body.take().map(|body| body(py)));
    match (result, body) {
        (Some(result), _) => result,
        // SAFETY: slots are called with the thread attached.
        (None, Some(body)) => body(unsafe { Python::assume_attached() }),
        (None, None) => std::process::abort(),
    }
}

/// Called by the interpreter when the last reference goes.
unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter passes an object of this type that nobody else refers to, with the thread attached.
    unsafe {
        let py = Python::assume_attached();
        let class = ffi::Py_TYPE(object);
        let mut object = object;
        // A loop, because events whose payloads are events would otherwise take a frame of the stack each.
        loop {
            let Some(contents) = place::take(object, class).give_up(interpreter(py)) else { return };
            if contents.extras.is_some() {
                drop_attached(contents.extras);
            }
            // Last, because the payload's own destructor may run here.
            match contents.payload.map(Content::into_object) {
                Some(Ok(payload)) => object = payload.as_ptr(),
                Some(Err(other)) => return drop_attached(other),
                None => return,
            }
            if !place::is_last(object, class) {
                return;
            }
        }
    }
}

/// Runs a getter for the interpreter: gives it the event, turns its error into an exception.
///
/// # Safety
/// Called by the interpreter with an event object and the thread attached.
unsafe fn with_event(
    object: *mut ffi::PyObject,
    body: impl for<'py> FnOnce(Python<'py>, &Event) -> PyResult<Bound<'py, PyAny>>,
) -> *mut ffi::PyObject {
    // PyO3 is told of it, because the body may drop what counts references.
    attached(|py| {
        // SAFETY: the interpreter calls the slots of a type with objects of that type; the caller holds a reference to it, and
        // this one is only borrowed.
        let event = unsafe { place::borrow(object) };
        match body(py, &event) {
            Ok(value) => value.into_ptr(),
            Err(error) => {
                error.restore(py);
                std::ptr::null_mut()
            }
        }
    })
}

type Getter = unsafe extern "C" fn(*mut ffi::PyObject, *mut c_void) -> *mut ffi::PyObject;

macro_rules! getter {
    ($name:ident, |$py:ident, $event:ident| $body:expr) => {
        unsafe extern "C" fn $name(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
            // SAFETY: called by the interpreter as a getter of this type.
            unsafe { with_event(object, |$py, $event| $body) }
        }
    };
}

getter!(topic, |py, event| Ok(PyString::new(py, event.topic().name()).into_any()));
getter!(payload, |py, event| payload_of(py, event).map(|payload| payload.into_bound(py)));
getter!(stamp, |py, event| Ok(Bound::new(py, Stamp::new(event.stamp(), event.topic().node()))?.into_any()));
getter!(time, |py, event| Ok(event.time_ns().into_pyobject(py)?.into_any()));
getter!(node, |py, event| Ok(PyString::new(py, &event.topic().node().to_string()).into_any()));
getter!(priority, |py, event| Ok(event.priority().into_pyobject(py)?.into_any()));
getter!(deadline, |py, event| Ok(event.deadline_ns().into_pyobject(py)?));
getter!(late_ns, |py, event| Ok(event.late_ns().into_pyobject(py)?));
getter!(headers, |py, event| {
    let headers = event.headers().map_or_else(|| PyDict::new(py), |headers| headers.bind(py).clone());
    Ok(PyMappingProxy::new(py, headers.as_mapping()).into_any())
});

getter!(vector_clock, |py, event| match event.provenance() {
    Some(provenance) => Ok(Bound::new(py, VectorClock(provenance.clock.clone()))?.into_any()),
    None => Ok(py.None().into_bound(py)),
});

getter!(retained, |py, event| Ok(PyBool::new(py, event.is_retained()).to_owned().into_any()));
getter!(is_request, |py, event| Ok(PyBool::new(py, request::is_request(event)).to_owned().into_any()));

const GETTERS: [(&CStr, &CStr, Getter); 12] = [
    (c"topic", c"The topic it was published on.", topic),
    (c"payload", c"What was published.", payload),
    (c"stamp", c"When it entered the fabric, on the hybrid logical clock of its node.", stamp),
    (c"time", c"When it happened, in nanoseconds since the Unix epoch.", time),
    (c"node", c"The id of the node that it entered the fabric on.", node),
    (c"priority", c"0 (low), 1 (normal), 2 (high) or 3 (urgent).", priority),
    (c"deadline", c"When it should have been acted on, in nanoseconds since the Unix epoch.", deadline),
    (c"late_ns", c"How long after its deadline it was handed out, where its receiver asked for that.", late_ns),
    (c"headers", c"What travels beside the payload.", headers),
    (c"vector_clock", c"How many events of each node lie in its past, where causal order was asked for.", vector_clock),
    (c"retained", c"Whether its topic had kept it, from before its receiver subscribed.", retained),
    (c"is_request", c"Whether somebody waits, or waited, for an answer.", is_request),
];

macro_rules! method {
    ($name:ident, $answer:path) => {
        unsafe extern "C" fn $name(object: *mut ffi::PyObject, given: *mut ffi::PyObject) -> *mut ffi::PyObject {
            // SAFETY: called by the interpreter as a method of this type, with a reference that its caller holds.
            unsafe {
                with_event(object, |py, event| {
                    let answered = $answer(event, &Borrowed::from_ptr(py, given))?;
                    Ok(PyBool::new(py, answered).to_owned().into_any())
                })
            }
        }
    };
}

method!(reply, request::reply);
method!(reply_error, request::reply_error);

fn methods() -> [ffi::PyMethodDef; 4] {
    let method = |name: &'static CStr, doc: &'static CStr, flags, method| ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: method },
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    };
    [
        method(c"reply", c"reply($self, value, /)\n--\n\nAnswers a request.", ffi::METH_O, reply),
        method(
            c"reply_error",
            c"reply_error($self, error, /)\n--\n\nAnswers a request with an exception.",
            ffi::METH_O,
            reply_error,
        ),
        method(c"_repr_html_", c"What a notebook shows.", ffi::METH_NOARGS, repr_html),
        ffi::PyMethodDef::zeroed(),
    ]
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter as a slot of this type.
    unsafe {
        with_event(object, |py, event| {
            let shown = html::shortened(&text_of(payload_of(py, event)?.bind(py))?, SHOWN_MAX);
            let text = format!("Event(topic='{}', time={}, payload={shown})", event.topic().name(), event.time_ns());
            Ok(PyString::new(py, &text).into_any())
        })
    }
}

/// How many characters of a payload a representation shows.
const SHOWN_MAX: usize = 80;

/// Called by the interpreter for `_repr_html_`.
unsafe extern "C" fn repr_html(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter as a method of this type.
    unsafe {
        with_event(object, |py, event| {
            let row = |name: &str, value: String| vec![name.to_owned(), value];
            let mut rows = vec![
                row("payload", text_of(payload_of(py, event)?.bind(py))?),
                row("time", event.time_ns().to_string()),
                row("priority", event.priority().to_string()),
            ];
            if let Some(deadline) = event.deadline_ns() {
                rows.push(row("deadline", deadline.to_string()));
            }
            if let Some(headers) = event.headers() {
                rows.push(row("headers", text_of(headers.bind(py))?));
            }
            let text = html::table(event.topic().name(), &[], &rows, rows.len());
            Ok(PyString::new(py, &text).into_any())
        })
    }
}

/// The topic, time and payload of an event, as texts for a table of several.
pub(crate) fn cells(py: Python<'_>, event: &Event) -> PyResult<Vec<String>> {
    let payload = text_of(payload_of(py, event)?.bind(py))?;
    Ok(vec![event.topic().name().to_owned(), event.time_ns().to_string(), payload])
}

fn text_of(value: &Bound<'_, PyAny>) -> PyResult<String> {
    // A representation may hold half a surrogate pair, which no text of Rust can.
    Ok(value.repr()?.to_string_lossy().into_owned())
}

/// The payload of an event as Python sees it.
#[inline]
pub(crate) fn payload_of(py: Python<'_>, event: &Event) -> PyResult<Py<PyAny>> {
    match (event.payload(), event.places()) {
        (None, _) => Ok(py.None()),
        (Some(content), None) => content.to_python(py),
        (Some(batch), Some(places)) => batch.part(places.start).to_python(py),
    }
}
