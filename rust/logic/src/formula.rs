//! A parsed formula: its operators in post-order.
//!
//! The tree lies flat in one vector, children before their parent and the root last, so that it is compiled by one
//! pass, dropped without recursion, and compared as a value.

use crate::TEXT_BYTES_MAX;
use crate::error::FormulaError;
use crate::parser;

/// A formula of past-time signal temporal logic.
///
/// Its `Display` is the canonical text: one spelling, minimal parentheses, the largest unit that is exact. It parses
/// back to the same formula.
///
/// ```
/// use chronofabric_logic::Formula;
///
/// let formula = Formula::parse("historically[0,2000 ms] (pressure>8 -> (x since[0, 1] y.z <= 2))");
/// assert!(formula.is_err()); // 'x' is a number, 'since' joins conditions
///
/// let formula = Formula::parse("historically[0,2000 ms] (pressure>8 -> (x > 1 since[0, 1] y.z <= 2))")?;
/// assert_eq!(formula.to_string(), "historically[0, 2 s](pressure > 8 implies x > 1 since[0, 1 s] y.z <= 2)");
/// assert_eq!(formula.signals(), ["pressure", "x", "y.z"]);
/// assert_eq!(formula.horizon_ns(), 3_000_000_000);
/// # Ok::<(), chronofabric_logic::FormulaError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Formula {
    pub(crate) nodes: Vec<Node>,
    /// For each node, the length of the past that its value needs.
    pub(crate) horizons_ns: Vec<i64>,
    pub(crate) signals: Vec<String>,
}

impl Formula {
    /// Parses a formula.
    ///
    /// # Errors
    ///
    /// [`FormulaError`] names the first place where the text is not a formula of this version, and the way out. Text
    /// longer than [`TEXT_BYTES_MAX`], nesting deeper than [`DEPTH_MAX`](crate::DEPTH_MAX) and more than
    /// [`NODES_MAX`](crate::NODES_MAX) parts are refused likewise.
    pub fn parse(text: &str) -> Result<Self, FormulaError> {
        parser::parse(text).map_err(|fault| {
            let kept = (0..=text.len().min(TEXT_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            FormulaError {
                message: fault.message,
                start: fault.start.min(kept),
                end: fault.end.min(kept),
                text: text[..kept].to_owned(),
                suggestion: fault.suggestion,
            }
        })
    }

    /// The names of the signals it reads, in the order of their first appearance.
    pub fn signals(&self) -> &[String] {
        &self.signals
    }

    /// How far back a trace must reach for a verdict: the sum of the window lengths along the deepest nesting.
    pub fn horizon_ns(&self) -> i64 {
        self.horizons_ns.last().copied().unwrap_or(0)
    }

    pub(crate) fn root(&self) -> NodeId {
        self.nodes.len() - 1
    }
}

impl std::str::FromStr for Formula {
    type Err = FormulaError;

    fn from_str(text: &str) -> Result<Self, FormulaError> {
        Self::parse(text)
    }
}

/// The place of a node in [`Formula::nodes`].
pub(crate) type NodeId = usize;

/// One operator, number or signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Node {
    Number(f64),
    /// A place in [`Formula::signals`].
    Signal(usize),
    Negative(NodeId),
    Absolute(NodeId),
    Arithmetic(Arithmetic, NodeId, NodeId),
    Constant(bool),
    Comparison(Comparison, NodeId, NodeId),
    Not(NodeId),
    And(NodeId, NodeId),
    Or(NodeId, NodeId),
    Implies(NodeId, NodeId),
    Once(Option<Interval>, NodeId),
    Historically(Option<Interval>, NodeId),
    Since(Option<Interval>, NodeId, NodeId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Minimum,
    Maximum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
}

/// Ages of samples, closed at both ends; `0 <= start_ns <= end_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) start_ns: i64,
    pub(crate) end_ns: i64,
}
