//! Single paths to poisoned instructions: a path on which every branch is open shows that the verifier gets there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Image;
use super::branch::{Split, Way};
use super::flow::Flow;
use super::state::{Slot, State};
use super::step::{Step, clobber_arguments, execute, forget_for_subprogram};
use super::value::{Known, Scalar, Value};

/// Instructions that may be executed for one program.
const STEPS: usize = 400_000;
/// Paths that may wait.
const WAITING: usize = 20_000;
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
        left: STEPS,
        overflow: false,
    };
    walker.run();
    walker.walked
}

/// A path, and what is known on it.
#[derive(Debug, Clone)]
struct Path {
    at: usize,
    state: State,
    /// Callers, the innermost last.
    frames: Vec<Frame>,
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
    fn after(self, value: Value) -> State {
        let mut state = State::new();
        state.set(0, if value.may_be_stack() { Value::vague() } else { value });
        state.registers[6..10].copy_from_slice(&self.registers);
        state.stack = self.stack;
        state.holds_own = self.holds_own;
        state
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
                let mut path = Path::start(start, State::of_global());
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
        if self.waiting.len() < WAITING {
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
            match execute(self.image, at, path.state) {
                Step::At(next, state) => {
                    (path.at, path.state) = (next, state);
                    self.callbacks(at, &path);
                }
                Step::Split(target, Split::One(taken, state)) => {
                    path.at = if taken { target } else { at + 1 };
                    path.state = state;
                }
                Step::Split(target, Split::Both(ways)) => {
                    let [taken, fall] = *ways;
                    let (frames, unsure) = (path.frames, path.unsure);
                    let way = |to: usize, way: Way, frames: Vec<Frame>| Path {
                        at: to,
                        state: way.state,
                        frames,
                        unsure: unsure.or((!way.sure).then_some(at)),
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
                    Some(frame) => (path.at, path.state) = (frame.behind, frame.after(value)),
                    None => return Some(()),
                },
                Step::Broken => return Some(()),
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
        if seen.len() < REMEMBERED {
            seen.push(path.clone());
        }
        false
    }

    fn call(&mut self, at: usize, callee: usize, mut path: Path) -> Option<Path> {
        let part = self.image.part_of(callee);
        if !self.image.is_inline(part) {
            let mut inner = Path::start(callee, State::of_global());
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
            let value = path.state.get(register);
            inner.set(register, if value.may_be_stack() { Value::vague() } else { value });
        }
        forget_for_subprogram(&mut path.state);
        let saved = &path.state.registers;
        path.frames.push(Frame {
            behind: at + 1,
            registers: [saved[6], saved[7], saved[8], saved[9]],
            stack: path.state.stack,
            holds_own: path.state.holds_own,
        });
        path.state = inner;
        path.at = callee;
        Some(path)
    }

    /// Callbacks that a helper just called may call: of a helper's arguments only their functions are known.
    fn callbacks(&mut self, at: usize, path: &Path) {
        let insn = self.image.insns[at];
        if insn.is_function_address()
            && let Value::Function(start) = path.state.get(insn.dst)
        {
            let mut inner = Path::start(start as usize, State::new());
            for register in 1..6 {
                inner.state.set(register, Value::Scalar(Scalar::of_size(8, 0).with(Known::PerhapsPointer)));
            }
            // The helper that gets the address follows at once, as compilers arrange it.
            inner.unsure = path.unsure;
            self.wait(inner);
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

impl Path {
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
