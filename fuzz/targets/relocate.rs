//! A real or hostile object against a hostile target: no panic, and bounded time (libFuzzer's -timeout).
#![no_main]

use btf::Btf;
use libfuzzer_sys::fuzz_target;
use relo_core::{BpfObject, Mode, Target, Wanted, relocate};

fuzz_target!(|data: &[u8]| {
    let Some((object, target)) = halves(data) else { return };
    let (Ok(object), Ok(btf)) = (BpfObject::parse("fuzz", object), Btf::parse(target)) else { return };
    let wanted = Wanted::new([&object]);
    let Ok(target) = Target::new(&btf, &[], &wanted) else { return };
    for mode in [Mode::Correct, Mode::StrictLibbpf] {
        assert_eq!(relocate(&object, &target, mode).len(), object.relos().len());
    }
});

/// The object's length in the first four bytes, then the object, then the target.
fn halves(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = data.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}
