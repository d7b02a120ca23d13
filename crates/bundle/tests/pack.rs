//! Packs: what is written comes back, in any method, and nothing that somebody forged panics the reader.

mod fixture;

use bundle::pack::{Method, PackOptions, Verdict, write_pack};
use bundle::{Arch, Bundle, Digest, Pack, PackError, Query, Rule};
use fixture::{LEVEL, btf, builder, entry, tiny};
use proptest::prelude::*;

const METHODS: [Method; 3] = [Method::Stored, Method::Zstd, Method::Deflate];

fn tiny_bundle() -> Bundle {
    Bundle::open(&tiny().finish(LEVEL).unwrap().tar_zst).unwrap()
}

fn pack_of(bundle: &Bundle, method: Method) -> Vec<u8> {
    write_pack(bundle, PackOptions { method, ..PackOptions::default() }).unwrap()
}

/// Kernels with BTFs of some kilobytes that compress.
fn many(count: u32) -> Bundle {
    let mut builder = builder();
    for n in 0..count {
        let btf =
            [b"\x9f\xeb\x01\0".to_vec(), format!("kernel {} ", n % 97).repeat(300).into_bytes()].concat();
        let records =
            fixture::records("opensnoop.bpf.o", "f", ["relocated", "poisoned", "error"][n as usize % 3]);
        builder.add_kernel(entry(&format!("debian/12/x86_64/6.1.0-{n}-amd64")), btf, records).unwrap();
    }
    let name = "opensnoop.bpf.o";
    builder
        .add_program(bundle::ProgramEntry { name: name.into(), sha256: Digest::of(name.as_bytes()) })
        .unwrap();
    Bundle::open(&builder.finish(1).unwrap().tar_zst).unwrap()
}

#[test]
fn what_is_written_comes_back() {
    let bundle = many(500);
    for method in METHODS {
        let bytes = pack_of(&bundle, method);
        let pack = Pack::new(&bytes[..]).unwrap();
        pack.verify().unwrap();
        assert_eq!((pack.name().unwrap(), pack.engine().unwrap()), ("tiny".into(), "btfpipe 0.1.0".into()));
        assert_eq!(pack.kernel_count(), 500);
        for kernel in &bundle.index().kernels {
            let query = Query::new(Arch::X86_64, kernel.entry.release.clone()).os("debian", "12");
            let hit = pack.find(&query).unwrap();
            assert_eq!(hit.rule, Rule::Exact);
            assert_eq!(pack.btf_sha256(&hit.kernel).unwrap(), kernel.btf.sha256);
            assert_eq!(Some(&pack.btf(&hit.kernel).unwrap()[..]), bundle.btf_of(kernel));
            let told = &bundle.index().outcomes_of(kernel).unwrap()["opensnoop.bpf.o"];
            let want = match (told.error, told.poisoned) {
                (0, 0) => Verdict::Resolved,
                (0, _) => Verdict::Poisoned,
                _ => Verdict::Refused,
            };
            assert_eq!(pack.verdicts(&hit.kernel).unwrap(), [want]);
        }
        assert_eq!(pack.programs().unwrap()[0].name, "opensnoop.bpf.o");
    }
}

#[test]
fn from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny-x86_64.btfpack");
    assert!(matches!(Pack::open(&path), Err(PackError::Open { .. })));
    std::fs::write(&path, pack_of(&tiny_bundle(), Method::Zstd)).unwrap();
    let pack = Pack::open(&path).unwrap();
    let hit = pack.find(&Query::new(Arch::X86_64, "4.18.0-80.el8.x86_64").os("rhel", "8.1")).unwrap();
    assert_eq!((hit.rule, pack.btf(&hit.kernel).unwrap()), (Rule::VersionAlias, btf(2)));
    assert_eq!(hit.kernel.build_id.as_deref(), Some("00ff"));
    std::fs::write(&path, b"short").unwrap();
    assert!(matches!(Pack::open(&path), Err(PackError::NotAPack)));
}

#[test]
fn an_empty_pack() {
    let bundle = Bundle::open(&builder().finish(1).unwrap().tar_zst).unwrap();
    let bytes = pack_of(&bundle, Method::Zstd);
    let pack = Pack::new(&bytes[..]).unwrap();
    pack.verify().unwrap();
    assert!(matches!(pack.find(&Query::new(Arch::X86_64, "r")), Err(PackError::Miss(_))));
}

/// The promise to everyone who pinned a digest; see `round_trip.rs`.
#[test]
fn the_bytes_do_not_drift() {
    let digests = METHODS.map(|method| Digest::of(&pack_of(&many(40), method)).to_string());
    assert_eq!(
        digests,
        [
            "b290e62688c55236697c577332e5e129e9a7b0b8fe9c887f7488ccb00d649373",
            "f9beafdd54aafd3b4001675b88110e8e466f01d879242df6cee96088791fb81d",
            "18faa4efec8570d2b721cd3617d5892d979e848416615957dc3b8effaf54b9b7",
        ]
    );
}

/// No bit of a pack is free: each is covered by a digest, or by the checks of `verify`.
#[test]
fn every_flipped_byte() {
    let bytes = pack_of(&many(3), Method::Zstd);
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        let verified = Pack::new(&bad[..]).and_then(|pack| pack.verify());
        // zstd's own checksum is not asked for: the sha256 is.
        let checksum = at >= bytes.len() - 4 || is_checksum_flag(&bytes, at);
        assert!(verified.is_err() || checksum, "{at}");
    }
}

/// The byte behind a frame's magic, which says that a checksum follows.
fn is_checksum_flag(bytes: &[u8], at: usize) -> bool {
    at >= 4 && bytes[at - 4..at] == [0x28, 0xb5, 0x2f, 0xfd]
}

#[test]
fn every_cut() {
    let bytes = pack_of(&tiny_bundle(), Method::Zstd);
    for len in 0..bytes.len() {
        assert!(Pack::new(&bytes[..len]).is_err(), "{len}");
    }
}

/// Asks everything of a pack that the library can answer.
fn ask(bytes: &[u8]) {
    let Ok(pack) = Pack::new(bytes) else { return };
    let _ = pack.verify();
    for index in 0..pack.kernel_count().min(64) {
        if let Ok(kernel) = pack.kernel(index) {
            let _ = (pack.btf(&kernel), pack.verdicts(&kernel));
            let _ = pack.find(&Query::new(pack.arch(), kernel.release).os(kernel.distro, kernel.version));
        }
    }
    let _ = (pack.name(), pack.engine(), pack.programs());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        ask(&bytes);
        ask(&[b"BTFPACK1", &bytes[..]].concat());
    }

    #[test]
    fn changed_packs_never_panic(
        method in 0usize..3,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = pack_of(&tiny_bundle(), METHODS[method]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        ask(&bytes);
    }
}
