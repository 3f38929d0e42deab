//! What was said about the topics of patterns, for topics to come: for each topic, the last that matches it holds.

use crate::topic::Pattern;

/// The rules of a bus about one thing.
#[derive(Debug)]
pub(crate) struct Rules<R>(Vec<(Pattern, R)>);

impl<R> Default for Rules<R> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<R: Copy> Rules<R> {
    /// Adds a rule, in the place of one for the same pattern.
    pub(crate) fn set(&mut self, pattern: &Pattern, rule: R) {
        self.0.retain(|(other, _)| other != pattern);
        self.0.push((pattern.clone(), rule));
    }

    pub(crate) fn of(&self, topic: &str) -> Option<R> {
        self.0.iter().rev().find(|(pattern, _)| pattern.matches(topic)).map(|(_, rule)| *rule)
    }
}
