//! Sections and build-id of an ELF file: an unpacked vmlinux or a module.

use object::{Object, ObjectSection};

use crate::FormatError;

/// The content of a section, found by its exact name; `.BTF` does not find `.BTF_ids`.
pub fn section<'b>(bytes: &'b [u8], name: &str) -> Result<Option<&'b [u8]>, FormatError> {
    let file = object::File::parse(bytes)?;
    match file.section_by_name_bytes(name.as_bytes()) {
        Some(section) => Ok(Some(section.data()?)),
        None => Ok(None),
    }
}

/// The GNU build-id in hex digits, from the notes.
pub fn build_id(bytes: &[u8]) -> Result<Option<String>, FormatError> {
    let file = object::File::parse(bytes)?;
    Ok(file.build_id()?.filter(|id| !id.is_empty()).map(to_hex))
}

/// Whether the bytes start like an ELF file.
pub(crate) fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

pub(crate) fn to_hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A 64-bit little-endian ELF file with these sections and no segments; names that start with `.note` are notes.
    pub(crate) fn make_elf(sections: &[(&str, &[u8])]) -> Vec<u8> {
        const HEADER: usize = 64;
        let mut names = b"\0".to_vec();
        let mut content = Vec::new();
        // name, type, offset, size
        let mut headers = vec![(0, 0u32, 0, 0)];
        for (name, bytes) in sections.iter().copied().chain([(".shstrtab", &b""[..])]) {
            let name_at = names.len();
            names.extend(name.bytes().chain([0]));
            while content.len() % 4 != 0 {
                content.push(0);
            }
            let offset = HEADER + content.len();
            let (kind, bytes) = match name {
                ".shstrtab" => (3, &names[..]),
                _ if name.starts_with(".note") => (7, bytes),
                _ => (1, bytes),
            };
            content.extend(bytes);
            headers.push((name_at, kind, offset, bytes.len()));
        }
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(16, 0);
        elf.extend([1, 0, 62, 0, 1, 0, 0, 0]);
        elf.resize(HEADER, 0);
        elf[0x28..0x30].copy_from_slice(&((HEADER + content.len()) as u64).to_le_bytes());
        elf[0x34..0x36].copy_from_slice(&(HEADER as u16).to_le_bytes());
        elf[0x3a..0x3c].copy_from_slice(&64u16.to_le_bytes());
        elf[0x3c..0x3e].copy_from_slice(&(headers.len() as u16).to_le_bytes());
        elf[0x3e..0x40].copy_from_slice(&((headers.len() - 1) as u16).to_le_bytes());
        elf.extend(content);
        for (name, kind, offset, size) in headers {
            elf.extend((name as u32).to_le_bytes());
            elf.extend(kind.to_le_bytes());
            elf.extend([0; 16]);
            elf.extend((offset as u64).to_le_bytes());
            elf.extend((size as u64).to_le_bytes());
            elf.extend([0; 8]);
            elf.extend(4u64.to_le_bytes());
            elf.extend([0; 8]);
        }
        elf
    }

    /// A GNU build-id note.
    pub(crate) fn make_note(id: &[u8; 20]) -> Vec<u8> {
        let mut note = vec![4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0];
        note.extend(b"GNU\0");
        note.extend(id);
        note
    }

    #[test]
    fn sections_and_build_id() {
        let id: [u8; 20] = std::array::from_fn(|i| i as u8 + 0xa0);
        // Another owner's note comes first, as Xen's does in x86 kernels.
        let mut notes = vec![4, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0];
        notes.extend(b"Xen\0\x01\x02\x03\x04");
        notes.extend(make_note(&id));
        let elf =
            make_elf(&[(".BTF_ids", b"ids"), (".BTF", b"types"), (".notes", b""), (".note.all", &notes)]);
        assert_eq!(section(&elf, ".BTF").unwrap(), Some(&b"types"[..]));
        assert_eq!(section(&elf, ".BTF_ids").unwrap(), Some(&b"ids"[..]));
        assert_eq!(section(&elf, ".BT").unwrap(), None);
        assert_eq!(build_id(&elf).unwrap().unwrap(), "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3");
        assert_eq!(build_id(&make_elf(&[(".BTF", b"types")])).unwrap(), None);
    }

    #[test]
    fn broken_files_are_errors() {
        let elf = make_elf(&[(".BTF", b"types")]);
        for len in 0..elf.len() {
            assert!(!matches!(section(&elf[..len], ".BTF"), Ok(Some(_))), "{len}");
            let _ = build_id(&elf[..len]);
        }
        // A section that reaches behind the end.
        let mut wide = elf.clone();
        let header = wide.len() - 2 * 64;
        wide[header + 0x20..header + 0x28].fill(0xff);
        assert!(section(&wide, ".BTF").is_err());
    }
}
