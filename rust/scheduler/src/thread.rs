//! Threads that leave signals to those of the program.

use std::thread::{Builder, JoinHandle};

/// Starts a thread that no signal is delivered to.
///
/// # Errors
///
/// The system starts no more threads.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(move || {
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
