//! `btfpipe diff`: two BTFs, or two kernels as some programs see them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use btf::{Btf, Outline};
use relo_core::{BpfObject, Mode, RecordedRelo, Target, Wanted};
use serde_json::{Value, json};

use crate::commands::tools::{Objects, ToolError, Voice};
use crate::kernel::records;
use crate::outcome::Code;

/// What to compare.
#[derive(Debug, Clone)]
pub struct Options {
    /// The one.
    pub first: PathBuf,
    /// The other.
    pub second: PathBuf,
    /// See them through these programs.
    pub programs: Vec<PathBuf>,
    /// As JSON Lines.
    pub json: bool,
}

/// Says what differs; exit code 1 when something does.
pub fn run(options: &Options, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    let objects = Objects::open(&options.programs);
    if !options.programs.is_empty() {
        objects.report(voice)?;
    }
    let read = |path: &PathBuf| Ok::<_, ToolError>(kernels::input::read(path)?.parse(None)?);
    let (first, second) = (read(&options.first)?, read(&options.second)?);
    let changes = match options.programs.is_empty() {
        true => {
            let sides = [(&options.first, &first), (&options.second, &second)];
            let [a, b] = sides.map(|(path, btf)| {
                btf.outline().map_err(|error| ToolError::btf(&path.display().to_string(), error))
            });
            compare_types(&a?, &b?)
        }
        false => compare_decisions(&objects.refs(), &first, &second)
            .map_err(|error| ToolError::engine("relocating", error))?,
    };
    let text: String = changes.iter().map(|change| change.line(options.json)).collect();
    let _ = voice.answer(&text);
    if changes.is_empty() && objects.bad.is_empty() {
        return Ok(Code::Ok);
    }
    voice.note(format_args!("{} differences", changes.len()));
    Ok(Code::Failed)
}

/// A difference: what, and how it was and is.
struct Change {
    sign: char,
    what: String,
    then: Option<String>,
    now: Option<String>,
}

impl Change {
    fn line(&self, as_json: bool) -> String {
        let Change { sign, what, then, now } = self;
        if as_json {
            let kind = match sign {
                '+' => "added",
                '-' => "removed",
                _ => "changed",
            };
            let value: Value = json!({"v": 1, "change": kind, "what": what, "first": then, "second": now});
            return format!("{value}\n");
        }
        match (then, now) {
            (Some(then), Some(now)) => format!("{sign} {what}: {then} -> {now}\n"),
            (then, now) => {
                let text = then.as_ref().or(now.as_ref()).map(|text| format!(": {text}"));
                format!("{sign} {what}{}\n", text.unwrap_or_default())
            }
        }
    }
}

fn compare_types(first: &Outline, second: &Outline) -> Vec<Change> {
    let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let join = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" or ");
    let change = |what: &&String| {
        let (then, now) = (first.get(*what), second.get(*what));
        if then == now {
            return None;
        }
        let sign = match (then, now) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        };
        Some(Change { sign, what: (*what).clone(), then: then.map(join), now: now.map(join) })
    };
    names.iter().filter_map(change).collect()
}

fn compare_decisions(
    objects: &[&BpfObject],
    first: &Btf<'_>,
    second: &Btf<'_>,
) -> Result<Vec<Change>, relo_core::ReloError> {
    let wanted = Wanted::new(objects.iter().copied());
    let all = |btf| {
        let target = Target::new(btf, &[], &wanted)?;
        Ok::<_, relo_core::ReloError>(relo_core::relocate_all(objects, &target, Mode::default()))
    };
    let (then, now) = (all(first)?, all(second)?);
    let mut changes = Vec::new();
    for (object, (then, now)) in objects.iter().zip(then.iter().zip(&now)) {
        for (then, now) in then.iter().zip(now) {
            let (before, after) = (answer(then), answer(now));
            if before != after {
                let what = place(object, then);
                changes.push(Change { sign: '~', what, then: Some(before), now: Some(after) });
            }
        }
    }
    Ok(changes)
}

fn place(object: &BpfObject, record: &RecordedRelo) -> String {
    let relo = &object.relos()[record.index];
    let program = object.program_of(relo).map_or(object.section_of(relo), |program| &program.name);
    let local = record.local.as_ref().and_then(|local| local.0.text(object.btf()).ok()).unwrap_or_default();
    let kind = record.kind.map_or("?", |kind| kind.name());
    format!("{}:{program} insn {} {kind} {local}", object.name(), object.insn_of(relo))
}

/// What it comes to for the program: the outcome and the value, and why where it has none.
fn answer(record: &RecordedRelo) -> String {
    let outcome = record.outcome.name();
    match (records::reason(record).1, record.decision) {
        (Some(reason), _) => format!("{outcome} ({reason})"),
        // The id of a type differs in every BTF, and says nothing.
        (None, Some(_)) if record.kind == Some(relo_core::ReloKind::TargetTypeId) => outcome.to_owned(),
        (None, Some(decision)) if decision.target_size != 0 => {
            format!("{outcome} {}, {} bytes", decision.target, decision.target_size)
        }
        (None, Some(decision)) => format!("{outcome} {}", decision.target),
        (None, None) => outcome.to_owned(),
    }
}
