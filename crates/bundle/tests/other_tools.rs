//! The tools that people have read a bundle, and GNU tar makes the same archive of its files.

mod fixture;

use std::path::Path;
use std::process::Command;

use bundle::{Bundle, Checksums, Package};
use fixture::{LEVEL, tiny};
use tempfile::TempDir;

/// Whether `program` runs; says so where it doesn't.
fn installed(program: &str) -> bool {
    let runs = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !runs {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "{program} is not installed");
        eprintln!("skipped: {program} is not installed");
    }
    runs
}

#[track_caller]
fn run(dir: &Path, program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).current_dir(dir).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A folder with a bundle and its archive, for these programs; None where one of them is not installed.
fn written_for(programs: &[&str]) -> Option<(TempDir, Package)> {
    if !programs.iter().all(|program| installed(program)) {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let package = tiny().finish(LEVEL).unwrap();
    std::fs::write(dir.path().join(&package.file), &package.tar_zst).unwrap();
    let tar = zstd::decode_all(&package.tar_zst[..]).unwrap();
    std::fs::write(dir.path().join("bundle.tar"), tar).unwrap();
    Some((dir, package))
}

fn paths(package: &Package) -> Vec<String> {
    let mut paths = vec!["index.json".to_owned()];
    for kernel in &package.index.kernels {
        paths.push(format!("blobs/{}.btf", kernel.btf.sha256));
        paths.push(format!("records/{}.jsonl", kernel.records.sha256));
    }
    paths.sort();
    paths.dedup();
    paths
}

#[test]
fn gnu_tar() {
    let Some((dir, package)) = written_for(&["tar"]) else { return };
    let listed = String::from_utf8(run(dir.path(), "tar", &["-tf", "bundle.tar"])).unwrap();
    assert_eq!(listed.lines().collect::<Vec<_>>(), paths(&package));

    run(dir.path(), "tar", &["-xf", "bundle.tar"]);
    std::fs::write(dir.path().join("list"), paths(&package).join("\n")).unwrap();
    let same =
        "--format=ustar -b1 --mode=0644 --owner=0 --group=0 --numeric-owner --mtime=@0 -T list -cf again.tar";
    run(dir.path(), "tar", &same.split(' ').collect::<Vec<_>>());
    let read = |name| std::fs::read(dir.path().join(name)).unwrap();
    assert!(read("again.tar") == read("bundle.tar"), "GNU tar makes other bytes");
}

/// libarchive, which decompresses by itself.
#[test]
fn bsdtar() {
    let Some((dir, package)) = written_for(&["bsdtar"]) else { return };
    let listed = String::from_utf8(run(dir.path(), "bsdtar", &["-tf", &package.file])).unwrap();
    assert_eq!(listed.lines().collect::<Vec<_>>(), paths(&package));
    let bundle = Bundle::open(&package.tar_zst).unwrap();
    for path in paths(&package) {
        let content = run(dir.path(), "bsdtar", &["-xOf", &package.file, &path]);
        assert!(bundle.file(&path) == Some(&content), "{path}");
    }
}

#[test]
fn zstd_and_sha256sum() {
    let Some((dir, package)) = written_for(&["zstd", "sha256sum"]) else { return };
    run(dir.path(), "zstd", &["-q", "-d", &package.file, "-o", "decoded.tar"]);
    let mut sums = Checksums::new();
    sums.add(package.file.clone(), package.zst_sha256).unwrap();
    sums.add("decoded.tar", package.tar_sha256).unwrap();
    std::fs::write(dir.path().join("SHA256SUMS"), sums.to_string()).unwrap();
    run(dir.path(), "sha256sum", &["--strict", "-c", "SHA256SUMS"]);
}

#[test]
fn python() {
    const READ: &str = r#"
import hashlib, json, tarfile
with tarfile.open("bundle.tar") as tar:
    for member in tar:
        assert member.isreg() and member.mode == 0o644 and member.mtime == 0, member.name
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", ""), member.name
        assert not member.pax_headers, member.name
    index = json.load(tar.extractfile("index.json"))
    assert (index["format"], index["version"]) == ("btfpipe-bundle", 1)
    for kernel in index["kernels"]:
        for kind, path in (("btf", "blobs/%s.btf"), ("records", "records/%s.jsonl")):
            content = tar.extractfile(path % kernel[kind]["sha256"]).read()
            assert hashlib.sha256(content).hexdigest() == kernel[kind]["sha256"]
            assert len(content) == kernel[kind]["size"]
    print(len(index["kernels"]))
"#;
    let Some((dir, _)) = written_for(&["python3"]) else { return };
    assert_eq!(run(dir.path(), "python3", &["-c", READ]), b"3\n");
}

/// The reader that docs/bundle-format.md shows.
#[test]
fn the_reader_of_the_document() {
    const DOCUMENT: &str = include_str!("../../../docs/bundle-format.md");
    let Some((dir, _)) = written_for(&["python3"]) else { return };
    let (_, code) = DOCUMENT.split_once("```python\n").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    let btf = run(dir.path(), "python3", &["-c", code, "bundle.tar", "rhel", "8", "4.18.0-80.el8.x86_64"]);
    assert_eq!(btf, fixture::btf(2));
}

/// The index that docs/bundle-format.md shows.
#[test]
fn the_index_of_the_document() {
    const DOCUMENT: &str = include_str!("../../../docs/bundle-format.md");
    let (_, json) = DOCUMENT.split_once("```json\n").unwrap();
    let (json, _) = json.split_once("```").unwrap();
    let index = bundle::Index::parse(json.as_bytes()).unwrap();
    assert_eq!(index.to_json(), json);
}

/// What another zstd compresses is a bundle too, as long as the frame states its size.
#[test]
fn zstd_of_the_system() {
    let Some((dir, package)) = written_for(&["zstd"]) else { return };
    run(dir.path(), "zstd", &["-q", "-7", "bundle.tar", "-o", "again.tar.zst"]);
    let bundle = Bundle::open_file(dir.path().join("again.tar.zst")).unwrap();
    assert_eq!(*bundle.index(), package.index);
}
