//! Where types start: of all of them, or of every eighth, from which the others are a few steps away.

use std::borrow::Cow;

use crate::trailer::{TYPE_LEN, trailer_of, vlen};
use crate::{Btf, ByteOrder, TypeId};

/// Types from one known place to the next.
pub(crate) const STRIDE: usize = 8;

/// Where every eighth type of a BTF starts, so that it need not be passed over again to be read ([`Btf::with_places`]).
///
/// The places have four bytes each, little endian, and can stay where they are kept: a type costs a look at one of them
/// and up to seven steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places<'p> {
    starts: Cow<'p, [u8]>,
    count: u32,
    long: Option<TypeId>,
}

impl<'p> Places<'p> {
    /// Places as [`Places::bytes`] gave them, of a BTF with `count` types besides void, whose pointers are as long as
    /// its type `long`. None when their number is not that of the types.
    pub fn new(starts: impl Into<Cow<'p, [u8]>>, count: u32, long: Option<TypeId>) -> Option<Places<'p>> {
        let starts = starts.into();
        (starts.len() == Places::bytes_for(count)?).then_some(Places { starts, count, long })
    }

    /// The places of a BTF. None for split BTF, and where a kind is not known: how long such types are is a question
    /// to the whole of a BTF.
    pub fn of(btf: &Btf<'_>) -> Option<Places<'static>> {
        if btf.base().is_some() || btf.has_unknown_kinds() {
            return None;
        }
        let mut starts = Vec::with_capacity(Places::bytes_for(btf.type_count() - 1)?);
        for id in btf.own_ids().step_by(STRIDE) {
            starts.extend(btf.offset_of(id)?.to_le_bytes());
        }
        Some(Places { starts: starts.into(), count: btf.type_count() - 1, long: btf.long() })
    }

    /// How many bytes the places of so many types have.
    pub fn bytes_for(count: u32) -> Option<usize> {
        (count as usize).div_ceil(STRIDE).checked_mul(4)
    }

    /// The places.
    pub fn bytes(&self) -> &[u8] {
        &self.starts
    }

    /// The number of types, void left out.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The INT that tells the size of a pointer.
    pub fn long(&self) -> Option<TypeId> {
        self.long
    }

    fn into_owned(self) -> Places<'static> {
        Places { starts: self.starts.into_owned().into(), ..self }
    }

    #[inline]
    fn find(&self, index: usize, types: Section<'_>) -> Option<u32> {
        if index >= self.count as usize {
            return None;
        }
        let start = self.starts.get(index / STRIDE * 4..)?.first_chunk::<4>()?;
        types.step(u32::from_le_bytes(*start), index % STRIDE)
    }
}

/// The data, and which part of them are types.
#[derive(Clone, Copy)]
pub(crate) struct Section<'s> {
    pub data: &'s [u8],
    pub start: usize,
    pub end: usize,
    pub order: ByteOrder,
}

impl Section<'_> {
    /// Where the type starts that stands so many behind the one that starts here.
    #[inline]
    fn step(&self, start: u32, behind: usize) -> Option<u32> {
        let mut at = start as usize;
        for _ in 0..behind {
            let info = self.order.decode(*self.data.get(at.checked_add(4)?..self.end)?.first_chunk::<4>()?);
            let (fixed, each) = trailer_of(info)?;
            at += TYPE_LEN + fixed + each * vlen(info) as usize;
        }
        // What the places say is not to be trusted: a type never reaches into what follows.
        (at >= self.start && at + TYPE_LEN <= self.end).then_some(at as u32)
    }
}

/// The types of a part of a BTF, as one pass over it finds them.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// The index of its first type.
    pub first: u32,
    /// Where every eighth of its types starts, its first one included.
    pub starts: Vec<u32>,
}

/// All parts of a BTF, in their order.
#[derive(Debug, Clone)]
pub(crate) struct Pieces {
    list: Vec<Piece>,
    /// The part in which every so many types the next one stands.
    table: Vec<u32>,
    count: u32,
}

impl Pieces {
    /// Types from one entry of the table to the next, as a power of two: about as many as a part has.
    const TABLE_STRIDE: u32 = 10;

    /// Of parts that have in `first` how many types they have.
    pub(crate) fn of_lengths(mut list: Vec<Piece>) -> Pieces {
        let (mut count, mut table) = (0u32, Vec::new());
        for (number, piece) in (0..).zip(&mut list) {
            count += std::mem::replace(&mut piece.first, count);
            table.resize(count.div_ceil(1 << Pieces::TABLE_STRIDE) as usize, number);
        }
        Pieces { list, table, count }
    }

    #[inline]
    fn find(&self, index: usize, types: Section<'_>) -> Option<u32> {
        if index >= self.count as usize {
            return None;
        }
        let mut number = *self.table.get(index >> Pieces::TABLE_STRIDE)? as usize;
        while self.list.get(number + 1).is_some_and(|next| next.first as usize <= index) {
            number += 1;
        }
        let piece = &self.list[number];
        let index = index - piece.first as usize;
        types.step(*piece.starts.get(index / STRIDE)?, index % STRIDE)
    }

    /// How many parts there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// The index of the type that starts at an offset, where `next` gives the start of the type behind one.
    pub(crate) fn index_of(&self, offset: u32, next: impl Fn(u32) -> u32) -> Option<u32> {
        let begins = |piece: &Piece| piece.starts.first().is_some_and(|&start| start <= offset);
        let piece = &self.list[self.list.partition_point(begins).checked_sub(1)?];
        let place = piece.starts.partition_point(|&start| start <= offset).checked_sub(1)?;
        let mut at = piece.starts[place];
        for behind in 0..STRIDE {
            if at == offset {
                return Some(piece.first + (STRIDE * place + behind) as u32);
            }
            at = next(at);
        }
        None
    }
}

/// Where each own type of a BTF starts, in bytes from the start of the data.
#[derive(Debug, Clone)]
pub(crate) enum Offsets<'p> {
    All(Vec<u32>),
    Some(Places<'p>),
    Pieces(Pieces),
}

impl Offsets<'_> {
    #[inline]
    pub(crate) fn count(&self) -> usize {
        match self {
            Offsets::All(offsets) => offsets.len(),
            Offsets::Some(places) => places.count as usize,
            Offsets::Pieces(pieces) => pieces.count as usize,
        }
    }

    #[inline]
    pub(crate) fn get<'s>(&self, index: usize, types: impl FnOnce() -> Section<'s>) -> Option<u32> {
        match self {
            Offsets::All(offsets) => offsets.get(index).copied(),
            Offsets::Some(places) => places.find(index, types()),
            Offsets::Pieces(pieces) => pieces.find(index, types()),
        }
    }

    pub(crate) fn into_owned(self) -> Offsets<'static> {
        match self {
            Offsets::All(offsets) => Offsets::All(offsets),
            Offsets::Some(places) => Offsets::Some(places.into_owned()),
            Offsets::Pieces(pieces) => Offsets::Pieces(pieces),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, IntEncoding, Kind};

    fn made(count: u32, order: ByteOrder) -> Vec<u8> {
        let mut builder = Builder::new(order);
        for number in 0..count {
            let ty = TypeId(number.max(1));
            match number % 5 {
                0 => builder.composite(Kind::Struct, &format!("s{number}"), 8 * number).unwrap(),
                1 => builder.int(["long", "int"][(number != 1) as usize], 8, IntEncoding::SIGNED).unwrap(),
                2 => builder.reference(Kind::Ptr, "", ty).unwrap(),
                3 => builder.array(ty, ty, number).unwrap(),
                _ => builder.func_proto(ty).unwrap(),
            };
            for member in 0..number % 5 * u32::from(number.is_multiple_of(5)) {
                builder.member("m", ty, member, None).unwrap();
            }
        }
        builder.finish().unwrap()
    }

    #[test]
    fn every_type_is_where_the_pass_finds_it() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            for count in [1, 7, 8, 9, 16, 100] {
                let bytes = made(count, order);
                let passed = Btf::parse(&bytes).unwrap();
                let places = Places::of(&passed).unwrap();
                let again = Places::new(places.bytes(), places.count(), places.long()).unwrap();
                let placed = Btf::with_places(&bytes, again).unwrap();
                assert_eq!(placed.type_count(), passed.type_count());
                assert_eq!((placed.pointer_size(), placed.long()), (passed.pointer_size(), passed.long()));
                for id in 0..count + 3 {
                    assert_eq!(placed.offset_of(TypeId(id)), passed.offset_of(TypeId(id)), "{count}: {id}");
                    assert_eq!(placed.resolve(TypeId(id)).is_ok(), passed.resolve(TypeId(id)).is_ok());
                }
                let owned = placed.into_owned();
                assert_eq!(owned.offset_of(TypeId(count)), passed.offset_of(TypeId(count)));
            }
        }
    }

    #[test]
    fn wrong_places_are_errors_at_most() {
        let bytes = made(20, ByteOrder::Little);
        let passed = Btf::parse(&bytes).unwrap();
        let places = Places::of(&passed).unwrap();
        assert_eq!(Places::new(places.bytes(), 25, None), None);
        assert_eq!(Places::new(&places.bytes()[1..], 20, None), None);
        for wrong in [0, 3, 23, u32::MAX, bytes.len() as u32 - 4, bytes.len() as u32] {
            let starts: Vec<u8> = [wrong; 3].iter().flat_map(|start| start.to_le_bytes()).collect();
            let placed = Btf::with_places(&bytes, Places::new(starts, 20, None).unwrap()).unwrap();
            for id in placed.own_ids() {
                if let Ok(ty) = placed.resolve(id) {
                    assert!(ty.offset() >= 24 && ty.offset() + 12 <= bytes.len());
                }
            }
        }
        // What it says of the pointers must be so.
        for long in [TypeId(1), TypeId(7), TypeId(99)] {
            let places = Places::new(places.bytes(), 20, Some(long)).unwrap();
            assert!(Btf::with_places(&bytes, places).is_err(), "{long:?}");
        }
        assert!(Btf::with_places(&bytes[..30], places).is_err());
    }
}
