//! On other systems nothing of it is asked for.

use super::Class;
use std::fs::File;
use std::io::{Error, ErrorKind, Result};

pub(super) const SLACK: &str = "a sleep may end up to 50 us late, or more";

pub(super) fn least_slack() -> Result<()> {
    lacking()
}

pub(super) fn slack_ns() -> Option<u64> {
    None
}

pub(super) fn pin(_processor: usize) -> Result<()> {
    lacking()
}

pub(super) fn lock_memory() -> Result<()> {
    lacking()
}

pub(super) fn keep_processors_awake() -> Result<File> {
    lacking()
}

pub(super) fn enter(_class: Class) -> Result<()> {
    lacking()
}

fn lacking<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "this version asks for it on Linux, macOS and Windows only"))
}
