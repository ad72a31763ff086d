//! The keys that a section gives.

use std::collections::BTreeMap;

use super::value::Value;

/// The keys that a section gives, for the checks of several keys together.
pub(super) struct GivenKeys {
    /// The line of the section's brackets.
    pub(super) line: Option<usize>,
    pub(super) keys: BTreeMap<&'static str, (usize, Option<Value>)>,
}

impl GivenKeys {
    /// The line of a key, else the line of the section.
    pub(super) fn line(&self, key: &str) -> Option<usize> {
        self.keys.get(key).map(|(line, _)| *line).or(self.line)
    }

    /// The value of a key that was given one, and whose value is good.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).and_then(|(_, value)| value.as_ref())
    }

    /// Whether a key has a line with a value, good or not.
    pub(super) fn tried(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }
}
