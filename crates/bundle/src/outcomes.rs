//! What became of each program's relocations on a kernel: so much of the records that a loader can ask before it loads.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// By object, as the records name it.
pub type Outcomes = BTreeMap<String, Outcome>;

/// The relocations of one object on one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How many found their type or member.
    pub relocated: u64,
    /// How many did not, and have an answer all the same (`field_exists` is 0).
    pub absent: u64,
    /// How many instructions were poisoned: the verifier refuses a program where one is reached.
    pub poisoned: u64,
    /// How many make libbpf refuse the object.
    pub error: u64,
    /// The functions with poisoned instructions or errors, sorted; a section's name where no function covers it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
}

impl Outcome {
    /// The number that a pack has for it.
    pub(crate) fn verdict_number(&self) -> u8 {
        match (self.error, self.poisoned) {
            (0, 0) => 0,
            (0, _) => 1,
            _ => 2,
        }
    }
}

/// So much of a record as counts here.
#[derive(Deserialize)]
struct Record<'r> {
    #[serde(borrow)]
    object: std::borrow::Cow<'r, str>,
    #[serde(borrow)]
    section: std::borrow::Cow<'r, str>,
    #[serde(borrow)]
    program: Option<std::borrow::Cow<'r, str>>,
    #[serde(borrow)]
    outcome: std::borrow::Cow<'r, str>,
}

/// The outcomes that some records (JSON Lines) tell.
pub(crate) fn of_records(records: &[u8]) -> Result<Outcomes, Error> {
    let mut outcomes = Outcomes::new();
    let mut functions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let lines = records.split(|&byte| byte == b'\n').enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let bad = |problem: String| Error::Record { line: number + 1, problem };
        let record: Record<'_> = serde_json::from_slice(line).map_err(|error| bad(error.to_string()))?;
        let outcome = outcomes.entry(record.object.clone().into_owned()).or_default();
        match &*record.outcome {
            "relocated" => outcome.relocated += 1,
            "absent" => outcome.absent += 1,
            "poisoned" => outcome.poisoned += 1,
            "error" => outcome.error += 1,
            other => return Err(bad(format!("unknown outcome {other:?}"))),
        }
        if matches!(&*record.outcome, "poisoned" | "error") {
            let place = record.program.unwrap_or(record.section);
            functions.entry(record.object.into_owned()).or_default().insert(place.into_owned());
        }
    }
    for (object, names) in functions {
        outcomes.entry(object).or_default().functions = names.into_iter().collect();
    }
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(object: &str, program: &str, outcome: &str) -> String {
        format!(
            r#"{{"v":1,"object":"{object}","section":"kprobe/x","program":{program},"outcome":"{outcome}"}}"#
        )
    }

    #[test]
    fn counted() {
        let records = [
            line("a.o", "\"f\"", "relocated"),
            line("a.o", "\"g\"", "poisoned"),
            line("a.o", "\"g\"", "poisoned"),
            line("b.o", "null", "error"),
            line("b.o", "\"h\"", "absent"),
        ];
        let outcomes = of_records(records.join("\n").as_bytes()).unwrap();
        let a = Outcome { relocated: 1, poisoned: 2, functions: vec!["g".into()], ..Outcome::default() };
        let b = Outcome { absent: 1, error: 1, functions: vec!["kprobe/x".into()], ..Outcome::default() };
        assert_eq!((a.verdict_number(), b.verdict_number()), (1, 2));
        assert_eq!(outcomes, Outcomes::from([("a.o".into(), a), ("b.o".into(), b)]));
        assert_eq!(of_records(b"").unwrap(), Outcomes::new());
    }

    #[test]
    fn refused() {
        let check = |records: &str, line: usize| {
            let error = of_records(records.as_bytes()).unwrap_err();
            assert!(matches!(error, Error::Record { line: found, .. } if found == line), "{error}");
        };
        check("{}", 1);
        check(&format!("{}\n[]", line("a", "null", "absent")), 2);
        check(&line("a", "null", "unheard"), 1);
    }
}
