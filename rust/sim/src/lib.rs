//! A world for tests: time, chance and a network, all of them from one seed.
//!
//! A [`Simulation`] has nodes, numbered from 0, that send messages over links and set alarms. It hands out one
//! [`Occurrence`] after the other, in order of time, and time moves from one to the next: a run of hours takes as long as
//! what happens in it. Whatever goes wrong is a [`Fault`] that the test has switched on; without any, every message
//! arrives once, and in order on its link.
//!
//! The same seed gives the same run on every machine: no hash maps, no floating point, no threads, no real time. Each
//! kind of chance has a stream of its own, so that switching a fault on leaves the rest of the run as it was, as far as
//! that fault does not change it. [`for_each_seed`] runs a test for many seeds and says which one failed.
//!
//! ```
//! use chronofabric_sim::{Chance, Fault, Occurrence, Simulation};
//!
//! let mut simulation = Simulation::new(7, 2);
//! simulation.switch_on(&Fault::Duplication { chance: Chance::ALWAYS });
//! simulation.send(0, 1, "hello");
//! let mut heard = 0;
//! while let Some(Occurrence::Arrival { to: 1, message: "hello", .. }) = simulation.step() {
//!     heard += 1;
//! }
//! assert_eq!(heard, 2);
//! ```

#![forbid(unsafe_code)]

mod faults;
mod network;
mod queue;
mod random;
mod seeds;
mod simulation;

pub use faults::{Chance, Delay, Fault, FaultKind};
pub use network::Traffic;
pub use queue::EventQueue;
pub use random::Random;
pub use seeds::{SEED_VARIABLE, for_each_seed};
pub use simulation::{Occurrence, Simulation};
