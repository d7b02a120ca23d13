//! The least ELF file in which libbpf finds BTF: it looks for a section called `.BTF`.

use crate::arch::Arch;

const HEADER: usize = 64;
const SECTION: usize = 64;
const NAMES: &[u8] = b"\0.BTF\0.note.gnu.build-id\0.shstrtab\0";
const SHT_PROGBITS: u32 = 1;
const SHT_STRTAB: u32 = 3;
const SHT_NOTE: u32 = 7;
const ET_EXEC: u16 = 2;

struct Section {
    name: u32,
    kind: u32,
    content: Vec<u8>,
}

/// An ELF file of 64 bits, in the byte order of the BTF, with the build-id where it is known.
pub(super) fn with_btf(btf: &[u8], arch: Arch, build_id: Option<&str>) -> Vec<u8> {
    let order = Order { big: btf.starts_with(&[0xeb, 0x9f]) };
    let mut sections = vec![Section { name: 1, kind: SHT_PROGBITS, content: btf.to_vec() }];
    if let Some(build_id) = build_id {
        sections.push(Section { name: 6, kind: SHT_NOTE, content: order.note(build_id) });
    }
    sections.push(Section { name: 25, kind: SHT_STRTAB, content: NAMES.to_vec() });

    let mut body = Vec::new();
    let mut table = vec![0; SECTION];
    for Section { name, kind, content } in &sections {
        body.resize(body.len().next_multiple_of(8), 0);
        let offset = (HEADER + body.len()) as u64;
        table.extend([order.u32(*name), order.u32(*kind)].concat());
        let alignment = if *kind == SHT_STRTAB { 1 } else { 4 };
        // flags, address, offset, size; then link and info, alignment, entry size.
        for word in [0, 0, offset, content.len() as u64, 0, alignment, 0] {
            table.extend(order.u64(word));
        }
        body.extend(content);
    }
    body.resize(body.len().next_multiple_of(8), 0);
    let mut elf = order.header(arch, (HEADER + body.len()) as u64, sections.len() as u16 + 1);
    elf.extend(body);
    elf.extend(table);
    elf
}

#[derive(Clone, Copy)]
struct Order {
    big: bool,
}

impl Order {
    fn u16(self, word: u16) -> [u8; 2] {
        if self.big { word.to_be_bytes() } else { word.to_le_bytes() }
    }

    fn u32(self, word: u32) -> [u8; 4] {
        if self.big { word.to_be_bytes() } else { word.to_le_bytes() }
    }

    fn u64(self, word: u64) -> [u8; 8] {
        if self.big { word.to_be_bytes() } else { word.to_le_bytes() }
    }

    fn header(self, arch: Arch, sections_at: u64, sections: u16) -> Vec<u8> {
        let machine = match arch {
            Arch::X86_64 => 62,
            Arch::Arm64 => 183,
        };
        let data = if self.big { 2 } else { 1 };
        let mut elf = [b"\x7fELF".as_slice(), &[2, data, 1, 0], &[0; 8]].concat();
        elf.extend(self.u16(ET_EXEC));
        elf.extend(self.u16(machine));
        elf.extend(self.u32(1));
        for word in [0, 0, sections_at] {
            elf.extend(self.u64(word));
        }
        elf.extend(self.u32(0));
        // Header size; no program headers; section headers, and the last of them has the names.
        for word in [HEADER as u16, 0, 0, SECTION as u16, sections, sections - 1] {
            elf.extend(self.u16(word));
        }
        elf
    }

    /// The note of a build-id in hexadecimal, as the linker writes it.
    fn note(self, build_id: &str) -> Vec<u8> {
        const NT_GNU_BUILD_ID: u32 = 3;
        // An index has only pairs of hexadecimal digits here.
        let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or_default() as u8;
        let bytes: Vec<u8> =
            build_id.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
        let mut note = [self.u32(4), self.u32(bytes.len() as u32), self.u32(NT_GNU_BUILD_ID)].concat();
        note.extend(b"GNU\0");
        note.extend(bytes);
        note.resize(note.len().next_multiple_of(4), 0);
        note
    }
}
