//! The reader of bcc in Debian's own opensnoop, as it is installed, with our archive.
//!
//! libbpf-tools carry their archive between two symbols, which Debian builds without one: the symbols are weak, and the
//! dynamic linker looks for them. A library that has them, made as bcc's Makefile makes its object, is the archive.

mod fixture;

use std::path::Path;
use std::process::Command;

use bundle::{KernelEntry, Layout};
use fixture::machine::{bundle_of, may_load, needs, opensnoop, this_kernel};

const OPENSNOOP: &str = "/usr/sbin/opensnoop";
/// What the C library of the tool looks for; the name comes from that of the file.
const SYMBOL: &[u8] = b"_binary_min_core_btfs_tar_gz_start\0";
const ARCHIVE: &str = "min_core_btfs.tar.gz";

#[track_caller]
fn run(dir: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What opensnoop says for a second, where the kernel shows no BTF of its own; with the archive of a bundle of one kernel.
fn told(kernel: Option<(KernelEntry, &[u8])>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    let hidden =
        "mount -t tmpfs none /sys/kernel/btf && LD_PRELOAD=\"$ARCHIVE\" exec timeout 20 \"$0\" -v -d 1 2>&1";
    command.args(["-m", "sh", "-c", hidden, OPENSNOOP]).current_dir(dir.path());
    if let Some((entry, btf)) = kernel {
        let delivered = Layout::Bcc.deliver(&bundle_of(entry, btf.to_vec()), 3, 1).unwrap();
        std::fs::write(dir.path().join(ARCHIVE), delivered.bytes).unwrap();
        run(dir.path(), "ld", &["-r", "-b", "binary", "-z", "noexecstack", "-o", "archive.o", ARCHIVE]);
        run(dir.path(), "cc", &["-shared", "-o", "archive.so", "archive.o"]);
        command.env("ARCHIVE", dir.path().join("archive.so"));
    }
    String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
}

#[test]
fn debians_opensnoop_finds_and_loads() {
    let reads =
        std::fs::read(OPENSNOOP).is_ok_and(|file| file.windows(SYMBOL.len()).any(|bytes| bytes == SYMBOL));
    let found = opensnoop().filter(|_| reads && may_load());
    let linker = ["cc", "ld"].iter().all(|tool| Command::new(tool).arg("--version").output().is_ok());
    if !needs(found.is_some() && linker, "root, binutils, libbpf-tools with bcc's reader or the kernel's BTF")
    {
        return;
    }
    let (_, minimized) = found.unwrap();
    // bcc asks for uname -m and for the words of os-release between quotes: it finds itself on Debian and Ubuntu only.
    let kernel = this_kernel();
    if !needs(matches!(&*kernel.distro, "debian" | "ubuntu"), "a distribution that bcc's reader understands")
    {
        return;
    }
    let text = told(Some((kernel.clone(), &minimized)));
    let relocated = |line: &str| line.contains("relo #0: patched insn");
    assert!(text.lines().any(relocated), "{text}");
    // It loaded, and attached; but for kernels without tracefs, which have nothing to attach it to.
    assert!(!text.contains("failed to load") && !text.contains("failed to fetch"), "{text}");
    assert!(text.contains("FNAME") || text.contains("PATH") || text.contains("failed to attach"), "{text}");

    let nothing = "failed to fetch necessary BTF for CO-RE";
    assert!(told(None).contains(nothing), "without an archive");
    let other = KernelEntry { release: "0.0.0-other".into(), ..kernel };
    let text = told(Some((other, &minimized)));
    assert!(text.contains(nothing) && !text.lines().any(relocated), "{text}");
}
