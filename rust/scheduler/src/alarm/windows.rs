//! A timer of high resolution and an event, waited for together: the timed waits of Windows end with a tick of its scheduler,
//! up to 16 ms late.

use super::ASLEEP;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;
use std::sync::atomic::{AtomicU32, Ordering};
use windows_sys::Win32::Foundation::{HANDLE, WAIT_OBJECT_0};
use windows_sys::Win32::System::Threading::{
    CREATE_WAITABLE_TIMER_HIGH_RESOLUTION, CreateEventW, CreateWaitableTimerExW, INFINITE, SetEvent, SetWaitableTimer,
    TIMER_ALL_ACCESS, WaitForMultipleObjects,
};

#[derive(Debug)]
pub(super) struct Bed {
    called: OwnedHandle,
    timer: OwnedHandle,
}

impl Bed {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: without attributes and name; what it answers is checked, and nobody else has it.
        let called = unsafe { owned(CreateEventW(null(), 0, 0, null())) }?;
        Ok(Self { called, timer: high_resolution_timer().or_else(|_| timer(0))? })
    }

    pub(super) fn sleep_here(&self) {}

    pub(super) fn wait(&self, word: &AtomicU32, for_ns: Option<i64>) {
        let handles = [self.called.as_raw_handle(), self.timer.as_raw_handle()];
        let mut count = 1;
        if let Some(for_ns) = for_ns {
            // In units of 100 ns, and negative, which means from now on.
            let due = -(for_ns / 100 + i64::from(for_ns % 100 > 0));
            // SAFETY: the timer is ours, and `due` is read during the call.
            if unsafe { SetWaitableTimer(handles[1], &raw const due, 0, None, null(), 0) } == 0 {
                return;
            }
            count = 2;
        }
        // An event of a call before this sleep may be left over: the word tells.
        while word.load(Ordering::Acquire) == ASLEEP {
            // SAFETY: both handles are ours, and open.
            if unsafe { WaitForMultipleObjects(count, handles.as_ptr(), 0, INFINITE) } != WAIT_OBJECT_0 {
                return;
            }
        }
    }

    pub(super) fn wake(&self, _word: &AtomicU32) {
        // SAFETY: the event is ours, and open.
        unsafe { SetEvent(self.called.as_raw_handle()) };
    }
}

/// A timer that ends a wait within half a millisecond, which Windows has since version 1803.
pub(crate) fn high_resolution_timer() -> io::Result<OwnedHandle> {
    timer(CREATE_WAITABLE_TIMER_HIGH_RESOLUTION)
}

fn timer(flags: u32) -> io::Result<OwnedHandle> {
    // SAFETY: without attributes and name; what it answers is checked, and nobody else has it.
    unsafe { owned(CreateWaitableTimerExW(null(), null(), flags, TIMER_ALL_ACCESS)) }
}

/// # Safety
/// The handle was just made, or is null.
unsafe fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as the caller promises.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}
