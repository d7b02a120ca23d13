//! BPF objects that executables carry in their data, as libbpf's skeletons put them there.

use object::{Object, ObjectSection};

/// An object found in another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddedObject<'d> {
    /// Where it starts in the file, in bytes.
    pub offset: usize,
    /// The object, cut at its end.
    pub bytes: &'d [u8],
}

const ELF64: &[u8; 5] = b"\x7fELF\x02";
const ELF64_HEADER_LEN: usize = 64;
const EM_BPF: u16 = 247;
const ET_REL: u16 = 1;

/// Finds every BPF object in an executable or library, in the order of the file.
///
/// Skeletons hold a whole ELF file as a constant. Nothing names it there, so the file is searched for the start of a
/// relocatable 64-bit BPF ELF file; its own tables say where it ends.
pub fn embedded_objects(file: &[u8]) -> Vec<EmbeddedObject<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = find(file, at) {
        let rest = &file[offset..];
        match object_len(rest) {
            Some(len) => {
                found.push(EmbeddedObject { offset, bytes: &rest[..len] });
                at = offset + len;
            }
            None => at = offset + ELF64.len(),
        }
    }
    found
}

/// The next place, from `start` on, that looks like the header of a BPF object.
fn find(file: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += file.get(at..)?.windows(ELF64.len()).position(|bytes| bytes == ELF64)?;
        if is_bpf_header(&file[at..]) {
            return Some(at);
        }
        at += 1;
    }
}

fn is_bpf_header(bytes: &[u8]) -> bool {
    let Some(header) = bytes.first_chunk::<20>() else {
        return false;
    };
    let read = |low: usize| match header[5] {
        1 => Some(u16::from_le_bytes([header[low], header[low + 1]])),
        2 => Some(u16::from_be_bytes([header[low], header[low + 1]])),
        _neither => None,
    };
    read(16) == Some(ET_REL) && read(18) == Some(EM_BPF)
}

/// Where the object ends: behind its last section or its section table, whichever comes later.
fn object_len(bytes: &[u8]) -> Option<usize> {
    let file = object::File::parse(bytes).ok()?;
    let read = |at: usize, len: usize| {
        let field = bytes.get(at..at + len)?;
        let big = file.endianness() == object::Endianness::Big;
        let fold = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
        Some(if big { field.iter().fold(0, fold) } else { field.iter().rev().fold(0, fold) })
    };
    let table_end = read(0x28, 8)?.checked_add(read(0x3a, 2)?.checked_mul(read(0x3c, 2)?)?)?;
    let section_ends = file.sections().filter_map(|section| {
        let (start, len) = section.file_range()?;
        start.checked_add(len)
    });
    let end = usize::try_from(section_ends.fold(table_end, u64::max)).ok()?;
    (ELF64_HEADER_LEN..=bytes.len()).contains(&end).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Vec<u8> {
        let mut header = vec![0; 64];
        header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        header[16] = 1;
        header[18] = EM_BPF as u8;
        header[0x34] = 64;
        header
    }

    fn check(file: &[u8], want: &[(usize, usize)]) {
        let found: Vec<_> =
            embedded_objects(file).iter().map(|object| (object.offset, object.bytes.len())).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn ends_and_starts() {
        check(b"", &[]);
        check(b"\x7fELF\x02", &[]);
        // Without a section table there is no end, and a search that must go on.
        check(&header(), &[]);
        let mut other_machine = header();
        other_machine[18] = 62;
        check(&other_machine, &[]);
    }
}
