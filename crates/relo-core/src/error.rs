//! Why libbpf would refuse an object.

use btf::TypeId;

/// A relocation that makes libbpf refuse the whole object.
///
/// A field or type that the target lacks is none of these: it is an [`crate::Outcome`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReloError {
    /// The BTF of the object or of the target is broken where the relocation follows it.
    #[error("{side} BTF: {error}")]
    Btf {
        /// "local" or "target".
        side: &'static str,
        /// What is wrong.
        error: btf::Error,
    },
    /// A kind that this version does not know.
    #[error("unknown relocation kind {0}")]
    UnknownKind(u32),
    /// The access string does not fit the local type.
    #[error("the access string {access:?} does not fit the local type [{root}]: {problem}")]
    Access {
        /// The root type.
        root: TypeId,
        /// The access string.
        access: String,
        /// What does not fit.
        problem: &'static str,
    },
    /// Only local_type_id works on a type without a name.
    #[error("the local type [{0}] has no name, so the target can't be searched for it")]
    AnonymousRoot(TypeId),
    /// More than 64 parts.
    #[error("a spec of more than 64 parts")]
    SpecTooLong,
    /// Types nested deeper than 32 levels.
    #[error("types nested deeper than 32 levels")]
    TooDeep,
    /// A search that does not end within reason: the BTF is hostile or broken.
    #[error("the types are nested too wildly to compare")]
    TooComplex,
    /// An offset that 32 bits can't hold.
    #[error("an offset beyond 512 MiB")]
    OffsetTooLarge,
    /// signed, lshift_u64 and rshift_u64 make no sense for an array element.
    #[error("an array element has neither sign nor shifts")]
    NotAField,
    /// The bitfield can't be read with one load of at most 8 bytes.
    #[error("the bitfield can't be read with a load of 64 bits")]
    BitfieldTooWide,
    /// Several types of the target match and put the field at different places.
    #[error("ambiguous: {first} and {second} bits are both possible offsets")]
    AmbiguousOffset {
        /// Offset in bits in the first matching type.
        first: u32,
        /// Offset in bits in another.
        second: u32,
    },
    /// Several types of the target match and give different values.
    #[error("ambiguous: {first} and {second} are both possible values")]
    AmbiguousValue {
        /// Value of the first matching type.
        first: u64,
        /// Value of another.
        second: u64,
    },
    /// The relocation does not point at an instruction.
    #[error("offset {0} is not the start of an instruction of this section")]
    NoInsn(u32),
    /// The instruction is none that a relocation can change.
    #[error("instruction {code:#04x} can't be relocated")]
    UnexpectedInsn {
        /// The instruction's code.
        code: u8,
    },
    /// The instruction holds another value than the local type gives.
    #[error("the instruction holds {found}, the local type gives {expected}")]
    UnexpectedValue {
        /// The value in the instruction.
        found: u64,
        /// The value by the local type.
        expected: u64,
    },
    /// A load or store reaches at most 32767 bytes.
    #[error("the offset {0} does not fit a load or store")]
    OffsetOutOfRange(u64),
    /// The width of the load or store is not that of the local field.
    #[error("the instruction accesses {found} bytes, the local field has {expected}")]
    UnexpectedWidth {
        /// Bytes by the instruction.
        found: u32,
        /// Bytes by the local type.
        expected: u32,
    },
    /// The target field has a size that no load or store has.
    #[error("no load or store accesses {0} bytes")]
    ImpossibleWidth(u32),
}

impl ReloError {
    /// A broken local BTF.
    pub(crate) fn local(error: btf::Error) -> ReloError {
        ReloError::Btf { side: "local", error }
    }

    /// A broken target BTF.
    pub(crate) fn target(error: btf::Error) -> ReloError {
        ReloError::Btf { side: "target", error }
    }

    /// A word for machines, stable over versions.
    pub fn code(&self) -> &'static str {
        match self {
            ReloError::Btf { .. } => "broken-btf",
            ReloError::UnknownKind(_) => "unknown-kind",
            ReloError::Access { .. } => "bad-access",
            ReloError::AnonymousRoot(_) => "anonymous-root",
            ReloError::SpecTooLong => "spec-too-long",
            ReloError::TooDeep => "too-deep",
            ReloError::TooComplex => "too-complex",
            ReloError::OffsetTooLarge => "offset-too-large",
            ReloError::NotAField => "not-a-field",
            ReloError::BitfieldTooWide => "bitfield-too-wide",
            ReloError::AmbiguousOffset { .. } => "ambiguous-offset",
            ReloError::AmbiguousValue { .. } => "ambiguous-value",
            ReloError::NoInsn(_) => "no-insn",
            ReloError::UnexpectedInsn { .. } => "unexpected-insn",
            ReloError::UnexpectedValue { .. } => "unexpected-value",
            ReloError::OffsetOutOfRange(_) => "offset-out-of-range",
            ReloError::UnexpectedWidth { .. } => "unexpected-width",
            ReloError::ImpossibleWidth(_) => "impossible-width",
        }
    }
}

/// Why a file can't be opened as a BPF object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// Not an ELF file, or a broken one.
    #[error("not a readable ELF file: {0}")]
    Elf(String),
    /// An ELF file for another machine than BPF.
    #[error("an ELF file for another machine than BPF (e_machine {0})")]
    NotBpf(u16),
    /// Compiled without debug information.
    #[error("the object has no .BTF section; compile it with -g")]
    NoBtf,
    /// A broken .BTF or .BTF.ext section.
    #[error("{section}: {error}")]
    Btf {
        /// The section.
        section: &'static str,
        /// What is wrong.
        error: btf::Error,
    },
    /// A program that reaches beyond its section.
    #[error("program {0:?} reaches beyond its section")]
    ProgramOutside(String),
    /// .BTF.ext names a section that the object does not have.
    #[error(".BTF.ext names the section {0:?}, which the object does not have")]
    NoSuchSection(String),
}
