//! Any bytes as BTF: parsing, checking and following never panic, and what was copied reads the same.
#![no_main]

use btf::{Btf, Builder, Kind, Type};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(btf) = Btf::parse(data) else { return };
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
