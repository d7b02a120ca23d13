//! relo-core's records held against libbpf's answers.

use std::sync::Arc;

use btf::Btf;
use relo_core::{
    BpfObject, Decision, Mode, Outcome, RecordedRelo, ReloError, Spec, Target as ReloTarget, TargetBtf,
    Wanted, relocate,
};

use crate::judge::{Judged, Object, Path, Site, Target, Verdict, judge};
use crate::known::Known;
use crate::libbpf::{Cand, Errno};
use crate::sound::Unsound;

/// An object and a target, as both sides read them.
pub struct Pair<'p> {
    /// As relo-core reads the object.
    pub object: &'p BpfObject,
    /// As the judge does.
    pub judged_object: &'p Object,
    /// The target's BTFs, vmlinux first.
    pub btfs: &'p [Arc<Btf<'p>>],
    /// As the judge reads them.
    pub judged_target: &'p Target,
}

/// A relocation about which the two sides differ.
#[derive(Debug, Clone)]
pub struct Disagreement {
    /// Index of the relocation.
    pub relo: usize,
    /// The difference that was to be expected here, if any.
    pub known: Option<Known>,
    /// What differs.
    pub what: String,
}

/// The records of relo-core, and where they differ from libbpf's verdicts.
pub struct Comparison {
    /// relo-core's records.
    pub records: Vec<RecordedRelo>,
    /// Where they differ.
    pub disagreements: Vec<Disagreement>,
}

impl Pair<'_> {
    /// libbpf's verdicts, one for each relocation of the object.
    pub fn judge(&self) -> Vec<Verdict> {
        judge(self.judged_object, self.judged_target)
    }
}

/// Relocates and compares decisions, paths and instructions with libbpf's verdicts.
pub fn compare(pair: &Pair<'_>, verdicts: &[Verdict], mode: Mode) -> Result<Comparison, Unsound> {
    let wanted = Wanted::new([pair.object]);
    let names: Vec<String> = (1..pair.btfs.len()).map(|index| format!("module{index}")).collect();
    let modules: Vec<TargetBtf<'_>> = names
        .iter()
        .zip(&pair.btfs[1..])
        .map(|(name, btf)| TargetBtf { module: Some(name.as_str()), btf })
        .collect();
    let target = ReloTarget::new(&pair.btfs[0], &modules, &wanted).map_err(|_| Unsound::Elf)?;
    let records = relocate(pair.object, &target, mode);
    let btfs: Vec<&Btf<'_>> = pair.btfs.iter().map(Arc::as_ref).collect();
    let mut disagreements: Vec<Disagreement> = Vec::new();
    if records.len() != verdicts.len() {
        let what = format!("{} records, {} verdicts", records.len(), verdicts.len());
        disagreements.push(Disagreement { relo: 0, known: None, what });
    }
    for (relo, (record, verdict)) in records.iter().zip(verdicts).enumerate() {
        let Verdict::Judged(judged) = verdict else { continue };
        if let Err(what) = same(record, judged) {
            let site = &pair.judged_object.sites()[relo];
            let insn = pair.judged_object.insn(site);
            let known = Known::expected(site, insn, judged, pair.object.btf(), &btfs);
            let known = known.or_else(|| inherited(pair.judged_object.sites(), relo, &disagreements));
            disagreements.push(Disagreement { relo, known, what });
        }
    }
    Ok(Comparison { records, disagreements })
}

/// A known difference goes on: the candidates of its root narrow otherwise, its instruction is another one.
fn inherited(sites: &[Site], relo: usize, earlier: &[Disagreement]) -> Option<Known> {
    let place = |site: &Site| (site.section, site.relo.insn_off / 8);
    let of = &sites[relo];
    let meets = |other: &Site| other.relo.type_id == of.relo.type_id || place(other) == place(of);
    earlier.iter().find(|earlier| meets(&sites[earlier.relo]))?.known
}

fn same(record: &RecordedRelo, judged: &Judged) -> Result<(), String> {
    match (&record.decision, &judged.resolution) {
        (Some(decision), Ok(resolution)) => {
            let ours = (resolution_of(decision), record.candidates, record.matches);
            equal(
                "decision, candidates, matches",
                ours,
                (*resolution, judged.candidates.len(), judged.matches),
            )?;
            equal("local spec", record.local.as_ref().map(|spec| path_of(&spec.0)), judged.local.clone())?;
            let target = record.target.as_ref().map(|target| path_of(&target.spec));
            equal("target spec", target, judged.target.clone())?;
            let first = record.target.as_ref().map(|target| target.candidate);
            if let Some(first) = first {
                let first = Cand { btf: first.btf as usize, id: first.id };
                equal("target", true, judged.candidates.contains(&first))?;
            }
        }
        (None, Err(_)) => {}
        (ours, libbpf) => return Err(format!("ours {ours:?} {:?}, libbpf {libbpf:?}", record.outcome)),
    }
    match (&record.outcome, &judged.insn) {
        (Outcome::Error(error), Err(errno)) => {
            if errnos(error).contains(errno) {
                Ok(())
            } else {
                Err(format!("ours {error:?}, libbpf errno {}", errno.0))
            }
        }
        (Outcome::Relocated | Outcome::Absent | Outcome::Poisoned, Ok(insn)) => {
            equal("instruction", &record.insn_after, insn)
        }
        (ours, libbpf) => Err(format!("ours {ours:?}, libbpf {libbpf:x?}")),
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, ours: T, libbpf: T) -> Result<(), String> {
    if ours == libbpf { Ok(()) } else { Err(format!("{what}: ours {ours:x?}, libbpf {libbpf:x?}")) }
}

fn resolution_of(decision: &Decision) -> crate::libbpf::Resolution {
    crate::libbpf::Resolution {
        poison: decision.poison,
        validate: decision.validate,
        fail_memsz_adjust: decision.width_is_fixed,
        orig_val: decision.local,
        new_val: decision.target,
        orig_sz: decision.local_size,
        new_sz: decision.target_size,
    }
}

fn path_of(spec: &Spec) -> Path {
    let step = |step: &relo_core::Accessor| (step.type_id, step.index, step.name.is_some());
    Path {
        root: spec.root,
        raw: spec.raw.to_vec(),
        accessors: spec.accessors.iter().map(step).collect(),
        bit_offset: spec.bit_offset,
    }
}

/// What libbpf returns where relo-core has this error.
fn errnos(error: &ReloError) -> &'static [Errno] {
    match error {
        ReloError::SpecTooLong | ReloError::BitfieldTooWide => &[Errno::E2BIG],
        ReloError::OffsetOutOfRange(_) => &[Errno::ERANGE],
        // A size beyond 32 bits is one or the other, depending on where it is asked for.
        ReloError::Btf { .. } => &[Errno::EINVAL, Errno::E2BIG],
        _all_others => &[Errno::EINVAL],
    }
}
