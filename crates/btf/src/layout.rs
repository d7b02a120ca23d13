//! The layout of kinds that this library does not know: told by the BTF, or found by trying.

use std::collections::{BTreeMap, BTreeSet};

use crate::trailer::{TYPE_LEN, vlen};
use crate::{ByteOrder, Kind};

/// Bytes after the common part, and for each element.
type Shape = (usize, usize);

/// The shapes that unknown kinds can have, by everything that has been seen of them.
pub(crate) type Shapes = BTreeMap<u8, Vec<Shape>>;

/// The largest part of a shape that is tried; the largest known is 12.
const MAX_PART: usize = 24;

/// Kinds are numbered one after the other, and until 2026 there was no room for more: what is beyond is damage.
const KINDS: u8 = 32;

/// What a layout section says of a kind (libbpf: `btf_type_size_unknown`).
pub(crate) fn described(section: &[u8], kind: u8) -> Option<Shape> {
    let entry = 4 * usize::from(kind);
    match section.get(entry..entry + 2) {
        Some(&[fixed, each]) if kind != 0 && fixed % 4 == 0 && each % 4 == 0 => {
            Some((fixed.into(), each.into()))
        }
        Some(_) | None => None,
    }
}

/// What must hold for the types that are tried.
pub(crate) struct Frame<'f> {
    /// The types, from the first one of an unknown kind.
    pub types: &'f [u8],
    pub order: ByteOrder,
    /// More than the highest id.
    pub ids: u32,
    /// The strings of this BTF, and their first offset.
    pub strings: &'f [u8],
    pub first_str: u32,
}

impl Frame<'_> {
    /// The shortest shapes of the unknown kinds with which all types to the end make sense.
    ///
    /// One that is too short makes nonsense of what follows, nearly always of the next type: what types hold has no
    /// kind where a type has its own. One that is too long may swallow whole types and still make sense. Where the
    /// search takes much longer than reading the types there is no answer.
    pub(crate) fn infer(&self, known: &Shapes) -> Option<Shapes> {
        Search { frame: self, words: 2 * self.types.len() + 65536 }.run(0, known.clone())
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.types.get(at..)?.first_chunk::<4>()?;
        Some(self.order.decode(*bytes))
    }

    /// Kind and number of elements of a type whose common part makes sense.
    fn head(&self, at: usize) -> Option<(Kind, u32)> {
        let (name, info) = (self.word(at)?, self.word(at + 4)?);
        self.word(at + 8)?;
        self.is_name(name).then(|| (Kind::from_info(info), vlen(info)))
    }

    fn is_name(&self, offset: u32) -> bool {
        match offset.checked_sub(self.first_str) {
            None | Some(0) => true,
            // Names are not parts of other names.
            Some(own) => {
                self.strings.get(own as usize - 1) == Some(&0) && (own as usize) < self.strings.len()
            }
        }
    }

    fn is_id(&self, id: u32) -> bool {
        id < self.ids
    }

    /// Whether a type of a known kind makes sense.
    fn is_type(&self, at: usize, kind: Kind, len: u32) -> Option<bool> {
        let last = self.word(at + 8)?;
        let more = at + TYPE_LEN;
        let each = |size: usize, fits: &dyn Fn(usize) -> Option<bool>| {
            (0..len as usize)
                .map(|index| fits(more + size * index))
                .try_fold(true, |all, it| Some(all && it?))
        };
        let name_and_id = |at: usize| Some(self.is_name(self.word(at)?) && self.is_id(self.word(at + 4)?));
        let name = |at: usize| Some(self.is_name(self.word(at)?));
        Some(match kind {
            Kind::Int => len == 0 && matches!(last, 1 | 2 | 4 | 8 | 16) && self.word(more)? & 0xff <= 128,
            Kind::Float => len == 0 && last <= 16,
            Kind::Fwd => len == 0,
            Kind::Ptr | Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                len == 0 && self.is_id(last)
            }
            Kind::Var | Kind::DeclTag => len == 0 && self.is_id(last) && self.word(more).is_some(),
            Kind::Func => len <= 2 && self.is_id(last),
            Kind::Array => len == 0 && self.is_id(self.word(more)?) && self.is_id(self.word(more + 4)?),
            Kind::Struct | Kind::Union => each(12, &name_and_id)?,
            Kind::Enum => last <= 8 && each(8, &name)?,
            Kind::Enum64 => last <= 8 && each(12, &name)?,
            Kind::FuncProto => self.is_id(last) && each(8, &name_and_id)?,
            Kind::Datasec => each(12, &|at| Some(self.is_id(self.word(at)?)))?,
            Kind::Void | Kind::Unknown(_) => false,
        })
    }
}

struct Search<'s> {
    frame: &'s Frame<'s>,
    /// How many words may still be read.
    words: usize,
}

/// What comes of reading a type.
enum Step {
    /// The next one starts here.
    To(usize),
    /// It makes no sense, or there is no time left.
    Nonsense,
    /// Shapes of the kind have different lengths, ascending.
    Either(u8, Vec<usize>),
}

impl Search<'_> {
    /// Reads on from a type with these shapes, to the end.
    fn run(&mut self, mut at: usize, mut shapes: Shapes) -> Option<Shapes> {
        while at < self.frame.types.len() {
            match self.step(at, &mut shapes) {
                Step::To(next) => at = next,
                Step::Nonsense => return None,
                Step::Either(kind, lengths) => {
                    let (_, len) = self.frame.head(at)?;
                    return lengths.into_iter().find_map(|length| {
                        let mut shapes = shapes.clone();
                        shapes.entry(kind).or_default().retain(|&shape| length_of(shape, len) == length);
                        self.run(at + TYPE_LEN + length, shapes)
                    });
                }
            }
        }
        (at == self.frame.types.len()).then_some(shapes)
    }

    fn step(&mut self, at: usize, shapes: &mut Shapes) -> Step {
        let Some((kind, len)) = self.frame.head(at).filter(|_| self.words > 0) else {
            return Step::Nonsense;
        };
        let length = kind.trailer().map(|shape| length_of(shape, len));
        self.words = self.words.saturating_sub((TYPE_LEN + length.unwrap_or_default()) / 4);
        match (length, kind) {
            (Some(length), _) => match self.frame.is_type(at, kind, len) {
                Some(true) => Step::To(at + TYPE_LEN + length),
                Some(false) | None => Step::Nonsense,
            },
            (None, Kind::Unknown(number)) if number < KINDS => {
                let possible = shapes.entry(number).or_insert_with(every_shape);
                // Looking at each takes as long as reading a word.
                self.words = self.words.saturating_sub(possible.len());
                let lengths: BTreeSet<usize> = possible.iter().map(|&shape| length_of(shape, len)).collect();
                match lengths.into_iter().collect::<Vec<_>>() {
                    only if only.len() == 1 => Step::To(at + TYPE_LEN + only[0]),
                    several => Step::Either(number, several),
                }
            }
            (None, _beyond) => Step::Nonsense,
        }
    }
}

fn length_of((fixed, each): Shape, len: u32) -> usize {
    fixed + each * len as usize
}

fn every_shape() -> Vec<Shape> {
    let parts = || (0..=MAX_PART).step_by(4);
    parts().flat_map(|fixed| parts().map(move |each| (fixed, each))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types as words: name, kind and number of elements, then the rest.
    fn check(types: &[&[u32]], want: Option<&[(u8, usize, &[usize])]>) {
        let words: Vec<u32> = types.iter().flat_map(|ty| ty.iter().copied()).collect();
        let types: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let order = ByteOrder::Little;
        let frame = Frame { types: &types, order, ids: 9, strings: b"\0int\0s\0", first_str: 0 };
        let found = frame.infer(&Shapes::new());
        // For each kind and number of elements, the lengths that are left.
        let lengths = |kind, len| {
            let shapes = found.as_ref()?.get(&kind)?;
            let lengths: BTreeSet<usize> = shapes.iter().map(|&shape| length_of(shape, len as u32)).collect();
            Some(lengths.into_iter().collect::<Vec<_>>())
        };
        assert_eq!(found.is_some(), want.is_some());
        for &(kind, len, left) in want.unwrap_or_default() {
            assert_eq!(lengths(kind, len).as_deref(), Some(left), "kind {kind}, {len} elements");
        }
    }

    const INT: [u32; 4] = [1, 1 << 24, 4, 32];

    #[test]
    fn shapes_are_found_by_what_follows() {
        check(&[&[5, 20 << 24, 1], &INT], Some(&[(20, 0, &[0])]));
        check(&[&[5, 20 << 24, 1, 77], &INT], Some(&[(20, 0, &[4])]));
        check(&[&INT, &[5, 31 << 24 | 2, 1, 1, 2, 3, 4, 5]], Some(&[(31, 2, &[20])]));
        // One length of each of two numbers of elements leaves one shape.
        check(
            &[&[5, 20 << 24 | 1, 1, 9, 9, 9], &INT, &[5, 20 << 24 | 3, 1, 9, 9, 9, 9, 9, 9, 9], &INT],
            Some(&[(20, 0, &[4]), (20, 1, &[12]), (20, 100, &[804])]),
        );
        check(
            &[&[5, 20 << 24, 1, 9], &[5, 21 << 24 | 1, 1, 9, 9], &INT, &INT],
            Some(&[(20, 0, &[4]), (21, 1, &[8])]),
        );
        // It could be as long as an INT and swallow one; the shorter is taken, and it must be the same everywhere.
        check(&[&[5, 20 << 24, 1], &INT, &[5, 20 << 24, 1], &[0, 2 << 24, 1]], Some(&[(20, 0, &[0])]));
    }

    #[test]
    fn no_answer_without_sense() {
        check(&[&INT, &[5, 32 << 24, 1]], None);
        check(&[&[5, 20 << 24, 1], &[0; 6]], Some(&[(20, 0, &[24])]));
        check(&[&[5, 20 << 24, 1], &[0; 7]], None);
        check(&[&[2, 20 << 24, 1], &INT], None);
        check(&[&INT, &[5, 20 << 24, 1], &[1, 2 << 24, 9], &INT], Some(&[(20, 0, &[12])]));
    }
}
