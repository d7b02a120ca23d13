//! A folder with kernels and programs, and btfpipe in it.

use std::path::PathBuf;
use std::process::{Command, Output};

use btf::{Builder, ByteOrder, IntEncoding, Kind};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

/// A folder with a kernel whose `struct task` has `flags` and `pid`, another one where `pid` has moved, and programs
/// that read `pid`, and `gone`, which neither has.
pub struct World(tempfile::TempDir);

impl World {
    pub fn new() -> World {
        let world = World(tempfile::tempdir().unwrap());
        world.put("old.btf", &kernel(8));
        world.put("new.btf", &kernel(16));
        world.put("pid.bpf.o", &program("pid"));
        world.put("gone.bpf.o", &program("gone"));
        world.put("text.o", b"no object");
        world
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_btfpipe"));
        command.current_dir(self.0.path()).args(arguments.split(' ')).output().unwrap()
    }

    /// Standard output; the exit code must be this, and the notes must have these words.
    #[track_caller]
    pub fn check(&self, arguments: &str, code: i32, noted: &str) -> String {
        let output = self.run(arguments);
        let notes = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments}: {notes}");
        assert!(notes.contains(noted), "{arguments}: {notes}");
        String::from_utf8(output.stdout).unwrap()
    }
}

pub fn kernel(offset: u32) -> Vec<u8> {
    let mut builder = Builder::new(ByteOrder::Little);
    let int = builder.int("int", 4, IntEncoding::SIGNED).unwrap();
    builder.composite(Kind::Struct, "task", offset + 4).unwrap();
    builder.member("flags", int, 0, None).unwrap();
    builder.member("pid", int, offset * 8, None).unwrap();
    builder.composite(Kind::Struct, "unused", 4).unwrap();
    builder.member("nobody", int, 0, None).unwrap();
    builder.finish().unwrap()
}

/// The same kernel as another pahole writes it: other types before, and in another order.
#[allow(dead_code, reason = "not every test has a use for it")]
pub fn kernel_again(offset: u32) -> Vec<u8> {
    let mut builder = Builder::new(ByteOrder::Little);
    builder.int("long int", 8, IntEncoding::SIGNED).unwrap();
    let int = builder.int("int", 4, IntEncoding::SIGNED).unwrap();
    builder.composite(Kind::Struct, "unused", 4).unwrap();
    builder.member("nobody", int, 0, None).unwrap();
    builder.composite(Kind::Struct, "task", offset + 4).unwrap();
    builder.member("flags", int, 0, None).unwrap();
    builder.member("pid", int, offset * 8, None).unwrap();
    builder.finish().unwrap()
}

/// `r1 = offset of a member of struct task; r0 = 0; exit`
pub fn program(member: &str) -> Vec<u8> {
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
