//! `btfpipe bundle ls` and `show`: the kernels of a bundle, what each costs, and what is known of one.

use std::collections::BTreeMap;
use std::path::Path;

use bundle::{Bundle, Digest, Index, Outcome, Outcomes};
use serde::Serialize;

use crate::commands::bundles::{Form, answer, kernel, open};
use crate::commands::tools::table::columns;
use crate::commands::tools::{ToolError, Voice};
use crate::outcome::Code;

#[derive(Serialize)]
struct Listing<'i> {
    name: &'i str,
    arch: &'static str,
    engine: &'i str,
    source_date_epoch: u64,
    program_set: Digest,
    blobs: usize,
    blob_bytes: u64,
    kernels: Vec<Line<'i>>,
    programs: Vec<ProgramLine<'i>>,
}

#[derive(Serialize)]
struct Line<'i> {
    kernel: String,
    version_aliases: &'i [String],
    build_id: Option<&'i str>,
    btf: Digest,
    bytes: u64,
    /// How many kernels have this BTF; its bytes are there once.
    shared_by: usize,
    poisoned: u64,
    errors: u64,
}

#[derive(Serialize)]
struct ProgramLine<'i> {
    name: &'i str,
    sha256: Digest,
    relocations: u64,
    /// On how many kernels something of it is poisoned.
    poisoned_on: usize,
    /// On how many libbpf refuses it.
    refused_on: usize,
}

/// Lists a bundle.
pub fn list(path: &Path, form: Form, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    let bundle = open(path)?;
    let listing = listing(&bundle);
    Ok(answer(voice, form, &listing, || text(&listing)))
}

fn listing(bundle: &Bundle) -> Listing<'_> {
    let index = bundle.index();
    let mut sharing: BTreeMap<Digest, (u64, usize)> = BTreeMap::new();
    for kernel in &index.kernels {
        sharing.entry(kernel.btf.sha256).or_insert((kernel.btf.size, 0)).1 += 1;
    }
    let kernels = index.kernels.iter().map(|kernel| {
        let outcomes = index.outcomes_of(kernel);
        let total =
            |count: fn(&Outcome) -> u64| outcomes.into_iter().flat_map(Outcomes::values).map(count).sum();
        Line {
            kernel: kernel.entry.key().to_string(),
            version_aliases: &kernel.entry.version_aliases,
            build_id: kernel.entry.build_id.as_deref(),
            btf: kernel.btf.sha256,
            bytes: kernel.btf.size,
            shared_by: sharing[&kernel.btf.sha256].1,
            poisoned: total(|outcome| outcome.poisoned),
            errors: total(|outcome| outcome.error),
        }
    });
    Listing {
        name: &index.name,
        arch: index.arch.as_str(),
        engine: &index.engine,
        source_date_epoch: bundle.source_date_epoch(),
        program_set: index.program_set(),
        blobs: sharing.len(),
        blob_bytes: sharing.values().map(|(size, _)| size).sum(),
        kernels: kernels.collect(),
        programs: programs(index),
    }
}

fn programs(index: &Index) -> Vec<ProgramLine<'_>> {
    let line = |program: &'_ bundle::ProgramEntry| {
        let on = |count: fn(&Outcome) -> u64| {
            let outcomes =
                index.kernels.iter().filter_map(|kernel| index.outcomes_of(kernel)?.get(&program.name));
            outcomes.filter(|outcome| count(outcome) > 0).count()
        };
        let first = index.outcomes.iter().find_map(|row| row.get(&program.name));
        (
            first.map_or(0, |one| one.relocated + one.absent + one.poisoned + one.error),
            on(|o| o.poisoned),
            on(|o| o.error),
        )
    };
    let programs = index.programs.iter().map(|program| {
        let (relocations, poisoned_on, refused_on) = line(program);
        ProgramLine { name: &program.name, sha256: program.sha256, relocations, poisoned_on, refused_on }
    });
    programs.collect()
}

fn text(listing: &Listing<'_>) -> String {
    let rows: Vec<[String; 6]> = listing.kernels.iter().map(row).collect();
    let kernels = columns(["kernel", "build-id", "btf", "bytes", "shared by", "relocations in vain"], &rows);
    let of_program = |program: &ProgramLine<'_>| {
        [
            program.name.to_owned(),
            program.relocations.to_string(),
            program.poisoned_on.to_string(),
            program.refused_on.to_string(),
        ]
    };
    let rows: Vec<[String; 4]> = listing.programs.iter().map(of_program).collect();
    let programs = columns(["program", "relocations", "poisoned on", "refused on"], &rows);
    let Listing { name, arch, engine, blobs, blob_bytes, program_set, .. } = listing;
    format!(
        "{name}, {arch}, made by {engine}\n{} kernels, {blobs} distinct BTFs of {blob_bytes} bytes\n\n{kernels}\n{} programs, \
         set {program_set}\n\n{programs}",
        listing.kernels.len(),
        listing.programs.len(),
    )
}

fn row(line: &Line<'_>) -> [String; 6] {
    let short = |text: &str| text.get(..12).unwrap_or(text).to_owned();
    let vain = match (line.poisoned, line.errors) {
        (0, 0) => String::new(),
        (poisoned, 0) => format!("{poisoned} poisoned"),
        (poisoned, errors) => format!("{poisoned} poisoned, {errors} errors"),
    };
    [
        line.kernel.clone(),
        short(line.build_id.unwrap_or("-")),
        short(&line.btf.to_string()),
        line.bytes.to_string(),
        line.shared_by.to_string(),
        vain,
    ]
}

#[derive(Serialize)]
struct Shown<'i> {
    kernel: String,
    version_aliases: &'i [String],
    build_id: Option<&'i str>,
    btf: bundle::BlobRef,
    records: bundle::BlobRef,
    record_count: usize,
    /// Other kernels with the same BTF.
    same_btf: Vec<String>,
    outcomes: Option<&'i Outcomes>,
}

/// Says all that a bundle knows of one kernel.
pub fn show(path: &Path, key: &str, form: Form, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    let bundle = open(path)?;
    let kernel = kernel(&bundle, path, key)?;
    let others = bundle.index().kernels.iter().filter(|other| other.btf == kernel.btf && other != &kernel);
    let records = bundle.records_of(kernel).unwrap_or_default();
    let shown = Shown {
        kernel: kernel.entry.key().to_string(),
        version_aliases: &kernel.entry.version_aliases,
        build_id: kernel.entry.build_id.as_deref(),
        btf: kernel.btf,
        records: kernel.records,
        record_count: records.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count(),
        same_btf: others.map(|other| other.entry.key().to_string()).collect(),
        outcomes: bundle.index().outcomes_of(kernel),
    };
    Ok(answer(voice, form, &shown, || shown_text(&shown)))
}

fn shown_text(shown: &Shown<'_>) -> String {
    let mut rows: Vec<[String; 2]> = vec![
        ["kernel".into(), shown.kernel.clone()],
        ["aliases".into(), shown.version_aliases.join(" ")],
        ["build-id".into(), shown.build_id.unwrap_or("-").into()],
        ["btf".into(), format!("{} ({} bytes)", shown.btf.sha256, shown.btf.size)],
        ["records".into(), format!("{} ({} of them)", shown.records.sha256, shown.record_count)],
    ];
    rows.extend(shown.same_btf.iter().map(|other| ["same BTF".into(), other.clone()]));
    let of_program = |(name, outcome): (&String, &Outcome)| {
        [
            name.clone(),
            outcome.relocated.to_string(),
            outcome.absent.to_string(),
            outcome.poisoned.to_string(),
            outcome.error.to_string(),
            outcome.functions.join(" "),
        ]
    };
    let outcomes: Vec<[String; 6]> = shown.outcomes.into_iter().flatten().map(of_program).collect();
    let head = ["program", "relocated", "absent", "poisoned", "error", "in"];
    format!("{}\n{}", columns(["what", "value"], &rows), columns(head, &outcomes))
}
