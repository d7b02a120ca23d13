//! What the relocations of several objects have in common: those that must end alike on any target have one number.

use std::sync::Arc;

use btf::Kind;
use rustc_hash::FxHashMap;

use crate::patch::Patched;
use crate::question::{Key, Question, Root};
use crate::{BpfObject, ObjectRelo};

/// No number: to be resolved for this object alone.
pub(crate) const NONE: u32 = u32::MAX;

/// The numbers that the parts of some objects share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alike {
    /// By the address of an object's relocations, which is its own as long as they are kept here.
    objects: FxHashMap<usize, (Arc<[ObjectRelo]>, Arc<Numbers>)>,
    /// By slot of the name, and kind.
    roots: FxHashMap<(u32, Kind), u32>,
    questions: FxHashMap<(u32, Key), u32>,
    cases: FxHashMap<(u32, Patched), u32>,
}

/// The numbers of one object's parts.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// By index in [`BpfObject::relos`]: those that ask the same for the same instruction.
    pub cases: Vec<u32>,
    /// By index in the object's questions: those that ask the same of the same root.
    pub questions: Vec<u32>,
    /// By index in the object's roots: those of the same name and kind.
    pub roots: Vec<u32>,
}

impl Alike {
    /// Numbers an object; `slot_of` gives the slot that the name of a root has.
    pub(crate) fn add(&mut self, object: &BpfObject, slot_of: impl Fn(&[u8]) -> Option<u32>) {
        let all = object.questions();
        let root = |root: &Root| {
            let (kind, name) = root.wanted.as_ref().ok()?;
            let next = self.roots.len() as u32;
            Some(*self.roots.entry((slot_of(name)?, *kind)).or_insert(next))
        };
        let roots: Vec<u32> = all.roots.iter().map(root).map(|number| number.unwrap_or(NONE)).collect();
        let questions: Vec<u32> =
            all.list.iter().map(|question| self.question(question, roots[question.root])).collect();
        // Where one relocation may see what another has done, its instruction says too little.
        let apart = object.relos_overlap();
        let case = |relo: &ObjectRelo| match (relo.insn, questions[relo.question]) {
            (Some(insn), question) if question != NONE && !apart => {
                let next = self.cases.len() as u32;
                *self.cases.entry((question, insn)).or_insert(next)
            }
            _alone => NONE,
        };
        let cases = object.relos().iter().map(case).collect();
        let numbers = Arc::new(Numbers { cases, questions, roots });
        self.objects.insert(address(object), (object.shared_relos().clone(), numbers));
    }

    fn question(&mut self, question: &Question, root: u32) -> u32 {
        match &question.key {
            // A root without a number is an error that is the object's own.
            Some(key) if root != NONE => {
                let next = self.questions.len() as u32;
                *self.questions.entry((root, key.clone())).or_insert(next)
            }
            Some(_) | None => NONE,
        }
    }

    /// The numbers of an object; None of one that has not been added.
    pub(crate) fn numbers(&self, object: &BpfObject) -> Option<&Arc<Numbers>> {
        self.objects.get(&address(object)).map(|(_, numbers)| numbers)
    }

    /// How many cases there are.
    pub(crate) fn cases(&self) -> usize {
        self.cases.len()
    }

    /// How many roots there are.
    pub(crate) fn roots(&self) -> usize {
        self.roots.len()
    }

    /// How many questions there are.
    pub(crate) fn questions(&self) -> usize {
        self.questions.len()
    }
}

fn address(object: &BpfObject) -> usize {
    object.shared_relos().as_ptr().addr()
}
