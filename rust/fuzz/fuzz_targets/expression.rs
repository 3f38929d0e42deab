//! Any text is a regular expression or is refused at a place within it; one matches whole topics and nothing less, and
//! the translation of a pattern of segments matches what the pattern does.
//!
//! An input is an expression or a pattern, a line feed and a topic.

#![no_main]

use chronofabric_bus::{BusError, Pattern, validate_topic};
use libfuzzer_sys::fuzz_target;
use regex::Regex;

/// Longer patterns are not translated: compiling them would take all the time.
const TRANSLATED_BYTES_MAX: usize = 48;

fuzz_target!(|input: &str| {
    let (text, topic) = input.rsplit_once('\n').unwrap_or((input, "plant/7/temperature"));
    match Pattern::regex(text) {
        Ok(pattern) => {
            assert_eq!((pattern.text(), pattern.is_regex(), pattern.literal()), (text, true, None));
            assert_matches_whole_topics(&pattern, topic);
        }
        Err(BusError::Pattern(error)) => {
            assert_eq!(&*error.text, text);
            assert!(error.width >= 1 && error.column + error.width <= text.chars().count().max(1), "{error:?}");
            assert_eq!(BusError::Pattern(error).to_string().split('\n').count(), 3);
        }
        Err(error) => panic!("an expression was refused as something else: {error:?}"),
    }
    match Pattern::parse(text) {
        Ok(segments) if text.len() <= TRANSLATED_BYTES_MAX && validate_topic(topic).is_ok() => {
            let expression = Pattern::regex(&translated(text)).expect("the translation is an expression");
            assert_eq!(segments.matches(topic), expression.matches(&format!("{topic}/")), "{topic:?}");
        }
        _ => {}
    }
});

/// An expression that matches a whole topic matches somewhere in it, and one that is found to span it matches it.
fn assert_matches_whole_topics(pattern: &Pattern, topic: &str) {
    let anywhere = Regex::new(pattern.text()).expect("it was compiled before").find(topic);
    if pattern.matches(topic) {
        assert!(anywhere.is_some());
    } else {
        assert!(anywhere.is_none_or(|found| found.len() < topic.len()));
    }
}

/// The regular expression of a pattern, for topics that end with a slash.
fn translated(pattern: &str) -> String {
    let each = pattern.split('/').map(|segment| match segment {
        "**" => "(?:[^/]+/)*".to_owned(),
        "*" => "[^/]+/".to_owned(),
        literal => format!("{}/", regex::escape(literal)),
    });
    each.collect()
}
