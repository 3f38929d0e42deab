//! Time of chronofabric: where it is read, how it is stamped, and why it never steps back.
//!
//! # Time sources
//!
//! Whatever waits or stamps asks a [`TimeSource`], and every source answers in whole nanoseconds since the Unix epoch:
//!
//! | source | what it reads | for |
//! |---|---|---|
//! | [`TimeSource::system`] | the operating system's wall clock | agreement with everything else on the host |
//! | [`TimeSource::counter`] | the processor's cycle counter, kept on the wall clock | speed; never steps back |
//! | [`TimeSource::simulated`] | what it was last told | replays and tests |
//!
//! The process-wide [`Registry`] names them.
//!
//! # Stamps
//!
//! A [`HybridLogicalClock`] turns readings of its source into [`Stamp`]s: strictly increasing within the node, close to
//! physical time, and ordered after every stamp the node has received (Kulkarni, Demirbas, Madappa, Avva, Leone:
//! "Logical Physical Clocks", OPODIS 2014). With the [`NodeId`] beside it a stamp is unique and totally ordered over
//! all nodes ([`NodeStamp`]). Opened on a folder, the clock keeps its order across restarts and crashes.
//!
//! ```
//! use chronofabric_clock::{HybridLogicalClock, NodeId, TimeSource};
//!
//! let clock = HybridLogicalClock::new(TimeSource::counter(), NodeId::random()?);
//! let first = clock.now()?;
//! let second = clock.now()?;
//! assert!(first < second);
//! # Ok::<(), chronofabric_clock::ClockError>(())
//! ```
//!
//! # Causality
//!
//! Stamps order all events; [`VectorClock`] and [`DottedVersionVector`] say which of them could have caused which, and
//! [`CausalBuffer`] delivers in that order what arrives in another.
//!
//! # Layout
//!
//! `source` (with `system`, `counter`, `simulated`) and `registry` read time; `counter` rests on `hardware` (the only
//! unsafe code), `discipline` (the arithmetic, pure) and `seqlock`. `stamp` and `node` are values with their wire
//! forms. `hlc` joins a source to `word` (the one atomic word) and to `persistence` (the file). `causality` stands
//! by itself. `sync` swaps the atomics for those of loom.

#![deny(unsafe_code)]

mod causality;
mod counter;
mod discipline;
mod error;
mod hardware;
mod hlc;
mod node;
mod persistence;
mod registry;
mod seqlock;
mod simulated;
mod source;
mod stamp;
mod sync;
mod system;
mod word;

pub use causality::{
    Arrival, CausalBooks, CausalBuffer, CausalOptions, Causality, Dot, DottedVersionVector, Gap, OnFull, Refusal,
    VectorClock,
};
pub use counter::CounterSource;
pub use error::ClockError;
pub use hardware::CounterKind;
pub use hlc::{ClockOptions, DEFAULT_MAX_DRIFT_NS, HybridLogicalClock};
pub use node::NodeId;
pub use registry::{MAX_NAME_BYTES, MAX_SOURCES, Registry};
pub use simulated::{Attendant, SimulatedSource};
pub use source::{CANCEL_LATENCY_NS_MAX, TimeSource};
pub use stamp::{NodeStamp, STAMP_RESOLUTION_NS, Stamp, Stamps};
pub use sync::lock;
