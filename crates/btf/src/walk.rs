//! The pass over the types that says of everything what is wrong with it.

use crate::bytes::string_at;
use crate::header::Header;
use crate::layout::{self, Frame, Shapes};
use crate::size::Pointers;
use crate::trailer::{TRAILER_WORDS, TYPE_LEN, UNKNOWN, WORD, trailer_of, vlen, words_behind};
use crate::{Btf, ByteOrder, Error, ErrorKind, Kind, StrOff, TypeId};

/// A walk from one type to the next.
pub(crate) struct Walk<'w> {
    pub data: &'w [u8],
    pub header: &'w Header,
    pub base: Option<&'w Btf<'w>>,
    pub first_id: u32,
    pub first_str: u32,
    /// What tells the size of a pointer, so far.
    pub pointers: Pointers,
    /// How long the kinds are that nothing describes, so far.
    pub shapes: Shapes,
}

/// What the walk gives.
pub(crate) struct Walked {
    /// Where each type starts.
    pub starts: Vec<u32>,
    pub pointers: Pointers,
    pub shapes: Shapes,
}

impl Walk<'_> {
    pub(crate) fn run(self) -> Result<Walked, Error> {
        // Two loops, so that neither asks for the byte order at every word.
        match self.header.order {
            ByteOrder::Little => self.run_in(u32::from_le_bytes),
            ByteOrder::Big => self.run_in(u32::from_be_bytes),
        }
    }

    #[inline]
    fn run_in(mut self, decode: impl Fn([u8; 4]) -> u32) -> Result<Walked, Error> {
        let types = self.header.types.clone();
        // Offsets and ids are kept as u32: that holds for every BTF that a kernel accepts.
        let most = types.len() / TYPE_LEN;
        if u32::try_from(types.end).is_err() || u32::MAX - self.first_id < most as u32 {
            return Err(ErrorKind::TooManyTypes.at(types.start));
        }
        // Reading ends where the section does, so that a type can't reach into what follows. Types are whole words.
        let section = &self.data[types.clone()];
        let (words, _) = section.as_chunks::<WORD>();
        // Pages that are never written cost nothing.
        let mut starts: Vec<u32> = Vec::with_capacity(most);
        let (mut at, mut last) = (0, 0);
        while let Some(info) = words.get(at + 1) {
            let info = decode(*info);
            let step = STEPS[(info >> 24 & 0x7f) as usize];
            starts.push((types.start + WORD * at) as u32);
            last = at;
            if step & STOP != 0 {
                let id = TypeId(self.first_id + starts.len() as u32 - 1);
                at += self.stop(&decode, id, &section[WORD * at..])? / WORD;
            } else if step == FUNC {
                // Nearly half of all types. A branch is guessed before the word is there, so that reading the next type
                // needn't wait for this one; a sum has to.
                at += TYPE_LEN / WORD;
            } else {
                at += TYPE_LEN / WORD + words_behind(step, info);
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
        Ok(Walked { starts, pointers: self.pointers, shapes: self.shapes })
    }

    /// What the walk does at a type that it does not just step over; gives the type's length.
    #[inline(never)]
    fn stop(&mut self, decode: impl Fn([u8; 4]) -> u32, id: TypeId, rest: &[u8]) -> Result<usize, Error> {
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
        let (fixed, each) = match trailer_of(info) {
            Some(known) => known,
            None => self.described_trailer(info, id, at)?,
        };
        Ok(TYPE_LEN + fixed + each * vlen(info) as usize)
    }

    /// How long a kind is that this library does not know (libbpf: `btf_type_size_unknown`).
    #[cold]
    fn described_trailer(&mut self, info: u32, id: TypeId, at: usize) -> Result<(usize, usize), Error> {
        let kind = Kind::from_info(info).number();
        let own = self.header.layout.clone();
        let base = self.base.filter(|_| own.is_empty());
        let described = match base {
            Some(base) => layout::described(&base.data()[base.header().layout.clone()], kind),
            None => layout::described(&self.data[own.clone()], kind),
        };
        let described = match described {
            None if own.is_empty() && base.is_none_or(|base| base.header().layout.is_empty()) => {
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
            let before = self.base.map_or(Shapes::new(), |base| base.shapes().clone());
            self.shapes = frame.infer(&before)?;
        }
        // All that are left are equally long here.
        self.shapes.get(&kind)?.first().copied()
    }
}

/// How the walk goes on from a type, by the number of its kind: its trailer in words, or that it stops there.
const STEPS: [u32; 128] = {
    let mut steps = TRAILER_WORDS;
    steps[Kind::Func.number() as usize] = FUNC;
    // It may be the one that tells the size of a pointer.
    steps[Kind::Int.number() as usize] = STOP;
    steps
};

/// Not just to be stepped over: kinds whose length has to be looked up are that from the start.
const STOP: u32 = UNKNOWN;
/// A FUNC, to be stepped over.
const FUNC: u32 = 1 << 30;
