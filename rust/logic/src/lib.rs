//! Signal temporal logic over sampled signals: formula text, its tree, and monitors that answer at every sample.
//!
//! A [`Formula`] is parsed from text such as `historically[0, 2 s](value > 80) and not once[0, 1 min](ack == 1)`.
//! A [`Monitor`] reads a trace one sample at a time and gives the [`Verdict`] at the newest sample, with its
//! robustness: how far the signals are from changing the answer. A [`Condition`] is a formula of the present only, which
//! has no memory and judges single samples or whole columns. The crate knows no clock, no topic and no thread;
//! time is an integer of nanoseconds that the caller passes in.
//!
//! # Semantics
//!
//! Sampled time, past fragment, after Maler and Nickovic, "Monitoring Temporal Properties of Continuous Signals"
//! (FORMATS 2004), with the robustness of Donze and Maler, "Robust Satisfaction of Temporal Logic over Real-Valued
//! Signals" (FORMATS 2010). At sample `i` with time `t`:
//!
//! - a comparison is its signed margin (`x > c` is `x - c`, `x == c` is `-|x - c|`), `not` negates, `and` is the
//!   minimum, `or` the maximum, `p implies q` is `not p or q`; `true` is plus infinity, `false` minus infinity;
//! - `once[a, b](p)` is the maximum, `historically[a, b](p)` the minimum of `p` over the samples up to `i` whose time
//!   lies in `[t - b, t - a]`, closed at both ends; over no sample at all they are minus and plus infinity;
//! - `p since[a, b] q` is the maximum, over the samples `j` of that window, of the minimum of `q` at `j` and of `p` at
//!   every sample after `j` up to `i`;
//! - without an interval the window is the whole trace so far.
//!
//! Samples of one instant are legal and apply in the order of their arrival. A verdict is [`Verdict::Unknown`] until
//! the trace reaches back [`Formula::horizon_ns`], the sum of the windows along the deepest nesting. A window without
//! an interval has no length to wait for: it ranges over those samples at which its own operand was known.
//!
//! # Truth at margin zero
//!
//! Robustness alone cannot tell `x > 0` from `x >= 0` at `x = 0`. Here the sign of the zero does: a margin of `+0.0`
//! is true and one of `-0.0` is false, and margins are ordered by [`f64::total_cmp`], which puts `-0.0` below `+0.0`.
//! Negation, minimum and maximum then carry truth through zero exactly, and `satisfied` is the sign bit of the
//! robustness, always.
//!
//! # Example
//!
//! ```
//! use chronofabric_logic::{Formula, Monitor, MonitorOptions, Verdict};
//!
//! let formula = Formula::parse("historically[0, 2 s](value > 80)")?;
//! assert_eq!(formula.signals(), ["value"]);
//!
//! let mut monitor = Monitor::new(&formula, MonitorOptions::default());
//! assert_eq!(monitor.update(0, &[85.0])?, Verdict::Unknown);
//! assert_eq!(monitor.update(1_000_000_000, &[81.0])?, Verdict::Unknown);
//! assert_eq!(monitor.update(2_000_000_000, &[90.0])?, Verdict::Known { robustness: 1.0, satisfied: true });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod comparisons;
mod condition;
mod display;
mod duration;
mod error;
mod formula;
mod lexer;
mod margin;
mod monitor;
pub mod naive;
mod parser;
mod program;
mod since;
mod suggestion;
mod window;

pub use condition::{Column, Condition, Rows, TemporalOperator};
pub use error::{FormulaError, MonitorError};
pub use formula::Formula;
pub use monitor::{Monitor, MonitorOptions, Verdict};

/// The longest formula text, in bytes.
pub const TEXT_BYTES_MAX: usize = 16_384;

/// The deepest nesting of parentheses, prefix operators and right sides of `implies`.
pub const DEPTH_MAX: usize = 64;

/// The largest number of operators, numbers and signals in one formula.
pub const NODES_MAX: usize = 2_048;
