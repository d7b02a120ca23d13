//! Any bytes as .BTF.ext.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(ext) = btf::BtfExt::parse(data) {
        // A record takes 16 bytes, so a count can't be made up.
        assert!(ext.len() * 16 <= data.len());
    }
});
