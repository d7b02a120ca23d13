//! A pack of a stranger: every question that a loader asks.
#![no_main]

use bundle::{Pack, Query};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(pack) = Pack::new(data) else { return };
    let _ = pack.verify();
    for index in 0..pack.kernel_count().min(16) {
        let Ok(kernel) = pack.kernel(index) else { continue };
        let _ = (pack.btf(&kernel), pack.verdicts(&kernel));
        let query = Query::new(pack.arch(), kernel.release).os(kernel.distro, kernel.version);
        let _ = pack.find(&query);
    }
});
