//! The record: what each relocation of an object resolved to on a target, and why.

use std::collections::HashMap;

use btf::TypeId;

use crate::decide::{Decider, Resolved};
use crate::patch::{self, Patched};
use crate::reason;
use crate::used::UsedSet;
use crate::{
    BpfObject, Candidate, Decision, INSN_LEN, LocalSpec, Mode, ObjectRelo, Reason, ReloError, ReloKind,
    Target, TargetSpec,
};

/// How a relocation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A match, and its value in the instruction.
    Relocated,
    /// No match, and the kind has an answer for that: 0.
    Absent,
    /// The instruction became an invalid call: fatal only where it can be reached.
    Poisoned,
    /// libbpf refuses the object.
    Error(ReloError),
}

impl Outcome {
    /// The word in records.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Relocated => "relocated",
            Outcome::Absent => "absent",
            Outcome::Poisoned => "poisoned",
            Outcome::Error(_) => "error",
        }
    }
}

/// One relocation against one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRelo {
    /// Index in [`BpfObject::relos`].
    pub index: usize,
    /// The kind; None for a number that this version does not know.
    pub kind: Option<ReloKind>,
    /// The path in the object's types; None where it could not be parsed.
    pub local: Option<LocalSpec>,
    /// The first match.
    pub target: Option<TargetSpec>,
    /// How many types of the target could stand for the root when this relocation was reached.
    pub candidates: usize,
    /// How many of them matched.
    pub matches: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// Why there is no match, or why the instruction was poisoned all the same.
    pub reason: Option<Reason>,
    /// The values; None on an error.
    pub decision: Option<Decision>,
    /// The instruction's bytes in file order: 8, or 16 for a 64-bit immediate load.
    pub insn_before: Vec<u8>,
    /// The same after relocation.
    pub insn_after: Vec<u8>,
}

/// Resolves every relocation of an object against a target.
///
/// An error does not end it: what follows is resolved as if the object were not refused.
pub fn relocate(object: &BpfObject, target: &Target<'_>, mode: Mode) -> Vec<RecordedRelo> {
    let mut relocation = Relocation::new(object, target, mode);
    (0..object.relos().len()).map(|index| relocation.record(index)).collect()
}

/// An object on its way through a target: the candidates narrow, the instructions change.
pub(crate) struct Relocation<'r> {
    object: &'r BpfObject,
    decider: Decider<'r>,
    /// By local root; only looked up, never iterated.
    candidates: HashMap<TypeId, Vec<Candidate>>,
    code: Vec<Vec<u8>>,
}

/// A relocation resolved and applied.
pub(crate) struct Step {
    pub local: Option<LocalSpec>,
    pub candidates: Vec<Candidate>,
    pub resolved: Option<Resolved>,
    pub before: Option<Patched>,
    /// The instruction afterwards, or why libbpf refuses the object.
    pub after: Result<Patched, ReloError>,
}

impl<'r> Relocation<'r> {
    pub(crate) fn new(object: &'r BpfObject, target: &'r Target<'r>, mode: Mode) -> Relocation<'r> {
        let decider = Decider { local: object.btf(), order: object.order(), target, mode };
        let code = object.sections().iter().map(|section| section.code.clone()).collect();
        Relocation { object, decider, candidates: HashMap::new(), code }
    }

    /// Resolves and applies the next relocation; they must be taken in order.
    pub(crate) fn step(&mut self, index: usize, watch: Option<&mut UsedSet>) -> Step {
        let relo = &self.object.relos()[index];
        let mut step = Step {
            local: None,
            candidates: Vec::new(),
            resolved: None,
            before: self.read_insn(relo),
            after: Err(ReloError::NoInsn(relo.relo.insn_off)),
        };
        match self.resolve(relo, &mut step, watch) {
            Ok(resolved) => {
                step.after = self.apply(relo, &step, &resolved.decision);
                step.resolved = Some(resolved);
            }
            Err(error) => step.after = Err(error),
        }
        step
    }

    fn resolve(
        &mut self,
        relo: &ObjectRelo,
        step: &mut Step,
        watch: Option<&mut UsedSet>,
    ) -> Result<Resolved, ReloError> {
        let root = relo.relo.type_id;
        let is_local = relo.relo.kind == ReloKind::LocalTypeId as u32;
        if !is_local {
            step.candidates = self.candidates_of(root)?;
        }
        let local = step.local.insert(LocalSpec::parse(self.object.btf(), &relo.relo)?);
        let mut narrowed = step.candidates.clone();
        let resolved = self.decider.decide(local, &mut narrowed, watch)?;
        // What libbpf skips narrows nothing.
        if !is_local && relo.program.is_some() {
            self.candidates.insert(root, narrowed);
        }
        Ok(resolved)
    }

    fn candidates_of(&mut self, root: TypeId) -> Result<Vec<Candidate>, ReloError> {
        if let Some(known) = self.candidates.get(&root) {
            return Ok(known.clone());
        }
        let root_type = self.object.btf().resolve(root).map_err(ReloError::local)?;
        let found = self.decider.target.candidates(&root_type)?;
        self.candidates.insert(root, found.clone());
        Ok(found)
    }

    fn read_insn(&self, relo: &ObjectRelo) -> Option<Patched> {
        let at = relo.relo.insn_off as usize;
        let code = self.code[relo.section].get(at..).filter(|_| at.is_multiple_of(INSN_LEN))?;
        patch::read(code, self.object.order())
    }

    fn apply(&mut self, relo: &ObjectRelo, step: &Step, decision: &Decision) -> Result<Patched, ReloError> {
        let before = step.before.ok_or(ReloError::NoInsn(relo.relo.insn_off))?;
        let after = patch::patch(before, decision, self.decider.mode)?;
        let at = relo.relo.insn_off as usize;
        let bytes = after.encode(self.object.order());
        self.code[relo.section][at..at + bytes.len()].copy_from_slice(&bytes);
        Ok(after)
    }

    fn record(&mut self, index: usize) -> RecordedRelo {
        let relo = &self.object.relos()[index];
        let step = self.step(index, None);
        let order = self.object.order();
        let insn_before = step.before.map(|insn| insn.encode(order)).unwrap_or_default();
        let insn_after = match &step.after {
            Ok(insn) => insn.encode(order),
            Err(_) => insn_before.clone(),
        };
        let reason = reason::of(&self.decider, &step);
        let matches = step.resolved.as_ref().map_or(0, |resolved| resolved.matches.len());
        RecordedRelo {
            index,
            kind: ReloKind::from_number(relo.relo.kind),
            candidates: step.candidates.len(),
            matches,
            outcome: outcome_of(&step),
            reason,
            decision: step.resolved.as_ref().map(|resolved| resolved.decision),
            target: step.resolved.and_then(|resolved| resolved.matches.into_iter().next()),
            local: step.local,
            insn_before,
            insn_after,
        }
    }
}

fn outcome_of(step: &Step) -> Outcome {
    match (&step.after, &step.resolved) {
        (Err(error), _) => Outcome::Error(error.clone()),
        (Ok(insn), _) if insn.poisoned => Outcome::Poisoned,
        (Ok(_), Some(resolved)) if resolved.matches.is_empty() && !is_local_id(step) => Outcome::Absent,
        (Ok(_), _) => Outcome::Relocated,
    }
}

fn is_local_id(step: &Step) -> bool {
    step.local.as_ref().is_some_and(|local| local.0.kind == ReloKind::LocalTypeId)
}
