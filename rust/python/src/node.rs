//! What all objects of one node share, and what holds for the whole process: forks and threads.

use crate::errors;
use crate::payload::Content;
use chronofabric_bus::{BusError, Subscription};
use pyo3::ffi;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) type Bus = chronofabric_bus::Bus<Content>;
pub(crate) type Topic = chronofabric_bus::Topic<Content>;
pub(crate) type Outcome = chronofabric_bus::Outcome<Content>;
pub(crate) type Victims = chronofabric_bus::Victims<Content>;
pub(crate) type Cell = chronofabric_bus::CellRef<Content>;

/// How many forks lie between this process and the one that loaded the module.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Calls that wait without the interpreter at this moment; interpreter exit lets them finish.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// The shared part of a node.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) bus: Bus,
    /// What was closed with the node, kept for its last report.
    pub(crate) closed: Mutex<Vec<Arc<Subscription<Content>>>>,
    forks: u32,
    pid: u32,
}

impl Node {
    pub(crate) fn new(name: String, bus: Bus) -> Self {
        let forks = FORKS.load(Ordering::Relaxed);
        Self { name, bus, closed: Mutex::default(), forks, pid: std::process::id() }
    }

    /// Refuses to work in a forked child: the threads and the waiters of the node stayed in the parent.
    #[inline]
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        if FORKS.load(Ordering::Relaxed) == self.forks { Ok(()) } else { Err(self.forked(py)) }
    }

    pub(crate) fn is_forked(&self) -> bool {
        FORKS.load(Ordering::Relaxed) != self.forks
    }

    #[cold]
    fn forked(&self, py: Python<'_>) -> PyErr {
        let message = format!(
            "fabric '{}' belongs to process {}, which this process was forked from; make a new Fabric here, or start \
             processes by 'spawn'",
            self.name, self.pid
        );
        errors::exception(py, "ForkedError", &message, |attributes| {
            attributes.set_item("name", &*self.name)?;
            attributes.set_item("owner_pid", self.pid)
        })
    }

    /// What the bus refused, with the name of the node where that helps.
    #[cold]
    pub(crate) fn error(&self, py: Python<'_>, error: &BusError) -> PyErr {
        match error {
            BusError::Closed => {
                let message = format!("fabric '{}' is closed", self.name);
                errors::exception(py, "ClosedError", &message, |attributes| attributes.set_item("name", &*self.name))
            }
            _ => errors::from_bus(py, error),
        }
    }
}

/// The calling thread as Python's `threading.get_ident` names it; never zero.
#[inline]
pub(crate) fn thread_ident() -> u64 {
    // SAFETY: has no precondition.
    #[allow(clippy::useless_conversion)]
    u64::from(unsafe { ffi::PyThread_get_thread_ident() })
}

/// Locks a mutex whose data stays valid at every step.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `wait` without the interpreter, counted, so that interpreter exit can let it finish.
pub(crate) fn detached<T: Send>(py: Python<'_>, wait: impl FnOnce() -> T + Send) -> T {
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            WAITING.fetch_sub(1, Ordering::AcqRel);
        }
    }
    WAITING.fetch_add(1, Ordering::AcqRel);
    let _counted = Counted;
    py.detach(wait)
}

/// How many calls wait without the interpreter.
#[pyfunction]
pub(crate) fn waiting() -> usize {
    WAITING.load(Ordering::Acquire)
}

/// Told by `os.register_at_fork` in the child.
#[pyfunction]
pub(crate) fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Starts a thread that no signal is delivered to: signals belong to Python's main thread.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        block_signals();
        body();
    })
}

#[cfg(unix)]
fn block_signals() {
    // SAFETY: the set is initialised by `sigfillset` before it is used, and a null old set is allowed.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&mut set);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

#[cfg(not(unix))]
fn block_signals() {}
