//! Our minimized BTFs against those of `bpftool gen min_core_btf`: every kernel, every object, type for type.
//!
//! Runs with `BTFPIPE_REAL=1`, bpftool, Debian's libbpf-tools, and `BTFPIPE_VM_BTFS`, a folder with BTFs as
//! `btfpipe extract` writes them; otherwise says what is missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use btf::Btf;
use kernels::Arch;
use pipeline::project::clang::{Clang, Options};
use relo_core::{BpfObject, MinimizeOptions};

/// An object as a file and parsed.
struct Case {
    path: PathBuf,
    object: BpfObject,
}

#[test]
fn real_equal_to_bpftool() {
    let Some(btfs) = setup() else { return };
    let work = tempfile::tempdir().unwrap();
    let tools = libbpf_tools(&work.path().join("tools"));
    assert!(tools.len() >= 50, "libbpf-tools has only {} objects", tools.len());
    let mut ours: BTreeMap<&str, Vec<Case>> = BTreeMap::new();
    for (name, arch) in [("x86_64", Arch::X86_64), ("arm64", Arch::Arm64)] {
        ours.insert(name, own_programs(&work.path().join(name), arch));
    }
    let mut more = Vec::new();
    for path in &btfs {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(path).unwrap();
        let full = Btf::parse(&bytes).unwrap();
        let ours = &ours[if name.contains("_arm64_") { "arm64" } else { "x86_64" }];
        let mut equal = 0;
        for set in [ours, &tools] {
            let single = set.iter().map(std::slice::from_ref);
            for cases in single.chain([set.as_slice()]) {
                match difference(&full, path, cases, &work.path().join("min.btf")) {
                    None => equal += 1,
                    Some(why) => more.push(format!("{name}: {why}")),
                }
            }
        }
        println!("{name}: {equal} minimized BTFs equal to bpftool's");
    }
    // Where bpftool's BTF would decide otherwise, ours keeps more; each such case is told.
    more.iter().for_each(|line| println!("ours keeps more: {line}"));
}

fn setup() -> Option<Vec<PathBuf>> {
    if std::env::var_os("BTFPIPE_REAL").is_none_or(|value| value != "1") {
        println!("skipped: set BTFPIPE_REAL=1 to compare with bpftool");
        return None;
    }
    let folder = std::env::var_os("BTFPIPE_VM_BTFS").expect("BTFPIPE_REAL=1 wants BTFPIPE_VM_BTFS as well");
    assert!(Command::new(bpftool()).arg("version").output().is_ok(), "BTFPIPE_REAL=1 wants bpftool");
    let btfs = list(Path::new(&folder));
    assert!(!btfs.is_empty());
    Some(btfs)
}

/// Debian keeps it where not every PATH looks.
fn bpftool() -> &'static str {
    if Path::new("/usr/sbin/bpftool").exists() { "/usr/sbin/bpftool" } else { "bpftool" }
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The objects inside of the programs of Debian's libbpf-tools.
fn libbpf_tools(folder: &Path) -> Vec<Case> {
    std::fs::create_dir(folder).unwrap();
    let listed = Command::new("dpkg").args(["-L", "libbpf-tools"]).output().unwrap().stdout;
    let listed = String::from_utf8(listed).unwrap();
    let programs =
        listed.lines().map(Path::new).filter(|path| path.parent().is_some_and(|p| p.ends_with("sbin")));
    let mut cases = Vec::new();
    for program in programs.filter(|path| path.is_file() && !path.is_symlink()) {
        let bytes = std::fs::read(program).unwrap();
        for object in relo_core::embedded_objects(&bytes) {
            cases.push(case(folder, &program.file_name().unwrap().to_string_lossy(), object.bytes));
        }
    }
    cases
}

fn own_programs(folder: &Path, arch: Arch) -> Vec<Case> {
    std::fs::create_dir(folder).unwrap();
    let clang = Clang::find().unwrap();
    let sources = list(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/programs"));
    let sources = sources.into_iter().filter(|path| path.to_string_lossy().ends_with(".bpf.c"));
    sources
        .map(|source| {
            let compiled = clang.compile(&source, arch, &Options::default()).unwrap();
            case(folder, &source.file_stem().unwrap().to_string_lossy(), &compiled.bytes)
        })
        .collect()
}

fn case(folder: &Path, name: &str, elf: &[u8]) -> Case {
    let path = folder.join(format!("{name}.o"));
    std::fs::write(&path, elf).unwrap();
    Case { object: BpfObject::parse(name, elf).unwrap(), path }
}

/// None when both are equal; else why ours keeps more, after checking that with bpftool's rule it is equal.
fn difference(full: &Btf<'_>, path: &Path, cases: &[Case], out: &Path) -> Option<String> {
    let names: Vec<&str> = cases.iter().map(|case| case.object.name()).collect();
    let mut bpftool = Command::new(bpftool());
    bpftool.args(["gen", "min_core_btf"]).arg(path).arg(out).args(cases.iter().map(|case| &case.path));
    let output = bpftool.output().unwrap();
    assert!(output.status.success(), "bpftool on {names:?}: {}", String::from_utf8_lossy(&output.stderr));
    let theirs = std::fs::read(out).unwrap();
    let objects: Vec<&BpfObject> = cases.iter().map(|case| &case.object).collect();
    let ours = relo_core::minimize(full, &objects, MinimizeOptions::default()).unwrap();
    if ours.bytes == theirs {
        return None;
    }
    let strict = MinimizeOptions { strict_bpftool: true, ..MinimizeOptions::default() };
    let strict = relo_core::minimize(full, &objects, strict).unwrap();
    assert!(strict.bytes == theirs, "{}: {names:?}: not bpftool's even by bpftool's rule", path.display());
    let reasons = ours.proofs.iter().zip(&objects).flat_map(|(proof, object)| {
        proof.kept_for.iter().map(move |relo| format!("{} relocation {relo}", object.name()))
    });
    let reasons: Vec<String> = reasons.collect();
    assert!(!reasons.is_empty(), "{}: {names:?}: ours keeps more without a reason", path.display());
    Some(reasons.join(", "))
}
