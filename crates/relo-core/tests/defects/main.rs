//! The known defects of `bpftool gen min_core_btf` 7.8: in each case bpftool is wrong and the minimized BTF is right.
//!
//! B1 to B4 are silent: the program is relocated differently on bpftool's BTF than on the full one. `strict_bpftool`
//! keeps exactly what bpftool keeps, so each case says what becomes of the program there; where bpftool is installed
//! it is run on the same files and has to end as the case says.

mod bpftool;
#[path = "../case/mod.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod case;
mod ends;
mod inputs;
mod silent;

use bpftool::{Bpftool, Ended};
use btf::{Btf, Builder, ByteOrder, IntEncoding, Kind, TypeId};
use case::{Relo, object_file, parsed, records, sections, short};
use relo_core::{MinimizeOptions, Mode, minimize};

const LE: ByteOrder = ByteOrder::Little;

/// What comes of bpftool.
enum Theirs<'t> {
    /// A BTF on which the program's relocations end so.
    Decides(&'t [&'t str]),
    /// No BTF, and these words.
    Fails(&'t str),
}

/// Minimizes, and checks the decisions on the full BTF, on ours and on what bpftool keeps, or that it keeps nothing.
fn check(
    case: &str,
    program: impl FnOnce(&mut Builder) -> Vec<Relo>,
    kernel: &[u8],
    full: &[&str],
    theirs: Theirs<'_>,
) {
    let file = object_file(LE, program);
    let program = parsed(&file);
    assert_eq!(short(&records(&program, kernel, Mode::Correct)), full, "on the full BTF");
    let target = Btf::parse(kernel).expect("a BTF");
    let ours = minimize(&target, &[&program], MinimizeOptions::default()).expect("sound");
    assert_eq!(short(&records(&program, &ours.bytes, Mode::Correct)), full, "on ours");
    assert!(ours.proofs[0].differences.is_empty());
    let options = MinimizeOptions { strict_bpftool: true, ..MinimizeOptions::default() };
    let strict = minimize(&target, &[&program], options).expect("written");
    if let Theirs::Decides(theirs) = theirs {
        assert_eq!(short(&records(&program, &strict.bytes, Mode::Correct)), theirs, "on what bpftool keeps");
        assert_eq!(strict.proofs[0].differences.is_empty(), full == theirs, "the proof says so");
    }
    let Some(bpftool) = Bpftool::find(case) else { return };
    match (theirs, bpftool.min_core_btf(None, kernel, &[file])) {
        (Theirs::Decides(theirs), Ended::Wrote(bytes)) => {
            assert_eq!(short(&records(&program, &bytes, Mode::Correct)), theirs, "on bpftool's");
            assert_eq!(sections(&bytes), sections(&strict.bytes), "bpftool's and what it keeps by our rules");
        }
        (Theirs::Fails(words), Ended::Failed(said)) => assert!(said.contains(words), "bpftool: {said}"),
        (Theirs::Decides(_), ended) => panic!("bpftool wrote nothing: {ended:?}"),
        (Theirs::Fails(words), Ended::Wrote(_)) => panic!("bpftool wrote a BTF instead of {words}"),
    }
}

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
