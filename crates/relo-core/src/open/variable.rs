//! The variables of a section, as BTF describes them and the symbols place them.

use std::collections::HashMap;

use btf::{Btf, Error, Kind, TypeId};

use super::Refusal;
use super::elf::{Elf, Symbol, SymbolKind};

/// Linkage of a VAR.
const STATIC: u32 = 0;
/// Defined here.
pub(crate) const GLOBAL: u32 = 1;
/// Defined elsewhere.
pub(crate) const EXTERN: u32 = 2;

/// A variable of a DATASEC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub name: String,
    /// What the VAR is of.
    pub type_id: TypeId,
    pub linkage: u32,
    /// Offset in bytes within the section.
    pub offset: u64,
    pub size: u32,
}

/// Places variables by their symbols: compilers leave offsets and sizes of a DATASEC to the loader.
pub(crate) struct Variables<'v, 'o> {
    btf: &'v Btf<'static>,
    elf: &'v Elf<'o>,
    /// Only looked up, never iterated.
    globals: HashMap<&'o [u8], &'v Symbol<'o>>,
}

impl<'v, 'o> Variables<'v, 'o> {
    pub(crate) fn new(btf: &'v Btf<'static>, elf: &'v Elf<'o>) -> Variables<'v, 'o> {
        let mut globals = HashMap::new();
        let defined = |symbol: &&Symbol<'_>| symbol.kind == SymbolKind::Object && !symbol.local;
        for symbol in elf.symbols.iter().filter(defined) {
            globals.entry(symbol.name).or_insert(symbol);
        }
        Variables { btf, elf, globals }
    }

    /// The variables of the DATASEC of this name, sorted by offset; None where BTF has no such section.
    pub(crate) fn of_section(&self, section: &str) -> Result<Option<Vec<Variable>>, Refusal> {
        match find(self.btf, section.as_bytes(), Kind::Datasec) {
            Some(datasec) => self.read(section, datasec).map(Some),
            None => Ok(None),
        }
    }

    /// Checks every DATASEC (libbpf: `bpf_object_fixup_btf`).
    pub(crate) fn check(&self, refusals: &mut Vec<Refusal>) {
        for id in self.btf.own_ids() {
            let Ok(ty) = self.btf.resolve(id) else { continue };
            if ty.kind() != Kind::Datasec {
                continue;
            }
            let name = String::from_utf8_lossy(ty.name().unwrap_or_default()).into_owned();
            // The variables behind externs have no symbols of their own.
            if name != ".kconfig" && name != ".ksyms" {
                refusals.extend(self.read(&name, id).err());
            }
        }
    }

    fn read(&self, section: &str, datasec: TypeId) -> Result<Vec<Variable>, Refusal> {
        let broken = |error: Error| Refusal::section(section, error.to_string());
        let ty = self.btf.resolve(datasec).map_err(broken)?;
        let unplaced = ty.size().map_err(broken)? == 0;
        if unplaced && self.section_size(section) == 0 {
            return Err(Refusal::section(section, "failed to determine size from ELF"));
        }
        let mut variables = Vec::with_capacity(ty.len() as usize);
        for index in 0..ty.len() {
            let place = ty.var_section(index).map_err(broken)?;
            let var = self.btf.resolve(place.type_id).map_err(broken)?;
            if var.kind() != Kind::Var {
                return Err(Refusal::section(section, "unexpected non-VAR type found"));
            }
            let name = var.name().map_err(broken)?;
            let mut variable = Variable {
                name: String::from_utf8_lossy(name).into_owned(),
                type_id: var.target().map_err(broken)?,
                linkage: var.linkage().map_err(broken)?,
                offset: u64::from(place.offset),
                size: place.size,
            };
            if variable.linkage != STATIC && variable.linkage != EXTERN {
                let Some(symbol) = self.globals.get(name) else {
                    let problem = format!("failed to find ELF symbol for VAR '{}'", variable.name);
                    return Err(Refusal::section(section, problem));
                };
                if unplaced {
                    variable.offset = symbol.value;
                }
                // What is hidden is nobody else's business, userspace included.
                if symbol.hidden {
                    variable.linkage = STATIC;
                }
            }
            variables.push(variable);
        }
        variables.sort_by_key(|variable| variable.offset);
        Ok(variables)
    }

    fn section_size(&self, name: &str) -> u64 {
        match self.elf.find_section(name.as_bytes()) {
            Some(index) => self.elf.sections[index].size,
            None => 0,
        }
    }
}

/// The first type of a name and kind (libbpf: `btf__find_by_name_kind`).
pub(crate) fn find(btf: &Btf<'_>, name: &[u8], kind: Kind) -> Option<TypeId> {
    btf.own_ids().find(|&id| {
        btf.resolve(id).is_ok_and(|ty| ty.kind() == kind && ty.name().is_ok_and(|found| found == name))
    })
}
