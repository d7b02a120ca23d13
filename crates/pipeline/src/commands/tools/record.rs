//! `btfpipe record`: what every CO-RE relocation resolves to on a target, and why not.

use std::path::PathBuf;

use relo_core::{BpfObject, Mode, Outcome, RecordedRelo, Target, Wanted};

use crate::commands::tools::table::columns;
use crate::commands::tools::{Objects, TargetFiles, ToolError, Voice};
use crate::kernel::records;
use crate::outcome::Code;

/// How to write records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON value a line, for machines.
    JsonLines,
    /// Columns for people.
    Table,
}

/// What to record.
#[derive(Debug, Clone)]
pub struct Options {
    /// The kernel.
    pub target: TargetFiles,
    /// The programs.
    pub programs: Vec<PathBuf>,
    /// Correct, or as libbpf does it.
    pub mode: Mode,
    /// For whom.
    pub format: Format,
}

/// Writes the records; fails when an object can't be opened or libbpf would refuse it.
pub fn run(options: &Options, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    let objects = Objects::open(&options.programs);
    objects.report(voice)?;
    let wanted = Wanted::new(&objects.good);
    match options.target.alone()? {
        Some(kernel) => {
            let (btf, candidates) = kernel.parse(&wanted)?;
            let target = Target::with_candidates(&btf, candidates, &[], &wanted)
                .map_err(|error| ToolError::engine(kernel.name(), error))?;
            record(options, &objects, &target, voice)
        }
        None => {
            let btfs = options.target.read()?;
            let target = btfs.target(&wanted).map_err(|error| ToolError::engine(&btfs.name, error))?;
            record(options, &objects, &target, voice)
        }
    }
}

fn record(
    options: &Options,
    objects: &Objects,
    target: &Target<'_>,
    voice: &mut Voice<'_>,
) -> Result<Code, ToolError> {
    let refs = objects.refs();
    let all = relo_core::relocate_all(&refs, target, options.mode);
    let mut code = if objects.bad.is_empty() { Code::Ok } else { Code::Failed };
    for (object, records) in refs.iter().zip(&all) {
        if let Some(error) = refused(records) {
            code = Code::Failed;
            voice.note(format_args!("{}: libbpf would refuse it on this kernel: {error}", object.name()));
        }
        if options.format == Format::JsonLines
            && voice.answer(&records::to_json_lines(object, target, records)).is_err()
        {
            return Ok(code);
        }
    }
    if options.format == Format::Table {
        let rows = refs.iter().zip(&all).flat_map(|(object, records)| rows(object, target, records));
        let text = columns(HEAD, &rows.collect::<Vec<_>>());
        let _ = voice.answer(&format!("{text}\n{}\n", totals(&all)));
    }
    Ok(code)
}

fn refused(records: &[RecordedRelo]) -> Option<&relo_core::ReloError> {
    records.iter().find_map(|record| match &record.outcome {
        Outcome::Error(error) => Some(error),
        Outcome::Relocated | Outcome::Absent | Outcome::Poisoned => None,
    })
}

const HEAD: [&str; 6] = ["object:program", "insn", "kind", "local", "outcome", "target, or why not"];

fn rows<'r>(
    object: &'r BpfObject,
    target: &'r Target<'_>,
    records: &'r [RecordedRelo],
) -> impl Iterator<Item = [String; 6]> + use<'r> {
    records.iter().map(move |record| {
        let relo = &object.relos()[record.index];
        let program = object.program_of(relo).map_or(object.section_of(relo), |program| &program.name);
        let local = record.local.as_ref().and_then(|local| local.0.text(object.btf()).ok());
        let cells = [
            format!("{}:{program}", object.name()),
            object.insn_of(relo).to_string(),
            record.kind.map_or("?", |kind| kind.name()).to_owned(),
            local.unwrap_or_default(),
            record.outcome.name().to_owned(),
            answer(target, record),
        ];
        // Names come out of files: what a terminal would obey must not get there.
        cells.map(|cell| cell.replace(char::is_control, " "))
    })
}

/// `1120 -> 1328`, the module where it isn't vmlinux, or the reason.
fn answer(target: &Target<'_>, record: &RecordedRelo) -> String {
    if let (_, Some(reason)) = records::reason(record) {
        return reason;
    }
    let values = match record.decision {
        Some(decision) if decision.local == decision.target => decision.target.to_string(),
        Some(decision) => format!("{} -> {}", decision.local, decision.target),
        None => String::new(),
    };
    match record.target.as_ref().and_then(|found| target.module(found.candidate)) {
        Some(module) => format!("{values} ({module})"),
        None => values,
    }
}

fn totals(all: &[Vec<RecordedRelo>]) -> String {
    let count = |name: &str| all.iter().flatten().filter(|record| record.outcome.name() == name).count();
    let words = ["relocated", "absent", "poisoned", "error"];
    let counted = words.map(|word| (word, count(word)));
    let parts: Vec<String> = counted
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    let relocations: usize = all.iter().map(Vec::len).sum();
    match parts.is_empty() {
        true => "no relocations".to_owned(),
        false => format!("{relocations} relocations: {}", parts.join(", ")),
    }
}
