//! The programs of pipelines/programs: they compile for both architectures, their bytes don't depend on the folder, and the
//! README says truly which relocations are in them. Skipped, aloud, where no clang or libbpf is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kernels::Arch;
use pipeline::project::clang::{Clang, Compiled, Error, Options};
use relo_core::{BpfObject, ReloKind};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/programs")
}

/// A clang for all kinds, and the headers; None, said aloud, without.
fn clang() -> Option<Clang> {
    let missing = match Clang::find() {
        _ if !Path::new("/usr/include/bpf/bpf_helpers.h").is_file() => {
            "bpf/bpf_helpers.h is not installed (Debian package libbpf-dev)".to_owned()
        }
        Ok(clang) if clang.knows_type_matches() => return Some(clang),
        Ok(clang) => format!("{} is too old (Debian package clang-19)", clang.version()),
        Err(error) => error.to_string(),
    };
    assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "{missing}");
    eprintln!("skipped: {missing}");
    None
}

fn strict() -> Options {
    Options { warnings_are_errors: true, ..Options::default() }
}

fn sources() -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut sources: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().ends_with(".bpf.c")).collect();
    sources.sort();
    sources
}

fn program(source: &Path) -> String {
    let name = source.file_name().unwrap().to_str().unwrap();
    name.strip_suffix(".bpf.c").unwrap().to_owned()
}

/// The last column of the README's table, by program.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let rows = readme.lines().skip_while(|line| !line.starts_with("| program |")).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            (cells[0].to_owned(), cells[4].split_whitespace().map(str::to_owned).collect())
        })
        .collect()
}

fn kinds(object: &BpfObject) -> BTreeSet<String> {
    object.relos().iter().map(|relo| ReloKind::from_number(relo.relo.kind).unwrap().to_string()).collect()
}

#[test]
fn all_programs_compile_and_the_readme_knows_their_relocations() {
    let Some(clang) = clang() else { return };
    for arch in Arch::ALL {
        let mut found = BTreeMap::new();
        for source in sources() {
            let compiled = clang.compile(&source, arch, &strict()).unwrap_or_else(|error| panic!("{error}"));
            let object = BpfObject::parse(program(&source), &compiled.bytes).unwrap();
            assert!(!object.programs().is_empty(), "{}", source.display());
            found.insert(program(&source), kinds(&object));
        }
        assert_eq!(found, documented(), "{arch}: found, and what README.md says");
        let all: BTreeSet<String> = found.into_values().flatten().collect();
        let wanted =
            ReloKind::ALL.iter().filter(|kind| **kind != ReloKind::TargetTypeId).map(ReloKind::to_string);
        assert_eq!(all, wanted.collect(), "{arch}");
    }
}

#[test]
fn bytes_do_not_depend_on_the_folder() {
    let Some(clang) = clang() else { return };
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let elsewhere = other.path().join("a folder/with spaces #1");
    std::fs::create_dir_all(&elsewhere).unwrap();
    let compile = |folder: &Path| -> Compiled {
        let headers = folder.join("headers");
        std::fs::create_dir_all(&headers).unwrap();
        std::fs::write(headers.join("who.h"), "static const char *who(void) { return __FILE__; }\n").unwrap();
        for file in ["kernel.h", "event.h", "opens.bpf.c"] {
            std::fs::copy(self::folder().join(file), folder.join(file)).unwrap();
        }
        let source = folder.join("opens.bpf.c");
        let text = std::fs::read_to_string(&source).unwrap();
        std::fs::write(&source, format!("#include <who.h>\n{text}\nconst char *me;\nSEC(\"raw_tp/sys_enter\") int f(void *c) {{ me = who(); return 0; }}\n")).unwrap();
        let options = Options { include: vec![headers], ..strict() };
        clang.compile(&source, Arch::X86_64, &options).unwrap_or_else(|error| panic!("{error}"))
    };
    let (first, second) = (compile(one.path()), compile(&elsewhere));
    assert_eq!(first.bytes, second.bytes);
    assert!(second.deps.contains(&elsewhere.join("kernel.h")), "{:?}", second.deps);
    assert!(second.deps.contains(&elsewhere.join("headers/who.h")), "{:?}", second.deps);
    assert!(second.deps.contains(&PathBuf::from("/usr/include/bpf/bpf_helpers.h")), "{:?}", second.deps);
    assert_eq!(second.clang_version, clang.version());
}

#[test]
fn dependencies_are_known_without_compiling() {
    let Some(clang) = clang() else { return };
    for source in sources() {
        let known = clang.dependencies(&source, Arch::Arm64, &strict()).unwrap();
        assert_eq!(
            known,
            clang.compile(&source, Arch::Arm64, &strict()).unwrap().deps,
            "{}",
            source.display()
        );
    }
}

#[test]
fn what_is_wrong_is_said() {
    let Some(clang) = clang() else { return };
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, text: &str, options: &Options, expected: &[&str]| {
        let source = folder.path().join(name);
        std::fs::write(&source, text).unwrap();
        let error = clang.compile(&source, Arch::X86_64, options).unwrap_err().to_string();
        for part in expected.iter().chain([&name]) {
            assert!(error.contains(part), "{error}");
        }
    };
    let lax = Options::default();
    check(
        "broken.bpf.c",
        "int f(void) { return x; }",
        &lax,
        &["broken.bpf.c:1:22: error: use of undeclared identifier 'x'"],
    );
    check("-o.bpf.c", "x", &lax, &["-o.bpf.c:1:1: error"]);
    check("header.bpf.c", "#include <bpf/absent.h>", &lax, &["libbpf-dev"]);
    check("warned.bpf.c", "static int f(void) { return 0; }", &strict(), &["-Werror", "unused-function"]);

    let source = folder.path().join("warned.bpf.c");
    assert!(clang.compile(&source, Arch::X86_64, &lax).unwrap().warnings.contains("unused-function"));
    let absent = clang.compile(&folder.path().join("absent.bpf.c"), Arch::X86_64, &lax);
    assert!(matches!(absent, Err(Error::NoFile(_))), "{absent:?}");
}

#[test]
fn definitions_reach_the_program() {
    let Some(clang) = clang() else { return };
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("a.bpf.c");
    std::fs::write(&source, "int A = VALUE;\n").unwrap();
    let compile = |value: &str| {
        let options = Options { defines: vec![format!("VALUE={value}")], ..strict() };
        clang.compile(&source, Arch::X86_64, &options).unwrap()
    };
    assert_eq!(compile("1"), compile("1"));
    assert_ne!(compile("1").bytes, compile("2").bytes);
    assert!(compile("1").command.iter().any(|argument| argument == "-D__TARGET_ARCH_x86"));
}
