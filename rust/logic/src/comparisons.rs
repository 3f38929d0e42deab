//! The arithmetic of a formula, up to the margins of its comparisons: a flat program without memory.

use crate::formula::{Arithmetic, Comparison, Formula, Node, NodeId};
use crate::margin::Margin;

/// The height of an evaluation stack, which tells each instruction of a post-order program its register.
#[derive(Default)]
pub(crate) struct Stack {
    height: usize,
    highest: usize,
}

impl Stack {
    /// Replaces `operands` entries by a result and gives its register.
    pub(crate) fn replace(&mut self, operands: usize) -> usize {
        let to = self.pop(operands);
        self.height += 1;
        self.highest = self.highest.max(self.height);
        to
    }

    /// Removes `operands` entries and gives the register of the first.
    pub(crate) fn pop(&mut self, operands: usize) -> usize {
        self.height -= operands;
        self.height
    }

    /// The number of registers that the program needs.
    pub(crate) fn highest(&self) -> usize {
        self.highest
    }
}

/// An instruction on numbers; `to` is the register of its result, and of its first operand.
#[derive(Clone, Copy, Debug)]
enum NumberStep {
    Signal {
        to: usize,
        signal: usize,
    },
    Number {
        to: usize,
        value: f64,
    },
    Negative {
        to: usize,
    },
    Absolute {
        to: usize,
    },
    Arithmetic {
        to: usize,
        operator: Arithmetic,
    },
    Compare {
        to: usize,
        comparison: Comparison,
        node: NodeId,
    },
    /// `signal comparison number`, by far the most common comparison, in one instruction.
    CompareSignal {
        signal: usize,
        comparison: Comparison,
        value: f64,
    },
}

/// The arithmetic of every comparison of a formula.
#[derive(Clone, Debug)]
pub(crate) struct Comparisons {
    steps: Vec<NumberStep>,
    registers: Vec<f64>,
    margins: Vec<Margin>,
}

impl Comparisons {
    pub(crate) fn new(formula: &Formula) -> Self {
        let mut stack = Stack::default();
        let mut steps = Vec::new();
        let mut comparisons = 0;
        for (id, node) in formula.nodes.iter().enumerate() {
            let step = match *node {
                Node::Signal(signal) => NumberStep::Signal { to: stack.replace(0), signal },
                Node::Number(value) => NumberStep::Number { to: stack.replace(0), value },
                Node::Negative(_) => NumberStep::Negative { to: stack.replace(1) },
                Node::Absolute(_) => NumberStep::Absolute { to: stack.replace(1) },
                Node::Arithmetic(operator, ..) => NumberStep::Arithmetic { to: stack.replace(2), operator },
                Node::Comparison(comparison, left, right) => {
                    comparisons += 1;
                    let to = stack.pop(2);
                    match (formula.nodes[left], formula.nodes[right]) {
                        (Node::Signal(signal), Node::Number(value)) => {
                            steps.truncate(steps.len() - 2);
                            NumberStep::CompareSignal { signal, comparison, value }
                        }
                        _ => NumberStep::Compare { to, comparison, node: id },
                    }
                }
                _ => continue,
            };
            steps.push(step);
        }
        Self { steps, registers: vec![0.0; stack.highest()], margins: Vec::with_capacity(comparisons) }
    }

    /// The margin of a comparison, counted in post-order, at the sample evaluated last.
    #[inline]
    pub(crate) fn margin(&self, index: usize) -> Margin {
        self.margins[index]
    }

    /// Computes the margin of every comparison at a sample without NaN.
    ///
    /// # Errors
    ///
    /// The node of a comparison with a side that is undefined.
    #[inline]
    pub(crate) fn evaluate(&mut self, values: &[f64]) -> Result<(), NodeId> {
        let registers = &mut self.registers[..];
        self.margins.clear();
        for step in &self.steps {
            match *step {
                NumberStep::Signal { to, signal } => registers[to] = values[signal],
                NumberStep::Number { to, value } => registers[to] = value,
                NumberStep::Negative { to } => registers[to] = -registers[to],
                NumberStep::Absolute { to } => registers[to] = registers[to].abs(),
                NumberStep::Arithmetic { to, operator } => {
                    registers[to] = operator.apply(registers[to], registers[to + 1]);
                }
                NumberStep::Compare { to, comparison, node } => {
                    let (left, right) = (registers[to], registers[to + 1]);
                    if left.is_nan() || right.is_nan() {
                        return Err(node);
                    }
                    self.margins.push(Margin::of_comparison(comparison, left, right));
                }
                NumberStep::CompareSignal { signal, comparison, value } => {
                    self.margins.push(Margin::of_comparison(comparison, values[signal], value));
                }
            }
        }
        Ok(())
    }
}

impl Arithmetic {
    /// What has no value is NaN, and NaN is kept by every operator up to the comparison, which refuses it.
    #[inline]
    pub(crate) fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide if right == 0.0 => f64::NAN,
            Self::Divide => left / right,
            Self::Minimum if left.is_nan() || left < right => left,
            Self::Maximum if left.is_nan() || left > right => left,
            Self::Minimum | Self::Maximum => right,
        }
    }
}
