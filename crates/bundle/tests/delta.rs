//! Delta packs: what they make, what they refuse, and that `zstd --patch-from` reads them too.

mod fixture;

use std::process::Command;

use bundle::{Bundle, Delta, DeltaFault, Digest, Error, Pack, PackError};
use fixture::{LEVEL, btf, entry, records, tiny};
use proptest::prelude::*;

/// The bundle that is shipped, and the next one, which has a kernel more.
fn shipped_and_next() -> (Bundle, Vec<u8>) {
    let old = Bundle::open(&tiny().finish(LEVEL).unwrap().tar_zst).unwrap();
    let mut next = tiny();
    let more = records("opensnoop.bpf.o", "tracepoint__open", "relocated");
    next.add_kernel(entry("debian/12/x86_64/6.1.0-3-amd64"), btf(3), more).unwrap();
    (old, next.finish(LEVEL).unwrap().tar_zst)
}

/// The bytes of a delta pack whose digest fits, whatever else they are.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sealed = Digest::of(&[&bytes[..136], &bytes[168..]].concat());
    bytes[136..168].copy_from_slice(sealed.as_bytes());
    bytes
}

fn fault(result: Result<impl Sized, Error>) -> String {
    match result {
        Ok(_) => "good".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_old_bundle_and_the_delta_make_the_new_file() {
    let (old, new) = shipped_and_next();
    let bytes = Delta::between(&old, &new).unwrap().to_bytes();
    let delta = Delta::parse(&bytes).unwrap();
    assert_eq!(delta.to_bytes(), bytes);
    let applied = delta.apply(&old).unwrap();
    assert_eq!(applied.index(), Bundle::open(&new).unwrap().index());
    for threads in [1, 2, 3] {
        assert!(delta.file(&applied, threads).unwrap() == new, "{threads}");
    }
    assert!(bytes.len() < new.len(), "{} for {}", bytes.len(), new.len());
    // The same two bundles make the same delta; a bundle makes one to itself.
    assert_eq!(Delta::between(&old, &new).unwrap(), delta);
    let same = Delta::between(&applied, &new).unwrap();
    assert!(same.apply(&applied).unwrap().tar() == applied.tar());
    for level in [1, 22] {
        let new = tiny().finish(level).unwrap().tar_zst;
        let delta = Delta::between(&old, &new).unwrap();
        assert!(delta.file(&delta.apply(&old).unwrap(), 1).unwrap() == new, "{level}");
    }
    // Somebody else's frame of the archive could not be made again by who applies the delta.
    let other = zstd::bulk::compress(applied.tar(), 19).unwrap();
    assert!(fault(Delta::between(&old, &other)).contains("at any level"));
}

#[test]
fn another_base_is_refused() {
    let (old, new) = shipped_and_next();
    let delta = Delta::between(&old, &new).unwrap();
    let new = delta.apply(&old).unwrap();
    let refused = delta.apply(&new).unwrap_err();
    let want = Digest::of(old.tar());
    assert!(matches!(refused, Error::Delta(DeltaFault::OtherBase { want: w, .. }) if w == want), "{refused}");
}

/// Whoever takes a delta pack for something else is told what it is.
#[test]
fn no_reader_takes_it_for_a_bundle_or_a_pack() {
    let (old, new) = shipped_and_next();
    let bytes = Delta::between(&old, &new).unwrap().to_bytes();
    assert!(matches!(Bundle::open(&bytes), Err(Error::IsDelta)));
    assert!(matches!(Pack::new(&bytes[..]), Err(PackError::NotAPack)));
    assert!(fault(Delta::parse(&new)).contains("does not begin with BTFDELT1"));
}

#[test]
fn every_flipped_byte_and_every_cut() {
    let (old, new) = shipped_and_next();
    let good = Delta::between(&old, &new).unwrap().to_bytes();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(Delta::parse(&bad).is_err(), "{at}");
        assert!(Delta::parse(&good[..at]).is_err(), "cut at {at}");
    }
    assert!(Delta::parse(&[&good[..], b"x"].concat()).is_err());
}

/// What a forger changes, and gives the digest that fits.
#[test]
fn forged() {
    let (old, new) = shipped_and_next();
    let good = Delta::between(&old, &new).unwrap().to_bytes();
    let check = |change: &dyn Fn(&mut Vec<u8>), want: &str| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let applied = Delta::parse(&resealed(bytes)).and_then(|delta| {
            let new = delta.apply(&old)?;
            delta.file(&new, 1)
        });
        let said = fault(applied);
        assert!(said.contains(want), "{want}: {said}");
    };
    check(&|_| {}, "good");
    check(&|bytes| bytes[8..12].copy_from_slice(&99u32.to_le_bytes()), "zstd level 99 is not in 1..=22");
    check(&|bytes| bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes()), "is not in 1..=22");
    check(&|bytes| bytes[8..12].copy_from_slice(&1u32.to_le_bytes()), "make the file");
    check(&|bytes| bytes[24] ^= 1, "is for the bundle whose archive");
    check(&|bytes| bytes[56] ^= 1, "no zstd frame of the size");
    check(&|bytes| bytes[64] ^= 1, "make the archive");
    check(&|bytes| bytes[104] ^= 1, "make the file");
    // A file of another zstd can't be made here, and that is said.
    check(
        &|bytes| {
            bytes[12] ^= 1;
            bytes[104] ^= 1;
        },
        "the one here makes other bytes",
    );
    for size in [u64::MAX, 5 << 30] {
        check(&|bytes| bytes[56..64].copy_from_slice(&size.to_le_bytes()), "over the limit");
    }
    check(&|bytes| bytes.truncate(168), "no zstd frame");
    check(&|bytes| bytes.extend(b"x"), "after the zstd frame");
    check(&|bytes| bytes.truncate(bytes.len() - 9), "does not decode");
    // A bomb: the frame of much more than the header says, and of more than there may be.
    let bomb = zstd::bulk::compress(&vec![0; 1 << 20], 1).unwrap();
    check(&|bytes| bytes.splice(168.., bomb.clone()).for_each(drop), "no zstd frame of the size");
    // What comes out is not a bundle, though it has the digest that is promised.
    let text = b"no archive".to_vec();
    check(
        &|bytes| {
            bytes[56..64].copy_from_slice(&(text.len() as u64).to_le_bytes());
            bytes[64..96].copy_from_slice(Digest::of(&text).as_bytes());
            bytes.splice(168.., zstd::bulk::compress(&text, 1).unwrap()).for_each(drop);
        },
        "tar offset 0",
    );
}

/// The frame behind the header is what `zstd --patch-from` makes and reads.
#[test]
fn zstd_of_the_system() {
    let here = Command::new("zstd").arg("--version").output().is_ok_and(|output| output.status.success());
    if !here {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "zstd is not installed");
        eprintln!("skipped: zstd is not installed");
        return;
    }
    let (old, new) = shipped_and_next();
    let bytes = Delta::between(&old, &new).unwrap().to_bytes();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("old.tar"), old.tar()).unwrap();
    std::fs::write(dir.path().join("frame.zst"), &bytes[168..]).unwrap();
    let patch = "-q -d --long=27 --patch-from=old.tar frame.zst -o new.tar";
    let output = Command::new("zstd").args(patch.split(' ')).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read(dir.path().join("new.tar")).unwrap() == Bundle::open(&new).unwrap().tar());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_deltas_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (old, new) = shipped_and_next();
        let good = Delta::between(&old, &new).unwrap().to_bytes();
        let mut bytes = good.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let Ok(delta) = Delta::parse(&resealed(bytes)) else { return Ok(()) };
        if let Ok(made) = delta.apply(&old) {
            // Only what is promised comes out.
            prop_assert_eq!(Digest::of(made.tar()), delta.new.sha256);
        }
    }
}
