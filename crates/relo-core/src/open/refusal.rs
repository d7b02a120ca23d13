//! Why libbpf refuses an object or a program, apart from what its CO-RE relocations say.

use crate::ReloError;

/// A reason for which libbpf refuses, before the kernel's verifier sees anything.
///
/// The texts follow the warnings that libbpf prints, so that who knows the one recognizes the other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The file is not what libbpf opens.
    #[error("elf: {0}")]
    Elf(String),
    /// A section of variables does not fit its BTF.
    #[error("section '{section}': {problem}")]
    Section {
        /// The section's name.
        section: String,
        /// What is wrong.
        problem: String,
    },
    /// A program that can't be one.
    #[error("prog '{program}': {problem}")]
    Program {
        /// The program's name.
        program: String,
        /// What is wrong.
        problem: String,
    },
    /// A map definition.
    #[error("map '{map}': {problem}")]
    Map {
        /// The map's name.
        map: String,
        /// What is wrong.
        problem: String,
    },
    /// An extern: of its declaration, or because nothing defines it.
    #[error("extern '{name}': {problem}")]
    Extern {
        /// The extern's name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A line of the kernel's configuration.
    #[error("kconfig line '{line}': {problem}")]
    Kconfig {
        /// The line.
        line: String,
        /// What is wrong.
        problem: String,
    },
    /// An ELF relocation of an instruction.
    #[error("relo against '{symbol}' for insn {insn}: {problem}")]
    Relocation {
        /// The symbol's name.
        symbol: String,
        /// The instruction, counted within its function.
        insn: usize,
        /// What is wrong.
        problem: String,
    },
    /// A call, or the address of a subprogram.
    #[error("insn {insn} of '{function}': {problem}")]
    Call {
        /// The function that holds the instruction.
        function: String,
        /// The instruction, counted within its function.
        insn: usize,
        /// What is wrong.
        problem: String,
    },
    /// A struct_ops variable.
    #[error("struct_ops '{map}': {problem}")]
    StructOps {
        /// The variable's name.
        map: String,
        /// What is wrong.
        problem: String,
    },
    /// A CO-RE relocation that makes libbpf refuse the object.
    #[error("CO-RE relocation {relo}: {error}")]
    Core {
        /// Index in [`crate::BpfObject::relos`].
        relo: usize,
        /// Why.
        error: ReloError,
    },
    /// What the section's name says to attach to is not in the kernel's BTF.
    #[error("failed to find kernel BTF type ID of '{target}': {problem}")]
    Attach {
        /// The part of the section's name.
        target: String,
        /// What was looked for, and where.
        problem: String,
    },
    /// More instructions than the kernel takes.
    #[error("{0} instructions, the kernel takes at most 1000000")]
    TooLong(usize),
}

impl Refusal {
    /// A word for machines, stable over versions.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Elf(_) => "elf",
            Refusal::Section { .. } => "section",
            Refusal::Program { .. } => "program",
            Refusal::Map { .. } => "map",
            Refusal::Extern { .. } => "extern",
            Refusal::Kconfig { .. } => "kconfig",
            Refusal::Relocation { .. } => "relocation",
            Refusal::Call { .. } => "call",
            Refusal::StructOps { .. } => "struct-ops",
            Refusal::Core { error, .. } => error.code(),
            Refusal::Attach { .. } => "attach-target",
            Refusal::TooLong(_) => "too-long",
        }
    }

    pub(crate) fn map(map: impl Into<String>, problem: impl Into<String>) -> Refusal {
        Refusal::Map { map: map.into(), problem: problem.into() }
    }

    pub(crate) fn external(name: impl Into<String>, problem: impl Into<String>) -> Refusal {
        Refusal::Extern { name: name.into(), problem: problem.into() }
    }

    pub(crate) fn section(section: impl Into<String>, problem: impl Into<String>) -> Refusal {
        Refusal::Section { section: section.into(), problem: problem.into() }
    }

    pub(crate) fn program(program: impl Into<String>, problem: impl Into<String>) -> Refusal {
        Refusal::Program { program: program.into(), problem: problem.into() }
    }

    pub(crate) fn struct_ops(map: impl Into<String>, problem: impl Into<String>) -> Refusal {
        Refusal::StructOps { map: map.into(), problem: problem.into() }
    }
}
