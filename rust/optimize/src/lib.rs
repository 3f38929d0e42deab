//! Ordering of jobs against their due dates on one machine: dispatching rules, and an annealed search that beats them.
//!
//! A [`Batch`] is a set of jobs with processing times, due dates and weights, and pairs of which one precedes the other.
//! [`order()`] looks for the order with the least total weighted tardiness: for each job its weight by how much later than
//! due it ends, summed (`1 | prec | sum w T`, which is strongly NP-hard). It answers with that order, its value, and the
//! values of the two rules that it has to beat, earliest due date first and apparent tardiness cost.
//!
//! The crate knows no clock, no thread and no randomness but its seed: the caller says when to stop. Everything is
//! computed in integers, exactly; a batch whose values 64 bits cannot hold is refused.
//!
//! ```
//! use chronofabric_optimize::{Batch, Job, Kept, Search, order};
//!
//! let jobs = [
//!     Job { processing: 8, due: 9, weight: 1 },
//!     Job { processing: 4, due: 10, weight: 5 },
//!     Job { processing: 3, due: 12, weight: 5 },
//! ];
//! let batch = Batch::new(&jobs, &[(1, 2)])?;
//! let ordered = order(&batch, &Search::default(), &mut |_| false);
//! assert_eq!((ordered.order, ordered.tardiness), (vec![1, 2, 0], 6));
//! assert_eq!((ordered.edf, ordered.atc, ordered.kept), (25, 6, Kept::Atc));
//! # Ok::<(), chronofabric_optimize::BatchError>(())
//! ```
#![forbid(unsafe_code)]

mod batch;
mod dynasearch;
mod error;
mod order;
mod random;
mod rules;
mod search;

pub use batch::{Batch, JOBS_MAX, Job, PRECEDENCE_MAX};
pub use error::BatchError;
pub use order::{JobOrder, Kept, order};
pub use search::{Progress, Search};
