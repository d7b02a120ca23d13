//! Single paths to poisoned instructions: a path on which every branch is open shows that the verifier gets there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::branch::{Split, Way};
use super::flow::Flow;
use super::state::{Slot, State};
use super::step::{Step, clobber_arguments, execute, forget_for_subprogram, immediate};
use super::value::{Scalar, Value};
use super::{Image, helper_result};
use crate::Insn;
use crate::prepare::opcode::jump;

/// Instructions that may be executed for one program.
const STEPS: usize = 400_000;
/// Paths that may wait, and those that are remembered of all places.
const PATHS: usize = 20_000;
/// States that are remembered of one place.
const REMEMBERED: usize = 64;
/// Calls within calls, as the verifier allows.
const FRAMES: usize = 8;

/// What walking came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Walked {
    /// Instructions that were reached: for sure, or depending on a branch.
    pub found: BTreeMap<usize, Option<usize>>,
    /// Whether all paths were followed to their ends.
    pub complete: bool,
}

/// Walks until every wanted instruction is reached for sure, or all paths are followed, or patience ends.
pub(crate) fn walk(image: &Image<'_>, flow: &Flow, wanted: &[usize]) -> Walked {
    let mut walker = Walker {
        image,
        flow,
        open: wanted.iter().copied().collect(),
        walked: Walked::default(),
        seen: BTreeMap::new(),
        waiting: VecDeque::new(),
        remembered: 0,
        left: STEPS.min(image.patience.get()),
        overflow: false,
    };
    let before = walker.left;
    walker.run();
    image.patience.set(image.patience.get() - (before - walker.left));
    walker.walked
}

/// A path, and what is known on it.
#[derive(Debug, Clone)]
struct Path {
    at: usize,
    state: State,
    /// Callers, the innermost last; shared by the paths that part in a callee.
    frames: Vec<Rc<Frame>>,
    /// The first branch of which it is not known whether the verifier goes this way.
    unsure: Option<usize>,
}

/// A caller that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    behind: usize,
    registers: [Value; 4],
    stack: Vec<Slot>,
    holds_own: bool,
}

impl Frame {
    /// What the caller knows behind the call.
    fn after(&self, value: Value, made_by_callee: bool) -> State {
        let mut state = State::new();
        state.registers[6..10].copy_from_slice(&self.registers);
        state.stack.clone_from(&self.stack);
        state.holds_own = self.holds_own;
        state.set_returned(value, made_by_callee, self.behind - 1);
        state
    }

    fn holds(&self, id: u32) -> bool {
        let values = self.registers.iter().chain(self.stack.iter().map(|slot| &slot.value));
        values.into_iter().any(|value| value.id() == id)
    }

    fn learn(&mut self, id: u32, better: Value) {
        let values = self.registers.iter_mut().chain(self.stack.iter_mut().map(|slot| &mut slot.value));
        values.for_each(|value| value.learn(id, better));
    }
}

struct Walker<'w, 'i> {
    image: &'w Image<'i>,
    flow: &'w Flow,
    /// Wanted, and not reached for sure.
    open: BTreeSet<usize>,
    walked: Walked,
    /// By place where paths meet: those that came by.
    seen: BTreeMap<usize, Vec<Path>>,
    waiting: VecDeque<Path>,
    remembered: usize,
    left: usize,
    overflow: bool,
}

impl Walker<'_, '_> {
    fn run(&mut self) {
        self.wait(Path::start(0, State::of_program()));
        let lazy = self.image.verifier.lazy_globals;
        let globals = (1..self.image.parts.len()).filter(|&part| !self.image.is_inline(part));
        for part in globals.collect::<Vec<_>>() {
            let start = self.image.parts[part].start;
            let is_callback = self.image.exception_callback == Some(part);
            // Before 6.8 it is checked whether anybody can call it or not.
            if lazy != Some(true) || is_callback {
                let mut path = Path::start(start, self.image.global_arguments());
                path.unsure = (lazy.is_none() && !is_callback).then_some(start);
                self.wait(path);
            }
        }
        while let Some(path) = self.waiting.pop_front() {
            if self.open.is_empty() {
                return;
            }
            if self.follow(path).is_none() {
                return;
            }
        }
        self.walked.complete = !self.overflow;
    }

    fn wait(&mut self, path: Path) {
        if self.waiting.len() < PATHS {
            self.waiting.push_back(path);
        } else {
            self.overflow = true;
        }
    }

    /// Follows a path until it parts or ends; None when patience does.
    fn follow(&mut self, mut path: Path) -> Option<()> {
        loop {
            self.left = self.left.checked_sub(1)?;
            let at = path.at;
            if at >= self.image.insns.len() || (self.flow.meets[at] && self.was_here(&mut path)) {
                return Some(());
            }
            self.note(at, path.unsure);
            self.callbacks(at, &path);
            let compared = compared(self.image.insns[at], &path.state);
            match execute(self.image, at, path.state) {
                Step::At(next, state) => (path.at, path.state) = (next, state),
                Step::Split(target, Split::One(taken, state)) => {
                    path.at = if taken { target } else { at + 1 };
                    path.state = state;
                }
                Step::Split(target, Split::Both(ways)) => {
                    let [taken, fall] = *ways;
                    let (frames, unsure) = (path.frames, path.unsure);
                    let way = |to: usize, way: Way, frames: Vec<Rc<Frame>>| {
                        let unsure = unsure.or((!way.sure).then_some(at));
                        let mut path = Path { at: to, state: way.state, frames, unsure };
                        path.tell_callers(compared);
                        path
                    };
                    self.wait(way(target, taken, frames.clone()));
                    self.wait(way(at + 1, fall, frames));
                    return Some(());
                }
                Step::Call { callee, state } => {
                    path.state = state;
                    path = match self.call(at, callee, path) {
                        Some(path) => path,
                        None => return Some(()),
                    };
                }
                Step::Anywhere(state) => {
                    path.state = state;
                    self.anywhere(at, &path);
                    return Some(());
                }
                Step::Exit(value) => match path.frames.pop() {
                    Some(frame) => {
                        let made_by_callee = self.image.is_made_by(self.image.part_of(at), value);
                        (path.at, path.state) = (frame.behind, frame.after(value, made_by_callee));
                    }
                    None => return Some(()),
                },
                Step::End => return Some(()),
            }
        }
    }

    fn note(&mut self, at: usize, unsure: Option<usize>) {
        if !self.open.contains(&at) {
            return;
        }
        if unsure.is_none() {
            self.open.remove(&at);
            self.walked.found.insert(at, None);
        } else {
            self.walked.found.entry(at).or_insert(unsure);
        }
    }

    /// Whether all that can follow has been followed from an earlier path already.
    fn was_here(&mut self, path: &mut Path) -> bool {
        path.state.forget_dead(self.flow.live[path.at]);
        let seen = self.seen.entry(path.at).or_default();
        if seen.iter().any(|earlier| earlier.covers(path)) {
            return true;
        }
        if seen.len() < REMEMBERED && self.remembered < PATHS {
            self.remembered += 1;
            seen.push(path.clone());
        }
        false
    }

    fn call(&mut self, at: usize, callee: usize, mut path: Path) -> Option<Path> {
        let part = self.image.part_of(callee);
        if !self.image.is_inline(part) {
            let mut inner = Path::start(callee, self.image.global_arguments());
            inner.unsure = path.unsure;
            self.wait(inner);
            forget_for_subprogram(&mut path.state);
            clobber_arguments(&mut path.state);
            let result = Scalar::of_size(8, at as u32 + 1);
            path.state.set_new(0, Value::Scalar(result));
            path.at = at + 1;
            return Some(path);
        }
        if path.frames.len() >= FRAMES {
            return None;
        }
        let mut inner = State::new();
        for register in 1..6 {
            inner.set(register, path.state.get(register).in_callee());
        }
        forget_for_subprogram(&mut path.state);
        let saved = &path.state.registers;
        path.frames.push(Rc::new(Frame {
            behind: at + 1,
            registers: [saved[6], saved[7], saved[8], saved[9]],
            stack: path.state.stack,
            holds_own: path.state.holds_own,
        }));
        path.state = inner;
        path.at = callee;
        Some(path)
    }

    /// Callbacks that an instruction may call.
    fn callbacks(&mut self, at: usize, path: &Path) {
        let insn = self.image.insns[at];
        // Who gets the address may call it, wherever that is.
        if insn.is_function_address()
            && let Value::Function(start) = immediate(self.image, at)
        {
            let mut inner = Path::start(start as usize, State::new());
            inner.unsure = path.unsure.or(Some(at));
            self.wait(inner);
        }
        let is_call = insn.is_call() && !insn.is_subprogram_call();
        if !is_call || (insn.src == 0 && !helper_result::calls_back(insn.imm)) {
            return;
        }
        for register in 1..6 {
            if let Value::Function(start) = path.state.get(register) {
                let (state, sure) = helper_result::callback(insn, &path.state);
                let mut inner = Path::start(start as usize, state);
                inner.unsure = path.unsure.or((!sure).then_some(at));
                self.wait(inner);
            }
        }
    }

    fn anywhere(&mut self, at: usize, path: &Path) {
        let tables = &self.image.references.jump_tables;
        let targets: BTreeSet<usize> =
            tables.iter().flat_map(|table| table.targets.iter().copied()).collect();
        for target in targets {
            let mut next = path.clone();
            next.at = target;
            next.unsure = path.unsure.or(Some(at));
            self.wait(next);
        }
    }
}

/// Registers that a conditional jump compares, with the ids of what they hold.
fn compared(insn: Insn, state: &State) -> [(u8, u32); 2] {
    if !insn.is_jump() || insn.operation() == jump::CALL {
        return [(0, 0); 2];
    }
    let src = if insn.has_immediate_operand() { 0 } else { state.get(insn.src).id() };
    [(insn.dst, state.get(insn.dst).id()), (insn.src, src)]
}

impl Path {
    /// What a comparison told of values that callers have as well.
    fn tell_callers(&mut self, compared: [(u8, u32); 2]) {
        for (register, id) in compared.into_iter().filter(|&(_, id)| id != 0) {
            let better = self.state.get(register);
            for frame in self.frames.iter_mut().filter(|frame| frame.holds(id)) {
                Rc::make_mut(frame).learn(id, better);
            }
        }
    }

    fn start(at: usize, state: State) -> Path {
        Path { at, state, frames: Vec::new(), unsure: None }
    }

    /// Whether whatever can follow from `other` can follow from this one as well, as surely.
    fn covers(&self, other: &Path) -> bool {
        (self.unsure.is_none() || other.unsure.is_some())
            && self.frames == other.frames
            && self.state.covers(&other.state)
    }
}
