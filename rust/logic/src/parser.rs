//! Tokens to a tree, by precedence climbing (Pratt, "Top Down Operator Precedence", POPL 1973).
//!
//! From the loosest to the tightest: `implies` (groups to the right), `or`, `and`, `since` (does not chain), `not`
//! `once` `historically`, comparison (does not chain), `+ -`, `* /`, unary `-`. `since` binds tighter than `and`, and
//! the unary temporal operators as tight as `not`, as in NuSMV and Spot.
//!
//! Numbers and conditions share one grammar and are told apart afterwards, so that a mix-up is answered in terms of
//! what was written. Recursion is bounded by [`DEPTH_MAX`]: between two counted levels lie at most as many calls as
//! there are levels of precedence.

use crate::formula::{Arithmetic, Comparison, Formula, Node, NodeId};
use crate::lexer::{self, Fault, Kind, Token};
use crate::suggestion::{self, FUTURE_WORDS, WORDS};
use crate::{DEPTH_MAX, TEXT_BYTES_MAX};

mod interval;
mod tree;

/// The longest part of a text that is quoted in a way out.
const QUOTED_BYTES_MAX: usize = 40;

/// Levels of precedence, from the loosest.
pub(crate) mod level {
    pub(crate) const IMPLIES: u8 = 1;
    pub(crate) const OR: u8 = 2;
    pub(crate) const AND: u8 = 3;
    pub(crate) const SINCE: u8 = 4;
    pub(crate) const COMPARISON: u8 = 5;
    pub(crate) const SUM: u8 = 6;
    pub(crate) const PRODUCT: u8 = 7;
    pub(crate) const UNARY: u8 = 8;
}

pub(crate) fn parse(text: &str) -> Result<Formula, Fault> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Fault {
            start: TEXT_BYTES_MAX,
            end: TEXT_BYTES_MAX,
            message: format!("the text has {} bytes, the limit is {TEXT_BYTES_MAX}", text.len()),
            suggestion: Some("split it into several formulas".to_owned()),
        });
    }
    let mut parser = Parser {
        text,
        tokens: lexer::tokens(text)?,
        next: 0,
        depth: 0,
        prefixed_at: None,
        formula: Formula { nodes: Vec::new(), horizons_ns: Vec::new(), signals: Vec::new() },
    };
    let whole = parser.expression(level::IMPLIES)?;
    let rest = parser.peek();
    if rest.kind != Kind::End {
        return Err(parser.unexpected_after_operand(rest));
    }
    parser.require(whole, Sort::Condition, format_args!("the formula"))?;
    // Blanks and digits that were left out may make the canonical text longer, and it must be readable too.
    let canonical_bytes = parser.formula.text_of(whole.node).len();
    if canonical_bytes > TEXT_BYTES_MAX {
        return Err(Fault {
            start: whole.start,
            end: whole.end,
            message: format!("its canonical text has {canonical_bytes} bytes, the limit is {TEXT_BYTES_MAX}"),
            suggestion: Some("split it into several formulas".to_owned()),
        });
    }
    Ok(parser.formula)
}

/// What an expression stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Number,
    Condition,
}

/// A parsed expression and its place.
#[derive(Clone, Copy)]
struct Operand {
    node: NodeId,
    sort: Sort,
    start: usize,
    end: usize,
}

/// An operator between two operands.
#[derive(Clone, Copy)]
enum Infix {
    Implies,
    Or,
    And,
    Since,
    Comparison(Comparison),
    Arithmetic(Arithmetic),
}

impl Infix {
    fn level(self) -> u8 {
        match self {
            Self::Implies => level::IMPLIES,
            Self::Or => level::OR,
            Self::And => level::AND,
            Self::Since => level::SINCE,
            Self::Comparison(_) => level::COMPARISON,
            Self::Arithmetic(Arithmetic::Add | Arithmetic::Subtract) => level::SUM,
            Self::Arithmetic(_) => level::PRODUCT,
        }
    }
}

struct Parser<'text> {
    text: &'text str,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    /// Where the operand of the newest prefix operator starts.
    prefixed_at: Option<usize>,
    formula: Formula,
}

impl<'text> Parser<'text> {
    /// An expression whose operators bind at least as tight as `level`.
    fn expression(&mut self, level: u8) -> Result<Operand, Fault> {
        let mut left = self.prefix()?;
        while let Some(infix) = self.infix(self.peek())
            && infix.level() >= level
        {
            left = self.joined(left, infix)?;
        }
        Ok(left)
    }

    /// An expression one level of nesting further down.
    fn nested(&mut self, level: u8) -> Result<Operand, Fault> {
        if self.depth == DEPTH_MAX {
            let token = self.peek();
            return Err(fault(token, format!("nested deeper than {DEPTH_MAX} levels"))
                .advise("split it into several formulas".to_owned()));
        }
        self.depth += 1;
        let operand = self.expression(level);
        self.depth -= 1;
        operand
    }

    /// What a prefix operator takes. A parenthesis that opens it belongs to the same level of nesting: the canonical
    /// text has one there whether the text had it or not.
    fn operand_of_prefix(&mut self, level: u8) -> Result<Operand, Fault> {
        self.prefixed_at = Some(self.peek().start);
        self.nested(level)
    }

    fn joined(&mut self, left: Operand, infix: Infix) -> Result<Operand, Fault> {
        let operator = self.advance();
        let name = self.slice(operator);
        match infix {
            Infix::Implies | Infix::Or | Infix::And => self.connective(left, name, infix),
            Infix::Since => self.since(left),
            Infix::Comparison(comparison) => self.comparison(left, name, comparison),
            Infix::Arithmetic(arithmetic) => {
                let (left, right) = self.sides(left, Sort::Number, name, infix.level() + 1)?;
                let node = Node::Arithmetic(arithmetic, left.node, right.node);
                self.operand(node, Sort::Number, left.start, right.end)
            }
        }
    }

    fn connective(&mut self, left: Operand, name: &str, infix: Infix) -> Result<Operand, Fault> {
        let (node, right) = match infix {
            Infix::Implies => {
                self.require(left, Sort::Condition, format_args!("the left of '{name}'"))?;
                let right = self.nested(level::IMPLIES)?;
                self.require(right, Sort::Condition, format_args!("the right of '{name}'"))?;
                (Node::Implies(left.node, right.node), right)
            }
            _ => {
                let (left, right) = self.sides(left, Sort::Condition, name, infix.level() + 1)?;
                match infix {
                    Infix::Or => (Node::Or(left.node, right.node), right),
                    _ => (Node::And(left.node, right.node), right),
                }
            }
        };
        self.operand(node, Sort::Condition, left.start, right.end)
    }

    fn since(&mut self, left: Operand) -> Result<Operand, Fault> {
        let interval = self.interval()?;
        let (left, right) = self.sides(left, Sort::Condition, "since", level::COMPARISON)?;
        let again = self.peek();
        if matches!(self.infix(again), Some(Infix::Since)) {
            return Err(fault(again, "'since' does not chain").advise("group with parentheses".to_owned()));
        }
        self.operand(Node::Since(interval, left.node, right.node), Sort::Condition, left.start, right.end)
    }

    fn comparison(&mut self, left: Operand, name: &str, comparison: Comparison) -> Result<Operand, Fault> {
        let (left, right) = self.sides(left, Sort::Number, name, level::SUM)?;
        let again = self.peek();
        if matches!(again.kind, Kind::Comparison(_)) {
            let advice = "join two comparisons: '0 < x and x < 10'".to_owned();
            return Err(fault(again, "comparisons do not chain").advise(advice));
        }
        self.operand(Node::Comparison(comparison, left.node, right.node), Sort::Condition, left.start, right.end)
    }

    /// Both sides of an operator, the right one parsed here, once both are of the sort that it joins.
    fn sides(&mut self, left: Operand, sort: Sort, name: &str, level: u8) -> Result<(Operand, Operand), Fault> {
        self.require(left, sort, format_args!("the left of '{name}'"))?;
        let right = self.expression(level)?;
        self.require(right, sort, format_args!("the right of '{name}'"))?;
        Ok((left, right))
    }

    fn prefix(&mut self) -> Result<Operand, Fault> {
        let token = self.advance();
        match token.kind {
            Kind::Number(value) => self.operand(Node::Number(value), Sort::Number, token.start, token.end),
            Kind::Minus => {
                let inner = self.operand_of_prefix(level::UNARY)?;
                self.require(inner, Sort::Number, format_args!("what '-' negates"))?;
                self.operand(Node::Negative(inner.node), Sort::Number, token.start, inner.end)
            }
            Kind::LeftParenthesis => {
                let inner = if self.prefixed_at == Some(token.start) {
                    self.expression(level::IMPLIES)?
                } else {
                    self.nested(level::IMPLIES)?
                };
                let end = self.close(token)?.end;
                Ok(Operand { start: token.start, end, ..inner })
            }
            Kind::Word => self.word(token),
            Kind::End => Err(fault(token, "the formula ends where a condition or a number is expected")),
            _ => {
                let found = self.slice(token);
                Err(fault(token, format!("found '{found}' where a condition or a number is expected")))
            }
        }
    }

    fn word(&mut self, token: Token) -> Result<Operand, Fault> {
        let word = self.slice(token);
        match word {
            "true" | "false" => self.operand(Node::Constant(word == "true"), Sort::Condition, token.start, token.end),
            "not" => {
                let inner = self.operand_of_prefix(level::COMPARISON)?;
                self.require(inner, Sort::Condition, format_args!("what 'not' negates"))?;
                self.operand(Node::Not(inner.node), Sort::Condition, token.start, inner.end)
            }
            "once" | "historically" => {
                let interval = self.interval()?;
                let inner = self.operand_of_prefix(level::COMPARISON)?;
                self.require(inner, Sort::Condition, format_args!("what '{word}' looks back at"))?;
                let node = match word {
                    "once" => Node::Once(interval, inner.node),
                    _ => Node::Historically(interval, inner.node),
                };
                self.operand(node, Sort::Condition, token.start, inner.end)
            }
            "and" | "or" | "implies" | "since" => Err(fault(token, format!("'{word}' has nothing on its left"))
                .advise("it stands between two conditions".to_owned())),
            _ if FUTURE_WORDS.contains(&word) => Err(future(token, word)),
            _ => match self.peek().kind {
                Kind::LeftParenthesis => self.function(token, word),
                Kind::LeftBracket => Err(unknown_operator(token, word)),
                _ => {
                    let signal = self.signal(word);
                    self.operand(Node::Signal(signal), Sort::Number, token.start, token.end)
                }
            },
        }
    }

    /// `abs(x)`, `min(x, y)`, `max(x, y)`; without a parenthesis these three are names like any other.
    fn function(&mut self, token: Token, name: &str) -> Result<Operand, Fault> {
        let arithmetic = match name {
            "abs" => None,
            "min" => Some(Arithmetic::Minimum),
            "max" => Some(Arithmetic::Maximum),
            _ => return Err(unknown_operator(token, name)),
        };
        let open = self.advance();
        let first = self.nested(level::IMPLIES)?;
        self.require(first, Sort::Number, format_args!("an argument of '{name}'"))?;
        let node = match arithmetic {
            None => Node::Absolute(first.node),
            Some(arithmetic) => {
                let comma = self.advance();
                if comma.kind != Kind::Comma {
                    return Err(
                        fault(comma, format!("'{name}' takes two numbers")).advise(format!("write '{name}(a, b)'"))
                    );
                }
                let second = self.nested(level::IMPLIES)?;
                self.require(second, Sort::Number, format_args!("an argument of '{name}'"))?;
                Node::Arithmetic(arithmetic, first.node, second.node)
            }
        };
        let surplus = self.peek();
        if surplus.kind == Kind::Comma {
            let (count, advice) = match arithmetic {
                None => ("one number", "abs(a)".to_owned()),
                Some(_) => ("two numbers", format!("{name}(a, {name}(b, c))")),
            };
            return Err(fault(surplus, format!("'{name}' takes {count}")).advise(format!("write '{advice}'")));
        }
        let end = self.close(open)?.end;
        self.operand(node, Sort::Number, token.start, end)
    }

    fn close(&mut self, open: Token) -> Result<Token, Fault> {
        let token = self.advance();
        match token.kind {
            Kind::RightParenthesis => Ok(token),
            Kind::End => Err(fault(open, "'(' is never closed").advise("write ')' after its expression".to_owned())),
            _ => Err(self.unexpected_after_operand(token)),
        }
    }

    /// The fault of a token that follows a complete expression and neither continues nor closes it.
    fn unexpected_after_operand(&self, token: Token) -> Fault {
        let found = self.slice(token);
        match token.kind {
            Kind::Word if FUTURE_WORDS.contains(&found) => future(token, found),
            Kind::Word => {
                let fault = fault(token, format!("found '{found}' where an operator is expected"));
                match suggestion::nearest(found, &["and", "or", "implies", "since"]) {
                    Some(advice) => fault.advise(advice),
                    None => fault.advise("join conditions with 'and', 'or', 'implies' or 'since'".to_owned()),
                }
            }
            Kind::RightParenthesis => fault(token, "')' closes nothing").advise("leave it out".to_owned()),
            Kind::LeftBracket | Kind::RightBracket => {
                fault(token, format!("found '{found}' where no interval belongs"))
                    .advise("an interval follows 'once', 'historically' or 'since'".to_owned())
            }
            _ => fault(token, format!("found '{found}' where an operator is expected")),
        }
    }

    fn infix(&self, token: Token) -> Option<Infix> {
        Some(match token.kind {
            Kind::Comparison(comparison) => Infix::Comparison(comparison),
            Kind::Plus => Infix::Arithmetic(Arithmetic::Add),
            Kind::Minus => Infix::Arithmetic(Arithmetic::Subtract),
            Kind::Star => Infix::Arithmetic(Arithmetic::Multiply),
            Kind::Slash => Infix::Arithmetic(Arithmetic::Divide),
            Kind::Arrow => Infix::Implies,
            Kind::Word => match self.slice(token) {
                "implies" => Infix::Implies,
                "or" => Infix::Or,
                "and" => Infix::And,
                "since" => Infix::Since,
                _ => return None,
            },
            _ => return None,
        })
    }

    fn require(&self, operand: Operand, sort: Sort, role: std::fmt::Arguments<'_>) -> Result<(), Fault> {
        if operand.sort == sort {
            return Ok(());
        }
        let (message, advice) = match sort {
            Sort::Condition => (
                format!("{role} is a number, not a condition"),
                match self.one_line(operand.start, operand.end) {
                    Some(shown) => format!("compare it, as in '{shown} > 0'"),
                    None => "compare it, as in 'x > 0'".to_owned(),
                },
            ),
            Sort::Number => (
                format!("{role} is a condition, not a number"),
                "compare numbers; join conditions with 'and', 'or', 'implies' or 'since'".to_owned(),
            ),
        };
        Err(Fault { start: operand.start, end: operand.end, message, suggestion: Some(advice) })
    }

    /// A short part of the text on one line, to be quoted in a way out.
    fn one_line(&self, start: usize, end: usize) -> Option<String> {
        let line = self.text[start..end].split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        (line.len() <= QUOTED_BYTES_MAX).then_some(line)
    }

    fn peek(&self) -> Token {
        self.tokens[self.next]
    }

    /// The next token; the last one, the end, is never passed.
    fn advance(&mut self) -> Token {
        let token = self.peek();
        if token.kind != Kind::End {
            self.next += 1;
        }
        token
    }

    fn slice(&self, token: Token) -> &'text str {
        &self.text[token.start..token.end]
    }
}

fn fault(place: Token, message: impl Into<String>) -> Fault {
    Fault { start: place.start, end: place.end, message: message.into(), suggestion: None }
}

impl Fault {
    fn advise(self, suggestion: String) -> Self {
        Self { suggestion: Some(suggestion), ..self }
    }
}

fn future(token: Token, word: &str) -> Fault {
    fault(token, format!("future operator '{word}' is not in this version"))
        .advise("the past forms are once, historically, since".to_owned())
}

fn unknown_operator(token: Token, word: &str) -> Fault {
    fault(token, format!("unknown operator '{word}'")).advise(suggestion::nearest(word, &WORDS).unwrap_or_else(|| {
        "the operators are not, and, or, implies, once, historically, since; the functions abs, min, max".to_owned()
    }))
}
