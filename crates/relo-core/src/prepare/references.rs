//! References filled in: maps by their index, kconfig values, kernel symbols, kfuncs.

use std::collections::{BTreeMap, BTreeSet};

use btf::Kind;

use super::code::Code;
use super::kernel_types::KernelTypes;
use super::opcode::{POISON_KFUNC, POISON_MAP};
use super::resolve::Resolution;
use super::status::Poison;
use crate::open::{ExternKind, MapKind, OpenObject, ReloTarget};
use crate::{Candidate, Insn, Refusal};

/// What the instructions of a program refer to, as far as its bytes don't say it.
#[derive(Debug, Clone, Default)]
pub(crate) struct References {
    /// Instructions that became invalid calls.
    pub poisons: BTreeMap<usize, Poison>,
    /// Calls behind which nothing is executed: `bpf_throw`.
    pub throws: BTreeSet<usize>,
    /// 64-bit immediate loads whose value is not known.
    pub unknown: BTreeSet<usize>,
    /// Loads of addresses of kernel symbols that the verifier takes for memory, not for a struct.
    pub memory: BTreeSet<usize>,
    /// Relocations by their instruction, for comments.
    pub targets: BTreeMap<usize, ReloTarget>,
    /// Jump tables, in the order of their first use.
    pub jump_tables: Vec<JumpTable>,
}

/// A jump table of a program: libbpf makes a map of it when it loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JumpTable {
    /// Offset in bytes in `.jumptables`.
    pub offset: u64,
    /// Instructions of the program that it leads to.
    pub targets: Vec<usize>,
}

/// Fills references in (libbpf: `bpf_object__relocate_data`).
pub(crate) struct Filler<'f, 'k> {
    pub open: &'f OpenObject<'f>,
    pub resolutions: &'f [Resolution],
    pub types: Option<&'f KernelTypes<'k>>,
}

impl Filler<'_, '_> {
    /// Changes the instructions, and says what they mean.
    pub(crate) fn fill(&self, code: &mut Code) -> Result<References, Refusal> {
        let mut references = References::default();
        for index in 0..code.relos.len() {
            let (at, target) = code.relos[index];
            references.targets.insert(at, target);
            match target {
                ReloTarget::Map(map) => self.map(code, at, map, None, &mut references),
                ReloTarget::Data { map, offset } => self.map(code, at, map, Some(offset), &mut references),
                ReloTarget::Extern(external) => self.extern_load(code, at, external, &mut references),
                ReloTarget::ExternCall(external) => self.extern_call(code, at, external, &mut references),
                ReloTarget::JumpTable { offset, size } => {
                    self.jump_table(code, at, (offset, size), &mut references)?;
                }
                // The code was put together by these.
                ReloTarget::Call(_) | ReloTarget::FunctionAddress(_) => {}
            }
        }
        Ok(references)
    }

    fn map(&self, code: &mut Code, at: usize, map: usize, data: Option<u64>, references: &mut References) {
        let insns = &mut code.insns;
        if let Some(offset) = data {
            // The immediate of the file is an offset from the symbol.
            insns[at + 1].imm = insns[at].imm.wrapping_add(offset as i32);
        }
        if self.open.maps()[map].autocreate {
            insns[at].src = match data {
                Some(_) => Insn::PSEUDO_MAP_IDX_VALUE,
                None => Insn::PSEUDO_MAP_IDX,
            };
            insns[at].imm = map as i32;
        } else {
            let poison = call(POISON_MAP.wrapping_add(map as i32));
            insns[at] = poison;
            insns[at + 1] = poison;
            references.poisons.insert(at, Poison::Map(map));
        }
    }

    fn extern_load(&self, code: &mut Code, at: usize, external: usize, references: &mut References) {
        let [first, second] = [at, at + 1];
        let insns = &mut code.insns;
        if let ExternKind::Kconfig(var) = &self.open.externs()[external].kind {
            let is_kconfig = |map: &crate::open::Map| map.kind == MapKind::Kconfig;
            let map = self.open.maps().iter().position(is_kconfig).unwrap_or(0);
            insns[first].src = Insn::PSEUDO_MAP_IDX_VALUE;
            insns[first].imm = map as i32;
            insns[second].imm = var.offset as i32;
            return;
        }
        let (low, high) = match &self.resolutions[external] {
            Resolution::Type { place, percpu } => {
                insns[first].src = Insn::PSEUDO_BTF_ID;
                if !percpu && self.is_memory(*place) {
                    references.memory.insert(at);
                }
                // The index of the BTF takes the place of a module's fd: 0 is vmlinux.
                (place.id.0 as i32, place.btf as i32)
            }
            Resolution::Address(address) => (*address as i32, (*address >> 32) as i32),
            Resolution::Missing | Resolution::Refused | Resolution::Value(_) => (0, 0),
            Resolution::Unknown(_) => {
                references.unknown.insert(at);
                (0, 0)
            }
        };
        insns[first].imm = low;
        insns[second].imm = high;
    }

    fn extern_call(&self, code: &mut Code, at: usize, external: usize, references: &mut References) {
        let insn = &mut code.insns[at];
        insn.src = Insn::PSEUDO_KFUNC_CALL;
        match &self.resolutions[external] {
            Resolution::Type { place, .. } => {
                if self.open.externs()[external].essential_name() == "bpf_throw" {
                    references.throws.insert(at);
                }
                insn.imm = place.id.0 as i32;
                // libbpf counts the module BTFs that it uses from 1; here it is the index of the BTF.
                insn.off = i16::try_from(place.btf).unwrap_or(i16::MAX);
            }
            Resolution::Unknown(_) => {
                references.unknown.insert(at);
            }
            Resolution::Missing | Resolution::Refused | Resolution::Value(_) | Resolution::Address(_) => {
                *insn = call(POISON_KFUNC.wrapping_add(external as i32));
                references.poisons.insert(at, Poison::Kfunc(external));
            }
        }
    }

    /// Structs are pointers that BTF types, everything else is memory; the verifier folds null checks of the latter.
    fn is_memory(&self, place: Candidate) -> bool {
        let Some(types) = self.types else { return false };
        let btf = types.btf(place);
        let kind = || {
            let ty = btf.resolve(place.id)?;
            match ty.kind() {
                Kind::Var => Ok(btf.skip(ty.target()?)?.kind()),
                other => Ok::<_, btf::Error>(other),
            }
        };
        kind().is_ok_and(|kind| !kind.is_composite())
    }

    /// libbpf: `create_jt_map`.
    fn jump_table(
        &self,
        code: &mut Code,
        at: usize,
        (offset, size): (u64, u64),
        references: &mut References,
    ) -> Result<(), Refusal> {
        let refuse = |problem: &str| Refusal::map(".jumptables", problem);
        if !offset.is_multiple_of(8) || !size.is_multiple_of(8) {
            return Err(refuse("jumptable start and size should be multiples of 8"));
        }
        let data = self.open.jump_tables();
        let range = usize::try_from(offset).ok().zip(usize::try_from(offset.saturating_add(size)).ok());
        let entries = range
            .and_then(|(start, end)| data.get(start..end))
            .ok_or_else(|| refuse("jumptable lies outside the section"))?;
        let known = references.jump_tables.iter().position(|table| table.offset == offset);
        let index = match known {
            Some(index) => index,
            None => {
                let targets =
                    self.jump_targets(code, at, entries).ok_or_else(|| refuse("invalid jump table value"))?;
                references.jump_tables.push(JumpTable { offset, targets });
                references.jump_tables.len() - 1
            }
        };
        let insn = &mut code.insns[at];
        insn.src = Insn::PSEUDO_MAP_IDX_VALUE;
        // Numbered behind the object's maps: libbpf makes these when it loads.
        insn.imm = (self.open.maps().len() + index) as i32;
        insn.off = 0;
        Ok(())
    }

    /// Offsets in bytes from the start of the section become instructions of the program.
    fn jump_targets(&self, code: &Code, at: usize, entries: &[u8]) -> Option<Vec<usize>> {
        let part = code.parts.iter().rfind(|part| part.start <= at)?;
        let first = self.open.functions()[part.function].first;
        let order = self.open.object().order();
        let target = |entry: &[u8; 8]| {
            let offset = match order {
                btf::ByteOrder::Little => u64::from_le_bytes(*entry),
                btf::ByteOrder::Big => u64::from_be_bytes(*entry),
            };
            let insn = usize::try_from(offset / 8).ok()?.checked_sub(first)?;
            (insn < part.len).then_some(part.start + insn)
        };
        entries.as_chunks::<8>().0.iter().map(target).collect()
    }
}

/// A call of a helper.
fn call(helper: i32) -> Insn {
    Insn { imm: helper, ..Insn::poison() }
}
