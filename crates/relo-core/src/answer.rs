//! Answers of one target: each question is resolved once for every list of candidates, whichever object asks.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use btf::Kind;

use crate::alike::Numbers;
use crate::decide::{Decider, Resolved};
use crate::question::{Key, Question, Root};
use crate::used::UsedSet;
use crate::{BpfObject, Candidate, Mode, ReloError, Target};

/// Candidates of a root, in order; shared, since most lists never change.
pub(crate) type CandidateList = Arc<[Candidate]>;

/// What a question came to.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Index in [`Answers::all`].
    pub index: usize,
    pub resolved: Result<Resolved, ReloError>,
    /// The candidates that are left for the next question about the same root.
    pub narrowed: CandidateList,
}

/// An answer and the candidates that it was given for.
type Known = (CandidateList, Arc<Answer>);

/// A target and what it has answered so far.
pub(crate) struct Answers<'t> {
    pub target: &'t Target<'t>,
    pub mode: Mode,
    /// By number: the candidates that a root starts with.
    roots: Vec<Option<CandidateList>>,
    /// By number: the answers to questions about roots with one candidate at most, where nothing can narrow.
    numbered: Vec<Option<Arc<Answer>>>,
    /// Only looked up, never iterated. A key has more than one answer only where lists have been narrowed.
    known: HashMap<Key, Vec<Known>, BuildHasherDefault<Prehashed>>,
    /// Every answer once, in the order of the questions.
    pub all: Vec<Arc<Answer>>,
}

impl<'t> Answers<'t> {
    pub(crate) fn new(target: &'t Target<'t>, mode: Mode) -> Answers<'t> {
        let alike = target.wanted().alike();
        Answers {
            target,
            mode,
            roots: vec![None; alike.roots()],
            numbered: vec![None; alike.questions()],
            known: HashMap::default(),
            all: Vec::new(),
        }
    }

    /// The candidates that a root starts with; its number may be [`crate::alike::NONE`].
    pub(crate) fn candidates(&mut self, root: &Root, number: u32) -> Result<CandidateList, ReloError> {
        let (kind, name) = root.wanted.as_ref().map_err(Clone::clone)?;
        let find = || self.target.candidates(*kind, name).into();
        Ok(match self.roots.get_mut(number as usize) {
            Some(known) => known.get_or_insert_with(find).clone(),
            None => find(),
        })
    }

    /// The answer to an object's question, where it is the same for all that have its number: where the root has one
    /// candidate at most, so that no other question can take one away.
    pub(crate) fn of_number(
        &mut self,
        object: &BpfObject,
        numbers: &Numbers,
        question: usize,
    ) -> Option<&Arc<Answer>> {
        let number = numbers.questions[question] as usize;
        if self.numbered.get(number)?.is_none() {
            let question = &object.questions().list[question];
            let root = &object.questions().roots[question.root];
            let candidates = match question.has_candidates {
                true => self.candidates(root, numbers.roots[question.root]).ok()?,
                false => CandidateList::default(),
            };
            if candidates.len() > 1 {
                return None;
            }
            self.numbered[number] = Some(self.ask(object, question, &candidates, None));
        }
        self.numbered[number].as_ref()
    }

    /// The answer to an object's question, given what is left of its root's candidates.
    pub(crate) fn get(
        &mut self,
        object: &BpfObject,
        question: &Question,
        candidates: &CandidateList,
    ) -> Arc<Answer> {
        let Some(key) = &question.key else {
            return self.ask(object, question, candidates, None);
        };
        if let Some(answers) = self.known.get(key)
            && let Some((_, answer)) = answers.iter().find(|(list, _)| list == candidates)
        {
            return answer.clone();
        }
        let answer = self.ask(object, question, candidates, None);
        self.known.entry(key.clone()).or_default().push((candidates.clone(), answer.clone()));
        answer
    }

    /// Resolves without looking whether it has been; with `watch`, all that had a part in it is added there.
    pub(crate) fn ask(
        &mut self,
        object: &BpfObject,
        question: &Question,
        candidates: &CandidateList,
        watch: Option<&mut UsedSet>,
    ) -> Arc<Answer> {
        let decider = self.decider(object);
        let (resolved, narrowed) = match &question.local {
            Ok(local) => decider.decide(local, question.value(self.mode), candidates, watch),
            Err(error) => (Err(error.clone()), candidates.clone()),
        };
        let answer = Arc::new(Answer { index: self.all.len(), resolved, narrowed });
        self.all.push(answer.clone());
        answer
    }

    pub(crate) fn decider<'d>(&'d self, object: &'d BpfObject) -> Decider<'d> {
        Decider { local: object.btf(), order: object.order(), target: self.target, mode: self.mode }
    }
}

impl Target<'_> {
    /// The candidates of a local root (libbpf: `bpf_core_find_cands`): those of vmlinux, or else those of modules.
    fn candidates(&self, kind: Kind, essential_name: &[u8]) -> Vec<Candidate> {
        let Some(slot) = self.wanted().slot_of(essential_name) else {
            return Vec::new();
        };
        let vmlinux: Vec<Candidate> = self.found_in(0, slot, kind).collect();
        if vmlinux.is_empty() {
            (1..self.btfs().len()).flat_map(|module| self.found_in(module, slot, kind)).collect()
        } else {
            vmlinux
        }
    }
}

/// Takes the hash that a [`Key`] brings along.
#[derive(Default)]
struct Prehashed(u64);

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
