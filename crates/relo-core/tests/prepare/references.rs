//! What instructions refer to: subprograms, maps, variables.

use relo_core::{Insn, MapKind};

use crate::case::Case;
use crate::compiler;

const MAP: &str = "struct { NUMBER(type, 1); NUMBER(max_entries, 16); u32 *key; u64 *value; }";

fn wide(insns: &[Insn]) -> Vec<(u8, i32, i32)> {
    let wide = insns.iter().zip(insns.iter().skip(1)).filter(|(insn, _)| insn.is_ldimm64());
    wide.map(|(first, second)| (first.src, first.imm, second.imm)).collect()
}

#[test]
fn maps_and_variables_by_index() {
    if !compiler::is_installed("maps_and_variables_by_index") {
        return;
    }
    let program = format!(
        "{MAP} first SEC(\".maps\"); {MAP} second SEC(\".maps\");\n\
         const volatile u32 fixed[2] = {{1, 2}}; u32 changing = 3; u64 zero; static volatile u32 own[4] = {{7, 7, 7, 7}};\n\
         SEC(\"kprobe\") long f(void *ctx) {{ u32 key = fixed[1]; void *v = map_lookup(&second, &key);\n\
         changing++; zero++; own[2]++; return v != 0; }}"
    );
    Case { program: &program, ..Case::default() }.with(|open, prepared| {
        let names: Vec<&str> = open.maps().iter().map(|map| map.name.as_str()).collect();
        let place = |name: &str| names.iter().position(|map| *map == name).expect("a map") as i32;
        let kinds: Vec<MapKind> = open.maps().iter().map(|map| map.kind).collect();
        assert_eq!(kinds[..2], [MapKind::Defined, MapKind::Defined]);
        assert_eq!((open.maps()[0].def.key_size, open.maps()[0].def.value_size), (4, 8));
        let program = &prepared.programs[0];
        let wide = wide(&program.insns);
        // BPF_PSEUDO_MAP_IDX is 5, BPF_PSEUDO_MAP_IDX_VALUE is 6.
        for want in [
            (5, place("second"), 0),
            (6, place(".rodata"), 0),
            (6, place(".data"), 0),
            (6, place(".bss"), 0),
            (6, place(".data"), 4),
        ] {
            assert!(wide.contains(&want), "{want:?} is not in {wide:?}\n{}", prepared.listing(open, program));
        }
        assert_eq!(wide.len(), 5);
        let listing = prepared.listing(open, program);
        assert!(listing.contains("; map second"), "{listing}");
        assert!(listing.contains("; .rodata"), "{listing}");
    });
}

#[test]
fn subprograms_are_appended_once() {
    if !compiler::is_installed("subprograms_are_appended_once") {
        return;
    }
    let program = "static __noinline long leaf(long a) { asm volatile(\"\"); return a + ktime(); }\n\
                   __noinline long middle(long a) { return leaf(a) + leaf(a + 1); }\n\
                   SEC(\"kprobe\") long f(void *ctx) { return middle(1) + leaf(2); }\n\
                   SEC(\"kprobe\") long g(void *ctx) { return 0; }\n\
                   SEC(\"kprobe\") long h(void *ctx) { return leaf(3); }";
    Case { program, ..Case::default() }.with(|_, prepared| {
        let parts = |name: &str| {
            let program = prepared.find_program(name).expect("a program");
            program.parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(parts("f"), ["f", "middle", "leaf"]);
        assert_eq!(parts("g"), ["g"]);
        assert_eq!(parts("h"), ["h", "leaf"]);
        for program in &prepared.programs {
            let calls =
                program.insns.iter().enumerate().filter(|(_, insn)| insn.code == 0x85 && insn.src == 1);
            for (at, insn) in calls {
                let target = (at as i64 + 1 + i64::from(insn.imm)) as usize;
                assert!(program.parts.iter().any(|part| part.start == target), "{}: {at}", program.name);
            }
        }
    });
}

#[test]
fn kconfig_values_are_a_map() {
    if !compiler::is_installed("kconfig_values_are_a_map") {
        return;
    }
    let program = "extern u64 CONFIG_LONG __kconfig; extern bool CONFIG_BOOL __kconfig; u32 data = 1;\n\
                   SEC(\"kprobe\") long f(void *ctx) { return CONFIG_BOOL + CONFIG_LONG + data; }";
    let environment = relo_core::Environment {
        kconfig: Some("CONFIG_BOOL=y\nCONFIG_LONG=0x1122334455667788\n"),
        ..Default::default()
    };
    Case { program, environment, ..Case::default() }.with(|open, prepared| {
        let map = open.maps().iter().position(|map| map.kind == MapKind::Kconfig).expect("a map") as i32;
        // The larger alignment comes first, as libbpf sorts them.
        assert_eq!(prepared.kconfig, [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 1]);
        let wide = wide(&prepared.programs[0].insns);
        assert!(wide.contains(&(6, map, 0)) && wide.contains(&(6, map, 8)), "{wide:?}");
    });
}

#[test]
fn maps_in_maps_and_programs_in_maps() {
    if !compiler::is_installed("maps_in_maps_and_programs_in_maps") {
        return;
    }
    let program = "struct inner { NUMBER(type, 2); NUMBER(max_entries, 1); u32 *key; u32 *value; } in1 SEC(\".maps\");\n\
         struct { NUMBER(type, 12); NUMBER(max_entries, 4); NUMBER(key_size, 4); struct inner *values[]; } outer \
         SEC(\".maps\") = { .values = { [2] = &in1 } };\n\
         SEC(\"kprobe\") long f(void *ctx) { return 0; }\n\
         struct { NUMBER(type, 3); NUMBER(max_entries, 2); NUMBER(key_size, 4); long (*values[])(void *); } jumps \
         SEC(\".maps\") = { .values = { [1] = (void *)&f } };";
    Case { program, ..Case::default() }.with(|open, prepared| {
        assert_eq!(prepared.refusals, []);
        let find = |name: &str| open.maps().iter().find(|map| map.name == name).expect("a map");
        assert_eq!(find("outer").slots, [None, None, Some("in1".to_owned())]);
        assert_eq!(find("outer").inner.as_ref().map(|inner| inner.value_size), Some(4));
        assert_eq!(find("jumps").slots, [None, Some("f".to_owned())]);
    });
}
