//! Relocation records as JSON Lines, `"v": 1`: one line a relocation.

use btf::Btf;
use relo_core::{BpfObject, Outcome, RecordedRelo, Spec, Target};
use serde::{Serialize, Serializer};

/// The lines of one object on one target, in the order of the object.
pub fn to_json_lines(object: &BpfObject, target: &Target<'_>, records: &[RecordedRelo]) -> String {
    let mut lines = String::new();
    write_json_lines(object, target, records, &mut lines);
    lines
}

/// The same behind what `lines` has already.
pub fn write_json_lines(
    object: &BpfObject,
    target: &Target<'_>,
    records: &[RecordedRelo],
    lines: &mut String,
) {
    for record in records {
        // A line has nothing that JSON can't say, and a string takes all that is written.
        if let Ok(line) = serde_json::to_string(&line(object, target, record)) {
            lines.push_str(&line);
            lines.push('\n');
        }
    }
}

/// A line; its fields are the schema's, in this order.
#[derive(Serialize)]
struct Line<'l> {
    v: u8,
    object: &'l str,
    section: &'l str,
    program: Option<&'l str>,
    insn: u64,
    kind: Option<&'static str>,
    local: Option<Path<'l>>,
    target: Option<Path<'l>>,
    candidates: usize,
    matches: usize,
    outcome: &'static str,
    reason: Option<String>,
    reason_code: Option<&'static str>,
    value: Option<Pair>,
    size: Option<Pair>,
    insn_before: Hex<'l>,
    insn_after: Hex<'l>,
}

/// A path; text that a broken BTF can't give is null.
#[derive(Serialize)]
struct Path<'l> {
    type_id: u32,
    r#type: Option<String>,
    access: String,
    spec: Option<String>,
    offset: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    bit: Option<u32>,
    /// Of target paths only; null for vmlinux.
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<Option<&'l str>>,
}

#[derive(Serialize)]
struct Pair {
    local: u64,
    target: u64,
}

struct Hex<'l>(&'l [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: [char; 16] =
            ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        let digits = |&byte: &u8| [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
        serializer.serialize_str(&self.0.iter().flat_map(digits).collect::<String>())
    }
}

fn line<'l>(object: &'l BpfObject, target: &'l Target<'_>, record: &'l RecordedRelo) -> Line<'l> {
    let relo = &object.relos()[record.index];
    let (reason_code, reason) = reason(record);
    let decision = record.decision.as_ref();
    let sized = decision.filter(|decision| decision.local_size != 0);
    Line {
        v: 1,
        object: object.name(),
        section: object.section_of(relo),
        program: object.program_of(relo).map(|program| program.name.as_str()),
        insn: object.insn_of(relo),
        kind: record.kind.map(|kind| kind.name()),
        local: record.local.as_ref().map(|local| path(&local.0, object.btf(), None)),
        target: record.target.as_ref().map(|found| {
            path(&found.spec, target.btf(found.candidate), Some(target.module(found.candidate)))
        }),
        candidates: record.candidates,
        matches: record.matches,
        outcome: record.outcome.name(),
        reason,
        reason_code,
        value: decision.map(|decision| Pair { local: decision.local, target: decision.target }),
        size: sized.map(|sized| Pair { local: sized.local_size.into(), target: sized.target_size.into() }),
        insn_before: Hex(&record.insn_before),
        insn_after: Hex(&record.insn_after),
    }
}

fn path<'l>(spec: &Spec, btf: &Btf<'_>, module: Option<Option<&'l str>>) -> Path<'l> {
    let bit = spec.bit_offset % 8;
    Path {
        type_id: spec.root.0,
        r#type: spec.root_text(btf).ok(),
        access: spec.access(),
        spec: spec.text(btf).ok(),
        offset: spec.bit_offset / 8,
        bit: (bit != 0).then_some(bit),
        module,
    }
}

/// Why, as a code that stays and in words.
pub fn reason(record: &RecordedRelo) -> (Option<&'static str>, Option<String>) {
    match (&record.outcome, &record.reason) {
        (Outcome::Error(error), _) => (Some(error.code()), Some(error.to_string())),
        (_, Some(reason)) => (Some(reason.code()), Some(reason.to_string())),
        (_, None) => (None, None),
    }
}
