//! What tasks await: the next event of an `async for`, and an asynchronous publish.
//!
//! A coroutine function or an asynchronous generator costs more than what it does here, which mostly is over at once. These
//! awaitables do it when they are awaited, as coroutines do, and become a Python coroutine that waits only where there is
//! something to wait for. They have all the methods of a coroutine, so a task can be made of them. An event is taken and
//! handed out in the same step, so cancelling loses none.
//!
//! Written against the C API for the reasons, and under the rules, that [`crate::hot`] states.

use crate::columns::{self, Kind};
use crate::event_type::{self, decref, incref};
use crate::hot::{FINAL_COLLECTED, none};
use crate::payload::{Content, interpreter};
use crate::publisher::Publisher;
use crate::subscription::Subscription;
use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration, PyTypeError, PyValueError};
use pyo3::ffi::{self, PySendResult};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

/// How many events an `async for` hands out at most before it lets the event loop run others.
const YIELD_EVERY: u32 = 64;

/// The classes made here and that of events, each set once, when the module is made.
static EVENT: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
static EVENTS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
static RECEIVING: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
static PUBLISHING: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());

/// Nobody has awaited it yet.
const FRESH: u8 = 0;
/// It waits.
const SUSPENDED: u8 = 1;
/// It is being driven at this moment.
const RUNNING: u8 = 2;
/// It is over.
const DONE: u8 = 3;

/// The next event, or a publish.
#[repr(C)]
struct Awaitable {
    base: ffi::PyObject,
    /// The iteration, or the publisher. This and the references below are null where there is none, and once it is over.
    target: *mut ffi::PyObject,
    payload: *mut ffi::PyObject,
    /// The named arguments of a publish.
    options: *mut ffi::PyObject,
    /// The coroutine that waits.
    waiting: *mut ffi::PyObject,
    state: AtomicU8,
}

/// An asynchronous iteration over a subscription.
#[repr(C)]
struct Iteration {
    base: ffi::PyObject,
    /// Null once the collector has cleared it.
    subscription: *mut ffi::PyObject,
    /// How many events were handed out since the event loop last ran others.
    handed_out: AtomicU32,
}

/// What an object made here refers to.
trait Referring {
    const COUNT: usize;
    /// The places of its references.
    fn references(object: *mut ffi::PyObject) -> [*mut *mut ffi::PyObject; 4];
}

impl Referring for Awaitable {
    const COUNT: usize = 4;
    fn references(object: *mut ffi::PyObject) -> [*mut *mut ffi::PyObject; 4] {
        let this = object.cast::<Self>();
        // SAFETY: the places of the fields of an object of this type; nothing is read.
        unsafe {
            [&raw mut (*this).target, &raw mut (*this).payload, &raw mut (*this).options, &raw mut (*this).waiting]
        }
    }
}

impl Referring for Iteration {
    const COUNT: usize = 1;
    fn references(object: *mut ffi::PyObject) -> [*mut *mut ffi::PyObject; 4] {
        let this = object.cast::<Self>();
        // SAFETY: as above.
        let subscription = unsafe { &raw mut (*this).subscription };
        [subscription; 4]
    }
}

/// Makes the classes, and gives subscriptions and publishers their asynchronous methods.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("YIELD_EVERY", YIELD_EVERY)?;
    EVENT.store(event_type::class(py)?.as_type_ptr(), Ordering::Release);
    let events = class::<Iteration>(
        py,
        c"chronofabric._core.bus.AsyncEvents",
        c"Events, one by one, for a task.",
        &mut [
            slot(ffi::Py_am_aiter, ffi::PyObject_SelfIter as *mut c_void),
            slot(ffi::Py_am_anext, anext as *mut c_void),
        ],
    )?;
    let receiving = coroutine_class::<false>(py, c"chronofabric._core.bus.Receiving", c"The next event, for a task.")?;
    let publishing = coroutine_class::<true>(py, c"chronofabric._core.bus.Publishing", c"A publish, for a task.")?;
    for (place, class) in [(&EVENTS, &events), (&RECEIVING, &receiving), (&PUBLISHING, &publishing)] {
        // Kept for ever: objects are made by its address.
        place.store(class.clone().unbind().into_ptr().cast(), Ordering::Release);
        module.add(class.name()?, class)?;
    }
    let method = method(c"publish_async", fast(publish_async), ffi::METH_FASTCALL | ffi::METH_KEYWORDS, PUBLISH_DOC);
    let publisher = py.get_type::<Publisher>();
    // SAFETY: the definition is complete and lives for ever; the descriptor checks that it is called with a publisher.
    let method = unsafe {
        let method = Box::leak(Box::new(method));
        Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(publisher.as_type_ptr(), method))?
    };
    publisher.setattr("publish_async", method)
}

const PUBLISH_DOC: &CStr =
    c"publish_async($self, /, payload, *, priority=None, deadline=None, headers=None, time=None, retain=False)\n--\n\n\
    Publishes one payload; waits for room without blocking the event loop.";

fn slot(slot: c_int, pfunc: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot, pfunc }
}

fn fast(method: ffi::PyCFunctionFastWithKeywords) -> ffi::PyMethodDefPointer {
    ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: method }
}

fn method(
    name: &'static CStr,
    function: ffi::PyMethodDefPointer,
    flags: c_int,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef { ml_name: name.as_ptr(), ml_meth: function, ml_flags: flags, ml_doc: doc.as_ptr() }
}

/// A class of awaitables.
fn coroutine_class<'py, const PUBLISHES: bool>(
    py: Python<'py>,
    name: &'static CStr,
    doc: &'static CStr,
) -> PyResult<Bound<'py, PyType>> {
    let plain = |method| ffi::PyMethodDefPointer { PyCFunction: method };
    let methods = Box::leak(Box::new([
        method(c"send", plain(send::<PUBLISHES>), ffi::METH_O, c"send($self, value, /)\n--\n\nGoes on."),
        method(
            c"throw",
            plain(throw::<PUBLISHES>),
            ffi::METH_VARARGS,
            c"throw($self, type, value=None, traceback=None, /)\n--\n\nRaises where it waits.",
        ),
        method(c"close", plain(close), ffi::METH_NOARGS, c"close($self, /)\n--\n\nEnds it."),
        ffi::PyMethodDef::zeroed(),
    ]));
    class::<Awaitable>(
        py,
        name,
        doc,
        &mut [
            slot(ffi::Py_am_await, ffi::PyObject_SelfIter as *mut c_void),
            slot(ffi::Py_am_send, advance::<PUBLISHES> as *mut c_void),
            slot(ffi::Py_tp_iter, ffi::PyObject_SelfIter as *mut c_void),
            slot(ffi::Py_tp_iternext, next::<PUBLISHES> as *mut c_void),
            slot(ffi::Py_tp_methods, methods.as_mut_ptr().cast()),
        ],
    )
}

fn class<'py, T: Referring>(
    py: Python<'py>,
    name: &'static CStr,
    doc: &'static CStr,
    own: &mut [ffi::PyType_Slot],
) -> PyResult<Bound<'py, PyType>> {
    let mut slots = vec![
        slot(ffi::Py_tp_traverse, traverse::<T> as *mut c_void),
        slot(ffi::Py_tp_clear, clear::<T> as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc::<T> as *mut c_void),
        slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast()),
    ];
    slots.extend(own.iter().map(|each| slot(each.slot, each.pfunc)));
    slots.push(slot(0, null_mut()));
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size_of::<T>() as c_int,
        itemsize: 0,
        flags: FINAL_COLLECTED,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the specification is complete; the slots are read during the call, what they point to is static or leaked.
    let class = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec))? };
    Ok(class.cast_into::<PyType>()?)
}

/// Begins an asynchronous iteration.
pub(crate) fn iterate<'py>(subscription: Bound<'py, Subscription>) -> PyResult<Bound<'py, PyAny>> {
    let py = subscription.py();
    // SAFETY: the class was made with the module; its memory comes zeroed, so the collector may see it before it is filled.
    unsafe {
        let iteration = Bound::from_owned_ptr_or_err(py, ffi::PyType_GenericAlloc(EVENTS.load(Ordering::Acquire), 0))?;
        (*iteration.as_ptr().cast::<Iteration>()).subscription = subscription.into_ptr();
        Ok(iteration)
    }
}

/// Makes an awaitable, which nobody has awaited; null with an exception set where there is no memory.
unsafe fn new(class: &AtomicPtr<ffi::PyTypeObject>, target: *mut ffi::PyObject) -> *mut Awaitable {
    // SAFETY: as above; zero is `FRESH`. The caller refers to the target.
    unsafe {
        let this = ffi::PyType_GenericAlloc(class.load(Ordering::Relaxed), 0).cast::<Awaitable>();
        if !this.is_null() {
            incref(target);
            (*this).target = target;
        }
        this
    }
}

/// `__anext__`: nothing is taken before it is awaited.
unsafe extern "C" fn anext(iteration: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with an iteration and the thread attached.
    unsafe { new(&RECEIVING, iteration).cast() }
}

/// `Publisher.publish_async`: nothing is published before it is awaited.
unsafe extern "C" fn publish_async(
    publisher: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with a publisher, `count` positional arguments, and after them those that are named; the
    // caller holds references to them all.
    unsafe {
        if count != 1 || !names.is_null() {
            return publish_async_otherwise(publisher, arguments, count as usize, names);
        }
        let this = new(&PUBLISHING, publisher);
        if !this.is_null() {
            incref(*arguments);
            (*this).payload = *arguments;
        }
        this.cast()
    }
}

#[cold]
unsafe fn publish_async_otherwise(
    publisher: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    attached(|py| {
        // SAFETY: as the interpreter passed them.
        let (positional, names) = unsafe {
            let names = Bound::from_borrowed_ptr_or_opt(py, names).map(|names| names.cast_into_unchecked::<PyTuple>());
            let positional: Vec<_> =
                (0..count).map(|place| Bound::from_borrowed_ptr(py, *arguments.add(place))).collect();
            (positional, names)
        };
        let options = PyDict::new(py);
        for (place, name) in names.iter().flat_map(|names| names.iter()).enumerate() {
            // SAFETY: as above; the values of the named arguments follow the positional ones.
            let value = unsafe { Bound::from_borrowed_ptr(py, *arguments.add(count + place)) };
            options.set_item(name, value)?;
        }
        let mut positional = positional.into_iter();
        let payload = match (positional.next(), options.get_item("payload")?, positional.len()) {
            (Some(payload), None, 0) => payload,
            (None, Some(payload), _) => {
                options.del_item("payload")?;
                payload
            }
            (None, None, _) => {
                let message = "publish_async() missing 1 required positional argument: 'payload'";
                return Err(PyTypeError::new_err(message));
            }
            (Some(_), Some(_), 0) => {
                return Err(PyTypeError::new_err("publish_async() got multiple values for argument 'payload'"));
            }
            (Some(_), ..) => {
                let message = format!("publish_async() takes 1 positional argument but {count} were given");
                return Err(PyTypeError::new_err(message));
            }
        };
        // SAFETY: the publisher is alive; the new object takes over the references.
        unsafe {
            let this = new(&PUBLISHING, publisher);
            if this.is_null() {
                return Err(PyErr::fetch(py));
            }
            (*this).payload = payload.into_ptr();
            (*this).options = options.into_ptr();
            Ok(this.cast())
        }
    })
}

/// Attaches to the interpreter in PyO3's way; null with an exception set is an error.
#[inline(never)]
fn attached(body: impl for<'py> FnOnce(Python<'py>) -> PyResult<*mut ffi::PyObject>) -> *mut ffi::PyObject {
    event_type::attached(|py| {
        body(py).unwrap_or_else(|error| {
            error.restore(py);
            null_mut()
        })
    })
}

/// Goes on: `am_send`.
///
/// # Safety
/// Called by the interpreter with an awaitable, a value, a place for the result, and the thread attached.
unsafe extern "C" fn advance<const PUBLISHES: bool>(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> PySendResult {
    // SAFETY: as stated.
    unsafe {
        let this = object.cast::<Awaitable>();
        *result = null_mut();
        let sent = match drive(this) {
            FRESH | SUSPENDED if (*this).target.is_null() => {
                (*this).state.store(DONE, Ordering::Release);
                return refuse(DONE);
            }
            FRESH if PUBLISHES => publish_first(this, result),
            FRESH => receive_first(this, result),
            SUSPENDED => resume::<PUBLISHES>(this, value, result),
            DONE => {
                (*this).state.store(DONE, Ordering::Release);
                return refuse(DONE);
            }
            before => return refuse(before),
        };
        let after = if sent == PySendResult::PYGEN_NEXT { SUSPENDED } else { DONE };
        if after == DONE {
            release(this);
        }
        (*this).state.store(after, Ordering::Release);
        sent
    }
}

/// Begins to drive it, and says in which state it was; where that is `RUNNING`, another call drives it.
#[inline(always)]
unsafe fn drive(this: *mut Awaitable) -> u8 {
    // SAFETY: the awaitable that the interpreter passed. Whoever drives it stores its state in the end, so `RUNNING` in its place
    // changes nothing.
    unsafe { (*this).state.swap(RUNNING, Ordering::AcqRel) }
}

/// It cannot be driven now, or any more.
#[cold]
fn refuse(before: u8) -> PySendResult {
    let _null = attached(|_| {
        Err(if before == RUNNING {
            PyValueError::new_err("it is being awaited already")
        } else {
            PyRuntimeError::new_err("cannot reuse already awaited coroutine")
        })
    });
    PySendResult::PYGEN_ERROR
}

/// Gives up what it refers to, now that it is over.
#[inline(always)]
unsafe fn release(this: *mut Awaitable) {
    // SAFETY: passed on.
    unsafe { clear::<Awaitable>(this.cast()) };
}

unsafe fn receive_first(this: *mut Awaitable, result: *mut *mut ffi::PyObject) -> PySendResult {
    // SAFETY: an awaitable that is not over refers to its iteration.
    let handed_out = unsafe { &(*(*this).target.cast::<Iteration>()).handed_out };
    if handed_out.load(Ordering::Relaxed) >= YIELD_EVERY {
        handed_out.store(0, Ordering::Relaxed);
        // SAFETY: the place of the result. What yields nothing is asked again when others have run.
        unsafe { *result = none() };
        return PySendResult::PYGEN_NEXT;
    }
    // SAFETY: passed on.
    unsafe { receive(this, result) }
}

/// Takes the next event, or begins to wait for it.
unsafe fn receive(this: *mut Awaitable, result: *mut *mut ffi::PyObject) -> PySendResult {
    // SAFETY: an awaitable that is not over refers to its iteration, and that to its subscription unless it was cleared.
    unsafe {
        let py = Python::assume_attached();
        let iteration = &*(*this).target.cast::<Iteration>();
        if !iteration.subscription.is_null() {
            let subscription = Borrowed::from_ptr(py, iteration.subscription).cast_unchecked::<Subscription>();
            let subscription = subscription.get();
            if !subscription.node.is_forked()
                && let Some(event) = subscription.try_receive(py)
            {
                iteration.handed_out.fetch_add(1, Ordering::Relaxed);
                *result = event_type::object(py, event, EVENT.load(Ordering::Relaxed));
                return PySendResult::PYGEN_RETURN;
            }
        }
        receive_otherwise(this, result)
    }
}

#[cold]
#[inline(never)]
unsafe fn receive_otherwise(this: *mut Awaitable, result: *mut *mut ffi::PyObject) -> PySendResult {
    // SAFETY: as above.
    unsafe {
        let iteration = (*this).target.cast::<Iteration>();
        loop {
            let mut event = null_mut();
            (*this).waiting = attached(|py| {
                let subscription = Bound::from_borrowed_ptr_or_opt(py, (*iteration).subscription)
                    .ok_or_else(|| PyStopAsyncIteration::new_err(()))?
                    .cast_into::<Subscription>()?;
                let shared = subscription.get();
                shared.node.check(py)?;
                // Before the last look: what was accepted before the end is still handed out.
                let closed = shared.is_closed();
                if let Some(received) = shared.try_receive(py) {
                    event = event_type::create(py, received)?.into_ptr();
                    return Ok(null_mut());
                }
                if closed {
                    return Err(PyStopAsyncIteration::new_err(()));
                }
                Ok(subscription.call_method1("_wait", (py.None(),))?.into_ptr())
            });
            if !event.is_null() {
                (*iteration).handed_out.fetch_add(1, Ordering::Relaxed);
                *result = event;
                return PySendResult::PYGEN_RETURN;
            }
            if (*this).waiting.is_null() {
                return PySendResult::PYGEN_ERROR;
            }
            let sent = wait(this, ffi::Py_None(), result);
            if sent != PySendResult::PYGEN_RETURN {
                return sent;
            }
            (*iteration).handed_out.store(0, Ordering::Relaxed);
        }
    }
}

unsafe fn publish_first(this: *mut Awaitable, result: *mut *mut ffi::PyObject) -> PySendResult {
    // SAFETY: an awaitable that is not over refers to its publisher and its payload.
    unsafe {
        let py = Python::assume_attached();
        let publisher = Borrowed::from_ptr(py, (*this).target).cast_unchecked::<Publisher>();
        let publisher = publisher.get();
        if (*this).options.is_null() && publisher.takes_anything() {
            let payload = Borrowed::from_ptr(py, (*this).payload);
            if matches!(columns::known_kind(&payload), Some(Kind::Plain | Kind::Table)) {
                // The reference goes on.
                let content = Content::of_reference(std::mem::replace(&mut (*this).payload, null_mut()));
                match publisher.topic.publish_payload(interpreter(py), content, publisher.priority) {
                    None => {
                        *result = none();
                        return PySendResult::PYGEN_RETURN;
                    }
                    Some(unfinished) => {
                        (*this).waiting = attached(|py| {
                            let blocked = publisher.not_waiting(py, unfinished.published, unfinished.outcome)?;
                            let Some(blocked) = blocked else { return Ok(none()) };
                            let publisher = Bound::from_borrowed_ptr(py, (*this).target);
                            Ok(publisher.call_method1("_wait_for_room", (blocked,))?.into_ptr())
                        });
                    }
                }
                return publish_end(this, result);
            }
        }
        (*this).waiting = attached(|py| {
            let publisher = Bound::from_borrowed_ptr(py, (*this).target);
            let payload = Bound::from_borrowed_ptr(py, (*this).payload);
            let options = Bound::from_borrowed_ptr_or_opt(py, (*this).options);
            let options = options.map(|options| options.cast_into::<PyDict>()).transpose()?;
            let blocked = publisher.call_method("publish_start", (payload,), options.as_ref())?;
            if blocked.is_none() {
                return Ok(blocked.into_ptr());
            }
            Ok(publisher.call_method1("_wait_for_room", (blocked,))?.into_ptr())
        });
        publish_end(this, result)
    }
}

/// After a publish that was none of the common ones: `waiting` is the coroutine to wait for, `None`, or null for an error.
#[cold]
unsafe fn publish_end(this: *mut Awaitable, result: *mut *mut ffi::PyObject) -> PySendResult {
    // SAFETY: the awaitable is being driven; the result's place is the interpreter's.
    unsafe {
        if (*this).waiting.is_null() {
            return PySendResult::PYGEN_ERROR;
        }
        if (*this).waiting == ffi::Py_None() {
            *result = std::mem::replace(&mut (*this).waiting, null_mut());
            return PySendResult::PYGEN_RETURN;
        }
        let sent = wait(this, ffi::Py_None(), result);
        if sent == PySendResult::PYGEN_RETURN { waited::<true>(this, result) } else { sent }
    }
}

/// Drives the coroutine that waits. When that ends, it is given up, and the result is null.
unsafe fn wait(this: *mut Awaitable, value: *mut ffi::PyObject, result: *mut *mut ffi::PyObject) -> PySendResult {
    // SAFETY: there is such a coroutine.
    unsafe {
        let sent = ffi::PyIter_Send((*this).waiting, value, result);
        if sent == PySendResult::PYGEN_RETURN {
            decref(std::mem::replace(&mut (*this).waiting, null_mut()));
            if !(*result).is_null() {
                decref(std::mem::replace(&mut *result, null_mut()));
            }
        }
        sent
    }
}

/// Goes on where it was suspended.
#[cold]
unsafe fn resume<const PUBLISHES: bool>(
    this: *mut Awaitable,
    value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> PySendResult {
    // SAFETY: passed on.
    unsafe {
        if !(*this).waiting.is_null() {
            let sent = wait(this, value, result);
            if sent != PySendResult::PYGEN_RETURN {
                return sent;
            }
        }
        waited::<PUBLISHES>(this, result)
    }
}

/// What it waited for has come, or others have run.
unsafe fn waited<const PUBLISHES: bool>(this: *mut Awaitable, result: *mut *mut ffi::PyObject) -> PySendResult {
    // SAFETY: passed on; an awaitable that is not over refers to its iteration.
    unsafe {
        if PUBLISHES {
            *result = none();
            return PySendResult::PYGEN_RETURN;
        }
        (*(*this).target.cast::<Iteration>()).handed_out.store(0, Ordering::Relaxed);
        receive(this, result)
    }
}

/// Goes on, for a caller of `next` or `send`: what is returned, is raised.
unsafe extern "C" fn next<const PUBLISHES: bool>(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with an awaitable and the thread attached.
    unsafe { send::<PUBLISHES>(object, ffi::Py_None()) }
}

unsafe extern "C" fn send<const PUBLISHES: bool>(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with an awaitable, a value, and the thread attached.
    unsafe {
        let mut result = null_mut();
        let sent = advance::<PUBLISHES>(object, value, &raw mut result);
        raised(sent, result)
    }
}

/// A result as `next`, `send` and `throw` give it.
unsafe fn raised(sent: PySendResult, result: *mut ffi::PyObject) -> *mut ffi::PyObject {
    if sent == PySendResult::PYGEN_RETURN {
        // SAFETY: the result is a reference of ours. It is an event or `None`, which need not be wrapped.
        unsafe {
            ffi::PyErr_SetObject(ffi::PyExc_StopIteration, result);
            decref(result);
        }
        return null_mut();
    }
    result
}

/// Raises an exception where it waits, as the loop does to cancel it.
unsafe extern "C" fn throw<const PUBLISHES: bool>(
    object: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with an awaitable, a tuple, and the thread attached.
    unsafe {
        let this = object.cast::<Awaitable>();
        if drive(this) == RUNNING {
            refuse(RUNNING);
            return null_mut();
        }
        let mut sent = PySendResult::PYGEN_ERROR;
        let mut result = null_mut();
        if (*this).waiting.is_null() {
            raise(arguments);
        } else {
            result = attached(|py| {
                let arguments = Bound::from_borrowed_ptr(py, arguments).cast_into::<PyTuple>()?;
                Ok(Bound::from_borrowed_ptr(py, (*this).waiting).getattr("throw")?.call1(arguments)?.into_ptr())
            });
            if !result.is_null() {
                sent = PySendResult::PYGEN_NEXT;
            } else if ffi::PyErr_ExceptionMatches(ffi::PyExc_StopIteration) != 0 {
                // It no longer waits, whatever was raised.
                ffi::PyErr_Clear();
                decref(std::mem::replace(&mut (*this).waiting, null_mut()));
                sent = waited::<PUBLISHES>(this, &raw mut result);
            }
        }
        let after = if sent == PySendResult::PYGEN_NEXT { SUSPENDED } else { DONE };
        if after == DONE {
            release(this);
        }
        (*this).state.store(after, Ordering::Release);
        raised(sent, result)
    }
}

/// Raises what was thrown: an exception, or its class and perhaps a value.
fn raise(arguments: *mut ffi::PyObject) {
    let _null = attached(|py| {
        // SAFETY: the arguments as the interpreter passed them.
        let arguments = unsafe { Bound::from_borrowed_ptr(py, arguments) }.cast_into::<PyTuple>()?;
        let kind = arguments.get_item(0)?;
        let Ok(class) = kind.cast::<PyType>() else { return Err(PyErr::from_value(kind)) };
        match arguments.get_item(1).ok().filter(|value| !value.is_none()) {
            Some(value) if value.is_instance(class)? => Err(PyErr::from_value(value)),
            Some(value) => Err(PyErr::from_type(class.clone(), (value.unbind(),))),
            None => Err(PyErr::from_type(class.clone(), ())),
        }
    });
}

/// Ends it.
unsafe extern "C" fn close(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with an awaitable and the thread attached.
    unsafe {
        let this = object.cast::<Awaitable>();
        if drive(this) == RUNNING {
            refuse(RUNNING);
            return null_mut();
        }
        let closed = if (*this).waiting.is_null() {
            none()
        } else {
            attached(|py| Ok(Bound::from_borrowed_ptr(py, (*this).waiting).call_method0("close")?.into_ptr()))
        };
        release(this);
        (*this).state.store(DONE, Ordering::Release);
        closed
    }
}

unsafe extern "C" fn traverse<T: Referring>(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: called by the collector with an object of this type; each refers to its class and what it has.
    unsafe {
        for place in T::references(object).into_iter().take(T::COUNT) {
            if !(*place).is_null() {
                let stop = visit(*place, argument);
                if stop != 0 {
                    return stop;
                }
            }
        }
        visit(ffi::Py_TYPE(object).cast(), argument)
    }
}

unsafe extern "C" fn clear<T: Referring>(object: *mut ffi::PyObject) -> c_int {
    for place in T::references(object).into_iter().take(T::COUNT) {
        // SAFETY: called with an object of this type and the thread attached; each reference is given up once.
        unsafe {
            let reference = std::mem::replace(&mut *place, null_mut());
            if !reference.is_null() {
                decref(reference);
            }
        }
    }
    0
}

unsafe extern "C" fn dealloc<T: Referring>(object: *mut ffi::PyObject) {
    // SAFETY: called with an object that nobody refers to, made by `PyType_GenericAlloc`.
    unsafe {
        let class = ffi::Py_TYPE(object);
        ffi::PyObject_GC_UnTrack(object.cast());
        if class == PUBLISHING.load(Ordering::Relaxed)
            && (*object.cast::<Awaitable>()).state.load(Ordering::Relaxed) == FRESH
        {
            warn();
        }
        clear::<T>(object);
        ffi::PyObject_GC_Del(object.cast());
        ffi::Py_DECREF(class.cast());
    }
}

/// Warns of a publish that nobody awaited, as the interpreter does for coroutines.
#[cold]
fn warn() {
    const TEXT: *const c_char = c"coroutine 'Publisher.publish_async' was never awaited".as_ptr();
    event_type::attached(|py| {
        // It may be on its way out because of an exception.
        let raised = PyErr::take(py);
        // SAFETY: the text is static, the thread attached.
        if unsafe { ffi::PyErr_WarnEx(ffi::PyExc_RuntimeWarning, TEXT, 1) } != 0 {
            PyErr::fetch(py).write_unraisable(py, None);
        }
        if let Some(raised) = raised {
            raised.restore(py);
        }
    });
}
