//! Any text is a pattern of segments or is refused at a place within it; what it matches is what its definition says.
//!
//! An input is a pattern, a line feed (which no pattern contains) and a topic.

#![no_main]

use chronofabric_bus::{BusError, Pattern, TOPIC_BYTES_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let (text, topic) = input.split_once('\n').unwrap_or((input, "plant/7/temperature"));
    match Pattern::parse(text) {
        Ok(pattern) => {
            assert!(is_pattern(text));
            assert_matches_as_defined(&pattern, text, topic);
        }
        Err(BusError::Pattern(error)) => {
            assert!(!is_pattern(text));
            assert_eq!(&*error.text, text);
            assert!(error.width >= 1 && error.column + error.width <= text.chars().count().max(1), "{error:?}");
            assert_eq!(BusError::Pattern(error).to_string().split('\n').count(), 3);
        }
        Err(error) => panic!("a pattern was refused as something else: {error:?}"),
    }
});

fn assert_matches_as_defined(pattern: &Pattern, text: &str, topic: &str) {
    let (segments, of_topic): (Vec<_>, Vec<_>) = (text.split('/').collect(), topic.split('/').collect());
    let literal = !text.contains('*');
    assert_eq!((pattern.text(), pattern.is_regex(), pattern.parts().len()), (text, false, 1));
    assert_eq!(pattern.literal(), literal.then_some(text));
    assert_eq!(pattern.matches(topic), matches(&segments, &of_topic), "{topic:?}");
    assert_eq!(pattern.matches(text), matches(&segments, &segments));
    if let Ok(other) = Pattern::parse(topic) {
        let union = Pattern::any(vec![pattern.clone(), other.clone()]).expect("a union of two");
        for topic in [topic, text, "plant"] {
            assert_eq!(union.matches(topic), pattern.matches(topic) || other.matches(topic), "{topic:?}");
        }
    }
}

/// What a pattern is, written down without regard to places and advice.
fn is_pattern(text: &str) -> bool {
    let forbidden = |character: char| character.is_control() || matches!(character, '*' | '#');
    let is_segment =
        |segment: &str| matches!(segment, "*" | "**") || (!segment.is_empty() && !segment.contains(forbidden));
    text.len() <= TOPIC_BYTES_MAX && text.split('/').all(is_segment)
}

/// Segment by segment of the pattern: how many of the first segments of the topic it can match.
fn matches(pattern: &[&str], topic: &[&str]) -> bool {
    let mut reached = vec![false; topic.len() + 1];
    reached[0] = true;
    for segment in pattern {
        let before = reached.clone();
        for at in 0..=topic.len() {
            reached[at] = match *segment {
                "**" => before[at] || (at > 0 && reached[at - 1]),
                "*" => at > 0 && before[at - 1],
                literal => at > 0 && before[at - 1] && literal == topic[at - 1],
            };
        }
    }
    reached[topic.len()]
}
