//! B5 to B8 and B10: bpftool ends without a BTF, by an error, a signal or never.

use btf::{Btf, Builder, Kind, TypeId};
use relo_core::{BpfObject, MinimizeOptions, Mode, ReloKind, minimize};

use crate::bpftool::{Bpftool, Ended};
use crate::case::{btf, mov, object_file, parsed, records, relo, short};
use crate::{LE, Theirs, check, composite, int, reference};

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
    check(
        "b5_typedef_of_a_pointer_to_a_forward_declaration",
        program,
        &kernel,
        &["relocated 1"],
        Theirs::Fails("unsupported kind: fwd"),
    );
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
    check(
        "b6_type_tags_in_a_matched_struct",
        program,
        &kernel,
        &["relocated 1"],
        Theirs::Fails("unsupported kind: type_tag"),
    );
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
    check(
        "b7_callback_that_takes_its_own_struct_by_value",
        program,
        &target,
        &["relocated 1"],
        Theirs::Fails("signal 11"),
    );
}

#[test]
fn b8_typedef_cycle() {
    let target = btf(LE, |b| {
        reference(b, Kind::Typedef, "t", TypeId(2));
        reference(b, Kind::Typedef, "u", TypeId(1));
    });
    let program = |b: &mut Builder| {
        let int = int(b);
        let t = reference(b, Kind::Typedef, "t", int);
        vec![relo(ReloKind::TypeExists, t, "0", mov(1)), relo(ReloKind::TypeSize, t, "0", mov(4))]
    };
    // The signal is that of a process that has used up its time.
    let full = ["error broken-btf", "error broken-btf"];
    check("b8_typedef_cycle", program, &target, &full, Theirs::Fails("signal"));
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
        object_file(LE, move |b: &mut Builder| {
            let int = int(b);
            let s = composite(b, Kind::Struct, name, 4, &[(member, int, 0)]);
            vec![relo(ReloKind::ByteOff, s, "0:0", mov(0))]
        })
    };
    let files = [reads("s", "x"), object_file(LE, |_| Vec::new()), reads("t", "y")];
    let [bad, maps_only, good] = files.each_ref().map(|file| parsed(file));
    let target = Btf::parse(&kernel).expect("a BTF");
    let objects: [&BpfObject; 3] = [&bad, &maps_only, &good];
    let minimized = minimize(&target, &objects, MinimizeOptions::default()).expect("sound");
    assert_eq!(short(&records(&bad, &minimized.bytes, Mode::Correct)), ["error ambiguous-offset"]);
    assert_eq!(short(&records(&good, &minimized.bytes, Mode::Correct)), ["relocated 0"]);
    assert_eq!(minimized.proofs[0].errors.len(), 1);
    assert!(minimized.proofs[1].errors.is_empty() && minimized.proofs[2].errors.is_empty());

    let Some(bpftool) = Bpftool::find("b10") else { return };
    let [bad, maps_only, good] = files;
    for also in [bad, maps_only] {
        let ended = bpftool.min_core_btf(None, &kernel, &[good.clone(), also]);
        assert!(matches!(ended, Ended::Failed(_)), "bpftool: {ended:?}");
    }
    assert!(matches!(bpftool.min_core_btf(None, &kernel, &[good]), Ended::Wrote(_)), "alone");
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
    check("an_error_among_members", program, &kernel, &["error too-deep"], Theirs::Fails("-22"));
}
