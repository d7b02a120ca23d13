//! A bundle of a stranger: its frame, and its archive without the frame, which no fuzzer would get through.
#![no_main]

use bundle::{Bundle, Layout, Limits, Query};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits { archive: 16 << 20, ..Limits::default() };
    let opened = match data.split_first() {
        Some((0, frame)) => Bundle::open_within(frame, &limits),
        Some((_, tar)) => Bundle::of_tar(tar.to_vec(), &limits),
        None => return,
    };
    let Ok(bundle) = opened else { return };
    let _ = bundle.check_outcomes();
    for kernel in &bundle.index().kernels {
        let entry = kernel.entry.clone();
        let _ = bundle.index().resolve(&Query::new(entry.arch, entry.release).os(entry.distro, entry.version));
    }
    for layout in Layout::ALL {
        let _ = layout.members(&bundle);
    }
});
