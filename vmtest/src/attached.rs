//! What came of attaching an object's programs, and of doing in the guest what they watch: part of [`crate::wire`].
//!
//! Each program that loads is attached, those that need the kernel's own BTF apart from the others, which are attached
//! with it hidden. An event counts only when it carries this check's [`token`], which nothing else in the machine has.
//! This file is compiled into both programs: each uses its half.
#![allow(dead_code, reason = "the guest tells, the host judges")]

use serde::{Deserialize, Serialize};

use crate::wire::PassEnd;

/// All about one check; comes before its end when the manifest wants it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attached {
    pub check: u32,
    pub sets: Vec<Set>,
}

/// Programs that were attached together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Set {
    /// With the kernel's own BTF out of sight.
    pub hidden: bool,
    pub ours: Run,
    /// The same with the kernel's own BTF instead of ours; only where something is wrong with ours.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub full: Option<Run>,
}

/// One process that loaded, attached and did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub end: PassEnd,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub log: Option<String>,
    pub links: Vec<Linked>,
    /// Empty where nobody knows what the object's programs watch.
    pub deeds: Vec<Deed>,
}

/// A program in its place, or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linked {
    pub program: String,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub errno: Option<i32>,
}

/// Something that was done so that the programs report it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    pub what: String,
    /// The programs that take part in the report.
    pub programs: Vec<String>,
    /// Why it could not be done in this machine.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undone: Option<String>,
    /// How many events of its kind came, whoever caused them.
    pub events: u32,
    /// The event that is nearest to what was done, where one came at all.
    pub fields: Vec<Field>,
}

/// One value of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    pub name: String,
    /// What was done; `a..b` stands for a number from a to b.
    pub want: String,
    /// What the event says.
    pub got: String,
}

impl Run {
    /// True when every program is in its place, and every deed was reported as it was done.
    pub fn is_right(&self) -> bool {
        self.end == PassEnd::Ok
            && self.links.iter().all(|link| link.errno.is_none())
            && self.deeds.iter().all(|deed| deed.undone.is_some() || deed.is_reported())
    }
}

impl Deed {
    /// True when an event says all that was done.
    pub fn is_reported(&self) -> bool {
        !self.fields.is_empty() && self.fields.iter().all(Field::is_right)
    }
}

impl Field {
    /// True when the event says what was done.
    pub fn is_right(&self) -> bool {
        let number = |text: &str| text.parse::<i128>().ok();
        let between = || {
            let (first, last) = self.want.split_once("..")?;
            Some((number(first)?..=number(last)?).contains(&number(&self.got)?))
        };
        self.got == self.want || between() == Some(true)
    }
}

/// Six hex digits that stand for one check of one conversation: names, file names and addresses in the guest have them.
pub fn token(nonce: &str, check: u32) -> String {
    let mut crc = crc32fast::Hasher::new();
    crc.update(nonce.as_bytes());
    crc.update(&check.to_le_bytes());
    format!("{:06x}", crc.finalize() & 0xff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_right_when_it_says_what_was_done() {
        let check = |want: &str, got: &str, right| {
            let field = Field { name: "f".into(), want: want.into(), got: got.into() };
            assert_eq!(field.is_right(), right, "{want} {got}");
        };
        check("7", "7", true);
        check("7", "8", false);
        check("init", "init", true);
        check("init", "ini", false);
        check("1..3", "3", true);
        check("1..3", "0", false);
        check("1..3", "x", false);
        check("-2..-1", "-2", true);
        check("", "", true);
    }

    #[test]
    fn each_check_of_each_conversation_has_its_token() {
        let tokens = [token("a-1", 0), token("a-1", 1), token("a-2", 0)];
        assert!(tokens.iter().all(|token| token.len() == 6));
        assert!(tokens[0] != tokens[1] && tokens[0] != tokens[2] && tokens[1] != tokens[2], "{tokens:?}");
    }
}
