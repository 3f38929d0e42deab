//! Topics and patterns.
//!
//! A topic is one or more non-empty segments joined by `/`. In a pattern `*` is exactly one whole segment and `**` zero or
//! more, so `plant/**` matches `plant`; a regular expression matches the whole topic. Patterns are compared with topics
//! when a subscription or a topic appears, never while an event is published.

use crate::error::{BusError, SyntaxError};
use crate::sync::lock;
use chronofabric_clock::NodeId;
use regex::Regex;
use std::sync::{Arc, Mutex};

/// The longest topic or pattern, in bytes.
pub const TOPIC_BYTES_MAX: usize = 1024;
/// The largest compiled regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What an event knows of its topic.
#[derive(Debug)]
pub struct TopicInfo {
    name: Box<str>,
    node: NodeId,
}

impl TopicInfo {
    /// A topic of a node; the name must be a valid topic.
    ///
    /// # Errors
    /// [`BusError::Topic`] where it is none.
    pub fn new(name: &str, node: NodeId) -> Result<Self, BusError> {
        validate_topic(name)?;
        Ok(Self { name: name.into(), node })
    }

    /// The name, such as `plant/7/temperature`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node its events entered the fabric on.
    pub fn node(&self) -> NodeId {
        self.node
    }
}

/// The topics that a bus has ever had, kept alive as long as anything refers to them that is not counted.
#[derive(Debug, Default)]
pub(crate) struct Topics(Mutex<Vec<Arc<TopicInfo>>>);

impl Topics {
    pub(crate) fn keep(&self, topic: &Arc<TopicInfo>) {
        lock(&self.0).push(Arc::clone(topic));
    }
}

/// Checks that a text is a topic.
///
/// # Errors
/// [`BusError::Topic`] with the place and the way out.
pub fn validate_topic(text: &str) -> Result<(), BusError> {
    check_segments(text, "topic").map_err(BusError::Topic)?;
    for (start, segment) in segments(text) {
        if let Some(offset) = segment.find('*') {
            return Err(BusError::Topic(SyntaxError::new(
                text,
                "topic",
                start + offset,
                1,
                "'*' stands for other segments only in a pattern; an event needs one definite topic",
            )));
        }
    }
    Ok(())
}

/// The segments of a text, each with its place in bytes.
fn segments(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    text.split('/').map(move |segment| {
        let place = start;
        start += segment.len() + 1;
        (place, segment)
    })
}

/// What holds for topics and patterns alike.
fn check_segments(text: &str, what: &'static str) -> Result<(), SyntaxError> {
    let error = |start: usize, length: usize, hint: &str| Err(SyntaxError::new(text, what, start, length, hint));
    if text.is_empty() {
        return error(0, 1, "it is empty; write at least one segment, such as 'plant'");
    }
    if text.len() > TOPIC_BYTES_MAX {
        return error(
            TOPIC_BYTES_MAX,
            1,
            &format!("it has {} bytes; at most {TOPIC_BYTES_MAX} are allowed", text.len()),
        );
    }
    if let Some((start, character)) = text.char_indices().find(|(_, character)| character.is_control()) {
        return error(start, 1, &format!("the control character {character:?} is not allowed"));
    }
    if let Some(start) = text.find('#') {
        return error(start, 1, "'#' separates a topic from a field; for all topics below write '**'");
    }
    for (start, segment) in segments(text) {
        if segment.is_empty() {
            let hint = match start {
                0 => "a leading '/' makes an empty segment; remove it",
                _ if start == text.len() => "a trailing '/' makes an empty segment; remove it",
                _ => "two '/' in a row make an empty segment; remove one",
            };
            return error(start.min(text.len() - 1), 1, hint);
        }
    }
    Ok(())
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    One,
    Many,
}

#[derive(Clone, Debug)]
enum Matcher {
    Literal,
    Segments(Box<[Segment]>),
    Regex(Regex),
    Any(Box<[Pattern]>),
}

/// A set of topics, as a subscription names it.
///
/// ```
/// # use chronofabric_bus::Pattern;
/// let pattern = Pattern::parse("plant/*/temperature")?;
/// assert!(pattern.matches("plant/7/temperature"));
/// assert!(!pattern.matches("plant/7/8/temperature"));
/// assert!(Pattern::parse("plant/**")?.matches("plant"));
/// # Ok::<(), chronofabric_bus::BusError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Box<str>,
    matcher: Matcher,
}

/// Two patterns are the same where they were read from the same texts in the same way.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&Self, &Self)| one.is_regex() == other.is_regex() && one.text() == other.text();
        let (one, other) = (self.parts(), other.parts());
        one.len() == other.len() && one.iter().zip(other).all(same)
    }
}

impl Pattern {
    /// Reads a pattern of segments.
    ///
    /// # Errors
    /// [`BusError::Pattern`] with the place and the way out.
    pub fn parse(text: &str) -> Result<Self, BusError> {
        check_segments(text, "topic pattern").map_err(BusError::Pattern)?;
        let mut parsed = Vec::new();
        for (start, segment) in segments(text) {
            parsed.push(match segment {
                "*" => Segment::One,
                // Two in a row say no more than one.
                "**" if parsed.last() == Some(&Segment::Many) => continue,
                "**" => Segment::Many,
                _ if segment.contains('*') => return Err(BusError::Pattern(partial_wildcard(text, start, segment))),
                _ => Segment::Literal(segment.into()),
            });
        }
        let literal = parsed.iter().all(|segment| matches!(segment, Segment::Literal(_)));
        let matcher = if literal { Matcher::Literal } else { Matcher::Segments(parsed.into()) };
        Ok(Self { text: text.into(), matcher })
    }

    /// Reads a regular expression that must match a whole topic.
    ///
    /// # Errors
    /// [`BusError::Pattern`] with what is wrong with the expression.
    pub fn regex(text: &str) -> Result<Self, BusError> {
        let invalid = |start: usize, hint: &str| {
            Err(BusError::Pattern(SyntaxError::new(text, "regular expression", start.min(text.len()), 1, hint)))
        };
        if text.len() > TOPIC_BYTES_MAX {
            return invalid(
                TOPIC_BYTES_MAX,
                &format!("it has {} bytes; at most {TOPIC_BYTES_MAX} are allowed", text.len()),
            );
        }
        // On its own first, so that an unbalanced parenthesis cannot pair with ours.
        let build = |text: &str| regex::RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
        let built = build(text).and_then(|_| build(&format!(r"\A(?:{text})\z")));
        match built {
            Ok(regex) => Ok(Self { text: text.into(), matcher: Matcher::Regex(regex) }),
            Err(error) => {
                let message = error.to_string();
                invalid(0, message.lines().last().unwrap_or("it cannot be compiled").trim_start_matches("error: "))
            }
        }
    }

    /// The union of several patterns, or the only one.
    pub fn any(mut patterns: Vec<Self>) -> Option<Self> {
        match patterns.len() {
            0 | 1 => patterns.pop(),
            _ => {
                let texts: Vec<_> = patterns.iter().map(Self::text).collect();
                Some(Self { text: texts.join(", ").into(), matcher: Matcher::Any(patterns.into()) })
            }
        }
    }

    /// The patterns of a union; itself where it is none.
    pub fn parts(&self) -> &[Self] {
        match &self.matcher {
            Matcher::Any(patterns) => patterns,
            _ => std::slice::from_ref(self),
        }
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is a regular expression.
    pub fn is_regex(&self) -> bool {
        matches!(self.matcher, Matcher::Regex(_))
    }

    /// The one topic it matches, if it can only match one.
    pub fn literal(&self) -> Option<&str> {
        matches!(self.matcher, Matcher::Literal).then_some(&*self.text)
    }

    /// Whether a topic belongs to the set.
    pub fn matches(&self, topic: &str) -> bool {
        match &self.matcher {
            Matcher::Literal => *self.text == *topic,
            Matcher::Regex(regex) => regex.is_match(topic),
            Matcher::Any(patterns) => patterns.iter().any(|pattern| pattern.matches(topic)),
            Matcher::Segments(pattern) => matches_segments(pattern, topic),
        }
    }
}

/// Two stars inside a segment, or one beside other characters: says what was probably meant.
fn partial_wildcard(text: &str, start: usize, segment: &str) -> SyntaxError {
    let offset = segment.find('*').unwrap_or(0);
    let stars = segment[offset..].chars().take_while(|character| *character == '*').count();
    let star = if stars == 1 { "*" } else { "**" };
    let (before, after) = (&segment[..offset], &segment[offset + stars..]);
    let parts: Vec<_> =
        [before, star, after].into_iter().filter(|part| !part.is_empty() && !part.contains("***")).collect();
    let rest = &text[start + segment.len()..];
    let fixed = format!("{}{}{rest}", &text[..start], parts.join("/"));
    let hint = format!("'{star}' must be a whole segment; write '{fixed}' or use regex('...')");
    SyntaxError::new(text, "topic pattern", start, segment.len(), &hint)
}

/// Wildcard matching with one point of return: after a `**` fails to reach the end, it takes one segment more. An earlier
/// `**` never needs to be tried again, because the later one can take whatever the earlier would have taken.
fn matches_segments(pattern: &[Segment], topic: &str) -> bool {
    let mut at = 0;
    let mut rest = Some(topic);
    let mut retry: Option<(usize, &str)> = None;
    loop {
        let step = match (pattern.get(at), rest) {
            (None, None) => return true,
            (Some(Segment::Many), _) => {
                at += 1;
                match rest {
                    Some(text) => retry = Some((at, text)),
                    None => retry = None,
                }
                continue;
            }
            (Some(Segment::One), Some(text)) => Some(next_segment(text).1),
            (Some(Segment::Literal(literal)), Some(text)) => {
                let (segment, after) = next_segment(text);
                (segment == &**literal).then_some(after)
            }
            _ => None,
        };
        match (step, retry) {
            (Some(after), _) => {
                at += 1;
                rest = after;
            }
            (None, Some((point, text))) => {
                rest = next_segment(text).1;
                at = point;
                retry = rest.map(|text| (point, text));
            }
            (None, None) => return false,
        }
    }
}

fn next_segment(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((segment, after)) => (segment, Some(after)),
        None => (text, None),
    }
}

#[cfg(all(test, not(miri)))]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_way_out_is_named_for_a_partial_wildcard() {
        let error = Pattern::parse("plant/**x/temp").unwrap_err().to_string();
        assert_eq!(
            error,
            "'plant/**x/temp' is not a topic pattern\n  plant/**x/temp\n        ^^^ '**' must be a whole segment; write \
             'plant/**/x/temp' or use regex('...')"
        );
    }

    #[test]
    fn empty_segments_controls_and_overlong_topics_are_refused() {
        let long = "x".repeat(TOPIC_BYTES_MAX + 1);
        for topic in ["", "/", "/a", "a/", "a//b", "a/\n/b", "a/#", "a/*", &long] {
            assert!(validate_topic(topic).is_err(), "{topic:?}");
        }
        for topic in ["a", "a/b", "überdruck/ventil 7/°C", &"x".repeat(TOPIC_BYTES_MAX)] {
            assert!(validate_topic(topic).is_ok(), "{topic:?}");
        }
    }

    #[test]
    fn the_place_of_a_text_that_is_too_long_is_a_character_of_it() {
        let inside = format!("{}é", "x".repeat(TOPIC_BYTES_MAX - 1));
        let after = "é".repeat(TOPIC_BYTES_MAX);
        for (text, column) in [(&inside, TOPIC_BYTES_MAX - 1), (&after, TOPIC_BYTES_MAX / 2)] {
            for refused in [validate_topic(text), Pattern::parse(text).map(drop), Pattern::regex(text).map(drop)] {
                let Err(BusError::Topic(error) | BusError::Pattern(error)) = refused else {
                    panic!("{text} is too long")
                };
                assert_eq!((error.column, error.width), (column, 1));
            }
        }
    }

    #[test]
    fn a_regular_expression_matches_whole_topics_only() {
        let pattern = Pattern::regex("a|ab/c").unwrap();
        assert!(pattern.matches("a") && pattern.matches("ab/c"));
        assert!(!pattern.matches("ab") && !pattern.matches("xa") && !pattern.matches("ab/cd"));
        for text in ["(", ")", "a)(b", "(?x)a #", "[z-a]", "(a{1000}){1000}"] {
            let parsed = Pattern::regex(text);
            assert!(parsed.is_err(), "{text}");
        }
    }

    #[test]
    fn a_union_matches_what_any_of_its_patterns_matches() {
        let parse = |text: &str| Pattern::parse(text).unwrap();
        let union = Pattern::any(vec![parse("a/*"), parse("b"), Pattern::regex("c+").unwrap()]).unwrap();
        assert!(["a/x", "b", "ccc"].iter().all(|topic| union.matches(topic)));
        assert!(["a", "b/x", "d"].iter().all(|topic| !union.matches(topic)));
        assert_eq!((union.text(), union.literal()), ("a/*, b, c+", None));
        assert_eq!(Pattern::any(vec![parse("b")]).unwrap().literal(), Some("b"));
        assert!(Pattern::any(Vec::new()).is_none());
    }

    fn model(pattern: &[&str], topic: &[&str]) -> bool {
        match (pattern, topic) {
            ([], []) => true,
            (["**", rest @ ..], _) => model(rest, topic) || (!topic.is_empty() && model(pattern, &topic[1..])),
            (["*", rest @ ..], [_, after @ ..]) => model(rest, after),
            ([literal, rest @ ..], [segment, after @ ..]) => literal == segment && model(rest, after),
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn matching_agrees_with_its_recursive_definition(
            pattern in proptest::collection::vec(prop_oneof!["[ab]", Just("*".to_owned()), Just("**".to_owned())], 1..7),
            topic in proptest::collection::vec("[ab]", 1..7),
        ) {
            let parsed = Pattern::parse(&pattern.join("/")).unwrap();
            let pattern: Vec<_> = pattern.iter().map(String::as_str).collect();
            let segments: Vec<_> = topic.iter().map(String::as_str).collect();
            prop_assert_eq!(parsed.matches(&topic.join("/")), model(&pattern, &segments));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC*|[a*/#]{0,12}") {
            let _ = validate_topic(&text);
            let _ = Pattern::regex(&text);
            if let Ok(pattern) = Pattern::parse(&text) {
                prop_assert!(validate_topic(&text).is_err() || pattern.matches(&text));
            }
        }
    }
}
