//! A mapping, key by key.

use super::node::shortened;
use super::{Key, Node};
use crate::yaml::problem::{At, Problem, Problems, is_close};

/// A mapping read key by key: what was never asked for is unknown.
#[derive(Debug)]
pub struct Fields<'a> {
    pub(super) what: &'a str,
    pub(super) at: At,
    pub(super) entries: &'a [(Key, Node)],
    pub(super) asked: Vec<&'static str>,
    pub(super) forbidden: Vec<&'a str>,
}

impl<'a> Fields<'a> {
    /// The value of `key`, or a problem when it isn't there.
    pub fn required(&mut self, key: &'static str, problems: &mut Problems) -> Option<&'a Node> {
        let found = self.optional(key);
        if found.is_none() {
            self.missing(key, problems);
        }
        found
    }

    /// Says that `key` isn't there; a misspelt key is told as that, not twice.
    pub fn missing(&self, key: &str, problems: &mut Problems) {
        let is_misspelt =
            self.entries.iter().any(|(name, _)| is_close(&name.text, key) && !self.is_asked(name));
        if !is_misspelt {
            problems.add(Problem::new(self.at, format!("{} has no `{key}`", self.what)));
        }
    }

    /// The value of `key` if it is there, without knowing the key.
    pub fn peek(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find_map(|(name, node)| (name.text == key).then_some(node))
    }

    /// The place of a key that has a message of its own, and isn't reported as unknown.
    pub fn forbid(&mut self, key: &'static str) -> Option<At> {
        let (key, _) = self.entries.iter().find(|(name, _)| name.text == key)?;
        self.forbidden.push(&key.text);
        Some(key.at)
    }

    fn is_asked(&self, key: &Key) -> bool {
        self.asked.contains(&key.text.as_str())
    }

    /// The value of `key` if it is there.
    pub fn optional(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        self.peek(key)
    }

    /// Where the mapping begins.
    pub fn at(&self) -> At {
        self.at
    }

    /// Reports every key that nobody asked for.
    pub fn finish(self, problems: &mut Problems) {
        for (key, _) in self.entries {
            if !self.is_asked(key) && !self.forbidden.contains(&key.text.as_str()) {
                let problem =
                    Problem::new(key.at, format!("unknown key `{}` in {}", shortened(&key.text), self.what));
                problems.add(match self.asked.is_empty() {
                    true => problem.help("there is nothing to set"),
                    false => problem.did_you_mean(&key.text, self.asked.iter().copied()),
                });
            }
        }
    }
}
