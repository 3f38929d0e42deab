//! Deadlines kept: timers, the thread that fires them, and execution by deadline.
#![deny(unsafe_code)]

mod error;
#[allow(unsafe_code)]
mod memory;
mod period;
mod wheel;

pub use error::SchedulerError;
pub use period::{MissedTicks, NextTick};
pub use wheel::{Due, TimerHandle, Wheel};
