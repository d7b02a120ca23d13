//! Programs attached: what they report of what is done in the machine, and what with a BTF that is wrong.

use std::path::{Path, PathBuf};
use std::process::Command;

use vmtest::{Check, ObjectVerdict, Ran, StateFolder, Verdict, VmSpec};

use super::{Setup, check, mutate, run, setup};

/// They read of a process, of a connection, of a file, of a module.
const PROGRAMS: [&str; 4] = ["signals", "tcpconns", "filelife", "modules"];
/// For which the machine gets a disk, and where it reads of it.
const WITH_DISK: (&str, &str) = ("biolat", "request");

fn compile(setup: &Setup, program: &str) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/programs");
    let to = setup.work.path().join(format!("{program}.bpf.o"));
    let mut clang = Command::new("clang-19");
    clang.args(["-target", "bpf", "-mcpu=v2", "-D__TARGET_ARCH_x86", "-g", "-O2"]);
    clang.args(["-idirafter", "/usr/include/x86_64-linux-gnu", "-c"]);
    clang.arg(sources.join(format!("{program}.bpf.c"))).arg("-o").arg(&to);
    assert!(clang.status().expect("clang").success());
    to
}

fn checks(setup: &Setup, kernel: &Path, object: &Path, moved: &str) -> [Check; 2] {
    let good = setup.min_btf(kernel, &[object.to_owned()]);
    let damaged = mutate::Btf::parse(good.clone());
    let structs = damaged.structs();
    let (moved, _) = structs.iter().find(|(_, name)| name == moved).expect("a struct that it reads");
    [check(object, &good, "good"), check(object, &damaged.moved(*moved, 8), "moved")]
}

#[test]
fn attached_programs_report_what_was_done() {
    let Some(setup) = setup("attached_programs_report_what_was_done") else {
        return;
    };
    let kernel = setup.kernel("6.1.");
    let objects = PROGRAMS.map(|program| compile(&setup, program));
    let checks: Vec<Check> =
        objects.iter().flat_map(|object| checks(&setup, kernel, object, "task_struct")).collect();
    let (report, verdicts) = run(&VmSpec { attach: true, ..setup.spec(kernel) }, &checks);
    assert_eq!(verdicts.len(), checks.len());
    assert_found(&verdicts);
    println!("{} checks, attached: {:.1} s", verdicts.len(), report.seconds);
}

/// All programs report with a good BTF, and none with the other.
fn assert_found(verdicts: &[ObjectVerdict]) {
    for verdict in verdicts {
        assert!(!verdict.programs.is_empty(), "{verdict:#?}");
        let attached = |ran| {
            verdict
                .programs
                .iter()
                .all(|program| program.attached.as_ref().is_some_and(|done| done.ran == ran))
        };
        match verdict.label.as_str() {
            "good" => assert!(attached(Ran::Reported) && !verdict.verdict.is_failure(), "{verdict:#?}"),
            _ => assert!(attached(Ran::Wrong) && verdict.verdict == Verdict::Mismatch, "{verdict:#?}"),
        }
    }
}

/// A machine that is kept gets its disk when it is up: no state can have one.
#[test]
fn a_kept_machine_attaches_as_a_booted_one() {
    let Some(setup) = setup("a_kept_machine_attaches_as_a_booted_one") else {
        return;
    };
    let kernel = setup.kernel("6.1.");
    let (program, moved) = WITH_DISK;
    let checks = checks(&setup, kernel, &compile(&setup, program), moved);
    let states = StateFolder { folder: setup.work.path().join("states"), limit: 1 << 30 };
    let mut spec = VmSpec { attach: true, states: Some(states), ..setup.spec(kernel) };
    spec.kernel = setup.unpacked(kernel);
    for restored in [false, true] {
        let (report, verdicts) = run(&spec, &checks);
        assert_eq!(report.attempts.last().map(|last| last.restored), Some(restored));
        assert_eq!(verdicts.len(), checks.len());
        assert_found(&verdicts);
        println!("restored {restored}: {:.1} s", report.seconds);
    }
}
