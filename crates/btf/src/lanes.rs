//! The pass over a BTF of known kinds, at several places side by side.
//!
//! Where a type starts is known when the length of the one before it is, so a walk waits for memory at every step. Here
//! the type section is cut into pieces, and some of them are walked in turn: one waits while the others go on. Where a
//! piece begins is guessed, by types that make sense in a row. A guess is proven when the walk over the piece before
//! ends exactly there: from the first type on, all of them then are where one walk would have found them. When one is
//! not proven, the pass is given up.

use crate::bytes::string_at;
use crate::header::Header;
use crate::places::{Piece, Pieces, STRIDE};
use crate::search::{Search, Seen};
use crate::size::Pointers;
use crate::trailer::{TRAILER_WORDS, TYPE_LEN, UNKNOWN, WORD, words_behind};
use crate::{ByteOrder, Kind, StrOff, TypeId};

/// Pieces that are walked side by side: with more of them there are too few registers.
const LANES: usize = 4;
/// Words of a piece. Small, so that the lanes end at about the same time; and what a fuzzer makes has several.
const PIECE: usize = if cfg!(fuzzing) { 32 } else { 1 << 14 };
/// Types in a row that have to make sense where a piece is to begin.
const SENSIBLE: usize = 16;
/// Names that are looked at together: reading one where it stands takes longer than all else that is done with it, and
/// reading many at once hardly longer than one.
const NAMES: usize = 128;
/// Where the names wait; a power of two, with room for those of one more round.
const ROOM: usize = 256;

/// What the pass gives.
pub(crate) struct Passed {
    pub pieces: Pieces,
    /// The types that may be wanted, ascending by id.
    pub seen: Vec<Seen>,
    pub pointers: Pointers,
}

/// Passes over all types of a BTF without a base and searches them. None where the slow walk has to say what is there: an
/// error, a kind that is not known, a wrong guess.
pub(crate) fn pass(data: &[u8], header: &Header, search: &impl Search) -> Option<Passed> {
    match header.order {
        ByteOrder::Little => Pass::new(data, header, search, u32::from_le_bytes)?.run(PIECE),
        ByteOrder::Big => Pass::new(data, header, search, u32::from_be_bytes)?.run(PIECE),
    }
}

struct Pass<'p, D, S> {
    /// The type section, and where it starts in the data.
    words: &'p [[u8; WORD]],
    start: usize,
    strings: &'p [u8],
    search: &'p S,
    steps: [Step; 128],
    decode: D,
    /// Where types start whose names are still to be looked at, in words of the section.
    waiting: [u32; ROOM],
    waiting_len: usize,
    /// The same of types that have been kept.
    kept: Vec<u32>,
}

/// A walk that is under way on a piece.
struct Lane {
    piece: usize,
    /// Where the piece ends, in words of the section.
    end: usize,
}

impl<'p, D: Fn([u8; WORD]) -> u32, S: Search> Pass<'p, D, S> {
    /// The common part of a FUNC.
    const BEHIND: u32 = (Kind::Func.number() as u32) << 24;

    fn new(data: &'p [u8], header: &Header, search: &'p S, decode: D) -> Option<Pass<'p, D, S>> {
        u32::try_from(header.types.end).ok()?;
        let (words, rest) = data[header.types.clone()].as_chunks::<WORD>();
        rest.is_empty().then_some(Pass {
            words,
            start: header.types.start,
            strings: &data[header.strings.clone()],
            search,
            steps: Step::table(search.kinds()),
            decode,
            waiting: [0; ROOM],
            waiting_len: 0,
            kept: Vec::new(),
        })
    }

    fn run(mut self, piece_len: usize) -> Option<Passed> {
        let cuts = self.cuts(piece_len);
        let pieces = self.walk(&cuts)?;
        self.look();
        // A lane has passed over types of the next piece.
        self.kept.sort_unstable();
        self.kept.dedup();
        let mut pointers = Pointers::default();
        let mut seen = Vec::with_capacity(self.kept.len());
        for &at in self.kept.iter().take_while(|&&at| (at as usize) < self.words.len()) {
            let ty = self.seen(&pieces, at as usize)?;
            if ty.kind == Kind::Int && pointers.size.is_none() {
                let name = string_at(self.strings, ty.name.0 as usize).unwrap_or_default();
                pointers.look_at(ty.id, name, self.word(at as usize + 2));
            }
            let is_searched = Step::is_searched(self.search.kinds(), ty.kind.number().into());
            if is_searched && (ty.kind != Kind::Int || self.is_wanted(at)) {
                seen.push(ty);
            }
        }
        Some(Passed { pieces, seen, pointers })
    }

    #[inline]
    fn word(&self, at: usize) -> u32 {
        self.words.get(at).map_or(0, |word| (self.decode)(*word))
    }

    /// Where pieces begin, and the end.
    fn cuts(&self, piece_len: usize) -> Vec<usize> {
        let mut cuts = vec![0];
        for from in (piece_len..self.words.len()).step_by(piece_len) {
            let until = from + piece_len / 2;
            cuts.extend((from..until.min(self.words.len())).find(|&at| self.makes_sense(at)));
        }
        cuts.push(self.words.len());
        cuts
    }

    /// Whether types could stand in a row from here.
    fn makes_sense(&self, mut at: usize) -> bool {
        for _ in 0..SENSIBLE {
            if at == self.words.len() {
                return true;
            }
            let info = self.word(at + 1);
            let step = self.steps[(info >> 24 & 0x7f) as usize];
            // Elements are counted in two bytes; the third is room for more that nobody has needed.
            if step.is_unknown() || info & 0x00ff_0000 != 0 || self.word(at) as usize >= self.strings.len() {
                return false;
            }
            at += step.words(info);
        }
        at <= self.words.len()
    }

    /// Walks over all pieces; None if one doesn't end where the next begins, or has a kind that is not known.
    fn walk(&mut self, cuts: &[usize]) -> Option<Pieces> {
        let mut pieces: Vec<Piece> = vec![Piece { first: 0, starts: Vec::new() }; cuts.len() - 1];
        let mut to_do = 0..pieces.len();
        let mut at = [0; LANES];
        let mut lanes: [Option<Lane>; LANES] = [const { None }; LANES];
        loop {
            for (at, lane) in at.iter_mut().zip(&mut lanes) {
                if let Some(Lane { piece, .. }) = lane.take_if(|lane| *at >= lane.end) {
                    // What is counted here becomes the index of the first type when all counts are known.
                    pieces[piece].first = self.count(&pieces[piece].starts, cuts[piece + 1])?;
                }
                if lane.is_none()
                    && let Some(piece) = to_do.next()
                {
                    let most = (cuts[piece + 1] - cuts[piece]) * WORD / TYPE_LEN;
                    pieces[piece].starts.reserve_exact(most.div_ceil(STRIDE) + 1);
                    *at = cuts[piece];
                    *lane = Some(Lane { piece, end: cuts[piece + 1] });
                }
                match lane {
                    Some(lane) => pieces[lane.piece].starts.push((self.start + WORD * *at) as u32),
                    // It goes over what is behind the section.
                    None => *at = self.words.len(),
                }
            }
            if lanes.iter().all(Option::is_none) {
                break;
            }
            if self.round(&mut at).is_unknown() {
                return None;
            }
            if self.waiting_len >= NAMES {
                self.look();
            }
        }
        Some(Pieces::of_lengths(pieces))
    }

    /// So many steps of each lane as types share one place, past the end of its piece where that comes first. Nothing
    /// here is a branch that could be guessed wrong.
    #[inline]
    fn round(&mut self, at: &mut [usize; LANES]) -> Step {
        let (mut met, mut waiting) = (0, self.waiting_len);
        for _ in 0..STRIDE {
            for at in &mut *at {
                // Behind the section there are types of three words for ever.
                let info = self.words.get(*at + 1).map_or(Self::BEHIND, |word| (self.decode)(*word));
                let step = self.steps[(info >> 24 & 0x7f) as usize];
                self.waiting[waiting % ROOM] = *at as u32;
                waiting += (step.0 >> 31) as usize;
                met |= step.0;
                *at += step.words(info);
            }
        }
        self.waiting_len = waiting;
        Step(met)
    }

    /// The number of types up to the end of a piece, if one ends there.
    fn count(&self, starts: &[u32], end: usize) -> Option<u32> {
        let (last, before) = starts.split_last()?;
        let mut at = (*last as usize - self.start) / WORD;
        let mut count = STRIDE * before.len();
        while at < end {
            at = self.next(at);
            count += 1;
        }
        (at == end).then_some(count as u32)
    }

    /// Where the type starts that follows one of a known kind.
    #[inline]
    fn next(&self, at: usize) -> usize {
        let info = self.word(at + 1);
        at + self.steps[(info >> 24 & 0x7f) as usize].words(info)
    }

    /// Keeps those of the types that wait whose names are wanted, and INTs, which may tell the size of a pointer.
    #[inline(never)]
    fn look(&mut self) {
        let looked_at = self.kept.len();
        for index in 0..self.waiting_len {
            let at = self.waiting[index];
            let name = StrOff(self.word(at as usize));
            if self.search.may_be(self.strings, name) || self.is_int(at) {
                self.kept.push(at);
            }
        }
        self.waiting_len = 0;
        let mut kept = looked_at;
        for index in looked_at..self.kept.len() {
            let at = self.kept[index];
            if self.is_wanted(at) || self.is_int(at) {
                self.kept[kept] = at;
                kept += 1;
            }
        }
        self.kept.truncate(kept);
    }

    fn is_wanted(&self, at: u32) -> bool {
        let name = string_at(self.strings, self.word(at as usize) as usize);
        name.is_some_and(|name| self.search.is(name))
    }

    fn is_int(&self, at: u32) -> bool {
        self.word(at as usize + 1) >> 24 & 0x7f == u32::from(Kind::Int.number())
    }

    /// The type that starts at a word.
    fn seen(&self, pieces: &Pieces, at: usize) -> Option<Seen> {
        let start = |at: usize| (self.start + WORD * at) as u32;
        let next = |offset: u32| start(self.next((offset as usize - self.start) / WORD));
        let index = pieces.index_of(start(at), next)?;
        let kind = Kind::from_info(self.word(at + 1));
        Some(Seen { id: TypeId(1 + index), kind, name: StrOff(self.word(at)) })
    }
}

/// What the pass does at a type: the words of its fixed part in the lowest byte, what each element takes in the next;
/// the highest bit if the name is to be looked at, the one below if how long it is does not follow from its kind.
#[derive(Debug, Clone, Copy)]
struct Step(u32);

impl Step {
    const LOOK: u32 = 1 << 31;
    const UNKNOWN: u32 = 1 << 30;

    /// By the number of the kind.
    fn table(kinds: u32) -> [Step; 128] {
        let mut steps = TRAILER_WORDS.map(|trailer| match trailer {
            UNKNOWN => Step((TYPE_LEN / WORD) as u32 | Step::UNKNOWN),
            known => Step((TYPE_LEN / WORD) as u32 + known),
        });
        for (number, step) in (0u32..).zip(&mut steps) {
            if Step::is_searched(kinds, number) || number == u32::from(Kind::Int.number()) {
                step.0 |= Step::LOOK;
            }
        }
        steps
    }

    /// Whether types of a kind, by its number, are searched.
    fn is_searched(kinds: u32, number: u32) -> bool {
        kinds >> (number & 31) & 1 == 1
    }

    fn is_unknown(self) -> bool {
        self.0 & Step::UNKNOWN != 0
    }

    /// How long a type is.
    #[inline]
    fn words(self, info: u32) -> usize {
        words_behind(self.0, info)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::places::{Offsets, Section};
    use crate::{Btf, Builder, IntEncoding};

    /// Types of three kinds whose names begin with `w`; a look at the names lets `wrong` pass as well.
    struct Named;

    impl Search for Named {
        fn kinds(&self) -> u32 {
            1 << Kind::Struct.number() | 1 << Kind::Enum.number() | 1 << Kind::Int.number()
        }

        fn may_be(&self, strings: &[u8], name: StrOff) -> bool {
            strings.get(name.0 as usize) == Some(&b'w')
        }

        fn is(&self, name: &[u8]) -> bool {
            name.starts_with(b"w") && name != b"wrong"
        }
    }

    /// A type by some numbers: kind, name, elements, and what the elements are.
    type Plan = (u8, u8, u8, u32);

    fn made(order: ByteOrder, plan: &[Plan], bitfields: bool) -> Vec<u8> {
        let mut builder = Builder::new(order);
        for &(kind, name, len, value) in plan {
            let name = ["", "wanted", "wrong", "other", "long", "w"][usize::from(name % 6)];
            let ty = TypeId(value % 7);
            match kind % 8 {
                0 => builder.func_proto(ty).unwrap(),
                1 => builder.int(name, 8, IntEncoding::SIGNED).unwrap(),
                2 => builder.array(ty, ty, value).unwrap(),
                3 => builder.enumeration(Kind::Enum, name, 4, true).unwrap(),
                4 => builder.composite(Kind::Struct, name, value).unwrap(),
                5 => builder.reference(Kind::Func, name, ty).unwrap(),
                6 => builder.reference(Kind::Ptr, "", ty).unwrap(),
                _ => builder.composite(Kind::Union, name, value).unwrap(),
            };
            for element in 0..u32::from(len % 6) {
                match kind % 8 {
                    0 => builder.param(name, ty).unwrap(),
                    3 => builder.enumerator(name, value.into()).unwrap(),
                    // Read from the middle, bitfields look like types.
                    4 | 7 => builder
                        .member(name, TypeId(value), element, bitfields.then_some(kind % 19 + 1))
                        .unwrap(),
                    _ => {}
                }
            }
        }
        builder.finish().unwrap()
    }

    fn passed(bytes: &[u8], piece_len: usize) -> Option<Passed> {
        let header = Header::parse(bytes).unwrap();
        match header.order {
            ByteOrder::Little => Pass::new(bytes, &header, &Named, u32::from_le_bytes)?.run(piece_len),
            ByteOrder::Big => Pass::new(bytes, &header, &Named, u32::from_be_bytes)?.run(piece_len),
        }
    }

    /// What the pass finds, whatever the pieces are, is what the slow walk finds.
    fn check(bytes: &[u8], piece_len: usize) -> Option<()> {
        let Passed { pieces, seen, pointers } = passed(bytes, piece_len)?;
        let btf = Btf::parse(bytes).unwrap();
        let header = btf.header();
        let section =
            Section { data: bytes, start: header.types.start, end: header.types.end, order: btf.order() };
        let offsets = Offsets::Pieces(pieces);
        assert_eq!(offsets.count() as u32 + 1, btf.type_count());
        for index in 0..btf.type_count() + 2 {
            assert_eq!(offsets.get(index as usize, || section), btf.offset_of(TypeId(index + 1)), "{index}");
        }
        assert_eq!((pointers.size, pointers.long), (btf.pointer_size(), btf.long()));
        let types = btf.own_ids().map(|id| btf.resolve(id).unwrap());
        let searched = types.filter(|ty| Named.kinds() >> ty.kind().number() & 1 == 1);
        let wanted = searched.filter(|ty| {
            string_at(&bytes[header.strings.clone()], ty.name_off().0 as usize)
                .is_some_and(|name| Named.is(name))
        });
        let want: Vec<Seen> =
            wanted.map(|ty| Seen { id: ty.id(), kind: ty.kind(), name: ty.name_off() }).collect();
        assert_eq!(seen, want);
        Some(())
    }

    fn orders() -> impl Strategy<Value = ByteOrder> {
        prop_oneof![Just(ByteOrder::Little), Just(ByteOrder::Big)]
    }

    proptest! {
        #[test]
        fn finds_what_one_walk_finds(
            order in orders(),
            plan in prop::collection::vec(any::<Plan>(), 0..400),
            piece_len in 4usize..400,
        ) {
            let bytes = made(order, &plan, true);
            let _maybe_wrong_guess = check(&bytes, piece_len);
            prop_assert!(check(&bytes, bytes.len()).is_some(), "one piece has nothing to guess");
            let (btf, found) = Btf::parse_with(&bytes, &Named).unwrap();
            prop_assert_eq!(btf.type_count() as usize, plan.len() + 1);
            prop_assert_eq!(found, passed(&bytes, bytes.len()).unwrap().seen);
        }

        #[test]
        fn of_damaged_types_it_gives_what_the_walk_gives_or_nothing(
            order in orders(),
            plan in prop::collection::vec(any::<Plan>(), 1..60),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            piece_len in 4usize..100,
        ) {
            let mut bytes = made(order, &plan, true);
            let types = Header::parse(&bytes).unwrap().types;
            for (place, value) in damage {
                bytes[types.start + place.index(types.len())] = value;
            }
            for piece_len in [piece_len, bytes.len()] {
                if check(&bytes, piece_len).is_none() && let Ok(btf) = Btf::parse(&bytes) {
                    prop_assert!(piece_len < bytes.len() || btf.has_unknown_kinds());
                }
            }
            let same = |btf: &Btf<'_>| btf.own_ids().map(|id| btf.offset_of(id)).collect::<Vec<_>>();
            match (Btf::parse(&bytes), Btf::parse_with(&bytes, &Named)) {
                (Ok(slow), Ok((fast, _))) => prop_assert_eq!(same(&slow), same(&fast)),
                (Err(slow), Err(fast)) => prop_assert_eq!(slow.to_string(), fast.to_string()),
                (slow, fast) => prop_assert!(false, "{slow:?} {fast:?}"),
            }
        }
    }

    #[test]
    fn long_btfs_are_walked_in_pieces() {
        let plan: Vec<Plan> =
            (0..40_000u32).map(|n| (n as u8, (n / 3) as u8, (n / 7) as u8, n % 50)).collect();
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let bytes = made(order, &plan, false);
            for piece_len in [PIECE, 1000, 64] {
                assert!(passed(&bytes, piece_len).unwrap().pieces.len() > 10);
                check(&bytes, piece_len).unwrap();
            }
        }
    }
}
