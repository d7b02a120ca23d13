//! A raw arm64 Image: no sections, so BTF and build-id are found by looking for them.

use std::ops::Range;

use btf::Btf;

/// Places that look like the start of a BTF header (little endian, version 1).
const BTF_START: [u8; 4] = [0x9f, 0xeb, 1, 0];
/// The head of a GNU build-id note with a 20-byte id.
const NOTE_START: [u8; 16] = *b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
const BUILD_ID_LEN: usize = 20;
/// Real images have three places or fewer of each kind; more are a hostile image that wants us to search for ever.
const MAX_PLACES: usize = 64;

/// Finds the largest BTF whose types can be walked to the end.
///
/// A header's four bytes can occur by chance in code, a whole walk can't. Headers are aligned to 4.
pub(crate) fn find_btf(image: &[u8]) -> Option<&[u8]> {
    places(image, &BTF_START)
        .filter_map(|at| btf_frame(image, at))
        .take(MAX_PLACES)
        .filter(|btf| Btf::parse(*btf).is_ok())
        .max_by_key(|btf| btf.len())
}

/// The bytes that a BTF header at `at` spans, when header and strings look sound.
fn btf_frame(image: &[u8], at: usize) -> Option<&[u8]> {
    let header_len = u32_at(image, at + 4)?;
    let [type_off, type_len, str_off, str_len] = [8, 12, 16, 20].map(|field| u32_at(image, at + field));
    if !(24..=64).contains(&header_len) || type_off? != 0 || type_len? == 0 || str_off? < type_len? {
        return None;
    }
    // All below 2^32, so the sums fit.
    let strings = at.checked_add(header_len as usize + str_off? as usize)?;
    let end = strings.checked_add(str_len? as usize)?;
    let framed = image.get(strings..end)?;
    (framed.first() == Some(&0) && framed.last() == Some(&0)).then(|| &image[at..end])
}

/// Finds the kernel's build-id: the only note that is not inside of an embedded ELF file (the vDSOs have their own).
///
/// None when that is not exactly one: no build-id is better than a wrong one.
pub(crate) fn find_build_id(image: &[u8]) -> Option<&[u8]> {
    let embedded: Vec<Range<usize>> = places(image, b"\x7fELF")
        .filter_map(|at| Some(at..at.checked_add(elf_len(&image[at..])?)?))
        .take(MAX_PLACES)
        .collect();
    let mut own = places(image, &NOTE_START)
        .take(MAX_PLACES)
        .filter(|at| !embedded.iter().any(|elf| elf.contains(at)))
        .filter_map(|at| image.get(at + NOTE_START.len()..at + NOTE_START.len() + BUILD_ID_LEN));
    match (own.next(), own.next()) {
        (Some(id), None) => Some(id),
        (_, Some(_)) | (None, None) => None,
    }
}

/// How long an embedded ELF file is: the section headers come last in what linkers write.
fn elf_len(elf: &[u8]) -> Option<usize> {
    let (sections, size_at) = match elf.get(4..7)? {
        [2, 1, 1] => (u64::from_le_bytes(*elf.get(0x28..)?.first_chunk()?), 0x3a),
        [1, 1, 1] => (u64::from(u32_at(elf, 0x20)?), 0x2e),
        _ => return None,
    };
    let size = u32_at(elf, size_at)?;
    let (entry, count) = (size & 0xffff, size >> 16);
    usize::try_from(sections)
        .ok()?
        .checked_add(entry as usize * count as usize)
        .filter(|&len| len <= elf.len())
}

/// Where a pattern stands in the image, at multiples of 4.
fn places<'i>(image: &'i [u8], pattern: &'i [u8]) -> impl Iterator<Item = usize> + 'i {
    let first: &[u8] = &pattern[..4];
    let aligned = image.chunks_exact(4).enumerate().filter(move |(_, chunk)| *chunk == first);
    aligned.map(|(index, _)| index * 4).filter(move |&at| image[at..].starts_with(pattern))
}

/// A little-endian number.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::elf::tests::{make_elf, make_note};

    /// A BTF with `count` ints.
    pub(crate) fn make_btf(count: usize) -> Vec<u8> {
        let strings = b"\0int\0";
        let types: Vec<u8> = (0..count)
            .flat_map(|_| [[1, 0, 0, 0], [0, 0, 0, 1], [4, 0, 0, 0], [32, 0, 0, 1]].concat())
            .collect();
        let mut btf = vec![0x9f, 0xeb, 1, 0];
        for field in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            btf.extend(field.to_le_bytes());
        }
        btf.extend(types);
        btf.extend(strings);
        btf
    }

    /// A raw Image with these parts, each at a multiple of 4.
    pub(crate) fn make_raw(parts: &[&[u8]]) -> Vec<u8> {
        let mut image = b"MZ".to_vec();
        image.resize(0x38, 0);
        image.extend(b"ARM\x64");
        for part in parts {
            image.resize(image.len().next_multiple_of(4) + 16, 0xcc);
            image.extend(*part);
        }
        image
    }

    #[test]
    fn the_largest_btf_that_can_be_walked() {
        let (small, large) = (make_btf(2), make_btf(5));
        // Longer than the real one, but its second type is of a kind that can't be: those to come are stepped over.
        let mut broken = make_btf(9);
        broken[24 + 16 + 7] = 0x7f;
        let mut strings = make_btf(9);
        *strings.last_mut().unwrap() = b'x';
        let cut = &make_btf(90)[..100];
        let image =
            make_raw(&[&small, &broken, &strings, &large, &BTF_START, b"\x9f\xeb\x01\0\x18\0\0\0", cut]);
        assert_eq!(find_btf(&image), Some(&large[..]));
        assert_eq!(find_btf(&make_raw(&[&broken, cut])), None);
        assert_eq!(find_btf(&make_raw(&[])), None);
        // Not aligned.
        assert_eq!(find_btf(&[b"x", &large[..]].concat()), None);
    }

    #[test]
    fn many_false_headers_end_the_search() {
        // Every one a good frame over the same endless type section.
        let mut image = Vec::new();
        for _ in 0..10_000 {
            image.extend(
                [&BTF_START[..], &24u32.to_le_bytes(), &[0; 4], &[4, 0, 0, 0], &[4, 0, 0, 0], &[1, 0, 0, 0]]
                    .concat(),
            );
            image.extend([0; 8]);
        }
        assert_eq!(find_btf(&image), None);
    }

    #[test]
    fn the_build_id_outside_of_embedded_elf_files() {
        let check = |parts: &[&[u8]], wanted: Option<[u8; 20]>| {
            assert_eq!(find_build_id(&make_raw(parts)), wanted.as_ref().map(|id| &id[..]));
        };
        let (own, vdso) = (make_note(&[1; 20]), make_elf(&[(".note.gnu.build-id", &make_note(&[2; 20]))]));
        check(&[&own], Some([1; 20]));
        check(&[&vdso, &own, &vdso, b"\x7fELF\0\0\0\0\x013Invalid ELF"], Some([1; 20]));
        check(&[&vdso], None);
        check(&[&own, &make_note(&[3; 20])], None);
        check(&[&own[..own.len() - 1]], None);
        check(&[], None);
    }
}
