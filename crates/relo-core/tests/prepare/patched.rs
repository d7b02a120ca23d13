//! The object as a file again.

use std::env;
use std::process::Command;

use relo_core::{BpfObject, OpenObject};

use crate::case::Case;
use crate::compiler;

const KERNEL: &str = "struct task { long state; int pid; } task;";
const PROGRAM: &str = "struct task { int pid; int gone; long state; } CORE;\n\
    struct { NUMBER(type, 1); NUMBER(max_entries, 16); u32 *key; u64 *value; } map SEC(\".maps\");\n\
    static __noinline long state(struct task *t) { asm volatile(\"\"); return t->state; }\n\
    SEC(\"kprobe\") long f(struct task *t) { u32 key = t->pid; map_lookup(&map, &key); return state(t); }\n\
    SEC(\"kprobe\") long g(struct task *t) { return exists(t->gone) ? t->gone : t->pid; }\n\
    char LICENSE[] SEC(\"license\") = \"GPL\";";

#[test]
fn the_patched_object_is_read_again() {
    if !compiler::is_installed("the_patched_object_is_read_again") {
        return;
    }
    for big_endian in [false, true] {
        let case = Case { kernel: KERNEL, program: PROGRAM, big_endian, ..Case::default() };
        let before = case.object();
        case.with(|open, prepared| {
            let patched = prepared.elf(open).expect("nothing is refused");
            assert_eq!(patched.len(), before.len());
            let object = BpfObject::parse("patched", &patched).expect("still an object");
            assert_eq!(object.relos(), [], "nobody must relocate it again");
            assert_eq!(object.programs(), open.object().programs());
            let again = OpenObject::open(&object, &patched).expect("still opens");
            assert_eq!(again.refusals(), []);
            same_instructions(open, prepared, &again);
        });
    }
}

/// Section by section: those of the patched object are those of `sections()`, but for what ELF relocations fill in;
/// these remain for the loader. Preparing the patched object fills them in, and then all are equal.
fn same_instructions(open: &OpenObject<'_>, prepared: &relo_core::Prepared, again: &OpenObject<'_>) {
    let empty = btf::Btf::parse(btf::Builder::new(open.object().order()).finish().expect("an empty BTF"));
    let empty = empty.expect("a BTF");
    let wanted = relo_core::Wanted::new([again.object()]);
    let target = relo_core::Target::new(&empty, &[], &wanted).expect("a target");
    let second = relo_core::prepare(again, &target, &relo_core::Environment::default());
    let sections: Vec<(&str, &[u8])> = prepared.sections(open.object()).collect();
    let sections_again: Vec<(&str, &[u8])> = second.sections(again.object()).collect();
    assert!(sections.iter().any(|(_, bytes)| !bytes.is_empty()));
    assert_eq!(sections, sections_again);
    for (program, program_again) in prepared.programs.iter().zip(&second.programs) {
        assert_eq!(program.insns, program_again.insns, "{}", program.name);
    }
}

#[test]
fn other_tools_read_the_patched_object() {
    if !compiler::is_installed("other_tools_read_the_patched_object") {
        return;
    }
    let folder = env::temp_dir().join(format!("relo-core-patched-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("patched.bpf.o");
    Case { kernel: KERNEL, program: PROGRAM, ..Case::default() }.with(|open, prepared| {
        std::fs::write(&file, prepared.elf(open).expect("nothing is refused")).expect("a file");
    });
    let tools: [(&str, &[&str], &[&str]); 3] = [
        ("bpftool", &["gen", "skeleton"], &["struct bpf_program *f;", "struct bpf_map *map;"]),
        ("bpftool", &["btf", "dump", "file"], &["'task'"]),
        ("readelf", &["--wide", "--sections", "--relocs"], &[".BTF.ext", "R_BPF_64_64"]),
    ];
    for (tool, args, wanted) in tools {
        let Ok(output) = Command::new(tool).args(args).arg(&file).output() else {
            println!("{tool} is not installed: not asked");
            continue;
        };
        assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout);
        // Old readelf does not know names of BPF's relocations.
        let missing = wanted.iter().find(|&&wanted| !said.contains(wanted) && wanted != "R_BPF_64_64");
        assert_eq!(missing, None, "{tool}: {said}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("rror"), "{tool} {args:?}");
    }
    std::fs::remove_dir_all(&folder).expect("still there");
}

#[test]
fn a_refused_object_is_not_written() {
    if !compiler::is_installed("a_refused_object_is_not_written") {
        return;
    }
    let kernel = "struct s___one { int a; int x; } one; struct s___two { int x; } two;";
    let program = "struct s { int x; } CORE; SEC(\"kprobe\") long f(struct s *s) { return s->x; }";
    Case { kernel, program, ..Case::default() }.with(|open, prepared| {
        let refused = prepared.elf(open).expect_err("ambiguous");
        assert!(
            refused.to_string().starts_with("the object can't be written: CO-RE relocation 0"),
            "{refused}"
        );
    });
}
