//! Any text is a topic or is refused at a place within it, as a definition in one line says.

#![no_main]

use chronofabric_bus::{BusError, Pattern, TOPIC_BYTES_MAX, validate_topic};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match validate_topic(text) {
        Ok(()) => {
            assert!(is_topic(text));
            assert_is_its_own_pattern(text);
        }
        Err(BusError::Topic(error)) => {
            assert!(!is_topic(text));
            assert_eq!(&*error.text, text);
            assert!(error.width >= 1 && error.column + error.width <= text.chars().count().max(1), "{error:?}");
            assert_eq!(BusError::Topic(error).to_string().split('\n').count(), 3);
        }
        Err(error) => panic!("a topic was refused as something else: {error:?}"),
    }
});

/// What a topic is, written down without regard to places and advice.
fn is_topic(text: &str) -> bool {
    let forbidden = |character: char| character.is_control() || matches!(character, '*' | '#');
    text.len() <= TOPIC_BYTES_MAX && text.split('/').all(|segment| !segment.is_empty() && !segment.contains(forbidden))
}

/// A topic is a pattern of exactly itself, and has as many segments as its pattern of single wildcards.
fn assert_is_its_own_pattern(topic: &str) {
    let pattern = Pattern::parse(topic).expect("a topic is a pattern");
    assert_eq!((pattern.literal(), pattern.matches(topic)), (Some(topic), true));
    let segments = topic.split('/').count();
    let wildcards = |count: usize| Pattern::parse(&vec!["*"; count].join("/")).expect("wildcards are a pattern");
    assert!(wildcards(segments).matches(topic));
    assert!(segments == 1 || !wildcards(segments - 1).matches(topic));
    assert!(2 * segments >= TOPIC_BYTES_MAX || !wildcards(segments + 1).matches(topic));
}
