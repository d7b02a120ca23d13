//! Boots until there are verdicts, at most three times.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::accel::{self, Probe};
use crate::boot::{self, Boot, Booted, Failure, Phase};
use crate::judge::{judge, lacks_memory};
use crate::kvm;
use crate::qemu::{self, Command, KernelFile, Machine};
use crate::report::{Attempt, Outcome, SeenBtf, VmEvent, VmReport};
use crate::results::Answer;
use crate::spec::{Accel, Arch, Check, VmSpec};
use crate::{guest, initramfs};

/// Boots of one kernel before it counts as infrastructure trouble.
const BOOTS: usize = 3;
/// More than any sensible set of checks needs.
const MEMORY_MAX_MIB: u32 = 4096;

/// Boots the kernel, makes the checks in it, and judges the answers. Never panics, never returns early with an error:
/// whatever goes wrong is in the report.
pub fn run(spec: &VmSpec, checks: &[Check], events: &mut dyn FnMut(VmEvent)) -> VmReport {
    run_with(spec, checks, events, &kvm::probe)
}

fn run_with(spec: &VmSpec, checks: &[Check], events: &mut dyn FnMut(VmEvent), probe: Probe<'_>) -> VmReport {
    let start = Instant::now();
    let mut report = VmReport {
        kernel_release: None,
        kernel_btf: None,
        libbpf: None,
        accel: spec.accel,
        accel_reason: String::new(),
        attempts: Vec::new(),
        seconds: 0.0,
        outcome: Outcome::Done(Vec::new()),
    };
    report.outcome = if spec.arch == Arch::Arm64 {
        let reason = "there is no guest program for arm64 yet: such a kernel is checked on the host only";
        Outcome::Unsupported { reason: reason.to_owned() }
    } else {
        match prepare(spec, checks) {
            Ok(ready) => boots(&ready, checks, &mut report, events, probe),
            Err(reason) => Outcome::Infra { reason },
        }
    };
    report.seconds = start.elapsed().as_secs_f64();
    report
}

/// What all boots of a run share.
struct Ready<'a> {
    spec: &'a VmSpec,
    qemu: PathBuf,
    /// The kernel's forms, to be taken in turn.
    kernels: Vec<(&'a Path, KernelFile)>,
    initramfs: PathBuf,
    memory_mib: u32,
    /// What the guest of the nth boot must repeat starts with this.
    nonce: u64,
}

fn prepare<'a>(spec: &'a VmSpec, checks: &[Check]) -> Result<Ready<'a>, String> {
    let qemu = match &spec.qemu {
        Some(path) => path.clone(),
        None => qemu::find(spec.arch).map_err(|missing| missing.to_string())?,
    };
    let read =
        |path: &Path| fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    let program = match &spec.guest {
        Some(path) => read(path)?,
        None => guest(spec.arch).map(<[u8]>::to_vec).ok_or_else(|| {
            format!(
                "this btfpipe was built without the guest program for {}: run \"cargo xtask guest\"",
                spec.arch
            )
        })?,
    };
    let mut kernels = Vec::new();
    for path in [Some(&spec.kernel), spec.fallback_kernel.as_ref()].into_iter().flatten() {
        let kind =
            KernelFile::of(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        kernels.push((path.as_path(), kind));
    }
    let nonce = random().map_err(|error| format!("cannot read /dev/urandom: {error}"))?;
    let config = spec.kernel_config.as_deref().map(read).transpose()?;
    let archive = initramfs::build(&program, checks, config.as_deref()).map_err(|error| error.to_string())?;
    let path = spec.work.join("initramfs.cpio");
    fs::write(&path, &archive).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    // The archive and its unpacked content are in memory at the same time.
    let archive_mib = u32::try_from(archive.len() >> 20).unwrap_or(u32::MAX);
    let memory_mib = spec.memory_mib.max(archive_mib.saturating_mul(2).saturating_add(192));
    let memory_mib = memory_mib.next_multiple_of(64);
    Ok(Ready { spec, qemu, kernels, initramfs: path, memory_mib, nonce })
}

fn boots(
    ready: &Ready<'_>,
    checks: &[Check],
    report: &mut VmReport,
    events: &mut dyn FnMut(VmEvent),
    probe: Probe<'_>,
) -> Outcome {
    let mut choice = match accel::choose(ready.spec.accel, probe, report, events) {
        Ok(choice) => choice,
        Err(reason) => return Outcome::Infra { reason },
    };
    let mut memory_mib = ready.memory_mib;
    let mut left = BOOTS;
    while left > 0 {
        left -= 1;
        let failure = match boot_once(ready, choice.accel, memory_mib, checks.len(), report, events) {
            Ok(answers) if answers.iter().any(lacks_memory) && memory_mib < MEMORY_MAX_MIB => {
                let reason = format!("the guest ran out of memory with {memory_mib} MiB");
                memory_mib *= 2;
                reason
            }
            Ok(answers) => {
                return Outcome::Done(checks.iter().zip(&answers).map(|(c, a)| judge(c, a)).collect());
            }
            Err(failure) => {
                if matches!(failure, Failure::Start(_) | Failure::Cap { .. }) {
                    left = 0;
                }
                if choice.may_fall_back {
                    let reason = format!("KVM passed its test, but {failure}");
                    choice.fall_back(reason, report, events);
                    left = BOOTS;
                }
                name_check(&failure, checks)
            }
        };
        events(VmEvent::BootFailed { attempt: report.attempts.len(), reason: failure.clone() });
        if let Some(attempt) = report.attempts.last_mut() {
            attempt.failure = Some(failure);
        }
    }
    Outcome::Infra { reason: all_failures(report) }
}

/// The failure, with the name of the check that was being made.
fn name_check(failure: &Failure, checks: &[Check]) -> String {
    match failure.during() {
        Some(Phase::Check(index)) => {
            let object = checks.get(index).map_or("?", |check| check.object.as_str());
            format!("{failure} ({object})")
        }
        _ => failure.to_string(),
    }
}

fn all_failures(report: &VmReport) -> String {
    let failures = report.attempts.iter().map(|attempt| {
        format!(
            "{} with {}: {}",
            attempt.machine,
            attempt.accel,
            attempt.failure.as_deref().unwrap_or("no answer")
        )
    });
    let all = failures.collect::<Vec<_>>().join("; ");
    format!("no boot out of {} gave an answer: {all}", report.attempts.len())
}

fn boot_once(
    ready: &Ready<'_>,
    accel: Accel,
    memory_mib: u32,
    checks: usize,
    report: &mut VmReport,
    events: &mut dyn FnMut(VmEvent),
) -> Result<Vec<Answer>, Failure> {
    let number = report.attempts.len();
    let spec = ready.spec;
    let (kernel, kind) = ready.kernels[number % ready.kernels.len()];
    let machine = Machine::for_attempt(kind, number);
    let nonce = format!("{:016x}-{}", ready.nonce, number + 1);
    let console = spec.work.join(format!("console-{}.log", number + 1));
    let command = Command {
        qemu: &ready.qemu,
        machine,
        accel,
        memory_mib,
        kernel,
        initramfs: &ready.initramfs,
        console: &console,
        nonce: &nonce,
        // Three passes and an explanation fit into the limit of a check.
        pass_seconds: (spec.limits.check.as_secs() / 4).max(1),
    }
    .line();
    let limits = spec.limits;
    let quiet = if accel == Accel::Kvm { limits.console_kvm } else { limits.console };
    let boot = Boot {
        command: &command,
        console: &console,
        nonce: &nonce,
        checks,
        limits,
        quiet,
        cap: spec.timeout,
    };
    events(VmEvent::Boot { attempt: number + 1, machine: machine.name().to_owned() });
    let booted = boot::run(&boot, events);
    note(report, &booted, attempt(machine, accel, memory_mib, &command, &booted));
    booted.answers
}

fn attempt(
    machine: Machine,
    accel: Accel,
    memory_mib: u32,
    command: &[OsString],
    booted: &Booted,
) -> Attempt {
    Attempt {
        machine: machine.name().to_owned(),
        accel,
        memory_mib,
        command: command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        ready_seconds: booted.ready_seconds,
        seconds: booted.seconds,
        failure: None,
        console: booted.console.clone(),
        qemu_stderr: booted.stderr.clone(),
    }
}

fn note(report: &mut VmReport, booted: &Booted, attempt: Attempt) {
    report.attempts.push(attempt);
    if let Some(hello) = &booted.hello {
        report.kernel_release = Some(hello.kernel.clone());
        report.libbpf = Some(hello.libbpf.clone());
        report.kernel_btf = hello.btf.map(|btf| SeenBtf { size: btf.size, crc32: btf.crc32 });
    }
}

/// A number that no other run has.
fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kvm::{Speed, Unusable};
    use crate::report::Verdict;

    /// Crashes under KVM as QEMU does on a host that cannot run it; answers under TCG.
    const SCRIPT: &str = r#"
        case "$*" in *"-accel kvm"*) kill -ABRT $$ ;; esac
        log booting; all; sleep 1000
    "#;

    fn spec(folder: &Path, accel: Accel) -> VmSpec {
        fs::write(folder.join("script"), SCRIPT).unwrap();
        fs::write(folder.join("kernel"), b"\x7fELF").unwrap();
        let mut spec = VmSpec::new(Arch::X86_64, folder.join("kernel"), folder);
        spec.qemu = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake-qemu.sh").into());
        spec.guest = Some(folder.join("kernel"));
        spec.accel = accel;
        spec
    }

    fn fast() -> Result<Speed, Unusable> {
        Ok(Speed(Duration::from_millis(2)))
    }

    fn useless() -> Result<Speed, Unusable> {
        Err(Unusable("the test failed".to_owned()))
    }

    /// The report, and each accelerator that was announced, with whether as a fallback.
    fn run_fake(accel: Accel, probe: Probe<'_>) -> (VmReport, Vec<(Accel, bool)>) {
        let folder = tempfile::tempdir().unwrap();
        let mut told = Vec::new();
        let check =
            Check { object: "o".into(), elf: vec![], btf: vec![], label: "l".into(), type_id_insns: vec![] };
        let mut events = |event| {
            if let VmEvent::Accel { accel, fallback, .. } = event {
                told.push((accel, fallback));
            }
        };
        let report = run_with(&spec(folder.path(), accel), &[check], &mut events, probe);
        (report, told)
    }

    #[track_caller]
    fn check_done(report: &VmReport) {
        let Outcome::Done(verdicts) = &report.outcome else { panic!("{report:#?}") };
        assert_eq!(verdicts[0].verdict, Verdict::Identical);
    }

    #[test]
    fn explicit_kvm_never_falls_back() {
        let (report, _) = run_fake(Accel::Kvm, &useless);
        let Outcome::Infra { reason } = &report.outcome else { panic!("{report:#?}") };
        assert!(reason.contains("KVM was asked for, but the test failed"), "{reason}");
        assert!(report.attempts.is_empty());
        let (report, told) = run_fake(Accel::Kvm, &fast);
        assert!(matches!(report.outcome, Outcome::Infra { .. }));
        assert!(report.attempts.iter().all(|attempt| attempt.accel == Accel::Kvm));
        assert_eq!(told, [(Accel::Kvm, false)]);
    }

    #[test]
    fn auto_falls_back_aloud_and_remembers() {
        let (report, told) = run_fake(Accel::Auto, &useless);
        check_done(&report);
        assert_eq!(told, [(Accel::Tcg, true)]);
        assert_eq!(report.accel_reason, "no KVM: the test failed");
        let (report, told) = run_fake(Accel::Auto, &fast);
        check_done(&report);
        assert_eq!(told, [(Accel::Kvm, false), (Accel::Tcg, true)]);
        assert_eq!(report.accel, Accel::Tcg);
        assert!(report.accel_reason.contains("was killed by signal 6"), "{}", report.accel_reason);
        // The next machine does not try again.
        let (report, told) = run_fake(Accel::Auto, &fast);
        check_done(&report);
        assert_eq!((told.as_slice(), report.attempts.len()), ([(Accel::Tcg, true)].as_slice(), 1));
    }

    #[test]
    fn tcg_asks_no_kvm() {
        let (report, told) = run_fake(Accel::Tcg, &|| panic!("asked"));
        check_done(&report);
        assert_eq!((report.accel_reason.as_str(), told.len()), ("asked for", 1));
    }
}
