//! Relocation records as JSON Lines, `"v": 1`: one line a relocation.

use std::fmt::Write;

use btf::Btf;
use relo_core::{BpfObject, Outcome, RecordedRelo, Spec, Target};
use serde_json::{Value, json};

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
        // Writing into a string can't fail.
        let _ = writeln!(lines, "{}", line(object, target, record));
    }
}

fn line(object: &BpfObject, target: &Target<'_>, record: &RecordedRelo) -> Value {
    let relo = &object.relos()[record.index];
    let (code, reason) = reason(record);
    let decision = record.decision.as_ref();
    json!({
        "v": 1,
        "object": object.name(),
        "section": object.section_of(relo),
        "program": object.program_of(relo).map(|program| &program.name),
        "insn": object.insn_of(relo),
        "kind": record.kind.map(|kind| kind.name()),
        "local": record.local.as_ref().map(|local| spec(&local.0, object.btf())),
        "target": record.target.as_ref().map(|found| {
            let mut value = spec(&found.spec, target.btf(found.candidate));
            value["module"] = target.module(found.candidate).into();
            value
        }),
        "candidates": record.candidates,
        "matches": record.matches,
        "outcome": record.outcome.name(),
        "reason": reason,
        "reason_code": code,
        "value": decision.map(|decision| json!({"local": decision.local, "target": decision.target})),
        "size": decision
            .filter(|decision| decision.local_size != 0)
            .map(|decision| json!({"local": decision.local_size, "target": decision.target_size})),
        "insn_before": hex(&record.insn_before),
        "insn_after": hex(&record.insn_after),
    })
}

/// A path; text that a broken BTF can't give is null.
fn spec(spec: &Spec, btf: &Btf<'_>) -> Value {
    let mut value = json!({
        "type_id": spec.root.0,
        "type": spec.root_text(btf).ok(),
        "access": spec.access(),
        "spec": spec.text(btf).ok(),
        "offset": spec.bit_offset / 8,
    });
    let bit = spec.bit_offset % 8;
    if bit != 0 {
        value["bit"] = bit.into();
    }
    value
}

/// Why, as a code that stays and in words.
pub fn reason(record: &RecordedRelo) -> (Option<&'static str>, Option<String>) {
    match (&record.outcome, &record.reason) {
        (Outcome::Error(error), _) => (Some(error.code()), Some(error.to_string())),
        (_, Some(reason)) => (Some(reason.code()), Some(reason.to_string())),
        (_, None) => (None, None),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
