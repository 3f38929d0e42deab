//! Windows has a priority before all usual threads, and processors to choose from.

use super::Class;
use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use windows_sys::Win32::System::Threading::{
    GetCurrentThread, SetThreadAffinityMask, SetThreadPriority, THREAD_PRIORITY, THREAD_PRIORITY_NORMAL,
    THREAD_PRIORITY_TIME_CRITICAL,
};

pub(super) const SLACK: &str = "a sleep may end up to 16 ms late";

/// The sleep uses such a timer where there is one.
pub(super) fn least_slack() -> Result<()> {
    crate::alarm::high_resolution_timer().map(drop)
}

pub(super) fn slack_ns() -> Option<u64> {
    None
}

pub(super) fn pin(processor: usize) -> Result<()> {
    let outside = || Error::new(ErrorKind::InvalidInput, format!("processor {processor} is not among the first 64"));
    let shift = u32::try_from(processor).map_err(|_| outside())?;
    let mask = 1_usize.checked_shl(shift).ok_or_else(outside)?;
    // SAFETY: takes the calling thread and a plain number.
    succeeded(unsafe { SetThreadAffinityMask(GetCurrentThread(), mask) } != 0)
}

pub(super) fn lock_memory() -> Result<()> {
    lacking("Windows cannot lock all memory of a process")
}

pub(super) fn keep_processors_awake() -> Result<File> {
    lacking("this version does it on Linux only")
}

pub(super) fn enter(class: Class) -> Result<()> {
    match class {
        Class::Usual => set_priority(THREAD_PRIORITY_NORMAL),
        Class::Fifo { .. } => set_priority(THREAD_PRIORITY_TIME_CRITICAL),
        Class::Deadline { .. } => lacking("Windows has no class of deadlines: ask for \"fifo\""),
    }
}

fn set_priority(priority: THREAD_PRIORITY) -> Result<()> {
    // SAFETY: takes the calling thread and a plain number.
    succeeded(unsafe { SetThreadPriority(GetCurrentThread(), priority) } != 0)
}

fn succeeded(is_done: bool) -> Result<()> {
    if is_done { Ok(()) } else { Err(Error::last_os_error()) }
}

fn lacking<T>(what: &'static str) -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, what))
}
