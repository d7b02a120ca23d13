//! Real QEMU, real kernels, real libbpf. Slow; runs only with `BTFPIPE_REAL=1` and
//! - `BTFPIPE_GUEST_X86_64`: the guest program (also embedded when set at build time),
//! - `BTFPIPE_GUEST_ARM64`: the same for arm64, without which those kernels are left out, aloud,
//! - `BTFPIPE_OLD_LIBBPF_X86_64` and `BTFPIPE_OLD_LIBBPF_ARM64`: the programs with the older libbpf,
//! - `BTFPIPE_VM_KERNELS`: a folder with kernels as `btfpipe extract` names them,
//! - `BTFPIPE_VM_BTFS`: a folder with their BTFs, `<release>.btf`,
//! - `BTFPIPE_VM_OBJECTS`: a folder with BPF objects; those inside of Debian's libbpf-tools if not set,
//! - `BTFPIPE_VM_ONLY`: only kernels with this text in their names, if set,
//!
//! and with bpftool, whose min_core_btf is the judge here: what it makes is right for these objects.

mod attached;
mod damage;
mod foretold;
mod mutate;
mod old_libbpf;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;
use std::{env, fs};

use vmtest::{
    Accel, Arch, Check, Instructions, Libbpf, ObjectVerdict, Outcome, StateFolder, Verdict, VmEvent,
    VmReport, VmSpec,
};

struct Setup {
    kernels: Vec<PathBuf>,
    arm64: Vec<PathBuf>,
    btfs: PathBuf,
    objects: Vec<PathBuf>,
    work: tempfile::TempDir,
}

/// `None`, said aloud, where nobody asked for it.
fn setup(test: &str) -> Option<Setup> {
    if env::var_os("BTFPIPE_REAL").is_none_or(|value| value != "1") {
        println!("{test} skipped: BTFPIPE_REAL=1 is not set");
        return None;
    }
    let folder = |name: &str| match env::var_os(name) {
        Some(folder) => PathBuf::from(folder),
        None => panic!("BTFPIPE_REAL=1 wants {name} as well"),
    };
    let (kernels, btfs) = (folder("BTFPIPE_VM_KERNELS"), folder("BTFPIPE_VM_BTFS"));
    if vmtest::guest(Arch::X86_64).is_none() {
        folder("BTFPIPE_GUEST_X86_64");
    }
    let only = env::var("BTFPIPE_VM_ONLY").unwrap_or_default();
    let named = list(&kernels).into_iter().filter(|path| path.to_string_lossy().contains(&only));
    let (arm64, kernels) = named.partition(|path| name(path).contains("_arm64_"));
    let work = tempfile::tempdir().expect("temporary folder");
    let objects = match env::var_os("BTFPIPE_VM_OBJECTS") {
        Some(folder) => list(Path::new(&folder)),
        None => embedded_objects(&work.path().join("objects")),
    };
    assert!(!objects.is_empty(), "BTFPIPE_REAL=1 wants objects: install libbpf-tools");
    Some(Setup { kernels, arm64, btfs, objects, work })
}

/// The objects inside of the programs of Debian's libbpf-tools, each once.
fn embedded_objects(folder: &Path) -> Vec<PathBuf> {
    fs::create_dir(folder).expect("folder");
    let listed = Command::new("dpkg").args(["-L", "libbpf-tools"]).output().expect("dpkg").stdout;
    let listed = String::from_utf8(listed).expect("names of files");
    let programs =
        listed.lines().map(Path::new).filter(|path| path.parent().is_some_and(|p| p.ends_with("sbin")));
    for program in programs.filter(|path| !path.is_symlink()) {
        let bytes = fs::read(program).expect("program");
        for object in relo_core::embedded_objects(&bytes) {
            fs::write(folder.join(format!("{}.bpf.o", name(program))), object.bytes).expect("object");
        }
    }
    list(folder)
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    files
}

impl Setup {
    fn spec(&self, kernel: &Path) -> VmSpec {
        let mut spec = VmSpec::new(Arch::X86_64, kernel, self.work.path());
        spec.accel = Accel::Tcg;
        spec.guest = env::var_os("BTFPIPE_GUEST_X86_64").map(PathBuf::from);
        spec.old_libbpf = env::var_os("BTFPIPE_OLD_LIBBPF_X86_64").map(PathBuf::from);
        spec
    }

    /// The first of a series, e.g. `6.1.`.
    fn kernel(&self, series: &str) -> &Path {
        let found = self.kernels.iter().find(|kernel| release(kernel).starts_with(series));
        found.unwrap_or_else(|| panic!("BTFPIPE_VM_KERNELS has no kernel {series}x"))
    }

    /// Its ELF file, as the step `verify` boots it.
    fn unpacked(&self, kernel: &Path) -> PathBuf {
        let vmlinux = self.work.path().join("vmlinux");
        let image = fs::read(kernel).expect("kernel");
        fs::write(&vmlinux, kernels::image::unpack(&image).expect("image").bytes).expect("vmlinux");
        vmlinux
    }

    fn full_btf(&self, kernel: &Path) -> PathBuf {
        self.btfs.join(format!("{}.btf", name(kernel)))
    }

    /// What bpftool keeps of a kernel's BTF for these objects.
    fn min_btf(&self, kernel: &Path, objects: &[PathBuf]) -> Vec<u8> {
        let out = self.work.path().join("min.btf");
        let mut bpftool = Command::new("bpftool");
        bpftool.args(["gen", "min_core_btf"]).arg(self.full_btf(kernel)).arg(&out).args(objects);
        assert!(bpftool.status().expect("bpftool").success());
        fs::read(out).expect("min.btf")
    }

    fn objects_named(&self, names: &[&str]) -> Vec<PathBuf> {
        let named = |path: &&PathBuf| names.contains(&name(path).trim_end_matches(".bpf.o"));
        self.objects.iter().filter(named).cloned().collect()
    }
}

fn name(path: &Path) -> String {
    path.file_name().expect("file name").to_string_lossy().into_owned()
}

/// The release of a kernel's file: `btfpipe extract` puts distribution, version and architecture before it.
fn release(kernel: &Path) -> String {
    let name = name(kernel);
    name.rsplit_once("x86_64_").map_or(name.clone(), |(_, release)| release.to_owned())
}

fn check(object: &Path, btf: &[u8], label: &str) -> Check {
    Check {
        object: name(object),
        elf: fs::read(object).expect("object"),
        btf: btf.to_vec(),
        label: label.to_owned(),
        libbpf: Libbpf::Current,
        type_id_insns: Vec::new(),
    }
}

/// Runs and prints times and verdicts.
fn run(spec: &VmSpec, checks: &[Check]) -> Answer {
    let start = Instant::now();
    let report = vmtest::run(spec, checks, &mut |event| match event {
        VmEvent::CheckBegin { .. } | VmEvent::CheckEnd { .. } => {}
        event => println!("{:6.2} s {event:?}", start.elapsed().as_secs_f64()),
    });
    for attempt in &report.attempts {
        println!(
            "{} ready {:?} total {:.2} {:?}",
            attempt.machine, attempt.ready_seconds, attempt.seconds, attempt.failure
        );
    }
    let Outcome::Done(verdicts) = report.outcome.clone() else {
        let last = report.attempts.last();
        panic!(
            "{:?}\n{:#?}",
            report.outcome,
            last.map(|last| (&last.command, &last.console, &last.qemu_stderr))
        );
    };
    for verdict in &verdicts {
        let details = verdict.programs.iter().filter_map(|program| {
            let first = program.detail.as_deref()?.lines().next()?.to_owned();
            Some(format!("{} {}: {first}", program.program, program.verdict))
        });
        println!(
            "{:24} {:10} {:18} {:?} {}",
            verdict.object,
            verdict.label,
            verdict.verdict.to_string(),
            verdict.millis,
            details.collect::<Vec<_>>().join(" | ")
        );
    }
    (report, verdicts)
}

/// A report, and the verdicts in it.
type Answer = (VmReport, Vec<ObjectVerdict>);

impl Setup {
    /// What a kernel says of these objects, each with what bpftool keeps for all of them.
    fn ask(&self, kernel: &Path, objects: &[PathBuf]) -> Answer {
        let btf = self.min_btf(kernel, objects);
        let checks: Vec<Check> = objects.iter().map(|object| check(object, &btf, "min")).collect();
        run(&self.spec(kernel), &checks)
    }

    /// What each kernel says of all objects: asked once, as it takes half a minute, for every test that looks at it.
    fn answers(&self) -> &'static [Answer] {
        static ANSWERS: OnceLock<Vec<Answer>> = OnceLock::new();
        ANSWERS.get_or_init(|| self.kernels.iter().map(|kernel| self.ask(kernel, &self.objects)).collect())
    }
}

#[test]
fn every_object_is_identical_on_every_kernel() {
    let Some(setup) = setup("every_object_is_identical_on_every_kernel") else {
        return;
    };
    assert!(!setup.kernels.is_empty() && !setup.objects.is_empty());
    assert_eq!(setup.answers().len(), setup.kernels.len());
    for (kernel, (report, verdicts)) in setup.kernels.iter().zip(setup.answers()) {
        assert_eq!(report.kernel_release, Some(release(kernel)));
        let full = fs::read(setup.full_btf(kernel)).expect("full BTF");
        let seen = report.kernel_btf.expect("kernel BTF");
        assert_eq!((seen.size, seen.crc32), (full.len() as u64, crc32fast::hash(&full)));
        let mut counts = BTreeMap::new();
        for verdict in verdicts {
            *counts.entry(verdict.verdict).or_insert(0) += 1;
            assert!(verdict.is_identical() && !verdict.verdict.is_failure(), "{verdict:#?}");
        }
        println!(
            "{}: {} objects identical, {counts:?}, {:.1} s",
            name(kernel),
            verdicts.len(),
            report.seconds
        );
    }
}

/// The machine type of the last boot runs real kernels too; one is enough to see that it is reached.
#[test]
fn the_last_machine_answers_when_the_others_fail() {
    let Some(setup) = setup("the_last_machine_answers_when_the_others_fail") else {
        return;
    };
    let script = setup.work.path().join("qemu");
    let text = "#!/bin/sh\ncase $* in *'-M microvm '*) exec qemu-system-x86_64 \"$@\" ;; esac\nexit 1\n";
    fs::write(&script, text).expect("script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("mode");
    let objects = setup.objects_named(&["opensnoop"]);
    for kernel in setup.kernels.iter().take(1) {
        let mut spec = setup.spec(kernel);
        spec.qemu = Some(script.clone());
        spec.fallback_kernel = Some(std::mem::replace(&mut spec.kernel, setup.unpacked(kernel)));
        let (report, verdicts) = run(&spec, &[check(&objects[0], &setup.min_btf(kernel, &objects), "min")]);
        let machines: Vec<_> = report.attempts.iter().map(|attempt| attempt.machine.as_str()).collect();
        assert_eq!(machines, ["q35", "pc", "microvm"]);
        assert_eq!(report.kernel_release, Some(release(kernel)));
        assert!(verdicts[0].is_identical(), "{verdicts:#?}");
    }
}

/// The objects of the matrix: kprobes, tracepoints, one guarded by field_exists, one with fentry.
const MATRIX: [&str; 5] = ["biolatency", "opensnoop", "tcpconnect", "oomkill", "capable"];

/// Compiles the source next to this file.
fn compile(setup: &Setup, source: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real").join(source);
    let to = setup.work.path().join(source.replace(".c", ".o"));
    let mut clang = Command::new("clang-19");
    clang.args(["-target", "bpf", "-mcpu=v3", "-g", "-O2", "-c"]).arg(from).arg("-o").arg(&to);
    assert!(clang.status().expect("clang").success());
    to
}

/// The instructions that hold type ids of the kernel.
fn type_id_insns(object: &Path) -> Vec<(String, u32)> {
    let bytes = fs::read(object).expect("object");
    let object = relo_core::BpfObject::parse("o", &bytes).expect("object");
    let target_type_id = relo_core::ReloKind::TargetTypeId as u32;
    let relos = object.relos().iter().filter(|relo| relo.relo.kind == target_type_id);
    relos.map(|relo| (object.section_of(relo).to_owned(), relo.relo.insn_off / 8)).collect()
}

#[test]
fn type_ids_are_told_apart_from_mismatches() {
    let Some(setup) = setup("type_ids_are_told_apart_from_mismatches") else {
        return;
    };
    let kernel = setup.kernel("6.1.");
    let object = compile(&setup, "type_ids.bpf.c");
    let btf = setup.min_btf(kernel, std::slice::from_ref(&object));
    let damaged = mutate::Btf::parse(btf.clone());
    let (task, _) =
        damaged.structs().into_iter().find(|(_, name)| name == "task_struct").expect("task_struct");
    let insns = type_id_insns(&object);
    assert_eq!(insns.len(), 3);
    let exempt = |check: Check| Check { type_id_insns: insns.clone(), ..check };
    let checks = [
        exempt(check(&object, &btf, "exempt")),
        check(&object, &btf, "not exempt"),
        exempt(check(&object, &damaged.moved(task, 8), "moved")),
    ];
    let (_, verdicts) = run(&setup.spec(kernel), &checks);
    let of =
        |index: usize| verdicts[index].programs.iter().map(|program| program.verdict).collect::<Vec<_>>();
    assert_eq!(of(0), [Verdict::TypeIdReloc, Verdict::Identical, Verdict::NeedsKernelBtf]);
    assert_eq!(of(1), [Verdict::Mismatch, Verdict::Identical, Verdict::NeedsKernelBtf]);
    assert_eq!(of(2), [Verdict::TypeIdReloc, Verdict::Mismatch, Verdict::NeedsKernelBtf]);
    println!("{:#?}", verdicts[2]);
}

#[test]
fn arm64_kernels_answer_too() {
    let Some(setup) = setup("arm64_kernels_answer_too") else {
        return;
    };
    let guest = env::var_os("BTFPIPE_GUEST_ARM64").map(PathBuf::from);
    if guest.is_none() {
        println!("arm64_kernels_answer_too skipped: BTFPIPE_GUEST_ARM64 is not set");
        return;
    }
    let objects = setup.objects_named(&MATRIX);
    for kernel in &setup.arm64 {
        let mut spec = VmSpec::new(Arch::Arm64, kernel, setup.work.path());
        (spec.accel, spec.guest) = (Accel::Tcg, guest.clone());
        spec.old_libbpf = env::var_os("BTFPIPE_OLD_LIBBPF_ARM64").map(PathBuf::from);
        let btf = setup.min_btf(kernel, &objects);
        let damaged = mutate::Btf::parse(btf.clone());
        let structs = damaged.structs();
        // What opensnoop reads: kprobes of x86 programs don't load here, tracepoints do.
        let (entry, _) = structs
            .iter()
            .find(|(_, name)| name == "trace_event_raw_sys_enter")
            .expect("the tracepoint's struct");
        let mut checks: Vec<Check> = objects.iter().map(|object| check(object, &btf, "min")).collect();
        let opensnoop = &setup.objects_named(&["opensnoop"])[0];
        checks.push(Check { libbpf: Libbpf::Old, ..check(opensnoop, &btf, "min") });
        checks.push(check(opensnoop, &damaged.moved(*entry, 8), "moved"));
        let (report, verdicts) = run(&spec, &checks);
        assert_eq!(report.old_libbpf.as_deref(), Some("v1.1"));
        assert!(report.kernel_release.is_some_and(|release| name(kernel).ends_with(&release)));
        let (moved, good) = verdicts.split_last().expect("verdicts");
        assert_eq!(moved.verdict, Verdict::Mismatch);
        for verdict in good {
            assert!(verdict.is_identical() && !verdict.verdict.is_failure(), "{verdict:#?}");
        }
    }
}

#[test]
fn a_restored_machine_judges_as_a_booted_one() {
    let Some(setup) = setup("a_restored_machine_judges_as_a_booted_one") else {
        return;
    };
    let kernel = setup.kernel("6.1.");
    let mut checks = Vec::new();
    for object in setup.objects_named(&MATRIX) {
        let btf = setup.min_btf(kernel, std::slice::from_ref(&object));
        let damaged = mutate::Btf::parse(btf.clone());
        let (first, _) = damaged.structs()[0];
        checks.push(check(&object, &btf, "min"));
        checks.push(check(&object, &damaged.moved(first, 8), "moved"));
        checks.push(check(&object, &damaged.truncated(), "truncated"));
    }
    let mut spec = setup.spec(kernel);
    let judged = |spec: &VmSpec, checks: &[Check], restored: bool| {
        let (report, verdicts) = run(spec, checks);
        let last = report.attempts.last().expect("a boot");
        assert_eq!((last.restored, report.attempts.len()), (restored, 1));
        // Not the details: a verifier's log has times and addresses.
        let programs = verdicts.into_iter().flat_map(|verdict| {
            let judged = verdict.programs.into_iter().map(|p| (p.program, p.verdict, p.instructions));
            judged.chain([(verdict.object, verdict.verdict, Instructions::NotCompared)]).collect::<Vec<_>>()
        });
        (report.kernel_btf, programs.collect::<Vec<_>>())
    };
    let plain = judged(&spec, &checks, false);
    spec.states = Some(StateFolder { folder: setup.work.path().join("states"), limit: 1 << 30 });
    // Booted for one object; what follows is new to it.
    judged(&spec, &checks[..1], false);
    assert_eq!(judged(&spec, &checks, true), plain);
    assert_eq!(judged(&spec, &checks, true), plain);
}

#[test]
fn kvm_or_emulation_something_boots() {
    let Some(setup) = setup("kvm_or_emulation_something_boots") else {
        return;
    };
    let kernel = setup.kernels.first().expect("a kernel");
    let mut spec = setup.spec(kernel);
    spec.accel = Accel::Auto;
    let object = &setup.objects[0];
    let btf = setup.min_btf(kernel, std::slice::from_ref(object));
    let (report, _) = run(&spec, &[check(object, &btf, "min")]);
    println!("{}: {}", report.accel, report.accel_reason);
    assert!(!report.accel_reason.is_empty());
    spec.accel = Accel::Kvm;
    let report = vmtest::run(&spec, &[check(object, &btf, "min")], &mut |_| ());
    println!("explicit: {:?}", report.outcome);
    assert!(report.attempts.iter().all(|attempt| attempt.accel == Accel::Kvm));
}
