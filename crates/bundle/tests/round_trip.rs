//! What is written comes back, and the same input makes the same bytes.

mod fixture;

use bundle::{
    Arch, Bundle, BundleBuilder, Digest, KernelEntry, Manifest, Outcome, Outcomes, PackageEntry,
    ProgramEntry, Query,
};
use fixture::{LEVEL, btf, builder, entry, tiny};
use proptest::prelude::*;

#[test]
fn what_is_written_comes_back() {
    let package = tiny().finish(LEVEL).unwrap();
    assert_eq!(package.zst_sha256, Digest::of(&package.tar_zst));
    assert_eq!(package.zst_size, package.tar_zst.len() as u64);
    let tar = zstd::decode_all(&package.tar_zst[..]).unwrap();
    assert_eq!((package.tar_sha256, package.tar_size), (Digest::of(&tar), tar.len() as u64));

    let bundle = Bundle::open(&package.tar_zst).unwrap();
    assert_eq!(*bundle.index(), package.index);
    assert_eq!(bundle.index().kernels.len(), 3);
    assert_eq!(package.blobs, 2, "two kernels share one BTF");
    let key = "debian/12/x86_64/6.1.0-1-amd64".parse().unwrap();
    assert_eq!(bundle.btf(&key), Some(&btf(1)[..]));
    let records = fixture::records("opensnoop.bpf.o", "tracepoint__open", "poisoned");
    assert_eq!(bundle.records(&key), Some(&records[..]));
    assert_eq!(bundle.btf(&"debian/12/x86_64/6.1.0-1".parse().unwrap()), None);
    let query = Query::new(Arch::X86_64, "4.18.0-80.el8.x86_64").os("rhel", "8.1");
    let hit = bundle.index().resolve(&query).unwrap();
    assert_eq!(bundle.btf_of(hit.kernel), Some(&btf(2)[..]));
    assert_eq!(bundle.records_of(hit.kernel), Some(&b""[..]));
}

#[test]
fn outcomes_are_what_the_records_tell() {
    let bundle = Bundle::open(&tiny().finish(LEVEL).unwrap().tar_zst).unwrap();
    let index = bundle.index();
    assert_eq!(index.outcomes.len(), 2, "two kernels share their outcomes");
    let told = index.outcomes_of(&index.kernels[0]).unwrap();
    let open = Outcome { poisoned: 1, functions: vec!["tracepoint__open".into()], ..Outcome::default() };
    assert_eq!(*told, Outcomes::from([("opensnoop.bpf.o".into(), open)]));
    assert_eq!(index.outcomes_of(&index.kernels[2]), Some(&Outcomes::new()));
    bundle.check_outcomes().unwrap();
    let broken = builder().add_kernel(entry("debian/12/x86_64/r"), btf(1), b"{}".to_vec());
    assert!(matches!(broken, Err(bundle::Error::Record { line: 1, .. })));
}

#[test]
fn from_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("btf");
    std::fs::write(&path, btf(1)).unwrap();
    let write = |content: bundle::Content| {
        let mut builder = builder();
        builder.add_kernel(entry("debian/12/x86_64/r"), content, vec![]).unwrap();
        builder.finish(LEVEL).unwrap()
    };
    let package = write(path.into());
    assert_eq!(package, write(btf(1).into()));
    let file = dir.path().join(&package.file);
    std::fs::write(&file, &package.tar_zst).unwrap();
    assert_eq!(*Bundle::open_file(&file).unwrap().index(), package.index);
    assert!(matches!(Bundle::open_file(dir.path().join("gone")), Err(bundle::Error::Io { .. })));
}

/// The promise to everyone who pinned a digest. A change here is a change of the format, or of zstd for the second:
/// say so in CHANGELOG.md.
#[test]
fn the_bytes_do_not_drift() {
    let package = tiny().finish(LEVEL).unwrap();
    assert_eq!(
        package.tar_sha256.to_string(),
        "8fa652327be974ef31db6e83b354c537809b790267233ce149e6c7deb6bb80ac"
    );
    assert_eq!(bundle::zstd_version(), "1.5.7");
    assert_eq!(
        package.zst_sha256.to_string(),
        "3f66b62e16d2233b86020466b903161b5af1008977e64a8ebb5ea16f119a57e3"
    );
}

#[test]
fn the_time_is_in_every_header_and_nowhere_else() {
    let index = |time| {
        let mut builder = BundleBuilder::new(fixture::meta(time)).unwrap();
        builder.add_kernel(entry("debian/12/x86_64/r"), btf(1), vec![]).unwrap();
        let package = builder.finish(LEVEL).unwrap();
        assert_eq!(PackageEntry::of(&package).source_date_epoch, time);
        (package.tar_sha256, Bundle::open(&package.tar_zst).unwrap().index().clone())
    };
    let (early, late) = (index(0), index(1_700_000_000));
    assert_ne!(early.0, late.0);
    assert_eq!(early.1, late.1);
}

#[test]
fn an_empty_bundle() {
    let bundle = Bundle::open(&builder().finish(1).unwrap().tar_zst).unwrap();
    assert!(bundle.index().kernels.is_empty());
}

/// Every level is readable under the window that plain zstd accepts.
#[test]
fn every_level() {
    let tar = tiny().finish(1).unwrap().tar_sha256;
    for level in 2..=22 {
        let package = tiny().finish(level).unwrap();
        assert_eq!(package.tar_sha256, tar, "{level}");
        Bundle::open(&package.tar_zst).unwrap();
        let manifest = Manifest::new([PackageEntry::of(&package)]);
        assert_eq!(manifest.packages[0].level, level);
    }
}

/// A kernel by number: few BTFs and records, so that some are shared.
fn numbered(n: u8) -> (KernelEntry, Vec<u8>, Vec<u8>) {
    let entry = entry(&format!("debian/{}/x86_64/r-{n}", n % 3));
    (
        entry,
        btf(n % 5),
        fixture::records(&format!("p{n}.bpf.o"), "f", ["absent", "error"][usize::from(n % 2)]),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_and_threads_do_not_matter(
        mut numbers in proptest::collection::btree_set(any::<u8>(), 0..12).prop_map(Vec::from_iter).prop_shuffle(),
        threads in 0u32..5,
    ) {
        let write = |numbers: &[u8], threads| {
            let mut builder = builder().threads(threads);
            for &n in numbers {
                let (entry, btf, records) = numbered(n);
                builder.add_kernel(entry, btf, records).unwrap();
                let program = ProgramEntry { name: format!("p{n}.bpf.o"), sha256: Digest::of(&[n]) };
                builder.add_program(program).unwrap();
            }
            builder.finish(3).unwrap()
        };
        let shuffled = write(&numbers, threads);
        numbers.sort();
        prop_assert_eq!(&shuffled, &write(&numbers, 1));
        let bundle = Bundle::open(&shuffled.tar_zst).unwrap();
        for n in numbers {
            let (entry, btf, records) = numbered(n);
            prop_assert_eq!(bundle.btf(&entry.key()), Some(&btf[..]));
            prop_assert_eq!(bundle.records(&entry.key()), Some(&records[..]));
        }
    }
}
