//! What the scheduler refuses, and why.

use std::{error, fmt};

/// The one error of the crate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchedulerError {
    /// As many timers are held as may be.
    TimerLimit {
        /// How many that is.
        limit: usize,
    },
    /// As many jobs wait as may.
    QueueLimit {
        /// How many that is.
        limit: usize,
    },
    /// An option has a value that cannot be used.
    Option {
        /// The name of the option.
        name: &'static str,
        /// Its value.
        value: i64,
        /// What it may be.
        allowed: &'static str,
    },
    /// The thread that fires could not be started.
    Thread {
        /// What the system said.
        reason: String,
    },
    /// It was closed.
    Closed,
}

impl fmt::Display for SchedulerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimerLimit { limit } => {
                write!(formatter, "{limit} timers are held already: cancel some, or allow more with timers_max")
            }
            Self::QueueLimit { limit } => {
                write!(formatter, "{limit} jobs wait already: let some finish, or allow more with jobs_max")
            }
            Self::Option { name, value, allowed } => write!(formatter, "{name} is {value}; {allowed}"),
            Self::Thread { reason } => write!(formatter, "the thread that fires could not be started: {reason}"),
            Self::Closed => write!(formatter, "the timers are closed: make new ones"),
        }
    }
}

impl error::Error for SchedulerError {}
