//! The growing tree: nodes in post-order, their horizons, the names of the signals.

use super::{Operand, Parser, Sort, fault};
use crate::NODES_MAX;
use crate::formula::{Node, NodeId};
use crate::lexer::{Fault, Kind, Token};

impl Parser<'_> {
    /// Appends a node, with the length of the past that it needs.
    pub(super) fn operand(&mut self, node: Node, sort: Sort, start: usize, end: usize) -> Result<Operand, Fault> {
        let place = Token { kind: Kind::End, start, end };
        if self.formula.nodes.len() == NODES_MAX {
            return Err(fault(place, format!("the formula has more than {NODES_MAX} parts"))
                .advise("split it into several formulas".to_owned()));
        }
        let of = |node: NodeId| self.formula.horizons_ns[node];
        let horizon_ns = match node {
            Node::Number(_) | Node::Signal(_) | Node::Constant(_) => Some(0),
            Node::Negative(inner) | Node::Absolute(inner) | Node::Not(inner) => Some(of(inner)),
            Node::Arithmetic(_, left, right)
            | Node::Comparison(_, left, right)
            | Node::And(left, right)
            | Node::Or(left, right)
            | Node::Implies(left, right) => Some(of(left).max(of(right))),
            Node::Once(interval, inner) | Node::Historically(interval, inner) => {
                of(inner).checked_add(interval.map_or(0, |interval| interval.end_ns))
            }
            Node::Since(interval, left, right) => {
                of(left).max(of(right)).checked_add(interval.map_or(0, |interval| interval.end_ns))
            }
        };
        let Some(horizon_ns) = horizon_ns else {
            return Err(fault(place, "the nested windows together reach back more than 292 years")
                .advise("shorten an interval".to_owned()));
        };
        self.formula.nodes.push(node);
        self.formula.horizons_ns.push(horizon_ns);
        Ok(Operand { node: self.formula.root(), sort, start, end })
    }

    pub(super) fn signal(&mut self, name: &str) -> usize {
        let signals = &mut self.formula.signals;
        signals.iter().position(|signal| signal == name).unwrap_or_else(|| {
            signals.push(name.to_owned());
            signals.len() - 1
        })
    }
}
