//! Which BPF programs: files found, compiled or cut out of executables, opened, and named so that no two are alike.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernels::{Arch, Digest, Store};
use relo_core::BpfObject;

use crate::file::glob::Glob;
use crate::file::{PipelineFile, ProgramPattern};
use crate::project::building::Builder;
use crate::project::compiling::{self, Compiler, Object};
use crate::yaml::problem::{Invalid, Problem};

/// Larger than any program; an executable of a vendor can have a few hundred megabytes.
const MAX_FILE: u64 = 1 << 30;

/// A file that holds programs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProgramFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: ProgramKind,
    /// The sets of programs that it belongs to.
    pub sets: BTreeSet<String>,
}

/// What a file is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProgramKind {
    /// `.bpf.c`: compiled, once for each architecture.
    Source,
    /// `.o`: taken as it is, for every architecture.
    Object,
    /// Anything else: an executable that carries skeletons, for its own architecture.
    Executable,
    /// A source that a builder (by index) makes an object of, once for each architecture.
    Built(usize),
}

impl ProgramFile {
    /// A file, by its name.
    pub fn at(path: &Path) -> ProgramFile {
        ProgramFile { kind: kind_of(path), path: path.to_owned(), sets: BTreeSet::new() }
    }
}

/// An object, opened once for all kernels of its architecture.
#[derive(Debug)]
pub struct Program {
    /// Unlike every other's, e.g. `opens.bpf.o`.
    pub name: String,
    /// The ELF file.
    pub elf: Vec<u8>,
    /// Its sha256.
    pub sha256: Digest,
    /// The same, parsed.
    pub object: BpfObject,
    /// The sets of programs that it belongs to.
    pub sets: BTreeSet<String>,
}

impl Program {
    /// The same program by another name.
    pub fn named(self: &Arc<Self>, name: &str) -> Result<Arc<Program>, relo_core::ObjectError> {
        if self.name == name {
            return Ok(self.clone());
        }
        let object = BpfObject::parse(name, &self.elf)?;
        let (elf, sha256, sets) = (self.elf.clone(), self.sha256, self.sets.clone());
        Ok(Arc::new(Program { name: name.to_owned(), elf, sha256, object, sets }))
    }
}

/// A file or object that can't be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The file, and the object in it where there are several.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// Finds the files of all patterns and builders, sorted; a pattern without a file is an error of the pipeline.
pub fn find(file: &PipelineFile) -> Result<(Vec<ProgramFile>, Vec<Builder>), Invalid> {
    let root = file.root();
    let mut found: BTreeMap<(PathBuf, ProgramKind), BTreeSet<String>> = BTreeMap::new();
    for pattern in &file.programs {
        for path in matching(pattern, &root).map_err(|problem| file.invalid(problem))? {
            let kind = kind_of(&path);
            found.entry((path, kind)).or_default().insert(pattern.set.clone());
        }
    }
    let mut builders = Vec::new();
    for entry in file.builders.iter().filter(|entry| entry.when) {
        let (builder, sources) = Builder::find(file, entry)?;
        for path in sources {
            let kind = ProgramKind::Built(builders.len());
            found.entry((path, kind)).or_default().insert(entry.set.clone());
        }
        builders.push(builder);
    }
    let file = |((path, kind), sets)| ProgramFile { path, kind, sets };
    Ok((found.into_iter().map(file).collect(), builders))
}

fn matching(pattern: &ProgramPattern, root: &Path) -> Result<Vec<PathBuf>, Problem> {
    let problem = |reason: String| Problem::new(pattern.at, format!("`{}`: {reason}", pattern.glob));
    let glob = Glob::new(&pattern.glob).map_err(|reason| problem(reason.to_owned()))?;
    let paths = glob.files(root).map_err(|error| problem(error.to_string()))?;
    if !paths.is_empty() {
        return Ok(paths);
    }
    let begin = format!("paths begin at {}", root.display());
    if !glob.is_plain() {
        return Err(problem("no file matches".to_owned()).help(begin));
    }
    let (path, beside) = (Path::new(&pattern.glob), siblings(&root.join(&pattern.glob)));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let problem = problem("no such file".to_owned());
    Err(match beside.iter().any(|known| crate::yaml::problem::is_close(&name, known)) {
        true => problem.did_you_mean(&name, beside.iter().map(String::as_str)),
        false => problem.help(begin),
    })
}

/// The names of all files beside a path.
fn siblings(path: &Path) -> Vec<String> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn kind_of(path: &Path) -> ProgramKind {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(".c") {
        ProgramKind::Source
    } else if name.ends_with(".o") {
        ProgramKind::Object
    } else {
        ProgramKind::Executable
    }
}

/// Where objects come from.
#[derive(Clone, Copy)]
pub struct Making<'a> {
    /// What was compiled before.
    pub store: Option<&'a Store>,
    /// What compiles.
    pub compiler: &'a dyn Compiler,
    /// The pipeline's builders, by the index that files have.
    pub builders: &'a [&'a dyn Compiler],
    /// Hears of each file that is about to be compiled, and of warnings.
    pub told: &'a (dyn Fn(Told<'_>) + Sync),
}

/// What is told of a source.
#[derive(Debug, Clone, Copy)]
pub enum Told<'a> {
    /// It is compiled now.
    Compiles(&'a Path),
    /// The compiler says something of it.
    Warns(&'a Path, &'a str),
}

/// The programs of an architecture.
#[derive(Debug, Default)]
pub struct Opened {
    /// Sorted by name.
    pub programs: Vec<Arc<Program>>,
    /// What can't be used, with the sets that it would belong to.
    pub unusable: Vec<(Unusable, BTreeSet<String>)>,
    /// How many sources had to be compiled.
    pub compiled: usize,
}

/// Opens all files for an architecture. What can't be used is reported and costs the others nothing.
pub fn open(files: &[ProgramFile], arch: Arch, making: Making<'_>) -> Opened {
    let mut found: Vec<(String, &ProgramFile, Vec<u8>)> = Vec::new();
    let mut opened = Opened::default();
    for file in files {
        let path = &file.path;
        let objects = match file.kind {
            ProgramKind::Source => {
                making.object(file, arch, &mut opened.compiled).map(|elf| vec![(stem(path), elf)])
            }
            ProgramKind::Built(_) => {
                let name = stem(&path.with_extension("o"));
                making.object(file, arch, &mut opened.compiled).map(|elf| vec![(name, elf)])
            }
            ProgramKind::Object => read(path).map(|elf| vec![(stem(path), elf)]),
            ProgramKind::Executable => read(path).and_then(|bytes| embedded(path, &bytes, arch)),
        };
        match objects {
            Ok(objects) => found.extend(objects.into_iter().map(|(name, elf)| (name, file, elf))),
            Err(reason) => {
                opened
                    .unusable
                    .push((Unusable { what: path.display().to_string(), reason }, file.sets.clone()));
            }
        }
    }
    parse_all(found, &mut opened);
    opened
}

fn parse_all(found: Vec<(String, &ProgramFile, Vec<u8>)>, opened: &mut Opened) {
    let named: Vec<(&str, &Path)> =
        found.iter().map(|(name, file, _)| (name.as_str(), file.path.as_path())).collect();
    let names = distinct(&named);
    for ((_, file, elf), name) in found.into_iter().zip(names) {
        let sets = file.sets.clone();
        match BpfObject::parse(name.as_str(), &elf) {
            Ok(object) => {
                let sha256 = Digest::of(&elf);
                opened.programs.push(Arc::new(Program { name, sha256, elf, object, sets }));
            }
            Err(error) => {
                let what = format!("{} ({name})", file.path.display());
                opened.unusable.push((Unusable { what, reason: error.to_string() }, sets));
            }
        }
    }
    opened.programs.sort_by(|a, b| a.name.cmp(&b.name));
}

impl<'a> Making<'a> {
    /// What makes an object of a file.
    fn compiler_of(&self, file: &ProgramFile) -> &'a dyn Compiler {
        match file.kind {
            ProgramKind::Built(index) => self.builders.get(index).copied().unwrap_or(self.compiler),
            ProgramKind::Source | ProgramKind::Object | ProgramKind::Executable => self.compiler,
        }
    }

    /// The object of a source as it was made before.
    fn kept(&self, file: &ProgramFile, arch: Arch) -> Option<Object> {
        let compiler = self.compiler_of(file);
        let store = self.store.filter(|_| compiler.is_pure())?;
        compiling::find(store, &file.path, arch, &compiler.identity(arch).ok()?)
    }

    /// The object of a source: as it was compiled before, or compiled now.
    fn object(&self, file: &ProgramFile, arch: Arch, compiled: &mut usize) -> Result<Vec<u8>, String> {
        let (source, compiler) = (&file.path, self.compiler_of(file));
        let identity = compiler.identity(arch)?;
        let before = self.kept(file, arch);
        let is_new = before.is_none();
        let object: Object = match before {
            Some(object) => object,
            None => {
                (self.told)(Told::Compiles(source));
                *compiled += 1;
                compiler.compile(source, arch)?
            }
        };
        if !object.warnings.trim().is_empty() {
            (self.told)(Told::Warns(source, object.warnings.trim_end()));
        }
        if let Some(store) = self.store.filter(|_| is_new) {
            compiling::keep(store, source, arch, &identity, &object);
        }
        Ok(object.bytes)
    }
}

/// What a plan can say of the programs of an architecture: those that are there, and the sources that must be compiled.
pub fn look(files: &[ProgramFile], arch: Arch, making: Making<'_>) -> (Opened, Vec<PathBuf>) {
    let is_missing = |file: &ProgramFile| match file.kind {
        ProgramKind::Source | ProgramKind::Built(_) => making.kept(file, arch).is_none(),
        ProgramKind::Object | ProgramKind::Executable => false,
    };
    let (missing, there): (Vec<ProgramFile>, Vec<ProgramFile>) = files.iter().cloned().partition(is_missing);
    let missing = missing.into_iter().map(|file| file.path).collect();
    (open(&there, arch, Making { compiler: &Kept(making.compiler), ..making }), missing)
}

/// A compiler that has an identity, and compiles nothing.
struct Kept<'a>(&'a dyn Compiler);

impl Compiler for Kept<'_> {
    fn identity(&self, arch: Arch) -> Result<String, String> {
        self.0.identity(arch)
    }

    fn compile(&self, source: &Path, _: Arch) -> Result<Object, String> {
        Err(format!("{} changes while it is looked at", source.display()))
    }
}

/// The name without what says how it is stored: `opens` of `opens.bpf.c`, `opens.bpf.o` and `opens`.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".c").or_else(|| name.strip_suffix(".o")).unwrap_or(&name);
    name.strip_suffix(".bpf").unwrap_or(name).to_owned()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE {
        return Err(format!("{size} bytes are too many for a program; {MAX_FILE} are the limit"));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

/// The skeletons of an executable; none when it is for another architecture.
fn embedded(path: &Path, bytes: &[u8], arch: Arch) -> Result<Vec<(String, Vec<u8>)>, String> {
    if machine(bytes).ok_or("neither a BPF source (.bpf.c), an object (.o) nor an executable")?
        != machine_of(arch)
    {
        return Ok(Vec::new());
    }
    let objects = relo_core::embedded_objects(bytes);
    let name = stem(path);
    match objects.as_slice() {
        [] => Err("the executable carries no BPF object".to_owned()),
        [object] => Ok(vec![(name, object.bytes.to_vec())]),
        several => {
            let numbered = several.iter().enumerate();
            Ok(numbered
                .map(|(index, object)| (format!("{name}.{}", index + 1), object.bytes.to_vec()))
                .collect())
        }
    }
}

/// e_machine of a little-endian ELF file.
fn machine(bytes: &[u8]) -> Option<u16> {
    let header = bytes.first_chunk::<20>()?;
    (header.starts_with(b"\x7fELF") && header[5] == 1).then(|| u16::from_le_bytes([header[18], header[19]]))
}

fn machine_of(arch: Arch) -> u16 {
    match arch {
        Arch::X86_64 => 62,
        Arch::Arm64 => 183,
    }
}

/// `NAME.bpf.o`, with as many folders in front as it takes to tell equal names apart.
fn distinct(objects: &[(&str, &Path)]) -> Vec<String> {
    let mut names: Vec<String> = objects.iter().map(|(name, _)| format!("{name}.bpf.o")).collect();
    for folders in 1..16 {
        let twice = repeated(&names);
        if twice.is_empty() {
            return names;
        }
        for index in twice {
            let (name, path) = objects[index];
            names[index] = format!("{}{name}.bpf.o", prefix(path, folders));
        }
    }
    // Objects of one file have numbers, so only files without enough folders are left.
    for index in repeated(&names) {
        names[index] = format!("{}.{}", index + 1, names[index]);
    }
    names
}

/// The places of all names that are there more than once.
fn repeated(names: &[String]) -> Vec<usize> {
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, name) in names.iter().enumerate() {
        places.entry(name).or_default().push(index);
    }
    places.into_values().filter(|places| places.len() > 1).flatten().collect()
}

/// The last `count` folders, joined so that the result is a plain file name.
fn prefix(path: &Path, count: usize) -> String {
    let folders: Vec<_> = path.parent().into_iter().flat_map(Path::components).collect();
    let names = folders[folders.len().saturating_sub(count)..].iter();
    names
        .filter_map(|part| match part {
            std::path::Component::Normal(name) => Some(format!("{}-", name.to_string_lossy())),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_plain() {
        let check = |paths: &[&str], wanted: &[&str]| {
            let stems: Vec<String> = paths.iter().map(|path| stem(Path::new(path))).collect();
            let objects: Vec<_> = stems.iter().map(String::as_str).zip(paths.iter().map(Path::new)).collect();
            assert_eq!(distinct(&objects), wanted, "{paths:?}");
        };
        check(&["p/opens.bpf.c", "q/execs.bpf.o"], &["opens.bpf.o", "execs.bpf.o"]);
        check(&["p/opens.bpf.c", "q/opens"], &["p-opens.bpf.o", "q-opens.bpf.o"]);
        check(&["a/p/x.o", "b/p/x.o", "y.o"], &["a-p-x.bpf.o", "b-p-x.bpf.o", "y.bpf.o"]);
        check(&["p/x.o", "p/x.bpf.o"], &["1.p-x.bpf.o", "2.p-x.bpf.o"]);
        check(&["/x.o", "x.o"], &["1.x.bpf.o", "2.x.bpf.o"]);
    }

    #[test]
    fn one_bad_file_does_not_cost_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            ProgramFile { kind: kind_of(&path), path, sets: BTreeSet::new() }
        };
        let elf = |machine: u8| {
            let mut bytes = b"\x7fELF\x02\x01".to_vec();
            bytes.resize(64, 0);
            bytes[18] = machine;
            bytes
        };
        let files = [
            put("a.bpf.c", b"int x;"),
            put("b.o", b"not an object"),
            put("c", b"#!/bin/sh"),
            put("d", &elf(62)),
            put("e", &elf(183)),
        ];
        let compiler = |_: &Path, _: Arch| Err("clang: no".to_owned());
        let opened = open(
            &files,
            Arch::X86_64,
            Making { store: None, compiler: &compiler, builders: &[], told: &|_| () },
        );
        assert!(opened.programs.is_empty());
        let reasons: Vec<&str> = opened.unusable.iter().map(|(bad, _)| bad.reason.as_str()).collect();
        assert_eq!(reasons.len(), 4, "{reasons:?}");
        assert_eq!(reasons[0], "clang: no");
        assert!(reasons[1].starts_with("neither a BPF source"), "{reasons:?}");
        assert_eq!(reasons[2], "the executable carries no BPF object");
    }

    #[test]
    fn a_pattern_without_files_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.yaml");
        let text = "version: 1\nname: x\nkernels: [{uses: debian}]\nprograms: [\"*.bpf.c\"]\nsteps: [{uses: record}]\n";
        let file = PipelineFile::parse(&path, text, &Default::default()).unwrap();
        let error = find(&file).unwrap_err().to_string();
        assert!(error.contains("p.yaml:4:12: `*.bpf.c`: no file matches"), "{error}");
        std::fs::write(folder.path().join("b.bpf.c"), "").unwrap();
        std::fs::write(folder.path().join("a.bpf.c"), "").unwrap();
        let (found, _) = find(&file).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found[0].path.ends_with("a.bpf.c") && found[0].kind == ProgramKind::Source);
    }
}
