//! The known defects of `bpftool gen min_core_btf` 7.8: in each case it is wrong and the minimized BTF here is right.
//!
//! B1 to B4 are silent: the program is relocated differently on bpftool's BTF than on the full one. The cases show
//! both, since `strict_bpftool` keeps exactly what bpftool keeps.

mod case;

use btf::{Btf, Builder, ByteOrder, IntEncoding, Kind, TypeId};
use case::{Relo, btf, load, mov, object, records, relo, short};
use relo_core::{BpfObject, MinimizeOptions, Mode, ReloKind, minimize};

const LE: ByteOrder = ByteOrder::Little;

fn int(builder: &mut Builder) -> TypeId {
    builder.int("int", 4, IntEncoding::SIGNED).expect("fits")
}

fn composite(
    builder: &mut Builder,
    kind: Kind,
    name: &str,
    size: u32,
    members: &[(&str, TypeId, u32)],
) -> TypeId {
    let id = builder.composite(kind, name, size).expect("fits");
    for &(name, ty, bit_offset) in members {
        builder.member(name, ty, bit_offset, None).expect("fits");
    }
    id
}

fn reference(builder: &mut Builder, kind: Kind, name: &str, target: TypeId) -> TypeId {
    builder.reference(kind, name, target).expect("fits")
}

/// Minimizes, and checks the decisions on the full BTF, on ours and on what bpftool would keep.
fn check(program: impl FnOnce(&mut Builder) -> Vec<Relo>, kernel: &[u8], full: &[&str], bpftool: &[&str]) {
    let program = object(LE, program);
    assert_eq!(short(&records(&program, kernel, Mode::Correct)), full, "on the full BTF");
    let target = Btf::parse(kernel).expect("a BTF");
    let ours = minimize(&target, &[&program], MinimizeOptions::default()).expect("sound");
    assert_eq!(short(&records(&program, &ours.bytes, Mode::Correct)), full, "on ours");
    assert!(ours.proofs[0].differences.is_empty());
    let options = MinimizeOptions { strict_bpftool: true, ..MinimizeOptions::default() };
    let theirs = minimize(&target, &[&program], options).expect("written");
    assert_eq!(short(&records(&program, &theirs.bytes, Mode::Correct)), bpftool, "on bpftool's");
    assert_eq!(theirs.proofs[0].differences.is_empty(), full == bpftool, "the proof says so");
}

/// A field is read through the typedef, so bpftool keeps the pointer and drops what it points to.
#[test]
fn b1_pointer_to_void_behind_a_typedef() {
    let kernel = btf(LE, |b| {
        let x = composite(b, Kind::Struct, "x", 4, &[]);
        let ptr = reference(b, Kind::Ptr, "", x);
        let foo_p = reference(b, Kind::Typedef, "foo_p", ptr);
        composite(b, Kind::Struct, "holder", 8, &[("p", foo_p, 0)]);
    });
    let program = |b: &mut Builder| {
        let ptr = reference(b, Kind::Ptr, "", TypeId::VOID);
        let foo_p = reference(b, Kind::Typedef, "foo_p", ptr);
        let holder = composite(b, Kind::Struct, "holder", 8, &[("p", foo_p, 0)]);
        vec![
            relo(ReloKind::ByteOff, holder, "0:0", load(8, 0)),
            relo(ReloKind::TypeExists, foo_p, "0", mov(1)),
        ]
    };
    check(program, &kernel, &["relocated 0", "absent 0"], &["relocated 0", "relocated 1"]);
}

#[test]
fn b2_pointer_to_void_in_a_matched_struct() {
    let kernel = btf(LE, |b| {
        let int = int(b);
        let x = composite(b, Kind::Struct, "x", 4, &[]);
        let ptr = reference(b, Kind::Ptr, "", x);
        composite(b, Kind::Struct, "h", 16, &[("pad", int, 0), ("p", ptr, 64)]);
    });
    let program = |b: &mut Builder| {
        let ptr = reference(b, Kind::Ptr, "", TypeId::VOID);
        let h = composite(b, Kind::Struct, "h", 8, &[("p", ptr, 0)]);
        vec![relo(ReloKind::ByteOff, h, "0:0", load(8, 0)), relo(ReloKind::TypeMatches, h, "0", mov(1))]
    };
    check(program, &kernel, &["relocated 8", "absent 0"], &["relocated 8", "relocated 1"]);
}

#[test]
fn b3_zero_length_array_that_is_not_last() {
    let kernel = btf(LE, |b| {
        let int = int(b);
        let array = b.array(int, int, 0).expect("fits");
        composite(b, Kind::Struct, "h", 8, &[("n", int, 0), ("a", array, 32), ("b", int, 32)]);
    });
    let program = |b: &mut Builder| {
        let int = int(b);
        let array = b.array(int, int, 4).expect("fits");
        let h = composite(b, Kind::Struct, "h", 20, &[("n", int, 0), ("a", array, 32)]);
        vec![relo(ReloKind::ByteOff, h, "0:1", mov(4)), relo(ReloKind::FieldExists, h, "0:1:3", mov(1))]
    };
    check(program, &kernel, &["relocated 4", "absent 0"], &["relocated 4", "relocated 1"]);
}

#[test]
fn b4_pointers_of_a_32_bit_kernel() {
    let kernel = btf(LE, |b| {
        let ptr = reference(b, Kind::Ptr, "", TypeId::VOID);
        b.int("long unsigned int", 4, IntEncoding::NONE).expect("fits");
        composite(b, Kind::Struct, "h", 4, &[("p", ptr, 0)]);
    });
    let program = |b: &mut Builder| {
        let ptr = reference(b, Kind::Ptr, "", TypeId::VOID);
        let h = composite(b, Kind::Struct, "h", 8, &[("p", ptr, 0)]);
        vec![relo(ReloKind::ByteOff, h, "0:0", load(8, 0)), relo(ReloKind::ByteSize, h, "0:0", mov(8))]
    };
    check(program, &kernel, &["relocated 0", "relocated 4"], &["relocated 0", "relocated 8"]);
}

#[test]
fn b5_typedef_of_a_pointer_to_a_forward_declaration() {
    let kernel = btf(LE, |b| {
        let fwd = b.fwd("q", false).expect("fits");
        let ptr = reference(b, Kind::Ptr, "", fwd);
        reference(b, Kind::Typedef, "q_p", ptr);
    });
    let program = |b: &mut Builder| {
        let fwd = b.fwd("q", false).expect("fits");
        let ptr = reference(b, Kind::Ptr, "", fwd);
        let q_p = reference(b, Kind::Typedef, "q_p", ptr);
        vec![relo(ReloKind::TypeExists, q_p, "0", mov(1))]
    };
    check(program, &kernel, &["relocated 1"], &["relocated 1"]);
}

#[test]
fn b6_type_tags_in_a_matched_struct() {
    let kernel = btf(LE, |b| {
        let x = composite(b, Kind::Struct, "x", 4, &[]);
        let tag = reference(b, Kind::TypeTag, "rcu", x);
        let ptr = reference(b, Kind::Ptr, "", tag);
        composite(b, Kind::Struct, "h", 8, &[("p", ptr, 0)]);
    });
    let program = |b: &mut Builder| {
        let x = composite(b, Kind::Struct, "x", 4, &[]);
        let ptr = reference(b, Kind::Ptr, "", x);
        let h = composite(b, Kind::Struct, "h", 8, &[("p", ptr, 0)]);
        vec![relo(ReloKind::TypeMatches, h, "0", mov(1))]
    };
    check(program, &kernel, &["relocated 1"], &["relocated 1"]);
}

#[test]
fn b7_callback_that_takes_its_own_struct_by_value() {
    let kernel = |b: &mut Builder| {
        let int = int(b);
        let (s, proto, ptr) = (TypeId(2), TypeId(3), TypeId(4));
        composite(b, Kind::Struct, "s", 16, &[("a", int, 0), ("cb", ptr, 64)]);
        assert_eq!(b.func_proto(TypeId::VOID).expect("fits"), proto);
        b.param("arg", s).expect("fits");
        assert_eq!(reference(b, Kind::Ptr, "", proto), ptr);
        s
    };
    let program = |b: &mut Builder| {
        let s = kernel(b);
        vec![relo(ReloKind::TypeMatches, s, "0", mov(1))]
    };
    let target = btf(LE, |b| {
        kernel(b);
    });
    check(program, &target, &["relocated 1"], &["relocated 1"]);
}

#[test]
fn b8_typedef_cycle() {
    let target = btf(LE, |b| {
        reference(b, Kind::Typedef, "t", TypeId(2));
        reference(b, Kind::Typedef, "u", TypeId(1));
    });
    let program = object(LE, |b| {
        let int = int(b);
        let t = reference(b, Kind::Typedef, "t", int);
        vec![relo(ReloKind::TypeExists, t, "0", mov(1)), relo(ReloKind::TypeSize, t, "0", mov(4))]
    });
    assert_eq!(short(&records(&program, &target, Mode::Correct)), ["error broken-btf", "error broken-btf"]);
}

#[test]
fn b10_one_bad_object_costs_nothing() {
    let kernel = btf(LE, |b| {
        let int = int(b);
        composite(b, Kind::Struct, "s", 4, &[("x", int, 0)]);
        composite(b, Kind::Struct, "s", 8, &[("x", int, 32)]);
        composite(b, Kind::Struct, "t", 4, &[("y", int, 0)]);
    });
    let reads = |name: &'static str, member: &'static str| {
        object(LE, move |b: &mut Builder| {
            let int = int(b);
            let s = composite(b, Kind::Struct, name, 4, &[(member, int, 0)]);
            vec![relo(ReloKind::ByteOff, s, "0:0", mov(0))]
        })
    };
    let (bad, maps_only, good) = (reads("s", "x"), object(LE, |_| Vec::new()), reads("t", "y"));
    let target = Btf::parse(&kernel).expect("a BTF");
    let objects: [&BpfObject; 3] = [&bad, &maps_only, &good];
    let minimized = minimize(&target, &objects, MinimizeOptions::default()).expect("sound");
    assert_eq!(short(&records(&bad, &minimized.bytes, Mode::Correct)), ["error ambiguous-offset"]);
    assert_eq!(short(&records(&good, &minimized.bytes, Mode::Correct)), ["relocated 0"]);
    assert_eq!(minimized.proofs[0].errors.len(), 1);
    assert!(minimized.proofs[1].errors.is_empty() && minimized.proofs[2].errors.is_empty());
}

#[test]
fn b11_target_type_ids_are_counted() {
    let kernel = btf(LE, |b| {
        int(b);
        composite(b, Kind::Struct, "t", 4, &[]);
    });
    let program = object(LE, |b| {
        let t = composite(b, Kind::Struct, "t", 4, &[]);
        vec![relo(ReloKind::TargetTypeId, t, "0", mov(1))]
    });
    let target = Btf::parse(&kernel).expect("a BTF");
    let minimized = minimize(&target, &[&program], MinimizeOptions::default()).expect("sound");
    assert_eq!(short(&records(&program, &kernel, Mode::Correct)), ["relocated 2"]);
    assert_eq!(short(&records(&program, &minimized.bytes, Mode::Correct)), ["relocated 1"]);
    assert_eq!(minimized.proofs[0].target_type_ids, 1);
}

/// bpftool keeps only the first of several matching types; a later relocation may need the second.
#[test]
fn only_the_first_of_several_matches() {
    let kernel = btf(LE, |b| {
        let int = int(b);
        composite(b, Kind::Struct, "s", 8, &[("x", int, 0)]);
        composite(b, Kind::Struct, "s", 8, &[("x", int, 0), ("y", int, 32)]);
    });
    let program = |b: &mut Builder| {
        let int = int(b);
        let s = composite(b, Kind::Struct, "s", 8, &[("x", int, 0), ("y", int, 32)]);
        vec![relo(ReloKind::ByteOff, s, "0:0", mov(0)), relo(ReloKind::ByteOff, s, "0:1", mov(4))]
    };
    check(program, &kernel, &["relocated 0", "relocated 4"], &["relocated 0", "poisoned 0"]);
}

/// B14, and every other value of the file: the byte order is the file's, never the host's.
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
        let program = object(order, |b| {
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
        let lshift = if order == ByteOrder::Little { 64 - 8 } else { 32 + 3 };
        let want = ["relocated 4".to_owned(), format!("relocated {lshift}"), "relocated 59".to_owned()];
        assert_eq!(short(&records(&program, &kernel, Mode::Correct)), want, "{order:?}");
        let target = Btf::parse(&kernel).expect("a BTF");
        let minimized = minimize(&target, &[&program], MinimizeOptions::default()).expect("sound");
        assert_eq!(Btf::parse(&minimized.bytes).expect("a BTF").order(), order);
    }
}

/// An error ends the comparison at the first of two members; their number has decided something all the same.
#[test]
fn an_error_among_members() {
    let types = |b: &mut Builder| {
        let int = int(b);
        let (ptr, array) = (TypeId(2), TypeId(3));
        assert_eq!(reference(b, Kind::Ptr, "", array), ptr);
        assert_eq!(b.array(ptr, int, 0).expect("fits"), array);
        composite(b, Kind::Struct, "s", 16, &[("a", array, 0), ("b", int, 64)])
    };
    let kernel = btf(LE, |b| {
        types(b);
    });
    let program = |b: &mut Builder| {
        let s = types(b);
        vec![relo(ReloKind::TypeMatches, s, "0", mov(1))]
    };
    check(program, &kernel, &["error too-deep"], &["absent 0"]);
}
