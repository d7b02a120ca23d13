//! The commands that need no pipeline, as people call them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use btf::{Btf, Builder, ByteOrder, IntEncoding, Kind};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

/// A folder with a kernel whose `struct task` has `flags` and `pid`, another one where `pid` has moved, and programs
/// that read `pid`, and `gone`, which neither has.
struct World(tempfile::TempDir);

impl World {
    fn new() -> World {
        let world = World(tempfile::tempdir().unwrap());
        world.put("old.btf", &kernel(8));
        world.put("new.btf", &kernel(16));
        world.put("pid.bpf.o", &program("pid"));
        world.put("gone.bpf.o", &program("gone"));
        world.put("text.o", b"no object");
        world
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_btfpipe"));
        command.current_dir(self.0.path()).args(arguments.split(' ')).output().unwrap()
    }

    /// Standard output; the exit code must be this, and the notes must have these words.
    #[track_caller]
    fn check(&self, arguments: &str, code: i32, noted: &str) -> String {
        let output = self.run(arguments);
        let notes = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments}: {notes}");
        assert!(notes.contains(noted), "{arguments}: {notes}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn record() {
    let world = World::new();
    let table = world.check("record --btf new.btf pid.bpf.o gone.bpf.o", 0, "");
    assert!(table.contains("struct task.pid   relocated  4 -> 16"), "{table}");
    assert!(table.contains("poisoned   struct task of the target has no member"), "{table}");
    assert!(table.ends_with("2 relocations: 1 relocated, 1 poisoned\n"), "{table}");
    let lines =
        world.check("record --btf new.btf --format jsonl pid.bpf.o text.o", 1, "text.o: neither a BPF");
    let line: serde_json::Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!((&line["v"], &line["value"]["target"]), (&1.into(), &16.into()));
    let schema: serde_json::Value = serde_json::from_str(&world.check("schema record", 0, "")).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&line), keys(&schema["properties"]));
    assert_eq!(
        keys(&line["local"]),
        serde_json::from_value::<Vec<String>>(schema["$defs"]["spec"]["required"].clone()).unwrap()
    );
    world.check("record --btf nothing.btf pid.bpf.o", 1, "nothing.btf: ");
    world.check("record --btf new.btf text.o", 1, "no BPF object is left");
}

#[test]
fn min_core_btf() {
    let world = World::new();
    world.check(
        "min-core-btf new.btf min.btf pid.bpf.o gone.bpf.o",
        0,
        "2 relocations of 2 objects are decided",
    );
    let bytes = std::fs::read(world.path("min.btf")).unwrap();
    assert!(Btf::parse(&bytes).unwrap().type_count() < Btf::parse(kernel(16)).unwrap().type_count());
    let answer = world.check("min-core-btf new.btf min.btf --json pid.bpf.o", 0, "");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["objects"][0]["relocations"], 1);
    assert_eq!(answer["ids"][0].as_array().unwrap().len(), 2);
    // One bad object costs the others nothing.
    world.check("min-core-btf new.btf again.btf text.o pid.bpf.o", 1, "text.o: ");
    assert_eq!(std::fs::read(world.path("again.btf")).unwrap().len() as u64, answer["bytes"]["minimized"]);
    world.check("min-core-btf new.btf folder/is/not/there.btf pid.bpf.o", 1, "folder/is/not/there.btf: ");
    assert!(bpftool(&world.path("")).is_none_or(|theirs| theirs == bytes), "bpftool makes another BTF");
}

/// What bpftool makes of the same; None, said aloud, without it.
fn bpftool(folder: &Path) -> Option<Vec<u8>> {
    let arguments = ["gen", "min_core_btf", "new.btf", "theirs.btf", "pid.bpf.o", "gone.bpf.o"];
    let path = [std::env::var("PATH").unwrap_or_default(), "/usr/sbin".into()].join(":");
    let ended = Command::new("bpftool").env("PATH", path).current_dir(folder).args(arguments).output();
    if ended.is_err() {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "bpftool is not installed");
        eprintln!("skipped: bpftool is not installed");
    }
    ended.ok().map(|_| std::fs::read(folder.join("theirs.btf")).unwrap())
}

#[test]
fn minimize() {
    let world = World::new();
    std::fs::create_dir(world.path("kernels")).unwrap();
    world.put("kernels/6.1.btf", &kernel(8));
    world.put("kernels/broken.btf", &kernel(8)[..60]);
    let objects = "pid.bpf.o gone.bpf.o";
    world.check(&format!("minimize --btf kernels --out all --records {objects}"), 1, "broken.btf: ");
    assert_eq!(std::fs::read_to_string(world.path("all/6.1.jsonl")).unwrap().lines().count(), 2);
    let two = format!("minimize --btf kernels/6.1.btf --btf new.btf --out each --each {objects}");
    world.check(&two, 0, "2 kernels");
    let both = std::fs::read(world.path("all/6.1.btf")).unwrap();
    assert_eq!(std::fs::read(world.path("each/6.1/pid.bpf.btf")).unwrap(), both);
    assert!(std::fs::read(world.path("each/new/gone.bpf.btf")).unwrap().len() < both.len());
    let twice = "minimize --btf kernels/6.1.btf --btf kernels/6.1.btf --out twice pid.bpf.o";
    world.check(twice, 2, "same name");
}

#[test]
fn diff() {
    let world = World::new();
    let types = world.check("diff old.btf new.btf", 1, "2 differences");
    let moved = "~ struct task.pid: offset 8, 4 bytes -> offset 16, 4 bytes\n";
    assert_eq!(types, format!("~ struct task: 12 bytes -> 20 bytes\n{moved}"));
    let seen = world.check("diff old.btf new.btf --programs pid.bpf.o gone.bpf.o", 1, "1 differences");
    let decided = "struct task.pid: relocated 8, 4 bytes -> relocated 16, 4 bytes\n";
    assert_eq!(seen, format!("~ pid.bpf.o:prog insn 0 byte_off {decided}"));
    assert_eq!(world.check("diff old.btf old.btf", 0, ""), "");
    assert_eq!(world.check("diff old.btf new.btf --programs gone.bpf.o", 0, ""), "");
}

#[test]
fn dump() {
    let world = World::new();
    let raw = world.check("dump old.btf", 0, "");
    assert!(raw.starts_with("[1] INT 'int' size=4 bits_offset=0 nr_bits=32 encoding=SIGNED\n"), "{raw}");
    let header = world.check("dump old.btf --format c", 0, "");
    assert!(header.contains("struct task {\n\tint flags;"), "{header}");
    world.check("dump pid.bpf.o", 0, "");
    world.check("dump text.o", 1, "text.o: ");
}

#[test]
fn prepare() {
    let world = World::new();
    let table = world.check("prepare --btf new.btf pid.bpf.o --insns insns --elf out.o --disassemble", 0, "");
    assert!(table.contains("would load"), "{table}");
    let code = std::fs::read(world.path("insns/kprobe_x.insns")).unwrap();
    assert_eq!(code[..8], [0xb7, 1, 0, 0, 16, 0, 0, 0]);
    assert!(world.path("out.o").exists());
    let poisoned = world.check("prepare --btf new.btf --format jsonl gone.bpf.o", 1, "");
    assert!(poisoned.contains("\"status\":\"poisoned-reachable\""), "{poisoned}");
    world.check("prepare --btf new.btf --elf out.o pid.bpf.o gone.bpf.o", 2, "name one program");
}

fn kernel(offset: u32) -> Vec<u8> {
    let mut builder = Builder::new(ByteOrder::Little);
    let int = builder.int("int", 4, IntEncoding::SIGNED).unwrap();
    builder.composite(Kind::Struct, "task", offset + 4).unwrap();
    builder.member("flags", int, 0, None).unwrap();
    builder.member("pid", int, offset * 8, None).unwrap();
    builder.composite(Kind::Struct, "unused", 4).unwrap();
    builder.member("nobody", int, 0, None).unwrap();
    builder.finish().unwrap()
}

/// `r1 = offset of a member of struct task; r0 = 0; exit`
fn program(member: &str) -> Vec<u8> {
    let mut builder = Builder::new(ByteOrder::Little);
    let int = builder.int("int", 4, IntEncoding::SIGNED).unwrap();
    let task = builder.composite(Kind::Struct, "task", 8).unwrap();
    builder.member("before", int, 0, None).unwrap();
    builder.member(member, int, 32, None).unwrap();
    let (section, access) = (builder.string(b"kprobe/x").unwrap().0, builder.string(b"0:1").unwrap().0);
    let btf = builder.finish().unwrap();
    let mut ext = vec![0x9f, 0xeb, 1, 0];
    for word in [32, 0, 0, 0, 0, 0, 28, 16, section, 1, 0, task.0, access, 0] {
        ext.extend(u32::to_le_bytes(word));
    }
    let mut code = vec![0xb7, 1, 0, 0, 4, 0, 0, 0];
    code.extend([0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
    let mut file = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    for (name, data) in [(".BTF", btf), (".BTF.ext", ext), ("license", b"GPL\0".to_vec())] {
        let section = file.add_section(Vec::new(), name.into(), SectionKind::Other);
        file.set_section_data(section, data, 4);
    }
    let section = file.add_section(Vec::new(), b"kprobe/x".to_vec(), SectionKind::Text);
    let size = code.len() as u64;
    file.set_section_data(section, code, 8);
    file.add_symbol(Symbol {
        name: b"prog".to_vec(),
        value: 0,
        size,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    file.write().unwrap()
}
