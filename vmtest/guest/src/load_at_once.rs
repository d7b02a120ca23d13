//! A load in one step, as libbpf did it before 1.6: relocated and handed to the kernel by the same call.
//!
//! An object can be loaded once, so that each attempt opens it anew. What was relocated stays readable when the kernel
//! refuses it.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::compare::Insn;
use crate::complaint;
use crate::libbpf::{Object, Program};
use crate::log::{self, Detail};
use crate::pass::{self, Failed, Outcome, Pass, newly_blamed, open, outcome};
use crate::wire::{Load, PassEnd};

/// Instructions by program, from the first attempt that came so far.
type Relocated = BTreeMap<String, Vec<Insn>>;

/// Relocates, and has the kernel load it: there is no way to have only the first.
pub fn relocate(object: &mut Object) -> Result<(), i32> {
    object.load()
}

/// This libbpf does not tell where the relocated program's functions start.
pub fn functions(_: Program<'_>) -> Vec<(u32, u32)> {
    Vec::new()
}

/// Relocates what the object has, and has the kernel load it; whoever started this process watches the time.
pub fn load(pass: &Pass<'_>, _: Instant) -> Outcome {
    let (mut failed, mut relocated) = (Failed::new(), Relocated::new());
    loop {
        let mut object = match open(pass, &failed) {
            Ok(object) => object,
            Err(errno) => return Outcome::ended(PassEnd::NotOpened { errno }, log::tail(&log::text())),
        };
        if object.programs().all(|program| !program.autoload()) {
            let end = if relocated.is_empty() { PassEnd::NotRun } else { PassEnd::Ok };
            return conclude(&object, pass, end, "", (&failed, relocated));
        }
        let Err(errno) = object.load() else {
            keep(&object, &mut relocated);
            return conclude(&object, pass, PassEnd::Ok, "", (&failed, relocated));
        };
        let said = log::text();
        let Some(name) = newly_blamed(&said, &object) else {
            let end = pass::not_prepared(pass, errno, &said);
            return conclude(&object, pass, end, &said, (&failed, relocated));
        };
        if complaint::was_refused(&said) {
            keep(&object, &mut relocated);
        }
        failed.insert(name, Load::Failed { errno, log: log::tail(&said) });
        let _ = log::start(Detail::Warnings);
    }
}

fn keep(object: &Object, relocated: &mut Relocated) {
    for program in object.programs().filter(|program| program.autoload()) {
        relocated.entry(program.name().to_owned()).or_insert_with(|| program.insns());
    }
}

fn conclude(
    object: &Object,
    pass: &Pass<'_>,
    end: PassEnd,
    said: &str,
    (failed, mut relocated): (&Failed, Relocated),
) -> Outcome {
    let mut outcome = outcome(object, pass, end, log::tail(said), failed, false);
    for program in &mut outcome.programs {
        let Some(insns) = relocated.remove(&program.name) else {
            continue;
        };
        if program.load == Load::NotReached && end == PassEnd::Ok {
            program.load = Load::Ok;
        }
        program.insn_cnt = Some(insns.len() as u32);
        program.insns = insns;
    }
    outcome
}
