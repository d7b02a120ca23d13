//! The commands that need no pipeline, as people call them.

mod world;

use std::path::Path;
use std::process::Command;

use btf::Btf;

use world::{World, kernel};

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
    world.check(
        "min-core-btf new.btf folder/is/not/there.btf pid.bpf.o",
        1,
        "its folder is not there; make it first",
    );
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
    let bytes = std::fs::read(world.path("old.btf")).unwrap();
    std::fs::write(world.path("cut.btf"), &bytes[..bytes.len() - 1]).unwrap();
    world.check("dump cut.btf", 1, "has the file been cut short?");
    // It would fill the memory otherwise.
    world.check("dump /dev/zero", 1, "/dev/zero: can't be read: a device");
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
