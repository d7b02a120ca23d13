//! The kinds of types.

use std::fmt;

/// The kind of a type (`BTF_KIND_*` of the kernel's btf.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `void`, never stored.
    Void,
    /// Integer, `bool` or `char`.
    Int,
    /// Pointer.
    Ptr,
    /// Array.
    Array,
    /// Struct.
    Struct,
    /// Union.
    Union,
    /// Enum whose values have 32 bits.
    Enum,
    /// Forward declaration of a struct or union.
    Fwd,
    /// Typedef.
    Typedef,
    /// `volatile`.
    Volatile,
    /// `const`.
    Const,
    /// `restrict`.
    Restrict,
    /// Function; its type is a [`Kind::FuncProto`].
    Func,
    /// Signature of a function.
    FuncProto,
    /// Variable.
    Var,
    /// ELF section of variables.
    Datasec,
    /// Floating point number.
    Float,
    /// `btf_decl_tag` attribute.
    DeclTag,
    /// `btf_type_tag` attribute.
    TypeTag,
    /// Enum whose values have 64 bits.
    Enum64,
    /// A kind that this library does not know; the layout section told how long it is.
    Unknown(u8),
}

impl Kind {
    /// The kind of bits 24 to 30 of a type's `info`.
    #[inline]
    pub const fn from_info(info: u32) -> Kind {
        match (info >> 24) as u8 & 0x7f {
            0 => Kind::Void,
            1 => Kind::Int,
            2 => Kind::Ptr,
            3 => Kind::Array,
            4 => Kind::Struct,
            5 => Kind::Union,
            6 => Kind::Enum,
            7 => Kind::Fwd,
            8 => Kind::Typedef,
            9 => Kind::Volatile,
            10 => Kind::Const,
            11 => Kind::Restrict,
            12 => Kind::Func,
            13 => Kind::FuncProto,
            14 => Kind::Var,
            15 => Kind::Datasec,
            16 => Kind::Float,
            17 => Kind::DeclTag,
            18 => Kind::TypeTag,
            19 => Kind::Enum64,
            other => Kind::Unknown(other),
        }
    }

    /// The kind as a number.
    pub const fn number(self) -> u8 {
        match self {
            Kind::Void => 0,
            Kind::Int => 1,
            Kind::Ptr => 2,
            Kind::Array => 3,
            Kind::Struct => 4,
            Kind::Union => 5,
            Kind::Enum => 6,
            Kind::Fwd => 7,
            Kind::Typedef => 8,
            Kind::Volatile => 9,
            Kind::Const => 10,
            Kind::Restrict => 11,
            Kind::Func => 12,
            Kind::FuncProto => 13,
            Kind::Var => 14,
            Kind::Datasec => 15,
            Kind::Float => 16,
            Kind::DeclTag => 17,
            Kind::TypeTag => 18,
            Kind::Enum64 => 19,
            Kind::Unknown(number) => number,
        }
    }

    /// The name as `bpftool btf dump` prints it in its raw format.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Void => "VOID",
            Kind::Int => "INT",
            Kind::Ptr => "PTR",
            Kind::Array => "ARRAY",
            Kind::Struct => "STRUCT",
            Kind::Union => "UNION",
            Kind::Enum => "ENUM",
            Kind::Fwd => "FWD",
            Kind::Typedef => "TYPEDEF",
            Kind::Volatile => "VOLATILE",
            Kind::Const => "CONST",
            Kind::Restrict => "RESTRICT",
            Kind::Func => "FUNC",
            Kind::FuncProto => "FUNC_PROTO",
            Kind::Var => "VAR",
            Kind::Datasec => "DATASEC",
            Kind::Float => "FLOAT",
            Kind::DeclTag => "DECL_TAG",
            Kind::TypeTag => "TYPE_TAG",
            Kind::Enum64 => "ENUM64",
            Kind::Unknown(_) => "UNKNOWN",
        }
    }

    /// Bytes after the 12 of the common part: a fixed number, and a number for each of `vlen` elements.
    ///
    /// None for a kind that only a layout section can describe (libbpf: `btf_type_size`).
    #[inline]
    pub(crate) const fn trailer(self) -> Option<(usize, usize)> {
        match self {
            Kind::Ptr | Kind::Fwd | Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict => {
                Some((0, 0))
            }
            Kind::Func | Kind::Float | Kind::TypeTag => Some((0, 0)),
            Kind::Int | Kind::Var | Kind::DeclTag => Some((4, 0)),
            Kind::Array => Some((12, 0)),
            Kind::Struct | Kind::Union | Kind::Datasec | Kind::Enum64 => Some((0, 12)),
            Kind::Enum | Kind::FuncProto => Some((0, 8)),
            Kind::Void | Kind::Unknown(_) => None,
        }
    }

    /// STRUCT or UNION (libbpf: `btf_is_composite`).
    #[inline]
    pub fn is_composite(self) -> bool {
        matches!(self, Kind::Struct | Kind::Union)
    }

    /// ENUM or ENUM64 (libbpf: `btf_is_any_enum`).
    #[inline]
    pub fn is_any_enum(self) -> bool {
        matches!(self, Kind::Enum | Kind::Enum64)
    }

    /// CONST, VOLATILE, RESTRICT, TYPE_TAG or TYPEDEF: what `skip_mods_and_typedefs` of libbpf steps over.
    #[inline]
    pub fn is_modifier_or_typedef(self) -> bool {
        matches!(self, Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag | Kind::Typedef)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Unknown(number) => write!(f, "UNKNOWN({number})"),
            known => f.write_str(known.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for number in 0..128u8 {
            let kind = Kind::from_info((number as u32) << 24 | 1 << 31 | 0xffffff);
            assert_eq!(kind.number(), number);
            assert_eq!(matches!(kind, Kind::Unknown(_)), number > 19);
        }
    }
}
