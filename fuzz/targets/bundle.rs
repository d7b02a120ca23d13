//! A bundle of a stranger: its frame; its archive without the frame, which no fuzzer would get through; and the frame of
//! a delta pack, whose digest is made to fit.
#![no_main]

use std::sync::OnceLock;

use bundle::{Arch, Bundle, BundleBuilder, BundleMeta, Delta, Digest, Error, Layout, Limits, Query};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits { archive: 16 << 20, ..Limits::default() };
    let opened = match data.split_first() {
        Some((0, frame)) => Bundle::open_within(frame, &limits),
        Some((2, delta)) => applied(delta),
        Some((_, tar)) => Bundle::of_tar(tar.to_vec(), &limits),
        None => return,
    };
    let Ok(bundle) = opened else { return };
    let _ = bundle.check_outcomes();
    for kernel in &bundle.index().kernels {
        let entry = kernel.entry.clone();
        let _ =
            bundle.index().resolve(&Query::new(entry.arch, entry.release).os(entry.distro, entry.version));
    }
    for layout in Layout::ALL {
        let _ = layout.members(&bundle);
    }
});

/// A delta pack on a bundle that is always the same.
fn applied(delta: &[u8]) -> Result<Bundle, Error> {
    static BASE: OnceLock<Bundle> = OnceLock::new();
    let base = BASE.get_or_init(|| {
        let meta =
            BundleMeta { name: "n".into(), arch: Arch::X86_64, engine: "e 1".into(), source_date_epoch: 0 };
        let empty = BundleBuilder::new(meta).and_then(|builder| builder.finish(1)).expect("an empty bundle");
        Bundle::open(&empty.tar_zst).expect("an empty bundle")
    });
    let mut sealed = delta.to_vec();
    if let Some((header, frame)) = delta.split_at_checked(168) {
        sealed[136..168].copy_from_slice(Digest::of(&[&header[..136], frame].concat()).as_bytes());
    }
    let delta = Delta::parse(&sealed)?;
    // Its own size is the limit here: 4 GiB of zeros would be a legal archive.
    if delta.new.size > 16 << 20 {
        return Err(Error::IsDelta);
    }
    let new = delta.apply(base)?;
    assert_eq!(Digest::of(new.tar()), delta.new.sha256);
    Ok(new)
}
