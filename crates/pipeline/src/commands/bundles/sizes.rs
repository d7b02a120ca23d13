//! `btfpipe bundle sizes`: what each kernel and each program costs in a bundle.
//!
//! The bundle is made again without it, and the difference is what it costs: nothing is estimated.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bundle::{Bundle, BundleBuilder, BundleMeta, Digest, Package, ProgramEntry};
use serde::Serialize;

use crate::commands::bundles::verify::{at_hand, of_programs};
use crate::commands::bundles::{Form, answer, broken, kernel, open, shown};
use crate::commands::tools::table::columns;
use crate::commands::tools::{ToolError, Voice};
use crate::kernel::engine::{self, ProgramSet};
use crate::outcome::Code;
use crate::work::threads;

/// What to measure.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The bundle.
    pub path: PathBuf,
    /// Which kernels to measure, by their keys; all where none is named.
    pub kernels: Vec<String>,
    /// Its programs, to make the BTFs again without each of them. Without any, only kernels are measured.
    pub programs: Vec<PathBuf>,
    /// zstd's level.
    pub level: i32,
    /// How many bundles are made at once.
    pub jobs: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    level: i32,
    whole: Size,
    kernels: Vec<Cost>,
    programs: Vec<Cost>,
}

/// Bytes of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Size {
    /// Before compression: the archive.
    archive: u64,
    /// After: the file.
    file: u64,
}

/// How many bytes fewer the bundle would have without it. After compression that can be less than nothing.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Cost {
    what: String,
    archive: i64,
    file: i64,
}

/// Measures.
pub fn sizes(options: &Options, form: Form, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    let bundle = open(&options.path)?;
    let scale = Scale { bundle: &bundle, path: &options.path, level: options.level };
    let whole = scale.weigh(|_| true, None)?;
    let actual = std::fs::metadata(&options.path).map_or(0, |found| found.len());
    if actual != whole.file {
        let level = options.level;
        voice.note(format_args!(
            "the file has {actual} bytes; compressed at level {level} it has {}",
            whole.file
        ));
    }
    let set = match options.programs.as_slice() {
        [] => None,
        paths => Some(all_programs(&bundle, &options.path, paths)?),
    };
    let kernels = numbers(&bundle, options)?;
    let kernels = each(&kernels, options.jobs, |&left| {
        let size = scale.weigh(|kernel| kernel != left, None)?;
        Ok(whole.less(bundle.index().kernels[left].entry.key().to_string(), size))
    })?;
    let programs = match set {
        None => Vec::new(),
        Some(set) => {
            let numbers: Vec<usize> = (0..set.programs.len()).collect();
            each(&numbers, options.jobs, |&left| {
                let size = scale.weigh(|_| true, Some(&without(&set, left)))?;
                Ok(whole.less(set.programs[left].name.clone(), size))
            })?
        }
    };
    let report = Report { level: options.level, whole, kernels, programs };
    Ok(answer(voice, form, &report, || text(&report)))
}

/// The places in the index of the kernels that are measured.
fn numbers(bundle: &Bundle, options: &Options) -> Result<Vec<usize>, ToolError> {
    let all = &bundle.index().kernels;
    if options.kernels.is_empty() {
        return Ok((0..all.len()).collect());
    }
    let number = |key: &String| {
        let wanted = kernel(bundle, &options.path, key)?;
        Ok(all.iter().position(|one| one == wanted).unwrap_or_default())
    };
    options.kernels.iter().map(number).collect()
}

impl Size {
    fn of(package: &Package) -> Size {
        Size { archive: package.tar_size, file: package.zst_size }
    }

    fn less(self, what: String, without: Size) -> Cost {
        let less = |whole: u64, rest: u64| whole as i64 - rest as i64;
        Cost { what, archive: less(self.archive, without.archive), file: less(self.file, without.file) }
    }
}

/// A bundle, and how it is made again.
#[derive(Clone, Copy)]
struct Scale<'b> {
    bundle: &'b Bundle,
    path: &'b Path,
    level: i32,
}

impl Scale<'_> {
    /// The size of the bundle of some of its kernels, by their numbers; and for these programs only.
    fn weigh(&self, kept: impl Fn(usize) -> bool, set: Option<&ProgramSet>) -> Result<Size, ToolError> {
        let failed = |error: bundle::Error| broken(self.path, &error);
        let index = self.bundle.index();
        let (name, arch, engine) = (index.name.clone(), index.arch, index.engine.clone());
        let source_date_epoch = self.bundle.source_date_epoch();
        let meta = BundleMeta { name, arch, engine, source_date_epoch };
        let mut builder = BundleBuilder::new(meta).map_err(failed)?;
        let names: Option<BTreeSet<&str>> =
            set.map(|set| set.programs.iter().map(|program| program.name.as_str()).collect());
        let mut made = BTreeMap::new();
        for (_, kernel) in index.kernels.iter().enumerate().filter(|(number, _)| kept(*number)) {
            let btf = self.bundle.btf_of(kernel).unwrap_or_default();
            let records = self.bundle.records_of(kernel).unwrap_or_default();
            let (btf, records) = match (set, &names) {
                (Some(set), Some(names)) => {
                    (smaller(btf, kernel.btf.sha256, set, &mut made)?, of_programs(records, names))
                }
                _ => (btf.to_vec(), records.to_vec()),
            };
            builder.add_kernel(kernel.entry.clone(), btf, records).map_err(failed)?;
        }
        let serves =
            |program: &&ProgramEntry| names.as_ref().is_none_or(|names| names.contains(&*program.name));
        for program in index.programs.iter().filter(serves) {
            builder.add_program(program.clone()).map_err(failed)?;
        }
        Ok(Size::of(&builder.write(self.level, &mut std::io::sink()).map_err(failed)?))
    }
}

/// A BTF of the bundle, minimized again for fewer programs.
fn smaller(
    btf: &[u8],
    sha256: Digest,
    set: &ProgramSet,
    made: &mut BTreeMap<Digest, Vec<u8>>,
) -> Result<Vec<u8>, ToolError> {
    if let Some(again) = made.get(&sha256) {
        return Ok(again.clone());
    }
    let again = minimized(btf, set)?;
    made.insert(sha256, again.clone());
    Ok(again)
}

fn minimized(btf: &[u8], set: &ProgramSet) -> Result<Vec<u8>, ToolError> {
    engine::minimize(btf, set)
        .map(|minimized| minimized.btf)
        .map_err(|failure| ToolError::engine("the bundle's BTF", failure.message))
}

/// All programs of the bundle. One that is missing would be counted as part of every other's cost, and so would be what
/// another engine keeps more.
fn all_programs(bundle: &Bundle, path: &Path, paths: &[PathBuf]) -> Result<ProgramSet, ToolError> {
    let set = at_hand(bundle, paths)?;
    let wrong = |said: String| Err(ToolError::engine(&shown(path), said));
    let names: BTreeSet<&str> = set.programs.iter().map(|program| program.name.as_str()).collect();
    if let Some(missing) = bundle.index().programs.iter().find(|one| !names.contains(&*one.name)) {
        return wrong(format!("{} is not among the programs at hand; give all of them", missing.name));
    }
    for kernel in &bundle.index().kernels {
        let btf = bundle.btf_of(kernel).unwrap_or_default();
        if minimized(btf, &set)? != btf {
            let engine = &bundle.index().engine;
            return wrong(format!(
                "the BTF of {} is not what {} makes for these programs: it was made by {engine}",
                kernel.entry.key(),
                crate::package::packaging::ENGINE
            ));
        }
    }
    Ok(set)
}

fn without(set: &ProgramSet, left: usize) -> ProgramSet {
    let others = set.programs.iter().enumerate().filter(|(number, _)| *number != left);
    let programs = others.map(|(_, program)| program.clone()).collect();
    ProgramSet { arch: set.arch, programs, unusable: Vec::new() }
}

/// Costs, measured by several threads; the first failure ends it.
fn each(
    items: &[usize],
    jobs: usize,
    measure: impl Fn(&usize) -> Result<Cost, ToolError> + Sync,
) -> Result<Vec<Cost>, ToolError> {
    threads::through(items, jobs.max(1), || true, measure).into_iter().flatten().collect()
}

fn text(report: &Report) -> String {
    let Report { level, whole, kernels, programs } = report;
    let table = |what: &'static str, costs: &[Cost]| {
        let row = |cost: &Cost| [cost.what.clone(), cost.archive.to_string(), cost.file.to_string()];
        columns([what, "of the archive", "of the file"], &costs.iter().map(row).collect::<Vec<_>>())
    };
    let mut text = format!(
        "the archive has {} bytes, the file {} at level {level}; without … there would be fewer bytes:\n\n{}",
        whole.archive,
        whole.file,
        table("kernel", kernels)
    );
    match programs.as_slice() {
        [] => text += "\nwhat programs cost is told with --program and all of them\n",
        programs => text += &format!("\n{}", table("program", programs)),
    }
    text
}
