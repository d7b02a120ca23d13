//! Archives that are broken or hostile: each an error that says what is wrong, or the BTF in it; and nothing is ever
//! written to where an archive says.

use std::io::Write;

use kernels::extract::from_files;

const RELEASE: &str = "5.4.0-91-generic";

/// How an archive ends.
enum End {
    /// Its BTF is taken.
    Btf,
    /// An error that says this.
    Fails(&'static str),
}
use End::{Btf, Fails};

/// The smallest BTF of a kernel: one `int`.
fn btf() -> Vec<u8> {
    let mut btf = vec![0x9f, 0xeb, 1, 0];
    for word in [24u32, 0, 16, 16, 5, 1, 0x0100_0000, 4, 0x0100_0020] {
        btf.extend(word.to_le_bytes());
    }
    btf.extend(b"\0int\0");
    btf
}

fn check(name: &str, archive: &[u8], end: End) {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a/b/c");
    std::fs::create_dir_all(&inner).unwrap();
    let path = inner.join("archive");
    std::fs::write(&path, archive).unwrap();
    let found = from_files(&[(format!("{RELEASE}.btf.tar.xz"), path.clone())], RELEASE);
    match (found, end) {
        (Ok(found), Btf) => assert_eq!(found.btf, btf(), "{name}"),
        (Err(error), Fails(wanted)) => {
            let error = error.to_string();
            assert!(error.contains(wanted), "{name}: {error:?}, not {wanted:?}");
        }
        (Ok(_), Fails(wanted)) => panic!("{name}: taken, where {wanted:?} was to be said"),
        (Err(error), Btf) => panic!("{name}: {error}"),
    }
    let written: Vec<_> = walk(folder.path());
    assert_eq!(written, [path], "{name}: something was written");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

/// Members by type, raw name, stated size and content.
fn tar(members: &[(tar::EntryType, &str, Option<u64>, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (kind, name, size, content) in members {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(size.unwrap_or(content.len() as u64));
        if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
            header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
        }
        header.set_cksum();
        tar.extend(header.as_bytes());
        tar.extend(*content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    tar(&[(tar::EntryType::Regular, name, None, content)])
}

fn xz(content: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn members() {
    use tar::EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    let btf = btf();
    check("a good one", &xz(&file("5.4.0-91-generic.btf", &btf)), Btf);
    check("out of the folder", &xz(&file("../../../outside.btf", &btf)), Btf);
    check("an absolute path", &xz(&file("/outside.btf", &btf)), Btf);
    check("a name of nothing", &xz(&file("", &btf)), Btf);
    check("a link only", &xz(&tar(&[(Symlink, "x.btf", None, b"")])), Fails("the archive has no file"));
    check("a hard link only", &xz(&tar(&[(Link, "x.btf", None, b"")])), Fails("the archive has no file"));
    check("a device only", &xz(&tar(&[(Char, "x.btf", None, b"")])), Fails("the archive has no file"));
    check("a disk only", &xz(&tar(&[(Block, "x.btf", None, b"")])), Fails("the archive has no file"));
    check("a fifo only", &xz(&tar(&[(Fifo, "x.btf", None, b"")])), Fails("the archive has no file"));
    check("a folder only", &xz(&tar(&[(Directory, "x/", None, b"")])), Fails("the archive has no file"));
    let mixed = tar(&[
        (Symlink, "x.btf", None, b""),
        (Directory, "d/", None, b""),
        (Char, "null", None, b""),
        (Regular, "d/x.btf", None, &btf),
    ]);
    check("links and devices beside it", &xz(&mixed), Btf);
    let two = tar(&[(Regular, "a.btf", None, &btf), (Regular, "b.btf", None, &btf)]);
    check("two files", &xz(&two), Fails("the archive has 2 files"));
}

#[test]
fn sizes() {
    use tar::EntryType::Regular;
    let btf = btf();
    let stated = |size: u64| tar(&[(Regular, "x.btf", Some(size), &btf)]);
    check("more than there is", &xz(&stated(1 << 20)), Fails("unexpected EOF"));
    check("a terabyte", &xz(&stated(1 << 40)), Fails("unexpected EOF"));
    check("all there can be", &xz(&stated((1 << 33) - 1)), Fails("unexpected EOF"));
    check("a member of nothing", &xz(&file("x.btf", b"")), Fails("empty"));
    check("no BTF", &xz(&file("x.btf", b"an error page of some server")), Fails("starts with"));
    check("half a BTF", &xz(&file("x.btf", &btf[..btf.len() - 7])), Fails("broken"));
}

#[test]
fn streams() {
    let good = xz(&file("5.4.0-91-generic.btf", &btf()));
    check("nothing", b"", Fails("empty"));
    check("cut", &good[..good.len() / 2], Fails("broken xz data"));
    check("an empty tar", &xz(&[0; 10240]), Fails("starts with 00000000"));
    check("an xz of nothing", &xz(b""), Fails("empty"));
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    check("a flipped byte", &flipped, Fails("broken xz data"));
    check("a page of HTML", b"<html>503</html>", Fails("starts with"));
    check(
        "a pointer of Git LFS",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        Fails("starts with 76657273"),
    );
    let nested = (0..12).fold(btf(), |inner, _| xz(&file("x", &inner)));
    check("nested without end", &nested, Fails("too many layers"));
    check("xz in xz in tar", &xz(&file("x", &xz(&btf()))), Btf);
}

/// A kilobyte that unpacks to more than anything real.
#[test]
fn bombs() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..513 {
        encoder.write_all(&zeros).unwrap();
    }
    check("zstd", &encoder.finish().unwrap(), Fails("has more than"));
    // A dictionary of 4 GB is refused before it is allocated.
    let mut header = b"\x5d\x00\x00\x00\xff".to_vec();
    header.extend([0xff; 8]);
    header.extend([0; 64]);
    check("lzma with a huge dictionary", &header, Fails("broken lzma data"));
}
