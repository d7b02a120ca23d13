//! A program as text, with what its instructions refer to and what was relocated.

use std::fmt::Write;

use super::disassembly;
use super::status::Poison;
use super::{Prepared, PreparedProgram, Resolution};
use crate::open::{OpenObject, ReloTarget};
use crate::record::{Outcome, RecordedRelo};

impl Prepared {
    /// The instructions of a program as text, one a line, in the words of `bpftool prog dump xlated`.
    ///
    /// Behind `;` stands what an instruction refers to, what CO-RE made of it, and the program's end. Control characters in
    /// names are spaces here: a line stays a line.
    pub fn listing(&self, open: &OpenObject<'_>, program: &PreparedProgram) -> String {
        let mut text = String::new();
        let mut parts = program.parts.iter().peekable();
        let mut at = 0;
        while at < program.insns.len() {
            if let Some(part) = parts.next_if(|part| part.start == at) {
                let _ = writeln!(text, "{}:", plain(&part.name));
            }
            let insn = program.insns[at];
            let second = program.insns.get(at + 1).copied();
            let line = disassembly::text(insn, second);
            let notes = self.notes(open, program, at);
            let gap = if notes.is_empty() { "" } else { "  ; " };
            let _ = writeln!(text, "{at:5}: {line}{gap}{}", plain(&notes.join("; ")));
            at += if insn.is_ldimm64() { 2 } else { 1 };
        }
        let _ = writeln!(text, "; {}", plain(&program.status.to_string()));
        text
    }

    fn notes(&self, open: &OpenObject<'_>, program: &PreparedProgram, at: usize) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(target) = program.targets.get(&at) {
            notes.extend(self.reference(open, *target));
        }
        for &position in program.relocations.get(&at).into_iter().flatten() {
            notes.push(relocation(open, &self.relocations[position]));
        }
        let poisoned = program.poisoned.iter().find(|poisoned| poisoned.insn == at);
        match poisoned.map(|poisoned| poisoned.poison) {
            Some(Poison::Kfunc(_)) => notes.push("the kernel has no such kfunc".to_owned()),
            Some(Poison::Map(_)) => notes.push("the map is not created".to_owned()),
            Some(Poison::Relocation(_)) | None => {}
        }
        notes
    }

    fn reference(&self, open: &OpenObject<'_>, target: ReloTarget) -> Option<String> {
        Some(match target {
            ReloTarget::Map(map) => format!("map {}", open.maps()[map].name),
            ReloTarget::Data { map, .. } => open.maps()[map].name.clone(),
            ReloTarget::Extern(external) | ReloTarget::ExternCall(external) => {
                let name = &open.externs()[external].name;
                match &self.externs[external] {
                    Resolution::Value(bytes) => format!("{name} = {}", hex(bytes)),
                    Resolution::Address(address) => format!("{name} at {address:#x}"),
                    Resolution::Type { place, .. } => format!("{name}, type [{}]", place.id),
                    Resolution::Missing => format!("{name}, which the kernel does not have"),
                    Resolution::Unknown(doubt) => format!("{name}: {doubt}"),
                    Resolution::Refused => format!("{name}, refused"),
                }
            }
            // The instruction says it.
            ReloTarget::Call(_) | ReloTarget::FunctionAddress(_) => return None,
            ReloTarget::JumpTable { offset, .. } => format!("jump table at {offset}"),
        })
    }
}

/// `CO-RE byte_off struct task_struct.real_parent: 1120 -> 1328`.
fn relocation(open: &OpenObject<'_>, record: &RecordedRelo) -> String {
    let kind = record.kind.map_or("unknown", |kind| kind.name());
    let spec = record.local.as_ref().and_then(|local| local.0.text(open.object().btf()).ok());
    let spec = spec.as_deref().unwrap_or("?");
    let end = match (&record.outcome, &record.decision) {
        (Outcome::Relocated, Some(decision)) => format!("{} -> {}", decision.local, decision.target),
        (Outcome::Error(error), _) => format!("error: {error}"),
        (outcome, _) => outcome.name().to_owned(),
    };
    let reason = record.reason.as_ref().map(|reason| format!(", {reason}"));
    format!("CO-RE {kind} {spec}: {end}{}", reason.unwrap_or_default())
}

fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("bytes {digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(plain("a\nb \u{1b}[2J"), "a b  [2J");
    }
}
