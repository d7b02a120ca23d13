//! ELF relocations of instructions: maps, variables, externs, calls.

use super::elf::{Elf, Place, SectionKind, Symbol, SymbolKind};
use super::external::Extern;
use super::function::Functions;
use super::map::{ARENA, Map, MapKind};
use super::{Refusal, map_table};
use crate::{BpfObject, INSN_LEN, Insn};

/// What the relocations of one function come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct FunctionRelos {
    /// Sorted by instruction.
    pub list: Vec<ElfRelo>,
    /// The first that is wrong.
    pub refusal: Option<Refusal>,
}

/// A relocation of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ElfRelo {
    /// The instruction, counted within its function.
    pub insn: usize,
    pub target: ReloTarget,
}

/// What an instruction refers to (libbpf: `enum reloc_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReloTarget {
    /// A map.
    Map(usize),
    /// A place in the value of a map.
    Data { map: usize, offset: u64 },
    /// The address of an extern.
    Extern(usize),
    /// A call of an extern function.
    ExternCall(usize),
    /// A call of a subprogram: offset in bytes of the symbol in `.text`.
    Call(u64),
    /// The address of a subprogram.
    FunctionAddress(u64),
    /// A jump table: offset and size in bytes in `.jumptables`.
    JumpTable { offset: u64, size: u64 },
}

/// Reads the relocations of all functions (libbpf: `bpf_object__collect_prog_relos`).
pub(crate) fn read(
    object: &BpfObject,
    elf: &Elf<'_>,
    functions: &Functions,
    maps: &[Map],
    externs: &[Extern],
    refusals: &mut Vec<Refusal>,
) -> Vec<FunctionRelos> {
    let mut relos = vec![FunctionRelos::default(); functions.list.len()];
    for section in &elf.sections {
        let target = elf.sections.get(section.target);
        let code = target.and_then(|target| target.code);
        let (SectionKind::Relocations, Some(code)) = (section.kind, code) else {
            continue;
        };
        let name = String::from_utf8_lossy(section.name);
        for relocation in &section.relocations {
            let bytes = &object.sections()[code].code;
            let at = usize::try_from(relocation.offset).unwrap_or(usize::MAX);
            let Some(symbol) = elf.symbols.get(relocation.symbol) else {
                refusals.push(Refusal::section(&*name, "symbol not found for relo"));
                continue;
            };
            if !at.is_multiple_of(INSN_LEN) || at >= bytes.len() {
                let problem = format!("invalid offset {at:#x} for relo");
                refusals.push(Refusal::section(&*name, problem));
                continue;
            }
            // What is left of an eliminated weak function belongs to nobody.
            let Some(function) = functions.find(code, at / INSN_LEN) else {
                continue;
            };
            let insn = at / INSN_LEN - functions.list[function].first;
            let left = functions.list[function].count - insn;
            let recorder = Recorder { elf, maps, externs, functions };
            let target = decode(bytes, at, left, object)
                .and_then(|pair| recorder.target(pair, relocation.symbol, symbol));
            let of_function = &mut relos[function];
            match target {
                Ok(target) => of_function.list.push(ElfRelo { insn, target }),
                Err(problem) if of_function.refusal.is_none() => {
                    of_function.refusal =
                        Some(Refusal::Relocation { symbol: elf.symbol_name(symbol), insn, problem });
                }
                Err(_later) => {}
            }
        }
    }
    for of_function in &mut relos {
        of_function.list.sort_by_key(|relo| relo.insn);
    }
    relos
}

/// The instruction, if it is one that can refer to something: a call, or a 64-bit immediate load with its second half.
fn decode(bytes: &[u8], at: usize, left: usize, object: &BpfObject) -> Result<Insn, String> {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<INSN_LEN>());
    let insn = bytes.map(|bytes| Insn::decode(*bytes, object.order()));
    let insn = insn.ok_or("the section ends within the instruction")?;
    if insn.is_ldimm64() {
        // libbpf writes behind the end of the program here.
        if left < 2 {
            return Err("the second half of the instruction is missing".to_owned());
        }
    } else if !insn.is_call() {
        return Err(format!("invalid relo for insn code {:#x}", insn.code));
    }
    Ok(insn)
}

struct Recorder<'r, 'o> {
    elf: &'r Elf<'o>,
    maps: &'r [Map],
    externs: &'r [Extern],
    functions: &'r Functions,
}

impl Recorder<'_, '_> {
    /// What a symbol stands for (libbpf: `bpf_program__record_reloc`).
    fn target(&self, insn: Insn, index: usize, symbol: &Symbol<'_>) -> Result<ReloTarget, String> {
        if symbol.is_extern() {
            let found = self.externs.iter().position(|external| external.symbol == index);
            let external = found.ok_or("extern relo failed to find extern")?;
            return Ok(if insn.is_call() {
                ReloTarget::ExternCall(external)
            } else {
                ReloTarget::Extern(external)
            });
        }
        if insn.is_call() {
            return self.call(insn, symbol);
        }
        let Place::Section(section) = symbol.section else {
            return Err("invalid relo in special section; forgot to initialize global var?".to_owned());
        };
        if self.is_subprogram(symbol, section) {
            let aligned = symbol.value.is_multiple_of(INSN_LEN as u64) && insn.imm % INSN_LEN as i32 == 0;
            if !aligned {
                return Err(format!("bad subprog addr relo at offset {}+{}", symbol.value, insn.imm));
            }
            return Ok(ReloTarget::FunctionAddress(symbol.value));
        }
        self.data(section, symbol)
    }

    fn call(&self, insn: Insn, symbol: &Symbol<'_>) -> Result<ReloTarget, String> {
        if insn.src != Insn::PSEUDO_CALL {
            return Err("incorrect bpf_call opcode".to_owned());
        }
        let in_text = match symbol.section {
            Place::Section(section) => self.is_text(section),
            Place::Undefined | Place::Special => false,
        };
        if !in_text {
            return Err("bad call relo: subprograms must be in .text".to_owned());
        }
        if !symbol.value.is_multiple_of(INSN_LEN as u64) {
            return Err(format!("bad call relo at offset {}", symbol.value));
        }
        Ok(ReloTarget::Call(symbol.value))
    }

    fn is_text(&self, section: usize) -> bool {
        let code = self.elf.sections.get(section).and_then(|section| section.code);
        code.is_some() && code == self.functions.text
    }

    /// libbpf: `sym_is_subprog`.
    fn is_subprogram(&self, symbol: &Symbol<'_>, section: usize) -> bool {
        let kind = if symbol.local { SymbolKind::Section } else { SymbolKind::Function };
        self.is_text(section) && symbol.kind == kind
    }

    fn data(&self, section: usize, symbol: &Symbol<'_>) -> Result<ReloTarget, String> {
        let header = self.elf.sections.get(section).ok_or("symbol pointing to an invalid section")?;
        let offset = symbol.value;
        match header.name {
            b".addr_space.1" => {
                let arena = self.maps.iter().position(|map| map.def.map_type == ARENA);
                let map = arena.ok_or("bad arena data relocation, no arena maps defined")?;
                return Ok(ReloTarget::Data { map, offset });
            }
            b".jumptables" => {
                return Ok(ReloTarget::JumpTable { offset, size: symbol.size });
            }
            _other => {}
        }
        let name = String::from_utf8_lossy(header.name);
        let here = |map: &Map| map.elf_section == section;
        if map_table::variables_kind(header).is_some() {
            let found = self.maps.iter().position(|map| map.kind.is_variables() && here(map));
            let map = found.ok_or_else(|| format!("data relo failed to find map for section '{name}'"))?;
            return Ok(ReloTarget::Data { map, offset });
        }
        if !matches!(header.name, b".maps" | b"maps") {
            return Err(format!("bad map relo in section '{name}'"));
        }
        let is_map = |map: &Map| {
            matches!(map.kind, MapKind::Defined | MapKind::Legacy) && here(map) && map.offset == offset
        };
        match self.maps.iter().position(is_map) {
            Some(map) => Ok(ReloTarget::Map(map)),
            None => Err(format!("map relo failed to find map for section '{name}', off {offset}")),
        }
    }
}
