//! A BTF read from its bytes, with the place of every type.

use std::borrow::Cow;
use std::sync::Arc;

use crate::header::Header;
use crate::size::{PointerSize, Pointers};
use crate::types::Type;
use crate::{ByteOrder, Error, ErrorKind, Kind, StrOff, TypeId};

/// Bytes of a type's common part: name, info, size or type.
pub(crate) const TYPE_LEN: usize = 12;

/// A BTF, complete or split on a base. Immutable.
#[derive(Debug, Clone)]
pub struct Btf<'d> {
    data: Cow<'d, [u8]>,
    header: Header,
    /// Where each own type starts, in bytes from the start of the data.
    offsets: Vec<u32>,
    base: Option<Arc<Btf<'d>>>,
    first_id: u32,
    first_str: u32,
    pointers: Pointers,
}

/// What the walk over the types shows of each: enough to decide whether to look closer.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The type's id.
    pub id: TypeId,
    /// Its kind.
    pub kind: Kind,
    /// Where its name stands.
    pub name: StrOff,
}

impl<'d> Btf<'d> {
    /// Reads a BTF that has no base.
    ///
    /// Checks the header, the frame of every type and the frame of the string section, as libbpf's `btf__parse` does.
    /// What types refer to is checked where it is followed, or all at once by [`Btf::check`].
    pub fn parse(data: impl Into<Cow<'d, [u8]>>) -> Result<Btf<'d>, Error> {
        Self::parse_with(data.into(), None, |_, _| {})
    }

    /// Reads split BTF (a kernel module's) on its base.
    pub fn parse_split(data: impl Into<Cow<'d, [u8]>>, base: Arc<Btf<'d>>) -> Result<Btf<'d>, Error> {
        Self::parse_with(data.into(), Some(base), |_, _| {})
    }

    /// Reads a BTF and shows every type to `see` on the way, with the string section.
    ///
    /// One pass over the bytes serves both: finding CO-RE candidates costs no second walk.
    pub fn parse_with(
        data: Cow<'d, [u8]>,
        base: Option<Arc<Btf<'d>>>,
        see: impl FnMut(Seen, &[u8]),
    ) -> Result<Btf<'d>, Error> {
        let header = Header::parse(&data)?;
        check_strings(&data, &header, base.is_some())?;
        let (first_id, first_str) = match &base {
            Some(base) => (base.type_count(), base.strings_end()),
            None => (1, 0),
        };
        if u32::try_from(header.strings.len()).ok().and_then(|len| first_str.checked_add(len)).is_none() {
            return Err(ErrorKind::Strings { split: base.is_some() }.at(header.strings.start));
        }
        let pointers = base.as_ref().map_or(Pointers::default(), |base| base.pointers);
        let walk = Walk { data: &data, header: &header, first_id, first_str, pointers };
        let (offsets, pointers) = walk.run(see)?;
        Ok(Btf { data, header, offsets, base, first_id, first_str, pointers })
    }

    /// Takes the bytes into the value, so that it no longer borrows them.
    pub fn into_owned(self) -> Btf<'static> {
        let base = self.base.map(|base| Arc::new(Arc::unwrap_or_clone(base).into_owned()));
        let data = Cow::Owned(self.data.into_owned());
        let Btf { header, offsets, first_id, first_str, pointers, .. } = self;
        Btf { data, header, offsets, base, first_id, first_str, pointers }
    }

    /// The bytes that this was read from.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The byte order.
    pub fn order(&self) -> ByteOrder {
        self.header.order
    }

    /// The base of split BTF.
    pub fn base(&self) -> Option<&Btf<'d>> {
        self.base.as_deref()
    }

    /// The number of types with void and the base's: one more than the highest id (libbpf: `btf__type_cnt`).
    pub fn type_count(&self) -> u32 {
        self.first_id + self.offsets.len() as u32
    }

    /// The first id that is not the base's.
    pub fn first_id(&self) -> TypeId {
        TypeId(self.first_id)
    }

    /// The ids of the types that stand here, the base's left out, ascending.
    pub fn own_ids(&self) -> impl ExactSizeIterator<Item = TypeId> + DoubleEndedIterator + use<> {
        // A range of u32 has no exact size on every platform; a range of u32 mapped from usize does.
        let first = self.first_id;
        (0..self.offsets.len()).map(move |index| TypeId(first + index as u32))
    }

    /// The size of a pointer, where the BTF tells it: the size of its `long` (libbpf: `determine_ptr_size`).
    pub fn pointer_size(&self) -> Option<PointerSize> {
        self.pointers.size
    }

    /// The INT that tells the size of a pointer: the first `long` of the BTF or of its base.
    pub fn long(&self) -> Option<TypeId> {
        self.pointers.long
    }

    /// The same BTF with the size of a pointer that is known from elsewhere, such as an ELF header.
    pub fn with_pointer_size(self, pointer_size: PointerSize) -> Btf<'d> {
        Btf { pointers: Pointers { size: Some(pointer_size), long: None }, ..self }
    }

    /// The type of an id; void for 0.
    #[inline]
    pub fn resolve(&self, id: TypeId) -> Result<Type<'_>, Error> {
        if id.0 >= self.first_id {
            match self.offsets.get((id.0 - self.first_id) as usize) {
                Some(&offset) => Ok(Type::read(self, id, offset as usize)),
                None => Err(ErrorKind::NoSuchType(id).at(self.header.types.start)),
            }
        } else if id == TypeId::VOID {
            Ok(Type::void(self))
        } else {
            match &self.base {
                Some(base) => base.resolve(id),
                None => Err(ErrorKind::NoSuchType(id).at(self.header.types.start)),
            }
        }
    }

    /// The string at an offset, without its NUL.
    #[inline]
    pub fn string(&self, offset: StrOff) -> Result<&[u8], Error> {
        if offset.0 < self.first_str {
            return match &self.base {
                Some(base) => base.string(offset),
                None => Err(ErrorKind::NoSuchString(offset.0).at(self.header.strings.start)),
            };
        }
        let strings = &self.data[self.header.strings.clone()];
        string_at(strings, (offset.0 - self.first_str) as usize)
            .ok_or(ErrorKind::NoSuchString(offset.0).at(self.header.strings.start))
    }

    /// The string offset that follows the last of this BTF: where split BTF on it goes on.
    pub(crate) fn strings_end(&self) -> u32 {
        self.first_str + self.header.strings.len() as u32
    }

    /// Where a type's own bytes start, in bytes from the start of the data; None for void and the base's types.
    pub fn offset_of(&self, id: TypeId) -> Option<u32> {
        self.offsets.get(id.0.checked_sub(self.first_id)? as usize).copied()
    }
}

/// The bytes up to the NUL; the section ends with one, which parsing has made sure of.
#[inline]
pub(crate) fn string_at(strings: &[u8], offset: usize) -> Option<&[u8]> {
    let rest = strings.get(offset..)?;
    let len = rest.iter().position(|&byte| byte == 0)?;
    Some(&rest[..len])
}

fn check_strings(data: &[u8], header: &Header, split: bool) -> Result<(), Error> {
    let strings = &data[header.strings.clone()];
    let framed = match (strings.first(), strings.last()) {
        (Some(&first), Some(&last)) => last == 0 && (split || first == 0),
        (None, _) | (_, None) => split,
    };
    if framed { Ok(()) } else { Err(ErrorKind::Strings { split }.at(header.strings.start)) }
}

/// The one pass over the type section.
struct Walk<'w> {
    data: &'w [u8],
    header: &'w Header,
    first_id: u32,
    first_str: u32,
    pointers: Pointers,
}

impl Walk<'_> {
    fn run(mut self, mut see: impl FnMut(Seen, &[u8])) -> Result<(Vec<u32>, Pointers), Error> {
        let order = self.header.order;
        let end = self.header.types.end;
        // Everything below reads within `data`, so that a type can't reach into what follows the section.
        let data = &self.data[..end];
        let strings = &self.data[self.header.strings.clone()];
        // Real BTF has 20 to 40 bytes a type: one allocation is nearly always enough.
        let mut offsets = Vec::with_capacity(self.header.types.len() / 24);
        let mut at = self.header.types.start;
        while at < end {
            let Some(common) = data.get(at..).and_then(|rest| rest.first_chunk::<TYPE_LEN>()) else {
                return Err(ErrorKind::TooShort("a type").at(at));
            };
            let [n0, n1, n2, n3, i0, i1, i2, i3, s0, s1, s2, s3] = *common;
            let info = order.decode([i0, i1, i2, i3]);
            let kind = Kind::from_info(info);
            let id = self.next_id(offsets.len(), at)?;
            let len = self.type_len(kind, info, id, at)?;
            if len > end - at {
                return Err(ErrorKind::TooShort("a type's elements").at(at));
            }
            let name = StrOff(order.decode([n0, n1, n2, n3]));
            if kind == Kind::Int && self.pointers.size.is_none() {
                let own = name.0.checked_sub(self.first_str).and_then(|own| string_at(strings, own as usize));
                self.pointers.look_at(id, own.unwrap_or_default(), order.decode([s0, s1, s2, s3]));
            }
            see(Seen { id, kind, name }, strings);
            offsets.push(at as u32);
            at += len;
        }
        Ok((offsets, self.pointers))
    }

    #[inline]
    fn next_id(&self, index: usize, at: usize) -> Result<TypeId, Error> {
        // Offsets are kept as u32, and ids are u32: both bounds hold for every BTF that a kernel accepts.
        match (
            u32::try_from(index).ok().and_then(|index| index.checked_add(self.first_id)),
            u32::try_from(at),
        ) {
            (Some(id), Ok(_)) => Ok(TypeId(id)),
            (None, _) | (_, Err(_)) => Err(ErrorKind::TooManyTypes.at(at)),
        }
    }

    #[inline]
    fn type_len(&self, kind: Kind, info: u32, id: TypeId, at: usize) -> Result<usize, Error> {
        let (fixed, each) = match kind.trailer() {
            Some(trailer) => trailer,
            None => self
                .described_trailer(kind)
                .ok_or(ErrorKind::UnknownKind { id, kind: kind.number() }.at(at))?,
        };
        Ok(TYPE_LEN + fixed + each * vlen(info) as usize)
    }

    /// What the layout section says of a kind that this library does not know (libbpf: `btf_type_size_unknown`).
    fn described_trailer(&self, kind: Kind) -> Option<(usize, usize)> {
        if kind == Kind::Void {
            return None;
        }
        let at = self.header.layout.start + 4 * kind.number() as usize;
        let entry = self.data[..self.header.layout.end].get(at..at + 2)?;
        let (fixed, each) = (entry[0] as usize, entry[1] as usize);
        (fixed % 4 == 0 && each % 4 == 0).then_some((fixed, each))
    }
}

/// The number of elements: bits 0 to 23 of `info`.
#[inline]
pub(crate) fn vlen(info: u32) -> u32 {
    info & 0x00ff_ffff
}
