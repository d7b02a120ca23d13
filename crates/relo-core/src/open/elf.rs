//! The ELF file behind an object: sections and symbols as libbpf looks at them.

use object::elf;
use object::read::elf::{ElfFile64, Rel, SectionHeader, Sym};
use object::{Endianness, SymbolIndex};

use crate::ObjectError;

/// Sections and symbols of a 64-bit ELF file.
#[derive(Debug, Clone)]
pub(crate) struct Elf<'o> {
    pub sections: Vec<Section<'o>>,
    pub symbols: Vec<Symbol<'o>>,
    /// How many symbol tables there are: libbpf wants exactly one.
    pub symbol_tables: usize,
}

/// A section; its index is that of the file.
#[derive(Debug, Clone)]
pub(crate) struct Section<'o> {
    pub name: &'o [u8],
    pub kind: SectionKind,
    pub executable: bool,
    pub size: u64,
    /// Empty for a section without bytes in the file.
    pub data: &'o [u8],
    /// Where `data` starts in the file.
    pub file_offset: usize,
    /// Index among the executable sections, which is the order of [`crate::BpfObject`].
    pub code: Option<usize>,
    /// For relocations: the section that they change.
    pub target: usize,
    pub relocations: Vec<Relocation>,
}

/// The types of sections that make a difference to libbpf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SectionKind {
    Bits,
    NoBits,
    Symbols,
    Relocations,
    Other,
}

/// An entry of a relocation section without addends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relocation {
    pub offset: u64,
    pub symbol: usize,
}

/// A symbol; its index is that of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Symbol<'o> {
    pub name: &'o [u8],
    pub value: u64,
    pub size: u64,
    pub section: Place,
    pub kind: SymbolKind,
    pub local: bool,
    pub weak: bool,
    /// STV_HIDDEN or STV_INTERNAL.
    pub hidden: bool,
}

/// Where a symbol is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere in this file.
    Undefined,
    /// In a section of this index.
    Section(usize),
    /// Absolute, common and the like.
    Special,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SymbolKind {
    None,
    Object,
    Function,
    Section,
    Other,
}

impl<'o> Elf<'o> {
    pub(crate) fn parse(bytes: &'o [u8]) -> Result<Elf<'o>, ObjectError> {
        let file = ElfFile64::<Endianness>::parse(bytes).map_err(broken)?;
        let endian = file.endian();
        let table = file.elf_section_table();
        let mut elf =
            Elf { sections: Vec::with_capacity(table.len()), symbols: Vec::new(), symbol_tables: 0 };
        let mut executables = 0..;
        for header in table.iter() {
            let kind = kind_of(header.sh_type(endian));
            let executable = header.sh_flags(endian).contains(elf::SHF_EXECINSTR);
            let mut section = Section {
                name: table.section_name(endian, header).map_err(broken)?,
                kind,
                executable,
                size: header.sh_size(endian),
                data: header.data(endian, bytes).map_err(broken)?,
                file_offset: header.sh_offset(endian) as usize,
                code: None,
                target: header.sh_info(endian) as usize,
                relocations: Vec::new(),
            };
            // The first section is the null one, which `BpfObject` does not see either.
            if executable && !elf.sections.is_empty() {
                section.code = executables.next();
            }
            let relocates_code =
                !section.name.starts_with(b".rel.debug_") && !section.name.starts_with(b".rel.BTF");
            if let Some((entries, _)) = header.rel(endian, bytes).map_err(broken)?.filter(|_| relocates_code)
            {
                let relocation = |rel: &elf::Rel64<Endianness>| Relocation {
                    offset: rel.r_offset(endian),
                    symbol: rel.r_sym(endian) as usize,
                };
                section.relocations = entries.iter().map(relocation).collect();
            }
            elf.symbol_tables += usize::from(kind == SectionKind::Symbols);
            elf.sections.push(section);
        }
        elf.symbols = read_symbols(&file)?;
        Ok(elf)
    }

    /// The first section of a name.
    pub(crate) fn find_section(&self, name: &[u8]) -> Option<usize> {
        self.sections.iter().position(|section| section.name == name)
    }

    /// The name that libbpf gives a symbol in its messages: a section's symbol is called after the section.
    pub(crate) fn symbol_name(&self, symbol: &Symbol<'_>) -> String {
        let name = match symbol.section {
            Place::Section(index) if symbol.kind == SymbolKind::Section && symbol.name.is_empty() => {
                self.sections.get(index).map_or(&b""[..], |section| section.name)
            }
            _own_name => symbol.name,
        };
        String::from_utf8_lossy(name).into_owned()
    }
}

impl Symbol<'_> {
    /// A symbol that somebody else must define (libbpf: `sym_is_extern`).
    pub(crate) fn is_extern(&self) -> bool {
        self.section == Place::Undefined && !self.local && self.kind == SymbolKind::None
    }
}

fn read_symbols<'o>(file: &ElfFile64<'o, Endianness>) -> Result<Vec<Symbol<'o>>, ObjectError> {
    let endian = file.endian();
    let table = file.elf_symbol_table();
    let mut symbols = Vec::with_capacity(table.len());
    for (index, symbol) in table.symbols().iter().enumerate() {
        let section = symbol.st_shndx(endian);
        let place = if section == elf::SHN_UNDEF {
            Place::Undefined
        } else {
            match table.symbol_section(endian, symbol, SymbolIndex(index)).map_err(broken)? {
                Some(index) => Place::Section(index.0),
                None => Place::Special,
            }
        };
        let visibility = symbol.st_visibility();
        symbols.push(Symbol {
            name: table.symbol_name(endian, symbol).map_err(broken)?,
            value: symbol.st_value(endian),
            size: symbol.st_size(endian),
            section: place,
            kind: symbol_kind(symbol.st_type()),
            local: symbol.st_bind() == elf::STB_LOCAL,
            weak: symbol.st_bind() == elf::STB_WEAK,
            hidden: visibility == elf::STV_HIDDEN || visibility == elf::STV_INTERNAL,
        });
    }
    Ok(symbols)
}

fn kind_of(kind: elf::SectionType) -> SectionKind {
    match kind {
        elf::SHT_PROGBITS => SectionKind::Bits,
        elf::SHT_NOBITS => SectionKind::NoBits,
        elf::SHT_SYMTAB => SectionKind::Symbols,
        elf::SHT_REL => SectionKind::Relocations,
        _other => SectionKind::Other,
    }
}

fn symbol_kind(kind: elf::SymbolType) -> SymbolKind {
    match kind {
        elf::STT_NOTYPE => SymbolKind::None,
        elf::STT_OBJECT => SymbolKind::Object,
        elf::STT_FUNC => SymbolKind::Function,
        elf::STT_SECTION => SymbolKind::Section,
        _other => SymbolKind::Other,
    }
}

fn broken(error: object::Error) -> ObjectError {
    ObjectError::Elf(error.to_string())
}
