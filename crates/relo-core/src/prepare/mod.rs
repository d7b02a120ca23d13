//! Prepare: everything that libbpf does between opening an object and the first system call that changes something.
//!
//! No privilege is needed and nothing of the machine is read: what depends on a kernel comes in as data, its BTF as a
//! [`Target`], the rest in an [`Environment`]. What comes out is each program as the kernel would get it, with maps by
//! their index where a loader would put file descriptors, and how it would end.

mod attach;
mod code;
mod disassembly;
mod elf_out;
mod environment;
mod exception;
mod helper_names;
mod kallsyms;
mod kconfig;
mod kernel_struct;
mod kernel_types;
mod listing;
mod opcode;
mod program;
mod reach;
mod references;
mod resolve;
mod status;
mod verdict;

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};

use btf::{Btf, Kind};

pub use attach::{Attach, Found};
pub use code::Part;
pub use elf_out::PatchError;
pub use environment::{Environment, KernelBtf, KernelVersion, NotAVersion};
pub use kernel_struct::KernelStruct;
pub use references::JumpTable;
pub use resolve::Resolution;
pub use status::{Doubt, KernelBtfUse, Poison, PoisonedInsn, Reach, Status};

use crate::open::{AttachKind, ExternKind, OpenObject, Refusal, ReloTarget};
use crate::record::{Outcome, RecordedRelo, relocate};
use crate::{BpfObject, Insn, Target, TargetBtf};
use kallsyms::Kallsyms;
use kernel_types::KernelTypes;
use program::Programs;
use resolve::{HELPER_IDS, PERCPU, Resolver, syscall_wrappers};

/// An object as it would be loaded.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What each CO-RE relocation resolved to. The records live as long as this value.
    pub relocations: Vec<RecordedRelo>,
    /// What each extern came to, in the order of [`OpenObject::externs`].
    pub externs: Vec<Resolution>,
    /// The content of `.kconfig`; empty without kconfig externs.
    pub kconfig: Vec<u8>,
    /// The struct_ops variables that fit the kernel.
    pub struct_ops: Vec<KernelStruct>,
    /// Why libbpf refuses the object as a whole, in the order in which it would find out.
    pub refusals: Vec<Refusal>,
    /// The entry programs, in the order in which libbpf counts them.
    pub programs: Vec<PreparedProgram>,
    /// The executable sections with CO-RE applied, in the order of the file.
    code: Vec<Vec<u8>>,
    /// The same with references filled in.
    filled: Vec<Vec<u8>>,
}

/// A program as it would be loaded.
#[derive(Debug, Clone)]
pub struct PreparedProgram {
    /// Index in [`OpenObject::functions`].
    pub function: usize,
    /// Its name.
    pub name: String,
    /// Its instructions and those of the subprograms that it calls; empty where they can't be put together.
    pub insns: Vec<Insn>,
    /// Where each function stands in them, its own first.
    pub parts: Vec<Part>,
    /// Jump tables; their maps are numbered behind the object's.
    pub jump_tables: Vec<JumpTable>,
    /// What its section's name attaches it to; None where that names nothing of the kernel.
    pub attach: Option<Attach>,
    /// The poisoned instructions, ascending.
    pub poisoned: Vec<PoisonedInsn>,
    /// How it ends.
    pub status: Status,
    /// CO-RE relocations by instruction: positions in [`Prepared::relocations`].
    relocations: BTreeMap<usize, Vec<usize>>,
    /// What instructions refer to.
    targets: BTreeMap<usize, ReloTarget>,
}

/// Prepares an object for a kernel.
///
/// Programs that are not loaded unless the loader asks for it (`SEC("?…")`) are prepared like the others. An object
/// that libbpf refuses is prepared as far as it goes.
pub fn prepare(open: &OpenObject<'_>, target: &Target<'_>, environment: &Environment<'_>) -> Prepared {
    let btfs: Option<&[TargetBtf<'_>]> = match environment.kernel_btf {
        KernelBtf::Target => Some(target.btfs()),
        KernelBtf::Other(btfs) => Some(btfs),
        KernelBtf::Absent => None,
    };
    let names = Names::of(open);
    let types = btfs.map(|btfs| KernelTypes::search(btfs, &names.types));
    let kallsyms = environment.kallsyms.map(|text| Kallsyms::read(text, &names.symbols));
    let mut refusals = open.refusals().to_vec();
    let resolver = Resolver { open, environment, kallsyms: kallsyms.as_ref(), types: types.as_ref() };
    let externs = resolver.resolve(&mut refusals);
    let struct_ops = struct_ops(open, types.as_ref(), &mut refusals);
    let relocations = relocate(open.object(), target, environment.mode);
    let code = relocated_code(open.object(), &relocations);
    let kconfig = kconfig_content(open, &externs);
    let programs = Programs {
        open,
        environment,
        types: types.as_ref(),
        kallsyms: kallsyms.as_ref(),
        relocations: &relocations,
        externs: &externs,
        kconfig: &kconfig,
        struct_ops: &struct_ops,
        refusals: &refusals,
        code: &code,
        plain_arguments: !has_tagged_arguments(open.object().btf()),
        patience: Cell::new(program::PATIENCE),
    };
    let prepared = programs.prepare();
    let filled = programs.filled_sections();
    let mut of_programs = programs.object_refusals();
    refusals.append(&mut of_programs);
    Prepared { relocations, externs, kconfig, struct_ops, refusals, programs: prepared, code, filled }
}

impl Prepared {
    /// The executable sections by name, with CO-RE applied and references filled in: maps by index, kconfig values,
    /// kernel symbols. Calls are those of the file, since subprograms stay in a section of their own.
    pub fn sections<'p>(&'p self, object: &'p BpfObject) -> impl Iterator<Item = (&'p str, &'p [u8])> {
        object
            .sections()
            .iter()
            .zip(&self.filled)
            .map(|(section, bytes)| (section.name.as_str(), bytes.as_slice()))
    }

    /// A program of a name.
    pub fn find_program(&self, name: &str) -> Option<&PreparedProgram> {
        self.programs.iter().find(|program| program.name == name)
    }
}

impl PreparedProgram {
    /// The instructions as bytes of the object's byte order, as the kernel would get them.
    pub fn bytes(&self, object: &BpfObject) -> Vec<u8> {
        self.insns.iter().flat_map(|insn| insn.encode(object.order())).collect()
    }

    /// The CO-RE relocations of the program, subprograms included: the instruction within the program, and the
    /// position in [`Prepared::relocations`].
    pub fn relocations(&self) -> impl Iterator<Item = (usize, usize)> {
        let each = |(&insn, relos): (&usize, &Vec<usize>)| {
            let relos = relos.clone();
            relos.into_iter().map(move |relo| (insn, relo))
        };
        self.relocations.iter().flat_map(each)
    }
}

/// Whether tags say more of arguments of functions than their types do (`__arg_nonnull` and the like).
fn has_tagged_arguments(btf: &Btf<'_>) -> bool {
    let is_one = |id| {
        btf.resolve(id).is_ok_and(|ty| {
            ty.kind() == Kind::DeclTag && ty.name().is_ok_and(|name| name.starts_with(b"arg:"))
        })
    };
    btf.own_ids().any(is_one)
}

/// Names to look for in the kernel's BTF and among its symbols: one pass over each finds all.
#[derive(Debug, Default)]
struct Names {
    types: HashSet<Vec<u8>>,
    symbols: HashSet<String>,
}

impl Names {
    fn of(open: &OpenObject<'_>) -> Names {
        let mut names = Names::default();
        for function in open.functions().iter().filter(|function| function.entry) {
            let (Some(def), Some(target)) = (function.def, function.attach_target()) else {
                continue;
            };
            let (_, target) = attach::split_module(target);
            if let Some(found) = attach::names(def.attach, target) {
                names.types.extend(found.types.into_iter().map(|(_, name)| name.into_bytes()));
                names.symbols.extend(found.symbols);
            }
        }
        for external in open.externs() {
            names.add_extern(&external.name, external.essential_name(), &external.kind);
        }
        for map in open.maps() {
            if let Some(name) = kernel_struct::struct_name(open, map) {
                names.types.insert(format!("{}{name}", kernel_struct::VALUE_PREFIX).into_bytes());
                names.types.insert(name.into_bytes());
            }
        }
        names
    }

    fn add_extern(&mut self, name: &str, essential: &str, kind: &ExternKind) {
        match kind {
            ExternKind::Kconfig(_) if name == "LINUX_HAS_SYSCALL_WRAPPER" => {
                self.types.extend(syscall_wrappers("bpf").map(String::into_bytes));
                self.symbols.extend(syscall_wrappers("bpf"));
            }
            ExternKind::Kconfig(_) if name == "LINUX_HAS_BPF_COOKIE" => {
                self.types.insert(HELPER_IDS.into());
            }
            ExternKind::Kconfig(_) => {}
            ExternKind::Variable(None) => {
                self.symbols.insert(name.to_owned());
            }
            ExternKind::Variable(Some(_)) => {
                self.types.insert(name.into());
                self.types.insert(PERCPU.into());
            }
            ExternKind::Function(_) => {
                self.types.insert(essential.into());
            }
        }
    }
}

fn struct_ops(
    open: &OpenObject<'_>,
    types: Option<&KernelTypes<'_>>,
    refusals: &mut Vec<Refusal>,
) -> Vec<KernelStruct> {
    let Some(types) = types else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (index, map) in open.maps().iter().enumerate() {
        match kernel_struct::compare(open, types, index) {
            Ok(kernel) => found.extend(kernel),
            Err(refusal) if map.autocreate => refusals.push(refusal),
            // Nobody asked for it yet.
            Err(_) => {}
        }
    }
    found
}

/// The sections with every relocation applied that can be.
fn relocated_code(object: &BpfObject, relocations: &[RecordedRelo]) -> Vec<Vec<u8>> {
    let mut code: Vec<Vec<u8>> = object.sections().iter().map(|section| section.code.to_vec()).collect();
    for record in relocations {
        let relo = &object.relos()[record.index];
        let at = relo.relo.insn_off as usize;
        let place = at..at.saturating_add(record.insn_after.len());
        if let (false, Some(bytes)) =
            (matches!(record.outcome, Outcome::Error(_)), code[relo.section].get_mut(place))
        {
            bytes.copy_from_slice(&record.insn_after);
        }
    }
    code
}

/// The values of kconfig externs where they belong; those that are not known stay 0, and count as not known elsewhere.
fn kconfig_content(open: &OpenObject<'_>, externs: &[Resolution]) -> Vec<u8> {
    let mut content = Vec::new();
    for (external, resolution) in open.externs().iter().zip(externs) {
        let Some(var) = external.kconfig() else { continue };
        let start = var.offset as usize;
        let end = start + var.size as usize;
        // Sizes come from a BTF that may be hostile; no real value is longer than a path.
        if end > 1 << 20 {
            break;
        }
        if content.len() < end {
            content.resize(end, 0);
        }
        if let Resolution::Value(bytes) = resolution {
            let len = bytes.len().min(end - start);
            content[start..start + len].copy_from_slice(&bytes[..len]);
        }
    }
    content
}

/// Whether a program's type or section says that it needs the kernel's own BTF.
fn needs_kernel_btf(kind: AttachKind) -> bool {
    match kind {
        AttachKind::BtfFunction | AttachKind::BtfTracepoint | AttachKind::Lsm | AttachKind::Iterator => true,
        AttachKind::StructOps => true,
        AttachKind::None | AttachKind::Program | AttachKind::User | AttachKind::Kprobe => false,
        AttachKind::KprobePattern | AttachKind::Syscall => false,
        AttachKind::TraceEvent | AttachKind::RawTracepoint => false,
    }
}
