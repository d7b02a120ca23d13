//! Why an action runs, or doesn't: every part of its key, now and in the last run.

use std::fmt::Write;

use crate::plan::{Action, Plan, Runs};
use crate::work::ledger::{End, LastRun};
use crate::yaml::problem::{At, Invalid, Problem, Text};

/// The parts that are told of an action without any difference.
const SAME: usize = 4;

/// What is asked: `minimize`, or `minimize/debian/12/x86_64/6.1.0-50-cloud-amd64`; a subject may have `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    step: String,
    subject: Option<String>,
}

/// The steps that have keys.
pub const STEPS: [&str; 6] = ["minimize", "transform", "package", "verify", "check", "publish"];

impl Question {
    /// Reads `STEP[/SUBJECT]`.
    pub fn parse(text: &str) -> Result<Question, Invalid> {
        let (step, subject) = match text.split_once('/') {
            Some((step, subject)) => (step, Some(subject.to_owned())),
            None => (text, None),
        };
        if STEPS.contains(&step) {
            return Ok(Question { step: step.to_owned(), subject });
        }
        let problem = Problem::new(At::START, format!("no step `{step}` has a key"));
        Err(refused(text, problem.did_you_mean(step, STEPS.into_iter())))
    }

    fn is_about(&self, action: &Action) -> bool {
        let name = action.subject.rsplit('/').next().unwrap_or_default();
        let fits = |pattern: &String| {
            crate::file::glob::matches(pattern, &action.subject)
                || crate::file::glob::matches(pattern, name)
                || action.subject.starts_with(&format!("{pattern}/"))
        };
        action.phase.name() == self.step && self.subject.as_ref().is_none_or(fits)
    }
}

fn refused(text: &str, problem: Problem) -> Invalid {
    let texts = vec![Text { name: format!("explain {text}"), text: String::new(), included: None }];
    Invalid { texts, problems: vec![problem] }
}

/// The answer, action by action.
pub fn explain(question: &Question, plan: &Plan, last: &LastRun) -> Result<String, Invalid> {
    let about: Vec<&Action> = plan.actions.iter().filter(|action| question.is_about(action)).collect();
    if about.is_empty() {
        let subject = question.subject.clone().unwrap_or_default();
        let known: Vec<&str> = plan
            .actions
            .iter()
            .filter(|action| action.phase.name() == question.step)
            .map(|action| action.subject.as_str())
            .collect();
        let problem = Problem::new(At::START, format!("the plan has no such {}", question.step));
        let text = format!("{}/{subject}", question.step);
        return Err(refused(&text, problem.did_you_mean(&subject, known.into_iter())));
    }
    let mut out = String::new();
    for action in about {
        // Writing into a string can't fail.
        let _ = one(action, last, &mut out);
    }
    Ok(out)
}

fn one(action: &Action, last: &LastRun, out: &mut String) -> std::fmt::Result {
    let verb = match action.runs {
        Runs::Yes => "runs",
        Runs::Perhaps => "may run",
        Runs::No => "is kept",
    };
    writeln!(out, "{} {} {verb}: {}", action.phase, action.subject, action.reason)?;
    let Some(key) = &action.key else {
        return writeln!(out, "  its key is known when what it needs is there");
    };
    writeln!(out, "  key {}", key.digest())?;
    let subject = action.subject.rsplit('/').next().unwrap_or_default();
    let name = if action.phase.name() == "package" { subject } else { &action.subject };
    let Some(before) = last.find(action.phase.name(), name) else {
        writeln!(out, "  the last run did not have it; it depends on")?;
        for (part, value) in key.parts() {
            writeln!(out, "    {part:<32} {value}")?;
        }
        return Ok(());
    };
    let end = match before.end {
        End::Done => "made it",
        End::Kept => "kept it",
        End::Failed => "failed with it",
    };
    let differences = key.differences(&before.key);
    if differences.is_empty() {
        let parts: Vec<&str> = key.parts().iter().map(|(part, _)| part.as_str()).collect();
        let more = parts.len().saturating_sub(SAME);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named = parts[..parts.len().min(SAME)].join(", ");
        return writeln!(out, "  the last run {end}; all is as it was then: {named}{more}");
    }
    writeln!(out, "  the last run {end}; since then")?;
    for difference in &differences {
        writeln!(out, "    {}", difference.in_short())?;
        for (word, value) in [("was", &difference.before), ("is ", &difference.now)] {
            if let Some(value) = value {
                writeln!(out, "      {word} {value}")?;
            }
        }
    }
    let same = key.parts().len() - differences.iter().filter(|one| one.now.is_some()).count();
    writeln!(out, "    the other {same} parts are as they were")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Phase;
    use crate::work::key::Key;
    use crate::work::ledger::Ledger;

    fn plan(btf: &str) -> Plan {
        let key = Key::of("minimize/1").with("btf", btf).with("program a.bpf.o", "11");
        let action = Action {
            phase: Phase::Minimize,
            subject: "debian/12/x86_64/6.1".into(),
            inputs: Vec::new(),
            needs: Vec::new(),
            runs: Runs::Yes,
            reason: "btf changed".into(),
            key: Some(key),
        };
        Plan { name: "p".into(), actions: vec![action] }
    }

    fn last(btf: &str) -> LastRun {
        let ledger = Ledger::default();
        let key = plan(btf).actions[0].key.clone().unwrap();
        ledger.add("minimize", "debian/12/x86_64/6.1", key, End::Done, None);
        ledger.finish()
    }

    #[test]
    fn the_part_that_changed_is_named_with_both_values() {
        let question = Question::parse("minimize/debian/12").unwrap();
        let said = explain(&question, &plan("bb"), &last("aa")).unwrap();
        assert!(said.starts_with("minimize debian/12/x86_64/6.1 runs: btf changed\n  key "), "{said}");
        let wanted = "  the last run made it; since then\n    btf changed\n      was aa\n      is  bb\n    the other 2 parts are as they were\n";
        assert!(said.ends_with(wanted), "{said}");
        let said = explain(&question, &plan("aa"), &last("aa")).unwrap();
        assert!(said.ends_with("all is as it was then: step, btf, program a.bpf.o\n"), "{said}");
        let said = explain(&question, &plan("aa"), &LastRun::default()).unwrap();
        assert!(said.contains("the last run did not have it") && said.contains("    btf  "), "{said}");
    }

    #[test]
    fn slips_are_told() {
        let said = Question::parse("minimise").unwrap_err().to_string();
        assert!(said.contains("did you mean `minimize`?"), "{said}");
        let question = Question::parse("minimize/debian/13").unwrap();
        let said = explain(&question, &plan("aa"), &LastRun::default()).unwrap_err().to_string();
        assert!(said.contains("the plan has no such minimize"), "{said}");
    }
}
