//! What the bus can refuse.

use std::fmt;

/// A text that is not what it should be, with the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The text.
    pub text: Box<str>,
    /// What it should have been: `topic`, `topic pattern`, `regular expression`.
    pub expected: &'static str,
    /// Where the fault starts, in characters.
    pub column: usize,
    /// How many characters it spans.
    pub width: usize,
    /// What is wrong and how to mend it.
    pub hint: Box<str>,
}

impl SyntaxError {
    /// `start` and `length` are in bytes; a start within a character is that character.
    pub(crate) fn new(text: &str, expected: &'static str, start: usize, length: usize, hint: &str) -> Self {
        let column = text.char_indices().take_while(|(place, character)| place + character.len_utf8() <= start).count();
        let width = text.char_indices().filter(|(place, _)| (start..start + length).contains(place)).count().max(1);
        Self { text: text.into(), expected, column, width, hint: hint.into() }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Control characters would move the caret; a long text would hide it.
        let shown: String =
            self.text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect();
        let (from, to) = (self.column.saturating_sub(60), self.column + 60);
        let part: String = shown.chars().skip(from).take(to - from).collect();
        let (indent, carets) = (" ".repeat(self.column - from), "^".repeat(self.width));
        write!(formatter, "'{part}' is not a {}\n  {part}\n  {indent}{carets} {}", self.expected, self.hint)
    }
}

/// Everything the bus refuses.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BusError {
    /// Not a topic.
    Topic(SyntaxError),
    /// Not a pattern.
    Pattern(SyntaxError),
    /// One topic too many.
    TopicLimit {
        /// The topic that was to be made.
        topic: Box<str>,
        /// How many topics a bus may have.
        limit: usize,
    },
    /// An option outside of its range.
    Option {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: Box<str>,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The bus has been closed.
    Closed,
    /// Guards publish in a circle.
    GuardLoop {
        /// The topic on which it was noticed.
        topic: Box<str>,
    },
    /// The node's clock could not give a stamp.
    Clock(std::sync::Arc<chronofabric_clock::ClockError>),
}

impl BusError {
    #[cold]
    pub(crate) fn clock(error: chronofabric_clock::ClockError) -> Box<Self> {
        Box::new(Self::Clock(std::sync::Arc::new(error)))
    }
}

impl fmt::Display for BusError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(error) | Self::Pattern(error) => error.fmt(formatter),
            Self::TopicLimit { topic, limit } => write!(
                formatter,
                "topic '{topic}' would be one more than the {limit} that a node may have; put what varies without end \
                 (an order number, a timestamp) into the payload, or raise topics_max"
            ),
            Self::Option { name, value, allowed } => write!(formatter, "{name} = {value} is out of range; {allowed}"),
            Self::GuardLoop { topic } => write!(
                formatter,
                "guards publish in a circle: '{topic}' was reached {} publications deep; let a guard publish on a topic \
                 that no guard before it watches",
                crate::publish::DEPTH_MAX
            ),
            Self::Closed => write!(formatter, "the fabric is closed"),
            Self::Clock(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for BusError {}
