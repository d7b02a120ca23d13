//! A BTF read from its bytes, with the place of every type.

use std::borrow::Cow;
use std::sync::Arc;

use crate::bytes::string_at;
use crate::header::Header;
use crate::lanes::{self, Passed};
use crate::layout::Shapes;
use crate::places::{Offsets, Places, Section};
use crate::search::{Search, Seen};
use crate::size::{PointerSize, Pointers};
use crate::trailer::TYPE_LEN;
use crate::types::Type;
use crate::walk::{Walk, Walked};
use crate::{ByteOrder, Error, ErrorKind, Kind, StrOff, TypeId};

/// A BTF, complete or split on a base. Immutable.
#[derive(Debug, Clone)]
pub struct Btf<'d> {
    data: Cow<'d, [u8]>,
    header: Header,
    /// Where each own type starts.
    offsets: Offsets<'d>,
    base: Option<Arc<Btf<'d>>>,
    first_id: u32,
    first_str: u32,
    pointers: Pointers,
    shapes: Shapes,
}

impl<'d> Btf<'d> {
    /// Reads a BTF that has no base.
    ///
    /// Checks the header, the frame of every type and the frame of the string section, as libbpf's `btf__parse` does.
    /// What types refer to is checked where it is followed, or all at once by [`Btf::check`]. Types of a kind that is
    /// not known are stepped over if the BTF has a layout section that describes the kind. Without such a section they
    /// are too if only one layout of the kind makes sense of all types ([`Btf::inferred_kinds`]).
    pub fn parse(data: impl Into<Cow<'d, [u8]>>) -> Result<Btf<'d>, Error> {
        Self::parse_on(data.into(), None)
    }

    /// Reads split BTF (a kernel module's) on its base.
    pub fn parse_split(data: impl Into<Cow<'d, [u8]>>, base: Arc<Btf<'d>>) -> Result<Btf<'d>, Error> {
        Self::parse_on(data.into(), Some(base))
    }

    /// Whether bytes are split BTF: the strings of a BTF that stands alone begin with the empty one.
    pub fn is_split(data: &[u8]) -> bool {
        Header::parse(data).is_ok_and(|header| data[header.strings].first() != Some(&0))
    }

    /// Reads a BTF that has no base and searches it in the same pass: the types that are wanted, ascending by id.
    ///
    /// Where types start is kept of every eighth only: of a kernel's BTF a few hundred types are looked at, and the pages
    /// to keep all places on would cost more than the steps to these.
    pub fn parse_with(
        data: impl Into<Cow<'d, [u8]>>,
        search: &impl Search,
    ) -> Result<(Btf<'d>, Vec<Seen>), Error> {
        let data = data.into();
        let header = Header::parse(&data)?;
        check_strings(&data, &header, false)?;
        if let Some(Passed { pieces, seen, pointers }) = lanes::pass(&data, &header, search) {
            let (offsets, shapes) = (Offsets::Pieces(pieces), Shapes::new());
            let btf = Btf { data, header, offsets, base: None, first_id: 1, first_str: 0, pointers, shapes };
            return Ok((btf, seen));
        }
        let btf = Self::parse_on(data, None)?;
        let mut seen = Vec::new();
        for id in btf.own_ids() {
            let ty = btf.resolve(id)?;
            let name = string_at(&btf.data[btf.header.strings.clone()], ty.name_off().0 as usize);
            if search.kinds() >> (ty.kind().number() & 31) & 1 == 1
                && name.is_some_and(|name| search.is(name))
            {
                seen.push(Seen { id, kind: ty.kind(), name: ty.name_off() });
            }
        }
        Ok((btf, seen))
    }

    fn parse_on(data: Cow<'d, [u8]>, base: Option<Arc<Btf<'d>>>) -> Result<Btf<'d>, Error> {
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
        let walk = Walk {
            data: &data,
            header: &header,
            base: base.as_deref(),
            first_id,
            first_str,
            pointers,
            shapes: Shapes::new(),
        };
        let Walked { starts, pointers, shapes } = walk.run()?;
        let offsets = Offsets::All(starts);
        Ok(Btf { data, header, offsets, base, first_id, first_str, pointers, shapes })
    }

    /// Reads a BTF of which it is known where its types start: nothing is passed over, only the header is read.
    ///
    /// Places of another BTF give wrong types or errors, never a panic; that they are of this one is the caller's to know.
    pub fn with_places(data: impl Into<Cow<'d, [u8]>>, places: Places<'d>) -> Result<Btf<'d>, Error> {
        let data = data.into();
        let header = Header::parse(&data)?;
        check_strings(&data, &header, false)?;
        let (long, types) = (places.long(), header.types.clone());
        let too_many = places.count() as usize > types.len() / TYPE_LEN || u32::try_from(types.end).is_err();
        if too_many {
            return Err(ErrorKind::TooManyTypes.at(types.start));
        }
        let (offsets, pointers, shapes) = (Offsets::Some(places), Pointers::default(), Shapes::new());
        let mut btf = Btf { data, header, offsets, base: None, first_id: 1, first_str: 0, pointers, shapes };
        if let Some(long) = long {
            let ty = btf.resolve(long)?;
            let mut pointers = Pointers::default();
            if ty.kind() == Kind::Int {
                pointers.look_at(long, ty.name()?, ty.size()?);
            }
            if pointers.long.is_none() {
                return Err(
                    ErrorKind::WrongKind { id: long, found: ty.kind(), wanted: "long" }.at(ty.offset())
                );
            }
            btf.pointers = pointers;
        }
        Ok(btf)
    }

    /// Takes the bytes into the value, so that it no longer borrows them.
    pub fn into_owned(self) -> Btf<'static> {
        let base = self.base.map(|base| Arc::new(Arc::unwrap_or_clone(base).into_owned()));
        let data = Cow::Owned(self.data.into_owned());
        let Btf { header, first_id, first_str, pointers, shapes, .. } = self;
        let offsets = self.offsets.into_owned();
        Btf { data, header, offsets, base, first_id, first_str, pointers, shapes }
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
        self.first_id + self.offsets.count() as u32
    }

    /// The first id that is not the base's.
    pub fn first_id(&self) -> TypeId {
        TypeId(self.first_id)
    }

    /// The ids of the types that stand here, the base's left out, ascending.
    pub fn own_ids(&self) -> impl ExactSizeIterator<Item = TypeId> + DoubleEndedIterator + use<> {
        // A range of u32 has no exact size on every platform; a range of u32 mapped from usize does.
        let first = self.first_id;
        (0..self.offsets.count()).map(move |index| TypeId(first + index as u32))
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

    /// How long kinds are that nothing describes.
    pub(crate) fn shapes(&self) -> &Shapes {
        &self.shapes
    }

    /// Kinds that are not known, and that no layout section describes: how long they are was found by trying.
    pub fn inferred_kinds(&self) -> impl Iterator<Item = u8> {
        self.shapes.keys().copied()
    }

    /// The type of an id; void for 0.
    #[inline]
    pub fn resolve(&self, id: TypeId) -> Result<Type<'_>, Error> {
        if id.0 >= self.first_id {
            match self.offset_of(id) {
                Some(offset) => Ok(Type::read(self, id, offset as usize)),
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

    /// Whether the string at an offset is this text; cheaper than looking for the string's end.
    #[inline]
    pub fn string_is(&self, offset: StrOff, text: &[u8]) -> Result<bool, Error> {
        if offset.0 < self.first_str {
            return self.string(offset).map(|string| string == text);
        }
        let strings = &self.data[self.header.strings.clone()];
        match strings.get((offset.0 - self.first_str) as usize..) {
            Some(rest) if !rest.is_empty() => {
                Ok(rest.get(text.len()) == Some(&0) && &rest[..text.len()] == text)
            }
            Some(_) | None => Err(ErrorKind::NoSuchString(offset.0).at(self.header.strings.start)),
        }
    }

    /// Whether the string at an offset is this text or empty.
    #[inline]
    pub(crate) fn string_is_one_of(&self, offset: StrOff, text: &[u8]) -> Result<bool, Error> {
        let own = offset.0.wrapping_sub(self.first_str) as usize;
        let strings = self.data.get(self.header.strings.clone()).unwrap_or_default();
        match strings.get(own..) {
            // The first byte tells nearly all names apart.
            Some([first, ..]) if offset.0 >= self.first_str && *first != 0 && Some(first) != text.first() => {
                Ok(false)
            }
            _base_or_alike => Ok(self.string_is(offset, b"")? || self.string_is(offset, text)?),
        }
    }

    /// The string offset that follows the last of this BTF: where split BTF on it goes on.
    pub(crate) fn strings_end(&self) -> u32 {
        self.first_str + self.header.strings.len() as u32
    }

    /// Where a type's own bytes start, in bytes from the start of the data; None for void and the base's types.
    #[inline]
    pub fn offset_of(&self, id: TypeId) -> Option<u32> {
        self.offsets.get(id.0.checked_sub(self.first_id)? as usize, || Section {
            data: &self.data,
            start: self.header.types.start,
            end: self.header.types.end,
            order: self.header.order,
        })
    }

    /// Whether there are types of kinds that this library does not know, described or not.
    pub(crate) fn has_unknown_kinds(&self) -> bool {
        let unknown =
            |id| self.resolve(id).is_ok_and(|ty| matches!(ty.kind(), Kind::Unknown(_) | Kind::Void));
        !self.shapes.is_empty() || self.own_ids().any(unknown)
    }
}

fn check_strings(data: &[u8], header: &Header, split: bool) -> Result<(), Error> {
    let strings = &data[header.strings.clone()];
    let framed = match (strings.first(), strings.last()) {
        (Some(&first), Some(&last)) => last == 0 && (split || first == 0),
        (None, _) | (_, None) => split,
    };
    if framed { Ok(()) } else { Err(ErrorKind::Strings { split }.at(header.strings.start)) }
}
