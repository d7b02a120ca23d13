//! Debian's reprotest and diffoscope on a small release: Debian's tools, this machine's kernel, every layout.

use std::path::Path;
use std::process::{Command, Output};

const PROGRAMS: [&str; 2] = ["/usr/sbin/opensnoop", "/usr/sbin/execsnoop"];
const KERNEL: &str = "/sys/kernel/btf/vmlinux";
const PIPELINE: &str = r#"version: 1
name: small
kernels:
  - uses: files
    with: { paths: "btf/{distro}/{version}/{arch}/{release}.btf" }
programs: [opensnoop, execsnoop]
steps:
  - uses: record
  - uses: minimize
  - uses: package
    with:
      aliases: { debian/12: ["12.1"] }
      layouts: [bundle, pack, pack-deflate, btfhub-custom-archive, btfhub-archive, tracee, ig-embed, ig-layer,
                datadog, bcc, eunomia, libbpf-path]
"#;
/// How many of its files are packages.
const PACKAGES: usize = 12;

/// Whether all is there; says so where it isn't.
fn ready() -> bool {
    let tools = ["reprotest", "diffoscope", "faketime", "disorderfs"];
    let missing = tools.into_iter().find(|tool| Command::new(tool).arg("--version").output().is_err());
    let missing = missing.or(PROGRAMS.into_iter().chain([KERNEL]).find(|path| !Path::new(path).exists()));
    if let Some(missing) = missing {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "{missing} is missing");
        eprintln!("skipped: {missing} is missing");
    }
    missing.is_none()
}

/// What can't be varied here, aloud.
fn kept() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t0"));
    // Another user would have to be able to start the program that cargo built.
    let mut kept = vec!["-user_group"];
    if !root {
        kept.push("-domain_host");
    }
    if !Path::new("/dev/fuse").exists() {
        kept.push("-fileordering");
    }
    eprintln!("all variations of reprotest but {kept:?}");
    kept.join(",")
}

fn source(folder: &Path) {
    std::fs::write(folder.join("small.yaml"), PIPELINE).unwrap();
    for program in PROGRAMS {
        std::fs::copy(program, folder.join(program.rsplit('/').next().unwrap())).unwrap();
    }
    let btf = std::fs::read(KERNEL).unwrap();
    for path in ["btf/debian/12/x86_64", "btf/ubuntu/22.04/x86_64"] {
        std::fs::create_dir_all(folder.join(path)).unwrap();
        std::fs::write(folder.join(path).join("6.1.0-1-amd64.btf"), &btf).unwrap();
    }
}

/// Builds twice in copies of the folder: with other paths, time, time zone, locales, environment, umask, processors, order of
/// files and name of the machine. Then diffoscope looks.
fn reprotest(folder: &Path, before: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_btfpipe");
    let build = format!("{before} '{program}' run small.yaml --store store --dist dist --jobs $(nproc)");
    Command::new("reprotest")
        .arg(format!("--vary={}", kept()))
        .args([&build, "dist/*.tar.* dist/*.btfpack dist/SHA256SUMS dist/*.json", "--", "null"])
        .current_dir(folder)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap()
}

#[test]
fn reprotest_and_diffoscope_find_nothing() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    source(folder.path());
    let output = reprotest(folder.path(), "");
    let (told, notes) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}{notes}");
    let packages = told.lines().filter(|line| line.contains("  ./dist/small-x86_64")).count();
    assert!(told.contains("Reproduction successful") && packages == PACKAGES, "{told}{notes}");

    // It would find something: the time of the build in the packages.
    let output = reprotest(folder.path(), "SOURCE_DATE_EPOCH=$(date +%s)");
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("small-x86_64.tar.zst") && told.contains("index.json"), "{told}");
}
