//! The thirteen kinds of CO-RE relocations.

use std::fmt;

/// What a relocation asks of the target (`enum bpf_core_relo_kind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReloKind {
    /// Offset in bytes of a field.
    ByteOff,
    /// Size in bytes of a field.
    ByteSize,
    /// Whether a field exists.
    FieldExists,
    /// Whether a field is signed.
    Signed,
    /// Left shift that brings a bitfield to the top of 64 bits.
    LshiftU64,
    /// Right shift that brings it down again.
    RshiftU64,
    /// Id of a type in the object's own BTF.
    LocalTypeId,
    /// Id of a type in the kernel's BTF.
    TargetTypeId,
    /// Whether a type exists.
    TypeExists,
    /// Size in bytes of a type.
    TypeSize,
    /// Whether an enumerator exists.
    EnumvalExists,
    /// Value of an enumerator.
    EnumvalValue,
    /// Whether a type exists and matches member by member.
    TypeMatches,
}

impl ReloKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [ReloKind; 13] = [
        ReloKind::ByteOff,
        ReloKind::ByteSize,
        ReloKind::FieldExists,
        ReloKind::Signed,
        ReloKind::LshiftU64,
        ReloKind::RshiftU64,
        ReloKind::LocalTypeId,
        ReloKind::TargetTypeId,
        ReloKind::TypeExists,
        ReloKind::TypeSize,
        ReloKind::EnumvalExists,
        ReloKind::EnumvalValue,
        ReloKind::TypeMatches,
    ];

    /// The kind of a number in .BTF.ext.
    pub fn from_number(number: u32) -> Option<ReloKind> {
        Self::ALL.get(number as usize).copied()
    }

    /// The name as libbpf prints it (`core_relo_kind_str`).
    pub fn name(self) -> &'static str {
        match self {
            ReloKind::ByteOff => "byte_off",
            ReloKind::ByteSize => "byte_sz",
            ReloKind::FieldExists => "field_exists",
            ReloKind::Signed => "signed",
            ReloKind::LshiftU64 => "lshift_u64",
            ReloKind::RshiftU64 => "rshift_u64",
            ReloKind::LocalTypeId => "local_type_id",
            ReloKind::TargetTypeId => "target_type_id",
            ReloKind::TypeExists => "type_exists",
            ReloKind::TypeSize => "type_size",
            ReloKind::EnumvalExists => "enumval_exists",
            ReloKind::EnumvalValue => "enumval_value",
            ReloKind::TypeMatches => "type_matches",
        }
    }

    /// What the kind's access string leads to.
    pub(crate) fn subject(self) -> Subject {
        match self {
            ReloKind::ByteOff | ReloKind::ByteSize | ReloKind::FieldExists => Subject::Field,
            ReloKind::Signed | ReloKind::LshiftU64 | ReloKind::RshiftU64 => Subject::Field,
            ReloKind::LocalTypeId | ReloKind::TargetTypeId | ReloKind::TypeExists => Subject::Type,
            ReloKind::TypeSize | ReloKind::TypeMatches => Subject::Type,
            ReloKind::EnumvalExists | ReloKind::EnumvalValue => Subject::Enumerator,
        }
    }
}

/// Field, type or enumerator based.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Field,
    Type,
    Enumerator,
}

impl fmt::Display for ReloKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positions() {
        for (number, kind) in ReloKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, number);
            assert_eq!(ReloKind::from_number(number as u32), Some(*kind));
        }
        assert_eq!(ReloKind::from_number(13), None);
    }
}
