//! Keys: all that an action's result depends on, each part by name, so that a difference can be told.
//!
//! A key holds the step's definition, the digests of what is read, of the tools, and of our own sources. It never
//! holds what must not matter: attempts, job counts, paths, users, `PATH`, the time.

use std::fmt::{Display, Write};

use kernels::Digest;
use serde::{Deserialize, Serialize};

/// The digest of the sources that record and minimize.
pub const ENGINE: &str = env!("BTFPIPE_ENGINE");
/// The digest of the sources that write packages.
pub const WRITER: &str = env!("BTFPIPE_WRITER");
/// The digest of the sources that boot and compare.
pub const VERIFIER: &str = env!("BTFPIPE_VERIFIER");

/// Named parts, in a fixed order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key(Vec<(String, String)>);

/// A part that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The part's name.
    pub part: String,
    /// Its value then; None when it wasn't there.
    pub before: Option<String>,
    /// Its value now; None when it no longer is there.
    pub now: Option<String>,
}

impl Key {
    /// The key of a step; the number behind its name changes with what the step gives of the same parts.
    pub fn of(step: &str) -> Key {
        Key::default().with("step", step)
    }

    /// With one more part.
    pub fn with(mut self, part: impl Into<String>, value: impl Display) -> Key {
        self.0.push((part.into(), value.to_string()));
        self
    }

    /// All parts.
    pub fn parts(&self) -> &[(String, String)] {
        &self.0
    }

    /// One line a part: what the store knows a result by.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (part, value) in &self.0 {
            // Quoted, so that no two keys have one text. Writing into a string can't fail.
            let _ = writeln!(text, "{part:?} {value:?}");
        }
        text
    }

    /// The key in short.
    pub fn digest(&self) -> Digest {
        Digest::of(self.text().as_bytes())
    }

    /// What is not as in `before`.
    pub fn differences(&self, before: &Key) -> Vec<Difference> {
        let find = |key: &Key, part: &str| {
            key.0.iter().find(|(name, _)| name == part).map(|(_, value)| value.clone())
        };
        let mut all: Vec<Difference> = Vec::new();
        let gone = before.0.iter().filter(|(part, _)| find(self, part).is_none());
        for (part, _) in self.0.iter().chain(gone) {
            let (before, now) = (find(before, part), find(self, part));
            if before != now {
                all.push(Difference { part: part.clone(), before, now });
            }
        }
        all
    }
}

impl Difference {
    /// `program opens.bpf.o is new`, `btf changed`.
    pub fn in_short(&self) -> String {
        match (&self.before, &self.now) {
            (None, _) => format!("{} is new", self.part),
            (_, None) => format!("{} is gone", self.part),
            _ => format!("{} changed", self.part),
        }
    }
}

/// The names of the first of them, for a line.
pub fn in_short(differences: &[Difference]) -> String {
    const MOST: usize = 3;
    let words: Vec<String> = differences.iter().take(MOST).map(Difference::in_short).collect();
    match differences.len() {
        few if few <= MOST => words.join(", "),
        many => format!("{} and {} more", words.join(", "), many - MOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[(&str, &str)]) -> Key {
        parts.iter().fold(Key::of("x/1"), |key, (part, value)| key.with(*part, value))
    }

    #[test]
    fn no_two_keys_have_one_text() {
        let (one, two) = (key(&[("a", "b\"\n\"c\" \"d")]), key(&[("a", "b"), ("c", "d")]));
        assert_ne!(one.text(), two.text());
        assert_ne!(one.digest(), two.digest());
        assert_eq!(two.digest(), key(&[("a", "b"), ("c", "d")]).digest());
    }

    #[test]
    fn differences_are_named() {
        let (before, now) =
            (key(&[("a", "1"), ("b", "1"), ("c", "1")]), key(&[("a", "2"), ("b", "1"), ("d", "1")]));
        assert_eq!(in_short(&now.differences(&before)), "a changed, d is new, c is gone");
        assert_eq!(now.differences(&now), []);
        let many = key(&[("a", "3"), ("b", "3"), ("c", "3"), ("d", "3")]);
        assert_eq!(in_short(&many.differences(&before)), "a changed, b changed, c changed and 1 more");
    }
}
