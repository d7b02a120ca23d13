//! Split BTF on a distilled base, put on the BTF of a kernel.

use std::sync::Arc;

use btf::{Btf, Builder, ByteOrder, Error, IntEncoding, Kind, RebaseError, TypeId};

/// What the module was built against, in short: int, struct held, struct pointed, enum mode, FWD union.
fn distilled() -> Result<Vec<u8>, Error> {
    let mut b = Builder::new(ByteOrder::Little);
    b.int("int", 4, IntEncoding::SIGNED)?;
    b.composite(Kind::Struct, "held", 8)?;
    b.composite(Kind::Struct, "pointed", 16)?;
    b.enumeration(Kind::Enum, "mode", 8, false)?;
    b.fwd("secret", true)?;
    b.finish()
}

/// The module's own types on it.
fn module(distilled: &Btf<'_>) -> Result<Vec<u8>, Error> {
    let mut b = Builder::split(distilled);
    let pointer = b.reference(Kind::Ptr, "", TypeId(3))?;
    let secret = b.reference(Kind::Ptr, "", TypeId(5))?;
    let alias = b.reference(Kind::Typedef, "held_t", TypeId(2))?;
    b.composite(Kind::Struct, "device", 40)?;
    b.member("held", alias, 0, None)?;
    b.member("pointed", pointer, 64, None)?;
    b.member("mode", TypeId(4), 128, None)?;
    b.member("int", TypeId(1), 192, None)?;
    b.member("secret", secret, 256, None)?;
    b.finish()
}

/// A kernel with other ids, and something of every name that does not fit.
fn kernel(held: u32, twice: bool, order: ByteOrder) -> Result<Vec<u8>, Error> {
    let mut b = Builder::new(order);
    b.int("long unsigned int", 8, IntEncoding::NONE)?;
    b.int("int", 4, IntEncoding::NONE)?;
    b.int("int", 4, IntEncoding::SIGNED)?;
    b.composite(Kind::Union, "held", 8)?;
    b.composite(Kind::Struct, "held", held)?;
    b.fwd("pointed", false)?;
    b.composite(Kind::Struct, "pointed", 24)?;
    b.member("x", TypeId(3), 0, Some(1))?;
    b.enumeration(Kind::Enum64, "mode", 8, false)?;
    b.enumerator("MODE_ONE", 1)?;
    b.composite(Kind::Union, "secret", 4)?;
    if twice {
        b.composite(Kind::Struct, "held", held)?;
    }
    b.finish()
}

fn relocated(kernel: Vec<u8>) -> Result<(Arc<Btf<'static>>, Btf<'static>), RebaseError> {
    let distilled = Arc::new(Btf::parse(distilled()?)?);
    let module = Btf::parse_split(module(&distilled)?, distilled)?;
    let base = Arc::new(Btf::parse(kernel)?);
    let bytes = module.relocate_base(&base)?;
    let split = Btf::parse_split(bytes, base.clone())?;
    Ok((base, split))
}

#[test]
fn every_type_finds_its_place() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let (base, split) = relocated(kernel(8, false, order).unwrap()).unwrap();
        split.check().unwrap();
        let device = split.own_ids().last().unwrap();
        assert_eq!(split.first_id().0, base.type_count());
        let mut text = String::new();
        split.dump_raw_types([device], &mut text).unwrap();
        let first = base.type_count();
        let wanted = format!(
            "[{}] STRUCT 'device' size=40 vlen=5\n\t'held' type_id={} bits_offset=0\n\
             \t'pointed' type_id={first} bits_offset=64\n\t'mode' type_id=8 bits_offset=128\n\
             \t'int' type_id=3 bits_offset=192\n\t'secret' type_id={} bits_offset=256\n",
            first + 3,
            first + 2,
            first + 1
        );
        assert_eq!(text, wanted);
        let target = |own: u32| split.resolve(TypeId(first + own)).unwrap().target().unwrap().0;
        assert_eq!((target(0), target(1), target(2)), (7, 9, 5));
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let check = |kernel: Result<Vec<u8>, Error>, wanted: &str| {
        let error = relocated(kernel.unwrap()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    };
    check(kernel(12, false, ByteOrder::Little), "the base has no STRUCT held of 8 bytes");
    check(kernel(8, true, ByteOrder::Little), "the base has held twice with 8 bytes, as types [5] and [10]");
    check(Builder::new(ByteOrder::Little).finish(), "the base has no INT int of 4 bytes");

    let alone = Btf::parse(distilled().unwrap()).unwrap();
    assert_eq!(alone.relocate_base(&alone), Err(RebaseError::NoBase));
    let whole = Arc::new(Btf::parse(kernel(8, false, ByteOrder::Little).unwrap()).unwrap());
    let mut typedefs = Builder::new(ByteOrder::Little);
    typedefs.reference(Kind::Typedef, "t", TypeId(0)).unwrap();
    let typedefs = Arc::new(Btf::parse(typedefs.finish().unwrap()).unwrap());
    let split = Btf::parse_split(Builder::split(&typedefs).finish().unwrap(), typedefs.clone()).unwrap();
    let wanted = RebaseError::NotDistilled { id: TypeId(1), kind: Kind::Typedef };
    assert_eq!(split.relocate_base(&whole), Err(wanted));
}
