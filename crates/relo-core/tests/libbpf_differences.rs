//! Where libbpf 1.7 decides otherwise: by default what is correct, in strict mode what libbpf does.
//!
//! `judges/known-differences.md` has the reasons, and `judges/libbpf` holds both modes against libbpf itself.

#[allow(dead_code, reason = "each test uses its part")]
mod case;

use btf::{Builder, ByteOrder, IntEncoding, Kind};
use case::{Relo, btf, mov, object, records, relo, short};
use relo_core::{Insn, MinimizeOptions, Mode, ReloKind, minimize};

const LE: ByteOrder = ByteOrder::Little;
const HIGH: u32 = 0x8000_0001;

fn check(program: impl FnOnce(&mut Builder) -> Vec<Relo>, kernel: &[u8], correct: &[&str], libbpf: &[&str]) {
    let program = object(LE, program);
    assert_eq!(short(&records(&program, kernel, Mode::Correct)), correct, "correct");
    assert_eq!(short(&records(&program, kernel, Mode::StrictLibbpf)), libbpf, "as libbpf");
}

fn unsigned_enum(b: &mut Builder) -> btf::TypeId {
    let id = b.enumeration(Kind::Enum, "e", 4, false).expect("fits");
    b.enumerator("HIGH", i64::from(HIGH)).expect("fits");
    id
}

/// `w1 = value`: of 32 bits.
fn mov32(value: u32) -> Insn {
    Insn { code: 0xb4, ..mov(value as i32) }
}

#[test]
fn d1_unsigned_enumerators() {
    let kernel = btf(LE, |b| {
        unsigned_enum(b);
    });
    let program = |b: &mut Builder| {
        let e = unsigned_enum(b);
        let ldimm64 = Insn { code: 0x18, ..mov(HIGH as i32) };
        vec![relo(ReloKind::EnumvalValue, e, "0", ldimm64)]
    };
    check(program, &kernel, &["relocated 2147483649"], &["error unexpected-value"]);
    let diverges =
        |mode| records(&object(LE, program), &kernel, mode)[0].decision.map(|decision| decision.diverges);
    assert_eq!((diverges(Mode::Correct), diverges(Mode::StrictLibbpf)), (Some(true), Some(false)));
}

#[test]
fn d2_immediates_of_32_bit_operations() {
    let kernel = btf(LE, |b| {
        b.composite(Kind::Struct, "s", HIGH).expect("fits");
    });
    let program = |b: &mut Builder| {
        let s = b.composite(Kind::Struct, "s", HIGH).expect("fits");
        vec![
            relo(ReloKind::TypeSize, s, "0", mov32(HIGH)),
            relo(ReloKind::TypeSize, s, "0", mov(HIGH as i32)),
        ]
    };
    check(
        program,
        &kernel,
        &["relocated 2147483649", "error unexpected-value"],
        &["error unexpected-value", "error unexpected-value"],
    );
}

#[test]
fn d3_a_name_twice() {
    let kernel = btf(LE, |b| {
        let int = b.int("int", 4, IntEncoding::SIGNED).expect("fits");
        let ptr = b.reference(Kind::Ptr, "", int).expect("fits");
        let inner = b.composite(Kind::Struct, "", 16).expect("fits");
        b.member("x", ptr, 64, None).expect("fits");
        b.composite(Kind::Struct, "s", 24).expect("fits");
        b.member("", inner, 0, None).expect("fits");
        b.member("x", int, 128, None).expect("fits");
    });
    let program = |b: &mut Builder| {
        let int = b.int("int", 4, IntEncoding::SIGNED).expect("fits");
        let s = b.composite(Kind::Struct, "s", 4).expect("fits");
        b.member("x", int, 0, None).expect("fits");
        vec![relo(ReloKind::ByteOff, s, "0:0", mov(0))]
    };
    check(program, &kernel, &["relocated 16"], &["relocated 24"]);
}

/// The spec that strict mode keeps of D3 leads nowhere, and the object is minimized all the same.
#[test]
fn d3_minimized() {
    let types = |b: &mut Builder| {
        let int = b.int("int", 4, IntEncoding::SIGNED).expect("fits");
        let inner = b.composite(Kind::Struct, "s", 16).expect("fits");
        b.member("a", int, 0, None).expect("fits");
        b.member("a", int, 64, None).expect("fits");
        let outer = b.composite(Kind::Struct, "s", 24).expect("fits");
        b.member("", inner, 0, None).expect("fits");
        b.member("a", inner, 64, None).expect("fits");
        outer
    };
    let kernel = btf(LE, |b| {
        types(b);
    });
    let program = object(LE, |b| {
        let outer = types(b);
        vec![relo(ReloKind::ByteOff, outer, "0:1:0", mov(8))]
    });
    for mode in [Mode::Correct, Mode::StrictLibbpf] {
        let options = MinimizeOptions { mode, ..MinimizeOptions::default() };
        let target = btf::Btf::parse(&kernel).expect("a BTF");
        let minimized = minimize(&target, &[&program], options).expect("sound").bytes;
        assert_eq!(short(&records(&program, &kernel, mode)), ["relocated 8"]);
        assert_eq!(short(&records(&program, &minimized, mode)), ["relocated 8"]);
    }
}
