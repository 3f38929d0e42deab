//! What can be wrong with a formula, and with a sample.

use std::error::Error;
use std::fmt;
use std::ops::Range;

/// Characters of a formula shown before an error line is cut.
const LINE_CHARACTERS_MAX: usize = 120;

/// Characters of a formula shown in the first line of an error.
const TITLE_CHARACTERS_MAX: usize = 60;

/// A text that is not a formula, and the place where it stops being one.
///
/// ```
/// use chronofabric_logic::Formula;
///
/// let error = Formula::parse("histrically[0, 2 s](x > 1)").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "'histrically[0, 2 s](x > 1)' is not a formula\n  histrically[0, 2 s](x > 1)\n  ^^^^^^^^^^^ \
///      unknown operator 'histrically'; did you mean 'historically'?"
/// );
/// assert_eq!((error.start, error.end), (0, 11));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FormulaError {
    /// What is wrong, in one sentence without its final stop.
    pub message: String,
    /// Byte offset in `text` where the faulty place starts.
    pub start: usize,
    /// Byte offset in `text` after the faulty place; equal to `start` at the end of the text.
    pub end: usize,
    /// The text that was parsed, cut after [`TEXT_BYTES_MAX`](crate::TEXT_BYTES_MAX) bytes.
    pub text: String,
    /// The way out, where one is known.
    pub suggestion: Option<String>,
}

impl FormulaError {
    /// The faulty place counted in characters instead of bytes, for languages whose strings are indexed so.
    pub fn character_range(&self) -> Range<usize> {
        let start = self.text[..self.start].chars().count();
        start..start + self.text[self.start..self.end].chars().count()
    }
}

impl fmt::Display for FormulaError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "'{}' is not a formula", title(&self.text))?;
        let (line, column, width) = excerpt(&self.text, self.start, self.end);
        writeln!(formatter, "  {line}")?;
        write!(formatter, "  {:column$}{:^<width$} {}", "", "", self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(formatter, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

impl Error for FormulaError {}

/// The text on one line, shortened.
fn title(text: &str) -> String {
    let mut characters = text.trim().chars().map(printable);
    let mut title: String = characters.by_ref().take(TITLE_CHARACTERS_MAX).collect();
    if characters.next().is_some() {
        title.push_str("...");
    }
    title
}

/// The line that holds the faulty place, with the column and the width of its carets, in characters.
fn excerpt(text: &str, start: usize, end: usize) -> (String, usize, usize) {
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    let line: Vec<char> = text[line_start..line_end].chars().map(printable).collect();
    let column = text[line_start..start].chars().count();
    let width = text[start..end.clamp(start, line_end)].chars().count().max(1);

    let first = if line.len() > LINE_CHARACTERS_MAX { column.saturating_sub(LINE_CHARACTERS_MAX / 2) } else { 0 };
    let last = line.len().min(first + LINE_CHARACTERS_MAX);
    let mut shown = String::new();
    if first > 0 {
        shown.push_str("...");
    }
    let shift = shown.len();
    shown.extend(&line[first..last]);
    if last < line.len() {
        shown.push_str("...");
    }
    (shown, column - first + shift, width.min((last - column).max(1)))
}

/// Control characters would move the carets away from their place.
fn printable(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

/// A sample that a monitor refuses. The monitor is as it was before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MonitorError {
    /// A sample does not have one value for each signal of the formula.
    WrongNumberOfValues {
        /// The signals of the formula.
        expected: usize,
        /// The values of the sample.
        given: usize,
    },
    /// A sample is older than the newest one.
    TimeWentBack {
        /// The time of the refused sample.
        time_ns: i64,
        /// The time of the newest accepted sample.
        newest_ns: i64,
    },
    /// A value is NaN.
    NotANumber {
        /// The signal whose value it is.
        signal: String,
    },
    /// Arithmetic in a comparison has no answer: a division by zero, or infinities that cancel.
    Undefined {
        /// The comparison, in canonical text.
        comparison: String,
    },
    /// An operator would have to hold more samples than the monitor's `max_samples`.
    TooManySamples {
        /// The operator, in canonical text.
        operator: String,
        /// The monitor's `max_samples`.
        limit: usize,
    },
}

impl fmt::Display for MonitorError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongNumberOfValues { expected, given } => {
                write!(formatter, "the formula reads {expected} signals, the sample has {given} values; ")?;
                write!(formatter, "pass one value for each signal, in the order of the formula's signals")
            }
            Self::TimeWentBack { time_ns, newest_ns } => {
                write!(formatter, "the sample at {time_ns} ns is older than the newest at {newest_ns} ns; ")?;
                write!(formatter, "pass samples in the order of their time, or reset the monitor")
            }
            Self::NotANumber { signal } => {
                write!(formatter, "the value of signal '{signal}' is NaN; leave out samples without a number")
            }
            Self::Undefined { comparison } => {
                write!(formatter, "'{comparison}' has no value at this sample: its arithmetic divides by zero or ")?;
                write!(formatter, "subtracts infinities; rewrite it without the division ('x / y > 2' as 'x > 2 * y')")
            }
            Self::TooManySamples { operator, limit } => {
                write!(formatter, "'{operator}' needs more than the {limit} samples it may hold; ")?;
                write!(formatter, "raise max_samples, shorten the window or lower the rate of samples")
            }
        }
    }
}

impl Error for MonitorError {}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn error(text: &str, start: usize, end: usize) -> FormulaError {
        FormulaError { message: "wrong".into(), start, end, text: text.into(), suggestion: None }
    }

    #[test]
    fn carets_stand_under_the_place_in_its_line() {
        let shown = error("x > 1 and\n  y ? 2", 14, 15).to_string();
        assert_eq!(shown, "'x > 1 and   y ? 2' is not a formula\n    y ? 2\n      ^ wrong");
    }

    #[test]
    fn carets_count_characters_and_not_bytes() {
        let error = error("ä ö > 1", 3, 5);
        assert_eq!(error.to_string().lines().nth(2), Some("    ^ wrong"));
        assert_eq!(error.character_range(), 2..3);
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{} ? {}", "a".repeat(500), "b".repeat(500));
        let shown = error(&text, 501, 502).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[0].len() < 100 && lines[1].len() < 140, "{shown}");
        assert_eq!(lines[1].find('?'), lines[2].find('^'));
    }

    #[test]
    fn a_place_at_the_end_of_the_text_has_one_caret() {
        assert_eq!(error("x >", 3, 3).to_string().lines().nth(2), Some("     ^ wrong"));
    }
}
