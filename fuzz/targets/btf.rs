//! Any bytes as BTF: parsing, checking and following never panic, the pass that searches finds what is there, and what
//! was copied reads the same.
#![no_main]

use btf::{Btf, Builder, Kind, Search, Seen, StrOff, Type};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (parsed, searched) = (Btf::parse(data), Btf::parse_with(data, &Named));
    assert_eq!(parsed.as_ref().err(), searched.as_ref().err());
    let (Ok(btf), Ok((other, found))) = (parsed, searched) else { return };
    same(&btf, &other, &found);
    let whole = btf.check().is_ok();
    for id in btf.own_ids() {
        let _ = btf.skip(id);
        let _ = btf.size_of(id);
        if let Ok(ty) = btf.resolve(id) {
            visit(&ty);
        }
    }
    if whole {
        round_trip(&btf);
    }
});

/// Types of some kinds that have a name of one letter at least.
struct Named;

impl Search for Named {
    fn kinds(&self) -> u32 {
        1 << Kind::Struct.number() | 1 << Kind::Typedef.number() | 1 << Kind::Int.number()
    }

    fn may_be(&self, strings: &[u8], name: StrOff) -> bool {
        strings.get(name.0 as usize).is_some_and(|&byte| byte != 0)
    }

    fn is(&self, name: &[u8]) -> bool {
        !name.is_empty()
    }
}

/// The pass that searches reads what the slow walk reads.
fn same(btf: &Btf<'_>, other: &Btf<'_>, found: &[Seen]) {
    assert_eq!((btf.type_count(), btf.long()), (other.type_count(), other.long()));
    let mut found = found.iter();
    for id in btf.own_ids() {
        assert_eq!(btf.offset_of(id), other.offset_of(id), "{id}");
        let Ok(ty) = btf.resolve(id) else { continue };
        let named = ty.name().is_ok_and(|name| Named.is(name));
        if Named.kinds() >> (ty.kind().number() & 31) & 1 == 1 && named {
            assert_eq!(found.next(), Some(&Seen { id, kind: ty.kind(), name: ty.name_off() }));
        }
    }
    assert_eq!(found.next(), None);
}

fn visit(ty: &Type<'_>) {
    let _ = (
        ty.name().is_ok(),
        ty.size(),
        ty.target(),
        ty.array(),
        ty.int_encoding(),
        ty.linkage(),
        ty.component(),
    );
    for index in 0..ty.len().min(64) {
        let _ = (ty.member(index), ty.param(index), ty.enumerator(index), ty.var_section(index));
    }
}

fn round_trip(btf: &Btf<'_>) {
    let mut builder = Builder::new(btf.order());
    for id in btf.own_ids() {
        let Ok(ty) = btf.resolve(id) else { return };
        if matches!(ty.kind(), Kind::Unknown(_)) || builder.copy(&ty, |_| true, |id| id).is_err() {
            return;
        }
    }
    let bytes = builder.finish().expect("what was read can be written");
    let again = Btf::parse(&bytes).expect("what was written can be read");
    again.check().expect("references survive");
    for id in btf.own_ids() {
        let (Ok(old), Ok(new)) = (btf.resolve(id), again.resolve(id)) else { panic!("type {id} is lost") };
        assert_eq!((old.kind(), old.len(), old.name()), (new.kind(), new.len(), new.name()));
    }
}
