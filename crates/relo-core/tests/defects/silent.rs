//! B1 to B4, and one more: bpftool writes a BTF on which the program is relocated otherwise, and says nothing.

use btf::{Builder, IntEncoding, Kind, TypeId};
use relo_core::ReloKind;

use crate::case::{btf, load, mov, relo};
use crate::{LE, Theirs, check, composite, int, reference};

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
    check(
        "b1_pointer_to_void_behind_a_typedef",
        program,
        &kernel,
        &["relocated 0", "absent 0"],
        Theirs::Decides(&["relocated 0", "relocated 1"]),
    );
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
    check(
        "b2_pointer_to_void_in_a_matched_struct",
        program,
        &kernel,
        &["relocated 8", "absent 0"],
        Theirs::Decides(&["relocated 8", "relocated 1"]),
    );
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
    check(
        "b3_zero_length_array_that_is_not_last",
        program,
        &kernel,
        &["relocated 4", "absent 0"],
        Theirs::Decides(&["relocated 4", "relocated 1"]),
    );
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
    check(
        "b4_pointers_of_a_32_bit_kernel",
        program,
        &kernel,
        &["relocated 0", "relocated 4"],
        Theirs::Decides(&["relocated 0", "relocated 8"]),
    );
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
    check(
        "only_the_first_of_several_matches",
        program,
        &kernel,
        &["relocated 0", "relocated 4"],
        Theirs::Decides(&["relocated 0", "poisoned 0"]),
    );
}
