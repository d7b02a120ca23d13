//! Objects and programs that libbpf refuses, for its reasons.

use crate::case::Case;
use crate::compiler;

#[track_caller]
fn check(program: &str, want: &[&str]) {
    Case { program, ..Case::default() }.check(want);
}

#[test]
fn legacy_maps() {
    if !compiler::is_installed("legacy_maps") {
        return;
    }
    let why = "elf: legacy map definitions in 'maps' section are not supported by libbpf v1.0+";
    check(
        "struct { u32 type, key, value, entries, flags; } old SEC(\"maps\") = {1, 4, 4, 16, 0};\n\
         SEC(\"kprobe\") long f(void *ctx) { u32 key = 0; return map_lookup(&old, &key) != 0; }",
        &[&format!("refused: {why}"), &format!("f: refused: {why}")],
    );
}

#[test]
fn sections_and_programs() {
    if !compiler::is_installed("sections_and_programs") {
        return;
    }
    check(
        "SEC(\"nonsense\") long f(void *ctx) { return 0; }",
        &["f: refused: prog 'f': missing BPF prog type, check ELF section name 'nonsense'"],
    );
    check(
        "static SEC(\"kprobe\") long f(void *ctx) { return 0; }",
        &[
            "refused: prog 'f': static in section 'kprobe', which is not supported",
            "f: refused: prog 'f': static in section 'kprobe', which is not supported",
        ],
    );
    // Not loaded unless asked for, and prepared all the same.
    check("SEC(\"?kprobe\") long f(void *ctx) { return 0; }", &["f: would load"]);
}

#[test]
fn map_definitions() {
    if !compiler::is_installed("map_definitions") {
        return;
    }
    let check = |definition: &str, why: &str| {
        let program = format!(
            "struct {{ {definition} }} m SEC(\".maps\"); SEC(\"kprobe\") long f(void *ctx) {{ return 0; }}"
        );
        let (object, program_status) =
            (format!("refused: map 'm': {why}"), format!("f: refused: map 'm': {why}"));
        check(&program, &[&object, &program_status]);
    };
    check("NUMBER(max_entries, 1);", "map type isn't specified");
    check("NUMBER(type, 1); NUMBER(colour, 1);", "unknown field 'colour'");
    check("NUMBER(type, 1); NUMBER(key_size, 8); u32 *key;", "conflicting key size 8 != 4");
}

#[test]
fn core_relocations_that_are_ambiguous() {
    if !compiler::is_installed("core_relocations_that_are_ambiguous") {
        return;
    }
    // Flavors on the kernel's side make two types of one name.
    let kernel = "struct s___one { int a; int x; } one; struct s___two { int x; } two;";
    let program = "struct s { int x; } CORE; SEC(\"kprobe\") long f(struct s *s) { return s->x; }\n\
                   SEC(\"kprobe\") long g(struct s *s) { return 0; }";
    let case = Case { kernel, program, ..Case::default() };
    let (refusal, codes) = case.with(|_, prepared| {
        let codes: Vec<&str> = prepared.programs.iter().map(|program| program.status.code()).collect();
        (prepared.refusals[0].code(), codes)
    });
    assert_eq!((refusal, codes), ("ambiguous-offset", vec!["refused", "would-load"]));
}
