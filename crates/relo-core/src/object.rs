//! A BPF object: opened once, relocated against as many targets as there are.

use std::borrow::Cow;
use std::sync::Arc;

use btf::{Btf, BtfExt, ByteOrder, CoreRelo, PointerSize};
use object::{Architecture, Endianness, Object, ObjectSection, ObjectSymbol, SectionFlags, SymbolKind, elf};

use crate::patch::{self, Patched};
use crate::question::Questions;
use crate::{INSN_LEN, ObjectError};

/// BPF objects are 64-bit files of either byte order, whatever the kernel's pointers are.
type ElfFile<'f> = object::read::elf::ElfFile64<'f>;

/// A BPF object file.
#[derive(Debug, Clone)]
pub struct BpfObject {
    name: String,
    order: ByteOrder,
    btf: Btf<'static>,
    sections: Vec<Section>,
    programs: Vec<Program>,
    /// Shared, so that they are told from those of other objects by where they stand.
    relos: Arc<[ObjectRelo]>,
    questions: Questions,
    /// Whether a relocation may see what another has done to its instruction.
    relos_overlap: bool,
}

/// A section with instructions.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub name: String,
    pub code: Cow<'static, [u8]>,
}

/// A program or subprogram: a function symbol of an executable section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The symbol's name.
    pub name: String,
    /// Index of its section.
    pub(crate) section: usize,
    /// First byte within the section.
    pub(crate) start: u64,
    /// Size in bytes.
    pub(crate) size: u64,
}

/// A relocation and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRelo {
    /// As it stands in .BTF.ext.
    pub relo: CoreRelo,
    /// Index of its section.
    pub(crate) section: usize,
    /// Index of the program that covers the instruction. None for what is left of an eliminated weak function:
    /// libbpf skips such a relocation.
    pub(crate) program: Option<usize>,
    /// Index of what it asks; relocations that ask the same share it.
    pub(crate) question: usize,
    /// Its instruction; None where there is none.
    pub(crate) insn: Option<Patched>,
}

impl BpfObject {
    /// Opens an object; `name` is what records and messages call it. What is needed of the bytes is copied.
    pub fn parse(name: impl Into<String>, data: &[u8]) -> Result<BpfObject, ObjectError> {
        Self::read(name.into(), data, |part| Cow::Owned(part.to_vec()))
    }

    /// The same without a copy, for bytes that stay where they are as long as the program runs.
    pub fn parse_static(name: impl Into<String>, data: &'static [u8]) -> Result<BpfObject, ObjectError> {
        Self::read(name.into(), data, Cow::Borrowed)
    }

    fn read<'f>(
        name: String,
        data: &'f [u8],
        keep: impl Fn(&'f [u8]) -> Cow<'static, [u8]>,
    ) -> Result<BpfObject, ObjectError> {
        let file = ElfFile::parse(data).map_err(broken)?;
        check_machine(&file, data)?;
        let order = match file.endianness() {
            Endianness::Little => ByteOrder::Little,
            Endianness::Big => ByteOrder::Big,
        };
        let btf = section_data(&file, ".BTF")?.ok_or(ObjectError::NoBtf)?;
        let btf = Btf::parse(keep(btf)).map_err(|error| ObjectError::Btf { section: ".BTF", error })?;
        let ext = match section_data(&file, ".BTF.ext")? {
            Some(data) => {
                BtfExt::parse(data).map_err(|error| ObjectError::Btf { section: ".BTF.ext", error })?
            }
            None => BtfExt { sections: Vec::new() },
        };
        let (sections, programs) = read_code(&file, keep)?;
        // libbpf's loader takes 8 bytes for every BPF object, whatever its BTF says of `long`.
        let btf = btf.with_pointer_size(PointerSize::Eight);
        let relos = ext.sections.iter().flat_map(|part| part.relos.iter().copied());
        let (questions, asked) = Questions::read(&btf, order, relos);
        let mut object = BpfObject {
            name,
            order,
            btf,
            sections,
            programs,
            relos: Arc::new([]),
            questions,
            relos_overlap: false,
        };
        object.relos = object.place_relos(&ext, &asked)?.into();
        object.relos_overlap = overlap(&object.relos);
        Ok(object)
    }

    /// The name that it was opened with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The byte order of the ELF file.
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// The object's own types.
    pub fn btf(&self) -> &Btf<'static> {
        &self.btf
    }

    /// The programs and subprograms, in the order of their symbols.
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// The CO-RE relocations, in file order.
    pub fn relos(&self) -> &[ObjectRelo] {
        &self.relos
    }

    pub(crate) fn shared_relos(&self) -> &Arc<[ObjectRelo]> {
        &self.relos
    }

    /// The section of a relocation.
    pub fn section_of(&self, relo: &ObjectRelo) -> &str {
        &self.sections[relo.section].name
    }

    /// The program of a relocation; None for the remains of an eliminated weak function.
    pub fn program_of(&self, relo: &ObjectRelo) -> Option<&Program> {
        relo.program.map(|index| &self.programs[index])
    }

    /// The section of a program of this object.
    pub fn section_of_program(&self, program: &Program) -> &str {
        &self.sections[program.section].name
    }

    /// Index of a relocation's instruction: within its program, or within its section where no program covers it.
    pub fn insn_of(&self, relo: &ObjectRelo) -> u64 {
        let start = self.program_of(relo).map_or(0, |program| program.start);
        (u64::from(relo.relo.insn_off) - start) / INSN_LEN as u64
    }

    /// The executable sections with their instructions, in the order of the file.
    pub(crate) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// What its relocations ask.
    pub(crate) fn questions(&self) -> &Questions {
        &self.questions
    }

    /// Whether a relocation may see what another has done to its instruction.
    pub(crate) fn relos_overlap(&self) -> bool {
        self.relos_overlap
    }

    fn place_relos(&self, ext: &BtfExt, asked: &[usize]) -> Result<Vec<ObjectRelo>, ObjectError> {
        let mut relos = Vec::with_capacity(asked.len());
        for part in &ext.sections {
            let name = self
                .btf
                .string(part.name)
                .map_err(|error| ObjectError::Btf { section: ".BTF.ext", error })?;
            let section = self.sections.iter().position(|section| section.name.as_bytes() == name);
            let Some(section) = section else {
                return Err(ObjectError::NoSuchSection(String::from_utf8_lossy(name).into_owned()));
            };
            for &relo in &part.relos {
                let program = self.programs.iter().position(|program| program.covers(section, relo.insn_off));
                let insn = patch::read_at(&self.sections[section].code, relo.insn_off, self.order);
                relos.push(ObjectRelo { relo, section, program, question: asked[relos.len()], insn });
            }
        }
        Ok(relos)
    }
}

/// Whether two relocations stand so near that one may change the other's instruction.
fn overlap(relos: &[ObjectRelo]) -> bool {
    let mut places: Vec<(usize, u32)> = relos.iter().map(|relo| (relo.section, relo.relo.insn_off)).collect();
    places.sort_unstable();
    // The longest instruction has two halves.
    let near = |pair: &[(usize, u32)]| pair[0].0 == pair[1].0 && pair[1].1 - pair[0].1 < 2 * INSN_LEN as u32;
    let wide = |place: &(usize, u32)| {
        relos.iter().any(|relo| {
            (relo.section, relo.relo.insn_off) == *place && relo.insn.is_none_or(|insn| insn.len > 1)
        })
    };
    places.windows(2).any(|pair| near(pair) && (pair[0] == pair[1] || wide(&pair[0])))
}

impl Program {
    fn covers(&self, section: usize, insn_off: u32) -> bool {
        let at = u64::from(insn_off);
        self.section == section && self.start <= at && at - self.start < self.size
    }

    /// The number of instructions.
    pub fn insn_count(&self) -> u64 {
        self.size / INSN_LEN as u64
    }
}

/// BPF, or no machine at all, as libbpf accepts it.
fn check_machine(file: &ElfFile<'_>, data: &[u8]) -> Result<(), ObjectError> {
    let bytes = data.get(18..20).map_or([0, 0], |bytes| [bytes[0], bytes[1]]);
    let machine = match file.endianness() {
        Endianness::Little => u16::from_le_bytes(bytes),
        Endianness::Big => u16::from_be_bytes(bytes),
    };
    if file.architecture() == Architecture::Bpf || machine == 0 {
        Ok(())
    } else {
        Err(ObjectError::NotBpf(machine))
    }
}

fn section_data<'f>(file: &ElfFile<'f>, name: &str) -> Result<Option<&'f [u8]>, ObjectError> {
    match file.section_by_name(name) {
        Some(section) => section.data().map(Some).map_err(broken),
        None => Ok(None),
    }
}

fn read_code<'f>(
    file: &ElfFile<'f>,
    keep: impl Fn(&'f [u8]) -> Cow<'static, [u8]>,
) -> Result<(Vec<Section>, Vec<Program>), ObjectError> {
    let mut sections = Vec::new();
    // For each section of the file its place among those with code.
    let mut places = vec![None; file.elf_section_table().len()];
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
        if sh_flags.contains(elf::SHF_EXECINSTR) {
            places[section.index().0] = Some(sections.len());
            let name = section.name().map_err(broken)?.to_owned();
            sections.push(Section { name, code: keep(section.data().map_err(broken)?) });
        }
    }
    let mut programs = Vec::new();
    // Most symbols are the labels of jumps.
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        let place = symbol.section_index().and_then(|index| places.get(index.0).copied().flatten());
        let Some(section) = place else { continue };
        let name = symbol.name().map_err(broken)?.to_owned();
        let (start, size) = (symbol.address(), symbol.size());
        if start.checked_add(size).is_none_or(|end| end > sections[section].code.len() as u64) {
            return Err(ObjectError::ProgramOutside(name));
        }
        programs.push(Program { name, section, start, size });
    }
    programs.sort_by_key(|program| program.section);
    Ok((sections, programs))
}

fn broken(error: object::Error) -> ObjectError {
    ObjectError::Elf(error.to_string())
}
