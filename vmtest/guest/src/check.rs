//! One check: an object loaded three times, and what the three have in common.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use crate::attach::{Subject, attach};
use crate::attached::Attached;
use crate::compare::{compare, compare_engine};
use crate::explain;
use crate::old_libbpf;
use crate::pass::{self, Outcome};
use crate::results::Results;
use crate::setup;
use crate::wire::{self, Compare, Differs, End, Engine, Entry, Foreseen, Load, Message, PassEnd};

/// What stays the same from check to check.
pub struct Checker {
    pub kernel_has_btf: bool,
    pub seconds: u32,
    /// Outcome with the kernel's own BTF by path of the object, and whether with the older libbpf: several BTFs may be
    /// checked against one object.
    pub full: BTreeMap<(String, bool), Outcome>,
}

/// An outcome and its milliseconds.
type Timed = (Outcome, u32);

impl Checker {
    /// Makes the check and tells the host each program's facts. With a token, programs are attached as well.
    pub fn run(
        &mut self,
        index: u32,
        entry: &Entry,
        token: Option<&str>,
        results: &mut Results,
    ) -> io::Result<()> {
        let full = self.full(entry);
        let visible = self.timed(entry, true, false);
        let hidden = self.hidden(entry);
        for name in program_names(&full.0, &visible.0, &hidden.0) {
            results.send(&Message::Program(self.program(entry, &name, &full.0, &visible.0, &hidden.0)))?;
        }
        if let Some(token) = token {
            let attached = match entry.old_libbpf {
                // Attached once: what a program reports is the same, whoever loaded the same instructions.
                true => Attached { check: index, sets: Vec::new() },
                false => self.attach(index, entry, token, &visible.0, &hidden.0),
            };
            results.send(&Message::Attached(attached))?;
        }
        let end = End {
            check: index,
            full: wire_pass(full),
            visible: wire_pass(visible),
            hidden: wire_pass(hidden),
        };
        results.send(&Message::End(end))
    }

    fn attach(
        &self,
        index: u32,
        entry: &Entry,
        token: &str,
        visible: &Outcome,
        hidden: &Outcome,
    ) -> Attached {
        let subject = Subject {
            elf: &entry.elf,
            btf: &entry.btf,
            seconds: self.seconds,
            token,
            kernel_has_btf: self.kernel_has_btf,
        };
        attach(&subject, index, visible, hidden)
    }

    fn full(&mut self, entry: &Entry) -> Timed {
        if !self.kernel_has_btf {
            return (Outcome::ended(PassEnd::NotRun, None), 0);
        }
        let key = (entry.elf.clone(), entry.old_libbpf);
        if let Some(known) = self.full.get(&key) {
            return (known.clone(), 0);
        }
        let full = self.timed(entry, false, false);
        self.full.insert(key, full.0.clone());
        full
    }

    fn hidden(&self, entry: &Entry) -> Timed {
        match setup::hide_kernel_btf() {
            Ok(_hidden) => self.timed(entry, true, true),
            Err(error) => (Outcome::ended(PassEnd::NotRun, Some(format!("cannot hide BTF: {error}"))), 0),
        }
    }

    fn timed(&self, entry: &Entry, ours: bool, hidden: bool) -> Timed {
        let start = Instant::now();
        let pass = self.pass(entry, ours, hidden);
        let outcome = match entry.old_libbpf {
            true => self.with_functions(entry, old_libbpf::run(&pass)),
            false => pass::run(&pass),
        };
        (outcome, start.elapsed().as_millis() as u32)
    }

    /// The older libbpf does not tell where a program's functions start. It puts them where the current one does, which
    /// tells, and was asked before.
    fn with_functions(&self, entry: &Entry, mut outcome: Outcome) -> Outcome {
        let current = self.full.get(&(entry.elf.clone(), false));
        for program in &mut outcome.programs {
            let known = current.and_then(|current| current.find_program(&program.name));
            if let Some(known) = known.filter(|known| known.insn_cnt == program.insn_cnt) {
                program.funcs.clone_from(&known.funcs);
            }
        }
        outcome
    }

    fn pass<'a>(&self, entry: &'a Entry, ours: bool, hidden: bool) -> pass::Pass<'a> {
        pass::Pass { elf: &entry.elf, btf: ours.then_some(&entry.btf), hidden, seconds: self.seconds }
    }

    fn program(
        &self,
        entry: &Entry,
        name: &str,
        full: &Outcome,
        visible: &Outcome,
        hidden: &Outcome,
    ) -> wire::Program {
        let passes = [full, visible, hidden].map(|outcome| outcome.find_program(name));
        let known = passes.iter().flatten().next();
        let [full, visible, hidden] = passes;
        let engine = agree(&entry.foreseen, visible, hidden);
        let mut compared = compare_programs(full, visible, hidden);
        if let Compare::Differs(differs) = &mut compared {
            self.explain(entry, name, differs);
        }
        let mut loads = [full, visible, hidden]
            .map(|program| program.map_or(Load::NotReached, |program| program.load.clone()));
        keep_one_log(&mut loads);
        let [full, visible, hidden] = loads;
        wire::Program {
            program: name.to_owned(),
            section: known.map(|program| program.section.clone()).unwrap_or_default(),
            needs_kernel_btf: known.is_some_and(|program| program.needs_kernel_btf),
            full,
            visible,
            hidden,
            compare: compared,
            engine,
        }
    }

    /// Asks libbpf once more, for its log.
    fn explain(&self, entry: &Entry, name: &str, differs: &mut Differs) {
        let pass = self.pass(entry, true, false);
        let log =
            if entry.old_libbpf { old_libbpf::relocation_log(&pass) } else { pass::relocation_log(&pass) };
        let relocations = explain::parse(&log);
        for difference in &mut differs.first {
            difference.relo = relocations.find(name, difference.insn).map(str::to_owned);
        }
    }
}

/// Ours is relocated twice, with the kernel's own BTF visible and hidden: both must equal the reference.
fn compare_programs(
    full: Option<&pass::Program>,
    visible: Option<&pass::Program>,
    hidden: Option<&pass::Program>,
) -> Compare {
    let Some((reference, funcs)) = full.and_then(|program| Some((program.relocated()?, &program.funcs)))
    else {
        return Compare::NotDone;
    };
    let ours = [visible, hidden].into_iter().flatten().filter_map(pass::Program::relocated);
    let mut answer = Compare::NotDone;
    for insns in ours {
        answer = compare(reference, insns, funcs);
        if answer != Compare::Same {
            break;
        }
    }
    answer
}

/// The host's engine against libbpf, both with the BTF to check.
fn agree(foreseen: &[Foreseen], visible: Option<&pass::Program>, hidden: Option<&pass::Program>) -> Engine {
    let relocated = [visible, hidden].into_iter().flatten().find_map(|program| {
        let insns = program.relocated()?;
        Some((insns, &program.funcs))
    });
    relocated.map_or_else(Engine::default, |(insns, funcs)| compare_engine(foreseen, insns, funcs))
}

/// The line is slow, and what fails thrice fails for one reason: one log, of the first failure.
fn keep_one_log(loads: &mut [Load; 3]) {
    let mut kept = false;
    for load in loads {
        if let Load::Failed { log, .. } = load {
            if kept {
                *log = None;
            }
            kept |= log.is_some();
        }
    }
}

/// Every program that any pass saw, in the object's order.
fn program_names(full: &Outcome, visible: &Outcome, hidden: &Outcome) -> Vec<String> {
    let most = [full, visible, hidden].into_iter().max_by_key(|outcome| outcome.programs.len());
    most.into_iter().flat_map(|outcome| &outcome.programs).map(|program| program.name.clone()).collect()
}

fn wire_pass((outcome, millis): Timed) -> wire::Pass {
    wire::Pass { end: outcome.end, millis, log: outcome.log }
}
