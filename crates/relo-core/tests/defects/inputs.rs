//! B9 and B11 to B14: split BTF, ids, kinds of tomorrow, several objects, the other byte order.

use std::sync::Arc;

use btf::{Btf, Builder, ByteOrder, Kind, TypeId};
use relo_core::{
    MinimizeOptions, Mode, ModuleTypes, ReloKind, Target, TargetBtf, Wanted, minimize, minimize_target,
};

use crate::bpftool::{Bpftool, Ended};
use crate::case::{
    btf, mov, object_file, parsed, records, records_on, relo, sections, short, with_unknown_kind,
};
use crate::{LE, composite, int, reference};

/// The base is given to bpftool, which reads the module as if it stood alone.
#[test]
fn b9_split_btf() {
    let vmlinux = btf(LE, |b| {
        let int = int(b);
        composite(b, Kind::Struct, "list", 16, &[("next", int, 0)]);
    });
    let base = Arc::new(Btf::parse(&vmlinux).expect("a BTF"));
    let mut builder = Builder::split(&base);
    let list = reference(&mut builder, Kind::Typedef, "list_t", TypeId(2));
    composite(&mut builder, Kind::Struct, "device", 24, &[("number", TypeId(1), 0), ("list", list, 64)]);
    let module = builder.finish().expect("split BTF");
    let file = object_file(LE, |b| {
        let int = int(b);
        let list = composite(b, Kind::Struct, "list", 4, &[("next", int, 0)]);
        let device = composite(b, Kind::Struct, "device", 4, &[("list", list, 0)]);
        vec![relo(ReloKind::ByteOff, device, "0:0:0", mov(0)), relo(ReloKind::ByteOff, list, "0:0", mov(0))]
    });
    let program = parsed(&file);
    let full = ["relocated 8", "relocated 0"];
    assert_eq!(short(&records_on(&program, &vmlinux, std::slice::from_ref(&module), Mode::Correct)), full);

    let split = Btf::parse_split(&module, base.clone()).expect("split BTF");
    let modules = [TargetBtf { module: Some("device"), btf: &split }];
    let wanted = Wanted::new([&program]);
    let target = Target::new(&base, &modules, &wanted).expect("whole");
    for modules in [ModuleTypes::Merge, ModuleTypes::Split] {
        let options = MinimizeOptions { modules, ..MinimizeOptions::default() };
        let min = minimize_target(&target, &[&program], options).expect("sound");
        assert_eq!(min.modules.len(), usize::from(modules == ModuleTypes::Split));
        assert_eq!(
            short(&records_on(&program, &min.bytes, &min.modules, Mode::Correct)),
            full,
            "{modules:?}"
        );
    }

    let Some(bpftool) = Bpftool::find("b9") else { return };
    let ended = bpftool.min_core_btf(Some(&vmlinux), &module, &[file]);
    assert!(matches!(&ended, Ended::Failed(said) if said.contains("failed parsing")), "bpftool: {ended:?}");
}

/// The value can only be an id of the minimized BTF, which the running kernel does not know. We count such values.
#[test]
fn b11_target_type_ids() {
    let kernel = btf(LE, |b| {
        int(b);
        composite(b, Kind::Struct, "t", 4, &[]);
    });
    let file = object_file(LE, |b| {
        let t = composite(b, Kind::Struct, "t", 4, &[]);
        vec![relo(ReloKind::TargetTypeId, t, "0", mov(1))]
    });
    let program = parsed(&file);
    let target = Btf::parse(&kernel).expect("a BTF");
    let minimized = minimize(&target, &[&program], MinimizeOptions::default()).expect("sound");
    assert_eq!(short(&records(&program, &kernel, Mode::Correct)), ["relocated 2"]);
    assert_eq!(short(&records(&program, &minimized.bytes, Mode::Correct)), ["relocated 1"]);
    assert_eq!(minimized.proofs[0].target_type_ids, 1);

    let Some(bpftool) = Bpftool::find("b11") else { return };
    match bpftool.min_core_btf(None, &kernel, &[file]) {
        Ended::Wrote(bytes) => {
            assert_eq!(short(&records(&program, &bytes, Mode::Correct)), ["relocated 1"], "and not a word");
        }
        ended => panic!("bpftool: {ended:?}"),
    }
}

/// A kind of tomorrow, before, among and behind what the program needs; nothing, or a layout section, tells its length.
///
/// bpftool 7.8 steps over it with the section, but can't turn its bytes for the host.
#[test]
fn b12_unknown_kinds() {
    let build = |b: &mut Builder| {
        b.decl_tag("first", TypeId::VOID, None).expect("fits");
        let int = int(b);
        let unknown = b.decl_tag("second", int, None).expect("fits");
        let ptr = reference(b, Kind::Ptr, "", unknown);
        composite(b, Kind::Struct, "s", 24, &[("new", unknown, 0), ("old", int, 64), ("to_new", ptr, 128)]);
        reference(b, Kind::Typedef, "t", ptr);
        b.decl_tag("last", unknown, None).expect("fits");
    };
    let program = |b: &mut Builder| {
        let int = int(b);
        let void = reference(b, Kind::Ptr, "", TypeId::VOID);
        let members = [("old", int, 0), ("to_new", void, 64), ("new", int, 128)];
        let s = composite(b, Kind::Struct, "s", 24, &members);
        let t = reference(b, Kind::Typedef, "t", void);
        vec![
            relo(ReloKind::ByteOff, s, "0:0", mov(0)),
            relo(ReloKind::ByteOff, s, "0:1", mov(8)),
            relo(ReloKind::FieldExists, s, "0:2", mov(1)),
            relo(ReloKind::TypeExists, t, "0", mov(1)),
            relo(ReloKind::TypeMatches, s, "0", mov(1)),
        ]
    };
    // The member and what the pointer leads to are there, and nothing that we know is compatible with them.
    let full = ["relocated 8", "relocated 16", "absent 0", "absent 0", "absent 0"];
    for (order, described) in [(LE, false), (LE, true), (ByteOrder::Big, false), (ByteOrder::Big, true)] {
        let kernel = with_unknown_kind(&btf(order, build), None, described);
        let file = object_file(LE, program);
        let object = parsed(&file);
        assert_eq!(short(&records(&object, &kernel, Mode::Correct)), full, "{order:?}, {described}");
        let target = Btf::parse(&kernel).expect("stepped over");
        let min = minimize(&target, &[&object], MinimizeOptions::default()).expect("sound").bytes;
        assert_eq!(short(&records(&object, &min, Mode::Correct)), full, "{order:?}, {described}");
        let min = Btf::parse(&min).expect("a BTF");
        assert!(min.own_ids().all(|id| min.resolve(id).is_ok_and(|ty| ty.kind().number() < 20)));

        let Some(bpftool) = Bpftool::find("b12") else { continue };
        match bpftool.min_core_btf(None, &kernel, &[file]) {
            Ended::Failed(said) => assert!(said.contains("failed parsing"), "{said}"),
            ended => assert!(described && order == LE && bpftool.version() > (7, 1), "bpftool: {ended:?}"),
        }
    }
}

/// Each object gets a BTF of its own out of one search of the kernel; bpftool makes one BTF of all of them.
#[test]
fn b13_several_objects() {
    let members = [("a", 0), ("b", 32), ("c", 64)];
    let kernel = btf(LE, |b| {
        let int = int(b);
        composite(b, Kind::Struct, "s", 12, &members.map(|(name, at)| (name, int, at)));
    });
    let files = members.map(|(name, _)| {
        object_file(LE, |b| {
            let int = int(b);
            let s = composite(b, Kind::Struct, "s", 4, &[(name, int, 0)]);
            vec![relo(ReloKind::ByteOff, s, "0:0", mov(0))]
        })
    });
    let programs = files.each_ref().map(|file| parsed(file));
    let vmlinux = Btf::parse(&kernel).expect("a BTF");
    let wanted = Wanted::new(&programs);
    let target = Target::new(&vmlinux, &[], &wanted).expect("whole");
    let options = MinimizeOptions::default();
    let min_of = |objects: &[_]| minimize_target(&target, objects, options).expect("sound").bytes;
    let each = programs.each_ref().map(|program| min_of(&[program]));
    let all = min_of(&programs.each_ref());
    let has = |btf: &[u8], of: &_| short(&records(of, btf, Mode::Correct)) != ["poisoned 0"];
    for (index, btf) in each.iter().enumerate() {
        assert_eq!(programs.each_ref().map(|program| has(btf, program)), [0, 1, 2].map(|it| it == index));
    }
    assert_eq!(programs.each_ref().map(|program| has(&all, program)), [true; 3]);

    let Some(bpftool) = Bpftool::find("b13") else { return };
    match bpftool.min_core_btf(None, &kernel, &files) {
        Ended::Wrote(bytes) => assert_eq!(sections(&bytes), sections(&all), "one BTF, with what each needs"),
        ended => panic!("bpftool: {ended:?}"),
    }
}

/// The byte order is the file's, never the host's. bpftool 7.1 refuses the object, 7.8 writes the host's byte order.
#[test]
fn b14_big_endian_objects_and_targets() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let kernel = btf(order, |b| {
            let int = int(b);
            let s = b.composite(Kind::Struct, "s", 8).expect("fits");
            b.member("x", int, 32, None).expect("fits");
            b.member("bits", int, 3, Some(5)).expect("fits");
            assert_eq!(s, TypeId(2));
        });
        let file = object_file(order, |b| {
            let int = int(b);
            let s = b.composite(Kind::Struct, "s", 8).expect("fits");
            b.member("x", int, 0, None).expect("fits");
            b.member("bits", int, 40, Some(5)).expect("fits");
            let at = |kind, access, value| relo(kind, s, access, mov(value));
            vec![
                at(ReloKind::ByteOff, "0:0", 0),
                at(ReloKind::LshiftU64, "0:1", 0),
                at(ReloKind::RshiftU64, "0:1", 59),
            ]
        });
        let program = parsed(&file);
        let lshift = if order == ByteOrder::Little { 64 - 8 } else { 32 + 3 };
        let want = ["relocated 4".to_owned(), format!("relocated {lshift}"), "relocated 59".to_owned()];
        assert_eq!(short(&records(&program, &kernel, Mode::Correct)), want, "{order:?}");
        let target = Btf::parse(&kernel).expect("a BTF");
        let minimized = minimize(&target, &[&program], MinimizeOptions::default()).expect("sound");
        assert_eq!(short(&records(&program, &minimized.bytes, Mode::Correct)), want, "{order:?}");
        assert_eq!(Btf::parse(&minimized.bytes).expect("a BTF").order(), order);

        let Some(bpftool) = Bpftool::find("b14") else { continue };
        match (bpftool.min_core_btf(None, &kernel, &[file]), order) {
            (Ended::Wrote(bytes), ByteOrder::Little) => {
                assert_eq!(sections(&bytes), sections(&minimized.bytes));
            }
            (Ended::Wrote(bytes), ByteOrder::Big) => {
                assert!(bpftool.version() > (7, 1), "it was refused");
                assert_eq!(
                    Btf::parse(&bytes).expect("a BTF").order(),
                    ByteOrder::Little,
                    "the kernel's is big"
                );
            }
            (Ended::Failed(said), ByteOrder::Big) => {
                assert!(said.contains("failed to parse BPF object"), "{said}")
            }
            (ended, _) => panic!("bpftool: {ended:?}"),
        }
    }
}
