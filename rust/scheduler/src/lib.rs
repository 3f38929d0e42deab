//! Deadlines kept: timers, and the thread that fires them.
//!
//! A [`Wheel`] holds timers and knows no clock; [`Timers`] drive one over a time source, in a thread of their own or, on a
//! simulated source, in the thread that moves the time. What a timer does is an [`Action`], which the crate's user fills.
//!
//! A [`DeadlineQueue`] says which job is next, and [`fits`] whether a set of tasks keeps its deadlines. An
//! [`ExecutionTime`] learns how long a job takes.
//!
//! `wheel`, `period`, `queue`, `admission` and `prediction` are arithmetic. `timers` joins them to a source; it sleeps in
//! `alarm`, is awake a `margin` before an instant, and asks the system for what `realtime` names. Only these two have a file for each system.

#![deny(unsafe_code)]

mod admission;
#[allow(unsafe_code)]
mod alarm;
mod error;
mod margin;
#[allow(unsafe_code)]
mod memory;
mod period;
mod prediction;
mod queue;
#[allow(unsafe_code)]
mod realtime;
#[allow(unsafe_code)]
mod thread;
mod timers;
mod wheel;

pub use admission::{Cause, Fit, Misfit, POINTS_MAX, TaskTimes, admit, divide, fits};
pub use error::SchedulerError;
pub use margin::{Margin, Sleep, Spin};
pub use period::{MissedTicks, NextTick};
pub use prediction::{EXECUTION_TIME_BYTES_MAX, ExecutionTime};
pub use queue::{DeadlineQueue, JobHandle};
pub use realtime::{Class, Granted, Realtime, Refused};
pub use thread::spawn;
pub use timers::{Action, Firing, Period, Timer, Timers, TimersOptions};
pub use wheel::{Due, TimerHandle, Wheel};
