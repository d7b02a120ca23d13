//! Boot after boot: no wrong verdict, no machine left behind, no hang past its limit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use vmtest::{Outcome, Verdict, VmReport};

use crate::subject::{Object, Subject, Subjects, objects};
use crate::{Error, mutate};

/// What came of a kernel's boots.
#[derive(Default)]
struct Tally {
    verdicts: usize,
    no_verdict: usize,
    wrong: Vec<String>,
    flakes: BTreeMap<String, usize>,
    ready: Vec<f64>,
    longest: f64,
}

/// True when nothing was wrong.
pub fn soak(count: &str, kernels: &Path, more: &[&str]) -> Result<bool, Error> {
    let count: usize = count.parse()?;
    let work = tempfile::tempdir()?;
    let subjects = Subjects::read(kernels, more, work.path())?.listed;
    let object = object(subjects.first().ok_or("no kernels")?)?;
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    let start = Instant::now();
    for (number, subject) in subjects.iter().cycle().take(count).enumerate() {
        let tally = tallies.entry(&subject.name).or_default();
        let report = boot(subject, std::slice::from_ref(&object), work.path())?;
        tally.add(&report);
        let left = children()?;
        if !left.is_empty() {
            tally.wrong.push(format!("a process stayed behind: {left:?}"));
        }
        // A soak that somebody ends early has said something, too.
        let (wrong, flakes) = (tally.wrong.len(), tally.flakes.values().sum::<usize>());
        eprintln!(
            "{:4} {} {:.1} s; so far {} verdicts, {wrong} wrong, {flakes} flakes",
            number + 1,
            subject.name,
            report.seconds,
            tally.verdicts
        );
    }
    println!("{}", table(&tallies, count, start.elapsed().as_secs()));
    Ok(tallies.values().all(|tally| tally.wrong.is_empty() && tally.no_verdict == 0))
}

/// The struct whose members are moved.
const MOVED: &str = "task_struct";

/// The first tool that reads it.
fn object(subject: &Subject) -> Result<Object, Error> {
    for object in objects(20)? {
        let btf = mutate::Btf::parse(subject.minimized(std::slice::from_ref(&object))?);
        if btf.structs().iter().any(|(_, name)| name == MOVED) {
            return Ok(object);
        }
    }
    Err(format!("no object uses {MOVED}").into())
}

/// One good BTF, and one with which a program would read other memory.
fn boot(subject: &Subject, objects: &[Object], work: &Path) -> Result<VmReport, Error> {
    let good = subject.minimized(objects)?;
    let damaged = mutate::Btf::parse(good.clone());
    let structs = damaged.structs();
    let (moved, _) =
        structs.iter().find(|(_, name)| name == MOVED).ok_or("the object does not use it here")?;
    let checks = [objects[0].check(&good, "good"), objects[0].check(&damaged.moved(*moved, 8), "moved")];
    Ok(vmtest::run(&subject.spec(work), &checks, &mut |_| ()))
}

impl Tally {
    fn add(&mut self, report: &VmReport) {
        for attempt in &report.attempts {
            self.longest = self.longest.max(attempt.seconds);
            self.ready.extend(attempt.ready_seconds);
            if let Some(failure) = &attempt.failure {
                *self.flakes.entry(first_words(failure)).or_default() += 1;
            }
        }
        let verdicts = match &report.outcome {
            Outcome::Done(verdicts) => verdicts,
            Outcome::Infra { reason } | Outcome::Unsupported { reason } => {
                self.no_verdict += 1;
                eprintln!("no verdict: {reason}");
                return;
            }
        };
        self.verdicts += 1;
        for verdict in verdicts {
            let right = match verdict.label.as_str() {
                "good" => verdict.is_identical() && !verdict.verdict.is_failure(),
                _ => verdict.verdict == Verdict::Mismatch,
            };
            if !right {
                self.wrong
                    .push(format!("{} with the {} BTF: {}", verdict.object, verdict.label, verdict.verdict));
            }
        }
    }
}

fn table(tallies: &BTreeMap<&str, Tally>, count: usize, seconds: u64) -> String {
    let mut text = format!("{count} machines in {seconds} s\n\n");
    text.push_str("| kernel | verdicts | none | wrong | flakes | ready, median s | longest boot, s |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    for (name, tally) in tallies {
        let flakes: usize = tally.flakes.values().sum();
        let mut ready = tally.ready.clone();
        ready.sort_by(f64::total_cmp);
        text.push_str(&format!(
            "| {name} | {} | {} | {} | {flakes} | {:.2} | {:.1} |\n",
            tally.verdicts,
            tally.no_verdict,
            tally.wrong.len(),
            ready.get(ready.len() / 2).copied().unwrap_or_default(),
            tally.longest,
        ));
    }
    for (name, tally) in tallies {
        for (flake, times) in &tally.flakes {
            text.push_str(&format!("\nflake, {name}, {times} times: {flake}"));
        }
        for wrong in &tally.wrong {
            text.push_str(&format!("\nWRONG, {name}: {wrong}"));
        }
    }
    text
}

/// Addresses and times make every failure another one.
fn first_words(failure: &str) -> String {
    failure.split_whitespace().filter(|word| !word.contains("0x")).take(12).collect::<Vec<_>>().join(" ")
}

/// The processes that this one started, and that still are.
fn children() -> Result<Vec<String>, Error> {
    let mut children = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let listed = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        children.extend(listed.split_whitespace().map(str::to_owned));
    }
    Ok(children)
}
