//! A BTF read from its bytes, with the place of every type.

use std::borrow::Cow;
use std::ffi::CStr;
use std::sync::Arc;

use crate::header::Header;
use crate::layout::{self, Frame, Shapes};
use crate::places::{Eighth, Every, Offsets, Places, Section, Starts};
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
    /// Where each own type starts.
    offsets: Offsets<'d>,
    base: Option<Arc<Btf<'d>>>,
    first_id: u32,
    first_str: u32,
    pointers: Pointers,
    shapes: Shapes,
}

/// What the walk over the types shows of each: enough to decide whether to look closer.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The type's id.
    pub id: TypeId,
    /// Its kind, flag and number of elements, as they stand in the type.
    pub info: u32,
    /// Where its name stands.
    pub name: StrOff,
}

impl Seen {
    /// The kind.
    #[inline]
    pub fn kind(&self) -> Kind {
        Kind::from_info(self.info)
    }
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

    fn parse_on(data: Cow<'d, [u8]>, base: Option<Arc<Btf<'d>>>) -> Result<Btf<'d>, Error> {
        Self::read::<Every>(data, base, 0, |_, _| {}).map(|(btf, _)| btf)
    }

    /// Whether bytes are split BTF: the strings of a BTF that stands alone begin with the empty one.
    pub fn is_split(data: &[u8]) -> bool {
        Header::parse(data).is_ok_and(|header| data[header.strings].first() != Some(&0))
    }

    /// Reads a BTF that has no base and shows types of some kinds to `see` on the way, with the string section.
    ///
    /// The kinds are a bit each, by their number modulo 32. One pass over the bytes serves both: finding CO-RE candidates
    /// costs no second walk. Where types start is kept of every eighth only: of a kernel's BTF a few hundred types are
    /// looked at, and the pages to keep all places on would cost more than the steps to these.
    pub fn parse_with(
        data: impl Into<Cow<'d, [u8]>>,
        kinds: u32,
        see: impl FnMut(Seen, &[u8]),
    ) -> Result<Btf<'d>, Error> {
        match Self::read::<Eighth>(data.into(), None, kinds, see)? {
            (btf, AllKnown(true)) => Ok(btf),
            // Only known kinds say how far it is to the next type.
            (btf, AllKnown(false)) => Self::parse_on(btf.data, None),
        }
    }

    fn read<S: Starts>(
        data: Cow<'d, [u8]>,
        base: Option<Arc<Btf<'d>>>,
        kinds: u32,
        see: impl FnMut(Seen, &[u8]),
    ) -> Result<(Btf<'d>, AllKnown), Error> {
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
            all_known: true,
            kinds,
        };
        let Walked { starts, count, pointers, shapes, all_known } = walk.run::<S>(see)?;
        let offsets = starts.into_offsets(count, pointers.long);
        Ok((Btf { data, header, offsets, base, first_id, first_str, pointers, shapes }, AllKnown(all_known)))
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

/// The bytes up to the NUL; the section ends with one, which parsing has made sure of.
#[inline]
pub(crate) fn string_at(strings: &[u8], offset: usize) -> Option<&[u8]> {
    let text = CStr::from_bytes_until_nul(strings.get(offset..)?).ok()?;
    Some(text.to_bytes())
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
    base: Option<&'w Btf<'w>>,
    first_id: u32,
    first_str: u32,
    /// What tells the size of a pointer, so far.
    pointers: Pointers,
    /// How long the kinds are that nothing describes, so far.
    shapes: Shapes,
    /// Whether all kinds so far are known.
    all_known: bool,
    /// The kinds that are shown, a bit each.
    kinds: u32,
}

/// What the walk gives.
struct Walked<S> {
    starts: S,
    count: u32,
    pointers: Pointers,
    shapes: Shapes,
    all_known: bool,
}

/// Whether every type is of a kind that this library knows.
struct AllKnown(bool);

impl Walk<'_> {
    fn run<S: Starts>(self, see: impl FnMut(Seen, &[u8])) -> Result<Walked<S>, Error> {
        // Two loops, so that neither asks for the byte order at every word.
        match self.header.order {
            ByteOrder::Little => self.run_in(u32::from_le_bytes, see),
            ByteOrder::Big => self.run_in(u32::from_be_bytes, see),
        }
    }

    #[inline]
    fn run_in<S: Starts>(
        mut self,
        decode: impl Fn([u8; 4]) -> u32,
        mut see: impl FnMut(Seen, &[u8]),
    ) -> Result<Walked<S>, Error> {
        let types = self.header.types.clone();
        // Offsets and ids are kept as u32: that holds for every BTF that a kernel accepts.
        let most = types.len() / TYPE_LEN;
        if u32::try_from(types.end).is_err() || u32::MAX - self.first_id < most as u32 {
            return Err(ErrorKind::TooManyTypes.at(types.start));
        }
        // Reading ends where the section does, so that a type can't reach into what follows. Types are whole words.
        let section = &self.data[types.clone()];
        let (words, _) = section.as_chunks::<WORD>();
        let mut starts = S::with_room(most);
        let mut count = 0;
        let steps = steps(self.kinds);
        let (mut at, mut last) = (0, 0);
        while let Some(info) = words.get(at + 1) {
            let info = decode(*info);
            let step = steps[(info >> 24 & 0x7f) as usize];
            starts.add(count, (types.start + WORD * at) as u32);
            count += 1;
            last = at;
            if step & STOP != 0 {
                let id = TypeId(self.first_id + count - 1);
                at += self.stop(&decode, id, &section[WORD * at..], &mut see)? / WORD;
            } else if step == FUNC {
                // Nearly half of all types. A branch is guessed before the word is there, so that reading the next type
                // needn't wait for this one; a sum has to.
                at += TYPE_LEN / WORD;
            } else {
                at += (TYPE_LEN / WORD)
                    + (step & 0xff) as usize
                    + (step >> 8 & 0xff) as usize * vlen(info) as usize;
            }
        }
        if WORD * at > section.len() {
            // Whether a type is cut in its common part or behind it.
            let start = WORD * last;
            let what = if section.len() - start < TYPE_LEN { "a type" } else { "a type's elements" };
            return Err(ErrorKind::TooShort(what).at(types.start + start));
        }
        if WORD * at < section.len() {
            return Err(ErrorKind::TooShort("a type").at(types.start + WORD * at));
        }
        let Walk { pointers, shapes, all_known, .. } = self;
        Ok(Walked { starts, count, pointers, shapes, all_known })
    }

    /// What the walk does at a type that it does not just step over; gives the type's length.
    #[inline(never)]
    fn stop(
        &mut self,
        decode: impl Fn([u8; 4]) -> u32,
        id: TypeId,
        rest: &[u8],
        see: &mut impl FnMut(Seen, &[u8]),
    ) -> Result<usize, Error> {
        let at = self.header.types.end - rest.len();
        let common = rest.first_chunk::<TYPE_LEN>().ok_or(ErrorKind::TooShort("a type").at(at))?;
        let [n0, n1, n2, n3, i0, i1, i2, i3, s0, s1, s2, s3] = *common;
        let (name, info) = (StrOff(decode([n0, n1, n2, n3])), decode([i0, i1, i2, i3]));
        let number = info >> 24 & 0x7f;
        let strings = &self.data[self.header.strings.clone()];
        if number == u32::from(Kind::Int.number()) && self.pointers.size.is_none() {
            let own = name.0.checked_sub(self.first_str).and_then(|own| string_at(strings, own as usize));
            self.pointers.look_at(id, own.unwrap_or_default(), decode([s0, s1, s2, s3]));
        }
        if self.kinds >> (number & 31) & 1 == 1 {
            see(Seen { id, info, name }, strings);
        }
        let (fixed, each) = match trailer_of(info) {
            Some(known) => known,
            None => self.described_trailer(info, id, at)?,
        };
        Ok(TYPE_LEN + fixed + each * vlen(info) as usize)
    }

    /// How long a kind is that this library does not know (libbpf: `btf_type_size_unknown`).
    #[cold]
    fn described_trailer(&mut self, info: u32, id: TypeId, at: usize) -> Result<(usize, usize), Error> {
        self.all_known = false;
        let kind = Kind::from_info(info).number();
        let own = self.header.layout.clone();
        let base = self.base.filter(|_| own.is_empty());
        let described = match base {
            Some(base) => layout::described(&base.data[base.header.layout.clone()], kind),
            None => layout::described(&self.data[own.clone()], kind),
        };
        let described = match described {
            None if own.is_empty() && base.is_none_or(|base| base.header.layout.is_empty()) => {
                self.inferred_trailer(kind, id, at)
            }
            other => other,
        };
        described.ok_or(ErrorKind::UnknownKind { id, kind }.at(at))
    }

    /// The same where nothing says it.
    fn inferred_trailer(&mut self, kind: u8, id: TypeId, at: usize) -> Option<(usize, usize)> {
        if self.shapes.is_empty() {
            let types = &self.data[at..self.header.types.end];
            let ids = id.0 + (types.len() / TYPE_LEN) as u32;
            let strings = &self.data[self.header.strings.clone()];
            let frame = Frame { types, order: self.header.order, ids, strings, first_str: self.first_str };
            let before = self.base.map_or(Shapes::new(), |base| base.shapes.clone());
            self.shapes = frame.infer(&before)?;
        }
        // All that are left are equally long here.
        self.shapes.get(&kind)?.first().copied()
    }
}

/// How the walk goes on from a type, by the number of its kind: its trailer in words, or that it stops there.
fn steps(kinds: u32) -> [u32; 128] {
    let mut steps = TRAILERS.map(|trailer| if trailer == STOP { STOP } else { trailer / WORD as u32 });
    steps[usize::from(Kind::Func.number())] = FUNC;
    for (number, step) in (0u32..).zip(&mut steps) {
        // An INT may be the one that tells the size of a pointer.
        if kinds >> (number & 31) & 1 == 1 || number == u32::from(Kind::Int.number()) {
            *step = STOP;
        }
    }
    steps
}

/// Not just to be stepped over.
const STOP: u32 = 1 << 31;
/// A FUNC, to be stepped over.
const FUNC: u32 = 1 << 30;
/// All parts of a type are words.
const WORD: usize = 4;

/// [`Kind::trailer`] of every kind number, looked up rather than chosen: this is the innermost loop. The fixed part in
/// the lowest byte, what each element takes above.
const TRAILERS: [u32; 128] = {
    let mut trailers = [STOP; 128];
    let mut number = 0;
    while number < trailers.len() {
        if let Some((fixed, each)) = Kind::from_info((number as u32) << 24).trailer() {
            trailers[number] = fixed as u32 | (each as u32) << 8;
        }
        number += 1;
    }
    trailers
};

/// What follows the common part, by `info`: a fixed part and what each element takes. None where it does not follow from
/// the kind's number.
#[inline]
pub(crate) fn trailer_of(info: u32) -> Option<(usize, usize)> {
    let trailer = TRAILERS[(info >> 24 & 0x7f) as usize];
    (trailer != STOP).then_some(((trailer & 0xff) as usize, (trailer >> 8) as usize))
}

/// The number of elements: bits 0 to 23 of `info`.
#[inline]
pub(crate) fn vlen(info: u32) -> u32 {
    info & 0x00ff_ffff
}
