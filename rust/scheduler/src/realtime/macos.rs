//! macOS has a class of deadlines, which it calls time constraints, and lets few other wishes be spoken.

use super::Class;
use std::fs::File;
use std::io::{Error, ErrorKind, Result};

pub(super) const SLACK: &str = "a sleep may end some milliseconds late, together with others";

/// Sleeps of this class are not put off so that they end together.
pub(super) fn least_slack() -> Result<()> {
    // SAFETY: takes plain numbers, and is about the calling thread.
    let answer = unsafe { libc::pthread_set_qos_class_self_np(libc::qos_class_t::QOS_CLASS_USER_INTERACTIVE, 0) };
    if answer == 0 { Ok(()) } else { Err(Error::from_raw_os_error(answer)) }
}

pub(super) fn slack_ns() -> Option<u64> {
    None
}

pub(super) fn pin(_processor: usize) -> Result<()> {
    lacking("macOS lets no thread choose its processor")
}

pub(super) fn lock_memory() -> Result<()> {
    lacking("macOS cannot lock all memory of a process")
}

pub(super) fn keep_processors_awake() -> Result<File> {
    lacking("this version does it on Linux only")
}

pub(super) fn enter(class: Class) -> Result<()> {
    match class {
        Class::Usual => unconstrain(),
        Class::Fifo { .. } => lacking("macOS has no such class before its usual threads: ask for \"deadline\""),
        Class::Deadline { runtime_ns, period_ns } => constrain(runtime_ns, period_ns),
    }
}

// A crate of its own is recommended for the rate of the clock, which is one call.
#[allow(deprecated)]
fn constrain(runtime_ns: u64, period_ns: u64) -> Result<()> {
    let mut rate = libc::mach_timebase_info { numer: 0, denom: 0 };
    // SAFETY: `rate` is valid for writing; the call cannot fail.
    unsafe { libc::mach_timebase_info(&raw mut rate) };
    let ticks = |ns: u64| {
        let ticks = u128::from(ns) * u128::from(rate.denom) / u128::from(rate.numer.max(1));
        u32::try_from(ticks).map_err(|_| Error::new(ErrorKind::InvalidInput, "its times are longer than macOS takes"))
    };
    let mut policy = libc::thread_time_constraint_policy {
        period: ticks(period_ns)?,
        computation: ticks(runtime_ns)?,
        constraint: ticks(period_ns)?,
        preemptible: 1,
    };
    // SAFETY: a policy of this flavour is as many words long as the count says.
    unsafe {
        set_policy(
            libc::THREAD_TIME_CONSTRAINT_POLICY,
            (&raw mut policy).cast(),
            libc::THREAD_TIME_CONSTRAINT_POLICY_COUNT,
        )
    }
}

fn unconstrain() -> Result<()> {
    let mut policy = libc::thread_standard_policy { no_data: 0 };
    // SAFETY: a policy of this flavour has no words.
    unsafe { set_policy(libc::THREAD_STANDARD_POLICY, (&raw mut policy).cast(), 0) }
}

/// # Safety
///
/// `policy` points to a policy of this flavour, `count` words long.
#[allow(deprecated)]
unsafe fn set_policy(
    flavor: libc::c_int,
    policy: libc::thread_policy_t,
    count: libc::mach_msg_type_number_t,
) -> Result<()> {
    // SAFETY: as the caller says; the thread is the calling one.
    let answer = unsafe {
        libc::thread_policy_set(
            libc::pthread_mach_thread_np(libc::pthread_self()),
            flavor as libc::thread_policy_flavor_t,
            policy,
            count,
        )
    };
    if answer == libc::KERN_SUCCESS { Ok(()) } else { Err(Error::other(format!("the kernel answered {answer}"))) }
}

fn lacking<T>(what: &'static str) -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, what))
}
