//! Each program: put together, filled in, its attach target looked up, its poisoned places judged.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::attach::{Attach, Found, Lookup};
use super::code::{Assembler, Code, Placed};
use super::environment::Verifier;
use super::kallsyms::Kallsyms;
use super::kernel_struct::KernelStruct;
use super::kernel_types::KernelTypes;
use super::reach::{Content, Image, analyze};
use super::references::{Filler, References};
use super::resolve::Resolution;
use super::status::{Doubt, Poison, PoisonedInsn, Reach, Status};
use super::{Environment, PreparedProgram, exception};
use crate::open::{AttachKind, Function, MapKind, OpenObject, ProgramType, Refusal};
use crate::record::{Outcome, RecordedRelo};
use crate::{INSN_LEN, Insn};

/// Instructions of all programs together that are put together: what real objects stay far below.
const MAX_TOTAL: usize = 4_000_000;

/// Steps of the analysis of reachable code, over all programs of an object.
pub(crate) const PATIENCE: usize = 20_000_000;

/// What all programs of an object share.
pub(crate) struct Programs<'p, 'k> {
    pub open: &'p OpenObject<'p>,
    pub environment: &'p Environment<'p>,
    pub types: Option<&'p KernelTypes<'k>>,
    pub kallsyms: Option<&'p Kallsyms<'k>>,
    pub relocations: &'p [RecordedRelo],
    pub externs: &'p [Resolution],
    pub kconfig: &'p [u8],
    pub struct_ops: &'p [KernelStruct],
    pub refusals: &'p [Refusal],
    pub code: &'p [Vec<u8>],
    /// Whether no argument of a global function has a tag.
    pub plain_arguments: bool,
    /// Steps of the analysis that are left.
    pub patience: Cell<usize>,
}

impl Programs<'_, '_> {
    /// All entry programs.
    pub(crate) fn prepare(&self) -> Vec<PreparedProgram> {
        let by_function = self.relocations_by_function();
        let with_callbacks = exception::any(self.open.object().btf());
        let mut placed = Placed::default();
        let mut total = 0;
        let mut programs = Vec::new();
        let entries = self.open.functions().iter().enumerate();
        for (index, function) in entries.filter(|(_, function)| function.entry) {
            let mut program = PreparedProgram {
                function: index,
                name: function.name.clone(),
                insns: Vec::new(),
                parts: Vec::new(),
                jump_tables: Vec::new(),
                attach: self.attach(index, function),
                poisoned: Vec::new(),
                status: Status::WouldLoad,
                relocations: BTreeMap::new(),
                targets: BTreeMap::new(),
            };
            let doubt = if total > MAX_TOTAL {
                Some(Status::Unknown(Doubt::TooLarge))
            } else {
                let callback =
                    if with_callbacks { exception::callback(self.open, &function.name) } else { Ok(None) };
                callback
                    .and_then(|callback| self.build(index, callback, &by_function, &mut placed, &mut program))
                    .err()
                    .map(Status::Refused)
            };
            total += program.insns.len();
            program.status = self.status(function, &program, doubt);
            programs.push(program);
        }
        programs
    }

    /// The program's code, and what the verifier would find in it.
    fn build(
        &self,
        index: usize,
        callback: Option<usize>,
        by_function: &[Vec<usize>],
        placed: &mut Placed,
        program: &mut PreparedProgram,
    ) -> Result<(), Refusal> {
        let assembler = Assembler { open: self.open, sections: self.code, exception_callback: callback };
        let mut code = assembler.assemble(index, placed)?;
        let relocations = self.place_relocations(&code, by_function);
        let core_error = relocations.values().flatten().find_map(|&relo| self.core_error(relo));
        let mut references = self.filler().fill(&mut code)?;
        for (&insn, relos) in &relocations {
            let poisoned = |&&relo: &&usize| self.relocations[relo].outcome == Outcome::Poisoned;
            if let Some(&relo) = relos.iter().find(poisoned) {
                references.poisons.insert(insn, Poison::Relocation(self.relocations[relo].index));
            }
        }
        let callback =
            callback.and_then(|callback| code.parts.iter().position(|part| part.function == callback));
        program.poisoned = self.judge(index, &code, callback, &references);
        program.relocations = relocations;
        program.targets = references.targets;
        program.insns = code.insns;
        program.parts = code.parts;
        program.jump_tables = references.jump_tables;
        match core_error {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    fn filler(&self) -> Filler<'_, '_> {
        Filler { open: self.open, resolutions: self.externs, types: self.types }
    }

    /// Indexes of relocations by the function that they stand in.
    fn relocations_by_function(&self) -> Vec<Vec<usize>> {
        let mut by_function = vec![Vec::new(); self.open.functions().len()];
        for (position, record) in self.relocations.iter().enumerate() {
            if let Some(function) = self.function_of(record) {
                by_function[function].push(position);
            }
        }
        by_function
    }

    /// The function that a relocation stands in.
    fn function_of(&self, record: &RecordedRelo) -> Option<usize> {
        let program = self.open.object().relos()[record.index].program?;
        self.open.function_table().of_program[program]
    }

    /// Relocations by the instruction of the program that they change.
    fn place_relocations(&self, code: &Code, by_function: &[Vec<usize>]) -> BTreeMap<usize, Vec<usize>> {
        let mut placed: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for part in &code.parts {
            let first = self.open.functions()[part.function].first;
            for &position in &by_function[part.function] {
                let relo = &self.open.object().relos()[self.relocations[position].index];
                let insn = (relo.relo.insn_off as usize / INSN_LEN).checked_sub(first);
                if let Some(insn) = insn.filter(|&insn| insn < part.len) {
                    placed.entry(part.start + insn).or_default().push(position);
                }
            }
        }
        placed
    }

    fn core_error(&self, position: usize) -> Option<Refusal> {
        let record = &self.relocations[position];
        match &record.outcome {
            Outcome::Error(error) => Some(Refusal::Core { relo: record.index, error: error.clone() }),
            Outcome::Relocated | Outcome::Absent | Outcome::Poisoned => None,
        }
    }

    /// Whether the verifier gets to the poisoned instructions, with `.rodata` as in the file and with any other.
    fn judge(
        &self,
        index: usize,
        code: &Code,
        exception_callback: Option<usize>,
        references: &References,
    ) -> Vec<PoisonedInsn> {
        if references.poisons.is_empty() {
            return Vec::new();
        }
        let functions = self.open.functions();
        let global: Vec<bool> = code.parts.iter().map(|part| functions[part.function].global).collect();
        let program_type = functions[index].def.map(|def| def.program_type);
        let with_rodata = |map, offset, size| self.map_content(map, offset, size, true);
        let without = |map, offset, size| self.map_content(map, offset, size, false);
        let image = |content| Image {
            insns: &code.insns,
            parts: &code.parts,
            global: &global,
            exception_callback,
            references,
            verifier: Verifier::of(self.environment.kernel_version),
            typed_context: program_type.is_none_or(ProgramType::has_typed_context),
            bounded_context: program_type == Some(ProgramType::Lsm),
            plain_arguments: self.plain_arguments,
            maps: self.open.maps(),
            patience: &self.patience,
            content,
        };
        let whatever = analyze(&image(&without));
        let has_rodata = self.open.maps().iter().any(|map| map.kind == MapKind::Rodata);
        let as_in_file = if has_rodata { analyze(&image(&with_rodata)) } else { whatever.clone() };
        let poisoned = |(insn, reach): (usize, Reach)| PoisonedInsn {
            insn,
            poison: references.poisons[&insn],
            reach: match reach {
                Reach::Never if whatever.get(&insn) != Some(&Reach::Never) => Reach::NeverByRodata,
                reach => reach,
            },
        };
        as_in_file.into_iter().map(poisoned).collect()
    }

    /// Some bytes of a map, as the verifier reads them when it checks the program.
    fn map_content(&self, map: u32, offset: u64, size: u32, rodata: bool) -> Content {
        let Some(map) = self.open.maps().get(map as usize) else {
            return Content::Fixed;
        };
        let content = match map.kind {
            MapKind::Rodata if rodata => self.open.content(map),
            MapKind::Kconfig if self.is_known(offset, size) => self.kconfig,
            MapKind::Rodata | MapKind::Kconfig => return Content::Fixed,
            _changes => return Content::Changes,
        };
        let range =
            usize::try_from(offset).ok().and_then(|start| Some(start..start.checked_add(size as usize)?));
        let Some(bytes) = range.and_then(|range| content.get(range)) else {
            return Content::Fixed;
        };
        let fold = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
        Content::Is(match self.open.object().order() {
            btf::ByteOrder::Little => bytes.iter().rev().fold(0, fold),
            btf::ByteOrder::Big => bytes.iter().fold(0, fold),
        })
    }

    /// Whether nothing of a place in `.kconfig` is a value that was not given.
    fn is_known(&self, offset: u64, size: u32) -> bool {
        let end = offset.saturating_add(u64::from(size));
        let mut values = self.open.externs().iter().zip(self.externs);
        values.all(|(external, resolution)| match external.kconfig() {
            Some(var) => {
                let apart = var.offset >= end || var.offset + u64::from(var.size) <= offset;
                apart || !matches!(resolution, Resolution::Unknown(_) | Resolution::Refused)
            }
            None => true,
        })
    }

    /// What the program is attached to.
    fn attach(&self, index: usize, function: &Function) -> Option<Attach> {
        if function.def.map(|def| def.attach) == Some(AttachKind::StructOps) {
            return self.struct_ops_member(index);
        }
        let lookup = Lookup { types: self.types, kallsyms: self.kallsyms, mode: self.environment.mode };
        lookup.attach(function)
    }

    /// The member of a kernel struct that the program stands for.
    fn struct_ops_member(&self, index: usize) -> Option<Attach> {
        let holds = |kernel: &&KernelStruct| kernel.members.contains_key(&index);
        let kernel = self.struct_ops.iter().find(holds)?;
        let types = self.types?;
        let ty = types.btf(kernel.value_type).resolve(kernel.ty.id).ok()?;
        let member = ty.member(kernel.members[&index]).ok()?;
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        Some(Attach {
            wanted: format!("struct {}.{}", text(ty.name().ok()?), text(ty.string(member.name).ok()?)),
            at_load: true,
            found: Found::Type(kernel.ty),
        })
    }

    /// What single programs make libbpf refuse the object for.
    pub(crate) fn object_refusals(&self) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for index in 0..self.open.functions().len() {
            refusals.extend(self.open.relos_of(index).refusal.clone());
        }
        for (position, record) in self.relocations.iter().enumerate() {
            let function = self.function_of(record);
            if function.is_some_and(|function| self.open.functions()[function].autoload) {
                refusals.extend(self.core_error(position));
            }
        }
        refusals
    }

    /// The sections with references filled in function by function.
    pub(crate) fn filled_sections(&self) -> Vec<Vec<u8>> {
        let mut filled = self.code.to_vec();
        let order = self.open.object().order();
        for (index, function) in self.open.functions().iter().enumerate() {
            let range = function.first * INSN_LEN..(function.first + function.count) * INSN_LEN;
            let relos = &self.open.relos_of(index).list;
            let Some(bytes) = filled[function.code].get_mut(range).filter(|_| !relos.is_empty()) else {
                continue;
            };
            let mut code = Code {
                insns: bytes
                    .as_chunks::<INSN_LEN>()
                    .0
                    .iter()
                    .map(|&insn| Insn::decode(insn, order))
                    .collect(),
                relos: relos.iter().map(|relo| (relo.insn, relo.target)).collect(),
                parts: vec![super::Part {
                    name: function.name.clone(),
                    function: index,
                    start: 0,
                    len: function.count,
                }],
            };
            if self.filler().fill(&mut code).is_ok() {
                for (place, insn) in bytes.as_chunks_mut::<INSN_LEN>().0.iter_mut().zip(&code.insns) {
                    *place = insn.encode(order);
                }
            }
        }
        filled
    }
}
