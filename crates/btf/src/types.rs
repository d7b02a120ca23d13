//! One type, read where it stands.

use crate::bytes::ByteOrder;
use crate::trailer::{TYPE_LEN, vlen};
use crate::{Btf, Error, ErrorKind, Kind, StrOff, TypeId};

/// Bytes of a member: name, type, offset.
const MEMBER_LEN: usize = 12;

/// A view of one type in the bytes of its BTF.
#[derive(Debug, Clone, Copy)]
pub struct Type<'b> {
    btf: &'b Btf<'b>,
    id: TypeId,
    offset: usize,
    name: StrOff,
    info: u32,
    size_or_type: u32,
}

/// A member of a struct or union.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Where the name stands; empty for an anonymous member.
    pub name: StrOff,
    /// The member's type.
    pub type_id: TypeId,
    /// Offset in bits from the start of the struct or union.
    pub bit_offset: u32,
    /// Width in bits of a bitfield; 0 for any other member.
    pub bitfield_size: u8,
}

/// The shape of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array {
    /// The type of an element.
    pub element: TypeId,
    /// The type of the index.
    pub index: TypeId,
    /// The number of elements; 0 for a flexible array.
    pub len: u32,
}

/// A parameter of a function's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Where the name stands; empty without one.
    pub name: StrOff,
    /// The parameter's type; void for the `...` at the end.
    pub type_id: TypeId,
}

/// An enumerator of an ENUM or ENUM64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enumerator {
    /// Where the name stands.
    pub name: StrOff,
    /// The bits of the value: 32 of them for ENUM, not extended.
    pub bits: u64,
}

/// A variable's place in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VarSection {
    /// The VAR (or FUNC, in BPF objects).
    pub type_id: TypeId,
    /// Offset in bytes within the section.
    pub offset: u32,
    /// Size in bytes.
    pub size: u32,
}

/// Bits 24 to 27 of an INT's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntEncoding(pub u8);

impl IntEncoding {
    /// Unsigned.
    pub const NONE: IntEncoding = IntEncoding(0);
    /// Signed.
    pub const SIGNED: IntEncoding = IntEncoding(1);
    /// `char`.
    pub const CHAR: IntEncoding = IntEncoding(2);
    /// `bool`.
    pub const BOOL: IntEncoding = IntEncoding(4);

    /// Whether the SIGNED bit is set.
    pub fn is_signed(self) -> bool {
        self.0 & Self::SIGNED.0 != 0
    }
}

impl<'b> Type<'b> {
    /// Reads the common part; parsing has made sure that it is there.
    #[inline]
    pub(crate) fn read(btf: &'b Btf<'b>, id: TypeId, offset: usize) -> Type<'b> {
        let order = btf.order();
        let mut words = [0u32; 3];
        if let Some(common) = btf.data().get(offset..offset + TYPE_LEN) {
            for (word, bytes) in words.iter_mut().zip(common.chunks_exact(4)) {
                *word = order.decode([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
        }
        Type { btf, id, offset, name: StrOff(words[0]), info: words[1], size_or_type: words[2] }
    }

    pub(crate) fn void(btf: &'b Btf<'b>) -> Type<'b> {
        Type { btf, id: TypeId::VOID, offset: 0, name: StrOff(0), info: 0, size_or_type: 0 }
    }

    /// The type's id.
    #[inline]
    pub fn id(&self) -> TypeId {
        self.id
    }

    /// The kind.
    #[inline]
    pub fn kind(&self) -> Kind {
        Kind::from_info(self.info)
    }

    /// The kind flag, bit 31 of `info`: bitfields in a struct, a union behind FWD, a signed ENUM.
    #[inline]
    pub fn kind_flag(&self) -> bool {
        self.info >> 31 == 1
    }

    /// The number of members, parameters, enumerators or variables.
    #[inline]
    pub fn len(&self) -> u32 {
        vlen(self.info)
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the name stands.
    #[inline]
    pub fn name_off(&self) -> StrOff {
        self.name
    }

    /// The name; empty for an anonymous type.
    #[inline]
    pub fn name(&self) -> Result<&'b [u8], Error> {
        self.btf.string(self.name)
    }

    /// A string of the BTF that this type stands in: the name of an element.
    #[inline]
    pub fn string(&self, offset: StrOff) -> Result<&'b [u8], Error> {
        self.btf.string(offset)
    }

    /// The BTF that this type stands in: the base for a base type that was reached through split BTF.
    pub fn btf(&self) -> &'b Btf<'b> {
        self.btf
    }

    /// Offset in bytes of the type in the data of its BTF.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Size in bytes of an INT, STRUCT, UNION, ENUM, ENUM64, FLOAT or DATASEC.
    pub fn size(&self) -> Result<u32, Error> {
        match self.kind() {
            Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 => Ok(self.size_or_type),
            Kind::Float | Kind::Datasec => Ok(self.size_or_type),
            Kind::Void
            | Kind::Ptr
            | Kind::Array
            | Kind::Fwd
            | Kind::Typedef
            | Kind::Volatile
            | Kind::Const => Err(self.wrong_kind("a kind with a size")),
            Kind::Restrict | Kind::Func | Kind::FuncProto | Kind::Var | Kind::DeclTag | Kind::TypeTag => {
                Err(self.wrong_kind("a kind with a size"))
            }
            Kind::Unknown(_) => Err(self.wrong_kind("a kind with a size")),
        }
    }

    /// The type that a PTR, TYPEDEF, modifier, FUNC, VAR or tag refers to, or that a FUNC_PROTO returns.
    pub fn target(&self) -> Result<TypeId, Error> {
        match self.kind() {
            Kind::Ptr | Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                Ok(TypeId(self.size_or_type))
            }
            Kind::Func | Kind::FuncProto | Kind::Var | Kind::DeclTag => Ok(TypeId(self.size_or_type)),
            Kind::Void | Kind::Int | Kind::Array | Kind::Struct | Kind::Union | Kind::Enum | Kind::Fwd => {
                Err(self.wrong_kind("a kind that refers to one type"))
            }
            Kind::Datasec | Kind::Float | Kind::Enum64 | Kind::Unknown(_) => {
                Err(self.wrong_kind("a kind that refers to one type"))
            }
        }
    }

    /// The encoding of an INT.
    pub fn int_encoding(&self) -> Result<IntEncoding, Error> {
        Ok(IntEncoding((self.int_data()? >> 24) as u8 & 0x0f))
    }

    /// The offset in bits of an INT's value within its storage; not 0 only in bitfields of old compilers.
    pub fn int_offset(&self) -> Result<u8, Error> {
        Ok((self.int_data()? >> 16) as u8)
    }

    /// The width in bits of an INT.
    pub fn int_bits(&self) -> Result<u8, Error> {
        Ok(self.int_data()? as u8)
    }

    fn int_data(&self) -> Result<u32, Error> {
        if self.kind() != Kind::Int {
            return Err(self.wrong_kind("INT"));
        }
        self.word(0)
    }

    /// Linkage of a FUNC, which is its element count (0 static, 1 global, 2 extern), or of a VAR.
    pub fn linkage(&self) -> Result<u32, Error> {
        match self.kind() {
            Kind::Func => Ok(self.len()),
            Kind::Var => self.word(0),
            other_kind => Err(ErrorKind::WrongKind { id: self.id, found: other_kind, wanted: "FUNC or VAR" }
                .at(self.offset)),
        }
    }

    /// The element that a DECL_TAG marks: a member's or parameter's index, or None for the whole type.
    pub fn component(&self) -> Result<Option<u32>, Error> {
        if self.kind() != Kind::DeclTag {
            return Err(self.wrong_kind("DECL_TAG"));
        }
        Ok(Some(self.word(0)?).filter(|&index| index != u32::MAX))
    }

    /// The shape of an ARRAY.
    pub fn array(&self) -> Result<Array, Error> {
        if self.kind() != Kind::Array {
            return Err(self.wrong_kind("ARRAY"));
        }
        Ok(Array { element: TypeId(self.word(0)?), index: TypeId(self.word(1)?), len: self.word(2)? })
    }

    /// A member of a STRUCT or UNION (libbpf: `btf_members`, `btf_member_bit_offset`, `btf_member_bitfield_size`).
    #[inline]
    pub fn member(&self, index: u32) -> Result<Member, Error> {
        if !self.kind().is_composite() {
            return Err(self.wrong_kind("STRUCT or UNION"));
        }
        let [name, type_id, offset] = self.element::<3>(index)?;
        let (bit_offset, bitfield_size) =
            if self.kind_flag() { (offset & 0x00ff_ffff, (offset >> 24) as u8) } else { (offset, 0) };
        Ok(Member { name: StrOff(name), type_id: TypeId(type_id), bit_offset, bitfield_size })
    }

    /// The members of a STRUCT or UNION, in order; nothing for another kind.
    pub fn members(self) -> impl Iterator<Item = Result<Member, Error>> + use<'b> {
        let len = if self.kind().is_composite() { self.len() } else { 0 };
        (0..len).map(move |index| self.member(index))
    }

    /// The index of the first member, from `start` on, that has this name or none; None where there is no such member.
    ///
    /// Names are compared where they stand, the members of a large struct one after the other: what searches spend
    /// their time with.
    pub fn find_member(&self, start: u32, name: &[u8]) -> Result<Option<u32>, Error> {
        if !self.kind().is_composite() {
            return Err(self.wrong_kind("STRUCT or UNION"));
        }
        let order = self.btf.order();
        let first = self.offset + TYPE_LEN + MEMBER_LEN * start as usize;
        let end = self.offset + TYPE_LEN + MEMBER_LEN * self.len() as usize;
        let members = self.btf.data().get(first..end).unwrap_or_default();
        for (index, member) in (start..).zip(members.chunks_exact(MEMBER_LEN)) {
            let offset = StrOff(order.decode([member[0], member[1], member[2], member[3]]));
            if self.btf.string_is_one_of(offset, name)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// A parameter of a FUNC_PROTO.
    pub fn param(&self, index: u32) -> Result<Param, Error> {
        if self.kind() != Kind::FuncProto {
            return Err(self.wrong_kind("FUNC_PROTO"));
        }
        let [name, type_id] = self.element::<2>(index)?;
        Ok(Param { name: StrOff(name), type_id: TypeId(type_id) })
    }

    /// An enumerator of an ENUM or ENUM64.
    pub fn enumerator(&self, index: u32) -> Result<Enumerator, Error> {
        match self.kind() {
            Kind::Enum => {
                let [name, value] = self.element::<2>(index)?;
                Ok(Enumerator { name: StrOff(name), bits: u64::from(value) })
            }
            Kind::Enum64 => {
                let [name, low, high] = self.element::<3>(index)?;
                Ok(Enumerator { name: StrOff(name), bits: u64::from(high) << 32 | u64::from(low) })
            }
            other_kind => {
                Err(ErrorKind::WrongKind { id: self.id, found: other_kind, wanted: "ENUM or ENUM64" }
                    .at(self.offset))
            }
        }
    }

    /// A variable of a DATASEC.
    pub fn var_section(&self, index: u32) -> Result<VarSection, Error> {
        if self.kind() != Kind::Datasec {
            return Err(self.wrong_kind("DATASEC"));
        }
        let [type_id, offset, size] = self.element::<3>(index)?;
        Ok(VarSection { type_id: TypeId(type_id), offset, size })
    }

    /// A word after the common part.
    fn word(&self, index: usize) -> Result<u32, Error> {
        self.btf.order().u32(self.btf.data(), self.offset + TYPE_LEN + 4 * index, "a type")
    }

    #[inline]
    fn element<const N: usize>(&self, index: u32) -> Result<[u32; N], Error> {
        if index >= self.len() {
            return Err(ErrorKind::NoSuchElement { id: self.id, index }.at(self.offset));
        }
        let order: ByteOrder = self.btf.order();
        let start = self.offset + TYPE_LEN + 4 * N * index as usize;
        let Some(bytes) = self.btf.data().get(start..start + 4 * N) else {
            return Err(ErrorKind::TooShort("a type's elements").at(start));
        };
        let mut words = [0; N];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = order.decode([chunk[0], chunk[1], chunk[2], chunk[3]]);
        }
        Ok(words)
    }

    fn wrong_kind(&self, wanted: &'static str) -> Error {
        ErrorKind::WrongKind { id: self.id, found: self.kind(), wanted }.at(self.offset)
    }
}
