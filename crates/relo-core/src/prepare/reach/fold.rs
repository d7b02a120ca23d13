//! Constants folded over the whole code at once: what is constant on every path that meets.

use std::collections::{BTreeMap, BTreeSet};

use super::Image;
use super::branch::Split;
use super::flow::Flow;
use super::state::State;
use super::step::{Step, clobber_arguments, execute, forget_for_subprogram};
use super::value::Value;

/// Steps that may be taken, as a multiple of the instructions.
const PATIENCE: usize = 200;

/// For each instruction whether it can be reached; None where the code is too tangled to say.
pub(crate) fn reached(image: &Image<'_>, flow: &Flow) -> Option<Vec<bool>> {
    Folder {
        image,
        flow,
        reached: vec![false; image.insns.len()],
        states: BTreeMap::new(),
        work: BTreeSet::new(),
        returns: vec![None; image.parts.len()],
        calls: vec![BTreeMap::new(); image.parts.len()],
        left: image.patience.get().min(PATIENCE * image.insns.len() + 10_000),
        kept: 0,
        slots: 0,
    }
    .run()
}

/// States that are kept of one program, and slots of the stack in all of them.
const STATES: usize = 200_000;
const SLOTS: usize = 1_000_000;

struct Folder<'f, 'i> {
    image: &'f Image<'i>,
    flow: &'f Flow,
    reached: Vec<bool>,
    /// What is known where paths meet.
    states: BTreeMap<usize, State>,
    /// Places that have to be gone on from.
    work: BTreeSet<usize>,
    /// By part: what it returns on all paths so far.
    returns: Vec<Option<Returned>>,
    /// By part: calls of it, with what the caller knows behind each.
    calls: Vec<BTreeMap<usize, State>>,
    left: usize,
    /// States that are kept, and slots of the stack in them.
    kept: usize,
    slots: usize,
}

/// What a function returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Returned {
    value: Value,
    /// Made by the function, not by a caller.
    made_here: bool,
}

impl Folder<'_, '_> {
    fn run(mut self) -> Option<Vec<bool>> {
        let before = self.left;
        let done = self.fold();
        let patience = &self.image.patience;
        patience.set(patience.get().saturating_sub(before - self.left));
        done.map(|()| self.reached)
    }

    fn fold(&mut self) -> Option<()> {
        self.meet(0, State::of_program());
        if let Some(callback) = self.image.exception_callback {
            self.meet_part(callback, self.image.global_arguments());
        }
        if self.image.verifier.lazy_globals != Some(true) {
            for part in (1..self.image.parts.len()).filter(|&part| !self.image.is_inline(part)) {
                self.meet_part(part, self.image.global_arguments());
            }
        }
        while let Some(at) = self.work.pop_first() {
            let state = self.states[&at].clone();
            self.follow(at, state)?;
            if self.kept > STATES || self.slots > SLOTS {
                return None;
            }
        }
        Some(())
    }

    /// One more state is kept: there is an end to the memory that a program may take.
    fn keep(&mut self, state: &State) {
        self.kept += 1;
        self.slots += state.stack.len();
    }

    fn meet_part(&mut self, part: usize, state: State) {
        self.meet(self.image.parts[part].start, state);
    }

    /// A path comes to a place where others may come as well.
    fn meet(&mut self, at: usize, mut state: State) {
        if at >= self.image.insns.len() {
            return;
        }
        state.forget_dead(self.flow.live[at]);
        match self.states.get_mut(&at) {
            Some(known) => {
                if known.join(&state) {
                    self.work.insert(at);
                }
            }
            None => {
                self.keep(&state);
                self.states.insert(at, state);
                self.work.insert(at);
            }
        }
    }

    /// Goes on until paths part, meet or end.
    fn follow(&mut self, start: usize, mut state: State) -> Option<()> {
        let mut at = start;
        loop {
            self.left = self.left.checked_sub(1)?;
            if at >= self.image.insns.len() {
                return Some(());
            }
            if at != start && self.flow.meets[at] {
                self.meet(at, state);
                return Some(());
            }
            self.reached[at] = true;
            match execute(self.image, at, state) {
                Step::At(next, after) => {
                    self.reach_callback(at, &after);
                    (at, state) = (next, after);
                }
                Step::Split(target, Split::One(true, after)) => {
                    self.meet(target, after);
                    return Some(());
                }
                Step::Split(_, Split::One(false, after)) => (at, state) = (at + 1, after),
                Step::Split(target, Split::Both(ways)) => {
                    let [taken, fall] = *ways;
                    self.meet(target, taken.state);
                    (at, state) = (at + 1, fall.state);
                }
                Step::Call { callee, state } => {
                    self.call(at, callee, state);
                    return Some(());
                }
                Step::Anywhere(state) => {
                    for table in &self.image.references.jump_tables {
                        self.left = self.left.checked_sub(table.targets.len())?;
                        for &target in &table.targets {
                            self.meet(target, state.clone());
                        }
                    }
                    return Some(());
                }
                Step::Exit(value) => {
                    self.exit(at, value);
                    return Some(());
                }
                Step::End => return Some(()),
            }
        }
    }

    /// A function whose address is taken may be called with anything.
    fn reach_callback(&mut self, at: usize, state: &State) {
        let insn = self.image.insns[at];
        if insn.is_function_address()
            && let Value::Function(start) = state.get(insn.dst)
        {
            self.meet(start as usize, State::new());
        }
    }

    fn call(&mut self, at: usize, callee: usize, mut state: State) {
        let part = self.image.part_of(callee);
        if self.image.is_inline(part) {
            let mut inner = State::new();
            for register in 1..6 {
                inner.set(register, state.get(register).in_callee());
            }
            self.meet(callee, inner);
        } else {
            self.meet(callee, self.image.global_arguments());
        }
        forget_for_subprogram(&mut state);
        clobber_arguments(&mut state);
        if !self.calls[part].contains_key(&at) {
            self.keep(&state);
        }
        self.calls[part].insert(at, state.clone());
        if !self.image.is_inline(part) {
            state.set(0, Value::vague());
            self.meet(at + 1, state);
        } else if let Some(value) = self.returns[part] {
            self.go_on_behind(at, state, value);
        }
    }

    fn go_on_behind(&mut self, call: usize, mut state: State, returned: Returned) {
        state.set_returned(returned.value, returned.made_here, call);
        self.meet(call + 1, state);
    }

    fn exit(&mut self, at: usize, value: Value) {
        let part = self.image.part_of(at);
        let value = if value.may_be_stack() { Value::vague() } else { value };
        let joined = match self.returns[part] {
            Some(known) => known.value.join(value),
            None => value,
        };
        let joined = Returned { value: joined, made_here: self.image.is_made_by(part, joined) };
        if self.returns[part] == Some(joined) || !self.image.is_inline(part) {
            return;
        }
        self.returns[part] = Some(joined);
        let calls = std::mem::take(&mut self.calls[part]);
        for (&call, state) in &calls {
            self.go_on_behind(call, state.clone(), joined);
        }
        self.calls[part] = calls;
    }
}
