//! The example finds the BTF of this machine's kernel in a pack, and loads Debian's opensnoop with it.

use std::path::Path;
use std::process::{Command, Output};

use bundle::{Arch, Bundle, BundleBuilder, BundleMeta, KernelEntry, Layout, Query};

const OPENSNOOP: &str = "/usr/sbin/opensnoop";
const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// The object, and what it needs of this kernel's BTF. None, aloud, where something is missing.
fn opensnoop() -> Option<(Vec<u8>, Vec<u8>)> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t0"));
    let missing = [OPENSNOOP, KERNEL].into_iter().find(|path| !Path::new(path).exists());
    if let Some(missing) = missing.or((!root).then_some("the right to load programs")) {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "{missing} is missing");
        eprintln!("skipped: {missing} is missing");
        return None;
    }
    let (full, executable) = (std::fs::read(KERNEL).unwrap(), std::fs::read(OPENSNOOP).unwrap());
    let object = relo_core::embedded_objects(&executable)[0].bytes.to_vec();
    let parsed = relo_core::BpfObject::parse("opensnoop.bpf.o", &object).unwrap();
    let full = btf::Btf::parse(&full).unwrap();
    let minimized = relo_core::minimize(&full, &[&parsed], Default::default()).unwrap();
    Some((object, minimized.bytes))
}

fn pack(release: &str, host: &Query, btf: &[u8]) -> Vec<u8> {
    let name = |word: &Option<String>| word.clone().unwrap_or("none".into());
    let entry = KernelEntry {
        distro: name(&host.distro),
        version: name(&host.version),
        version_aliases: vec![],
        arch: host.arch,
        release: release.into(),
        build_id: host.build_id.clone(),
    };
    let (engine, arch): (String, Arch) = ("btfpipe".into(), host.arch);
    let meta = BundleMeta { name: "own".into(), arch, engine, source_date_epoch: 0 };
    let mut builder = BundleBuilder::new(meta).unwrap();
    builder.add_kernel(entry, btf.to_vec(), vec![]).unwrap();
    let bundle = Bundle::open(&builder.finish(3).unwrap().tar_zst).unwrap();
    Layout::Pack.deliver(&bundle, 3, 1).unwrap().bytes
}

#[test]
fn it_finds_and_loads() {
    let Some((object, minimized)) = opensnoop() else { return };
    let host = Query::host().unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("opensnoop.bpf.o"), object).unwrap();
    let load = |release: &str, btf: &[u8]| -> Output {
        std::fs::write(dir.path().join("own.btfpack"), pack(release, &host, btf)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_load-with-libbpf-rs"));
        command.args(["own.btfpack", "opensnoop.bpf.o"]).current_dir(dir.path()).output().unwrap()
    };
    let good = load(&host.release, &minimized);
    let text = String::from_utf8_lossy(&good.stdout);
    let verified = if host.build_id.is_some() { ", verified" } else { "" };
    assert!(good.status.success(), "{good:?}");
    assert!(text.starts_with(&format!("found by rule exact{verified}\nloaded ")), "{text}");

    let none = load("0.0.0-other", &minimized);
    assert!(!none.status.success() && none.stdout.is_empty(), "{none:?}");
    // libbpf did take this BTF, and not the kernel's own: with one that has no types it loads nothing.
    let empty = load(
        &host.release,
        &[0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
    );
    assert!(!empty.status.success() && !empty.stdout.is_empty(), "{empty:?}");
}
