//! A formula that looks at one sample only, as a flat program without memory: what filters ask.
//!
//! It agrees with the monitors on every sample that these accept; one that they refuse (NaN, a division by zero) it
//! leaves unanswered. Robustness is not asked for, so margins are truth values here.

use std::error::Error;
use std::fmt;

use crate::comparisons::Stack;
use crate::formula::{Arithmetic, Comparison, Formula, Node};

mod rows;

pub use rows::{Column, Rows};

/// Programs of at most so many registers are evaluated without an allocation.
const REGISTERS_AT_HAND: usize = 16;

/// An instruction; `to` is the register of its result, and of its first operand.
#[derive(Clone, Copy, Debug)]
enum Step {
    Signal { to: usize, signal: usize },
    Number { to: usize, value: f64 },
    Negative { to: usize },
    Absolute { to: usize },
    Arithmetic { to: usize, operator: Arithmetic },
    Compare { from: usize, comparison: Comparison, to: usize },
    CompareSignal { signal: usize, comparison: Comparison, value: f64, to: usize },
    Constant { to: usize, value: bool },
    Not { to: usize },
    And { to: usize },
    Or { to: usize },
    Implies { to: usize },
}

/// A formula without temporal operators.
///
/// ```
/// use chronofabric_logic::{Condition, Formula};
///
/// let condition = Condition::new(&Formula::parse("value > 50 and unit_ok == 1")?)?;
/// assert_eq!(condition.holds(&[51.0, 1.0]), Some(true));
/// assert_eq!(condition.holds(&[51.0, 0.0]), Some(false));
/// assert_eq!(condition.holds(&[f64::NAN, 1.0]), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Condition {
    steps: Vec<Step>,
    numbers: usize,
    truths: usize,
    signals: usize,
}

/// A formula that looks into the past where only the present is there to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemporalOperator {
    /// The first operator that does.
    pub operator: &'static str,
}

impl fmt::Display for TemporalOperator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "uses '{}', which looks into the past, but each sample is judged by itself", self.operator)
    }
}

impl Error for TemporalOperator {}

impl Condition {
    /// Compiles a formula.
    ///
    /// # Errors
    ///
    /// [`TemporalOperator`] where the formula has one.
    pub fn new(formula: &Formula) -> Result<Self, TemporalOperator> {
        let (mut numbers, mut truths) = (Stack::default(), Stack::default());
        let mut steps = Vec::with_capacity(formula.nodes.len());
        for node in &formula.nodes {
            let step = match *node {
                Node::Signal(signal) => Step::Signal { to: numbers.replace(0), signal },
                Node::Number(value) => Step::Number { to: numbers.replace(0), value },
                Node::Negative(_) => Step::Negative { to: numbers.replace(1) },
                Node::Absolute(_) => Step::Absolute { to: numbers.replace(1) },
                Node::Arithmetic(operator, ..) => Step::Arithmetic { to: numbers.replace(2), operator },
                Node::Comparison(comparison, left, right) => {
                    let (from, to) = (numbers.pop(2), truths.replace(0));
                    match (formula.nodes[left], formula.nodes[right]) {
                        (Node::Signal(signal), Node::Number(value)) => {
                            steps.truncate(steps.len() - 2);
                            Step::CompareSignal { signal, comparison, value, to }
                        }
                        _ => Step::Compare { from, comparison, to },
                    }
                }
                Node::Constant(value) => Step::Constant { to: truths.replace(0), value },
                Node::Not(_) => Step::Not { to: truths.replace(1) },
                Node::And(..) => Step::And { to: truths.replace(2) },
                Node::Or(..) => Step::Or { to: truths.replace(2) },
                Node::Implies(..) => Step::Implies { to: truths.replace(2) },
                Node::Once(..) => return Err(TemporalOperator { operator: "once" }),
                Node::Historically(..) => return Err(TemporalOperator { operator: "historically" }),
                Node::Since(..) => return Err(TemporalOperator { operator: "since" }),
            };
            steps.push(step);
        }
        Ok(Self { steps, numbers: numbers.highest(), truths: truths.highest(), signals: formula.signals.len() })
    }

    /// Whether it holds at a sample, given the values of [`Formula::signals`] in their order; `None` where a value is
    /// NaN or missing, or arithmetic has no answer.
    #[inline]
    pub fn holds(&self, values: &[f64]) -> Option<bool> {
        if values.len() != self.signals {
            return None;
        }
        if let [Step::CompareSignal { signal, comparison, value, .. }] = *self.steps {
            let signal = values[signal];
            return (!signal.is_nan()).then(|| comparison.holds(signal, value));
        }
        if self.numbers <= REGISTERS_AT_HAND && self.truths <= REGISTERS_AT_HAND {
            return self.run(values, &mut [0.0; REGISTERS_AT_HAND], &mut [false; REGISTERS_AT_HAND]);
        }
        self.run(values, &mut vec![0.0; self.numbers], &mut vec![false; self.truths])
    }

    fn run(&self, values: &[f64], numbers: &mut [f64], truths: &mut [bool]) -> Option<bool> {
        for step in &self.steps {
            match *step {
                Step::Signal { to, signal } => numbers[to] = values[signal],
                Step::Number { to, value } => numbers[to] = value,
                Step::Negative { to } => numbers[to] = -numbers[to],
                Step::Absolute { to } => numbers[to] = numbers[to].abs(),
                Step::Arithmetic { to, operator } => numbers[to] = operator.apply(numbers[to], numbers[to + 1]),
                Step::Compare { from, comparison, to } => {
                    let (left, right) = (numbers[from], numbers[from + 1]);
                    if left.is_nan() || right.is_nan() {
                        return None;
                    }
                    truths[to] = comparison.holds(left, right);
                }
                Step::CompareSignal { signal, comparison, value, to } => {
                    if values[signal].is_nan() {
                        return None;
                    }
                    truths[to] = comparison.holds(values[signal], value);
                }
                Step::Constant { to, value } => truths[to] = value,
                Step::Not { to } => truths[to] = !truths[to],
                Step::And { to } => truths[to] &= truths[to + 1],
                Step::Or { to } => truths[to] |= truths[to + 1],
                Step::Implies { to } => truths[to] = !truths[to] | truths[to + 1],
            }
        }
        Some(truths[0])
    }
}

impl Comparison {
    #[inline(always)]
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterEqual => left >= right,
            Self::Equal => left == right,
            Self::NotEqual => left != right,
        }
    }
}
