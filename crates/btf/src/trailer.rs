//! How long types are, by what stands in their common part.

use crate::Kind;

/// Bytes of a type's common part: name, info, size or type.
pub(crate) const TYPE_LEN: usize = 12;

/// All parts of a type are words.
pub(crate) const WORD: usize = 4;

/// That how long a type is does not follow from the number of its kind.
pub(crate) const UNKNOWN: u32 = 1 << 31;

/// [`Kind::trailer`] of every kind number in words, looked up rather than chosen: this is the innermost loop of a pass. The
/// fixed part in the lowest byte, what each element takes in the next; or [`UNKNOWN`].
pub(crate) const TRAILER_WORDS: [u32; 128] = {
    let mut trailers = [UNKNOWN; 128];
    let mut number = 0;
    while number < trailers.len() {
        if let Some((fixed, each)) = Kind::from_info((number as u32) << 24).trailer() {
            trailers[number] = (fixed / WORD) as u32 | ((each / WORD) as u32) << 8;
        }
        number += 1;
    }
    trailers
};

/// What follows a type's common part, in words.
#[inline]
pub(crate) fn words_behind(trailer: u32, info: u32) -> usize {
    (trailer & 0xff) as usize + (trailer >> 8 & 0xff) as usize * vlen(info) as usize
}

/// What follows the common part, by `info`: a fixed part and what each element takes, in bytes. None where it does not
/// follow from the kind's number.
#[inline]
pub(crate) fn trailer_of(info: u32) -> Option<(usize, usize)> {
    let trailer = TRAILER_WORDS[(info >> 24 & 0x7f) as usize];
    (trailer != UNKNOWN).then_some((WORD * (trailer & 0xff) as usize, WORD * (trailer >> 8) as usize))
}

/// The number of elements: bits 0 to 23 of `info`.
#[inline]
pub(crate) fn vlen(info: u32) -> u32 {
    info & 0x00ff_ffff
}
