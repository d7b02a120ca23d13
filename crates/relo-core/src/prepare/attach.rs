//! Attach targets: what a section's name says, looked up in the kernel's BTF and symbols.

use btf::Kind;

use super::kallsyms::Kallsyms;
use super::kernel_types::KernelTypes;
use super::resolve::syscall_wrappers;
use crate::open::{AttachKind, Function};
use crate::{Candidate, Mode};

/// What a program is attached to, and whether the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    /// What is looked for, as people would say it: `FUNC bpf_lsm_file_open`, `kernel function do_exit`.
    pub wanted: String,
    /// Whether loading fails without it; otherwise only attaching does.
    pub at_load: bool,
    /// Whether it is there.
    pub found: Found,
}

/// Whether the kernel has what a program is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// In BTF: of vmlinux (0) or of a module.
    Type(Candidate),
    /// Among the kernel's symbols.
    Symbol,
    /// It is not there.
    Missing,
    /// What was given does not tell.
    Unknown,
}

/// Where attach targets are looked up.
pub(crate) struct Lookup<'l, 'k> {
    pub types: Option<&'l KernelTypes<'k>>,
    pub kallsyms: Option<&'l Kallsyms<'k>>,
    pub mode: Mode,
}

/// Names under which a target can be found.
pub(crate) struct Names {
    /// In BTF: these kinds and names, any of them.
    pub types: Vec<(Kind, String)>,
    /// Among symbols.
    pub symbols: Vec<String>,
}

impl Lookup<'_, '_> {
    /// The target of a function's section name; None where it names nothing of the kernel.
    pub(crate) fn attach(&self, function: &Function) -> Option<Attach> {
        let def = function.def?;
        let target = function.attach_target()?;
        let (module, name) = split_module(target);
        let names = names(def.attach, name)?;
        let at_load = is_checked_at_load(def.attach);
        let found = match self.find(&names, module) {
            Some(found) => found,
            None if at_load && self.types.is_some() => Found::Missing,
            None if at_load => Found::Unknown,
            // A list of symbols that lacks it tells; BTF does not describe every function.
            None if self.kallsyms.is_some() && !names.symbols.is_empty() => Found::Missing,
            None => Found::Unknown,
        };
        Some(Attach { wanted: in_words(def.attach, target, &names), at_load, found })
    }

    fn find(&self, names: &Names, module: Option<&str>) -> Option<Found> {
        let in_types = self.types.and_then(|types| {
            let of_module = |place: &Candidate| self.is_of_module(types, *place, module);
            let mut found =
                names.types.iter().flat_map(|(kind, name)| types.all(name, *kind).filter(of_module));
            found.next()
        });
        if let Some(place) = in_types {
            return Some(Found::Type(place));
        }
        let kallsyms = self.kallsyms?;
        let known = names.symbols.iter().any(|name| kallsyms.has(name));
        known.then_some(Found::Symbol)
    }

    /// libbpf compares as many bytes as the section's name gives, so that "nf" is any module that starts with it.
    fn is_of_module(&self, types: &KernelTypes<'_>, place: Candidate, module: Option<&str>) -> bool {
        let Some(wanted) = module else { return true };
        let of = types.module(place.btf).unwrap_or("vmlinux");
        match self.mode {
            Mode::Correct => of == wanted,
            Mode::StrictLibbpf => of.starts_with(wanted),
        }
    }
}

/// `module:function`, for what may be in a module.
pub(crate) fn split_module(target: &str) -> (Option<&str>, &str) {
    match target.split_once(':') {
        Some((module, name)) => (Some(module), name),
        None => (None, target),
    }
}

fn is_checked_at_load(kind: AttachKind) -> bool {
    match kind {
        AttachKind::BtfFunction | AttachKind::BtfTracepoint | AttachKind::Lsm | AttachKind::Iterator => true,
        AttachKind::None | AttachKind::Program | AttachKind::StructOps | AttachKind::User => false,
        AttachKind::Kprobe | AttachKind::KprobePattern | AttachKind::Syscall => false,
        AttachKind::TraceEvent | AttachKind::RawTracepoint => false,
    }
}

/// The names under which a target of a kind is found; None for what the kernel does not name.
pub(crate) fn names(kind: AttachKind, name: &str) -> Option<Names> {
    let only_type = |kind: Kind, name: String| Names { types: vec![(kind, name)], symbols: Vec::new() };
    Some(match kind {
        AttachKind::BtfFunction => only_type(Kind::Func, name.to_owned()),
        AttachKind::BtfTracepoint => only_type(Kind::Typedef, format!("btf_trace_{name}")),
        AttachKind::Lsm => only_type(Kind::Func, format!("bpf_lsm_{name}")),
        AttachKind::Iterator => only_type(Kind::Func, format!("bpf_iter_{name}")),
        AttachKind::Kprobe => {
            let function = name.split('+').next().unwrap_or_default().to_owned();
            Names { types: vec![(Kind::Func, function.clone())], symbols: vec![function] }
        }
        AttachKind::Syscall => {
            let mut symbols: Vec<String> = syscall_wrappers(name).collect();
            symbols.extend([format!("__se_sys_{name}"), format!("sys_{name}")]);
            let types = symbols.iter().map(|name| (Kind::Func, name.clone())).collect();
            Names { types, symbols }
        }
        AttachKind::RawTracepoint => Names {
            types: vec![(Kind::Typedef, format!("btf_trace_{name}"))],
            symbols: vec![format!("__tracepoint_{name}")],
        },
        AttachKind::TraceEvent => trace_event(name),
        AttachKind::None | AttachKind::Program | AttachKind::StructOps => return None,
        AttachKind::KprobePattern | AttachKind::User => return None,
    })
}

/// `CATEGORY/NAME`. Events of system calls exist one by one only as symbols.
fn trace_event(name: &str) -> Names {
    let (category, event) = name.split_once('/').unwrap_or(("", name));
    let syscall = event
        .strip_prefix("sys_enter_")
        .map(|syscall| ("enter", syscall))
        .or_else(|| event.strip_prefix("sys_exit_").map(|syscall| ("exit", syscall)));
    match syscall {
        Some((direction, syscall)) if category == "syscalls" => Names {
            types: Vec::new(),
            symbols: vec![
                format!("event_{direction}__{syscall}"),
                format!("__event_{direction}__{syscall}"),
                format!("__syscall_meta__{syscall}"),
            ],
        },
        _event => Names {
            types: vec![(Kind::Typedef, format!("btf_trace_{event}"))],
            symbols: vec![format!("event_{event}"), format!("__tracepoint_{event}")],
        },
    }
}

fn in_words(kind: AttachKind, target: &str, names: &Names) -> String {
    match (kind, names.types.first()) {
        (AttachKind::Kprobe, _) => format!("kernel function {target}"),
        (AttachKind::Syscall, _) => format!("system call {target}"),
        (AttachKind::TraceEvent, _) => format!("trace event {target}"),
        (AttachKind::RawTracepoint, _) => format!("tracepoint {target}"),
        (_at_load, Some((kind, name))) => format!("{kind} {name}"),
        (_at_load, None) => target.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_kind() {
        let check = |kind: AttachKind, name: &str, types: &[(Kind, &str)], symbols: &[&str]| {
            let got = names(kind, name).expect("a target");
            let got_types: Vec<(Kind, &str)> =
                got.types.iter().map(|(kind, name)| (*kind, name.as_str())).collect();
            assert_eq!(
                (&got_types[..], &got.symbols[..]),
                (types, &symbols.iter().map(|&s| s.to_owned()).collect::<Vec<_>>()[..])
            );
        };
        check(AttachKind::BtfFunction, "x", &[(Kind::Func, "x")], &[]);
        check(AttachKind::Lsm, "x", &[(Kind::Func, "bpf_lsm_x")], &[]);
        check(AttachKind::Iterator, "task", &[(Kind::Func, "bpf_iter_task")], &[]);
        check(AttachKind::BtfTracepoint, "x", &[(Kind::Typedef, "btf_trace_x")], &[]);
        check(AttachKind::Kprobe, "f+0x8", &[(Kind::Func, "f")], &["f"]);
        check(
            AttachKind::TraceEvent,
            "sched/sched_switch",
            &[(Kind::Typedef, "btf_trace_sched_switch")],
            &["event_sched_switch", "__tracepoint_sched_switch"],
        );
        check(
            AttachKind::TraceEvent,
            "syscalls/sys_enter_open",
            &[],
            &["event_enter__open", "__event_enter__open", "__syscall_meta__open"],
        );
        assert!(names(AttachKind::User, "x").is_none());
        assert_eq!(split_module("nf:f"), (Some("nf"), "f"));
        assert_eq!(split_module("f"), (None, "f"));
    }
}
