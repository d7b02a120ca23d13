//! A program and a kernel as literals, and one function that relocates the one against the other.

pub mod tool;

use std::sync::Arc;

use btf::{Btf, Builder, ByteOrder, Header, Kind, TypeId};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};
use relo_core::{BpfObject, Insn, Mode, RecordedRelo, ReloKind, Target, TargetBtf, Wanted, relocate};

/// A relocation of the program: kind, root, access string, and the value that its instruction holds.
pub struct Relo {
    pub kind: ReloKind,
    pub root: TypeId,
    pub access: &'static str,
    pub insn: Insn,
}

/// `r1 = value`, the instruction that can hold any answer.
pub fn mov(value: i32) -> Insn {
    Insn { code: 0xb7, dst: 1, src: 0, off: 0, imm: value }
}

/// A load of `size` bytes at an offset.
pub fn load(size: u32, off: i16) -> Insn {
    let width = [(4, 0x00), (2, 0x08), (1, 0x10), (8, 0x18)].iter().find(|(bytes, _)| *bytes == size);
    Insn { code: 0x61 | width.map_or(0, |(_, bits)| *bits), dst: 1, src: 2, off, imm: 0 }
}

pub fn relo(kind: ReloKind, root: TypeId, access: &'static str, insn: Insn) -> Relo {
    Relo { kind, root, access, insn }
}

/// A BTF written down as code.
pub fn btf(order: ByteOrder, build: impl FnOnce(&mut Builder)) -> Vec<u8> {
    let mut builder = Builder::new(order);
    build(&mut builder);
    builder.finish().expect("the literal is a BTF")
}

/// The types and the strings of a BTF: the header has 24 or 32 bytes, by who wrote it.
pub fn sections(btf: &[u8]) -> [&[u8]; 2] {
    let header = Header::parse(btf).expect("a BTF");
    [header.types, header.strings].map(|range| &btf[range])
}

/// The same with every DECL_TAG as a type of kind 20, which nobody knows yet; with a layout section if that is told.
pub fn with_unknown_kind(btf: &[u8], base: Option<&Btf<'_>>, described: bool) -> Vec<u8> {
    let parsed = match base {
        Some(base) => Btf::parse_split(btf, Arc::new(base.clone())),
        None => Btf::parse(btf),
    };
    let parsed = parsed.expect("a BTF");
    let (header, order) = (parsed.header(), parsed.order());
    let mut types = btf[header.types.clone()].to_vec();
    for id in parsed.own_ids().filter(|&id| parsed.resolve(id).is_ok_and(|ty| ty.kind() == Kind::DeclTag)) {
        let at = parsed.offset_of(id).map_or(0, |at| at as usize - header.types.start) + 4;
        types[at..at + 4].copy_from_slice(&order.encode(20 << 24));
    }
    let layout: Vec<u8> = if described { [[0; 4].repeat(20), vec![4, 0, 0, 0]].concat() } else { Vec::new() };
    let strings = &btf[header.strings.clone()];
    let [types_len, layout_len, strings_len] =
        [types.len(), layout.len(), strings.len()].map(|len| len as u32);
    let mut out = btf[..4].to_vec();
    for word in [32, 0, types_len, types_len + layout_len, strings_len, types_len, layout_len] {
        out.extend(order.encode(word));
    }
    [&out, &types, &layout, strings].concat()
}

/// An object whose one program holds the relocations, one an instruction.
pub fn object(order: ByteOrder, build: impl FnOnce(&mut Builder) -> Vec<Relo>) -> BpfObject {
    parsed(&object_file(order, build))
}

/// An object out of its file.
pub fn parsed(file: &[u8]) -> BpfObject {
    BpfObject::parse("test", file).expect("the literal is an object")
}

/// The file of such an object.
pub fn object_file(order: ByteOrder, build: impl FnOnce(&mut Builder) -> Vec<Relo>) -> Vec<u8> {
    let mut builder = Builder::new(order);
    let relos = build(&mut builder);
    let section = builder.string(b"test").expect("a string");
    let mut part = vec![16, section.0, relos.len() as u32];
    let mut code = Vec::new();
    for relo in &relos {
        let access = builder.string(relo.access.as_bytes()).expect("a string");
        part.extend([code.len() as u32, relo.root.0, access.0, relo.kind as u32]);
        code.extend(relo.insn.encode(order));
        if relo.insn.is_ldimm64() {
            code.extend(Insn { code: 0, dst: 0, src: 0, off: 0, imm: 0 }.encode(order));
        }
    }
    let local = builder.finish().expect("the literal is a BTF");
    elf(order, &local, &ext(order, &part), &code)
}

/// Nothing without relocations: compilers write no section then.
fn ext(order: ByteOrder, part: &[u32]) -> Vec<u8> {
    if part[2] == 0 {
        return Vec::new();
    }
    let mut out = match order {
        ByteOrder::Little => vec![0x9f, 0xeb, 1, 0],
        ByteOrder::Big => vec![0xeb, 0x9f, 1, 0],
    };
    for word in [32, 0, 0, 0, 0, 0, 4 * part.len() as u32].iter().chain(part) {
        out.extend(order.encode(*word));
    }
    out
}

fn elf(order: ByteOrder, btf: &[u8], ext: &[u8], code: &[u8]) -> Vec<u8> {
    let endianness = match order {
        ByteOrder::Little => Endianness::Little,
        ByteOrder::Big => Endianness::Big,
    };
    let mut file = Object::new(BinaryFormat::Elf, Architecture::Bpf, endianness);
    for (name, data) in [(".BTF", btf), (".BTF.ext", ext)].into_iter().filter(|(_, data)| !data.is_empty()) {
        let id = file.add_section(Vec::new(), name.into(), SectionKind::Other);
        file.set_section_data(id, data.to_vec(), 4);
    }
    let text = file.add_section(Vec::new(), b"test".to_vec(), SectionKind::Text);
    file.set_section_data(text, code.to_vec(), 8);
    file.add_symbol(Symbol {
        name: b"prog".to_vec(),
        value: 0,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    });
    file.write().expect("the literal is an ELF file")
}

/// The records of an object against a target.
pub fn records(object: &BpfObject, target: &[u8], mode: Mode) -> Vec<RecordedRelo> {
    records_on(object, target, &[], mode)
}

/// The records of an object against vmlinux and modules on it.
pub fn records_on(object: &BpfObject, vmlinux: &[u8], modules: &[Vec<u8>], mode: Mode) -> Vec<RecordedRelo> {
    let vmlinux = Arc::new(Btf::parse(vmlinux).expect("the literal is a BTF"));
    let splits: Vec<Btf<'_>> = modules
        .iter()
        .map(|module| Btf::parse_split(module, vmlinux.clone()).expect("the literal is split BTF"))
        .collect();
    let modules: Vec<TargetBtf<'_>> =
        splits.iter().map(|btf| TargetBtf { module: Some("module"), btf }).collect();
    let wanted = Wanted::new([object]);
    let target = Target::new(&vmlinux, &modules, &wanted).expect("the literal is whole");
    relocate(object, &target, mode)
}

/// The records in short: outcome, and the value or the code of the error.
pub fn short(records: &[RecordedRelo]) -> Vec<String> {
    records
        .iter()
        .map(|record| match (&record.outcome, &record.decision) {
            (relo_core::Outcome::Error(error), _) => format!("error {}", error.code()),
            (outcome, Some(decision)) => format!("{} {}", outcome.name(), decision.target),
            (outcome, None) => outcome.name().to_owned(),
        })
        .collect()
}
