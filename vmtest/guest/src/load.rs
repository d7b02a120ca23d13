//! A load in two steps: libbpf relocates, then the kernel takes or refuses. Possible since libbpf 1.6; `load_at_once.rs` is
//! for those before.

use std::time::Instant;

use crate::complaint;
use crate::fork::{Ended, in_child};
use crate::libbpf::{Object, Program};
use crate::log::{self, Detail};
use crate::pass::{self, Failed, Outcome, Pass, end_of, newly_blamed, open, outcome};
use crate::wire::{Load, PassEnd};

/// Relocates, and loads nothing.
pub fn relocate(object: &mut Object) -> Result<(), i32> {
    object.prepare()
}

/// Where the relocated program's functions start: instruction index, and the FUNC's type id.
pub fn functions(program: Program<'_>) -> Vec<(u32, u32)> {
    program.func_info()
}

/// Relocates what the object has, and has the kernel load it.
pub fn load(pass: &Pass<'_>, deadline: Instant) -> Outcome {
    let mut failed = Failed::new();
    let mut object = loop {
        let mut object = match open(pass, &failed) {
            Ok(object) => object,
            Err(errno) => return Outcome::ended(PassEnd::NotOpened { errno }, log::tail(&log::text())),
        };
        if object.programs().all(|program| !program.autoload()) {
            return outcome(&object, pass, PassEnd::NotRun, None, &failed, false);
        }
        let Err(errno) = object.prepare() else {
            break object;
        };
        let said = log::text();
        let Some(name) = newly_blamed(&said, &object) else {
            let end = pass::not_prepared(pass, errno, &said);
            return outcome(&object, pass, end, log::tail(&said), &failed, complaint::stopped_at_maps(&said));
        };
        failed.insert(name, Load::Failed { errno, log: log::tail(&said) });
        let _ = log::start(Detail::Warnings);
    };
    load_prepared(pass, &mut object, failed, deadline)
}

/// libbpf stops at the first program that the kernel refuses. A failed load ends the object, so each attempt is made in
/// a child of its own; the refused program is left out of the next.
fn load_prepared(pass: &Pass<'_>, object: &mut Object, mut failed: Failed, deadline: Instant) -> Outcome {
    let relocated = outcome(object, pass, PassEnd::Ok, None, &failed, true);
    let (end, said) = loop {
        let _ = log::start(Detail::Warnings);
        let errno = match in_child(deadline, |out| out.write_all(&attempt(object).to_le_bytes())) {
            Ok(Ended::Wrote(code)) => code.try_into().map_or(-1, i32::from_le_bytes),
            other => break (end_of(other, pass.seconds), log::text()),
        };
        if errno == 0 {
            break (PassEnd::Ok, String::new());
        }
        let said = log::text();
        let Some(name) = newly_blamed(&said, object) else {
            break (PassEnd::NotLoaded { errno }, said);
        };
        object
            .programs()
            .filter(|program| program.name() == name)
            .for_each(|program| program.set_autoload(false));
        failed.insert(name, Load::Failed { errno, log: log::tail(&said) });
    };
    let mut programs = relocated.programs;
    for program in &mut programs {
        program.load = match (failed.remove(&program.name), &program.load, end) {
            (Some(failure), _, _) => failure,
            (None, Load::NotReached, PassEnd::Ok) => Load::Ok,
            (None, other, _) => other.clone(),
        };
    }
    Outcome { end, log: log::tail(&said), programs }
}

fn attempt(object: &mut Object) -> i32 {
    object.load().err().unwrap_or(0)
}
