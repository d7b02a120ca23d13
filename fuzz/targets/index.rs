//! An index that passes its check gives the same candidates as a pass; a damaged one is refused; a forged one, which
//! nobody can tell, never makes anything panic.
#![no_main]

use btf::{Btf, Kind};
use libfuzzer_sys::fuzz_target;
use relo_core::{Index, Wanted, essential_name, seal};

const DIGEST: [u8; 32] = [7; 32];

// The first eight bytes say what is damaged and forged; the rest is a BTF.
fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first_chunk::<8>() else { return };
    let Ok(btf) = Btf::parse(data) else { return };
    let Some(bytes) = Index::write(&btf, &DIGEST) else { return };
    let index = Index::parse(&bytes, &DIGEST).expect("what was just written");
    let wanted = wanted(&btf, choice[0]);
    same_as_a_pass(data, &wanted, &index);
    let at = u32::from_le_bytes([choice[1], choice[2], choice[3], choice[4]]) as usize % bytes.len();
    let mut damaged = bytes.clone();
    damaged[at] ^= choice[5].max(1);
    assert!(Index::parse(&damaged, &DIGEST).is_err(), "damage at {at} was not found");
    damaged.truncate(bytes.len() - 8);
    seal(&mut damaged);
    if let Ok(forged) = Index::parse(&damaged, &DIGEST)
        && let Ok(btf) = forged.btf(data)
    {
        let _ = wanted.look_up(&btf, &forged);
        for id in btf.own_ids().take(1000) {
            let _ = (btf.resolve(id).map(|ty| ty.name().is_ok()), btf.size_of(id));
        }
    }
});

fn same_as_a_pass(data: &[u8], wanted: &Wanted, index: &Index<'_>) {
    let (passed, candidates) = wanted.parse(data).expect("it was parsed before");
    let placed = index.btf(data).expect("it was parsed before");
    assert_eq!(wanted.look_up(&placed, index).expect("its names are good").as_ref(), Some(&candidates));
    assert_eq!((placed.type_count(), placed.pointer_size()), (passed.type_count(), passed.pointer_size()));
    for id in passed.own_ids() {
        assert_eq!(placed.offset_of(id), passed.offset_of(id));
    }
}

/// Names that are there, and one that is not.
fn wanted(btf: &Btf<'_>, choice: u8) -> Wanted {
    let kinds = [Kind::Struct, Kind::Typedef, Kind::Enum, Kind::Int];
    let kinds: Vec<Kind> = kinds
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| choice >> bit & 1 == 1)
        .map(|(_, kind)| kind)
        .collect();
    let names: Vec<&[u8]> = btf
        .own_ids()
        .take(64)
        .filter_map(|id| Some(essential_name(btf.resolve(id).ok()?.name().ok()?)))
        .filter(|name| !name.is_empty())
        .chain([&b"absent"[..]])
        .collect();
    Wanted::of_names(names.iter().flat_map(|name| kinds.iter().map(move |&kind| (kind, *name))))
}
