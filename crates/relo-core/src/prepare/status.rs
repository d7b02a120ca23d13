//! How a program ends, and what can't be known.

use crate::Refusal;

/// What becomes of a program, as far as it can be told without a kernel.
///
/// The kernel's verifier has the last word: this is about what libbpf does before it, and about the one complaint of
/// the verifier that relocations cause, code that was poisoned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Nothing stands against it.
    WouldLoad,
    /// Instructions are poisoned, and the verifier gets to one: it refuses the program.
    PoisonedReachable {
        /// The first of them, counted within the program.
        insn: usize,
        /// What poisoned it.
        poison: Poison,
    },
    /// Instructions are poisoned, and the verifier sees that none can be reached.
    PoisonedGuarded {
        /// Only because of constants in `.rodata` as they stand in the file: the loader may change them.
        by_rodata: bool,
    },
    /// libbpf refuses it, or the object for reasons that are not of one program.
    Refused(Refusal),
    /// It needs BTF of the kernel's own, and the kernel has none.
    NeedsKernelBtf(KernelBtfUse),
    /// It can't be told.
    Unknown(Doubt),
}

impl Status {
    /// A word for machines, stable over versions.
    pub fn code(&self) -> &'static str {
        match self {
            Status::WouldLoad => "would-load",
            Status::PoisonedReachable { .. } => "poisoned-reachable",
            Status::PoisonedGuarded { .. } => "poisoned-guarded",
            Status::Refused(_) => "refused",
            Status::NeedsKernelBtf(_) => "needs-kernel-btf",
            Status::Unknown(_) => "unknown",
        }
    }

    /// Whether the program is expected to get past relocation.
    pub fn is_usable(&self) -> bool {
        matches!(self, Status::WouldLoad | Status::PoisonedGuarded { .. })
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Status::WouldLoad => f.write_str("would load"),
            Status::PoisonedReachable { insn, poison } => {
                write!(f, "poisoned at instruction {insn}, which can be reached: {poison}")
            }
            Status::PoisonedGuarded { by_rodata: false } => f.write_str("poisoned only behind guards"),
            Status::PoisonedGuarded { by_rodata: true } => {
                f.write_str("poisoned only behind guards, as long as .rodata is what the file says")
            }
            Status::Refused(refusal) => write!(f, "refused: {refusal}"),
            Status::NeedsKernelBtf(needed) => write!(f, "needs BTF of the kernel's own for {needed}"),
            Status::Unknown(doubt) => write!(f, "unknown: {doubt}"),
        }
    }
}

/// What turned an instruction into an invalid call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Poison {
    /// A CO-RE relocation without a match: its index in [`crate::BpfObject::relos`].
    Relocation(usize),
    /// A weak kfunc that the kernel lacks: the index of the extern.
    Kfunc(usize),
    /// A map that is not created unless the loader asks for it: its index.
    Map(usize),
}

impl std::fmt::Display for Poison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Poison::Relocation(index) => write!(f, "CO-RE relocation {index}"),
            Poison::Kfunc(index) => write!(f, "kfunc, extern {index}"),
            Poison::Map(index) => write!(f, "map {index}, which is not created"),
        }
    }
}

/// A poisoned instruction of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoisonedInsn {
    /// Its index within the program.
    pub insn: usize,
    /// What poisoned it.
    pub poison: Poison,
    /// Whether the verifier gets there.
    pub reach: Reach,
}

/// Whether the verifier gets to an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// On no path.
    Never,
    /// On no path, as long as `.rodata` holds what the file says.
    NeverByRodata,
    /// On a path of which every branch is open.
    Always,
    /// It can't be told.
    Perhaps(Doubt),
}

/// What a program needs the kernel's own BTF for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelBtfUse {
    /// What it is attached to.
    Attach(String),
    /// A typed ksym or a kfunc of the object.
    Symbol(String),
    /// A struct_ops variable of the object.
    StructOps(String),
    /// Its type alone.
    ProgramType,
}

impl std::fmt::Display for KernelBtfUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KernelBtfUse::Attach(target) => write!(f, "its attach target {target}"),
            KernelBtfUse::Symbol(name) => write!(f, "the kernel symbol {name}"),
            KernelBtfUse::StructOps(name) => write!(f, "the struct_ops variable {name}"),
            KernelBtfUse::ProgramType => f.write_str("a program of its type"),
        }
    }
}

/// What is not known, and what would tell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doubt {
    /// No configuration was given, and this extern needs it.
    NoKconfig(String),
    /// No kallsyms were given, and this extern needs them.
    NoKallsyms(String),
    /// Nothing that was given tells the value of this virtual kconfig extern.
    NoFact(String),
    /// The kernel has no BTF to find this extern in.
    NoKernelBtf(String),
    /// The loader says at run time what the program is attached to.
    RuntimeTarget,
    /// Whether poisoned code is reached depends on a branch that the analysis can't decide as the verifier would.
    Branch {
        /// The poisoned instruction.
        insn: usize,
        /// The branch.
        branch: usize,
    },
    /// There are more paths than the analysis follows.
    TooManyPaths,
    /// The object's programs together have more instructions than are put together here.
    TooLarge,
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Doubt::NoKconfig(name) => write!(f, "{name} needs the kernel's configuration, give it"),
            Doubt::NoKallsyms(name) => write!(f, "{name} needs the kernel's symbols, give kallsyms"),
            Doubt::NoFact(name) => write!(f, "{name} needs the kernel's version or symbols, give them"),
            Doubt::NoKernelBtf(name) => write!(f, "{name} needs BTF of the kernel's own"),
            Doubt::RuntimeTarget => f.write_str("the loader says at run time what it is attached to"),
            Doubt::Branch { insn, branch } => write!(
                f,
                "instruction {insn} is poisoned, and reached or not by the branch at {branch}, which can't be decided here"
            ),
            Doubt::TooManyPaths => f.write_str("there are more paths than are followed here"),
            Doubt::TooLarge => f.write_str("the object's programs are too large together"),
        }
    }
}
