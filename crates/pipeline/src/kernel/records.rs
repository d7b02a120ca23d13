//! Relocation records as JSON Lines, `"v": 1`: one line a relocation; the fields are the schema's, in its order.
//!
//! Written by hand, since a kernel's records are tens of times longer than its minimized BTF. What a line says of the
//! object is the same for every kernel and is written once; relocations that have one answer share its text.

use std::collections::HashMap;
use std::ops::Range;

use btf::Btf;
use relo_core::{BpfObject, Decision, LocalSpec, Outcome, RecordedRelo, ReloKind, Spec, Target};

use crate::kernel::json;

/// The lines of one object on one target, in the order of the object.
pub fn to_json_lines(object: &BpfObject, target: &Target<'_>, records: &[RecordedRelo]) -> String {
    let mut writer = Writer::new(target, records.len());
    writer.object(object, &halves(object), records);
    String::from_utf8_lossy(&writer.lines).into_owned()
}

/// What the lines of some objects say of the objects, whatever the kernel.
#[derive(Debug, Default)]
pub struct LocalHalves(Vec<Vec<Half>>);

/// The text of a line up to the path in the object's types, and that path where there is one.
#[derive(Debug)]
struct Half {
    start: Vec<u8>,
    local: Vec<u8>,
}

impl LocalHalves {
    /// Writes them for all kernels.
    pub fn of(objects: &[&BpfObject]) -> LocalHalves {
        LocalHalves(objects.iter().map(|object| halves(object)).collect())
    }

    /// The lines of all objects, which must be those of [`LocalHalves::of`], on one target.
    pub fn lines(
        &self,
        objects: &[&BpfObject],
        target: &Target<'_>,
        records: &[Vec<RecordedRelo>],
    ) -> Vec<u8> {
        let mut writer = Writer::new(target, records.iter().map(Vec::len).sum());
        for ((object, halves), records) in objects.iter().zip(&self.0).zip(records) {
            writer.object(object, halves, records);
        }
        writer.lines
    }
}

fn halves(object: &BpfObject) -> Vec<Half> {
    let half = |relo| {
        let mut start = b"{\"v\":1,\"object\":".to_vec();
        json::text(&mut start, object.name());
        start.extend(b",\"section\":");
        json::text(&mut start, object.section_of(relo));
        start.extend(b",\"program\":");
        json::text_or_null(&mut start, object.program_of(relo).map(|program| program.name.as_str()));
        start.extend(b",\"insn\":");
        json::number(&mut start, object.insn_of(relo));
        start.extend(b",\"kind\":");
        json::text_or_null(&mut start, ReloKind::from_number(relo.relo.kind).map(|kind| kind.name()));
        start.extend(b",\"local\":");
        let mut local = Vec::new();
        if let Ok(LocalSpec(spec)) = LocalSpec::parse(object.btf(), &relo.relo) {
            path(&mut local, &spec, object.btf());
            local.push(b'}');
        }
        Half { start, local }
    };
    object.relos().iter().map(half).collect()
}

/// Lines on their way.
struct Writer<'w> {
    target: &'w Target<'w>,
    lines: Vec<u8>,
    /// Where the text of a target path stands already, by the address of the path: all records stay during the writing.
    written: HashMap<usize, Range<usize>>,
}

/// Bytes of a usual line.
const LINE: usize = 640;

impl<'w> Writer<'w> {
    fn new(target: &'w Target<'w>, records: usize) -> Writer<'w> {
        Writer { target, lines: Vec::with_capacity(records * LINE), written: HashMap::new() }
    }

    fn object(&mut self, object: &BpfObject, halves: &[Half], records: &[RecordedRelo]) {
        debug_assert_eq!(halves.len(), object.relos().len());
        for record in records {
            if let Some(half) = halves.get(record.index) {
                self.line(half, record);
            }
        }
    }

    fn line(&mut self, half: &Half, record: &RecordedRelo) {
        self.lines.extend_from_slice(&half.start);
        match record.local {
            Some(_) => self.lines.extend_from_slice(&half.local),
            None => self.lines.extend_from_slice(b"null"),
        }
        self.lines.extend_from_slice(b",\"target\":");
        self.target(record);
        let lines = &mut self.lines;
        lines.extend_from_slice(b",\"candidates\":");
        json::number(lines, record.candidates as u64);
        lines.extend_from_slice(b",\"matches\":");
        json::number(lines, record.matches as u64);
        lines.extend_from_slice(b",\"outcome\":");
        json::text(lines, record.outcome.name());
        let (reason_code, reason) = reason(record);
        lines.extend_from_slice(b",\"reason\":");
        json::text_or_null(lines, reason.as_deref());
        lines.extend_from_slice(b",\"reason_code\":");
        json::text_or_null(lines, reason_code);
        values(lines, record.decision.as_ref());
        lines.extend_from_slice(b",\"insn_before\":\"");
        json::hex(lines, &record.insn_before);
        lines.extend_from_slice(b"\",\"insn_after\":\"");
        json::hex(lines, &record.insn_after);
        lines.extend_from_slice(b"\"}\n");
    }

    fn target(&mut self, record: &RecordedRelo) {
        let Some(found) = &record.target else {
            return self.lines.extend_from_slice(b"null");
        };
        let address = std::sync::Arc::as_ptr(found) as usize;
        if let Some(place) = self.written.get(&address) {
            return self.lines.extend_from_within(place.clone());
        }
        let start = self.lines.len();
        path(&mut self.lines, &found.spec, self.target.btf(found.candidate));
        self.lines.extend_from_slice(b",\"module\":");
        json::text_or_null(&mut self.lines, self.target.module(found.candidate));
        self.lines.push(b'}');
        self.written.insert(address, start..self.lines.len());
    }
}

/// A path without the end of its object; text that a broken BTF can't give is null.
fn path(out: &mut Vec<u8>, spec: &Spec, btf: &Btf<'_>) {
    out.extend_from_slice(b"{\"type_id\":");
    json::number(out, spec.root.0.into());
    let root = spec.root_text(btf).ok();
    out.extend_from_slice(b",\"type\":");
    json::text_or_null(out, root.as_deref());
    out.extend_from_slice(b",\"access\":\"");
    access(out, spec);
    let text = root.and_then(|mut text| spec.write_steps(btf, &mut text).ok().map(|()| text));
    out.extend_from_slice(b"\",\"spec\":");
    json::text_or_null(out, text.as_deref());
    out.extend_from_slice(b",\"offset\":");
    json::number(out, (spec.bit_offset / 8).into());
    if !spec.bit_offset.is_multiple_of(8) {
        out.extend_from_slice(b",\"bit\":");
        json::number(out, (spec.bit_offset % 8).into());
    }
}

/// [`Spec::access`], digit by digit.
fn access(out: &mut Vec<u8>, spec: &Spec) {
    let Some((first, more)) = spec.raw.split_first() else {
        return out.push(b'0');
    };
    json::number(out, (*first).into());
    for &part in more {
        out.push(b':');
        json::number(out, part.into());
    }
}

fn values(out: &mut Vec<u8>, decision: Option<&Decision>) {
    let mut pair = |name: &str, values: Option<(u64, u64)>| {
        out.extend_from_slice(name.as_bytes());
        let Some((local, target)) = values else {
            return out.extend_from_slice(b"null");
        };
        out.extend_from_slice(b"{\"local\":");
        json::number(out, local);
        out.extend_from_slice(b",\"target\":");
        json::number(out, target);
        out.push(b'}');
    };
    pair(",\"value\":", decision.map(|decision| (decision.local, decision.target)));
    let sized = decision.filter(|decision| decision.local_size != 0);
    pair(",\"size\":", sized.map(|sized| (sized.local_size.into(), sized.target_size.into())));
}

/// Why, as a code that stays and in words.
pub fn reason(record: &RecordedRelo) -> (Option<&'static str>, Option<String>) {
    match (&record.outcome, &record.reason) {
        (Outcome::Error(error), _) => (Some(error.code()), Some(error.to_string())),
        (_, Some(reason)) => (Some(reason.code()), Some(reason.to_string())),
        (_, None) => (None, None),
    }
}
