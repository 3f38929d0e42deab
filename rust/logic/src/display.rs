//! The canonical text of a formula.
//!
//! Parentheses stand where the grammar needs them and after every temporal operator and `not`, so the text never nests
//! deeper than the one it was parsed from and parses again. The walk keeps its own stack: a chain of a thousand `and`
//! is a tree a thousand deep.

use std::fmt::{self, Write};

use crate::duration::Duration;
use crate::formula::{Arithmetic, Comparison, Formula, Interval, Node, NodeId};
use crate::parser::level;

/// Tighter than every operator: what is printed at this level is an atom or stands in parentheses.
const ATOM: u8 = level::UNARY + 1;

/// Looser than every operator: nothing printed at this level needs parentheses.
const FREE: u8 = 0;

impl fmt::Display for Formula {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_node(self.root(), formatter)
    }
}

impl Comparison {
    fn symbol(self) -> &'static str {
        match self {
            Self::Less => " < ",
            Self::LessEqual => " <= ",
            Self::Greater => " > ",
            Self::GreaterEqual => " >= ",
            Self::Equal => " == ",
            Self::NotEqual => " != ",
        }
    }
}

/// What is still to be written.
enum Piece {
    Node(NodeId, u8),
    Text(&'static str),
    Interval(Option<Interval>),
}

impl Formula {
    /// The canonical text of one node.
    pub(crate) fn text_of(&self, node: NodeId) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_node(node, &mut text);
        text
    }

    fn write_node(&self, node: NodeId, out: &mut dyn Write) -> fmt::Result {
        use Piece::{Interval as Bounds, Node as Child, Text};

        let mut pieces = vec![Child(node, FREE)];
        while let Some(piece) = pieces.pop() {
            let (node, minimum) = match piece {
                Child(node, minimum) => (self.nodes[node], minimum),
                Text(text) => {
                    out.write_str(text)?;
                    continue;
                }
                Bounds(interval) => {
                    if let Some(Interval { start_ns, end_ns }) = interval {
                        write!(out, "[{}, {}]", Duration(start_ns), Duration(end_ns))?;
                    }
                    continue;
                }
            };
            let in_parentheses = own_level(node) < minimum;
            if in_parentheses {
                out.write_str("(")?;
                pieces.push(Text(")"));
            }
            let first = pieces.len();
            match node {
                Node::Number(value) => write_number(value, out)?,
                Node::Signal(signal) => out.write_str(&self.signals[signal])?,
                Node::Constant(value) => write!(out, "{value}")?,
                Node::Negative(inner) => pieces.extend([Text("-"), Child(inner, level::UNARY)]),
                Node::Absolute(inner) => pieces.extend([Text("abs("), Child(inner, FREE), Text(")")]),
                Node::Arithmetic(operator, left, right) => {
                    let infix = |level: u8, symbol| [Child(left, level), Text(symbol), Child(right, level + 1)];
                    match operator {
                        Arithmetic::Add => pieces.extend(infix(level::SUM, " + ")),
                        Arithmetic::Subtract => pieces.extend(infix(level::SUM, " - ")),
                        Arithmetic::Multiply => pieces.extend(infix(level::PRODUCT, " * ")),
                        Arithmetic::Divide => pieces.extend(infix(level::PRODUCT, " / ")),
                        Arithmetic::Minimum | Arithmetic::Maximum => pieces.extend([
                            Text(if operator == Arithmetic::Minimum { "min(" } else { "max(" }),
                            Child(left, FREE),
                            Text(", "),
                            Child(right, FREE),
                            Text(")"),
                        ]),
                    }
                }
                Node::Comparison(comparison, left, right) => {
                    pieces.extend([Child(left, level::SUM), Text(comparison.symbol()), Child(right, level::SUM)])
                }
                Node::Not(inner) => {
                    let level = match self.nodes[inner] {
                        Node::Not(_) | Node::Once(..) | Node::Historically(..) => FREE,
                        _ => ATOM,
                    };
                    pieces.extend([Text("not "), Child(inner, level)]);
                }
                Node::And(left, right) => {
                    pieces.extend([Child(left, level::AND), Text(" and "), Child(right, level::AND + 1)]);
                }
                Node::Or(left, right) => {
                    pieces.extend([Child(left, level::OR), Text(" or "), Child(right, level::OR + 1)]);
                }
                Node::Implies(left, right) => {
                    pieces.extend([Child(left, level::IMPLIES + 1), Text(" implies "), Child(right, level::IMPLIES)])
                }
                Node::Once(interval, inner) => {
                    pieces.extend([Text("once"), Bounds(interval), Text("("), Child(inner, FREE), Text(")")]);
                }
                Node::Historically(interval, inner) => {
                    pieces.extend([Text("historically"), Bounds(interval), Text("("), Child(inner, FREE), Text(")")]);
                }
                Node::Since(interval, left, right) => pieces.extend([
                    Child(left, level::COMPARISON),
                    Text(" since"),
                    Bounds(interval),
                    Text(" "),
                    Child(right, level::COMPARISON),
                ]),
            }
            // Pieces come off the end.
            pieces[first..].reverse();
        }
        Ok(())
    }
}

/// How tight the outermost operator of a node binds, as it is printed.
fn own_level(node: Node) -> u8 {
    match node {
        Node::Since(..) => level::SINCE,
        Node::Implies(..) => level::IMPLIES,
        Node::Or(..) => level::OR,
        Node::And(..) => level::AND,
        Node::Comparison(..) | Node::Not(_) | Node::Once(..) | Node::Historically(..) => level::COMPARISON,
        Node::Arithmetic(Arithmetic::Add | Arithmetic::Subtract, ..) => level::SUM,
        Node::Arithmetic(Arithmetic::Multiply | Arithmetic::Divide, ..) => level::PRODUCT,
        Node::Negative(_) => level::UNARY,
        Node::Arithmetic(Arithmetic::Minimum | Arithmetic::Maximum, ..)
        | Node::Number(_)
        | Node::Signal(_)
        | Node::Constant(_)
        | Node::Absolute(_) => ATOM,
    }
}

/// The shortest digits that read back as the same number.
fn write_number(value: f64, out: &mut dyn Write) -> fmt::Result {
    if value == 0.0 || (1e-5..1e16).contains(&value) { write!(out, "{value}") } else { write!(out, "{value:e}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn canonical_text_has_one_spelling() {
        for (text, canonical) in [
            ("((x))>1e0", "x > 1"),
            ("not(x>1)", "not (x > 1)"),
            ("not not x > 1", "not not (x > 1)"),
            ("(x > 1 and y > 2) and z > 3", "x > 1 and y > 2 and z > 3"),
            ("x > 1 and (y > 2 and z > 3)", "x > 1 and (y > 2 and z > 3)"),
            ("x > 1 -> y > 2 -> true", "x > 1 implies y > 2 implies true"),
            ("x > 1 and y > 2 since z > 3", "x > 1 and y > 2 since z > 3"),
            (
                "(x > 1 and y > 2) since not (z > 3 since[0,0] true)",
                "(x > 1 and y > 2) since not (z > 3 since[0, 0] true)",
            ),
            ("once[0, 90] x - (y - z) < -(-2.50)", "once[0, 90 s](x - (y - z) < --2.5)"),
            ("historically[500ms,3600] x * (y / z) == 1e300", "historically[500 ms, 1 h](x * (y / z) == 1e300)"),
            ("max((x + 1), abs(-(y))) != 0.00000001", "max(x + 1, abs(-y)) != 1e-8"),
        ] {
            assert_eq!(Formula::parse(text).unwrap().to_string(), canonical);
            assert_eq!(Formula::parse(canonical).unwrap().to_string(), canonical);
        }
    }
}
