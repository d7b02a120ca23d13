//! Where a run's time went, by its events: which step, which kernel.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::events::chronicle::Recorded;

/// More would not be read.
const LISTED: usize = 10;

/// Steps by their time, then the slowest actions.
pub fn profile(recorded: &Recorded) -> String {
    let mut out = String::new();
    // Writing into a string can't fail.
    let _ = write(recorded, &mut out);
    out
}

/// Seconds of each kernel in all its actions.
pub fn kernels(recorded: &Recorded) -> BTreeMap<String, f64> {
    let mut seconds = BTreeMap::new();
    for action in &recorded.actions {
        let kernel = action.subject.split(" for ").next().unwrap_or_default();
        if kernel.split('/').count() == 4 {
            *seconds.entry(kernel.to_owned()).or_default() += action.took as f64 / 1000.0;
        }
    }
    seconds
}

fn write(recorded: &Recorded, out: &mut String) -> std::fmt::Result {
    let mut steps: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for action in &recorded.actions {
        let (took, count) = steps.entry(&action.step).or_default();
        *took += action.took;
        *count += 1;
    }
    let mut steps: Vec<(&str, (u64, usize))> = steps.into_iter().collect();
    steps.sort_by_key(|(step, (took, _))| (std::cmp::Reverse(*took), *step));
    let all: u64 = steps.iter().map(|(_, (took, _))| took).sum();
    writeln!(
        out,
        "{:.1} s from begin to end, {:.1} s in {} actions; {} had nothing to do",
        seconds(recorded.took),
        seconds(all),
        recorded.actions.len(),
        recorded.kept
    )?;
    for (step, (took, count)) in steps {
        let share = (took * 100).checked_div(all).unwrap_or(0);
        writeln!(out, "  {step:<9} {:>9.1} s {share:>3} %  {count} actions", seconds(took))?;
    }
    let mut slowest: Vec<_> = recorded.actions.iter().collect();
    slowest.sort_by_key(|action| (std::cmp::Reverse(action.took), &action.subject));
    if !slowest.is_empty() {
        writeln!(out, "the slowest")?;
    }
    for action in slowest.iter().take(LISTED) {
        writeln!(out, "  {:<9} {:>9.1} s        {}", action.step, seconds(action.took), action.subject)?;
    }
    Ok(())
}

fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::chronicle::Timed;

    #[test]
    fn steps_and_kernels_by_their_time() {
        let timed = |step: &str, subject: &str, took| Timed {
            step: step.into(),
            subject: subject.into(),
            began: 0,
            took,
            end: "done".into(),
        };
        let actions = vec![
            timed("fetch", "debian/12/x86_64/6.1", 1500),
            timed("verify", "debian/12/x86_64/6.1 for tracer", 6000),
            timed("package", "a-x86_64.tar.zst", 500),
        ];
        let recorded = Recorded { actions, kept: 3, took: 9000, ..Recorded::default() };
        let said = profile(&recorded);
        assert!(
            said.starts_with("9.0 s from begin to end, 8.0 s in 3 actions; 3 had nothing to do\n  verify "),
            "{said}"
        );
        assert!(said.contains("  verify          6.0 s  75 %  1 actions\n"), "{said}");
        assert_eq!(kernels(&recorded), BTreeMap::from([("debian/12/x86_64/6.1".to_owned(), 7.5)]));
    }
}
