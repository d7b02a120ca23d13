//! One load of one object, in a process of its own.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::compare::Insn;
use crate::fork::{Ended, in_child};
use crate::libbpf::{Object, Program as Opened};
use crate::log::Detail;
use crate::wire::{Load, PassEnd};
use crate::{complaint, log, maps};

/// What is loaded, and how.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    pub elf: &'a str,
    /// In place of the kernel's own BTF.
    pub btf: Option<&'a str>,
    /// Leave out the programs that cannot do without the kernel's own BTF.
    pub hidden: bool,
    pub seconds: u32,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    pub end: PassEnd,
    pub log: Option<String>,
    pub programs: Vec<Program>,
}

/// One program of the object, after relocation and an attempt to load it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    pub name: String,
    pub section: String,
    pub needs_kernel_btf: bool,
    pub load: Load,
    pub funcs: Vec<(u32, u32)>,
    /// Number of instructions, `None` when it was not relocated.
    pub insn_cnt: Option<u32>,
    #[serde(skip)]
    pub insns: Vec<Insn>,
}

impl Outcome {
    /// A pass that ended before it could say more.
    pub fn ended(end: PassEnd, log: Option<String>) -> Self {
        Outcome { end, log, programs: Vec::new() }
    }

    pub fn find_program(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.name == name)
    }
}

impl Program {
    /// Its instructions, if relocation came to its end.
    pub fn relocated(&self) -> Option<&[Insn]> {
        self.insn_cnt.map(|_| self.insns.as_slice())
    }
}

/// Runs the pass in a child; whatever happens to the child becomes the outcome.
pub fn run(pass: &Pass<'_>) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(pass.seconds.into());
    let ended = log::start(Detail::Warnings)
        .and_then(|()| in_child(deadline, |out| write_outcome(out, &load(pass, deadline))));
    let end = match ended {
        Ok(Ended::Wrote(answer)) => match read_outcome(&answer) {
            Some(outcome) => return outcome,
            None => PassEnd::Lost { code: 0 },
        },
        other => end_of(other, pass.seconds),
    };
    Outcome::ended(end, log::tail(&log::text()))
}

/// What libbpf says about every relocation with this BTF: the reason of a difference.
pub fn relocation_log(pass: &Pass<'_>) -> String {
    let deadline = Instant::now() + Duration::from_secs(pass.seconds.into());
    let prepared = log::start(Detail::Everything).and_then(|()| {
        in_child(deadline, |_| {
            if let Ok(mut object) = open(pass, &Failed::new()) {
                let _ = object.prepare();
            }
            Ok(())
        })
    });
    if prepared.is_ok() { log::text() } else { String::new() }
}

/// The end of a child that gave no answer.
pub fn end_of(ended: io::Result<Ended>, seconds: u32) -> PassEnd {
    match ended {
        Ok(Ended::Signal(signal)) => PassEnd::Crashed { signal },
        Ok(Ended::TimedOut) => PassEnd::TimedOut { seconds },
        Ok(Ended::Code(code)) => PassEnd::Lost { code },
        Ok(Ended::Wrote(_)) => PassEnd::Lost { code: 0 },
        Err(error) => PassEnd::Lost { code: error.raw_os_error().unwrap_or(-1) },
    }
}

/// Failures so far, by program.
type Failed = BTreeMap<String, Load>;

fn load(pass: &Pass<'_>, deadline: Instant) -> Outcome {
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
            let end = if pass.hidden && complaint::misses_kernel_btf(&said) {
                PassEnd::NeedsKernelBtf
            } else {
                PassEnd::NotPrepared { errno }
            };
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

fn open(pass: &Pass<'_>, failed: &Failed) -> Result<Object, i32> {
    let object = Object::open(pass.elf, pass.btf)?;
    maps::set_sizes(&object);
    for program in object.programs() {
        let left_out = pass.hidden && program.needs_kernel_btf();
        program.set_autoload(!left_out && !failed.contains_key(program.name()));
    }
    Ok(object)
}

/// The blamed program, if leaving it out changes anything.
fn newly_blamed(said: &str, object: &Object) -> Option<String> {
    let name = complaint::blamed(said)?;
    object.programs().any(|program| program.autoload() && program.name() == name).then(|| name.to_owned())
}

fn outcome(
    object: &Object,
    pass: &Pass<'_>,
    end: PassEnd,
    log: Option<String>,
    failed: &Failed,
    relocated: bool,
) -> Outcome {
    let program = |program: Opened<'_>| {
        let name = program.name().to_owned();
        let needs_kernel_btf = program.needs_kernel_btf();
        let relocated = relocated && program.autoload();
        let insns = if relocated { program.insns() } else { Vec::new() };
        let load = match failed.get(&name) {
            Some(failure) => failure.clone(),
            None if pass.hidden && needs_kernel_btf => Load::NotTried,
            None => Load::NotReached,
        };
        Program {
            section: program.section().to_owned(),
            needs_kernel_btf,
            load,
            funcs: if relocated { program.func_info() } else { Vec::new() },
            insn_cnt: relocated.then_some(insns.len() as u32),
            insns,
            name,
        }
    };
    Outcome { end, log, programs: object.programs().map(program).collect() }
}

/// One line of JSON, then the instructions of all programs one after the other.
fn write_outcome(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    serde_json::to_writer(&mut *out, outcome)?;
    out.write_all(b"\n")?;
    for program in &outcome.programs {
        out.write_all(program.insns.as_flattened())?;
    }
    Ok(())
}

fn read_outcome(answer: &[u8]) -> Option<Outcome> {
    let line = answer.iter().position(|&byte| byte == b'\n')?;
    let mut outcome: Outcome = serde_json::from_slice(&answer[..line]).ok()?;
    let mut insns = answer[line + 1..].as_chunks::<8>().0.iter();
    for program in &mut outcome.programs {
        program.insns = insns.by_ref().take(program.insn_cnt.unwrap_or(0) as usize).copied().collect();
    }
    Some(outcome)
}
