//! BPF objects as ELF files: what the judge reads of them, and writing them for generated tests.

use btf::{ByteOrder, CoreRelo};
use object::write::{Object as Writer, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, Object, ObjectSection, ObjectSymbol, SectionFlags, SectionKind,
    SymbolFlags, SymbolKind, SymbolScope, elf,
};

use crate::judge::Program;
use crate::sound::Unsound;

/// What an object file holds of interest.
pub(crate) struct File {
    pub order: ByteOrder,
    pub btf: Vec<u8>,
    pub ext: Vec<u8>,
    pub names: Vec<String>,
    pub code: Vec<Vec<u8>>,
    pub programs: Vec<Program>,
}

pub(crate) fn read(data: &[u8]) -> Result<File, Unsound> {
    let elf = object::File::parse(data).map_err(|_| Unsound::Elf)?;
    let section = |name| -> Result<Vec<u8>, Unsound> {
        let section = elf.section_by_name(name).ok_or(Unsound::Elf)?;
        Ok(section.data().map_err(|_| Unsound::Elf)?.to_vec())
    };
    let mut file = File {
        order: match elf.endianness() {
            Endianness::Little => ByteOrder::Little,
            Endianness::Big => ByteOrder::Big,
        },
        btf: section(".BTF")?,
        ext: section(".BTF.ext")?,
        names: Vec::new(),
        code: Vec::new(),
        programs: Vec::new(),
    };
    for section in elf.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
        if !sh_flags.contains(elf::SHF_EXECINSTR) {
            continue;
        }
        let functions = elf.symbols().filter(|symbol| {
            symbol.section_index() == Some(section.index()) && symbol.kind() == SymbolKind::Text
        });
        file.programs.extend(functions.map(|symbol| Program {
            section: file.code.len(),
            start: symbol.address(),
            size: symbol.size(),
        }));
        file.names.push(section.name().map_err(|_| Unsound::Elf)?.to_owned());
        file.code.push(section.data().map_err(|_| Unsound::Elf)?.to_vec());
    }
    Ok(file)
}

/// A section with instructions and relocations.
#[derive(Debug, Clone)]
pub struct Code {
    /// The section's name, and its place in the strings of the object's BTF.
    pub name: (String, u32),
    /// The instructions.
    pub bytes: Vec<u8>,
    /// Functions: first byte and size in bytes.
    pub programs: Vec<(u64, u64)>,
    /// The relocations, in file order.
    pub relos: Vec<CoreRelo>,
}

/// Writes a BPF object.
pub fn write_object(
    order: ByteOrder,
    btf: &[u8],
    sections: &[Code],
) -> Result<Vec<u8>, object::write::Error> {
    let endianness = match order {
        ByteOrder::Little => Endianness::Little,
        ByteOrder::Big => Endianness::Big,
    };
    let mut file = Writer::new(BinaryFormat::Elf, Architecture::Bpf, endianness);
    for code in sections {
        let section = file.add_section(Vec::new(), code.name.0.clone().into_bytes(), SectionKind::Text);
        file.append_section_data(section, &code.bytes, 8);
        for (index, &(start, size)) in code.programs.iter().enumerate() {
            file.add_symbol(Symbol {
                name: format!("{}_{index}", code.name.0).into_bytes(),
                value: start,
                size,
                kind: SymbolKind::Text,
                scope: SymbolScope::Dynamic,
                weak: false,
                section: SymbolSection::Section(section),
                flags: SymbolFlags::None,
            });
        }
    }
    for (name, data) in [(".BTF", btf), (".BTF.ext", &write_ext(order, sections))] {
        let section = file.add_section(Vec::new(), name.as_bytes().to_vec(), SectionKind::Other);
        file.append_section_data(section, data, 4);
    }
    file.write()
}

fn write_ext(order: ByteOrder, sections: &[Code]) -> Vec<u8> {
    let mut part = vec![16];
    for code in sections.iter().filter(|code| !code.relos.is_empty()) {
        part.extend([code.name.1, code.relos.len() as u32]);
        for relo in &code.relos {
            part.extend([relo.insn_off, relo.type_id.0, relo.access.0, relo.kind]);
        }
    }
    let mut out = match order {
        ByteOrder::Little => vec![0x9f, 0xeb, 1, 0],
        ByteOrder::Big => vec![0xeb, 0x9f, 1, 0],
    };
    // Header length; func_info and line_info, which are empty; core_relo.
    for word in [32, 0, 0, 0, 0, 0, 4 * part.len() as u32].iter().chain(&part) {
        out.extend(order.encode(*word));
    }
    out
}
