//! Time sources, stamps and the hybrid logical clock.

use crate::errors;
use crate::node::{detached, forks, lock};
use chronofabric_clock::{
    ClockError, ClockOptions, HybridLogicalClock as Hlc, NodeId, NodeStamp, Registry, Stamp as BusStamp,
    TimeSource as Source,
};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDateTime, PyDict, PyString, PyTuple, PyType};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What the clock refused, as the exception that users catch.
#[cold]
pub(crate) fn clock_error(py: Python<'_>, error: &ClockError) -> PyErr {
    let message = error.to_string();
    match error {
        ClockError::Drift { ahead_ns, limit_ns, .. } => errors::exception(py, "DriftError", &message, |attributes| {
            attributes.set_item("drift_ns", *ahead_ns)?;
            attributes.set_item("limit_ns", *limit_ns)
        }),
        ClockError::Closed => errors::exception(py, "ClosedError", &message, |_| Ok(())),
        ClockError::Forked => errors::exception(py, "ForkedError", &message, |_| Ok(())),
        ClockError::InvalidName { name } | ClockError::UnknownName { name, .. } => wrong(py, &message, "clock", name),
        ClockError::Text { thing, text, .. } => wrong(py, &message, thing, text),
        ClockError::InvalidOption { name, value, .. } => wrong(py, &message, name, value),
        ClockError::Length { thing, found, .. } => wrong(py, &message, thing, found),
        ClockError::InvalidDot { counter, .. } => wrong(py, &message, "counter", counter),
        ClockError::Encoding { thing, position, .. } => wrong(py, &message, thing, position),
        ClockError::DuplicateName { name } | ClockError::BuiltinName { name } => {
            errors::exception(py, "ClockError", &message, |attributes| attributes.set_item("clock", name))
        }
        _ => errors::exception(py, "ClockError", &message, |_| Ok(())),
    }
}

/// An argument of a clock with a value that cannot be used.
#[cold]
fn wrong<'py>(py: Python<'py>, message: &str, argument: &str, value: impl IntoPyObject<'py>) -> PyErr {
    errors::exception(py, "ArgumentError", message, |attributes| {
        attributes.set_item("argument", argument)?;
        attributes.set_item("value", value)
    })
}

/// Where a node takes its time from.
#[pyclass(module = "chronofabric._core.clock", frozen, subclass)]
pub(crate) struct TimeSource {
    source: Source,
}

#[pymethods]
impl TimeSource {
    /// Nanoseconds since the Unix epoch.
    fn now(&self) -> i64 {
        self.source.now_ns()
    }

    /// Which kind of source it is: `system`, `counter` or `simulated`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.source.name()
    }

    fn __repr__(&self) -> String {
        match &self.source {
            Source::Simulated(simulated) => format!("SimulatedClock(start={})", simulated.now_ns()),
            Source::Counter(_) => "CounterClock()".to_owned(),
            Source::System => "SystemClock()".to_owned(),
        }
    }
}

/// The system's clock.
#[pyclass(module = "chronofabric._core.clock", frozen, extends = TimeSource)]
pub(crate) struct SystemClock;

#[pymethods]
impl SystemClock {
    #[new]
    fn new() -> PyClassInitializer<Self> {
        PyClassInitializer::from(TimeSource { source: Source::system() }).add_subclass(Self)
    }
}

/// The processor's counter, disciplined to the system's clock.
#[pyclass(module = "chronofabric._core.clock", frozen, extends = TimeSource)]
pub(crate) struct CounterClock;

#[pymethods]
impl CounterClock {
    #[new]
    fn new() -> PyClassInitializer<Self> {
        PyClassInitializer::from(TimeSource { source: Source::counter() }).add_subclass(Self)
    }

    /// Whether the processor's own counter is used, rather than the system's monotonic clock.
    #[getter]
    fn hardware(slf: PyRef<'_, Self>) -> bool {
        slf.as_super().source.as_counter().is_some_and(chronofabric_clock::CounterSource::is_invariant)
    }
}

/// A clock that moves only when told.
#[pyclass(module = "chronofabric._core.clock", frozen, extends = TimeSource)]
pub(crate) struct SimulatedClock;

#[pymethods]
impl SimulatedClock {
    #[new]
    #[pyo3(signature = (start = None))]
    fn new(start: Option<&Bound<'_, PyAny>>) -> PyResult<PyClassInitializer<Self>> {
        let start_ns = start.map_or(Ok(0), |start| instant_ns(start, "start"))?;
        Ok(PyClassInitializer::from(TimeSource { source: Source::simulated(start_ns) }).add_subclass(Self))
    }

    /// Moves forward by a duration.
    fn advance(slf: PyRef<'_, Self>, py: Python<'_>, duration: &Bound<'_, PyAny>) -> PyResult<i64> {
        let by_ns = crate::subscription::duration_ns(duration, "duration")?;
        let Some(simulated) = slf.as_super().source.as_simulated() else { return Ok(0) };
        simulated.advance(by_ns).map_err(|error| clock_error(py, &error))
    }

    /// Moves forward to an instant.
    fn set(slf: PyRef<'_, Self>, py: Python<'_>, time: &Bound<'_, PyAny>) -> PyResult<()> {
        let time_ns = instant_ns(time, "time")?;
        let Some(simulated) = slf.as_super().source.as_simulated() else { return Ok(()) };
        simulated.set(time_ns).map_err(|error| clock_error(py, &error))
    }
}

/// An instant: integer nanoseconds since the Unix epoch, a stamp, or a datetime.
pub(crate) fn instant_ns(value: &Bound<'_, PyAny>, argument: &str) -> PyResult<i64> {
    if let Ok(stamp) = value.cast::<Stamp>() {
        return Ok(stamp.get().time_ns());
    }
    if value.is_instance_of::<PyDateTime>() {
        let named = PyDict::new(value.py());
        named.set_item("argument", argument)?;
        let convert = value.py().import("chronofabric.duration")?.getattr("instant_ns")?;
        return instant_ns(&convert.call((value,), Some(&named))?, argument);
    }
    let number = value.extract::<i64>().ok().filter(|_| value.is_exact_instance_of::<pyo3::types::PyInt>());
    number.ok_or_else(|| {
        let hint = "it must be a datetime, a stamp, or integer nanoseconds since the Unix epoch, between the years 1678 and 2262";
        errors::argument(value.py(), argument, value, hint)
    })
}

/// A source by name, or the one that an object stands for.
pub(crate) fn source_of(value: &Bound<'_, PyAny>) -> PyResult<Source> {
    let py = value.py();
    if let Ok(source) = value.cast::<TimeSource>() {
        return Ok(source.get().source.clone());
    }
    match value.cast::<PyString>() {
        Ok(name) => Registry::process().lookup(name.to_str()?).map_err(|error| clock_error(py, &error)),
        Err(_) => {
            let hint =
                "it must be the name of a registered time source, such as 'counter' or 'system', or a time source";
            Err(errors::argument(py, "clock", value, hint))
        }
    }
}

fn to_python<'py>(py: Python<'py>, source: Source) -> PyResult<Bound<'py, PyAny>> {
    let base = PyClassInitializer::from(TimeSource { source: source.clone() });
    Ok(match source {
        Source::System => Bound::new(py, base.add_subclass(SystemClock))?.into_any(),
        Source::Counter(_) => Bound::new(py, base.add_subclass(CounterClock))?.into_any(),
        Source::Simulated(_) => Bound::new(py, base.add_subclass(SimulatedClock))?.into_any(),
    })
}

/// The time source of a name, or the given one.
#[pyfunction]
fn source<'py>(name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    to_python(name.py(), source_of(name)?)
}

/// Names a time source for the whole process.
#[pyfunction(name = "register")]
fn register_source(py: Python<'_>, name: &str, source: &Bound<'_, TimeSource>) -> PyResult<()> {
    Registry::process().register(name, source.get().source.clone()).map_err(|error| clock_error(py, &error))
}

/// Takes a name back.
#[pyfunction]
fn unregister(py: Python<'_>, name: &str) -> PyResult<()> {
    Registry::process().remove(name).map(drop).map_err(|error| clock_error(py, &error))
}

/// The names of all registered time sources.
#[pyfunction]
fn sources() -> Vec<String> {
    Registry::process().names()
}

/// A reading of a hybrid logical clock, with the node that it is of.
#[pyclass(module = "chronofabric._core.clock", frozen, eq, ord, hash)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stamp(NodeStamp);

impl Stamp {
    pub(crate) fn new(stamp: BusStamp, node: NodeId) -> Self {
        Self(NodeStamp { stamp, node })
    }

    pub(crate) fn time_ns(&self) -> i64 {
        self.0.stamp.time_ns()
    }
}

#[pymethods]
impl Stamp {
    /// Nanoseconds since the Unix epoch, to 15.3 microseconds.
    #[getter]
    fn time(&self) -> i64 {
        self.0.stamp.time_ns()
    }

    /// Orders what has the same time.
    #[getter]
    fn counter(&self) -> u16 {
        self.0.stamp.counter()
    }

    /// The id of the node, 32 hexadecimal digits.
    #[getter]
    fn node(&self) -> String {
        self.0.node.to_string()
    }

    /// Its time as a datetime in UTC, rounded down to microseconds.
    #[allow(clippy::wrong_self_convention, reason = "the name is Python's; PyO3 passes a reference")]
    fn to_datetime<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("chronofabric.duration")?.getattr("to_datetime")?.call1((self.time(),))
    }

    /// 24 bytes: the stamp big endian, then the node.
    fn encode<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.encode())
    }

    /// A stamp from its 24 bytes.
    #[classmethod]
    fn decode(cls: &Bound<'_, PyType>, data: &[u8]) -> PyResult<Self> {
        NodeStamp::decode(data).map(Self).map_err(|error| clock_error(cls.py(), &error))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let decode = py.get_type::<Self>().getattr("decode")?;
        Ok((decode, PyTuple::new(py, [self.encode(py)])?))
    }

    fn __repr__(&self) -> String {
        format!("Stamp(time={}, counter={}, node='{}')", self.time(), self.counter(), self.0.node)
    }
}

/// The clock of a node.
#[pyclass(module = "chronofabric._core.clock", frozen)]
pub(crate) struct HybridLogicalClock {
    pub(crate) clock: Arc<Hlc>,
    keeper: Mutex<Option<Keeper>>,
    forks: u32,
}

impl HybridLogicalClock {
    /// Refuses to go on in a forked child: parent and child would give out the same stamps.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        if forks() == self.forks { Ok(()) } else { Err(clock_error(py, &ClockError::Forked)) }
    }
}

impl Drop for HybridLogicalClock {
    fn drop(&mut self) {
        // Told, not joined: this may be the interpreter's end, or a forked child without that thread.
        if let Some(keeper) = lock(&self.keeper).take().filter(|_| forks() == self.forks) {
            keeper.tell();
        }
    }
}

/// The thread that extends the persisted bound before the clock reaches it.
struct Keeper {
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

#[pymethods]
impl HybridLogicalClock {
    #[new]
    #[pyo3(signature = (source = None, *, node = None, max_drift = None, folder = None))]
    fn new(
        py: Python<'_>,
        source: Option<&Bound<'_, PyAny>>,
        node: Option<&str>,
        max_drift: Option<&Bound<'_, PyAny>>,
        folder: Option<PathBuf>,
    ) -> PyResult<Self> {
        let source = source.map_or_else(|| Ok(Source::counter()), source_of)?;
        let mut options = ClockOptions::default();
        if let Some(drift) = max_drift {
            options.max_drift_ns = crate::subscription::duration_ns(drift, "max_drift")?;
        }
        let raise = |error: ClockError| clock_error(py, &error);
        if let Some(folder) = folder {
            if node.is_some() {
                let value = PyString::new(py, node.unwrap_or_default());
                let hint = "a clock with a folder keeps its node id there; leave node out";
                return Err(errors::argument(py, "node", value.as_any(), hint));
            }
            let opened = detached(py, || Hlc::open_with_options(&folder, source, &options));
            let clock = Arc::new(opened.map_err(raise)?);
            let keeper = Mutex::new(Some(Keeper::start(&clock)?));
            return Ok(Self { clock, keeper, forks: forks() });
        }
        let node = node.map_or_else(NodeId::random, str::parse).map_err(raise)?;
        let clock = Arc::new(Hlc::with_options(source, node, &options).map_err(raise)?);
        Ok(Self { clock, keeper: Mutex::default(), forks: forks() })
    }

    /// A stamp for something that happens now.
    fn now(&self, py: Python<'_>) -> PyResult<Stamp> {
        self.check(py)?;
        let stamp = self.clock.now().map_err(|error| clock_error(py, &error))?;
        Ok(Stamp::new(stamp, self.clock.node()))
    }

    /// A stamp for the receipt of something stamped elsewhere.
    fn receive(&self, py: Python<'_>, remote: &Stamp) -> PyResult<Stamp> {
        self.check(py)?;
        let stamp = self.clock.receive(remote.0.stamp).map_err(|error| clock_error(py, &error))?;
        Ok(Stamp::new(stamp, self.clock.node()))
    }

    /// The newest stamp given out or received.
    #[getter]
    fn last(&self) -> Stamp {
        Stamp::new(self.clock.last(), self.clock.node())
    }

    /// The id of the node, 32 hexadecimal digits.
    #[getter]
    fn node(&self) -> String {
        self.clock.node().to_string()
    }

    /// How far ahead of this node's time a received stamp may be, in nanoseconds.
    #[getter]
    fn max_drift_ns(&self) -> i64 {
        self.clock.max_drift_ns()
    }

    /// Where its physical time comes from.
    #[getter]
    fn source<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, self.clock.source().clone())
    }

    /// Gives the folder back. Without a folder there is nothing to do.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if forks() != self.forks {
            // The thread that kept it and the lock on the folder are the parent's.
            return Ok(());
        }
        let keeper = lock(&self.keeper).take();
        let Some(keeper) = keeper else { return Ok(()) };
        // It is closed without the interpreter.
        self.clock.share();
        detached(py, || {
            keeper.stop();
            self.clock.close()
        })
        .map_err(|error| clock_error(py, &error))
    }

    fn __repr__(&self) -> String {
        format!("HybridLogicalClock(source='{}', node='{}')", self.clock.source().name(), self.clock.node())
    }
}

impl Keeper {
    fn start(clock: &Arc<Hlc>) -> PyResult<Self> {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let interval_ns = clock.extend_interval_ns().unwrap_or(1_000_000_000);
        // Not held by the thread: a clock that nobody has any more ends, and gives its folder back.
        let (told, clock) = (Arc::clone(&stop), Arc::downgrade(clock));
        let thread = crate::node::spawn("chronofabric-clock", move || {
            // In real time: a simulated clock that jumps is extended by the stamp that needs it.
            let pause = std::time::Duration::from_nanos(interval_ns.unsigned_abs());
            while !told.load(std::sync::atomic::Ordering::Acquire) {
                let Some(clock) = clock.upgrade() else { return };
                // A failure is tried again here, and reported by the stamp that cannot do without it.
                let _ = clock.extend();
                drop(clock);
                std::thread::park_timeout(pause);
            }
        })?;
        Ok(Self { stop, thread })
    }

    fn tell(&self) {
        self.stop.store(true, std::sync::atomic::Ordering::Release);
        self.thread.thread().unpark();
    }

    fn stop(self) {
        self.tell();
        let _ = self.thread.join();
    }
}

/// Adds the submodule `clock`.
pub(crate) fn register(parent: &Bound<'_, PyModule>) -> PyResult<()> {
    let module = PyModule::new(parent.py(), "clock")?;
    module.add_class::<TimeSource>()?;
    module.add_class::<SystemClock>()?;
    module.add_class::<CounterClock>()?;
    module.add_class::<SimulatedClock>()?;
    module.add_class::<Stamp>()?;
    module.add_class::<HybridLogicalClock>()?;
    crate::causality::register(&module)?;
    module.add_function(wrap_pyfunction!(source, &module)?)?;
    module.add_function(wrap_pyfunction!(register_source, &module)?)?;
    module.add_function(wrap_pyfunction!(unregister, &module)?)?;
    module.add_function(wrap_pyfunction!(sources, &module)?)?;
    parent.add_submodule(&module)
}
