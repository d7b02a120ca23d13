use std::path::Path;

use btf::{Builder, ByteOrder, IntEncoding, Kind, TypeId};

use super::*;
use crate::compression::tests::{ALL, encode};
use crate::elf::tests::make_elf;
use crate::image::tests::{make_bzimage, make_payload};
use crate::raw::tests::{make_btf, make_raw};

fn make_tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn check(bytes: Vec<u8>, layers: &[&str]) {
    let input = from_bytes("x", bytes).unwrap();
    assert_eq!(input.layers, layers);
    assert_eq!(*input.btf, *make_btf(3), "{layers:?}");
    assert_eq!(input.parse(None).unwrap().type_count(), 4);
}

#[test]
fn every_kind_of_file() {
    let btf = make_btf(3);
    let vmlinux = make_elf(&[(".text", b"x"), (".BTF", &btf)]);
    let bzimage = make_bzimage(&make_payload(Compression::Zstd, &vmlinux));
    let raw = make_raw(&[&btf]);
    check(btf.clone(), &["BTF"]);
    check(vmlinux.clone(), &["ELF"]);
    check(bzimage.clone(), &["boot image"]);
    check(raw.clone(), &["boot image"]);
    for compression in ALL {
        let name = compression.name();
        check(encode(compression, &btf), &[name, "BTF"]);
        check(encode(compression, &vmlinux), &[name, "ELF"]);
        check(encode(compression, &raw), &[name, "boot image"]);
        check(encode(compression, &make_tar(&[("k/5.4.btf", &btf)])), &[name, "tar", "BTF"]);
    }
    check(make_tar(&[("vmlinuz", &bzimage)]), &["tar", "boot image"]);
    check(make_tar(&[("m.ko.xz", &encode(Compression::Xz, &vmlinux))]), &["tar", "xz", "ELF"]);
}

#[test]
fn files_by_path() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let btf = make_btf(3);
    let elf = put("vmlinux", &make_elf(&[(".BTF", &btf)]));
    let tar = put("two.tar", &make_tar(&[("./a/one.btf", &make_btf(2)), ("b/two.btf", &btf), ("c", b"")]));
    // The name of a file may have a colon itself.
    let colon = put("a:b", &btf);
    let member = |member: &str| {
        let path = format!("{}:{member}", tar.display());
        read(Path::new(&path)).map(|input| input.btf).map_err(|error| error.to_string())
    };
    assert_eq!(read(&elf).unwrap().btf.into_vec(), btf);
    assert_eq!(read(&elf).unwrap().pointer_size, Some(PointerSize::Eight));
    assert_eq!(read(&colon).unwrap().btf.into_vec(), btf);
    for name in ["b/two.btf", "./b/two.btf", "two.btf"] {
        assert_eq!(member(name), Ok(btf.clone().into()), "{name}");
    }
    let told = member("nothing").unwrap_err();
    assert!(told.ends_with("no member \"nothing\"; it has a/one.btf, b/two.btf, c"), "{told}");
    let told = read(&tar).unwrap_err().to_string();
    assert!(told.contains("has 3 files; choose one as FILE:MEMBER, e.g. FILE:a/one.btf: "), "{told}");
    let told = read(Path::new(&format!("{}:x", elf.display()))).unwrap_err().to_string();
    assert!(told.contains("no member \"x\", since the file is no tar archive but ELF"), "{told}");
    assert!(read(folder.path()).unwrap_err().to_string().ends_with("is a folder; give a file in it"));
    assert!(read(Path::new("/does/not/exist")).unwrap_err().to_string().contains("can't be read: No such"));
}

#[test]
fn what_is_not_read_is_named() {
    let check = |bytes: Vec<u8>, wanted: &str| {
        let error = from_bytes("x", bytes).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error:?}, not {wanted:?}");
    };
    check(Vec::new(), "x: empty; what is read here is raw BTF");
    check(b"!<arch>\ndebian-binary".to_vec(), "dpkg-deb -x");
    check(b"hello world".to_vec(), "it starts with 68656c6c6f20776f");
    check(encode(Compression::Xz, b"# a text"), "within xz: a text");
    check(make_elf(&[(".text", b"x")]), "CONFIG_DEBUG_INFO_BTF");
    check(make_elf(&[(".modinfo", b"x")]), "the module was built without BTF");
    check(make_bzimage(&make_payload(Compression::Xz, &make_elf(&[]))), "no BTF in this kernel");
    check(make_tar(&[]), "it starts with 0000000000000000");
    check(encode(Compression::Xz, &make_btf(9))[..60].to_vec(), "broken xz data");
    let deep = (0..5).fold(make_btf(1), |bytes, _| encode(Compression::Gzip, &bytes));
    check(deep, "too many layers: gzip in gzip in gzip in gzip");
    check(b"\x7fELF\x02\x01".to_vec(), "broken ELF");
}

#[test]
fn any_cut_is_read_or_refused() {
    let whole = make_tar(&[(
        "a",
        &make_bzimage(&make_payload(Compression::Xz, &make_elf(&[(".BTF", &make_btf(2))]))),
    )]);
    for len in (0..whole.len()).step_by(11) {
        let _ = from_bytes("x", whole[..len].to_vec());
    }
}

/// A module's types on some base.
fn split_on(base: &Btf<'_>) -> Vec<u8> {
    let mut builder = Builder::split(base);
    let held = base.own_ids().last().unwrap();
    builder.reference(Kind::Typedef, "held_t", held).unwrap();
    builder.finish().unwrap()
}

#[test]
fn modules_and_their_bases() {
    let mut builder = Builder::new(ByteOrder::Little);
    builder.int("long unsigned int", 8, IntEncoding::NONE).unwrap();
    builder.composite(Kind::Struct, "held", 8).unwrap();
    let vmlinux = Arc::new(Btf::parse(builder.finish().unwrap()).unwrap());
    let in_tree = from_bytes("m", split_on(&vmlinux)).unwrap();
    assert!(in_tree.is_split());
    assert!(matches!(*in_tree.clone().parse(None).unwrap_err().problem, InputProblem::NeedsBase));
    let parsed = in_tree.parse(Some(vmlinux.clone())).unwrap();
    assert_eq!(parsed.resolve(TypeId(3)).unwrap().target().unwrap(), TypeId(2));

    let mut builder = Builder::new(ByteOrder::Little);
    builder.composite(Kind::Struct, "held", 8).unwrap();
    let base = builder.finish().unwrap();
    let split = split_on(&Btf::parse(base.clone()).unwrap());
    let outside = from_bytes("m", make_elf(&[(".BTF", &split), (".BTF.base", &base)])).unwrap();
    assert!(outside.is_split());
    let alone = outside.clone().parse(None).unwrap();
    assert_eq!(alone.resolve(TypeId(2)).unwrap().target().unwrap(), TypeId(1));
    let parsed = outside.clone().parse(Some(vmlinux.clone())).unwrap();
    assert_eq!(parsed.resolve(TypeId(3)).unwrap().target().unwrap(), TypeId(2));
    let other = Arc::new(Btf::parse(make_btf(1)).unwrap());
    let told = outside.parse(Some(other)).unwrap_err().to_string();
    assert!(told.contains("built for another kernel: the base has no STRUCT held of 8 bytes"), "{told}");

    // A base changes nothing for a BTF that is whole.
    let whole = from_bytes("v", vmlinux.data().to_vec()).unwrap();
    assert!(!whole.is_split());
    assert_eq!(whole.parse(Some(vmlinux.clone())).unwrap().type_count(), 3);
}
