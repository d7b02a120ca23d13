//! Writing a BTF: types are appended, strings stand once each in the order of their first use.

use std::collections::HashMap;

use crate::header::{Header, HeaderLen};
use crate::{ByteOrder, Error, ErrorKind, IntEncoding, Kind, Member, StrOff, Type, TypeId, VarSection};

/// Appends types to a new BTF.
///
/// The layout is that of libbpf's `btf__add_*`: the same calls give the same bytes.
#[derive(Debug, Clone)]
pub struct Builder {
    order: ByteOrder,
    header_len: HeaderLen,
    first_id: u32,
    first_str: u32,
    /// Offset of each type in `types`.
    offsets: Vec<usize>,
    types: Vec<u8>,
    strings: Vec<u8>,
    /// Only looked up, never iterated: the order of the strings is that of their first use.
    known: HashMap<Vec<u8>, StrOff>,
}

impl Builder {
    /// An empty BTF of this byte order, with the header of 24 bytes.
    pub fn new(order: ByteOrder) -> Builder {
        let known = HashMap::from([(Vec::new(), StrOff(0))]);
        let (offsets, types, strings) = (Vec::new(), Vec::new(), vec![0]);
        Builder {
            order,
            header_len: HeaderLen::Short,
            first_id: 1,
            first_str: 0,
            offsets,
            types,
            strings,
            known,
        }
    }

    /// Chooses the header.
    pub fn header_len(mut self, header_len: HeaderLen) -> Builder {
        self.header_len = header_len;
        self
    }

    /// An empty split BTF on a base: ids and string offsets go on where the base's end, and strings of the base are
    /// used again (libbpf: `btf__new_empty_split`).
    pub fn split(base: &crate::Btf<'_>) -> Builder {
        let mut builder = Builder::new(base.order());
        builder.first_id = base.type_count();
        builder.first_str = base.strings_end();
        builder.strings.clear();
        let below = std::iter::successors(Some(base), |btf| btf.base());
        for btf in below.collect::<Vec<_>>().into_iter().rev() {
            let strings = &btf.data()[btf.header().strings.clone()];
            let mut at = btf.strings_end() - strings.len() as u32;
            for text in strings.split(|&byte| byte == 0) {
                builder.known.entry(text.to_vec()).or_insert(StrOff(at));
                at += text.len() as u32 + 1;
            }
        }
        builder
    }

    /// The id that the next type gets.
    pub fn next_id(&self) -> TypeId {
        TypeId(self.first_id + self.offsets.len() as u32)
    }

    /// Adds a string, or finds it.
    pub fn string(&mut self, text: &[u8]) -> Result<StrOff, Error> {
        if let Some(&known) = self.known.get(text) {
            return Ok(known);
        }
        let end = self.first_str as usize + self.strings.len() + text.len() + 1;
        if u32::try_from(end).is_err() || text.contains(&0) {
            return Err(ErrorKind::Misplaced("a string").at(self.strings.len()));
        }
        let offset = StrOff(self.first_str + self.strings.len() as u32);
        self.strings.extend(text);
        self.strings.push(0);
        self.known.insert(text.to_vec(), offset);
        Ok(offset)
    }

    /// Adds an INT of `size` bytes that uses all its bits.
    pub fn int(&mut self, name: &str, size: u32, encoding: IntEncoding) -> Result<TypeId, Error> {
        let id = self.common(name.as_bytes(), Kind::Int, false, 0, size)?;
        self.word(u32::from(encoding.0) << 24 | (size * 8) & 0xff);
        Ok(id)
    }

    /// Adds a PTR, TYPEDEF, modifier, TYPE_TAG or FUNC; names of kinds that have none are empty.
    pub fn reference(&mut self, kind: Kind, name: &str, target: TypeId) -> Result<TypeId, Error> {
        self.common(name.as_bytes(), kind, false, 0, target.0)
    }

    /// Adds a FWD of a struct or, with `union`, of a union.
    pub fn fwd(&mut self, name: &str, union: bool) -> Result<TypeId, Error> {
        self.common(name.as_bytes(), Kind::Fwd, union, 0, 0)
    }

    /// Adds a FLOAT.
    pub fn float(&mut self, name: &str, size: u32) -> Result<TypeId, Error> {
        self.common(name.as_bytes(), Kind::Float, false, 0, size)
    }

    /// Adds an ARRAY.
    pub fn array(&mut self, element: TypeId, index: TypeId, len: u32) -> Result<TypeId, Error> {
        let id = self.common(b"", Kind::Array, false, 0, 0)?;
        for word in [element.0, index.0, len] {
            self.word(word);
        }
        Ok(id)
    }

    /// Adds a STRUCT or UNION without members.
    pub fn composite(&mut self, kind: Kind, name: &str, size: u32) -> Result<TypeId, Error> {
        self.composite_bytes(kind, name.as_bytes(), size)
    }

    fn composite_bytes(&mut self, kind: Kind, name: &[u8], size: u32) -> Result<TypeId, Error> {
        self.common(name, kind, false, 0, size)
    }

    /// Adds a member to the STRUCT or UNION that was added last; a width makes it a bitfield.
    pub fn member(&mut self, name: &str, ty: TypeId, bit_offset: u32, bits: Option<u8>) -> Result<(), Error> {
        let name = self.string(name.as_bytes())?;
        let member = Member { name, type_id: ty, bit_offset, bitfield_size: bits.unwrap_or(0) };
        self.push_member(member)
    }

    /// Appends a member whose name is already one of this BTF's strings (libbpf: `btf__add_field`).
    fn push_member(&mut self, member: Member) -> Result<(), Error> {
        let was_flagged = self.last_info(Kind::is_composite, "a member")? >> 31 == 1;
        let flagged = was_flagged || member.bitfield_size > 0;
        let too_far = flagged && member.bit_offset > 0x00ff_ffff;
        if too_far {
            return Err(ErrorKind::Misplaced("a bitfield beyond 2 MiB").at(self.types.len()));
        }
        let offset = u32::from(member.bitfield_size) << 24 | member.bit_offset;
        self.word(member.name.0);
        self.word(member.type_id.0);
        self.word(offset);
        self.grow_last(flagged)
    }

    /// Adds an ENUM (32-bit values) or ENUM64; `signed` is its kind flag.
    pub fn enumeration(&mut self, kind: Kind, name: &str, size: u32, signed: bool) -> Result<TypeId, Error> {
        self.common(name.as_bytes(), kind, signed, 0, size)
    }

    /// Adds an enumerator to the ENUM or ENUM64 that was added last.
    pub fn enumerator(&mut self, name: &str, value: i64) -> Result<(), Error> {
        let info = self.last_info(Kind::is_any_enum, "an enumerator")?;
        let name = self.string(name.as_bytes())?;
        self.word(name.0);
        self.word(value as u32);
        if Kind::from_info(info) == Kind::Enum64 {
            self.word((value >> 32) as u32);
        }
        self.grow_last(info >> 31 == 1)
    }

    /// Adds a VAR; `linkage` is 0 for static, 1 for global and 2 for extern variables.
    pub fn var(&mut self, name: &str, ty: TypeId, linkage: u32) -> Result<TypeId, Error> {
        let id = self.common(name.as_bytes(), Kind::Var, false, 0, ty.0)?;
        self.word(linkage);
        Ok(id)
    }

    /// Adds a DATASEC of `size` bytes without variables.
    pub fn datasec(&mut self, name: &str, size: u32) -> Result<TypeId, Error> {
        self.common(name.as_bytes(), Kind::Datasec, false, 0, size)
    }

    /// Adds a variable to the DATASEC that was added last.
    pub fn var_section(&mut self, place: VarSection) -> Result<(), Error> {
        self.last_info(|kind| kind == Kind::Datasec, "a variable's place")?;
        for word in [place.type_id.0, place.offset, place.size] {
            self.word(word);
        }
        self.grow_last(false)
    }

    /// Adds a DECL_TAG on a type, or on one of its members or parameters.
    pub fn decl_tag(&mut self, value: &str, ty: TypeId, component: Option<u32>) -> Result<TypeId, Error> {
        let id = self.common(value.as_bytes(), Kind::DeclTag, false, 0, ty.0)?;
        self.word(component.unwrap_or(u32::MAX));
        Ok(id)
    }

    /// Adds a FUNC_PROTO without parameters.
    pub fn func_proto(&mut self, returns: TypeId) -> Result<TypeId, Error> {
        self.common(b"", Kind::FuncProto, false, 0, returns.0)
    }

    /// Adds a parameter to the FUNC_PROTO that was added last.
    pub fn param(&mut self, name: &str, ty: TypeId) -> Result<(), Error> {
        self.last_info(|kind| kind == Kind::FuncProto, "a parameter")?;
        let name = self.string(name.as_bytes())?;
        self.word(name.0);
        self.word(ty.0);
        self.grow_last(false)
    }

    /// Copies a type of another BTF, of either byte order, with every id mapped.
    ///
    /// Members of a STRUCT or UNION are copied where `keep` says so; its kind flag is then that of the kept members,
    /// as with libbpf's `btf__add_field`. Every other kind is copied whole, but one that is not known: nobody can map
    /// the ids in it. A VAR of void takes its place, which no loader stumbles over and which is compatible with nothing,
    /// as the unknown kind is.
    pub fn copy(
        &mut self,
        ty: &Type<'_>,
        keep: impl Fn(u32) -> bool,
        map: impl Fn(TypeId) -> TypeId,
    ) -> Result<TypeId, Error> {
        self.copy_as(ty.name()?, ty, keep, map)
    }

    /// The same under another name, or under none.
    pub fn copy_as(
        &mut self,
        name: &[u8],
        ty: &Type<'_>,
        keep: impl Fn(u32) -> bool,
        map: impl Fn(TypeId) -> TypeId,
    ) -> Result<TypeId, Error> {
        match ty.kind() {
            Kind::Struct | Kind::Union => {
                let id = self.composite_bytes(ty.kind(), name, ty.size()?)?;
                for index in (0..ty.len()).filter(|&index| keep(index)) {
                    let member = ty.member(index)?;
                    let name = self.string(ty.string(member.name)?)?;
                    self.push_member(Member { name, type_id: map(member.type_id), ..member })?;
                }
                Ok(id)
            }
            Kind::Ptr | Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                self.head(name, ty, map(ty.target()?).0)
            }
            Kind::Func => self.head(name, ty, map(ty.target()?).0),
            Kind::Array => {
                let array = ty.array()?;
                let id = self.head(name, ty, 0)?;
                for word in [map(array.element).0, map(array.index).0, array.len] {
                    self.word(word);
                }
                Ok(id)
            }
            Kind::FuncProto => {
                let id = self.head(name, ty, map(ty.target()?).0)?;
                for index in 0..ty.len() {
                    let param = ty.param(index)?;
                    let name = self.string(ty.string(param.name)?)?;
                    self.word(name.0);
                    self.word(map(param.type_id).0);
                }
                Ok(id)
            }
            Kind::Enum | Kind::Enum64 => {
                let id = self.head(name, ty, ty.size()?)?;
                for index in 0..ty.len() {
                    let enumerator = ty.enumerator(index)?;
                    let name = self.string(ty.string(enumerator.name)?)?;
                    self.word(name.0);
                    self.word(enumerator.bits as u32);
                    if ty.kind() == Kind::Enum64 {
                        self.word((enumerator.bits >> 32) as u32);
                    }
                }
                Ok(id)
            }
            Kind::Int => {
                let id = self.head(name, ty, ty.size()?)?;
                let encoding = u32::from(ty.int_encoding()?.0) << 24;
                self.word(encoding | u32::from(ty.int_offset()?) << 16 | u32::from(ty.int_bits()?));
                Ok(id)
            }
            Kind::Float => self.head(name, ty, ty.size()?),
            Kind::Fwd => self.head(name, ty, 0),
            Kind::Var => {
                let id = self.head(name, ty, map(ty.target()?).0)?;
                self.word(ty.linkage()?);
                Ok(id)
            }
            Kind::DeclTag => {
                let id = self.head(name, ty, map(ty.target()?).0)?;
                self.word(ty.component()?.unwrap_or(u32::MAX));
                Ok(id)
            }
            Kind::Datasec => {
                let id = self.head(name, ty, ty.size()?)?;
                for index in 0..ty.len() {
                    let var = ty.var_section(index)?;
                    for word in [map(var.type_id).0, var.offset, var.size] {
                        self.word(word);
                    }
                }
                Ok(id)
            }
            Kind::Unknown(_) => self.var("", TypeId::VOID, 0),
            Kind::Void => Err(ErrorKind::Misplaced("void").at(ty.offset())),
        }
    }

    /// The bytes.
    pub fn finish(self) -> Result<Vec<u8>, Error> {
        let len =
            |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| ErrorKind::TooManyTypes.at(bytes.len()));
        let mut out = Vec::with_capacity(32 + self.types.len() + self.strings.len());
        Header::write(&mut out, self.order, self.header_len, len(&self.types)?, len(&self.strings)?);
        out.extend(&self.types);
        out.extend(&self.strings);
        Ok(out)
    }

    fn common(&mut self, name: &[u8], kind: Kind, flag: bool, len: u32, last: u32) -> Result<TypeId, Error> {
        let id = self.next_id();
        let name = self.string(name)?;
        self.offsets.push(self.types.len());
        self.word(name.0);
        self.word(u32::from(flag) << 31 | u32::from(kind.number()) << 24 | len);
        self.word(last);
        Ok(id)
    }

    /// The common part of a type that is copied whole: flag and count stay, whether the kind has a use for them or not.
    fn head(&mut self, name: &[u8], ty: &Type<'_>, last: u32) -> Result<TypeId, Error> {
        self.common(name, ty.kind(), ty.kind_flag(), ty.len(), last)
    }

    fn word(&mut self, word: u32) {
        self.types.extend(self.order.encode(word));
    }

    /// The `info` of the last type, if its kind is one that `what` can be added to.
    fn last_info(&self, fits: impl Fn(Kind) -> bool, what: &'static str) -> Result<u32, Error> {
        let misplaced = || ErrorKind::Misplaced(what).at(self.types.len());
        let &last = self.offsets.last().ok_or_else(misplaced)?;
        let info = self.order.u32(&self.types, last + 4, what)?;
        if fits(Kind::from_info(info)) { Ok(info) } else { Err(misplaced()) }
    }

    /// Counts one more element of the last type and sets its kind flag.
    fn grow_last(&mut self, flag: bool) -> Result<(), Error> {
        let Some(&last) = self.offsets.last() else {
            return Ok(());
        };
        let info = self.order.u32(&self.types, last + 4, "a type")?;
        if info & 0x00ff_ffff == 0x00ff_ffff {
            return Err(ErrorKind::Misplaced("another element").at(last));
        }
        let info = (info & !(1 << 31) | u32::from(flag) << 31) + 1;
        self.types[last + 4..last + 8].copy_from_slice(&self.order.encode(info));
        Ok(())
    }
}
