//! What needs no interpreter: what timers do in the thread that fires, and jobs in that of their worker.

use crate::flag::Flag;
use crate::guard::function_at;
use crate::node::outside;
use crate::prepared::{NativePublish, PreparedPublish};
use crate::publisher::Publisher;
use chronofabric_scheduler::Firing;
use pyo3::prelude::*;
use std::sync::Arc;

/// The kinds.
pub(crate) enum Native {
    /// Raise a flag.
    Flag(Py<Flag>),
    /// Call a C function with the instant and how late it is, in nanoseconds; with what keeps it where it is.
    Function(extern "C" fn(i64, f64), #[allow(dead_code)] Py<PyAny>),
    /// Publish a payload that was taken before, or when it was due and how late it is.
    Publish(Arc<NativePublish>),
    /// Write a one of eight bytes to a descriptor: what an eventfd counts.
    #[cfg(unix)]
    Descriptor(std::os::fd::OwnedFd),
}

impl Native {
    /// A flag, a publisher, one with a payload, what has the address of a C function, or a descriptor in a tuple of one; none of what
    /// needs the interpreter.
    pub(crate) fn new(object: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = object.py();
        if let Ok(flag) = object.cast::<Flag>() {
            return Ok(Some(Self::Flag(flag.clone().unbind())));
        }
        if let Ok(publisher) = object.cast::<Publisher>() {
            return Ok(Some(Self::Publish(Arc::new(NativePublish::new(py, publisher.get(), None)?))));
        }
        if let Ok(prepared) = object.cast::<PreparedPublish>() {
            return Ok(Some(Self::Publish(prepared.get().native())));
        }
        if let Ok(address) = object.getattr("address").and_then(|address| address.extract::<usize>()) {
            return Ok(Some(Self::Function(function_at(py, address)?, object.clone().unbind())));
        }
        #[cfg(unix)]
        if let Ok((descriptor,)) = object.extract::<(std::os::fd::RawFd,)>() {
            return descriptor_of(py, descriptor).map(Self::Descriptor).map(Some);
        }
        Ok(None)
    }

    /// As [`Native::act`], for a thread without the interpreter.
    pub(crate) fn act_outside(&self, firing: Firing) -> bool {
        // A C function holds nothing that a forked child would wait for, and may take long.
        if matches!(self, Self::Function(..)) { self.act(firing) } else { outside(|| self.act(firing)) }
    }

    /// Does it; says whether that succeeded.
    pub(crate) fn act(&self, firing: Firing) -> bool {
        match self {
            Self::Flag(flag) => flag.get().raise(),
            Self::Function(function, _) => function(firing.due_ns, (firing.now_ns - firing.due_ns) as f64),
            Self::Publish(publish) => return publish.publish(firing),
            #[cfg(unix)]
            Self::Descriptor(descriptor) => return write_one(descriptor),
        }
        true
    }
}

/// A descriptor of our own for the same file, so that the caller may close its.
#[cfg(unix)]
#[allow(unsafe_code)]
fn descriptor_of(py: Python<'_>, descriptor: std::os::fd::RawFd) -> PyResult<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;

    // SAFETY: a number that is no open descriptor makes these calls fail, and nothing else.
    let (flags, copy) =
        unsafe { (libc::fcntl(descriptor, libc::F_GETFL), libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0)) };
    if copy < 0 {
        let hint = "it must have a descriptor that is open";
        return Err(crate::errors::argument(py, "do", descriptor.into_pyobject(py)?.as_any(), hint));
    }
    // SAFETY: it was just made, and nobody else has it.
    let owned = unsafe { std::os::fd::OwnedFd::from_raw_fd(copy) };
    if flags & libc::O_NONBLOCK == 0 {
        let hint = "writing to it could make all timers wait; call os.set_blocking(descriptor, False) first";
        return Err(crate::errors::argument(py, "do", descriptor.into_pyobject(py)?.as_any(), hint));
    }
    Ok(owned)
}

#[cfg(unix)]
#[allow(unsafe_code)]
fn write_one(descriptor: &std::os::fd::OwnedFd) -> bool {
    use std::os::fd::AsRawFd;

    let one = 1_u64.to_ne_bytes();
    // SAFETY: the descriptor is open and the bytes are there.
    unsafe { libc::write(descriptor.as_raw_fd(), one.as_ptr().cast(), one.len()) >= 0 }
}
