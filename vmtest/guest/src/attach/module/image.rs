//! A module's file: what every kernel of this architecture wants to see in one, and nothing that runs.
//!
//! The section names are the kernel's (kernel/module/main.c; for arm64 arch/arm64/kernel/module-plts.c and module.c).

/// Bytes that would be code; nothing leads there.
pub const TEXT: usize = 5000;
/// Bytes that the kernel frees when the module has started.
pub const INIT: usize = 9000;

const SHT_PROGBITS: u32 = 1;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHF_WRITE: u64 = 1;
const SHF_ALLOC: u64 = 2;
const SHF_EXECINSTR: u64 = 4;
const ET_REL: u16 = 1;
const MACHINE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
const HEADER_SIZE: usize = 64;
const SECTION_HEADER_SIZE: usize = 64;
/// The empty first one is all there is.
const SYMBOL_SIZE: usize = 24;
/// Of a cache line, as the kernel wants a struct module.
const MODULE_ALIGN: u64 = 64;
/// Where arm64 kernels put jumps to what is too far away.
const ARM64: [&str; 4] = [".plt", ".init.plt", ".text.ftrace_trampoline", ".init.text.ftrace_trampoline"];

/// What the kernel's `struct module` looks like; bytes.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub size: usize,
    pub name_off: usize,
    pub name_size: usize,
}

/// A module.
pub struct Image<'a> {
    pub layout: Layout,
    /// With a place for versions of symbols, of which it uses none.
    pub versions: bool,
    pub name: &'a str,
    /// What it says of itself, as `modinfo` prints it.
    pub words: &'a [(&'a str, &'a str)],
}

struct Section {
    name: &'static str,
    kind: u32,
    flags: u64,
    align: u64,
    content: Vec<u8>,
}

impl Image<'_> {
    /// An ELF file to be linked, of 64 bits, little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut sections = self.sections();
        let mut names = vec![0];
        let mut name_offs: Vec<usize> = Vec::new();
        for section in &sections {
            name_offs.push(names.len());
            names.extend(section.name.bytes().chain([0]));
        }
        if let Some(last) = sections.last_mut() {
            last.content = names;
        }
        let mut bytes = vec![0; HEADER_SIZE];
        // The first section is none.
        let mut headers = vec![0; SECTION_HEADER_SIZE];
        for (index, (section, name_off)) in sections.iter().zip(name_offs).enumerate() {
            align(&mut bytes, section.align);
            headers.extend(section.header(name_off, bytes.len(), index));
            bytes.extend(&section.content);
        }
        align(&mut bytes, 8);
        let header = file_header(bytes.len(), sections.len() + 1);
        bytes[..HEADER_SIZE].copy_from_slice(&header);
        bytes.extend(headers);
        bytes
    }

    /// The last one has the sections' names; the symbols' strings follow the symbols.
    fn sections(&self) -> Vec<Section> {
        let section =
            |name, flags, align, content| Section { name, kind: SHT_PROGBITS, flags, align, content };
        let words: Vec<u8> =
            self.words.iter().flat_map(|(name, value)| format!("{name}={value}\0").into_bytes()).collect();
        let mut sections = vec![
            section(".modinfo", SHF_ALLOC, 1, words),
            section(".gnu.linkonce.this_module", SHF_ALLOC | SHF_WRITE, MODULE_ALIGN, self.this_module()),
            section(".text", SHF_ALLOC | SHF_EXECINSTR, 16, vec![0; TEXT]),
            section(".init.data", SHF_ALLOC | SHF_WRITE, 8, vec![0; INIT]),
        ];
        if self.versions {
            sections.push(section("__versions", SHF_ALLOC, 8, Vec::new()));
        }
        if cfg!(target_arch = "aarch64") {
            let jumps = |name| section(name, SHF_ALLOC | SHF_EXECINSTR, 8, vec![0]);
            sections.extend(ARM64.map(jumps));
        }
        let table = |name, kind, content| Section { name, kind, flags: 0, align: 8, content };
        sections.extend([
            table(".symtab", SHT_SYMTAB, vec![0; SYMBOL_SIZE]),
            table(".strtab", SHT_STRTAB, vec![0]),
            table(".shstrtab", SHT_STRTAB, Vec::new()),
        ]);
        sections
    }

    /// All zeros but the name: the kernel fills in the rest.
    fn this_module(&self) -> Vec<u8> {
        let Layout { size, name_off, name_size } = self.layout;
        let mut module = vec![0; size];
        // It ends with a NUL.
        let kept = self.name.len().min(name_size.saturating_sub(1));
        if let Some(place) = module.get_mut(name_off..name_off + kept) {
            place.copy_from_slice(&self.name.as_bytes()[..kept]);
        }
        module
    }
}

impl Section {
    fn header(&self, name_off: usize, offset: usize, index: usize) -> Vec<u8> {
        // Symbols: where their strings are, the first that others see, and the size of each.
        let (link, first_global, entry) =
            if self.kind == SHT_SYMTAB { (index as u32 + 2, 1_u32, SYMBOL_SIZE) } else { (0, 0, 0) };
        let mut header = Vec::with_capacity(SECTION_HEADER_SIZE);
        header.extend((name_off as u32).to_le_bytes());
        header.extend(self.kind.to_le_bytes());
        header.extend(self.flags.to_le_bytes());
        header.extend(0_u64.to_le_bytes());
        header.extend((offset as u64).to_le_bytes());
        header.extend((self.content.len() as u64).to_le_bytes());
        header.extend(link.to_le_bytes());
        header.extend(first_global.to_le_bytes());
        header.extend(self.align.to_le_bytes());
        header.extend((entry as u64).to_le_bytes());
        header
    }
}

fn file_header(sections_off: usize, count: usize) -> Vec<u8> {
    // 64 bits, little-endian, version 1.
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    header.extend(ET_REL.to_le_bytes());
    header.extend(MACHINE.to_le_bytes());
    header.extend(1_u32.to_le_bytes());
    // No entry, no program headers.
    header.extend([0; 16]);
    header.extend((sections_off as u64).to_le_bytes());
    header.extend(0_u32.to_le_bytes());
    let sizes = [HEADER_SIZE, 0, 0, SECTION_HEADER_SIZE, count, count - 1];
    header.extend(sizes.iter().flat_map(|size| (*size as u16).to_le_bytes()));
    header
}

fn align(bytes: &mut Vec<u8>, align: u64) {
    bytes.resize(bytes.len().next_multiple_of(align as usize), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8], at: usize, size: usize) -> usize {
        bytes[at..at + size].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    /// A section as a kernel finds it: by its name among the headers; its header and content.
    fn find<'a>(file: &'a [u8], name: &str) -> Option<(&'a [u8], &'a [u8])> {
        let headers = number(file, 40, 8);
        let header = |index: usize| &file[headers + 64 * index..][..64];
        let content = |header: &[u8]| &file[number(header, 24, 8)..][..number(header, 32, 8)];
        let names = content(header(number(file, 62, 2)));
        let of = |header: &[u8]| names[number(header, 0, 4)..].split(|byte| *byte == 0).next();
        let mut all = (1..number(file, 60, 2)).map(header);
        all.find(|header| of(header) == Some(name.as_bytes())).map(|header| (header, content(header)))
    }

    #[test]
    fn a_kernel_finds_what_it_looks_for() {
        let layout = Layout { size: 896, name_off: 24, name_size: 56 };
        let words = [("license", "GPL"), ("vermagic", "6.1 SMP ")];
        let file = Image { layout, versions: true, name: "vm_abcdef", words: &words }.to_bytes();
        assert_eq!(
            &file[..20],
            [b"\x7fELF\x02\x01\x01", &[0; 9][..], &[1, 0], &MACHINE.to_le_bytes()].concat()
        );
        assert_eq!(find(&file, ".modinfo").unwrap().1, b"license=GPL\0vermagic=6.1 SMP \0");
        let (header, module) = find(&file, ".gnu.linkonce.this_module").unwrap();
        assert_eq!((module.len(), &module[24..34]), (896, b"vm_abcdef\0".as_slice()));
        assert_eq!((number(header, 24, 8) % 64, number(header, 8, 8)), (0, 3));
        assert_eq!(find(&file, "__versions").unwrap().1, b"");
        assert_eq!(find(&file, ".text").unwrap().1.len(), TEXT);
        let (symbols, null) = find(&file, ".symtab").unwrap();
        assert_eq!((null, number(symbols, 56, 8)), ([0; 24].as_slice(), 24));
        let headers = number(&file, 40, 8);
        let strings = &file[headers + 64 * number(symbols, 40, 4)..][..64];
        assert_eq!((number(strings, 4, 4), strings), (3, find(&file, ".strtab").unwrap().0));
        assert_eq!(find(&file, ".plt").is_some(), cfg!(target_arch = "aarch64"));
        assert_eq!(find(&file, ".none"), None);
        // Whole: the headers end it.
        assert_eq!(file.len(), headers + 64 * number(&file, 60, 2));
    }

    #[test]
    fn a_name_that_is_too_long_is_cut() {
        let layout = Layout { size: 16, name_off: 4, name_size: 4 };
        let module = Image { layout, versions: false, name: "abcdef", words: &[] };
        assert!(find(&module.to_bytes(), "__versions").is_none());
        assert_eq!(module.this_module(), b"\0\0\0\0abc\0\0\0\0\0\0\0\0\0");
    }
}
