//! One night against the one before: only what changed, and whether something broke.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use kernels::{Digest, KernelId, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::outcome::{Code, Error};
use crate::run::Finished;
use crate::run::relock::Relocked;
use crate::summary::{self, Cell, State, Summary};

/// What a night leaves for the next one, in the output folder.
pub const FILE: &str = "last-night.json";

/// More differences of one kernel are only counted.
const LISTED: usize = 6;

/// A night as the next one needs it; the records are in the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Night {
    v: u32,
    summary: Value,
    /// The records of each kernel, and package where there are several.
    records: BTreeMap<String, Digest>,
}

impl Night {
    /// Of a run.
    pub fn of(finished: &Finished) -> Night {
        let summary = summary::to_value(&finished.summary);
        Night { v: 1, summary, records: finished.records.clone() }
    }

    /// As text.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Out of a text; None when it is something else: then this is the first night.
    pub fn parse(text: &[u8]) -> Option<Night> {
        serde_json::from_slice(text).ok().filter(|night: &Night| night.v == 1)
    }
}

/// What a night brought.
#[derive(Debug)]
pub struct Morning {
    /// One line a change, the grave ones first.
    pub changes: Vec<Change>,
    /// No night was before this one.
    pub is_first: bool,
    /// How many kernels there are now.
    pub kernels: usize,
    /// The run's own exit code, and the lock's.
    pub code: Code,
}

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// How grave it is.
    pub weight: Weight,
    /// In a line, or a few.
    pub text: String,
}

/// How grave a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Something that worked doesn't.
    Broke,
    /// Good to know.
    News,
}

impl Morning {
    /// 1 when something broke, unless the run has a graver code.
    pub fn code(&self) -> Code {
        let broke = self.changes.iter().any(|change| change.weight == Weight::Broke);
        self.code.max(if broke { Code::Failed } else { Code::Ok })
    }
}

impl fmt::Display for Morning {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        for change in &self.changes {
            let word = if change.weight == Weight::Broke { "BROKE" } else { "new  " };
            let mut lines = change.text.lines();
            writeln!(out, "{word}  {}", lines.next().unwrap_or_default())?;
            for line in lines {
                writeln!(out, "       {line}")?;
            }
        }
        let broke = self.changes.iter().filter(|change| change.weight == Weight::Broke).count();
        let kernels = self.kernels;
        match (self.is_first, self.changes.len(), broke) {
            (true, ..) => writeln!(out, "the first night: {kernels} kernels, nothing to compare with"),
            (_, 0, _) => writeln!(out, "nothing changed since the last night: {kernels} kernels"),
            (_, _, 0) => writeln!(out, "nothing broke since the last night: {kernels} kernels"),
            _ => writeln!(out, "{broke} things BROKE since the last night: {kernels} kernels"),
        }
    }
}

/// What is not as in the night before.
pub fn compare(
    before: Option<&Night>,
    now: &Night,
    relocked: &Relocked,
    code: Code,
    store: &Store,
) -> Result<Morning, Error> {
    let empty = Summary::default();
    let new = summary::from_value(&now.summary).unwrap_or_default();
    let old = before.and_then(|night| summary::from_value(&night.summary));
    let is_first = old.is_none();
    let mut morning = Morning {
        changes: Vec::new(),
        is_first,
        kernels: new.kernels.len(),
        code: code.max(relocked.code()),
    };
    let pair = Pair { old: old.as_ref().unwrap_or(&empty), new: &new, before, now, store };
    for (id, failure) in &relocked.failures {
        morning.add(Weight::Broke, format!("{id} can't be locked: {failure}"));
    }
    for failure in new.failures.iter().filter(|failure| !pair.old.failures.contains(failure)) {
        morning.add(Weight::Broke, failure.clone());
    }
    if !is_first {
        pair.kernels(&mut morning)?;
    } else {
        pair.failures(&mut morning);
    }
    morning.changes.sort();
    Ok(morning)
}

/// Two nights.
struct Pair<'a> {
    old: &'a Summary,
    new: &'a Summary,
    before: Option<&'a Night>,
    now: &'a Night,
    store: &'a Store,
}

impl Morning {
    fn add(&mut self, weight: Weight, text: String) {
        self.changes.push(Change { weight, text });
    }
}

impl Pair<'_> {
    fn kernels(&self, morning: &mut Morning) -> Result<(), Error> {
        let ids = |summary: &Summary| -> BTreeSet<String> {
            summary.kernels.iter().map(|kernel| kernel.id.clone()).collect()
        };
        let (old, new) = (ids(self.old), ids(self.new));
        let mut replaced = BTreeSet::new();
        for id in new.difference(&old) {
            let predecessor = old.difference(&new).filter(|other| is_series(other, id)).max();
            match predecessor {
                Some(other) => {
                    replaced.insert(other.clone());
                    morning
                        .add(Weight::News, format!("{id} in place of {other}{}", self.decisions(other, id)?));
                    self.cells(other, id, morning);
                }
                None => {
                    morning.add(Weight::News, format!("{id}: a kernel that was not there"));
                    self.poisoned_at_once(id, morning);
                }
            }
        }
        for id in old.difference(&new).filter(|id| !replaced.contains(*id)) {
            morning
                .add(Weight::Broke, format!("{id} is lost: no source names it, and nothing is in its place"));
        }
        for id in new.intersection(&old) {
            let decisions = self.decisions(id, id)?;
            if !decisions.is_empty() {
                morning.add(Weight::News, format!("{id}{decisions}"));
            }
            self.cells(id, id, morning);
        }
        self.failures(morning);
        Ok(())
    }

    /// Kernels that failed now and didn't before.
    fn failures(&self, morning: &mut Morning) {
        for kernel in &self.new.kernels {
            let before = self.old.kernels.iter().find(|other| other.id == kernel.id);
            if let Some(failure) = &kernel.failure
                && before.is_none_or(|before| before.failure.is_none())
            {
                morning.add(Weight::Broke, format!("{}: {failure}", kernel.id));
            }
        }
    }

    fn column(summary: &Summary, id: &str) -> BTreeMap<(String, String), Cell> {
        let Some(place) = summary.kernels.iter().position(|kernel| kernel.id == id) else {
            return BTreeMap::new();
        };
        let cell = |row: &summary::Row| {
            Some(((row.object.clone(), row.program.clone()), row.cells.get(place)?.clone()))
        };
        summary.rows.iter().filter_map(cell).collect()
    }

    /// Programs that do worse or better on `new` than on `old`.
    fn cells(&self, old: &str, new: &str, morning: &mut Morning) {
        let (before, now) = (Self::column(self.old, old), Self::column(self.new, new));
        for ((object, program), cell) in &now {
            let was = before.get(&(object.clone(), program.clone())).map_or(State::Absent, |cell| cell.state);
            if was == cell.state {
                continue;
            }
            let weight = match cell.state {
                state if state.is_failure() => Weight::Broke,
                State::Poisoned => Weight::Broke,
                _ => Weight::News,
            };
            let why = cell.reason.as_deref().unwrap_or_default().replace('\n', "; ");
            let why = if why.is_empty() { why } else { format!(": {why}") };
            let was = if was == State::Absent { "not there" } else { was.code() };
            let text = format!("{object} {program} on {new}: {}, was {was}{why}", cell.state.code());
            morning.add(weight, text);
        }
    }

    /// A kernel of a new series is no reason to fail for what it never had.
    fn poisoned_at_once(&self, id: &str, morning: &mut Morning) {
        for ((object, program), cell) in Self::column(self.new, id) {
            let weight = if cell.state.is_failure() { Weight::Broke } else { Weight::News };
            if cell.state == State::Poisoned || cell.state.is_failure() {
                let why = cell.reason.unwrap_or_default().replace('\n', "; ");
                morning.add(weight, format!("{object} {program} on {id}: {}: {why}", cell.state.code()));
            }
        }
    }

    /// How many relocations are decided otherwise, and the first of them.
    fn decisions(&self, old: &str, new: &str) -> Result<String, Error> {
        let mut lines = Vec::new();
        for (subject, digest) in &self.now.records {
            let rest = subject.strip_prefix(new).filter(|rest| rest.is_empty() || rest.starts_with(" for "));
            let before = rest.and_then(|rest| self.before?.records.get(&format!("{old}{rest}")));
            let Some(before) = before.filter(|before| *before != digest) else {
                continue;
            };
            if let (Some(then), Some(now)) = (self.store.get(before)?, self.store.get(digest)?) {
                lines.extend(differences(&then, &now));
            }
        }
        lines.dedup();
        if lines.is_empty() {
            return Ok(String::new());
        }
        let more = lines.len().saturating_sub(LISTED);
        let mut text = format!(
            ": {} relocations are decided otherwise\n{}",
            lines.len(),
            lines[..lines.len() - more].join("\n")
        );
        if more > 0 {
            text.push_str(&format!("\nand {more} more"));
        }
        Ok(text)
    }
}

/// One line for each relocation that both have and decide otherwise.
fn differences(then: &[u8], now: &[u8]) -> Vec<String> {
    let parse = |text: &[u8]| -> BTreeMap<String, Value> {
        let lines = text.split(|byte| *byte == b'\n');
        let values = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let name = |value: &Value| {
            format!(
                "{} {} {} {} {}",
                value["object"], value["section"], value["program"], value["insn"], value["kind"]
            )
        };
        values.map(|value| (name(&value), value)).collect()
    };
    let (then, now) = (parse(then), parse(now));
    let mut lines = Vec::new();
    for (name, now) in &now {
        let Some(then) = then.get(name) else { continue };
        let decided = |value: &Value| (value["outcome"].clone(), value["value"]["target"].clone());
        if decided(then) != decided(now) {
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            lines.push(format!(
                "{} {}: {} of {}: {} {}, was {} {}",
                word(&now["object"]),
                word(&now["program"]),
                word(&now["kind"]),
                word(&now["local"]["spec"]),
                word(&now["outcome"]),
                now["value"]["target"],
                word(&then["outcome"]),
                then["value"]["target"]
            ));
        }
    }
    lines
}

/// Whether one kernel can stand for another: the same but for the numbers of its release.
fn is_series(one: &str, other: &str) -> bool {
    let kind = |id: &str| {
        let id: KernelId = id.parse().ok()?;
        let words: String =
            id.release().chars().filter(|c| !c.is_ascii_digit() && !".-".contains(*c)).collect();
        Some((id.distro().to_owned(), id.version().to_owned(), id.arch(), words))
    };
    kind(one).is_some_and(|kind_of_one| kind(other) == Some(kind_of_one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series() {
        let check =
            |one: &str, other: &str, wanted: bool| assert_eq!(is_series(one, other), wanted, "{one} {other}");
        check("debian/12/x86_64/6.1.0-49-cloud-amd64", "debian/12/x86_64/6.1.0-50-cloud-amd64", true);
        check("debian/12/x86_64/6.1.0-49-cloud-amd64", "debian/12/x86_64/6.1.0-50-amd64", false);
        check("debian/12/x86_64/6.1.0-49-amd64", "debian/13/x86_64/6.1.0-50-amd64", false);
    }

    #[test]
    fn decisions_that_differ() {
        let line = |insn: u64, outcome: &str, target: u64| {
            format!(
                "{}\n",
                serde_json::json!({
                    "object": "o", "section": "s", "program": "p", "insn": insn, "kind": "byte_off", "outcome": outcome,
                    "local": {"spec": "struct t.x"}, "value": {"target": target}, "candidates": target,
                })
            )
        };
        let then =
            format!("{}{}{}", line(1, "relocated", 8), line(2, "relocated", 8), line(3, "relocated", 8));
        let now =
            format!("{}{}{}", line(1, "relocated", 8), line(2, "relocated", 16), line(4, "relocated", 8));
        assert_eq!(
            differences(then.as_bytes(), now.as_bytes()),
            ["o p: byte_off of struct t.x: relocated 16, was relocated 8"]
        );
    }
}
