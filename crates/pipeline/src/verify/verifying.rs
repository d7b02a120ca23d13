//! Verification: the package reopened as a user would, each kernel booted, libbpf asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bundle::{Bundle, Query};
use kernels::{KernelId, Store, image};
use relo_core::ReloKind;
use vmtest::{
    Attachment, Check, Libbpf, ObjectVerdict, Outcome, ProgramVerdict, Ran, StateFolder, Verdict, VmEvent,
    VmReport, VmSpec,
};

use crate::events::{Events, Phase, Task};
use crate::file::steps::{Accel, Verify};
use crate::kernel::content::Content;
use crate::kernel::engine::{self, ProgramSet};
use crate::outcome::Failure;
use crate::package::packaging;
use crate::project::programs::Program;
use crate::summary::{Cell, Checked, State};

/// A kernel and its package.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Which.
    pub id: &'a KernelId,
    /// Its build-id.
    pub build_id: Option<&'a str>,
    /// The package, opened from its file.
    pub bundle: &'a Bundle,
    /// The programs of its architecture.
    pub set: &'a ProgramSet,
}

/// What verification says of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How it was checked.
    pub checked: Checked,
    /// By object and program; only what a machine said.
    pub cells: Cells,
    /// What a person should see: flaky boots, a fallback.
    pub notes: Vec<String>,
    /// Why there are no verdicts.
    pub no_verdict: Option<String>,
}

/// The BTF that a user's loader finds in the package for this kernel.
fn packaged_btf<'a>(subject: Subject<'a>) -> Result<(&'a [u8], &'a [u8]), Failure> {
    let Subject { id, build_id, bundle, .. } = subject;
    let mut query = Query::new(packaging::arch(id.arch()), id.release()).os(id.distro(), id.version());
    query.build_id = build_id.map(str::to_owned);
    let hit = bundle.index().resolve(&query).map_err(Failure::new)?;
    let both = bundle.btf_of(hit.kernel).zip(bundle.records_of(hit.kernel));
    both.ok_or_else(|| Failure::new("the package names the kernel but has no BTF for it"))
}

/// Whether a user's loader finds this very BTF in the package.
pub fn is_packaged(subject: Subject<'_>, wanted: &kernels::Digest) -> Result<(), Failure> {
    let (btf, _) = packaged_btf(subject)?;
    match kernels::Digest::of(btf) == *wanted {
        true => Ok(()),
        false => Err(Failure::new("a loader finds another kernel's BTF in the package")),
    }
}

/// Makes every decision again with the packaged BTF, and compares with the packaged records.
pub fn on_host(subject: Subject<'_>) -> Result<(), Failure> {
    let (btf, records) = packaged_btf(subject)?;
    match engine::compare(btf, records, subject.set)? {
        None => Ok(()),
        Some(difference) => Err(Failure::new(difference)),
    }
}

/// Why kernels of this architecture aren't booted here, if they aren't. What a machine of another architecture takes
/// may be missing; what its own takes may not, see [`lacks`].
pub fn why_not_booted(arch: kernels::Arch) -> Option<String> {
    match arch {
        kernels::Arch::X86_64 => None,
        kernels::Arch::Arm64 => lacks_for(vmtest::Arch::Arm64),
    }
}

/// What the machine lacks to boot kernels, if anything, and what to do about it.
pub fn lacks() -> Option<String> {
    lacks_for(vmtest::Arch::X86_64)
}

fn lacks_for(arch: vmtest::Arch) -> Option<String> {
    if vmtest::guest(arch).is_none() {
        let help = "build it with \"cargo xtask run\", which puts the guest in";
        return Some(format!(
            "this btfpipe was built without the guest program that runs in {arch} machines; {help}"
        ));
    }
    vmtest::qemu::find(arch).err().map(|missing| missing.to_string())
}

/// Where and how kernels are booted.
#[derive(Debug, Clone, Copy)]
pub struct Booting<'a> {
    /// The step's settings.
    pub settings: &'a Verify,
    /// Has the boot images; keeps machines that are up, and what they said.
    pub store: &'a Store,
    /// For files that nobody needs afterwards.
    pub work: &'a Path,
    /// A folder for each kernel's evidence.
    pub evidence: &'a Path,
    /// Use nothing of earlier runs.
    pub anew: bool,
    /// Who hears of it.
    pub events: Events<'a>,
}

/// Boots the kernel, and has libbpf relocate and load every object with the packaged BTF. `fell_back` hears when the
/// machine can't be accelerated as it should.
pub fn in_machine(
    subject: Subject<'_>,
    content: &Content,
    booting: Booting<'_>,
    fell_back: &dyn Fn(vmtest::Accel, &str),
) -> Result<Verified, Failure> {
    let task = booting.events.begin(Phase::Verify, subject.id.to_string());
    let report = boot(subject, content, booting, &task, fell_back);
    let report = task.finish(report, told)?;
    Ok(verdicts(subject, content, &report))
}

fn boot(
    subject: Subject<'_>,
    content: &Content,
    booting: Booting<'_>,
    task: &Task<'_>,
    fell_back: &dyn Fn(vmtest::Accel, &str),
) -> Result<VmReport, Failure> {
    let (btf, _) = packaged_btf(subject)?;
    let checks: Vec<Check> = libbpfs(booting.settings)
        .iter()
        .flat_map(|libbpf| subject.set.programs.iter().map(|program| check(program, btf, *libbpf)))
        .collect();
    let folder = tempfile::Builder::new().prefix("vm-").tempdir_in(booting.work).map_err(Failure::new)?;
    let spec = spec(subject.id, content, booting, folder.path(), checks.len())?;
    let names: Vec<String> = checks.iter().map(|check| check.object.clone()).collect();
    let total = names.len() as u64;
    Ok(vmtest::run(&spec, &checks, &mut |event| match event {
        VmEvent::Accel { accel, reason, fallback } => {
            task.moved(0, None, format!("{accel}: {reason}"));
            if fallback {
                fell_back(accel, &reason);
            }
        }
        VmEvent::Boot { attempt, machine, restored: false } => {
            task.moved(0, None, format!("boot {attempt} on {machine}"))
        }
        VmEvent::Boot { restored: true, .. } => task.moved(0, None, "going on from a kept machine"),
        VmEvent::Console { .. } => task.moved(0, None, "the kernel speaks"),
        VmEvent::Ready { kernel, .. } => task.moved(0, None, format!("{kernel} is up")),
        VmEvent::StateKept { bytes } => task.moved(0, None, format!("up, and kept in {bytes} bytes")),
        VmEvent::StateNotKept { reason } => task.moved(0, None, format!("up, but not kept: {reason}")),
        VmEvent::CheckBegin { index } => {
            let name = names.get(index).map(String::as_str).unwrap_or_default();
            task.moved(index as u64, Some(total), name);
        }
        VmEvent::CheckEnd { index } => task.moved(index as u64 + 1, Some(total), ""),
        VmEvent::BootFailed { attempt, reason } => {
            task.moved(0, None, format!("boot {attempt} failed: {reason}"))
        }
        VmEvent::Output { .. } => {}
        VmEvent::NoEvidence { reason } => {
            booting.events.warn(format!("{}: no evidence: {reason}", subject.id))
        }
    }))
}

/// Who relocates and loads every object.
fn libbpfs(settings: &Verify) -> &'static [Libbpf] {
    if settings.old_libbpf { &[Libbpf::Current, Libbpf::Old] } else { &[Libbpf::Current] }
}

fn check(program: &Program, btf: &[u8], libbpf: Libbpf) -> Check {
    let object = &program.object;
    let ids = object.relos().iter().filter(|relo| relo.relo.kind == ReloKind::TargetTypeId as u32);
    Check {
        object: program.name.clone(),
        elf: program.elf.clone(),
        btf: btf.to_vec(),
        label: "packaged".to_owned(),
        libbpf,
        type_id_insns: ids
            .map(|relo| (object.section_of(relo).to_owned(), relo.relo.insn_off / relo_core::INSN_LEN as u32))
            .collect(),
    }
}

/// Machines that are up are kept in this folder of the store.
const STATES: &str = "machines";
/// Forty megabytes each: a hundred kernels.
const STATES_LIMIT: u64 = 4 << 30;

fn spec(
    id: &KernelId,
    content: &Content,
    booting: Booting<'_>,
    work: &Path,
    checks: usize,
) -> Result<VmSpec, Failure> {
    let Booting { settings, store, .. } = booting;
    let mut spec = machine(id, content, store, work)?;
    spec.memory_mib = settings.memory_mib;
    spec.accel = match settings.accel {
        Accel::Auto => vmtest::Accel::Auto,
        Accel::Kvm => vmtest::Accel::Kvm,
        Accel::Tcg => vmtest::Accel::Tcg,
    };
    spec.limits.check = settings.timeout;
    spec.attach = settings.attach;
    let checks = u32::try_from(checks).unwrap_or(u32::MAX);
    spec.timeout = spec.limits.ready + settings.timeout.saturating_mul(checks.clamp(1, 40));
    spec.states =
        (!booting.anew).then(|| StateFolder { folder: store.root().join(STATES), limit: STATES_LIMIT });
    spec.evidence = Some(evidence_of(booting.evidence, id));
    Ok(spec)
}

/// Where a kernel's evidence is.
pub fn evidence_of(folder: &Path, id: &KernelId) -> PathBuf {
    folder.join(id.to_string().replace('/', "_"))
}

/// A machine for a kernel: boot image, unpacked vmlinux and configuration as files of the work folder.
pub fn machine(id: &KernelId, content: &Content, store: &Store, work: &Path) -> Result<VmSpec, Failure> {
    let get = |digest| -> Result<Vec<u8>, Failure> {
        store.get(digest)?.ok_or_else(|| Failure::new("the store lost the boot image; run again"))
    };
    let boot = content.boot.as_ref().ok_or_else(|| Failure::new("it has no boot image"))?;
    let boot = get(&boot.sha256)?;
    let unpacked = image::unpack(&boot).map_err(Failure::new)?;
    let write = |name: &str, bytes: &[u8]| {
        let path = work.join(name);
        std::fs::write(&path, bytes).map_err(Failure::new)?;
        Ok::<_, Failure>(path)
    };
    let arch = arch(id);
    let mut spec = VmSpec::new(arch, write("vmlinux", &unpacked.bytes)?, work);
    if arch == vmtest::Arch::X86_64 {
        spec.fallback_kernel = Some(write("vmlinuz", &boot)?);
    }
    if let Some(config) = &content.config {
        spec.kernel_config = Some(write("config", &get(&config.sha256)?)?);
    }
    Ok(spec)
}

fn arch(id: &KernelId) -> vmtest::Arch {
    match id.arch() {
        kernels::Arch::X86_64 => vmtest::Arch::X86_64,
        kernels::Arch::Arm64 => vmtest::Arch::Arm64,
    }
}

/// The end of the task in a few words.
fn told(report: &VmReport) -> String {
    match &report.outcome {
        Outcome::Done(verdicts) => {
            let good = verdicts.iter().filter(|verdict| !verdict.verdict.is_failure()).count();
            // With two libbpfs, each object is two.
            let what = if report.old_libbpf.is_some() { "checks" } else { "objects" };
            format!("{good} of {} {what} good ({})", verdicts.len(), report.accel)
        }
        Outcome::Infra { reason } => format!("NO VERDICT: {reason}"),
        Outcome::Unsupported { reason } => format!("not booted: {reason}"),
    }
}

fn verdicts(subject: Subject<'_>, content: &Content, report: &VmReport) -> Verified {
    let mut verified = Verified {
        checked: Checked::No,
        cells: Cells::new(),
        notes: notes(subject.id, report),
        no_verdict: None,
    };
    match &report.outcome {
        Outcome::Done(objects) => {
            let libbpf = report.libbpf.as_deref().unwrap_or("unknown");
            let old = report.old_libbpf.as_deref();
            let both = old.map_or_else(|| libbpf.to_owned(), |old| format!("{libbpf} and {old}"));
            verified.checked =
                Checked::Booted(format!("libbpf {both}, {}: {}", report.accel, report.accel_reason));
            for object in objects.iter().filter(|object| object.libbpf == Libbpf::Current) {
                verified.cells.extend(cells_of(object));
            }
            for object in objects.iter().filter(|object| object.libbpf == Libbpf::Old) {
                add_worse(object, old.unwrap_or("unknown"), &mut verified.cells);
            }
            check_release(subject, content, report, &mut verified);
        }
        Outcome::Infra { reason } => verified.no_verdict = Some(reason.clone()),
        Outcome::Unsupported { reason } => verified.checked = Checked::Host(reason.clone()),
    }
    verified
}

/// The machine must have run the very kernel that is in the package.
fn check_release(subject: Subject<'_>, content: &Content, report: &VmReport, verified: &mut Verified) {
    let (wanted, size) = (subject.id.release(), content.btf.size);
    let other = report.kernel_release.as_deref().is_some_and(|release| release != wanted)
        || report.kernel_btf.is_some_and(|seen| seen.size != size);
    if other {
        verified.cells.clear();
        verified.checked = Checked::No;
        verified.no_verdict = Some(format!("the machine ran {:?}, not {wanted}", report.kernel_release));
    }
}

fn notes(id: &KernelId, report: &VmReport) -> Vec<String> {
    let failed = report.attempts.iter().filter_map(|attempt| attempt.failure.as_ref());
    let done = matches!(report.outcome, Outcome::Done(_));
    failed
        .filter(|_| done)
        .map(|reason| format!("{id}: a boot failed and was made again: {reason}"))
        .collect()
}

type Cells = BTreeMap<(String, String), Cell>;

fn cells_of(object: &ObjectVerdict) -> Cells {
    let key = |program: &str| (object.object.clone(), program.to_owned());
    if object.programs.is_empty() {
        let cell = Cell { state: state(object.verdict), reason: object.detail.clone() };
        return Cells::from([(key(""), cell)]);
    }
    let programs = object.programs.iter();
    programs.map(|program| (key(&program.program), cell(program, object.detail.as_deref()))).collect()
}

/// What the older libbpf says where that is worse than what the current one says.
fn add_worse(object: &ObjectVerdict, version: &str, cells: &mut Cells) {
    for (key, old) in cells_of(object) {
        if cells.get(&key).is_none_or(|current| current.state < old.state) {
            let why = old.reason.unwrap_or_else(|| object.verdict.to_string());
            cells.insert(key, Cell::because(old.state, format!("with libbpf {version}: {why}")));
        }
    }
}

fn cell(program: &ProgramVerdict, of_object: Option<&str>) -> Cell {
    let detail = program.detail.as_deref().or(of_object);
    let reason = match program.verdict {
        Verdict::Identical => None,
        Verdict::NeedsKernelBtf => Some(engine::needs_btf(&program.section)),
        _ => Some(detail.map_or_else(|| program.verdict.to_string(), |detail| last_lines(detail, 12))),
    };
    let Some(Attachment { ran, detail }) = &program.attached else {
        return Cell { state: state(program.verdict), reason };
    };
    match (program.verdict, ran) {
        (Verdict::Identical, Ran::Reported) => Cell::of(State::Reported),
        // What came of attaching is a remark where all else is good.
        (Verdict::Identical | Verdict::Skipped | Verdict::NeedsKernelBtf, _) => {
            let said = match ran {
                Ran::Reported => "attached, it reported what was done".to_owned(),
                _ => last_lines(detail.as_deref().unwrap_or_default(), 12),
            };
            let both = reason.into_iter().chain([said]).collect::<Vec<_>>().join("; ");
            Cell::because(state(program.verdict), both)
        }
        _ => Cell { state: state(program.verdict), reason },
    }
}

/// A verifier's log says what is wrong at its end.
fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn state(verdict: Verdict) -> State {
    match verdict {
        Verdict::Identical => State::Ok,
        Verdict::Skipped => State::Skipped,
        Verdict::NeedsKernelBtf => State::NeedsKernelBtf,
        Verdict::LoadFailBoth => State::LoadFailBoth,
        Verdict::TypeIdReloc => State::TypeId,
        Verdict::LoadFailMinOnly => State::LoadFailMinOnly,
        Verdict::WrongEvent => State::WrongEvent,
        Verdict::Mismatch => State::Mismatch,
        Verdict::Crash => State::Crash,
    }
}

#[cfg(test)]
mod tests {
    use vmtest::{Instructions, ProgramVerdict};

    use super::*;

    fn program(name: &str, verdict: Verdict, detail: Option<&str>) -> ProgramVerdict {
        ProgramVerdict {
            program: name.into(),
            section: format!("fentry/{name}"),
            verdict,
            instructions: Instructions::Identical,
            agreed: 0,
            attached: None,
            detail: detail.map(str::to_owned),
        }
    }

    #[test]
    fn what_came_of_attaching_is_told() {
        let check = |verdict, ran, expect: State, reason: Option<&str>| {
            let attached = Some(Attachment { ran, detail: Some("it was done".into()) });
            let cell = cell(&ProgramVerdict { attached, ..program("p", verdict, Some("why")) }, None);
            assert_eq!((cell.state, cell.reason.as_deref()), (expect, reason));
        };
        check(Verdict::Identical, Ran::Reported, State::Reported, None);
        check(Verdict::Identical, Ran::NotProvoked, State::Ok, Some("it was done"));
        check(Verdict::WrongEvent, Ran::Wrong, State::WrongEvent, Some("why"));
        check(Verdict::Mismatch, Ran::Wrong, State::Mismatch, Some("why"));
        let needs = "fentry programs attach by the kernel's own BTF; attached, it reported what was done";
        check(Verdict::NeedsKernelBtf, Ran::Reported, State::NeedsKernelBtf, Some(needs));
    }

    #[test]
    fn every_verdict_becomes_a_cell() {
        let log = (0..40).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n");
        let object = ObjectVerdict {
            object: "o.bpf.o".into(),
            label: "packaged".into(),
            libbpf: Libbpf::Current,
            programs: vec![
                program("a", Verdict::Identical, Some("not shown")),
                program("b", Verdict::NeedsKernelBtf, None),
                program("c", Verdict::LoadFailBoth, Some(&log)),
                program("d", Verdict::Mismatch, None),
            ],
            verdict: Verdict::Mismatch,
            detail: None,
            millis: [0; 3],
        };
        let cells = cells_of(&object);
        let cell = |name: &str| &cells[&("o.bpf.o".to_owned(), name.to_owned())];
        assert_eq!(*cell("a"), Cell::of(State::Ok));
        assert_eq!(cell("b").reason.as_deref(), Some("fentry programs attach by the kernel's own BTF"));
        assert_eq!(cell("c").reason.as_ref().unwrap().lines().count(), 12);
        assert!(cell("c").reason.as_ref().unwrap().ends_with("line 39"));
        assert_eq!(*cell("d"), Cell::because(State::Mismatch, "mismatch"));
    }

    #[test]
    fn the_older_libbpf_is_heard_where_it_is_worse() {
        let object = |libbpf, programs| ObjectVerdict {
            object: "o.bpf.o".into(),
            label: "packaged".into(),
            libbpf,
            programs,
            verdict: Verdict::Crash,
            detail: None,
            millis: [0; 3],
        };
        let current = [("a", Verdict::Identical), ("b", Verdict::Mismatch), ("c", Verdict::Identical)];
        let old = [("a", Verdict::Identical), ("b", Verdict::Identical), ("c", Verdict::LoadFailBoth)];
        let programs =
            |of: [(&str, Verdict); 3]| of.map(|(name, verdict)| program(name, verdict, Some("why"))).into();
        let mut cells = cells_of(&object(Libbpf::Current, programs(current)));
        add_worse(&object(Libbpf::Old, programs(old)), "v1.1", &mut cells);
        // An object that crashes libbpf has no programs to tell of.
        add_worse(&object(Libbpf::Old, Vec::new()), "v1.1", &mut cells);
        let cell = |name: &str| &cells[&("o.bpf.o".to_owned(), name.to_owned())];
        assert_eq!(*cell("a"), Cell::of(State::Ok));
        assert_eq!(*cell("b"), Cell::because(State::Mismatch, "why"));
        assert_eq!(*cell("c"), Cell::because(State::LoadFailBoth, "with libbpf v1.1: why"));
        assert_eq!(*cell(""), Cell::because(State::Crash, "with libbpf v1.1: crash"));
    }
}
