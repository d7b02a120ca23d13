//! What came of attaching, for docs/machines.md.

use std::collections::BTreeMap;

use vmtest::Arch;

use super::{Finding, Seen};
use crate::subject::Subject;

/// Object by object, kernel by kernel; then what the words do not say.
pub fn write(findings: &[Finding], subjects: &[Subject], flakes: &[String]) -> String {
    let mut rows: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        rows.entry(&finding.object).or_default().push(finding);
    }
    let mut text = String::from("| program |");
    subjects.iter().for_each(|subject| text.push_str(&format!(" {} |", short(subject))));
    text.push_str(&format!("\n|---|{}\n", "---|".repeat(subjects.len())));
    for (object, findings) in &rows {
        text.push_str(&format!("| {object} |"));
        for kernel in 0..subjects.len() {
            let cell = findings.iter().find(|finding| finding.kernel == kernel).map(|finding| cell(finding));
            text.push_str(&format!(" {} |", cell.unwrap_or_default()));
        }
        text.push('\n');
    }
    text.push_str(&format!("\n{}\n", sum(findings)));
    for (note, kernels) in notes(findings, subjects) {
        text.push_str(&format!("\n- {}: {note}", kernels.join(", ")));
    }
    text.push_str("\n\nWhat gave the damaged ones away, on the first kernel where it did:\n");
    for (object, findings) in &rows {
        if let Some(said) = findings.iter().find_map(|finding| finding.damaged.by_event.first()) {
            text.push_str(&format!("\n- {object}: {}", first_line(&said.why)));
        }
    }
    for flake in flakes {
        text.push_str(&format!("\n\nA boot without an answer, made again: {}", first_line(flake)));
    }
    text.push('\n');
    text
}

/// What its programs did with a good BTF; how a damaged one was found.
fn cell(finding: &Finding) -> String {
    let good = counted(finding.programs.iter().map(|seen| seen.word));
    let damaged = &finding.damaged;
    let found = [(&damaged.by_event, "event"), (&damaged.by_load, "load"), (&damaged.missed, "MISSED")];
    let found: Vec<&str> =
        found.into_iter().filter(|(programs, _)| !programs.is_empty()).map(|(_, word)| word).collect();
    let failed = if finding.fails.is_some() { " FAILED" } else { "" };
    match found.is_empty() {
        true => format!("{good}{failed}"),
        false => format!("{good}; {}{failed}", found.join(", ")),
    }
}

/// One word where it is the same for all.
fn counted<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    match counts.len() {
        1 => counts.into_keys().collect(),
        _ => counts.iter().map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", "),
    }
}

fn sum(findings: &[Finding]) -> String {
    let count =
        |programs: fn(&Finding) -> &Vec<Seen>| findings.iter().map(|f| programs(f).len()).sum::<usize>();
    let reported = findings.iter().flat_map(|finding| &finding.programs);
    let reported = reported.filter(|seen| seen.word == "reported").count();
    format!(
        "{} programs attached on the kernels, {reported} of them reported what was done. With the damaged BTF {} of these \
         were found by their event, {} did not load, {} were missed.",
        count(|finding| &finding.programs),
        count(|finding| &finding.damaged.by_event),
        count(|finding| &finding.damaged.by_load),
        count(|finding| &finding.damaged.missed),
    )
}

/// All that is not as it should be, with the kernels where it is so.
fn notes(findings: &[Finding], subjects: &[Subject]) -> BTreeMap<String, Vec<String>> {
    let mut notes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for finding in findings {
        let mut add = |note: String| {
            let kernels = notes.entry(note).or_default();
            kernels.extend(subjects.get(finding.kernel).map(short));
        };
        for Seen { name, why, .. } in finding.programs.iter().filter(|seen| seen.word != "reported") {
            add(format!("{}, `{name}`: {}", finding.object, first_line(why)));
        }
        for (programs, how) in
            [(&finding.damaged.by_load, "found by the load"), (&finding.damaged.missed, "MISSED")]
        {
            for Seen { name, why, .. } in programs {
                add(format!("{} with a damaged BTF, `{name}`: {how}: {}", finding.object, first_line(why)));
            }
        }
        if let Some(why) = &finding.fails {
            add(format!("{} FAILED: {}", finding.object, first_line(why)));
        }
    }
    notes
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn short(subject: &Subject) -> String {
    let arch = if subject.arch == Arch::Arm64 { "arm64" } else { "x86_64" };
    let release = subject.name.rsplit(' ').next().unwrap_or_default();
    let flavour = if release.contains("cloud") { "cloud" } else { "full" };
    let version = release.split(['-', '+']).next().unwrap_or_default();
    format!("{version} {flavour} {arch}")
}
