//! The online face of a formula: samples in, verdicts out.

use crate::error::MonitorError;
use crate::formula::Formula;
use crate::margin::Margin;
use crate::program::{Program, Refusal};

/// The answer of a formula at one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The trace does not reach back as far as the windows of the formula.
    Unknown,
    /// The formula has an answer.
    Known {
        /// How far the signals are from changing the answer; never NaN. Its sign bit is the answer: `+0.0` is true and
        /// `-0.0` is false.
        robustness: f64,
        /// Whether the formula holds.
        satisfied: bool,
    },
}

impl Verdict {
    /// Whether there is an answer.
    pub fn is_known(&self) -> bool {
        matches!(self, Self::Known { .. })
    }

    /// Whether the formula holds, once known.
    pub fn satisfied(&self) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::Known { satisfied, .. } => Some(*satisfied),
        }
    }

    /// How far the signals are from changing the answer, once known.
    pub fn robustness(&self) -> Option<f64> {
        match self {
            Self::Unknown => None,
            Self::Known { robustness, .. } => Some(*robustness),
        }
    }

    fn known(margin: Margin) -> Self {
        Self::Known { robustness: margin.to_f64(), satisfied: margin.is_true() }
    }
}

/// The bounds of a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonitorOptions {
    /// The largest number of samples that one temporal operator holds, 65 536 by default; each takes 96 bytes at most.
    ///
    /// A window holds the samples that can still decide a verdict, at most all those it spans. With 0, a formula with
    /// an interval refuses every sample.
    pub max_samples: usize,
}

impl Default for MonitorOptions {
    fn default() -> Self {
        Self { max_samples: 65_536 }
    }
}

/// A formula and what it has to remember of a trace.
///
/// A sample costs amortised constant time, whatever the windows hold. Memory is bounded by `max_samples` per operator
/// and grows on use; once the windows have filled, a sample allocates nothing.
///
/// ```
/// use chronofabric_logic::{Formula, Monitor, MonitorError, MonitorOptions, Verdict};
///
/// let formula = Formula::parse("x > 0 since[0, 1 s] y == 1")?;
/// let mut monitor = Monitor::new(&formula, MonitorOptions::default());
/// monitor.update(0, &[2.0, 1.0])?;
/// let verdict = monitor.update(1_000_000_000, &[3.0, 0.0])?;
/// assert_eq!(verdict, Verdict::Known { robustness: 0.0, satisfied: true });
///
/// let error = monitor.update(999_999_999, &[3.0, 0.0]).unwrap_err();
/// assert_eq!(error, MonitorError::TimeWentBack { time_ns: 999_999_999, newest_ns: 1_000_000_000 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Monitor {
    formula: Formula,
    options: MonitorOptions,
    program: Program,
    horizon_ns: u64,
    /// The times of the first and of the newest accepted sample.
    span_ns: Option<(i64, i64)>,
}

impl Monitor {
    /// A monitor of `formula` that has seen no sample.
    pub fn new(formula: &Formula, options: MonitorOptions) -> Self {
        Self {
            program: Program::new(formula),
            horizon_ns: formula.horizon_ns().unsigned_abs(),
            formula: formula.clone(),
            options,
            span_ns: None,
        }
    }

    /// The formula it monitors.
    pub fn formula(&self) -> &Formula {
        &self.formula
    }

    /// Takes the next sample and gives the verdict at it.
    ///
    /// `time_ns` is on any clock that never goes back; samples of one instant apply in the order of their arrival.
    /// `values` holds one value for each of [`Formula::signals`], in their order; infinities are values.
    ///
    /// # Errors
    ///
    /// A sample with the wrong number of values, older than the newest one, with a NaN, at which arithmetic has no
    /// value, or for which an operator has no room (see [`MonitorError`]) is refused and changes nothing: the trace
    /// goes on as if it had never been passed.
    #[inline]
    pub fn update(&mut self, time_ns: i64, values: &[f64]) -> Result<Verdict, MonitorError> {
        let (first_ns, newest_ns) = self.span_ns.unwrap_or((time_ns, time_ns));
        let signals = self.formula.signals.len();
        if values.len() != signals || time_ns < newest_ns || values.iter().any(|value| value.is_nan()) {
            return Err(self.refused(time_ns, newest_ns, values));
        }
        let elapsed_ns = time_ns.abs_diff(first_ns);
        match self.program.evaluate(time_ns, elapsed_ns, values, self.options.max_samples) {
            Ok(margin) => {
                self.span_ns = Some((first_ns, time_ns));
                Ok(if elapsed_ns >= self.horizon_ns { Verdict::known(margin) } else { Verdict::Unknown })
            }
            Err(refusal) => Err(self.unevaluated(refusal)),
        }
    }

    /// Forgets the trace and keeps the memory.
    pub fn reset(&mut self) {
        self.program.clear();
        self.span_ns = None;
    }

    /// The samples held by all operators together.
    pub fn memory_samples(&self) -> usize {
        self.program.samples()
    }

    #[cold]
    fn refused(&self, time_ns: i64, newest_ns: i64, values: &[f64]) -> MonitorError {
        let signals = &self.formula.signals;
        if values.len() != signals.len() {
            return MonitorError::WrongNumberOfValues { expected: signals.len(), given: values.len() };
        }
        match signals.iter().zip(values).find(|(_, value)| value.is_nan()) {
            Some((signal, _)) if time_ns >= newest_ns => MonitorError::NotANumber { signal: signal.clone() },
            _ => MonitorError::TimeWentBack { time_ns, newest_ns },
        }
    }

    #[cold]
    fn unevaluated(&self, refusal: Refusal) -> MonitorError {
        match refusal {
            Refusal::Undefined(node) => MonitorError::Undefined { comparison: self.formula.text_of(node) },
            Refusal::Full(node) => {
                MonitorError::TooManySamples { operator: self.formula.text_of(node), limit: self.options.max_samples }
            }
        }
    }
}
