//! The table of maps: `.maps`, sections of variables, `.kconfig`, struct_ops variables.

use btf::{Btf, Kind};

use super::elf::{Elf, Place, Section, SectionKind};
use super::map::{self, Map, MapDef, MapKind};
use super::variable::{GLOBAL, Variable, Variables, find};
use super::{Refusal, map_def, struct_ops};
use crate::BpfObject;

pub(crate) const MAPS: &str = ".maps";

/// Reads all maps (libbpf: `bpf_object__init_maps`); `kconfig_len` is that of the values behind kconfig externs.
pub(crate) fn read(
    object: &BpfObject,
    elf: &Elf<'_>,
    variables: &Variables<'_, '_>,
    kconfig_len: u64,
    refusals: &mut Vec<Refusal>,
) -> Vec<Map> {
    let reader = Reader { object, elf, btf: object.btf(), variables };
    let mut maps = Vec::new();
    reader.defined(&mut maps, refusals);
    reader.legacy(&mut maps, refusals);
    for (index, section) in elf.sections.iter().enumerate().skip(1) {
        if let Some(kind) = variables_kind(section) {
            let name = String::from_utf8_lossy(section.name);
            maps.push(reader.of_variables(&name, kind, index, section.size));
        }
    }
    if kconfig_len > 0 {
        maps.push(reader.of_variables(".kconfig", MapKind::Kconfig, 0, kconfig_len));
    }
    struct_ops::read(object, elf, variables, &mut maps, refusals);
    maps
}

struct Reader<'r, 'o> {
    object: &'r BpfObject,
    elf: &'r Elf<'o>,
    btf: &'r Btf<'static>,
    variables: &'r Variables<'r, 'o>,
}

impl Reader<'_, '_> {
    /// Maps of `.maps` (libbpf: `bpf_object__init_user_btf_maps`).
    fn defined(&self, maps: &mut Vec<Map>, refusals: &mut Vec<Refusal>) {
        let Some(section) = self.elf.find_section(MAPS.as_bytes()) else {
            return;
        };
        match self.variables.of_section(MAPS) {
            Ok(Some(list)) => {
                for variable in &list {
                    match self.definition(section, variable) {
                        Ok(map) => maps.push(map),
                        Err(problem) => refusals.push(Refusal::map(&variable.name, problem)),
                    }
                }
            }
            Ok(None) => refusals.push(Refusal::section(MAPS, "DATASEC '.maps' not found")),
            // The check of all sections has said it.
            Err(_said) => {}
        }
        let mut arenas = maps.iter().filter(|map| map.def.map_type == map::ARENA);
        if let Some(second) = arenas.nth(1) {
            refusals.push(Refusal::map(&second.name, "only single ARENA map is supported"));
        }
    }

    fn definition(&self, section: usize, variable: &Variable) -> Result<Map, String> {
        if variable.name.is_empty() {
            return Err("empty name".to_owned());
        }
        let end = variable.offset.saturating_add(u64::from(variable.size));
        if end > self.elf.sections[section].data.len() as u64 {
            return Err("BTF data is corrupted".to_owned());
        }
        if variable.linkage != GLOBAL {
            return Err("unsupported map linkage: maps can't be static, hidden or extern".to_owned());
        }
        let def = self.btf.skip(variable.type_id).map_err(|error| error.to_string())?;
        if def.kind() != Kind::Struct {
            return Err(format!("unexpected def kind {}", def.kind()));
        }
        if def.size().map_err(|error| error.to_string())? > variable.size {
            return Err("invalid def size".to_owned());
        }
        let parsed = map_def::parse(self.btf, &def, false)?;
        Ok(Map {
            inner: parsed.inner,
            len: u64::from(variable.size),
            values_at: parsed.values_at,
            ..plain(&variable.name, MapKind::Defined, parsed.def, section, variable.offset)
        })
    }

    /// Maps of the section `maps`: structs of five numbers and perhaps more, one a symbol.
    fn legacy(&self, maps: &mut Vec<Map>, refusals: &mut Vec<Refusal>) {
        let Some(index) = self.elf.find_section(b"maps") else {
            return;
        };
        let problem = "legacy map definitions in 'maps' section are not supported by libbpf v1.0+";
        refusals.push(Refusal::Elf(problem.to_owned()));
        let data = self.elf.sections[index].data;
        let here = |symbol: &&super::elf::Symbol<'_>| {
            symbol.section == Place::Section(index) && !symbol.local && !symbol.name.is_empty()
        };
        let mut symbols: Vec<_> = self.elf.symbols.iter().filter(here).collect();
        symbols.sort_by_key(|symbol| symbol.value);
        for symbol in symbols {
            let word = |field: usize| {
                let at = usize::try_from(symbol.value).unwrap_or(usize::MAX);
                let at = at.saturating_add(4 * field);
                self.object.order().u32(data, at, "a map definition").unwrap_or(0)
            };
            let def = MapDef {
                map_type: word(0),
                key_size: word(1),
                value_size: word(2),
                max_entries: word(3),
                flags: word(4),
                ..MapDef::default()
            };
            let name = String::from_utf8_lossy(symbol.name);
            maps.push(plain(&name, MapKind::Legacy, def, index, symbol.value));
        }
    }

    /// The map behind a section of variables (libbpf: `bpf_object__init_internal_map`).
    fn of_variables(&self, name: &str, kind: MapKind, section: usize, len: u64) -> Map {
        let value_type = find(self.btf, name.as_bytes(), Kind::Datasec);
        let list = self.variables.of_section(name).ok().flatten().unwrap_or_default();
        let visible = kind == MapKind::Kconfig || list.iter().any(|variable| variable.linkage != 0);
        let mut flags = 0;
        if kind.is_read_only() {
            flags |= map::F_RDONLY_PROG;
        }
        if value_type.is_some() && visible {
            flags |= map::F_MMAPABLE;
        }
        let def = MapDef {
            map_type: map::ARRAY,
            key_size: 4,
            value_size: u32::try_from(len).unwrap_or(u32::MAX),
            max_entries: 1,
            flags,
            value_type,
            ..MapDef::default()
        };
        Map { len, ..plain(name, kind, def, section, 0) }
    }
}

/// A map without what only some have.
pub(crate) fn plain(name: &str, kind: MapKind, def: MapDef, elf_section: usize, offset: u64) -> Map {
    Map {
        name: name.to_owned(),
        kind,
        def,
        inner: None,
        slots: Vec::new(),
        autocreate: true,
        struct_ops: None,
        elf_section,
        offset,
        len: 0,
        values_at: None,
    }
}

/// Whether a section holds variables, and which (libbpf: `bpf_object__elf_collect`).
pub(crate) fn variables_kind(section: &Section<'_>) -> Option<MapKind> {
    let is = |name: &str| {
        section
            .name
            .strip_prefix(name.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
    };
    match section.kind {
        _empty if section.size == 0 || section.executable => None,
        SectionKind::Bits if is(".data") => Some(MapKind::Data),
        SectionKind::Bits if is(".rodata") => Some(MapKind::Rodata),
        SectionKind::NoBits if is(".bss") => Some(MapKind::Bss),
        SectionKind::Bits | SectionKind::NoBits => None,
        SectionKind::Symbols | SectionKind::Relocations | SectionKind::Other => None,
    }
}
