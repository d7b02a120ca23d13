//! Which poisoned instructions the verifier gets to.
//!
//! The verifier refuses a program when it gets to a poisoned instruction, and ignores those that it sees are dead. It
//! follows every path and knows on each which values are constant; so do the two analyses here, with less knowledge
//! where knowing more would take more than it gives:
//!
//! - [`fold`] goes over the code with what is constant on all paths that meet, and so proves quickly that instructions
//!   are dead. It claims no knowledge that the verifier of the kernel lacks.
//! - [`walk`] follows single paths to the others. A path whose every branch is one that the verifier can't decide, or
//!   decides the same way, shows that it gets there.
//!
//! Where neither has an answer, the answer is that it is not known, and the branch that it hangs on.

mod arithmetic;
mod branch;
mod comparison;
mod flow;
mod fold;
mod helper_result;
mod state;
mod step;
mod value;
mod walk;

use std::cell::Cell;
use std::collections::BTreeMap;

use super::code::Part;
use super::environment::Verifier;
use super::references::References;
use super::status::{Doubt, Reach};
use crate::Insn;
use crate::open::Map;
use flow::Flow;
use state::State;
use value::{Known, Value};

/// A program, and what the verifier knows from elsewhere.
pub(crate) struct Image<'i> {
    pub insns: &'i [Insn],
    pub parts: &'i [Part],
    /// By part: whether the verifier checks it apart from its callers.
    pub global: &'i [bool],
    /// The part that is called when an exception is thrown.
    pub exception_callback: Option<usize>,
    pub references: &'i References,
    pub verifier: Verifier,
    /// Whether loads of the context can give pointers that are never null.
    pub typed_context: bool,
    /// Whether the verifier has bounds for numbers in the context.
    pub bounded_context: bool,
    /// Whether nothing says that arguments of global functions are pointers that can't be null.
    pub plain_arguments: bool,
    pub maps: &'i [Map],
    /// Steps that may still be taken for the whole object.
    pub patience: &'i Cell<usize>,
    pub content: &'i dyn Fn(u32, u64, u32) -> Content,
}

/// What is known of some bytes of a map's only value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The map is frozen, and this is the number.
    Is(u64),
    /// The map is frozen: the verifier knows the number, and here nobody does.
    Fixed,
    /// Anybody may change it.
    Changes,
}

impl Image<'_> {
    /// A value of a map that the verifier reads when it checks a program.
    fn content(&self, map: u32, offset: u64, size: u32) -> Content {
        if !self.verifier.constant_maps {
            return Content::Changes;
        }
        (self.content)(map, offset, size)
    }

    /// The function that an instruction belongs to.
    fn part_of(&self, insn: usize) -> usize {
        self.parts.partition_point(|part| part.start <= insn).saturating_sub(1)
    }

    /// Whether calls of a part are followed with what the caller knows.
    fn is_inline(&self, part: usize) -> bool {
        !(self.verifier.global_functions && self.global.get(part).copied().unwrap_or(false))
    }

    /// Whether a value was made by an instruction of a part, as its id says.
    fn is_made_by(&self, part: usize, value: Value) -> bool {
        let Some(made) = (value.id() as usize).checked_sub(1).filter(|&at| at < self.insns.len()) else {
            return true;
        };
        self.part_of(made) == part
    }

    /// What a function finds that the verifier checks apart from its callers.
    fn global_arguments(&self) -> State {
        State::of_global(if self.plain_arguments { Known::Free } else { Known::PerhapsPointer })
    }
}

/// Decides for each poisoned instruction whether the verifier gets there.
pub(crate) fn analyze(image: &Image<'_>) -> BTreeMap<usize, Reach> {
    let flow = Flow::of(image);
    let poisoned = image.references.poisons.keys().copied();
    let open: Vec<usize> = match fold::reached(image, &flow) {
        Some(reached) => poisoned.filter(|&insn| reached[insn]).collect(),
        None => poisoned.collect(),
    };
    let mut reaches: BTreeMap<usize, Reach> =
        image.references.poisons.keys().map(|&insn| (insn, Reach::Never)).collect();
    if open.is_empty() {
        return reaches;
    }
    let walked = walk::walk(image, &flow, &open);
    for insn in open {
        let reach = match walked.found.get(&insn) {
            Some(None) => Reach::Always,
            Some(&Some(branch)) => Reach::Perhaps(Doubt::Branch { insn, branch }),
            None if walked.complete => Reach::Never,
            None => Reach::Perhaps(Doubt::TooManyPaths),
        };
        reaches.insert(insn, reach);
    }
    reaches
}
