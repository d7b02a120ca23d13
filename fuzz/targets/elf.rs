//! Any bytes as a BPF object, or as a program that embeds some.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = relo_core::BpfObject::parse("fuzz", data);
    for object in relo_core::embedded_objects(data) {
        let _ = relo_core::BpfObject::parse("fuzz", object.bytes);
    }
});
