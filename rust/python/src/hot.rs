//! The few hottest calls, written against the C API: publishing one payload, and the next event or payload of an iteration.
//!
//! PyO3 wraps each call of a method or slot in the bookkeeping of its own reference counts and parses arguments in a general
//! way, which together costs as much as publishing or receiving does. Here the common case goes straight through; whatever
//! is not common (keywords, Arrow, a full ring, an empty one, errors) attaches to the interpreter in PyO3's way and uses
//! the same code as every other method.
//!
//! Everything stays within the stable ABI. In the common case nothing of PyO3's is dropped that counts references: it does not
//! know here that the interpreter is attached.

use crate::bus::Bus;
use crate::columns::{self, Kind};
use crate::event_type::{self, decref, incref};
use crate::node::{Contents, Event, Outcome};
use crate::payload::{Content, interpreter};
use crate::publisher::{Accompaniment, Publisher, time_of, truth_of};
use crate::subscription::{Received, Subscription};
use chronofabric_bus::Unfinished;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// The classes made here and that of events, each set once, when the module is made.
static EVENT: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(std::ptr::null_mut());
static EVENTS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(std::ptr::null_mut());
static PAYLOADS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(std::ptr::null_mut());

/// Makes the classes, and gives publishers their method.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    EVENT.store(event_type::class(py)?.as_type_ptr(), Ordering::Release);
    let events = iterator_class(py, c"chronofabric._core.bus.Events", c"Events, one by one.", next::<false>)?;
    let payloads = iterator_class(py, c"chronofabric._core.bus.Payloads", c"Bare payloads, one by one.", next::<true>)?;
    for (place, class) in [(&EVENTS, &events), (&PAYLOADS, &payloads)] {
        // Kept for ever: iterators are made by their address.
        place.store(class.clone().unbind().into_ptr().cast(), Ordering::Release);
        module.add(class.name()?, class)?;
    }
    let publish = ffi::PyMethodDef {
        ml_name: c"publish".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: publish },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: PUBLISH_DOC.as_ptr(),
    };
    let publish_on = ffi::PyMethodDef {
        ml_name: c"publish".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: publish_on },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: PUBLISH_ON_DOC.as_ptr(),
    };
    for (class, method) in [(py.get_type::<Publisher>(), publish), (py.get_type::<Bus>(), publish_on)] {
        // SAFETY: the definition is complete and lives for ever; the descriptor checks that it is called with one of the class.
        let method = unsafe {
            let method = Box::leak(Box::new(method));
            Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(class.as_type_ptr(), method))?
        };
        class.setattr("publish", method)?;
    }
    Ok(())
}

const PUBLISH_DOC: &CStr =
    c"publish($self, /, payload, *, priority=None, deadline=None, headers=None, time=None, retain=False)\n--\n\nPublishes one payload.";
const PUBLISH_ON_DOC: &CStr =
    c"publish($self, topic, payload, options=None, /)\n--\n\nPublishes one payload on a topic by name, with options from a dictionary.";

/// What may accompany a payload, by name.
const OPTIONS: [&str; 5] = ["priority", "deadline", "headers", "time", "retain"];

/// `Publisher.publish`.
///
/// # Safety
/// Called by the interpreter with a publisher, `count` positional arguments, and after them those that are named.
unsafe extern "C" fn publish(
    publisher: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: methods are called with the thread attached. The caller holds references to what it passes.
    unsafe {
        let py = Python::assume_attached();
        let publisher = Borrowed::from_ptr(py, publisher).cast_unchecked::<Publisher>();
        let this = publisher.get();
        if count == 1
            && names.is_null()
            && let Some(published) = publish_plainly(this, Borrowed::from_ptr(py, *arguments))
        {
            return published;
        }
        publish_otherwise(this, arguments, count, names)
    }
}

/// Publishes a payload that needs no look, on a publisher that takes anything; `None` where either is not so.
#[inline(always)]
fn publish_plainly(publisher: &Publisher, payload: Borrowed<'_, '_, PyAny>) -> Option<*mut ffi::PyObject> {
    if !publisher.takes_anything() || !matches!(columns::known_kind(&payload), Some(Kind::Plain | Kind::Table)) {
        return None;
    }
    // SAFETY: the caller holds a reference to the payload; this is one more, for the event.
    unsafe { incref(payload.as_ptr()) };
    let content = Content::of_reference(payload.as_ptr());
    Some(match publisher.topic.publish_payload(interpreter(payload.py()), content, publisher.priority) {
        None => none(),
        Some(unfinished) => publish_end(publisher, unfinished),
    })
}

/// `Bus.publish`.
///
/// # Safety
/// Called by the interpreter with a bus and `count` positional arguments.
unsafe extern "C" fn publish_on(
    bus: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: methods are called with the thread attached. The caller holds references to what it passes; the publishers of a
    // bus are publishers, and the one found lives as long as the call, because it is kept by a reference of its own.
    unsafe {
        let py = Python::assume_attached();
        let bus = Borrowed::from_ptr(py, bus).cast_unchecked::<Bus>();
        let this = bus.get();
        // What is no dictionary has no size, and is refused below.
        if count == 2 || (count == 3 && ffi::PyDict_Size(*arguments.add(2)) == 0) {
            let known = look_up(this.publishers.as_ptr(), *arguments);
            if !known.is_null() {
                let publisher = Borrowed::from_ptr(py, known).cast_unchecked::<Publisher>();
                let published = publish_plainly(publisher.get(), Borrowed::from_ptr(py, *arguments.add(1)));
                decref(known);
                if let Some(published) = published {
                    return published;
                }
            }
        }
        publish_on_otherwise(this, arguments, usize::try_from(count).unwrap_or(0))
    }
}

/// A reference to what a dictionary has under a key; null where it has nothing, or an exception is set.
///
/// # Safety
/// A dictionary and a key to which the caller has references, and the thread is attached.
#[inline(always)]
pub(crate) unsafe fn look_up(dictionary: *mut ffi::PyObject, key: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: passed on.
    #[cfg(Py_GIL_DISABLED)]
    unsafe {
        // What is there may be taken out by another thread before it could be counted.
        let mut found = std::ptr::null_mut();
        ffi::compat::PyDict_GetItemRef(dictionary, key, &raw mut found);
        found
    }
    // SAFETY: passed on; nobody takes it out before it is counted.
    #[cfg(not(Py_GIL_DISABLED))]
    unsafe {
        let found = ffi::PyDict_GetItemWithError(dictionary, key);
        if !found.is_null() {
            incref(found);
        }
        found
    }
}

#[cold]
unsafe fn publish_on_otherwise(bus: &Bus, arguments: *const *mut ffi::PyObject, count: usize) -> *mut ffi::PyObject {
    event_type::attached(|py| {
        // What could not be looked up is refused below as no text, and what has no size as no dictionary.
        // SAFETY: the thread is attached.
        unsafe { ffi::PyErr_Clear() };
        // SAFETY: as the interpreter passed them.
        let given: Vec<_> = (0..count).map(|place| unsafe { Borrowed::from_ptr(py, *arguments.add(place)) }).collect();
        let published = || {
            let (topic, payload, options) = match &*given {
                [topic, payload] => (topic, payload, None),
                [topic, payload, options] => (topic, payload, Some(options.cast::<PyDict>()?)),
                _ => {
                    let message =
                        format!("publish() takes a topic, a payload and options; {count} arguments were given");
                    return Err(PyTypeError::new_err(message));
                }
            };
            let mut values = [const { None }; OPTIONS.len()];
            for (name, value) in options.into_iter().flat_map(|options| options.iter()) {
                let name = name.cast_into::<PyString>()?;
                values[place_of(name.to_str()?, &OPTIONS)?] = Some(value);
            }
            bus.publish(topic, payload, &accompaniment(values.each_ref().map(Option::as_ref))?)
        };
        result(py, published())
    })
}

/// Where the value of a named argument belongs.
fn place_of(name: &str, names: &[&str]) -> PyResult<usize> {
    names
        .iter()
        .position(|known| *known == name)
        .ok_or_else(|| PyTypeError::new_err(format!("publish() got an unexpected keyword argument '{name}'")))
}

/// What accompanies a payload, from the values of `OPTIONS`.
fn accompaniment<'a, 'py>(values: [Option<&'a Bound<'py, PyAny>>; OPTIONS.len()]) -> PyResult<Accompaniment<'a, 'py>> {
    let [priority, deadline, headers, time, retain] = values.map(|value| value.filter(|value| !value.is_none()));
    let time = time.map(time_of).transpose()?;
    let retain = retain.map_or(Ok(false), truth_of)?;
    Ok(Accompaniment { priority, deadline, headers, time, retain })
}

pub(crate) fn none() -> *mut ffi::PyObject {
    // SAFETY: `None` lives for ever.
    unsafe {
        let none = ffi::Py_None();
        incref(none);
        none
    }
}

/// The result of a call as the interpreter expects it.
fn result(py: Python<'_>, called: PyResult<()>) -> *mut ffi::PyObject {
    match called {
        Ok(()) => none(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}

#[cold]
fn publish_end(publisher: &Publisher, unfinished: Box<Unfinished<Content>>) -> *mut ffi::PyObject {
    event_type::attached(|py| {
        let Unfinished { published, mut outcome } = *unfinished;
        result(py, publisher.finish(py, published, &mut outcome))
    })
}

#[cold]
unsafe fn publish_otherwise(
    publisher: &Publisher,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    event_type::attached(|py| {
        // SAFETY: as the interpreter passed them.
        let (given, names) = unsafe {
            let names = Bound::from_borrowed_ptr_or_opt(py, names).map(|names| names.cast_into_unchecked::<PyTuple>());
            let all = count as usize + names.as_ref().map_or(0, PyTupleMethods::len);
            let given: Vec<_> = (0..all).map(|place| Borrowed::from_ptr(py, *arguments.add(place))).collect();
            (given, names)
        };
        result(py, publish_with(py, publisher, &given, count as usize, names.as_ref()))
    })
}

fn publish_with<'py>(
    py: Python<'py>,
    publisher: &Publisher,
    given: &[Borrowed<'_, 'py, PyAny>],
    positional: usize,
    names: Option<&Bound<'py, PyTuple>>,
) -> PyResult<()> {
    const NAMES: [&str; 1 + OPTIONS.len()] = {
        let [priority, deadline, headers, time, retain] = OPTIONS;
        ["payload", priority, deadline, headers, time, retain]
    };
    if positional > 1 {
        let message = format!("publish() takes 1 positional argument but {positional} were given");
        return Err(PyTypeError::new_err(message));
    }
    let mut values = [None; NAMES.len()];
    values[0] = given.first().filter(|_| positional == 1);
    for (index, name) in names.into_iter().flat_map(|names| names.iter().enumerate()) {
        let name = name.cast_into::<PyString>()?;
        let name = name.to_str()?;
        let place = place_of(name, &NAMES)?;
        if values[place].replace(&given[positional + index]).is_some() {
            return Err(PyTypeError::new_err(format!("publish() got multiple values for argument '{name}'")));
        }
    }
    let values: [Option<&Bound<'py, PyAny>>; NAMES.len()] = values.map(|value| value.map(|value| &**value));
    let [payload, options @ ..] = values;
    let Some(payload) = payload else {
        return Err(PyTypeError::new_err("publish() missing 1 required positional argument: 'payload'"));
    };
    publisher.check(py)?;
    publisher.send(payload, &accompaniment(options)?, &mut Outcome::default())
}

/// An iteration over a subscription.
#[repr(C)]
struct Iteration {
    base: ffi::PyObject,
    /// Null once the collector has cleared it.
    subscription: *mut ffi::PyObject,
}

/// Begins an iteration over events, or over bare payloads.
pub(crate) fn iterate<'py>(subscription: Bound<'py, Subscription>, payloads: bool) -> PyResult<Bound<'py, PyAny>> {
    let py = subscription.py();
    let class = if payloads { &PAYLOADS } else { &EVENTS }.load(Ordering::Acquire);
    // SAFETY: the class was made with the module; its memory comes zeroed, so the collector may see it before it is filled.
    unsafe {
        let iteration = Bound::from_owned_ptr_or_err(py, ffi::PyType_GenericAlloc(class, 0))?;
        (*iteration.as_ptr().cast::<Iteration>()).subscription = subscription.into_ptr();
        Ok(iteration)
    }
}

/// The flags of a class of ours. Those of C are a `long`, which has 64 bits on some systems; a specification takes 32.
#[allow(clippy::unnecessary_cast)]
pub(crate) const FINAL: u32 =
    (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION | ffi::Py_TPFLAGS_IMMUTABLETYPE) as u32;
/// And of one that the collector looks into.
#[allow(clippy::unnecessary_cast)]
pub(crate) const FINAL_COLLECTED: u32 = FINAL | ffi::Py_TPFLAGS_HAVE_GC as u32;

fn iterator_class<'py>(
    py: Python<'py>,
    name: &'static CStr,
    doc: &'static CStr,
    next: ffi::iternextfunc,
) -> PyResult<Bound<'py, PyType>> {
    let slot = |slot, pfunc: *mut c_void| ffi::PyType_Slot { slot, pfunc };
    let mut slots = [
        slot(ffi::Py_tp_iter, ffi::PyObject_SelfIter as *mut c_void),
        slot(ffi::Py_tp_iternext, next as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast()),
        slot(0, std::ptr::null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size_of::<Iteration>() as c_int,
        itemsize: 0,
        flags: FINAL_COLLECTED,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the specification is complete; the slots are read during the call, what they point to is static.
    let class = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec))? };
    Ok(class.cast_into::<PyType>()?)
}

/// The next event, or its payload; waits for it.
///
/// # Safety
/// Called by the interpreter with an iteration and the thread attached.
unsafe extern "C" fn next<const PAYLOADS: bool>(iteration: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the iteration holds a reference to its subscription, unless it was cleared.
    unsafe {
        let py = Python::assume_attached();
        let subscription = (*iteration.cast::<Iteration>()).subscription;
        if subscription.is_null() {
            return std::ptr::null_mut();
        }
        let subscription = Borrowed::from_ptr(py, subscription).cast_unchecked::<Subscription>();
        let this = subscription.get();
        if !this.node.is_forked() {
            if PAYLOADS {
                if let Some(received) = this.try_receive_contents(py) {
                    return hand_out_payload(received);
                }
            } else if let Some(event) = this.try_receive(py) {
                return event_type::object(py, event, EVENT.load(Ordering::Relaxed));
            }
        }
        next_waiting::<PAYLOADS>(this)
    }
}

#[inline(always)]
fn hand_out<const PAYLOADS: bool>(py: Python<'_>, event: Event) -> *mut ffi::PyObject {
    if PAYLOADS {
        return hand_out_payload(event.into_contents(interpreter(py)));
    }
    // SAFETY: the class of events was kept when the module was made.
    unsafe { event_type::object(py, event, EVENT.load(Ordering::Relaxed)) }
}

#[inline(always)]
fn hand_out_payload(received: Result<Contents, Event>) -> *mut ffi::PyObject {
    match received {
        Ok(Contents { payload: Some(content), extras: None }) => match content.into_object() {
            Ok(payload) => payload.as_ptr(),
            Err(content) => payload_otherwise(|py| content.to_python(py)),
        },
        Ok(contents) => payload_otherwise(|py| {
            let Contents { payload, extras } = contents;
            drop(extras);
            payload.map_or_else(|| Ok(py.None()), |content| content.to_python(py))
        }),
        Err(event) => payload_otherwise(|py| {
            let payload = event_type::payload_of(py, &event)?;
            event.release(interpreter(py));
            Ok(payload)
        }),
    }
}

#[cold]
#[inline(never)]
fn payload_otherwise(payload: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>>) -> *mut ffi::PyObject {
    event_type::attached(|py| match payload(py) {
        Ok(payload) => payload.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    })
}

#[cold]
#[inline(never)]
fn next_waiting<const PAYLOADS: bool>(subscription: &Subscription) -> *mut ffi::PyObject {
    event_type::attached(|py| match subscription.next(py) {
        Ok(Received::Event(event)) => hand_out::<PAYLOADS>(py, event),
        Ok(Received::Closed | Received::Timeout) => std::ptr::null_mut(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    })
}

unsafe extern "C" fn traverse(iteration: *mut ffi::PyObject, visit: ffi::visitproc, argument: *mut c_void) -> c_int {
    // SAFETY: called by the collector with an iteration; each refers to its class and, unless cleared, a subscription.
    unsafe {
        let subscription = (*iteration.cast::<Iteration>()).subscription;
        if !subscription.is_null() {
            let stop = visit(subscription, argument);
            if stop != 0 {
                return stop;
            }
        }
        visit(ffi::Py_TYPE(iteration).cast(), argument)
    }
}

unsafe extern "C" fn clear(iteration: *mut ffi::PyObject) -> c_int {
    // SAFETY: called with an iteration and the thread attached; the reference is given up once.
    unsafe {
        let subscription = std::mem::replace(&mut (*iteration.cast::<Iteration>()).subscription, std::ptr::null_mut());
        if !subscription.is_null() {
            decref(subscription);
        }
    }
    0
}

unsafe extern "C" fn dealloc(iteration: *mut ffi::PyObject) {
    // SAFETY: called with an iteration that nobody refers to, made by `PyType_GenericAlloc`.
    unsafe {
        let class = ffi::Py_TYPE(iteration);
        ffi::PyObject_GC_UnTrack(iteration.cast());
        clear(iteration);
        ffi::PyObject_GC_Del(iteration.cast());
        ffi::Py_DECREF(class.cast());
    }
}
