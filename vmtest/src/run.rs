//! Boots until there are verdicts, at most three times.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::accel::{self, Probe};
use crate::boot::{self, Boot, Booted};
use crate::failure::{Failure, Phase};
use crate::feed::{Feed, Start};
use crate::initramfs::Programs;
use crate::judge::{judge, lacks_memory};
use crate::kvm;
use crate::qemu::{self, Command, KernelFile, Machine, Shared};
use crate::report::{Attempt, Outcome, SeenBtf, VmEvent, VmReport};
use crate::results::Answer;
use crate::spec::{Accel, Arch, Check, Libbpf, Limits, VmSpec};
use crate::states::Key;
use crate::warm::Warm;
use crate::{budget, evidence, guest, initramfs, old_libbpf, pace};

/// Boots of one kernel before it counts as infrastructure trouble.
const BOOTS: usize = 3;
/// More than any sensible set of checks needs.
const MEMORY_MAX_MIB: u32 = 4096;

/// Boots the kernel, makes the checks in it, and judges the answers. Never panics, never returns early with an error:
/// whatever goes wrong is in the report.
pub fn run(spec: &VmSpec, checks: &[Check], events: &mut dyn FnMut(VmEvent)) -> VmReport {
    run_with(spec, checks, events, &|| kvm::probe_for(spec.arch == Arch::X86_64))
}

fn run_with(spec: &VmSpec, checks: &[Check], events: &mut dyn FnMut(VmEvent), probe: Probe<'_>) -> VmReport {
    let start = Instant::now();
    let mut report = VmReport {
        kernel_release: None,
        kernel_btf: None,
        libbpf: None,
        old_libbpf: None,
        accel: spec.accel,
        accel_reason: String::new(),
        attempts: Vec::new(),
        seconds: 0.0,
        slowness: pace::slowness(),
        outcome: Outcome::Done(Vec::new()),
    };
    report.outcome = match Inputs::read(spec, checks).and_then(|inputs| {
        let ready = prepare(spec, checks, &inputs, spec.limits.scaled(report.slowness))?;
        Ok(boots(&ready, checks, &mut report, events, probe))
    }) {
        Ok(outcome) => outcome,
        Err(reason) => Outcome::Infra { reason },
    };
    report.seconds = start.elapsed().as_secs_f64();
    if let Some(Err(error)) = spec.evidence.as_ref().map(|folder| evidence::of_report(folder, &report)) {
        events(VmEvent::NoEvidence { reason: error.to_string() });
    }
    report
}

/// The files of a run.
struct Inputs {
    programs: Programs,
    config: Option<Vec<u8>>,
}

impl Inputs {
    fn read(spec: &VmSpec, checks: &[Check]) -> Result<Self, String> {
        let read =
            |path: &Path| fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
        let program = |given: &Option<PathBuf>, embedded: Option<&[u8]>, what: &str| match given {
            Some(path) => read(path),
            None => embedded.map(<[u8]>::to_vec).ok_or_else(|| {
                let arch = spec.arch;
                format!("this btfpipe was built without the {what} for {arch}: run \"cargo xtask guest\"")
            }),
        };
        let wants_old = checks.iter().any(|check| check.libbpf == Libbpf::Old);
        let old = || program(&spec.old_libbpf, old_libbpf(spec.arch), "program with the older libbpf");
        let programs = Programs {
            guest: program(&spec.guest, guest(spec.arch), "guest program")?,
            old_libbpf: wants_old.then(old).transpose()?,
        };
        Ok(Inputs { programs, config: spec.kernel_config.as_deref().map(read).transpose()? })
    }
}

/// What all boots of a run share.
struct Ready<'a> {
    spec: &'a VmSpec,
    qemu: PathBuf,
    /// The kernel's forms, to be taken in turn.
    kernels: Vec<(&'a Path, KernelFile)>,
    /// With the checks.
    initramfs: PathBuf,
    memory_mib: u32,
    /// For machines that wait for their checks.
    warm: Option<Warm<'a>>,
    checks: usize,
    wants_old_libbpf: bool,
    limits: Limits,
    /// What the guest of the nth boot must repeat starts with this.
    nonce: u64,
}

fn prepare<'a>(
    spec: &'a VmSpec,
    checks: &'a [Check],
    inputs: &'a Inputs,
    limits: Limits,
) -> Result<Ready<'a>, String> {
    let qemu = match &spec.qemu {
        Some(path) => path.clone(),
        None => qemu::find(spec.arch).map_err(|missing| missing.to_string())?,
    };
    let mut kernels = Vec::new();
    for path in [Some(&spec.kernel), spec.fallback_kernel.as_ref()].into_iter().flatten() {
        let kind =
            KernelFile::of(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        // arm64 has one machine, whatever form its kernel has.
        let kind = if spec.arch == Arch::Arm64 { KernelFile::Image } else { kind };
        kernels.push((path.as_path(), kind));
    }
    let nonce = random().map_err(|error| format!("cannot read /dev/urandom: {error}"))?;
    let config = inputs.config.as_deref();
    let archive =
        initramfs::build(&inputs.programs, checks, config, spec.attach).map_err(|error| error.to_string())?;
    let path = spec.work.join("initramfs.cpio");
    let cannot_write = |error: io::Error| format!("cannot write into {}: {error}", spec.work.display());
    fs::write(&path, &archive).map_err(cannot_write)?;
    let warm = match &spec.states {
        None => None,
        Some(states) => Warm::prepare(states, &inputs.programs, checks, config, spec.attach, &spec.work)
            .map_err(cannot_write)?,
    };
    // The archive and its unpacked content are in memory at the same time.
    let archive_mib = u32::try_from(archive.len() >> 20).unwrap_or(u32::MAX);
    let memory_mib = spec.memory_mib.max(archive_mib.saturating_mul(2).saturating_add(192));
    let memory_mib = memory_mib.next_multiple_of(64);
    Ok(Ready {
        spec,
        qemu,
        kernels,
        initramfs: path,
        memory_mib,
        warm,
        checks: checks.len(),
        wants_old_libbpf: inputs.programs.old_libbpf.is_some(),
        limits,
        nonce,
    })
}

/// How a machine comes to its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// From a kept state; any trouble leads to a boot.
    Restore,
    /// It boots, its state is kept, then it gets them.
    Wait,
    /// They are in its initramfs.
    Plain,
}

impl How {
    fn first(ready: &Ready<'_>, accel: Accel) -> Self {
        // A state under KVM would fit this very processor only.
        if ready.warm.is_some() && accel == Accel::Tcg { How::Restore } else { How::Plain }
    }

    fn after_failure(self) -> Self {
        match self {
            How::Restore => How::Wait,
            How::Wait | How::Plain => How::Plain,
        }
    }
}

/// The next boot.
struct Next {
    how: How,
    accel: Accel,
    memory_mib: u32,
    /// Boots made so far, restored machines not counted.
    boots: usize,
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
    let how = How::first(ready, choice.accel);
    let mut next = Next { how, accel: choice.accel, memory_mib: ready.memory_mib, boots: 0 };
    let mut left = BOOTS;
    while left > 0 {
        let before = report.attempts.len();
        let failure = match boot_once(ready, &mut next, report, events) {
            Ok(answers) if answers.iter().any(lacks_memory) && next.memory_mib < MEMORY_MAX_MIB => {
                let reason = format!("the guest ran out of memory with {} MiB", next.memory_mib);
                next.memory_mib *= 2;
                reason
            }
            Ok(answers) => {
                return Outcome::Done(checks.iter().zip(&answers).map(|(c, a)| judge(c, a)).collect());
            }
            Err(failure) => {
                let last = matches!(failure, Failure::Start(_) | Failure::Cap { .. });
                left = if last { 0 } else { BOOTS - next.boots.min(BOOTS) };
                if choice.may_fall_back {
                    let reason = format!("KVM passed its test, but {failure}");
                    choice.fall_back(reason, report, events);
                    (left, next.boots) = (BOOTS, 0);
                    next.accel = choice.accel;
                }
                next.how = next.how.after_failure();
                name_check(&failure, checks)
            }
        };
        left = left.min(BOOTS - next.boots.min(BOOTS));
        events(VmEvent::BootFailed { attempt: report.attempts.len(), reason: failure.clone() });
        match report.attempts.get_mut(before) {
            Some(attempt) => attempt.failure = Some(failure),
            // A file of the run could not be made.
            None => return Outcome::Infra { reason: failure },
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
    next: &mut Next,
    report: &mut VmReport,
    events: &mut dyn FnMut(VmEvent),
) -> Result<Vec<Answer>, Failure> {
    let spec = ready.spec;
    let number = report.attempts.len() + 1;
    let (kernel, _) = ready.kernels[next.boots % ready.kernels.len()];
    let machine = Machine::for_attempt(ready.kernels[0].1, next.boots, next.accel);
    if machine == Machine::Microvm {
        // It has no PCI, and so no shared memory.
        next.how = How::Plain;
    }
    let files = ["console", "results"].map(|name| spec.work.join(format!("{name}-{number}.log")));
    let [console, results] = &files;
    let nonce = format!("{:016x}-{number}", ready.nonce);
    let command = Command {
        qemu: &ready.qemu,
        machine,
        accel: next.accel,
        memory_mib: next.memory_mib,
        kernel,
        initramfs: &ready.initramfs,
        console,
        nonce: &nonce,
        // Three passes and an explanation fit into the limit of a check, and two sets that are attached twice.
        pass_seconds: (ready.limits.check.as_secs() / if spec.attach { 8 } else { 4 }).max(1),
        disk: spec.attach,
        shared: None,
    };
    let state = find_state(ready, next, &command).map_err(Failure::Start)?;
    next.boots += usize::from(next.how != How::Restore);
    let share = budget::take(next.memory_mib);
    events(VmEvent::Boot {
        attempt: number,
        machine: command.machine.name().to_owned(),
        restored: next.how == How::Restore,
    });
    let run = Run { ready, console, results, quiet: quiet(ready.limits, next.accel) };
    let (line, booted) = match (&ready.warm, &state) {
        (Some(warm), Some(state)) => {
            run.fed(&command, warm, state, next.how, events).map_err(Failure::Start)?
        }
        _ => run.boot(&command, None, events),
    };
    drop(share);
    if let (How::Restore, Err(_), Some(warm), Some(state)) = (next.how, &booted.answers, &ready.warm, &state)
    {
        warm.states.remove(&state.key);
    }
    let attempt = attempt(&command, next.how, &line, &booted);
    if let Some(folder) = &spec.evidence
        && let Err(error) = evidence::of_boot(folder, number, &attempt, console, results)
    {
        events(VmEvent::NoEvidence { reason: error.to_string() });
    }
    note(report, &booted, attempt);
    booted.answers
}

/// A kept state, or the name that one gets.
struct KeptState {
    key: Key,
    file: Option<PathBuf>,
}

/// Turns a wish to restore into a boot when there is no state.
fn find_state(ready: &Ready<'_>, next: &mut Next, command: &Command<'_>) -> io::Result<Option<KeptState>> {
    let Some(warm) = ready.warm.as_ref().filter(|_| next.how != How::Plain) else {
        return Ok(None);
    };
    let command = Command { initramfs: &warm.initramfs, ..command.clone() };
    let key = warm.key(&command)?;
    let file = if next.how == How::Restore { warm.states.find(&key) } else { None };
    if file.is_none() {
        next.how = How::Wait;
    }
    Ok(Some(KeptState { key, file }))
}

fn quiet(limits: Limits, accel: Accel) -> std::time::Duration {
    if accel == Accel::Kvm { limits.console_kvm } else { limits.console }
}

/// One boot of a run.
struct Run<'a> {
    ready: &'a Ready<'a>,
    console: &'a Path,
    results: &'a Path,
    quiet: std::time::Duration,
}

impl Run<'_> {
    /// A machine that gets its checks when it is up.
    fn fed(
        &self,
        command: &Command<'_>,
        warm: &Warm<'_>,
        state: &KeptState,
        how: How,
        events: &mut dyn FnMut(VmEvent),
    ) -> io::Result<(Vec<OsString>, Booted)> {
        let memory = self.ready.spec.work.join("shared.memory");
        File::create(&memory)?.set_len(u64::from(warm.mib) << 20)?;
        // Not the number on the kernel's command line, which is part of the state.
        let nonce = format!("{}-fed", command.nonce);
        let work = warm.work(&nonce, command.pass_seconds)?;
        let start = match &state.file {
            Some(file) => Start::Restore { state: file },
            None => Start::Boot { states: warm.states, key: &state.key },
        };
        let disk = command.late_disk();
        let feed = Feed { memory: &memory, work: &work, boot_nonce: command.nonce, disk, start };
        let shared = Shared { file: &memory, mib: warm.mib, restore: how == How::Restore };
        let line = Command { initramfs: &warm.initramfs, shared: Some(shared), ..command.clone() };
        let fed = self.boot(&line, Some((feed, &nonce)), events);
        fs::remove_file(&memory)?;
        Ok(fed)
    }

    fn boot(
        &self,
        command: &Command<'_>,
        feed: Option<(Feed<'_>, &str)>,
        events: &mut dyn FnMut(VmEvent),
    ) -> (Vec<OsString>, Booted) {
        let line = command.line();
        let boot = Boot {
            command: &line,
            console: self.console,
            results: self.results,
            nonce: feed.map_or(command.nonce, |(_, nonce)| nonce),
            checks: self.ready.checks,
            oldest_libbpf: self.ready.spec.oldest_libbpf,
            attach: self.ready.spec.attach,
            old_libbpf: self.ready.wants_old_libbpf,
            feed: feed.map(|(feed, _)| feed),
            limits: self.ready.limits,
            quiet: self.quiet,
            cap: self.ready.spec.timeout,
        };
        let booted = boot::run(&boot, events);
        (line, booted)
    }
}

fn attempt(command: &Command<'_>, how: How, line: &[OsString], booted: &Booted) -> Attempt {
    Attempt {
        machine: command.machine.name().to_owned(),
        accel: command.accel,
        memory_mib: command.memory_mib,
        restored: how == How::Restore,
        command: line.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
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
        report.old_libbpf = hello.old_libbpf.clone();
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
        let check = Check { object: "o".into(), label: "l".into(), ..Check::default() };
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
