//! One load of one object, in a process of its own.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::compare::Insn;
use crate::fork::{Ended, in_child};
use crate::libbpf::{Object, Program as Opened};
use crate::load::{functions, load, relocate};
use crate::log::Detail;
use crate::wire::{Load, PassEnd};
use crate::{complaint, log, maps};

/// What is loaded, and how.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Pass<'a> {
    pub elf: &'a str,
    /// In place of the kernel's own BTF.
    #[serde(borrow)]
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
                let _ = relocate(&mut object);
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
pub type Failed = BTreeMap<String, Load>;

/// Opens the object without the programs that are left out, or failed before.
pub fn open(pass: &Pass<'_>, failed: &Failed) -> Result<Object, i32> {
    let object = Object::open(pass.elf, pass.btf)?;
    maps::set_sizes(&object);
    for program in object.programs() {
        let left_out = pass.hidden && program.needs_kernel_btf();
        program.set_autoload(!left_out && !failed.contains_key(program.name()));
    }
    Ok(object)
}

/// The blamed program, if leaving it out changes anything.
pub fn newly_blamed(said: &str, object: &Object) -> Option<String> {
    let name = complaint::blamed(said)?;
    object.programs().any(|program| program.autoload() && program.name() == name).then(|| name.to_owned())
}

/// The end of an object that came to no program.
pub fn not_prepared(pass: &Pass<'_>, errno: i32, said: &str) -> PassEnd {
    match pass.hidden && complaint::misses_kernel_btf(said) {
        true => PassEnd::NeedsKernelBtf,
        false => PassEnd::NotPrepared { errno },
    }
}

/// The object's programs as they stand, `relocated` or not.
pub fn outcome(
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
            funcs: if relocated { functions(program) } else { Vec::new() },
            insn_cnt: relocated.then_some(insns.len() as u32),
            insns,
            name,
        }
    };
    Outcome { end, log, programs: object.programs().map(program).collect() }
}

/// One line of JSON, then the instructions of all programs one after the other.
pub fn write_outcome(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    serde_json::to_writer(&mut *out, outcome)?;
    out.write_all(b"\n")?;
    for program in &outcome.programs {
        out.write_all(program.insns.as_flattened())?;
    }
    Ok(())
}

/// What [`write_outcome`] wrote.
pub fn read_outcome(answer: &[u8]) -> Option<Outcome> {
    let line = answer.iter().position(|&byte| byte == b'\n')?;
    let mut outcome: Outcome = serde_json::from_slice(&answer[..line]).ok()?;
    let mut insns = answer[line + 1..].as_chunks::<8>().0.iter();
    for program in &mut outcome.programs {
        program.insns = insns.by_ref().take(program.insn_cnt.unwrap_or(0) as usize).copied().collect();
    }
    Some(outcome)
}
