//! What a map definition puts into its map: other maps, or programs.

use super::Refusal;
use super::elf::{Elf, Place, Symbol};
use super::function::Functions;
use super::map::{HASH_OF_MAPS, Map, MapKind, PROG_ARRAY};
use crate::INSN_LEN;

/// Slots that a definition may name; a hostile offset must not ask for memory.
const MAX_SLOTS: usize = 1 << 16;

/// Fills the slots by the relocations of `.maps` (libbpf: `bpf_object__collect_map_relos`).
pub(crate) fn fill(
    elf: &Elf<'_>,
    relocations: usize,
    functions: &Functions,
    maps: &mut [Map],
    refusals: &mut Vec<Refusal>,
) {
    let section = &elf.sections[relocations];
    for relocation in &section.relocations {
        let at = relocation.offset;
        let covers = |map: &Map| {
            map.kind == MapKind::Defined
                && map.elf_section == section.target
                && map.offset <= at
                && at.saturating_add(8) <= map.offset.saturating_add(map.len)
        };
        let Some(index) = maps.iter().position(covers) else {
            let problem = format!("cannot find map at offset {at}");
            refusals.push(Refusal::section(".maps", problem));
            continue;
        };
        let Some(symbol) = elf.symbols.get(relocation.symbol) else {
            refusals.push(Refusal::map(&maps[index].name, "symbol of a slot not found"));
            continue;
        };
        let name = String::from_utf8_lossy(symbol.name).into_owned();
        let filled = check_reference(&maps[index], maps, elf, functions, &name, symbol, section.target)
            .and_then(|()| slot_of(&maps[index], at));
        match filled {
            Ok(slot) => {
                let slots = &mut maps[index].slots;
                if slot >= slots.len() {
                    slots.resize(slot + 1, None);
                }
                slots[slot] = Some(name);
            }
            Err(problem) => refusals.push(Refusal::map(&maps[index].name, problem)),
        }
    }
}

fn check_reference(
    map: &Map,
    maps: &[Map],
    elf: &Elf<'_>,
    functions: &Functions,
    name: &str,
    symbol: &Symbol<'_>,
    maps_section: usize,
) -> Result<(), String> {
    if map.def.is_map_of_maps() {
        if symbol.section != Place::Section(maps_section) {
            return Err(format!("'{name}' isn't a BTF-defined map"));
        }
        if map.def.map_type == HASH_OF_MAPS && map.def.key_size != 4 {
            return Err("hash-of-maps should have key size 4".to_owned());
        }
        if !maps.iter().any(|map| map.name == name) {
            return Err(format!("'{name}' isn't a valid map reference"));
        }
        return Ok(());
    }
    if map.def.map_type != PROG_ARRAY {
        return Err(format!("'{name}' in a map that holds neither maps nor programs"));
    }
    let Some(program) = functions.find_entry(name) else {
        return Err(format!("'{name}' isn't a valid program reference"));
    };
    let function = &functions.list[program];
    let code = match symbol.section {
        Place::Section(section) => elf.sections.get(section).and_then(|section| section.code),
        Place::Undefined | Place::Special => None,
    };
    if code != Some(function.code) || symbol.value != (function.first * INSN_LEN) as u64 {
        return Err(format!("'{name}' isn't an entry-point program"));
    }
    Ok(())
}

/// The index of the slot at an offset of the section.
fn slot_of(map: &Map, at: u64) -> Result<usize, String> {
    let values_at = map.values_at.ok_or("a reference to something, and no 'values'")?;
    let in_values = at.checked_sub(map.offset.saturating_add(values_at));
    let slot = in_values.filter(|at| at.is_multiple_of(8)).ok_or("a reference outside 'values'")? / 8;
    usize::try_from(slot)
        .ok()
        .filter(|&slot| slot < MAX_SLOTS)
        .ok_or_else(|| format!("slot {slot} is too far"))
}
