//! Linux has all of it.

use super::Class;
use std::fs::{File, OpenOptions};
use std::io::{Error, Result, Write};

pub(super) const SLACK: &str = "a sleep may end up to 50 us late";

pub(super) fn least_slack() -> Result<()> {
    // SAFETY: this option takes and returns plain numbers.
    succeeded(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) })
}

pub(super) fn slack_ns() -> Option<u64> {
    // SAFETY: as above.
    u64::try_from(unsafe { libc::prctl(libc::PR_GET_TIMERSLACK, 0, 0, 0, 0) }).ok()
}

pub(super) fn pin(processor: usize) -> Result<()> {
    if processor >= libc::CPU_SETSIZE as usize {
        return Err(Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: an empty set is all zeros, and the processor lies within it.
    unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        libc::CPU_SET(processor, &mut set);
        succeeded(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set))
    }
}

pub(super) fn lock_memory() -> Result<()> {
    // SAFETY: takes plain flags.
    succeeded(unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) })
}

pub(super) fn keep_processors_awake() -> Result<File> {
    // It holds as long as the file is open.
    let mut file = OpenOptions::new().write(true).open("/dev/cpu_dma_latency")?;
    file.write_all(&0_i32.to_ne_bytes())?;
    Ok(file)
}

pub(super) fn enter(class: Class) -> Result<()> {
    match class {
        Class::Usual => set(libc::SCHED_OTHER, 0),
        Class::Fifo { priority } => set(libc::SCHED_FIFO, priority),
        Class::Deadline { runtime_ns, period_ns } => {
            let attributes = libc::sched_attr {
                size: size_of::<libc::sched_attr>() as u32,
                sched_policy: libc::SCHED_DEADLINE as u32,
                sched_flags: libc::SCHED_FLAG_RESET_ON_FORK as u64,
                sched_nice: 0,
                sched_priority: 0,
                sched_runtime: runtime_ns,
                sched_deadline: period_ns,
                sched_period: period_ns,
            };
            // SAFETY: the attributes are valid and say how long they are; 0 is the calling thread.
            let answer = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
            if answer == 0 { Ok(()) } else { Err(Error::last_os_error()) }
        }
    }
}

/// That no child inherits the class stays with the thread: only the privileged may take it back.
fn set(policy: libc::c_int, priority: u8) -> Result<()> {
    // SAFETY: all zeros are valid parameters.
    let mut parameters = unsafe { std::mem::zeroed::<libc::sched_param>() };
    parameters.sched_priority = i32::from(priority);
    // SAFETY: the parameters are valid; 0 is the calling thread.
    succeeded(unsafe { libc::sched_setscheduler(0, policy | libc::SCHED_RESET_ON_FORK, &parameters) })
}

fn succeeded(answer: libc::c_int) -> Result<()> {
    if answer == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}
