//! What can be wrong with a batch, and with an order of it.

use crate::batch::{JOBS_MAX, PRECEDENCE_MAX};
use std::error::Error;
use std::fmt;

/// Why a batch, or an order of it, is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchError {
    /// More jobs than [`JOBS_MAX`].
    TooManyJobs {
        /// How many.
        jobs: usize,
    },
    /// More pairs of precedence than [`PRECEDENCE_MAX`].
    TooManyPairs {
        /// How many.
        pairs: usize,
    },
    /// A job that takes no time.
    NoProcessing {
        /// Which.
        job: usize,
    },
    /// The weighted tardiness could exceed what is computed exactly.
    TooLong {
        /// All processing times and the latest due date together.
        latest: u128,
        /// The most that this may be with these weights.
        latest_max: u64,
    },
    /// A pair of precedence names a job that does not exist.
    UnknownJob {
        /// Which.
        job: usize,
        /// How many there are.
        jobs: usize,
    },
    /// Jobs that each have to end before the next begins, and the last of them before the first.
    Cycle {
        /// These jobs.
        jobs: Vec<usize>,
    },
    /// A job that an order has not, has twice, or has although it does not exist.
    NotAnOrder {
        /// Which.
        job: usize,
    },
    /// A job comes before one that precedes it.
    AgainstPrecedence {
        /// The one that has to be first.
        before: usize,
        /// The one that was.
        after: usize,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyJobs { jobs } => {
                write!(formatter, "there are {jobs} jobs, and a batch has at most {JOBS_MAX}; order it in parts")
            }
            Self::TooManyPairs { pairs } => write!(
                formatter,
                "precedence has {pairs} pairs, and at most {PRECEDENCE_MAX} are taken; leave out those that follow from others"
            ),
            Self::NoProcessing { job } => write!(formatter, "job {job} has a processing time of 0; give at least 1"),
            Self::TooLong { latest, latest_max } => write!(
                formatter,
                "processing times and the latest due date are {latest} together, and with these weights at most \
                 {latest_max} can be computed exactly; give smaller weights or a coarser unit of time"
            ),
            Self::UnknownJob { job, jobs } => {
                write!(formatter, "precedence names job {job}, but there are {jobs} jobs, counted from 0")
            }
            Self::Cycle { jobs } => {
                formatter.write_str("precedence is a cycle: ")?;
                for job in jobs {
                    write!(formatter, "{job} before ")?;
                }
                write!(formatter, "{}; take one of these pairs out", jobs.first().copied().unwrap_or_default())
            }
            Self::NotAnOrder { job } => write!(formatter, "an order has every job once, and job {job} is not so in it"),
            Self::AgainstPrecedence { before, after } => {
                write!(formatter, "job {after} comes before job {before}, which precedes it")
            }
        }
    }
}

impl Error for BatchError {}
