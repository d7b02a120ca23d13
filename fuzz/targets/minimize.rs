//! Whatever object and target: decisions on the minimized BTF equal those on the full one.
#![no_main]

use btf::Btf;
use libfuzzer_sys::fuzz_target;
use relo_core::{BpfObject, MinimizeError, MinimizeOptions, minimize};

fuzz_target!(|data: &[u8]| {
    let Some((object, target)) = halves(data) else { return };
    let (Ok(object), Ok(btf)) = (BpfObject::parse("fuzz", object), Btf::parse(target)) else { return };
    // A target that check refuses never gets as far as minimizing.
    if btf.check().is_err() {
        return;
    }
    match minimize(&btf, &[&object], MinimizeOptions::default()) {
        Ok(minimized) => assert!(minimized.proofs[0].differences.is_empty()),
        Err(MinimizeError::Unsound { relo, .. }) => panic!("relocation {relo} is decided otherwise"),
        Err(_) => {}
    }
});

/// The object's length in the first four bytes, then the object, then the target.
fn halves(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = data.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}
