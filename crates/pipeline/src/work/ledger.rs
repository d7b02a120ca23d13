//! The last run of a pipeline, action by action, with the keys: why something runs is told against it.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use kernels::{Digest, Store};
use serde::{Deserialize, Serialize};

use crate::work::key::{Key, in_short};
use crate::work::threads::locked;

/// What became of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It ran, and gave a result.
    Done,
    /// Its result was there.
    Kept,
    /// It failed.
    Failed,
}

/// An action of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it does: `minimize`.
    pub step: String,
    /// With what: a kernel, a file.
    pub subject: String,
    /// All that its result depends on.
    pub key: Key,
    /// What became of it.
    pub end: End,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastRun {
    /// Sorted by step and subject.
    pub actions: Vec<Entry>,
}

/// A run being written, by several threads.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Vec<Entry>>);

impl Ledger {
    /// Remembers the end of an action.
    pub fn add(&self, step: &str, subject: impl Into<String>, key: Key, end: End, reason: Option<String>) {
        let entry = Entry { step: step.to_owned(), subject: subject.into(), key, end, reason };
        locked(&self.0).push(entry);
    }

    /// How many actions of a step ran.
    pub fn ran(&self, step: &str) -> usize {
        let entries = locked(&self.0);
        entries.iter().filter(|entry| entry.step == step && entry.end != End::Kept).count()
    }

    /// The run.
    pub fn finish(self) -> LastRun {
        let mut actions = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        actions.sort_by(|a, b| (&a.step, &a.subject).cmp(&(&b.step, &b.subject)));
        LastRun { actions }
    }
}

/// What the store knows the last run of a file by. The path is only a name: no result depends on it.
fn name(file: &Path) -> String {
    let path = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    format!("last-run/1 {}", path.display())
}

impl LastRun {
    /// The last run of a pipeline file; empty when there was none.
    pub fn read(store: &Store, file: &Path) -> LastRun {
        let find = || {
            let digest: Digest = serde_json::from_value(store.link(&name(file))?).ok()?;
            serde_json::from_slice(&store.read(&digest)?).ok()
        };
        find().unwrap_or_default()
    }

    /// Keeps a run as the last one.
    pub fn write(&self, store: &Store, file: &Path) -> Result<(), kernels::Error> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let digest = serde_json::json!(Digest::of(&text));
        if store.link(&name(file)).as_ref() != Some(&digest) {
            store.put(&text)?;
            store.set_link(&name(file), digest)?;
        }
        Ok(())
    }

    /// An action of it.
    pub fn find(&self, step: &str, subject: &str) -> Option<&Entry> {
        self.actions.iter().find(|entry| entry.step == step && entry.subject == subject)
    }

    /// What failed.
    pub fn failed(&self) -> impl Iterator<Item = &Entry> {
        self.actions.iter().filter(|entry| entry.end == End::Failed)
    }

    /// How many actions of a step there were.
    pub fn count(&self, step: &str) -> usize {
        self.actions.iter().filter(|entry| entry.step == step).count()
    }

    /// How many actions of a step ran.
    pub fn ran(&self, step: &str) -> usize {
        self.actions.iter().filter(|entry| entry.step == step && entry.end != End::Kept).count()
    }

    /// `3 of 1000 minimized, 1 of 2 packaged`, or that there was nothing to do, or that it did not come so far.
    pub fn in_short(&self) -> String {
        if self.actions.iter().all(|entry| entry.end == End::Kept) {
            return "nothing had to be done".to_owned();
        }
        let words = [
            ("minimize", "minimized"),
            ("transform", "transformed"),
            ("package", "packaged"),
            ("verify", "verified"),
            ("check", "checked"),
            ("publish", "published"),
        ];
        let words: Vec<String> = words
            .into_iter()
            .filter(|(step, _)| self.count(step) > 0)
            .map(|(step, word)| format!("{} of {} {word}", self.ran(step), self.count(step)))
            .collect();
        if words.is_empty() { "nothing was made".to_owned() } else { words.join(", ") }
    }

    /// Why an action with this key runs, when the store has no result for it.
    pub fn why(&self, step: &str, subject: &str, key: &Key) -> String {
        let Some(before) = self.find(step, subject) else {
            return "not made before".to_owned();
        };
        let differences = key.differences(&before.key);
        match (&before.reason, differences.as_slice()) {
            (Some(reason), []) => format!("it failed the last time: {}", first_line(reason)),
            (None, []) => "its result is gone".to_owned(),
            (_, some) => in_short(some),
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_kept_by_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let (one, two) = (folder.path().join("one.yaml"), folder.path().join("two.yaml"));
        let ledger = Ledger::default();
        let key = Key::of("minimize/1").with("btf", "1");
        ledger.add("minimize", "k", key.clone(), End::Done, None);
        ledger.add("minimize", "f", key.clone(), End::Failed, Some("no\nmore".into()));
        assert_eq!(ledger.ran("minimize"), 2);
        let run = ledger.finish();
        run.write(&store, &one).unwrap();
        assert_eq!((LastRun::read(&store, &one), LastRun::read(&store, &two)), (run, LastRun::default()));
        let run = LastRun::read(&store, &one);
        let other = Key::of("minimize/1").with("btf", "2");
        assert_eq!(run.why("minimize", "k", &other), "btf changed");
        assert_eq!(run.why("minimize", "k", &key), "its result is gone");
        assert_eq!(run.why("minimize", "f", &key), "it failed the last time: no");
        assert_eq!(run.why("minimize", "new", &key), "not made before");
        assert_eq!(run.in_short(), "2 of 2 minimized");
        assert_eq!(LastRun::default().in_short(), "nothing had to be done");
        let ledger = Ledger::default();
        ledger.add("fetch", "k", key, End::Failed, None);
        assert_eq!(ledger.finish().in_short(), "nothing was made");
    }
}
