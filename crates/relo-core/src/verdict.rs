//! Verdicts: what each relocation comes to on one BTF, found out once for all that must end alike.

use crate::alike::{NONE, Numbers};
use crate::answer::Answers;
use crate::patch::{self, Patched};
use crate::record::Relocation;
use crate::{BpfObject, Decision, Mode, ReloError, ReloKind, Target};

/// What a relocation came to on one BTF, or why libbpf refuses the object.
pub(crate) type Verdict = Result<Settled, ReloError>;

/// The end of a relocation that is no error.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settled {
    pub decision: Decision,
    pub insn: Patched,
    /// Whether any type matched: a size of 0 can be that of a type, or of none.
    pub matched: bool,
}

/// The verdicts on one BTF, as far as they have been asked for.
pub(crate) struct Verdicts<'t> {
    pub answers: Answers<'t>,
    list: Vec<Verdict>,
    /// Of each the index of its answer, if it has one.
    asked: Vec<Option<usize>>,
    /// By number of the case: its place in the list, or [`NONE`].
    cases: Vec<u32>,
}

impl<'t> Verdicts<'t> {
    pub(crate) fn new(target: &'t Target<'t>, mode: Mode) -> Verdicts<'t> {
        let cases = vec![NONE; target.wanted().alike().cases()];
        Verdicts { answers: Answers::new(target, mode), list: Vec::new(), asked: Vec::new(), cases }
    }

    /// The verdict in a place.
    pub(crate) fn get(&self, place: u32) -> &Verdict {
        &self.list[place as usize]
    }

    /// The index of the answer that a verdict stands on.
    pub(crate) fn answer_of(&self, place: u32) -> Option<usize> {
        self.asked[place as usize]
    }

    /// The places of the verdicts on an object's relocations, by their index.
    pub(crate) fn on(&mut self, object: &BpfObject) -> Vec<u32> {
        let numbers = self.answers.target.wanted().alike().numbers(object).cloned();
        let mut relocation = Relocation::new(object, self.answers.target);
        let place = |relo| match numbers.as_ref().and_then(|numbers| self.of_case(object, numbers, relo)) {
            Some(place) => place,
            // The relocations that are left out here are about other roots and other instructions.
            None => self.of_step(&mut relocation, relo),
        };
        (0..object.relos().len()).map(place).collect()
    }

    /// The verdict that is shared by all relocations of one case, if there is one for this BTF.
    fn of_case(&mut self, object: &BpfObject, numbers: &Numbers, relo: usize) -> Option<u32> {
        let case = numbers.cases[relo] as usize;
        if *self.cases.get(case)? == NONE {
            let relo = &object.relos()[relo];
            let before = relo.insn?;
            let mode = self.answers.mode;
            let answer = self.answers.of_number(object, numbers, relo.question)?;
            let verdict = match &answer.resolved {
                Ok(resolved) => patch::patch(before, &resolved.decision, mode).map(|insn| Settled {
                    decision: resolved.decision,
                    insn,
                    matched: !resolved.matches.is_empty(),
                }),
                Err(error) => Err(error.clone()),
            };
            let index = answer.index;
            self.cases[case] = self.add(verdict, Some(index));
        }
        Some(self.cases[case])
    }

    /// The verdict on a relocation that depends on those before it.
    fn of_step(&mut self, relocation: &mut Relocation<'_>, relo: usize) -> u32 {
        let step = relocation.step(relo, &mut self.answers, None);
        let asked = step.answer.as_ref().ok().map(|answer| answer.index);
        let verdict = match (&step.after, step.resolved()) {
            (Err(error), _) => Err(error.clone()),
            (Ok(_), None) => Err(ReloError::TooComplex),
            (Ok(insn), Some(resolved)) => Ok(Settled {
                decision: resolved.decision,
                insn: *insn,
                matched: !resolved.matches.is_empty(),
            }),
        };
        self.add(verdict, asked)
    }

    fn add(&mut self, verdict: Verdict, asked: Option<usize>) -> u32 {
        self.list.push(verdict);
        self.asked.push(asked);
        (self.list.len() - 1) as u32
    }
}

/// Whether two verdicts are one: the value, what becomes of the instruction, or the kind of the error.
pub(crate) fn same(full: &Verdict, min: &Verdict, kind: Option<ReloKind>) -> bool {
    match (full, min) {
        // Ids differ by design; whether there is one does not.
        (Ok(full), Ok(min)) if kind == Some(ReloKind::TargetTypeId) => full.matched == min.matched,
        (Ok(full), Ok(min)) => full == min,
        (Err(full), Err(min)) => full.code() == min.code(),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    }
}
