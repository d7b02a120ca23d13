//! `btfpipe bundle verify`: whether a release is what it says, down to the decisions of the programs at hand.

mod layouts;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bundle::attestation::{PROVENANCE, SBOM, attested_files};
use bundle::{Bundle, Checksums, Digest, Manifest, Pack, PackageEntry, SigningKey};
use kernels::Arch;
use serde::Serialize;

use crate::commands::bundles::{Form, answer, broken, delta, files_with_end, shown};
use crate::commands::tools::{ToolError, Voice};
use crate::kernel::engine::{self, ProgramSet};
use crate::outcome::Code;
use crate::package::packaging;
use crate::project::compiling::SystemClang;
use crate::project::programs::{self, Making, Program, ProgramFile};
use crate::project::{self, Project};

const SUMS: &str = "SHA256SUMS";
const SIGNATURE: &str = "SHA256SUMS.minisig";
const MANIFEST: &str = "manifest.json";

/// What to verify.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The folder of a release, a bundle, a pack, or a delta pack.
    pub path: PathBuf,
    /// Whose signature there must be: a public key of minisign, or the file that has it.
    pub key: Option<String>,
    /// The programs, to make every decision again.
    pub programs: Vec<PathBuf>,
    /// The bundle that a delta pack is for, to apply it.
    pub base: Option<PathBuf>,
    /// The pipeline that made the release, whose plugins make their layouts again.
    pub pipeline: Option<PathBuf>,
}

/// A thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    /// The file, or the kernel in it.
    what: String,
    result: Grade,
    said: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Good,
    /// Not looked at, and why.
    Unchecked,
    Bad,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    checks: Vec<Check>,
}

impl Report {
    fn add(&mut self, what: impl Into<String>, result: Grade, said: impl Into<String>) {
        self.checks.push(Check { what: what.into(), result, said: said.into() });
    }

    fn judge(&mut self, what: &str, good: bool, said: &str, bad: &str) {
        match good {
            true => self.add(what, Grade::Good, said),
            false => self.add(what, Grade::Bad, bad),
        }
    }
}

/// Verifies; fails when anything is bad.
pub fn verify(options: &Options, form: Form, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    if options.key.is_some() && !options.path.is_dir() {
        return Err(ToolError::Usage("--key is for the folder of a release, which has the signature".into()));
    }
    if options.base.is_some() && options.path.is_dir() {
        return Err(ToolError::Usage("--base is for a delta pack, which is applied to it".into()));
    }
    let key = options.key.as_deref().map(signing_key).transpose()?;
    let mut report = Report::default();
    let bundles = match options.path.is_dir() {
        true => release(options, key.as_ref(), &mut report)?,
        false => one_file(&options.path, options.base.as_deref(), &mut report),
    };
    if !options.programs.is_empty() {
        for (name, bundle) in &bundles {
            decide_again(name, bundle, &options.programs, &mut report)?;
        }
    }
    answer(voice, form, &report, || text(&report));
    let bad = report.checks.iter().any(|check| check.result == Grade::Bad);
    Ok(if bad { Code::Lock } else { Code::Ok })
}

/// The key itself, or the file that has it.
fn signing_key(text: &str) -> Result<SigningKey, ToolError> {
    let path = Path::new(text);
    let text = match path.is_file() {
        true => {
            std::fs::read_to_string(path).map_err(|error| ToolError::Read { path: path.into(), error })?
        }
        false => text.to_owned(),
    };
    SigningKey::parse(&text).map_err(|error| ToolError::Usage(format!("--key: {error}")))
}

fn release(
    options: &Options,
    key: Option<&SigningKey>,
    report: &mut Report,
) -> Result<Vec<(String, Bundle)>, ToolError> {
    let folder = options.path.as_path();
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|error| ToolError::Read { path, error })
    };
    let sums_bytes = read(SUMS)?;
    check_signature(&sums_bytes, std::fs::read_to_string(folder.join(SIGNATURE)).ok(), key, report);
    let sums = match Checksums::parse(&String::from_utf8_lossy(&sums_bytes)) {
        Ok(sums) => sums,
        Err(error) => {
            report.add(SUMS, Grade::Bad, error.to_string());
            return Ok(Vec::new());
        }
    };
    for (name, sha256) in sums.iter() {
        match read(name) {
            Ok(bytes) => {
                report.judge(name, Digest::of(&bytes) == sha256, "has its digest", "has another digest")
            }
            Err(error) => report.add(name, Grade::Bad, error.to_string()),
        }
    }
    check_strays(folder, &sums, report)?;
    let manifest = match Manifest::parse(&read(MANIFEST)?) {
        Ok(manifest) => manifest,
        Err(error) => {
            report.add(MANIFEST, Grade::Bad, error.to_string());
            return Ok(Vec::new());
        }
    };
    let bundles = check_packages(folder, &manifest, &sums, report);
    layouts::Layouts { folder, manifest: &manifest, bundles: &bundles, project: project(options)? }
        .check(report);
    check_attestations(folder, &manifest, &sums, report);
    Ok(bundles)
}

fn project(options: &Options) -> Result<Option<Project>, ToolError> {
    let load = |file: &PathBuf| {
        let options = project::Options { file: file.clone(), ..project::Options::default() };
        Project::load(&options).map_err(|error| ToolError::Usage(format!("--pipeline: {error}")))
    };
    options.pipeline.as_ref().map(load).transpose()
}

fn check_signature(sums: &[u8], signature: Option<String>, key: Option<&SigningKey>, report: &mut Report) {
    match (key, signature) {
        (None, None) => report.add(SIGNATURE, Grade::Unchecked, "the release is not signed"),
        (None, Some(_)) => report.add(SIGNATURE, Grade::Unchecked, "give --key to check the signature"),
        (Some(_), None) => report.add(SIGNATURE, Grade::Bad, "a signature is asked for and there is none"),
        (Some(key), Some(signature)) => match key.check(sums, &signature) {
            Ok(comment) => report.add(SIGNATURE, Grade::Good, format!("signed by the key: {comment}")),
            Err(error) => report.add(SIGNATURE, Grade::Bad, error.to_string()),
        },
    }
}

/// A package that no sum covers would be taken for a part of the release.
fn check_strays(folder: &Path, sums: &Checksums, report: &mut Report) -> Result<(), ToolError> {
    for end in [".tar.zst", ".tar.gz", ".tar.xz", ".btfpack"] {
        for path in files_with_end(folder, end)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if sums.find(&name).is_none() {
                report.add(name, Grade::Bad, format!("is not in {SUMS}"));
            }
        }
    }
    Ok(())
}

fn check_packages(
    folder: &Path,
    manifest: &Manifest,
    sums: &Checksums,
    report: &mut Report,
) -> Vec<(String, Bundle)> {
    let mut bundles = Vec::new();
    for package in &manifest.packages {
        report.judge(
            MANIFEST,
            sums.find(&package.file) == Some(package.zst.sha256),
            &format!("has the digest of {}", package.file),
            &format!("has another digest for {} than {SUMS}", package.file),
        );
        // The name comes from a file: it must not lead elsewhere.
        let path = folder.join(Path::new(&package.file).file_name().unwrap_or_default());
        match Bundle::open_file(&path) {
            Ok(bundle) => {
                check_package(package, &bundle, report);
                bundles.push((package.file.clone(), bundle));
            }
            Err(error) => report.add(&package.file, Grade::Bad, broken(&path, &error).to_string()),
        }
    }
    bundles
}

fn check_package(package: &PackageEntry, bundle: &Bundle, report: &mut Report) {
    let index = bundle.index();
    let name = &package.file;
    report.judge(
        name,
        Digest::of(bundle.tar()) == package.tar.sha256 && bundle.tar().len() as u64 == package.tar.size,
        "its archive has the manifest's digest",
        "its archive has another digest than the manifest says",
    );
    let kernels = index.kernels.iter().map(|kernel| (kernel.entry.key().to_string(), kernel.btf));
    let same = kernels.eq(package.kernels.iter().map(|kernel| (kernel.id.clone(), kernel.btf)))
        && index.programs == package.programs
        && package.program_set.is_none_or(|set| set == index.program_set());
    report.judge(
        name,
        same,
        "has the manifest's kernels and programs",
        "has other kernels or programs than the manifest",
    );
    outcomes(name, bundle, report);
}

fn outcomes(name: &str, bundle: &Bundle, report: &mut Report) {
    match bundle.check_outcomes() {
        Ok(()) => report.add(name, Grade::Good, "its outcomes are those of its records"),
        Err(error) => report.add(name, Grade::Bad, error.to_string()),
    }
}

fn check_pack(name: &str, path: &Path, report: &mut Report) {
    match Pack::open(path).and_then(|pack| pack.verify()) {
        Ok(()) => report.add(name, Grade::Good, "every BTF in it has its digest"),
        Err(error) => report.add(name, Grade::Bad, broken(path, &error).to_string()),
    }
}

fn check_attestations(folder: &Path, manifest: &Manifest, sums: &Checksums, report: &mut Report) {
    let packages = manifest.packages.iter().map(|package| (package.file.clone(), package.zst.sha256));
    let layouts = manifest.layouts.iter().map(|layout| (layout.file.clone(), layout.content.sha256));
    let want: BTreeMap<String, Digest> = packages.chain(layouts).collect();
    for name in [SBOM, PROVENANCE] {
        let Ok(bytes) = std::fs::read(folder.join(name)) else {
            report.add(name, Grade::Bad, "is not there");
            continue;
        };
        let told = attested_files(&bytes).map(BTreeMap::from_iter);
        let covered = sums.find(name) == Some(Digest::of(&bytes));
        report.judge(
            name,
            covered && told == Some(want.clone()),
            "names the files of the release and their digests",
            "does not name the files of the release and their digests",
        );
    }
}

/// A delta pack; the bundle that it makes of its base, where that is given.
fn check_delta(path: &Path, base: Option<&Path>, report: &mut Report) -> Option<Bundle> {
    let name = shown(path);
    let delta = match delta::read(path) {
        Ok(delta) => delta,
        Err(error) => {
            report.add(name, Grade::Bad, error.to_string());
            return None;
        }
    };
    report.add(
        &name,
        Grade::Good,
        format!("has its digest; leads from {} to {}", delta.old.sha256, delta.new.sha256),
    );
    let Some(base) = base else {
        report.add(name, Grade::Unchecked, "give --base to apply it");
        return None;
    };
    let applied = Bundle::open_file(base).and_then(|old| {
        let new = delta.apply(&old)?;
        delta.file(&new, 1)?;
        Ok(new)
    });
    match applied {
        Ok(new) => {
            report.add(&name, Grade::Good, format!("makes the bundle that it promises, of {}", shown(base)));
            outcomes(&name, &new, report);
            Some(new)
        }
        Err(error) => {
            report.add(name, Grade::Bad, broken(base, &error).to_string());
            None
        }
    }
}

/// A bundle or a pack alone.
fn one_file(path: &Path, base: Option<&Path>, report: &mut Report) -> Vec<(String, Bundle)> {
    let name = shown(path);
    if base.is_some() || matches!(Bundle::open_file(path), Err(bundle::Error::IsDelta)) {
        return check_delta(path, base, report).into_iter().map(|bundle| (name.clone(), bundle)).collect();
    }
    if matches!(Pack::open(path), Ok(_) | Err(bundle::PackError::Damaged(_))) {
        check_pack(&name, path, report);
        return Vec::new();
    }
    match Bundle::open_file(path) {
        Ok(bundle) => {
            report.add(&name, Grade::Good, "every file in it has its digest");
            outcomes(&name, &bundle, report);
            vec![(name, bundle)]
        }
        Err(error) => {
            report.add(&name, Grade::Bad, broken(path, &error).to_string());
            Vec::new()
        }
    }
}

/// Relocates the programs with each kernel's minimized BTF, and compares with what the full BTF gave.
fn decide_again(
    name: &str,
    bundle: &Bundle,
    paths: &[PathBuf],
    report: &mut Report,
) -> Result<(), ToolError> {
    let set = at_hand(bundle, paths)?;
    let names: BTreeSet<&str> = set.programs.iter().map(|program| program.name.as_str()).collect();
    for program in &bundle.index().programs {
        if !names.contains(program.name.as_str()) {
            report.add(name, Grade::Unchecked, format!("{} is not among the programs at hand", program.name));
        }
    }
    if names.is_empty() {
        report.add(name, Grade::Bad, "was made for none of the programs at hand");
        return Ok(());
    }
    for kernel in &bundle.index().kernels {
        let id = kernel.entry.key().to_string();
        let records = of_programs(bundle.records_of(kernel).unwrap_or_default(), &names);
        match engine::compare(bundle.btf_of(kernel).unwrap_or_default(), &records, &set) {
            Ok(None) => {
                let count = records.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
                report.add(id, Grade::Good, format!("{count} relocations are decided as on the full BTF"));
            }
            Ok(Some(difference)) => report.add(id, Grade::Bad, difference),
            Err(failure) => report.add(id, Grade::Bad, failure.message),
        }
    }
    Ok(())
}

/// The programs of the bundle that are at hand: those with the digests that it names.
pub(super) fn at_hand(bundle: &Bundle, paths: &[PathBuf]) -> Result<ProgramSet, ToolError> {
    let arch = match bundle.index().arch {
        bundle::Arch::X86_64 => Arch::X86_64,
        bundle::Arch::Arm64 => Arch::Arm64,
    };
    debug_assert_eq!(packaging::arch(arch), bundle.index().arch);
    let files: Vec<ProgramFile> = paths.iter().map(|path| ProgramFile::at(path)).collect();
    let making = Making { store: None, compiler: &SystemClang::default(), builders: &[], told: &|_| () };
    let opened = programs::open(&files, arch, making);
    if let Some((bad, _)) = opened.unusable.first() {
        return Err(ToolError::engine(&bad.what, &bad.reason));
    }
    let by_digest: BTreeMap<Digest, &Arc<Program>> =
        opened.programs.iter().map(|program| (Digest::of(&program.elf), program)).collect();
    let mut programs = Vec::new();
    // In the bundle's order, and by its names, wherever the files are now: so the records have them.
    for wanted in &bundle.index().programs {
        if let Some(program) = by_digest.get(&wanted.sha256) {
            programs
                .push(program.named(&wanted.name).map_err(|error| ToolError::engine(&wanted.name, error))?);
        }
    }
    Ok(ProgramSet { arch, programs, unusable: Vec::new() })
}

/// The records of some objects only.
pub(super) fn of_programs(records: &[u8], names: &BTreeSet<&str>) -> Vec<u8> {
    #[derive(serde::Deserialize)]
    struct Record {
        object: String,
    }
    let lines = records.split_inclusive(|&byte| byte == b'\n').filter(|line| {
        serde_json::from_slice::<Record>(line).is_ok_and(|record| names.contains(record.object.as_str()))
    });
    lines.collect::<Vec<_>>().concat()
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for Check { what, result, said } in &report.checks {
        let word = match result {
            Grade::Good => "good     ",
            Grade::Unchecked => "unchecked",
            Grade::Bad => "BAD      ",
        };
        text += &format!("{word}  {what}: {said}\n");
    }
    let count = |result| report.checks.iter().filter(|check| check.result == result).count();
    text + &format!(
        "{} good, {} unchecked, {} bad\n",
        count(Grade::Good),
        count(Grade::Unchecked),
        count(Grade::Bad)
    )
}
