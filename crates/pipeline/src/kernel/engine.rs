//! One kernel through the engine: relocations recorded, BTF minimized, every decision proven.

use std::collections::BTreeMap;

use btf::Btf;
use kernels::Arch;
use relo_core::{BpfObject, MinimizeOptions, Mode, Outcome, RecordedRelo, ReloKind, Target, Wanted};

use crate::kernel::records;
use crate::outcome::Failure;
use crate::project::programs::{Program, Unusable};
use crate::summary::{Cell, State};

/// All programs of an architecture.
#[derive(Debug)]
pub struct ProgramSet {
    /// Which.
    pub arch: Arch,
    /// Sorted by name.
    pub programs: Vec<std::sync::Arc<Program>>,
    /// What can't be used.
    pub unusable: Vec<Unusable>,
}

/// What the engine makes of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minimized {
    /// The minimized BTF.
    pub btf: Vec<u8>,
    /// What each relocation resolved to, JSON Lines, in the order of the objects.
    pub records: String,
    /// What the engine says of each program, by object and program.
    pub cells: BTreeMap<(String, String), Cell>,
}

/// Records and minimizes; the BTF is the kernel's own.
pub fn minimize(btf: &[u8], set: &ProgramSet) -> Result<Minimized, Failure> {
    let full = Btf::parse(btf).map_err(|error| Failure::new(format!("the kernel's BTF: {error}")))?;
    let objects: Vec<&BpfObject> = set.programs.iter().map(|program| &program.object).collect();
    let minimized = relo_core::minimize(&full, &objects, MinimizeOptions::default()).map_err(Failure::new)?;
    let recorded = record_all(&full, &objects)?;
    let mut cells = BTreeMap::new();
    for (object, records) in objects.iter().zip(&recorded.records) {
        judge(object, records, &mut cells);
    }
    Ok(Minimized { btf: minimized.bytes, records: recorded.lines, cells })
}

/// Compares what is recorded for a kernel with what its packaged BTF gives: `None` when nothing differs.
///
/// Both sides are text, as a user has them: the records out of the package, and records made now.
pub fn compare(packaged: &[u8], records: &[u8], set: &ProgramSet) -> Result<Option<String>, Failure> {
    let btf = Btf::parse(packaged).map_err(|error| Failure::new(format!("the packaged BTF: {error}")))?;
    let objects: Vec<&BpfObject> = set.programs.iter().map(|program| &program.object).collect();
    let now = record_all(&btf, &objects)?.lines;
    let then = String::from_utf8_lossy(records);
    let (mut left, mut right) = (then.lines(), now.lines());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ok(None),
            (Some(then), Some(now)) => {
                if let Some(difference) = difference(then, now)? {
                    return Ok(Some(difference));
                }
            }
            (then, now) => {
                let line = then.or(now).unwrap_or_default();
                return Ok(Some(format!("one side has a relocation more: {line}")));
            }
        }
    }
}

/// What must be equal of two records of a relocation: ids, candidates and reasons may not be.
fn difference(then: &str, now: &str) -> Result<Option<String>, Failure> {
    let parse = |line: &str| -> Result<serde_json::Value, Failure> {
        serde_json::from_str(line).map_err(|error| Failure::new(format!("a broken record: {error}")))
    };
    let (then, now) = (parse(then)?, parse(now)?);
    let is_id = then["kind"] == ReloKind::TargetTypeId.name();
    let same = |field: &str| then[field] == now[field];
    let place = ["object", "section", "program", "insn", "kind", "outcome"];
    let value: &[&str] = if is_id { &[] } else { &["value", "size", "insn_before", "insn_after"] };
    let Some(field) = place.iter().chain(value).find(|field| !same(field)).copied() else {
        return Ok(None);
    };
    let at = format!("{} {} instruction {}", then["object"], then["program"], then["insn"]);
    Ok(Some(format!("{at}: {field} is {} with the full BTF, {} with ours", then[field], now[field])))
}

struct Recorded {
    records: Vec<Vec<RecordedRelo>>,
    lines: String,
}

fn record_all(btf: &Btf<'_>, objects: &[&BpfObject]) -> Result<Recorded, Failure> {
    let wanted = Wanted::new(objects.iter().copied());
    let target = Target::new(btf, &[], &wanted).map_err(Failure::new)?;
    let mut recorded = Recorded { records: Vec::new(), lines: String::new() };
    let all = relo_core::relocate_all(objects, &target, Mode::default());
    for (object, records) in objects.iter().zip(all) {
        recorded.lines.push_str(&records::to_json_lines(object, &target, &records));
        recorded.records.push(records);
    }
    Ok(recorded)
}

/// One cell a program; an object without programs of its own gets one for the whole.
fn judge(object: &BpfObject, records: &[RecordedRelo], cells: &mut BTreeMap<(String, String), Cell>) {
    let refused = records.iter().find_map(|record| match &record.outcome {
        Outcome::Error(error) => Some(error.to_string()),
        Outcome::Relocated | Outcome::Absent | Outcome::Poisoned => None,
    });
    for program in entry_programs(object) {
        let own =
            records.iter().filter(|record| object.program_of(&object.relos()[record.index]) == Some(program));
        let cell = match &refused {
            Some(error) => Cell::because(State::Refused, error),
            None => cell_of(object.section_of_program(program), own),
        };
        cells.insert((object.name().to_owned(), program.name.clone()), cell);
    }
}

/// The programs that a user can attach: what stands in `.text` is called by others.
fn entry_programs(object: &BpfObject) -> impl Iterator<Item = &relo_core::Program> {
    object.programs().iter().filter(|program| object.section_of_program(program) != ".text")
}

/// Sections whose programs attach by the kernel's own BTF (libbpf: `section_defs`, with `SEC_ATTACH_BTF`).
const BY_BTF: [&str; 10] = [
    "fentry",
    "fexit",
    "fmod_ret",
    "fsession",
    "tp_btf",
    "lsm",
    "lsm_cgroup",
    "iter",
    "freplace",
    "struct_ops",
];

fn attaches_by_btf(section: &str) -> bool {
    BY_BTF.contains(&section_kind(section))
}

/// `fentry` of `?fentry.s/vfs_open`.
fn section_kind(section: &str) -> &str {
    let section = section.strip_prefix('?').unwrap_or(section);
    section.split(['/', '.', '+']).next().unwrap_or(section)
}

/// Why a program of this section needs the kernel's own BTF.
pub fn needs_btf(section: &str) -> String {
    format!("{} programs attach by the kernel's own BTF", section_kind(section))
}

fn cell_of<'r>(section: &str, records: impl Iterator<Item = &'r RecordedRelo>) -> Cell {
    let mut reasons: Vec<String> = Vec::new();
    let mut type_id = false;
    for record in records {
        type_id |= record.kind == Some(ReloKind::TargetTypeId) && record.outcome == Outcome::Relocated;
        if record.outcome == Outcome::Poisoned {
            let reason = records::reason(record).1.unwrap_or_else(|| "no match".to_owned());
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
    }
    if type_id {
        Cell::because(State::TypeId, "it asks for the id of a type of the kernel")
    } else if attaches_by_btf(section) {
        Cell::because(State::NeedsKernelBtf, needs_btf(section))
    } else if !reasons.is_empty() {
        Cell::because(State::Poisoned, reasons.join("\n"))
    } else {
        Cell::of(State::Host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(outcome: &str, value: u64, kind: &str) -> String {
        serde_json::json!({
            "object": "o", "program": "p", "insn": 3, "kind": kind, "outcome": outcome, "value": {"target": value},
            "candidates": value,
        })
        .to_string()
    }

    #[test]
    fn differences_of_records() {
        let check = |then: String, now: String, wanted: Option<&str>| {
            let found = difference(&then, &now).unwrap();
            assert_eq!(found.is_some(), wanted.is_some(), "{found:?}");
            assert!(wanted.is_none_or(|text| found.unwrap().contains(text)));
        };
        check(line("relocated", 8, "byte_off"), line("relocated", 8, "byte_off"), None);
        check(
            line("relocated", 8, "byte_off"),
            line("relocated", 16, "byte_off"),
            Some("instruction 3: value is"),
        );
        check(
            line("relocated", 8, "byte_off"),
            line("poisoned", 8, "byte_off"),
            Some("outcome is \"relocated\""),
        );
        check(line("relocated", 8, "target_type_id"), line("relocated", 9, "target_type_id"), None);
        check(line("relocated", 8, "target_type_id"), line("absent", 9, "target_type_id"), Some("outcome"));
        assert!(difference("{", "{}").is_err());
    }
}
