//! What can be wrong with the bytes.

use crate::TypeId;

/// An error of the format, with the place where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (at byte {offset})")]
pub struct Error {
    /// Offset in bytes from the start of the BTF or .BTF.ext data.
    pub offset: u64,
    /// What is wrong there.
    pub kind: ErrorKind,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The data ends before what should stand there.
    #[error("the data is too short for {0}")]
    TooShort(&'static str),
    /// Neither byte order gives 0xeb9f.
    #[error("not BTF: the magic number is {0:#06x}, not 0xeb9f")]
    Magic(u16),
    /// Only version 1 exists.
    #[error("unsupported version {0}")]
    Version(u8),
    /// The header is shorter than its fixed part, or longer than the data.
    #[error("a header length of {0} bytes is not possible")]
    HeaderLen(u32),
    /// Type and layout sections overlap others or are not aligned.
    #[error("the {0} section overlaps another or is not aligned")]
    Section(&'static str),
    /// The header speaks of more data than there is.
    #[error("the header speaks of {needed} bytes, and there are {found}; has the file been cut short?")]
    Cut {
        /// Bytes up to the end of the strings.
        needed: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// The string section must start and end with a NUL byte.
    #[error("the string section is malformed{}", if *.split { "" } else { "; is this split BTF that needs its base?" })]
    Strings {
        /// Whether the BTF was read as split BTF.
        split: bool,
    },
    /// A kind that is not known and not described by the layout section.
    #[error("type [{id}] has the unknown kind {kind}, and nothing tells how long it is")]
    UnknownKind {
        /// The type.
        id: TypeId,
        /// Its kind as a number.
        kind: u8,
    },
    /// More types than an id can name.
    #[error("too many types")]
    TooManyTypes,
    /// An id that no type has.
    #[error("there is no type [{0}]")]
    NoSuchType(TypeId),
    /// An offset outside the string sections.
    #[error("there is no string at offset {0}")]
    NoSuchString(u32),
    /// A member, parameter or enumerator that the type does not have.
    #[error("type [{id}] has no element {index}")]
    NoSuchElement {
        /// The type.
        id: TypeId,
        /// The index asked for.
        index: u32,
    },
    /// The type is of a kind that does not have what was asked for.
    #[error("type [{id}] is {found}, not {wanted}")]
    WrongKind {
        /// The type.
        id: TypeId,
        /// Its kind.
        found: crate::Kind,
        /// What was wanted.
        wanted: &'static str,
    },
    /// Typedefs and modifiers that lead back to themselves, or an absurd number of them.
    #[error("type [{0}] is behind a cycle of typedefs and modifiers")]
    Cycle(TypeId),
    /// void, FWD, FUNC and FUNC_PROTO have no size.
    #[error("type [{0}] has no size")]
    NoSize(TypeId),
    /// A size, offset or count above 32 bits.
    #[error("the size of type [{0}] does not fit 32 bits")]
    TooLarge(TypeId),
    /// A FUNC must lead to a FUNC_PROTO.
    #[error("FUNC [{0}] does not lead to a FUNC_PROTO")]
    FuncWithoutProto(TypeId),
    /// .BTF.ext record sizes are multiples of 4 and at least as large as the record.
    #[error("a record size of {0} bytes is not possible")]
    RecordSize(u32),
    /// A part of .BTF.ext that is there, and empty.
    #[error("a section without records")]
    NoRecords,
    /// The element does not belong to the last type added, or the like.
    #[error("{0} can't be added here")]
    Misplaced(&'static str),
}

impl ErrorKind {
    /// The error at an offset.
    pub(crate) fn at(self, offset: usize) -> Error {
        Error { offset: offset as u64, kind: self }
    }
}
