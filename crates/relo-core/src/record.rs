//! The record: what each relocation of an object resolved to on a target, and why.

use std::sync::Arc;

use crate::alike::{NONE, Numbers};
use crate::answer::{Answer, Answers, CandidateList};
use crate::decide::Resolved;
use crate::patch::{self, Patched};
use crate::question::Question;
use crate::reason;
use crate::used::UsedSet;
use crate::{
    BpfObject, Decision, LocalSpec, Mode, ObjectRelo, Reason, ReloError, ReloKind, Target, TargetSpec,
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
    pub local: Option<Arc<LocalSpec>>,
    /// The first match.
    pub target: Option<Arc<TargetSpec>>,
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
    let mut answers = Answers::new(target, mode);
    relocate_with(object, &mut answers)
}

/// The same for several objects, which share the answers to what they all ask.
pub fn relocate_all(objects: &[&BpfObject], target: &Target<'_>, mode: Mode) -> Vec<Vec<RecordedRelo>> {
    let mut answers = Answers::new(target, mode);
    objects.iter().map(|object| relocate_with(object, &mut answers)).collect()
}

fn relocate_with(object: &BpfObject, answers: &mut Answers<'_>) -> Vec<RecordedRelo> {
    let mut relocation = Relocation::new(object, answers.target);
    (0..object.relos().len()).map(|index| relocation.record(index, answers)).collect()
}

/// An object on its way through a target: the candidates narrow, the instructions change.
pub(crate) struct Relocation<'r> {
    object: &'r BpfObject,
    /// Of an object whose questions others ask as well.
    numbers: Option<Arc<Numbers>>,
    /// What is left of each root's candidates.
    candidates: Vec<Option<Result<CandidateList, ReloError>>>,
    /// The code as it is by now; only where one relocation may see what another did.
    code: Option<Vec<Vec<u8>>>,
}

/// A relocation resolved and applied.
pub(crate) struct Step<'r> {
    pub question: &'r Question,
    /// The root's candidates when the relocation was reached.
    pub candidates: CandidateList,
    pub answer: Result<Arc<Answer>, ReloError>,
    pub before: Option<Patched>,
    /// The instruction afterwards, or why libbpf refuses the object.
    pub after: Result<Patched, ReloError>,
}

impl Step<'_> {
    /// The path in the object's types, unless the root itself was an error.
    fn local(&self) -> Option<&Arc<LocalSpec>> {
        self.answer.as_ref().ok().and(self.question.local.as_ref().ok())
    }

    /// The decision and its matches.
    pub(crate) fn resolved(&self) -> Option<&Resolved> {
        self.answer.as_ref().ok()?.resolved.as_ref().ok()
    }
}

impl<'r> Relocation<'r> {
    pub(crate) fn new(object: &'r BpfObject, target: &Target<'_>) -> Relocation<'r> {
        let code = || object.sections().iter().map(|section| section.code.to_vec()).collect();
        Relocation {
            object,
            numbers: target.wanted().alike().numbers(object).cloned(),
            candidates: vec![None; object.questions().roots.len()],
            code: object.relos_overlap().then(code),
        }
    }

    /// Resolves and applies the next relocation; they must be taken in order.
    pub(crate) fn step(
        &mut self,
        index: usize,
        answers: &mut Answers<'_>,
        watch: Option<&mut UsedSet>,
    ) -> Step<'r> {
        let relo = &self.object.relos()[index];
        let question = &self.object.questions().list[relo.question];
        let (candidates, answer) = self.ask(relo, answers, watch);
        let mut step = Step { question, candidates, answer, before: None, after: Err(ReloError::TooComplex) };
        step.before = match &self.code {
            Some(code) => patch::read_at(&code[relo.section], relo.relo.insn_off, self.object.order()),
            None => relo.insn,
        };
        step.after = self.apply(relo, &step, answers.mode);
        step
    }

    /// The answer to a relocation's question, and the candidates that it was given for.
    fn ask(
        &mut self,
        relo: &ObjectRelo,
        answers: &mut Answers<'_>,
        watch: Option<&mut UsedSet>,
    ) -> (CandidateList, Result<Arc<Answer>, ReloError>) {
        let question = &self.object.questions().list[relo.question];
        let candidates = match self.candidates_of(question, answers) {
            Ok(candidates) => candidates,
            Err(error) => return (CandidateList::default(), Err(error)),
        };
        let shared = match (&watch, &self.numbers) {
            (None, Some(numbers)) => answers.of_number(self.object, numbers, relo.question),
            (_, _) => None,
        };
        if let Some(answer) = shared {
            return (candidates, Ok(answer.clone()));
        }
        let answer = match watch {
            None => answers.get(self.object, question, &candidates),
            watch => answers.ask(self.object, question, &candidates, watch),
        };
        // What libbpf skips narrows nothing.
        if question.has_candidates && relo.program.is_some() {
            self.candidates[question.root] = Some(Ok(answer.narrowed.clone()));
        }
        (candidates, Ok(answer))
    }

    fn candidates_of(
        &mut self,
        question: &Question,
        answers: &mut Answers<'_>,
    ) -> Result<CandidateList, ReloError> {
        if !question.has_candidates {
            return Ok(CandidateList::default());
        }
        let root = &self.object.questions().roots[question.root];
        let number = self.numbers.as_ref().map_or(NONE, |numbers| numbers.roots[question.root]);
        self.candidates[question.root].get_or_insert_with(|| answers.candidates(root, number)).clone()
    }

    fn apply(&mut self, relo: &ObjectRelo, step: &Step<'_>, mode: Mode) -> Result<Patched, ReloError> {
        let answer = step.answer.as_ref().map_err(Clone::clone)?;
        let decision = &answer.resolved.as_ref().map_err(Clone::clone)?.decision;
        let before = step.before.ok_or(ReloError::NoInsn(relo.relo.insn_off))?;
        let after = patch::patch(before, decision, mode)?;
        if let Some(code) = &mut self.code {
            let at = relo.relo.insn_off as usize;
            let bytes = after.encode(self.object.order());
            code[relo.section][at..at + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(after)
    }

    fn record(&mut self, index: usize, answers: &mut Answers<'_>) -> RecordedRelo {
        let relo = &self.object.relos()[index];
        let step = self.step(index, answers, None);
        let order = self.object.order();
        let insn_before = step.before.map(|insn| insn.encode(order)).unwrap_or_default();
        let insn_after = match &step.after {
            Ok(insn) => insn.encode(order),
            Err(_) => insn_before.clone(),
        };
        let resolved = step.resolved();
        RecordedRelo {
            index,
            kind: ReloKind::from_number(relo.relo.kind),
            candidates: step.candidates.len(),
            matches: resolved.map_or(0, |resolved| resolved.matches.len()),
            outcome: outcome_of(&step),
            reason: reason::of(&answers.decider(self.object), &step),
            decision: resolved.map(|resolved| resolved.decision),
            target: resolved.and_then(|resolved| resolved.matches.first().cloned()),
            local: step.local().cloned(),
            insn_before,
            insn_after,
        }
    }
}

fn outcome_of(step: &Step<'_>) -> Outcome {
    match (&step.after, step.resolved()) {
        (Err(error), _) => Outcome::Error(error.clone()),
        (Ok(insn), _) if insn.poisoned => Outcome::Poisoned,
        (Ok(_), Some(resolved)) if resolved.matches.is_empty() && step.question.has_candidates => {
            Outcome::Absent
        }
        (Ok(_), _) => Outcome::Relocated,
    }
}
