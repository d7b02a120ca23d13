//! `bundle_seeds FOLDER`: what the fuzzers of the readers start from: a small bundle as a frame, as an
//! archive and as a delta pack, and its packs.

use std::fs;
use std::path::Path;

use bundle::pack::{Method, PackOptions, write_pack};
use bundle::{Arch, Bundle, BundleBuilder, BundleMeta, Delta, Digest, KernelEntry, ProgramEntry};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: bundle_seeds FOLDER")?;
    let folder = Path::new(&folder);
    let meta =
        BundleMeta { name: "n".into(), arch: Arch::X86_64, engine: "e 1".into(), source_date_epoch: 0 };
    let empty = BundleBuilder::new(meta.clone())?.finish(1)?;
    let mut builder = BundleBuilder::new(meta)?;
    let record = r#"{"object":"p.bpf.o","section":"kprobe/x","program":"f","outcome":"poisoned"}"#;
    for (distro, version, release) in [
        ("rhel", "8", "4.18.0-80.el8"),
        ("ubuntu", "20.04", "5.4.0-42-generic"),
        ("amzn", "2", "4.14.1-1.amzn2"),
    ] {
        let entry = KernelEntry {
            distro: distro.into(),
            version: version.into(),
            version_aliases: vec![format!("{version}.1")],
            arch: Arch::X86_64,
            release: release.into(),
            build_id: Some("00ff".into()),
        };
        let btf = [b"\x9f\xeb\x01\0".to_vec(), release.repeat(9).into_bytes()].concat();
        builder.add_kernel(entry, btf, record.as_bytes().to_vec())?;
    }
    builder.add_program(ProgramEntry { name: "p.bpf.o".into(), sha256: Digest::of(b"p") })?;
    let package = builder.finish(3)?;
    let bundle = Bundle::open(&package.tar_zst)?;
    let put = |name: &str, first: &[u8], bytes: &[u8]| -> std::io::Result<()> {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, [first, bytes].concat())
    };
    // The fuzz target takes a first byte as the choice between the three.
    put("bundle/frame", &[0], &package.tar_zst)?;
    put("bundle/archive", &[1], bundle.tar())?;
    let delta = Delta::between(&Bundle::open(&empty.tar_zst)?, &package.tar_zst)?;
    put("bundle/delta", &[2], &delta.to_bytes())?;
    for (name, method) in
        [("pack/stored", Method::Stored), ("pack/zstd", Method::Zstd), ("pack/deflate", Method::Deflate)]
    {
        put(name, &[], &write_pack(&bundle, PackOptions { method, ..PackOptions::default() })?)?;
    }
    Ok(())
}
