//! Which kinds of relocations ended in which ways.

use std::collections::BTreeMap;
use std::fmt;

use relo_core::{Outcome, Reason, RecordedRelo, ReloKind};

/// Ways to end, by kind.
#[derive(Debug, Clone, Default)]
pub struct Coverage(BTreeMap<&'static str, BTreeMap<&'static str, u64>>);

/// A row for numbers that name no kind.
const UNKNOWN: &str = "(unknown)";

/// Every way to end, in the order of the table: the outcomes, then the errors.
const WAYS: [&str; 20] = [
    "relocated",
    "absent",
    "poisoned",
    "width-poison",
    "unknown-kind",
    "bad-access",
    "anonymous-root",
    "broken-btf",
    "spec-too-long",
    "too-deep",
    "not-a-field",
    "bitfield-too-wide",
    "ambiguous-offset",
    "ambiguous-value",
    "no-insn",
    "unexpected-insn",
    "unexpected-value",
    "offset-out-of-range",
    "unexpected-width",
    "impossible-width",
];

impl Coverage {
    /// Counts a relocation.
    pub fn count(&mut self, record: &RecordedRelo) {
        let kind = record.kind.map_or(UNKNOWN, ReloKind::name);
        *self.0.entry(kind).or_default().entry(way(record)).or_default() += 1;
    }

    /// The number of relocations that ended so.
    pub fn of(&self, kind: &str, way: &str) -> u64 {
        self.0.get(kind).and_then(|row| row.get(way)).copied().unwrap_or(0)
    }

    /// The number of all.
    pub fn total(&self) -> u64 {
        self.0.values().flat_map(|row| row.values()).sum()
    }

    /// Cells that can be reached and were not; and cells that no rule allows and were reached all the same.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for kind in ReloKind::ALL {
            for way in WAYS {
                let count = self.of(kind.name(), way);
                match (count > 0, is_reachable(kind, way)) {
                    (false, true) => faults.push(format!("{kind} never ended as {way}")),
                    (true, false) => {
                        faults.push(format!("{kind} ended {count} times as {way}, which can't be"))
                    }
                    (true, true) | (false, false) => {}
                }
            }
        }
        let strange = |way: &&&'static str| !WAYS.contains(way);
        let seen = self.0.values().flat_map(|row| row.keys());
        faults.extend(seen.filter(strange).map(|way| format!("a way to end that this table lacks: {way}")));
        if self.of(UNKNOWN, "unknown-kind") == 0 {
            faults.push("no unknown kind was tried".to_owned());
        }
        faults
    }
}

fn way(record: &RecordedRelo) -> &'static str {
    match (&record.outcome, &record.reason) {
        (Outcome::Poisoned, Some(Reason::Width { .. })) => "width-poison",
        (Outcome::Error(error), _) => error.code(),
        (outcome, _) => outcome.name(),
    }
}

/// Whether libbpf's rules let a relocation of this kind end so.
fn is_reachable(kind: ReloKind, way: &str) -> bool {
    use ReloKind::{
        ByteOff, ByteSize, EnumvalExists, EnumvalValue, FieldExists, LocalTypeId, LshiftU64, RshiftU64,
        Signed, TargetTypeId, TypeExists, TypeMatches, TypeSize,
    };
    let field = matches!(kind, ByteOff | ByteSize | FieldExists | Signed | LshiftU64 | RshiftU64);
    let answers_absence =
        matches!(kind, FieldExists | TargetTypeId | TypeExists | TypeSize | EnumvalExists | TypeMatches);
    match way {
        "relocated" | "bad-access" | "no-insn" | "unexpected-insn" => true,
        "absent" => answers_absence,
        "poisoned" => !answers_absence && kind != LocalTypeId,
        "width-poison" | "unexpected-width" | "impossible-width" => kind == ByteOff,
        "anonymous-root" => kind != LocalTypeId,
        // A root that does not exist, and types without a size.
        "broken-btf" => true,
        "spec-too-long" => field,
        "too-deep" => matches!(kind, TargetTypeId | TypeExists | TypeSize | TypeMatches),
        "not-a-field" => matches!(kind, Signed | LshiftU64 | RshiftU64),
        "bitfield-too-wide" => field && kind != FieldExists,
        "ambiguous-offset" => field,
        "ambiguous-value" => {
            field && kind != FieldExists || matches!(kind, TargetTypeId | TypeSize | EnumvalValue)
        }
        "unexpected-value" => !matches!(kind, LocalTypeId | TargetTypeId),
        "offset-out-of-range" => {
            matches!(kind, ByteOff | ByteSize | LshiftU64 | RshiftU64 | TypeSize | EnumvalValue)
        }
        _another => false,
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<&str> = ReloKind::ALL.iter().map(|kind| kind.name()).chain([UNKNOWN]).collect();
        write!(f, "{:20}", "")?;
        for row in &rows {
            write!(f, "{row:>15}")?;
        }
        writeln!(f)?;
        for way in WAYS {
            write!(f, "{way:20}")?;
            for row in &rows {
                match self.of(row, way) {
                    0 => write!(f, "{:>15}", ".")?,
                    count => write!(f, "{count:>15}")?,
                }
            }
            writeln!(f)?;
        }
        write!(f, "{} relocations", self.total())
    }
}
