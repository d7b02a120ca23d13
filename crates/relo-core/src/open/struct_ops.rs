//! struct_ops variables: structs of the kernel whose members are programs.

use std::collections::BTreeMap;

use btf::{Kind, TypeId};

use super::elf::{Elf, Place, SectionKind};
use super::function::Functions;
use super::map::{self, Map, MapDef, MapKind};
use super::variable::{Variable, Variables};
use super::{ProgramType, Refusal, map_table};
use crate::{BpfObject, INSN_LEN};

/// A variable of `.struct_ops` or `.struct_ops.link`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StructOpsVar {
    /// Its struct in the object's BTF.
    pub type_id: TypeId,
    /// The programs, by the index of the member that each is put into; a number is an index in
    /// [`crate::OpenObject::functions`].
    pub programs: BTreeMap<u32, usize>,
}

const SECTIONS: [&str; 4] = [".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link"];

/// Whether a section holds such variables.
pub(crate) fn is_section(name: &[u8]) -> bool {
    SECTIONS.iter().any(|known| known.as_bytes() == name)
}

/// Adds a map for each variable (libbpf: `bpf_object_init_struct_ops`).
pub(crate) fn read(
    object: &BpfObject,
    elf: &Elf<'_>,
    variables: &Variables<'_, '_>,
    maps: &mut Vec<Map>,
    refusals: &mut Vec<Refusal>,
) {
    for (index, section) in elf.sections.iter().enumerate() {
        if section.kind != SectionKind::Bits || section.size == 0 || !is_section(section.name) {
            continue;
        }
        let name = String::from_utf8_lossy(section.name);
        let list = match variables.of_section(&name) {
            Ok(Some(list)) => list,
            Ok(None) => {
                refusals.push(Refusal::section(name, "struct_ops init: DATASEC not found"));
                continue;
            }
            // The check of all sections has said it.
            Err(_said) => continue,
        };
        for variable in &list {
            match of_variable(object, elf, index, &name, variable) {
                Ok(map) => maps.push(map),
                Err(problem) => refusals.push(Refusal::struct_ops(&variable.name, problem)),
            }
        }
    }
}

fn of_variable(
    object: &BpfObject,
    elf: &Elf<'_>,
    section: usize,
    section_name: &str,
    variable: &Variable,
) -> Result<Map, String> {
    let text = |error: btf::Error| error.to_string();
    let ty = object.btf().skip(variable.type_id).map_err(text)?;
    let type_name = String::from_utf8_lossy(ty.name().map_err(text)?);
    if type_name.is_empty() {
        return Err("anonymous type is not supported".to_owned());
    }
    if ty.kind() != Kind::Struct {
        return Err(format!("{type_name} is not a struct"));
    }
    let size = ty.size().map_err(text)?;
    let end = variable.offset.saturating_add(u64::from(size));
    if end > elf.sections[section].data.len() as u64 {
        return Err(format!("var is beyond the end of DATASEC {section_name}"));
    }
    let def = MapDef {
        map_type: map::STRUCT_OPS,
        key_size: 4,
        value_size: size,
        max_entries: 1,
        flags: if section_name.ends_with(".link") { map::F_LINK } else { 0 },
        value_type: Some(ty.id()),
        ..MapDef::default()
    };
    let var = StructOpsVar { type_id: ty.id(), programs: BTreeMap::new() };
    Ok(Map {
        struct_ops: Some(var),
        autocreate: !section_name.starts_with('?'),
        len: u64::from(size),
        ..map_table::plain(&variable.name, MapKind::StructOps, def, section, variable.offset)
    })
}

/// Puts programs into the variables' members (libbpf: `bpf_object__collect_st_ops_relos`).
pub(crate) fn place_programs(
    object: &BpfObject,
    elf: &Elf<'_>,
    relocations: usize,
    functions: &Functions,
    maps: &mut [Map],
    refusals: &mut Vec<Refusal>,
) {
    let section = &elf.sections[relocations];
    for relocation in &section.relocations {
        let covers = |map: &&mut Map| {
            let at = relocation.offset.checked_sub(map.offset);
            map.kind == MapKind::StructOps
                && map.elf_section == section.target
                && at.is_some_and(|at| at < map.len)
        };
        let Some(map) = maps.iter_mut().find(covers) else {
            let problem = format!("cannot find map at offset {}", relocation.offset);
            refusals.push(Refusal::struct_ops("relocation", problem));
            continue;
        };
        let Some(symbol) = elf.symbols.get(relocation.symbol) else {
            refusals.push(Refusal::struct_ops(&map.name, "symbol not found"));
            continue;
        };
        match member_and_program(object, elf, functions, map, relocation.offset, symbol) {
            Ok((member, program)) => {
                if let Some(var) = &mut map.struct_ops {
                    var.programs.insert(member, program);
                }
            }
            Err(problem) => refusals.push(Refusal::struct_ops(&map.name, problem)),
        }
    }
}

fn member_and_program(
    object: &BpfObject,
    elf: &Elf<'_>,
    functions: &Functions,
    map: &Map,
    offset: u64,
    symbol: &super::elf::Symbol<'_>,
) -> Result<(u32, usize), String> {
    let text = |error: btf::Error| error.to_string();
    let Some(var) = &map.struct_ops else {
        return Err("not a struct_ops variable".to_owned());
    };
    let in_var = offset - map.offset;
    let Place::Section(section) = symbol.section else {
        return Err("unsupported non-static function".to_owned());
    };
    if !symbol.value.is_multiple_of(INSN_LEN as u64) {
        return Err(format!("invalid target program offset {}", symbol.value));
    }
    let ty = object.btf().resolve(var.type_id).map_err(text)?;
    let mut found = None;
    for index in 0..ty.len() {
        let member = ty.member(index).map_err(text)?;
        if u64::from(member.bit_offset) == in_var * 8 {
            found = Some((index, member));
            break;
        }
    }
    let Some((index, member)) = found else {
        return Err(format!("cannot find member at offset {in_var}"));
    };
    let name = String::from_utf8_lossy(ty.string(member.name).map_err(text)?);
    if !is_function_pointer(object, member.type_id).map_err(text)? {
        return Err(format!("cannot relocate non func ptr {name}"));
    }
    let code = elf.sections.get(section).and_then(|section| section.code);
    let program = code.and_then(|code| functions.find(code, (symbol.value / INSN_LEN as u64) as usize));
    let Some(program) = program else {
        return Err(format!("cannot find prog to relocate func ptr {name}"));
    };
    let function = &functions.list[program];
    if function.def.map(|def| def.program_type) != Some(ProgramType::StructOps) {
        return Err(format!("prog {} is not struct_ops BPF program", function.name));
    }
    Ok((index, program))
}

fn is_function_pointer(object: &BpfObject, id: TypeId) -> Result<bool, btf::Error> {
    let btf = object.btf();
    let pointer = btf.skip(id)?;
    Ok(pointer.kind() == Kind::Ptr && btf.skip(pointer.target()?)?.kind() == Kind::FuncProto)
}
