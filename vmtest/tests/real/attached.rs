//! Programs attached: what they report of what is done in the machine, and what with a BTF that is wrong.

use std::path::{Path, PathBuf};
use std::process::Command;

use vmtest::{Check, Ran, Verdict, VmSpec};

use super::{Setup, check, mutate, release, run, setup};

/// They read of a process, of a connection, of a file.
const PROGRAMS: [&str; 3] = ["signals", "tcpconns", "filelife"];

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

fn checks(setup: &Setup, kernel: &Path, object: &Path) -> [Check; 2] {
    let good = setup.min_btf(kernel, &[object.to_owned()]);
    let damaged = mutate::Btf::parse(good.clone());
    let structs = damaged.structs();
    let (task, _) = structs.iter().find(|(_, name)| name == "task_struct").expect("task_struct");
    [check(object, &good, "good"), check(object, &damaged.moved(*task, 8), "moved")]
}

#[test]
fn attached_programs_report_what_was_done() {
    let Some(setup) = setup("attached_programs_report_what_was_done") else {
        return;
    };
    let kernel =
        setup.kernels.iter().find(|kernel| release(kernel).starts_with("6.1.")).expect("a 6.1 kernel");
    let objects = PROGRAMS.map(|program| compile(&setup, program));
    let checks: Vec<Check> = objects.iter().flat_map(|object| checks(&setup, kernel, object)).collect();
    let (report, verdicts) = run(&VmSpec { attach: true, ..setup.spec(kernel) }, &checks);
    assert_eq!(verdicts.len(), checks.len());
    for verdict in &verdicts {
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
    println!("{} checks, attached: {:.1} s", verdicts.len(), report.seconds);
}
