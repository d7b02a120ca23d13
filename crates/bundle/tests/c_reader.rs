//! The reader in C: the same answers, no fault in the sanitizers on broken packs, and libbpf loads with what it gives.

mod fixture;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bundle::pack::{Method, PackOptions, write_pack};
use bundle::{Bundle, Delta, Layout, Query};
use fixture::machine::{bundle_of, may_load, needs, opensnoop, this_kernel};
use fixture::{btf, cases, tiny};

const SANITIZED: &str =
    "-std=gnu11 -O1 -g -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all";

fn has_compiler() -> bool {
    let compiler = Command::new("cc").arg("--version").output().is_ok_and(|output| output.status.success());
    needs(compiler && Path::new("/usr/include/zstd.h").exists(), "cc or libzstd-dev")
}

/// Compiles one of the programs of `readers/c`.
fn compiled(folder: &Path, program: &str, flags: &str, libraries: &[&str]) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../readers/c");
    let out = folder.join(program);
    let output = Command::new("cc")
        .args(flags.split(' '))
        .arg("-o")
        .arg(&out)
        .arg(sources.join(format!("{program}.c")))
        .arg(sources.join("btfpack.c"))
        .args(libraries)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

fn pack(bundle: &Bundle) -> Vec<u8> {
    write_pack(bundle, PackOptions { method: Method::Zstd, ..PackOptions::default() }).unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[test]
fn the_cases() {
    if !has_compiler() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let find = compiled(dir.path(), "find", SANITIZED, &["-lzstd"]);
    let path = dir.path().join("case.btfpack");
    for case in cases::all() {
        std::fs::write(&path, pack(&case.bundle)).unwrap();
        for (query, want) in &case.queries {
            let Query { distro, version, release, build_id, .. } = query;
            let word = |text: &Option<String>| text.clone().unwrap_or("-".into());
            let mut command = Command::new(&find);
            command.arg(&path).args([word(distro), word(version), release.clone()]);
            command.args(build_id.as_ref().map(|id| format!("#{id}")));
            assert_eq!(text(&command.output().unwrap()), *want, "{}: {query:?}", case.title);
        }
    }
}

#[test]
fn the_btf() {
    if !has_compiler() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let find = compiled(dir.path(), "find", SANITIZED, &["-lzstd"]);
    let (path, out) = (dir.path().join("tiny.btfpack"), dir.path().join("btf"));
    // Long enough that zstd has something to do.
    let large = [b"\x9f\xeb\x01\0".to_vec(), b"task_struct ".repeat(9000)].concat();
    let mut builder = tiny();
    builder
        .add_kernel(fixture::entry("fedora/38/x86_64/6.2.9-300.fc38.x86_64"), large.clone(), vec![])
        .unwrap();
    let bundle = Bundle::open(&builder.finish(3).unwrap().tar_zst).unwrap();
    std::fs::write(&path, pack(&bundle)).unwrap();
    for (words, want) in [
        ("rhel 8.1 4.18.0-80.el8.x86_64", btf(2)),
        ("debian 12 6.1.0-1-amd64", btf(1)),
        ("fedora 38 6.2.9-300.fc38.x86_64", large),
    ] {
        let output = Command::new(&find).arg(&path).args(words.split(' ')).env("BTF", &out).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        assert!(std::fs::read(&out).unwrap() == want, "{words}");
    }
    std::fs::write(
        &path,
        write_pack(&bundle, PackOptions { method: Method::Deflate, ..PackOptions::default() }).unwrap(),
    )
    .unwrap();
    let output = Command::new(&find)
        .arg(&path)
        .args(["fedora", "38", "6.2.9-300.fc38.x86_64"])
        .env("BTF", &out)
        .output();
    assert_eq!(text(&output.unwrap()), "compressed with DEFLATE");
}

/// Every tenth bit of a pack, flipped: an answer or an error, never a fault that the sanitizers see.
#[test]
fn broken_packs() {
    if !has_compiler() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let find = compiled(dir.path(), "find", SANITIZED, &["-lzstd"]);
    let good = pack(&Bundle::open(&tiny().finish(3).unwrap().tar_zst).unwrap());
    let path = dir.path().join("bad.btfpack");
    // A delta pack has no kernels to look up.
    let shipped = tiny().finish(3).unwrap().tar_zst;
    let delta = Delta::between(&Bundle::open(&shipped).unwrap(), &shipped).unwrap();
    std::fs::write(&path, delta.to_bytes()).unwrap();
    let output =
        Command::new(&find).arg(&path).args(["rhel", "8.1", "4.18.0-80.el8.x86_64"]).output().unwrap();
    assert_eq!((text(&output).as_str(), output.status.code()), ("not a pack", Some(1)));
    for at in (0..good.len()).step_by(3) {
        let mut bad = good.clone();
        bad[at] ^= if at % 2 == 0 { 0xff } else { 1 };
        if at % 5 == 0 {
            bad.truncate(at);
        }
        std::fs::write(&path, bad).unwrap();
        let query = ["rhel", "8.1", "4.18.0-80.el8.x86_64"];
        let output =
            Command::new(&find).arg(&path).args(query).env("BTF", dir.path().join("btf")).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1)) && output.stderr.is_empty(), "{at}: {output:?}");
        if output.status.success() {
            assert_eq!(std::fs::read(dir.path().join("btf")).unwrap(), btf(2), "{at}");
        }
    }
}

/// libbpf loads opensnoop with the BTF that the C reader gives it for this machine; and in a mount namespace without
/// /sys/kernel/btf with what stands where libbpf itself looks. Without either it does not load.
#[test]
fn libbpf_loads() {
    let found = opensnoop().filter(|_| may_load());
    if !has_compiler() || !needs(found.is_some(), "root, libbpf-dev, libbpf-tools or the kernel's BTF") {
        return;
    }
    let (object, minimized) = found.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let load = compiled(dir.path(), "load", "-std=gnu11 -O1 -g", &["-lbpf", "-lzstd"]);
    std::fs::write(dir.path().join("opensnoop.bpf.o"), object).unwrap();

    let kernel = this_kernel();
    let (release, build_id) = (kernel.release.clone(), kernel.build_id.clone());
    let bundle = bundle_of(kernel, minimized);
    std::fs::write(dir.path().join("own.btfpack"), pack(&bundle)).unwrap();
    let boot = Layout::LibbpfPath.members(&bundle).unwrap().remove(0);
    std::fs::create_dir(dir.path().join("boot")).unwrap();
    std::fs::write(dir.path().join(&boot.path), boot.content).unwrap();

    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(dir.path()).output().unwrap();
        format!("{}{}", text(&output), String::from_utf8_lossy(&output.stderr))
    };
    let load = load.to_str().unwrap();
    let verified = if build_id.is_some() { ", verified" } else { "" };
    let told = run(load, &["own.btfpack", "opensnoop.bpf.o"]);
    assert!(
        told.contains(&format!("found by rule exact{verified}\n")) && told.ends_with("\nloaded"),
        "{told}"
    );

    let hidden = "mount -t tmpfs none /sys/kernel/btf && mkdir -p /boot && mount --bind \"$1\" /boot && \
                  exec \"$0\" - opensnoop.bpf.o";
    let told = run("unshare", &["-m", "sh", "-c", hidden, load, "boot"]);
    let line = format!("loading kernel BTF '/boot/vmlinux-{release}': 0");
    assert!(told.contains(&line) && told.ends_with("\nloaded"), "{told}");
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let told = run("unshare", &["-m", "sh", "-c", hidden, load, "empty"]);
    assert!(told.contains("not loaded"), "{told}");
}
