//! Bundles that somebody damaged or forged.

mod fixture;

use bundle::{Bundle, Digest, Error, Limits, TarFault};
use fixture::{LEVEL, btf, tiny};
use proptest::prelude::*;

/// One frame that states its size, as a bundle is.
fn compress(tar: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(tar, 1).unwrap()
}

fn tar() -> Vec<u8> {
    zstd::decode_all(&tiny().finish(LEVEL).unwrap().tar_zst[..]).unwrap()
}

fn open(tar: &[u8]) -> Result<Bundle, Error> {
    Bundle::open(&compress(tar))
}

/// The bundle's files.
fn files() -> Vec<(String, Vec<u8>)> {
    let tar = tar();
    let mut archive = tar::Archive::new(&tar[..]);
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        (path, content)
    };
    archive.entries().unwrap().map(read).collect()
}

/// A header as ours but for what `change` does to it. The path is not checked.
fn header(path: &str, size: u64, change: impl FnOnce(&mut tar::Header)) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    change(&mut header);
    // The crate writes seven digits; GNU tar and we write six, a NUL and a space.
    header.set_cksum();
    let sum = format!("{:06o}\0 ", header.cksum().unwrap());
    header.as_old_mut().cksum.copy_from_slice(sum.as_bytes());
    header
}

fn append(tar: &mut Vec<u8>, header: &tar::Header, content: &[u8]) {
    tar.extend(header.as_bytes());
    tar.extend(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (path, content) in files {
        append(&mut tar, &header(path, content.len() as u64, |_| {}), content);
    }
    tar.extend([0; 1024]);
    tar
}

/// The bundle with one more entry behind its files.
fn with_entry(header: &tar::Header, content: &[u8]) -> Vec<u8> {
    let mut tar = archive(&files());
    tar.truncate(tar.len() - 1024);
    append(&mut tar, header, content);
    tar.extend([0; 1024]);
    tar
}

#[track_caller]
fn refused(result: Result<Bundle, Error>, want: &str) {
    let error = result.expect_err(want).to_string();
    assert!(error.contains(want), "{error}");
}

#[test]
fn an_independent_writer_makes_our_bytes() {
    assert!(archive(&files()) == tar());
}

#[test]
fn other_entry_types() {
    let check = |kind: u8, want: &str| {
        let header = header("z", 0, |h| {
            h.as_old_mut().linkflag[0] = kind;
            h.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
        });
        refused(open(&with_entry(&header, b"")), want);
    };
    check(b'1', "a hard link");
    check(b'2', "a symbolic link");
    check(b'3', "a device");
    check(b'5', "a directory");
    check(b'6', "a FIFO");
    check(b'x', "a pax header");
    check(b'g', "a pax header");
    check(b'L', "a GNU long name");
    check(b'K', "a GNU long name");
    check(b'S', "a sparse file");
    check(b'7', "of an unknown type");
    check(0, "of an unknown type");
}

#[test]
fn paths_that_lead_elsewhere() {
    let digest = Digest::of(b"x");
    let check = |path: &str, want: &str| refused(open(&with_entry(&header(path, 1, |_| {}), b"x")), want);
    check("../x", "out of order");
    check("/etc/x", "out of order");
    check("records/../../x", "out of order");
    check("zz/../../x", "has no place");
    check("z", "has no place");
    check(&format!("records/{digest}.jsonl/../../../z"), "out of order");
    check(&format!("s/{digest}.btf"), "has no place");
    check("s \n", "has no place");
    let mut files = files();
    for path in ["../x", "/etc/x", "blobs/../x", "./index.json", "blobs//x", "BLOBS/x", "blobs/x.btf"] {
        files.push((path.to_owned(), b"x".to_vec()));
        files.sort();
        refused(open(&archive(&files)), "has no place");
        files.retain(|(other, _)| other != path);
    }
}

#[test]
fn headers_that_are_not_ours() {
    let check = |change: fn(&mut tar::Header), want: &str| {
        refused(open(&with_entry(&header("z", 0, change), b"")), want);
    };
    check(|h| h.set_mode(0o4755), "mode");
    check(|h| h.set_uid(1), "uid");
    check(|h| h.set_gid(1), "gid");
    check(|h| h.set_username("root").unwrap(), "uname");
    check(|h| h.set_mtime(1), "another time");
    check(|h| h.as_ustar_mut().unwrap().prefix[0] = b'/', "prefix");
    check(|h| h.as_ustar_mut().unwrap().magic = *b"ustar ", "magic");
    check(|h| h.as_old_mut().name[50] = b'x', "name");
    check(|h| h.as_old_mut().size[0] = 0x80, "size");
    check(|h| h.as_old_mut().size[11] = b' ', "size");
    check(|h| h.as_old_mut().linkname[0] = b'x', "linkname");
}

#[test]
fn sizes_that_are_not_there() {
    for size in [1u64 << 20, (256 << 20) + 1, 0o777_7777_7777] {
        let result = open(&with_entry(&header("z", size, |_| {}), b""));
        let error = result.unwrap_err();
        let fine = match &error {
            Error::Tar { fault: TarFault::Truncated, .. } => size <= 256 << 20,
            Error::Limit { .. } => size > 256 << 20,
            _ => false,
        };
        assert!(fine, "{size}: {error}");
    }
}

#[test]
fn limits() {
    let bytes = compress(&tar());
    let check = |change: fn(&mut Limits), want: &str| {
        let mut limits = Limits::default();
        change(&mut limits);
        refused(Bundle::open_within(&bytes, &limits), want);
    };
    check(|l| l.compressed = 9, "size of the bundle");
    check(|l| l.archive = 9, "decompressed");
    check(|l| l.file = 9, "one file");
    check(|l| l.files = 2, "number of files");
    check(|l| l.index = 9, "index.json");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle");
    std::fs::write(&path, &bytes).unwrap();
    let limits = Limits { compressed: 9, ..Limits::default() };
    refused(Bundle::open_file_within(&path, &limits), "size of the bundle");
    // A bomb: a mebibyte of zeros costs 100 bytes or so.
    let limits = Limits { archive: 1 << 16, ..Limits::default() };
    refused(Bundle::open_within(&compress(&vec![0; 1 << 20]), &limits), "decompressed");
}

#[test]
fn twice_missing_or_too_many() {
    let files = files();
    let first = files[0].clone();
    let doubled: Vec<_> = std::iter::once(first).chain(files.clone()).collect();
    refused(open(&archive(&doubled)), "there twice");
    for at in 0..files.len() {
        let mut fewer = files.clone();
        let (path, _) = fewer.remove(at);
        let want = if path == "index.json" { "index.json is named" } else { "missing in the archive" };
        refused(open(&archive(&fewer)), want);
    }
    let stray = btf(9);
    let mut more = files.clone();
    more.push((format!("blobs/{}.btf", Digest::of(&stray)), stray));
    more.sort();
    refused(open(&archive(&more)), "not named by index.json");
    let backwards: Vec<_> = files.into_iter().rev().collect();
    refused(open(&archive(&backwards)), "out of order");
}

#[test]
fn content_that_is_not_what_its_name_says() {
    let at = |start: &str| files().iter().position(|(path, _)| path.starts_with(start)).unwrap();
    let check = |place: usize, content: &[u8], want: &str| {
        let mut files = files();
        files[place].1 = content.to_vec();
        refused(open(&archive(&files)), want);
    };
    check(at("blobs/"), &btf(9), "has the sha256");
    check(at("blobs/"), b"", "has the sha256");
    check(at("records/"), b"{}", "has the sha256");
    check(at("index"), b"", "index.json");
    check(at("index"), b"{}", "index.json");

    // The index of another content: sizes that lie, digests of nothing, a blob that is no BTF.
    let json = String::from_utf8(files()[at("index")].1.clone()).unwrap();
    check(at("index"), json.replace("\"size\": 5", "\"size\": 6").as_bytes(), "has 5 bytes");
    check(
        at("index"),
        json.replace("x86_64", "arm64").replacen("arm64", "x86_64", 1).as_bytes(),
        "does not belong",
    );
    check(at("index"), json.replace("\"version\": 1,", "\"version\": 2,").as_bytes(), "matching btfpipe");
    let mut files = files();
    let elf = b"\x7fELF".to_vec();
    let digest = Digest::of(&elf).to_string();
    let old = files[0].0[6..70].to_owned();
    let index = json.replace(&old, &digest).replace("\"size\": 5", "\"size\": 4");
    files[0] = (format!("blobs/{digest}.btf"), elf);
    files[at("index")].1 = index.into_bytes();
    files.sort();
    refused(open(&archive(&files)), "BTF magic");
}

/// Outside index.json no bit of a bundle is free: each is fixed by the format or covered by a digest.
#[test]
fn every_flipped_byte() {
    let tar = tar();
    let index = tar.windows(10).position(|bytes| bytes == b"index.json").unwrap() + 512;
    let size = files().iter().find(|(path, _)| path == "index.json").unwrap().1.len();
    for at in (0..tar.len()).filter(|at| !(index..index + size).contains(at)) {
        let mut bad = tar.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(open(&bad).is_err(), "{at}");
    }
}

#[test]
fn every_cut() {
    let tar = tar();
    for len in (0..tar.len()).step_by(7) {
        assert!(open(&tar[..len]).is_err(), "{len}");
    }
    let bytes = compress(&tar);
    for len in 0..bytes.len() {
        assert!(Bundle::open(&bytes[..len]).is_err(), "{len}");
    }
    refused(Bundle::open(&[&bytes[..], b"x"].concat()), "after the zstd frame");
    refused(open(&[&tar[..], &[0; 512]].concat()), "after the end");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = Bundle::open(&bytes);
        let _ = open(&bytes);
    }

    #[test]
    fn changed_bundles_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut tar = tar();
        for (at, byte) in changes {
            let at = at.index(tar.len());
            tar[at] = byte;
        }
        let _ = open(&tar);
    }

    #[test]
    fn any_index_never_panics(json in ".{0,300}") {
        let mut files = files();
        files.iter_mut().find(|(path, _)| path == "index.json").unwrap().1 = json.into_bytes();
        prop_assert!(open(&archive(&files)).is_err());
    }
}
