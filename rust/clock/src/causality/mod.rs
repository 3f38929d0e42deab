//! Which of two events could have caused the other, and delivery in that order.
//!
//! | type | what it says | from |
//! |---|---|---|
//! | [`VectorClock`] | everything an event may depend on, as one counter for each node | Mattern 1989, Fidge 1988 |
//! | [`DottedVersionVector`] | one version of a value and what its writer had read | Preguiça and others 2010; Almeida and others 2014 |
//! | [`CausalBuffer`] | delivers each message after everything it may depend on | Birman, Schiper, Stephenson 1991 |
//!
//! All three are values or state machines: no threads, no clocks; the buffer is told what time it is.
//!
//! # Trust
//!
//! Vector clocks are believed. A node that claims to have seen what was never sent makes others wait for it until it is
//! declared lost. Every size is bounded, and no input makes anything here panic, but whether a clock is honest is for
//! signatures and agreement to find out.
//!
//! # Layout
//!
//! `vector` and `dotted` are the clocks, `encoding` their wire forms. `buffer` is the delivery, with `waiting` for the
//! messages that wait, `lost` for the counters declared lost and `books` for what became of everything.

mod books;
mod buffer;
mod dotted;
mod encoding;
mod lost;
mod vector;
mod waiting;

pub use books::CausalBooks;
pub use buffer::{Arrival, CausalBuffer, CausalOptions, Gap, OnFull, Refusal};
pub use dotted::{Dot, DottedVersionVector};
pub use vector::{Causality, VectorClock};
