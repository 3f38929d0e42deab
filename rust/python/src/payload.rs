//! What events carry on their way through the node: a Python object by reference, or a record made without Python.

use crate::columns::{self, Kind, Table};
use crate::errors;
use crate::event_type::{self, Face, decref, incref};
use chronofabric_bus::{Access, Magazine, Payload, Pool};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMapping, PyString, PyTuple};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

/// How many unused cells the process keeps, and how many of them at hand for those who hold the interpreter.
const CELLS_KEPT: usize = 1 << 16;
const CELLS_AT_HAND: usize = 1 << 13;

static POOL: Pool<Content> = Pool::new(CELLS_KEPT);

/// Used by one thread at a time: the one that holds the interpreter.
struct OfInterpreter(Magazine<Content>);

// SAFETY: it is used only where the access is exclusive, which says that the thread holds the interpreter's lock.
unsafe impl Sync for OfInterpreter {}

static OF_INTERPRETER: OfInterpreter = OfInterpreter(Magazine::keeping(CELLS_AT_HAND));

thread_local! {
    static MAGAZINE: Magazine<Content> = const { Magazine::new() };
}

/// The access of who holds the interpreter. Its lock keeps everybody else out of what is only used with the interpreter held;
/// a free-threaded interpreter has no such lock.
#[cfg(not(Py_GIL_DISABLED))]
pub(crate) type Interpreter = chronofabric_bus::Exclusive;
#[cfg(Py_GIL_DISABLED)]
pub(crate) type Interpreter = chronofabric_bus::Concurrent;

/// See [`Interpreter`].
#[inline(always)]
pub(crate) fn interpreter(_py: Python<'_>) -> Interpreter {
    #[cfg(not(Py_GIL_DISABLED))]
    // SAFETY: the token says that the thread holds the interpreter's lock, and nothing of the bus lets go of it. Threads that
    // publish without it say so (`Bus::share`) before they begin.
    return unsafe { chronofabric_bus::Exclusive::new() };
    #[cfg(Py_GIL_DISABLED)]
    return chronofabric_bus::Concurrent;
}

/// The access of the collector of cycles while it traverses objects: it holds the interpreter's lock, and where there is none it
/// lets every other thread stand still that is attached.
pub(crate) fn collector() -> chronofabric_bus::Exclusive {
    // SAFETY: as stated; what is used without the interpreter says so (`Bus::share`), and is then not looked at.
    unsafe { chronofabric_bus::Exclusive::new() }
}

/// A payload in one word: a pointer with its kind in the two low bits, which are zero in the pointers themselves.
pub(crate) struct Content(NonNull<()>);

const KIND_BITS: usize = 3;
const OBJECT: usize = 0;
const MEASURED: usize = 1;
const SHARED: usize = 2;
const BATCH: usize = 3;

// SAFETY: it owns what it points to, and all of that is Send and Sync.
unsafe impl Send for Content {}
// SAFETY: as above.
unsafe impl Sync for Content {}

/// What a payload is.
pub(crate) enum View<'a> {
    /// Any Python object. Dropping it without the interpreter defers the release to the next thread that has it.
    Object(&'a Py<PyAny>),
    /// Named values from a native source or a guard; becomes a dictionary when Python looks at it.
    Record(&'a Record),
    /// A Python object that is published without the interpreter; only its numbers can be read without it.
    Held(&'a Held),
    /// The payloads of events that were published together, in a tuple.
    Batch(*mut ffi::PyObject),
}

/// A Python object with its size, which was asked for once: the object may change, and the count of bytes must not.
struct Measured {
    object: Py<PyAny>,
    bytes: usize,
}

/// What several events may carry at once, counted without the interpreter.
enum Shared {
    Record(Record),
    Held(Held),
}

/// A Python object that is published without the interpreter, as often as one likes: taken once, with what guards, filters
/// and bounds in bytes want to know of it.
pub(crate) struct Held {
    object: Py<PyAny>,
    bytes: usize,
    numbers: Vec<(Box<str>, f64)>,
}

/// How many numbers of a mapping are looked at when it is held, and how deep.
const NUMBERS_MAX: usize = 1024;
const DEPTH_MAX: usize = 8;

/// Gives out [`Content`] of one held object.
pub(crate) struct Stock(Arc<Shared>);

/// Named values.
#[derive(Debug, Default)]
pub(crate) struct Record(pub(crate) Vec<(&'static str, Value)>);

/// One value of a record.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Integer(i64),
    Number(f64),
    Text(Arc<str>),
}

impl Payload for Content {
    type Headers = Py<PyDict>;
    type Reply = crate::request::Handle;
    type Face = Face;

    fn pool() -> &'static Pool<Self> {
        &POOL
    }

    #[inline(always)]
    fn magazine<R>(access: impl Access, function: impl FnOnce(&Magazine<Self>) -> R) -> Option<R> {
        if is_exclusive(access) { Some(function(&OF_INTERPRETER.0)) } else { MAGAZINE.try_with(function).ok() }
    }

    fn measure(&mut self) {
        if self.kind() != OBJECT {
            return;
        }
        // SAFETY: only a publisher that holds the interpreter has Python objects to publish. The reference moves into the box:
        // nothing is dropped in between, and what is written over is not dropped either.
        unsafe {
            let py = Python::assume_attached();
            let pointer = self.pointer();
            let bytes = size_of(&Borrowed::from_ptr(py, pointer.cast()));
            let object = std::mem::transmute::<*mut (), Py<PyAny>>(pointer);
            let measured = Box::into_raw(Box::new(Measured { object, bytes }));
            std::ptr::write(self, Self::tagged(measured.cast(), MEASURED));
        }
    }

    fn bytes(&self) -> usize {
        match self.kind() {
            MEASURED => self.measured().bytes,
            SHARED => match self.shared() {
                Shared::Record(record) => size_of_val(&*record.0),
                Shared::Held(held) => held.bytes,
            },
            _ => 0,
        }
    }

    fn part(&self, place: usize) -> Self {
        // SAFETY: asked for by those only who hold the interpreter: receivers, and publishers of Python's objects. Objects live
        // as long as this content; so does a tuple, and its items with it.
        unsafe {
            let object = match self.view() {
                View::Object(object) if self.kind() == MEASURED => {
                    let measured =
                        Measured { object: object.clone_ref(Python::assume_attached()), bytes: self.bytes() };
                    return Self::tagged(Box::into_raw(Box::new(measured)).cast(), MEASURED);
                }
                View::Object(object) => object.as_ptr(),
                View::Batch(payloads) => ffi::PyTuple_GetItem(payloads, place as ffi::Py_ssize_t),
                View::Record(_) | View::Held(_) => {
                    Arc::increment_strong_count(self.pointer().cast::<Shared>());
                    return Self::tagged(self.pointer(), SHARED);
                }
            };
            incref(object);
            Self::tagged(object.cast(), OBJECT)
        }
    }

    fn share_headers(headers: &Py<PyDict>) -> Py<PyDict> {
        event_type::attached(|py| headers.clone_ref(py))
    }

    #[inline]
    fn release(self, access: impl Access) {
        if is_exclusive(access) && self.kind() == OBJECT {
            let object = ManuallyDrop::new(self).pointer();
            // SAFETY: exclusive access says that the thread holds the interpreter; the reference is given up here.
            unsafe { decref(object.cast()) };
        }
    }
}

#[inline(always)]
fn is_exclusive<A: Access>(_access: A) -> bool {
    A::EXCLUSIVE
}

impl Drop for Content {
    #[inline]
    fn drop(&mut self) {
        let pointer = self.pointer();
        // SAFETY: each pointer came from the conversion that is undone here, and is used no more.
        unsafe {
            match self.kind() {
                OBJECT | BATCH => drop(std::mem::transmute::<*mut (), Py<PyAny>>(pointer)),
                MEASURED => drop(Box::from_raw(pointer.cast::<Measured>())),
                _ => drop(Arc::from_raw(pointer.cast::<Shared>())),
            }
        }
    }
}

impl Content {
    #[inline(always)]
    fn tagged(pointer: *mut (), kind: usize) -> Self {
        debug_assert_eq!(pointer.addr() & KIND_BITS, 0);
        // SAFETY: pointers to objects, from boxes and from counted references are never null; adding a tag keeps that.
        Self(unsafe { NonNull::new_unchecked(pointer.map_addr(|address| address | kind)) })
    }

    #[inline(always)]
    fn kind(&self) -> usize {
        self.0.as_ptr().addr() & KIND_BITS
    }

    #[inline(always)]
    fn pointer(&self) -> *mut () {
        self.0.as_ptr().map_addr(|address| address & !KIND_BITS)
    }

    fn measured(&self) -> &Measured {
        debug_assert_eq!(self.kind(), MEASURED);
        // SAFETY: asked only where the kind says so.
        unsafe { &*self.pointer().cast::<Measured>() }
    }

    fn shared(&self) -> &Shared {
        debug_assert_eq!(self.kind(), SHARED);
        // SAFETY: asked only where the kind says so.
        unsafe { &*self.pointer().cast::<Shared>() }
    }

    /// What it is.
    #[inline]
    pub(crate) fn view(&self) -> View<'_> {
        match self.kind() {
            // SAFETY: `Py` is one pointer that is never null, and a plain object has no tag.
            OBJECT => View::Object(unsafe { &*std::ptr::from_ref(&self.0).cast::<Py<PyAny>>() }),
            MEASURED => View::Object(&self.measured().object),
            SHARED => match self.shared() {
                Shared::Record(record) => View::Record(record),
                Shared::Held(held) => View::Held(held),
            },
            _ => View::Batch(self.pointer().cast()),
        }
    }

    /// A Python object.
    #[inline(always)]
    pub(crate) fn of_object(object: Py<PyAny>) -> Self {
        Self::tagged(object.into_ptr().cast(), OBJECT)
    }

    /// A Python object, with a reference to it that the caller gives away.
    #[inline(always)]
    pub(crate) fn of_reference(object: *mut ffi::PyObject) -> Self {
        Self::tagged(object.cast(), OBJECT)
    }

    /// The payloads of a batch.
    pub(crate) fn of_batch(payloads: Bound<'_, PyTuple>) -> Self {
        Self::tagged(payloads.into_ptr().cast(), BATCH)
    }

    /// Named values.
    pub(crate) fn of_record(record: Record) -> Self {
        Self::of_shared(Arc::new(Shared::Record(record)))
    }

    fn of_shared(shared: Arc<Shared>) -> Self {
        Self::tagged(Arc::into_raw(shared).cast_mut().cast(), SHARED)
    }

    /// Takes a payload from Python: what exports Arrow becomes a table, everything else stays what it is.
    #[inline(always)]
    pub(crate) fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        match columns::kind(object)? {
            Kind::Plain | Kind::Table => Ok(Self::of_object(object.clone().unbind())),
            kind => Self::import(object, kind),
        }
    }

    #[cold]
    fn import(object: &Bound<'_, PyAny>, kind: Kind) -> PyResult<Self> {
        let py = object.py();
        if matches!(kind, Kind::OneShot) {
            let name = object.get_type().fully_qualified_name()?.to_string();
            let message = format!(
                "a {name} can be read only once, but every subscriber would read it; wrap it: publish(cf.Table(reader))"
            );
            return Err(errors::exception(py, "PayloadError", &message, |attributes| {
                attributes.set_item("kind", name)
            }));
        }
        Ok(Self::of_object(Py::new(py, Table::import(object)?)?.into_any()))
    }

    /// The payload as Python sees it.
    #[inline]
    pub(crate) fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.view() {
            View::Object(object) => Ok(object.clone_ref(py)),
            View::Record(record) => record.to_python(py),
            View::Held(held) => Ok(held.object.clone_ref(py)),
            View::Batch(payloads) => {
                // SAFETY: the tuple lives as long as this content.
                Ok(unsafe { Bound::from_borrowed_ptr(py, payloads) }.unbind())
            }
        }
    }

    /// The Python object, where it is one.
    #[inline]
    pub(crate) fn as_object(&self) -> Option<&Py<PyAny>> {
        match self.view() {
            View::Object(object) => Some(object),
            View::Held(held) => Some(&held.object),
            View::Record(_) | View::Batch(_) => None,
        }
    }

    /// Shows the collector the reference that it holds.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.view() {
            View::Object(object) => visit.call(object),
            // The one reference of what is held is of all events that carry it, and of who publishes it.
            View::Record(_) | View::Held(_) => Ok(()),
            View::Batch(payloads) => {
                // SAFETY: the tuple lives as long as this content, and the reference is not given up here.
                let payloads =
                    unsafe { ManuallyDrop::new(std::mem::transmute::<*mut ffi::PyObject, Py<PyAny>>(payloads)) };
                visit.call(&*payloads)
            }
        }
    }

    /// The Python object, with the reference to it, where it is nothing else.
    ///
    /// # Errors
    /// The content itself.
    #[inline(always)]
    pub(crate) fn into_object(self) -> Result<NonNull<ffi::PyObject>, Self> {
        if self.kind() != OBJECT {
            return Err(self);
        }
        Ok(ManuallyDrop::new(self).0.cast())
    }
}

impl Stock {
    /// Takes an object, which is not expected to change any more.
    pub(crate) fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut numbers = Vec::new();
        if let Ok(number) = object.extract::<f64>() {
            numbers.push(("value".into(), number));
        } else if let Ok(mapping) = object.cast::<PyMapping>() {
            numbers_of(mapping, "", DEPTH_MAX, &mut numbers)?;
        }
        let held = Held { object: object.clone().unbind(), bytes: size_of(object), numbers };
        Ok(Self(Arc::new(Shared::Held(held))))
    }

    /// The object, where no event carries it.
    pub(crate) fn alone(&self) -> Option<&Py<PyAny>> {
        match &*self.0 {
            Shared::Held(held) if Arc::strong_count(&self.0) == 1 => Some(&held.object),
            _ => None,
        }
    }

    /// What an event carries; needs no interpreter.
    pub(crate) fn content(&self) -> Content {
        Content::of_shared(Arc::clone(&self.0))
    }
}

/// The numbers of a mapping and of those in it, by their paths.
fn numbers_of(
    mapping: &Bound<'_, PyMapping>,
    path: &str,
    depth: usize,
    numbers: &mut Vec<(Box<str>, f64)>,
) -> PyResult<()> {
    for item in mapping.items()?.iter() {
        let (key, value) = item.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        let Ok(key) = key.extract::<String>() else { continue };
        if numbers.len() >= NUMBERS_MAX {
            return Ok(());
        }
        let name = if path.is_empty() { key } else { format!("{path}.{key}") };
        if let Ok(number) = value.extract::<f64>() {
            numbers.push((name.into(), number));
        } else if let Ok(inner) = value.cast::<PyMapping>()
            && depth > 1
        {
            numbers_of(inner, &name, depth - 1, numbers)?;
        }
    }
    Ok(())
}

impl Held {
    /// A field as a number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.numbers.iter().find(|(field, _)| **field == *name).map(|(_, number)| *number)
    }
}

impl Record {
    fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let fields = PyDict::new(py);
        for (name, value) in &self.0 {
            match value {
                Value::Integer(value) => fields.set_item(*name, *value)?,
                Value::Number(value) => fields.set_item(*name, *value)?,
                Value::Text(value) => fields.set_item(*name, &**value)?,
            }
        }
        Ok(fields.into_any().unbind())
    }

    /// A field as a number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(field, _)| *field == name).and_then(|(_, value)| match value {
            Value::Integer(value) => Some(*value as f64),
            Value::Number(value) => Some(*value),
            Value::Text(_) => None,
        })
    }
}

/// How many bytes an object holds: its buffers where it has some, otherwise what `sys.getsizeof` says.
fn size_of(object: &Bound<'_, PyAny>) -> usize {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return bytes.as_bytes().len();
    }
    if let Ok(table) = object.cast::<Table>() {
        return table.get().nbytes();
    }
    if let Ok(text) = object.cast::<PyString>() {
        return text.to_str().map_or(0, str::len);
    }
    if let Ok(array) = object.cast::<PyByteArray>() {
        return array.len();
    }
    let buffers = object.getattr("nbytes").and_then(|size| size.extract::<usize>());
    let shallow = || object.py().import("sys")?.call_method1("getsizeof", (object,))?.extract::<usize>();
    buffers.or_else(|_| shallow()).unwrap_or(0)
}
