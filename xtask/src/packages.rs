//! Which Debian packages a task needs, which are missing, and installing exactly those.

use std::path::Path;
use std::process::ExitCode;

use xshell::Shell;

use crate::{Error, Outcome};

/// A Debian package, and how to see that what it brings is there, whoever installed it.
pub struct Package {
    name: &'static str,
    why: &'static str,
    has: Has,
}

enum Has {
    Command(&'static str),
    /// Any of these; `{multiarch}` stands for the folder of the machine's libraries.
    File(&'static [&'static str]),
}

const fn package(name: &'static str, why: &'static str, has: Has) -> Package {
    Package { name, why, has }
}

/// What building btfpipe and running a pipeline needs.
pub const RUN: &[Package] = &[
    package("gcc", "links Rust programs, builds libbpf", Has::Command("cc")),
    package("libc6-dev", "C headers", Has::File(&["/usr/include/stdio.h"])),
    package("make", "builds libbpf", Has::Command("make")),
    package("pkg-config", "builds libbpf", Has::Command("pkg-config")),
    package("libelf-dev", "static libelf for the guest", Has::File(&["/usr/lib/{multiarch}/libelf.a"])),
    package("zlib1g-dev", "static zlib for the guest", Has::File(&["/usr/lib/{multiarch}/libz.a"])),
    package("linux-libc-dev", "kernel headers for BPF programs", Has::File(&["/usr/include/linux/bpf.h"])),
    package("libbpf-dev", "bpf_helpers.h and friends", Has::File(&["/usr/include/bpf/bpf_helpers.h"])),
    // The clang of Debian 12 is 14, which knows no type_matches; this one is in Debian 12 and 13 alike.
    package("clang-19", "compiles BPF programs", Has::Command("clang-19")),
    package("qemu-system-x86", "boots the kernels", Has::Command("qemu-system-x86_64")),
    package("apt", "fetches kernel packages", Has::Command("apt-get")),
];

/// What the guest for the other architecture and its machine need, on an x86_64 machine.
pub const ARM64: &[Package] = &[
    package("qemu-system-arm", "boots arm64 kernels", Has::Command("qemu-system-aarch64")),
    package("gcc-aarch64-linux-gnu", "builds libbpf for arm64", Has::Command("aarch64-linux-gnu-gcc")),
    package(
        "libc6-dev-arm64-cross",
        "static C library for arm64",
        Has::File(&["/usr/aarch64-linux-gnu/lib/libc.a"]),
    ),
    // Debian's standard library for arm64 fits only Debian's own compiler.
    package("rustc-web", "the compiler of Debian's arm64 standard library", Has::File(&[DEBIAN_RUSTC])),
    package("dpkg", "unpacks arm64 packages into a folder", Has::Command("dpkg-deb")),
];

/// What the guest of the kernel without BTF is built with.
pub const I386: &[Package] = &[
    package("gcc-i686-linux-gnu", "builds a guest for i386", Has::Command("i686-linux-gnu-gcc")),
    package(
        "libc6-dev-i386-cross",
        "static C library for i386",
        Has::File(&["/usr/i686-linux-gnu/lib/libc.a"]),
    ),
];

/// Debian's compiler, whatever the PATH says.
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// What the tests need beyond [`RUN`].
pub const TEST: &[Package] = &[
    package("bpftool", "the judge of minimized BTFs", Has::Command("bpftool")),
    package("pahole", "makes BTF of 32-bit and big-endian kernels", Has::Command("pahole")),
    package("zstd", "reads the packages", Has::Command("zstd")),
    package("valgrind", "counts instructions", Has::Command("valgrind")),
    package("python3", "its tarfile reads the packages", Has::Command("python3")),
    package("golang-go", "the reader in Go", Has::Command("go")),
    package("minisign", "signs a release", Has::Command("minisign")),
    package("bubblewrap", "stands in where the kernel doesn't hold plugins", Has::Command("bwrap")),
    package("cpio", "reads what a plugin in Rust makes", Has::Command("cpio")),
    package("libzstd-dev", "the reader in C", Has::File(&["/usr/include/zstd.h"])),
    package("xz-utils", "reads the packages", Has::Command("xz")),
    package("libarchive-tools", "its bsdtar reads the packages", Has::Command("bsdtar")),
    package("binutils", "its readelf looks at ELF files that we write", Has::Command("readelf")),
    package("nginx-light", "a real server to download from", Has::File(&["/usr/sbin/nginx"])),
    package("openssl", "makes the certificate of that server", Has::Command("openssl")),
    package("strace", "shows that --offline opens no socket", Has::Command("strace")),
    package("libxml2-utils", "xmllint judges JUnit", Has::Command("xmllint")),
    package(
        "python3-jsonschema",
        "judges JSON against the schemas",
        Has::File(&["/usr/lib/python3/dist-packages/jsonschema/__init__.py"]),
    ),
    package(
        "python3-yaml",
        "reads pipelines for the schemas",
        Has::File(&["/usr/lib/python3/dist-packages/yaml/__init__.py"]),
    ),
    package("reprotest", "builds a release twice under other circumstances", Has::Command("reprotest")),
    package("diffoscope-minimal", "compares what reprotest built", Has::Command("diffoscope")),
    package("disorderfs", "reprotest's other orders of files", Has::Command("disorderfs")),
    package("faketime", "reprotest's other times", Has::Command("faketime")),
    package("tmux", "shows the program on a terminal", Has::Command("tmux")),
    package("libbpf-tools", "52 real programs to compare with", Has::File(&["/usr/sbin/opensnoop"])),
];

/// Installs what is missing of `sets`, aloud. Without apt-get, or without the right to use it, names the packages.
pub fn install(shell: &Shell, sets: &[&[Package]]) -> Result<(), Error> {
    let missing = missing(sets);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    eprintln!("missing Debian packages:");
    for Package { name, why, .. } in &missing {
        eprintln!("  {name:<18} {why}");
    }
    if find_command("apt-get").is_none() {
        return Err(
            format!("this machine has no apt-get; install what corresponds to: {}", names.join(" ")).into()
        );
    }
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(&names);
    eprintln!("installing them: apt-get {}", install.join(" "));
    if !has_lists() {
        apt_get(shell, &["update"])?;
    }
    if apt_get(shell, &install).is_err() {
        eprintln!("the package lists may be old: updating them and trying once more");
        apt_get(shell, &["update"])?;
        apt_get(shell, &install)?;
    }
    Ok(())
}

/// The task that only says it.
pub fn list(_: &Shell, _: &[String]) -> Outcome {
    for Package { name, why, has } in RUN.iter().chain(ARM64).chain(I386).chain(TEST) {
        println!("{:<8} {name:<18} {why}", if has.is_there() { "here" } else { "missing" });
    }
    Ok(ExitCode::SUCCESS)
}

fn missing<'a>(sets: &[&'a [Package]]) -> Vec<&'a Package> {
    sets.iter().flat_map(|set| set.iter()).filter(|package| !package.has.is_there()).collect()
}

impl Has {
    fn is_there(&self) -> bool {
        match self {
            Has::Command(name) => find_command(name).is_some(),
            Has::File(paths) => {
                let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
                paths.iter().any(|path| Path::new(&path.replace("{multiarch}", &multiarch)).exists())
            }
        }
    }
}

/// Looks where root's PATH looks too: Debian keeps bpftool in /usr/sbin.
pub fn find_command(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Through sudo unless we are root already.
fn apt_get(shell: &Shell, arguments: &[&str]) -> Result<(), Error> {
    let command = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
    let program = match is_root()? {
        true => shell.cmd(command[0]).args(&command[1..]),
        false if find_command("sudo").is_some() => shell.cmd("sudo").args(command),
        false => return Err("neither root nor sudo: install them yourself, then run this again".into()),
    };
    Ok(program.args(arguments).run()?)
}

fn is_root() -> Result<bool, Error> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    Ok(effective == Some("0"))
}

/// A container image comes without package lists.
fn has_lists() -> bool {
    std::fs::read_dir("/var/lib/apt/lists").is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    })
}
