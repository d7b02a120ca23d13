//! The same for CI systems: JUnit XML, a suite for each kernel, a case for each object and program.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Checked, Summary};

/// The document; `seconds` is how long each kernel took, where that is known.
pub fn to_junit(summary: &Summary, seconds: &BTreeMap<String, f64>) -> String {
    let mut out = String::new();
    // Writing into a string can't fail.
    let _ = write(summary, seconds, &mut out);
    out
}

/// A kernel in numbers.
#[derive(Default)]
struct Counts {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

fn write(summary: &Summary, seconds: &BTreeMap<String, f64>, out: &mut String) -> std::fmt::Result {
    let mut suites = String::new();
    let mut total = Counts::default();
    for index in 0..summary.kernels.len() {
        write_suite(summary, index, seconds, &mut total, &mut suites)?;
    }
    if !summary.failures.is_empty() {
        write_others(summary, &mut total, &mut suites)?;
    }
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    let name = escaped(&summary.name);
    let Counts { tests, failures, errors, skipped } = total;
    writeln!(
        out,
        "<testsuites name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\">"
    )?;
    out.push_str(&suites);
    writeln!(out, "</testsuites>")
}

fn write_suite(
    summary: &Summary,
    index: usize,
    seconds: &BTreeMap<String, f64>,
    total: &mut Counts,
    out: &mut String,
) -> std::fmt::Result {
    use super::State;
    let kernel = &summary.kernels[index];
    let (mut counts, mut cases) = (Counts::default(), String::new());
    for row in &summary.rows {
        let cell = &row.cells[index];
        if cell.state == State::Absent {
            continue;
        }
        counts.tests += 1;
        let name = if row.program.is_empty() { &row.object } else { &row.program };
        let start =
            format!("    <testcase classname=\"{}\" name=\"{}\"", escaped(&row.object), escaped(name));
        let reason = cell.reason.as_deref().unwrap_or(cell.state.legend());
        let message = format!("message=\"{}\" type=\"{}\"", escaped(first_line(reason)), cell.state.code());
        let body = escaped(reason);
        match cell.state {
            State::Ok | State::Reported | State::Host | State::Absent => writeln!(cases, "{start}/>")?,
            State::NeedsKernelBtf | State::Poisoned | State::LoadFailBoth | State::Skipped => {
                counts.skipped += 1;
                let message = format!("message=\"{}: {}\"", cell.state.code(), escaped(first_line(reason)));
                writeln!(cases, "{start}><skipped {message}/></testcase>")?;
            }
            State::NoVerdict | State::Crash | State::Failed => {
                counts.errors += 1;
                writeln!(cases, "{start}><error {message}>{body}</error></testcase>")?;
            }
            State::TypeId | State::Refused | State::LoadFailMinOnly | State::WrongEvent | State::Mismatch => {
                counts.failures += 1;
                writeln!(cases, "{start}><failure {message}>{body}</failure></testcase>")?;
            }
        }
    }
    if let Some(reason) = &kernel.failure {
        counts.tests += 1;
        counts.errors += 1;
        let (message, body) = (escaped(first_line(reason)), escaped(reason));
        writeln!(
            cases,
            "    <testcase classname=\"kernel\" name=\"{}\"><error message=\"{message}\" type=\"kernel\">{body}</error></testcase>",
            escaped(&kernel.id)
        )?;
    }
    let checked = match &kernel.checked {
        Checked::Booted(how) => format!("booted: {how}"),
        Checked::Host(why) => format!("host only: {why}"),
        Checked::No => "not verified".to_owned(),
    };
    let time = seconds.get(&kernel.id).map(|time| format!(" time=\"{time:.3}\"")).unwrap_or_default();
    let Counts { tests, failures, errors, skipped } = counts;
    writeln!(
        out,
        "  <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\"{time}>",
        escaped(&kernel.id)
    )?;
    writeln!(
        out,
        "    <properties><property name=\"checked\" value=\"{}\"/></properties>",
        escaped(&checked)
    )?;
    out.push_str(&cases);
    total.tests += tests;
    total.failures += failures;
    total.errors += errors;
    total.skipped += skipped;
    writeln!(out, "  </testsuite>")
}

/// What concerns no kernel alone: objects that can't be opened.
fn write_others(summary: &Summary, total: &mut Counts, out: &mut String) -> std::fmt::Result {
    let count = summary.failures.len();
    total.tests += count;
    total.errors += count;
    writeln!(
        out,
        "  <testsuite name=\"programs\" tests=\"{count}\" failures=\"0\" errors=\"{count}\" skipped=\"0\">"
    )?;
    for failure in &summary.failures {
        let name = failure.split(": ").next().unwrap_or_default();
        let (name, message, body) = (escaped(name), escaped(first_line(failure)), escaped(failure));
        writeln!(
            out,
            "    <testcase classname=\"programs\" name=\"{name}\"><error message=\"{message}\" type=\"unusable\">{body}</error></testcase>"
        )?;
    }
    writeln!(out, "  </testsuite>")
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// XML has no way to write most control characters.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn every_cell_is_a_case() {
        let mut summary = example();
        summary.failures.push("x.bpf.c for arm64: a < b\u{1}".into());
        let text = to_junit(&summary, &BTreeMap::from([(summary.kernels[1].id.clone(), 1.5)]));
        assert_eq!(text.matches("<testcase ").count(), 9, "{text}");
        assert!(text.contains("tests=\"9\" failures=\"1\" errors=\"1\" skipped=\"4\""), "{text}");
        assert!(text.contains("skipped=\"2\" time=\"1.500\">"), "{text}");
        assert!(text.contains("type=\"mismatch\">instruction 12: byte_off 8, not 16</failure>"), "{text}");
        assert!(text.contains("a &lt; b\u{fffd}"), "{text}");
    }
}
