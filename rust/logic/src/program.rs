//! A formula as two flat programs: arithmetic up to the comparisons, then conditions and windows over their margins.
//!
//! Both are the formula's post-order with the height of the evaluation stack resolved to a register per instruction,
//! so that a sample is evaluated by two loops without recursion. The first program has no memory and every fault that
//! depends on values arises in it: a refused sample leaves no trace in the windows of the second.

use crate::comparisons::{Comparisons, Stack};
use crate::formula::{Formula, Interval, Node, NodeId};
use crate::margin::Margin;
use crate::since::SlidingSince;
use crate::window::SlidingMaximum;

/// An instruction on margins; `to` is the register of its result, and of its first operand.
#[derive(Clone, Debug)]
struct Step {
    to: usize,
    operator: Operator,
}

#[derive(Clone, Debug)]
enum Operator {
    Comparison { index: usize },
    Constant(Margin),
    Not,
    And,
    Or,
    Implies,
    Temporal(Temporal),
}

/// A temporal operator with its state.
#[derive(Clone, Debug)]
struct Temporal {
    node: NodeId,
    /// The horizon of its operands: samples at which they are not known yet are not taken.
    operand_horizon_ns: u64,
    state: State,
}

impl Temporal {
    fn new(formula: &Formula, node: NodeId, interval: Option<Interval>, state: State) -> Self {
        let own_ns = interval.map_or(0, |interval| interval.end_ns);
        Self { node, operand_horizon_ns: formula.horizons_ns[node].abs_diff(own_ns), state }
    }
}

#[derive(Clone, Debug)]
enum State {
    Once(SlidingMaximum),
    Historically(SlidingMaximum),
    Since(SlidingSince),
    OnceEver(Margin),
    HistoricallyEver(Margin),
    SinceEver(Margin),
}

impl State {
    fn of_unary(node: Node, interval: Option<Interval>) -> Self {
        match (node, interval) {
            (Node::Historically(..), Some(interval)) => Self::Historically(SlidingMaximum::new(interval)),
            (Node::Historically(..), None) => Self::HistoricallyEver(Margin::TRUE),
            (_, Some(interval)) => Self::Once(SlidingMaximum::new(interval)),
            (_, None) => Self::OnceEver(Margin::FALSE),
        }
    }

    #[inline]
    fn push(&mut self, time_ns: i64, first: Margin, second: Margin) -> Margin {
        match self {
            Self::Once(window) => window.push(time_ns, first),
            Self::Historically(window) => !window.push(time_ns, !first),
            Self::Since(since) => since.push(time_ns, first, second),
            Self::OnceEver(maximum) => {
                *maximum = (*maximum).max(first);
                *maximum
            }
            Self::HistoricallyEver(minimum) => {
                *minimum = (*minimum).min(first);
                *minimum
            }
            Self::SinceEver(best) => {
                *best = (*best).min(first).max(second);
                *best
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Once(window) | Self::Historically(window) => window.len(),
            Self::Since(since) => since.len(),
            Self::OnceEver(_) | Self::HistoricallyEver(_) | Self::SinceEver(_) => 0,
        }
    }

    #[inline]
    fn has_room(&self, time_ns: i64, limit: usize) -> bool {
        match self {
            Self::Once(window) | Self::Historically(window) => window.has_room(time_ns, limit),
            Self::Since(since) => since.has_room(time_ns, limit),
            Self::OnceEver(_) | Self::HistoricallyEver(_) | Self::SinceEver(_) => true,
        }
    }

    /// Keeps the memory, forgets the samples.
    fn clear(&mut self) {
        match self {
            Self::Once(window) | Self::Historically(window) => window.clear(),
            Self::Since(since) => since.clear(),
            Self::OnceEver(best) | Self::SinceEver(best) => *best = Margin::FALSE,
            Self::HistoricallyEver(minimum) => *minimum = Margin::TRUE,
        }
    }
}

/// Why a sample cannot be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The arithmetic of this comparison has no value.
    Undefined(NodeId),
    /// This temporal operator is full.
    Full(NodeId),
}

/// A formula, compiled, with the state of its temporal operators.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    comparisons: Comparisons,
    steps: Vec<Step>,
    registers: Vec<Margin>,
    /// The samples held by the operator that holds most.
    fullest: usize,
}

impl Program {
    pub(crate) fn new(formula: &Formula) -> Self {
        let mut stack = Stack::default();
        let mut steps = Vec::new();
        let mut comparisons = 0;
        for (id, node) in formula.nodes.iter().enumerate() {
            let (operands, operator) = match *node {
                Node::Comparison(..) => {
                    comparisons += 1;
                    (0, Operator::Comparison { index: comparisons - 1 })
                }
                Node::Constant(value) => (0, Operator::Constant(if value { Margin::TRUE } else { Margin::FALSE })),
                Node::Not(_) => (1, Operator::Not),
                Node::And(..) => (2, Operator::And),
                Node::Or(..) => (2, Operator::Or),
                Node::Implies(..) => (2, Operator::Implies),
                Node::Once(interval, _) | Node::Historically(interval, _) => {
                    (1, Operator::Temporal(Temporal::new(formula, id, interval, State::of_unary(*node, interval))))
                }
                Node::Since(interval, ..) => {
                    let state = interval
                        .map_or(State::SinceEver(Margin::FALSE), |interval| State::Since(SlidingSince::new(interval)));
                    (2, Operator::Temporal(Temporal::new(formula, id, interval, state)))
                }
                _ => continue,
            };
            steps.push(Step { to: stack.replace(operands), operator });
        }
        Self {
            comparisons: Comparisons::new(formula),
            steps,
            registers: vec![Margin::FALSE; stack.highest()],
            fullest: 0,
        }
    }

    /// The margin of the formula at the newest sample; a refused sample changes nothing.
    ///
    /// `elapsed_ns` is the time since the first sample of the trace.
    #[inline]
    pub(crate) fn evaluate(
        &mut self,
        time_ns: i64,
        elapsed_ns: u64,
        values: &[f64],
        samples_max: usize,
    ) -> Result<Margin, Refusal> {
        self.comparisons.evaluate(values).map_err(Refusal::Undefined)?;
        if self.fullest >= samples_max {
            self.find_room(time_ns, samples_max).map_err(Refusal::Full)?;
        }

        self.fullest = 0;
        let registers = &mut self.registers[..];
        for Step { to, operator } in &mut self.steps {
            let first = registers[*to];
            // Only operators with two operands read it; the last register has none above it.
            let second = registers.get(*to + 1).copied().unwrap_or(Margin::FALSE);
            registers[*to] = match operator {
                Operator::Comparison { index } => self.comparisons.margin(*index),
                Operator::Constant(margin) => *margin,
                Operator::Not => !first,
                Operator::And => first.min(second),
                Operator::Or => first.max(second),
                Operator::Implies => (!first).max(second),
                Operator::Temporal(temporal) if elapsed_ns >= temporal.operand_horizon_ns => {
                    let margin = temporal.state.push(time_ns, first, second);
                    self.fullest = self.fullest.max(temporal.state.len());
                    margin
                }
                // The formula is not known at this sample either; any margin will do.
                Operator::Temporal(_) => Margin::FALSE,
            };
        }
        Ok(registers.first().copied().unwrap_or(Margin::FALSE))
    }

    /// # Errors
    ///
    /// The node of a temporal operator that cannot take a sample at `time_ns`.
    #[cold]
    fn find_room(&self, time_ns: i64, samples_max: usize) -> Result<(), NodeId> {
        let full = self.temporal().find(|temporal| !temporal.state.has_room(time_ns, samples_max));
        full.map_or(Ok(()), |temporal| Err(temporal.node))
    }

    /// The samples held by all operators together.
    pub(crate) fn samples(&self) -> usize {
        self.temporal().map(|temporal| temporal.state.len()).sum()
    }

    pub(crate) fn clear(&mut self) {
        self.fullest = 0;
        for step in &mut self.steps {
            if let Operator::Temporal(temporal) = &mut step.operator {
                temporal.state.clear();
            }
        }
    }

    fn temporal(&self) -> impl Iterator<Item = &Temporal> {
        self.steps.iter().filter_map(|step| match &step.operator {
            Operator::Temporal(temporal) => Some(temporal),
            _ => None,
        })
    }
}
