//! `cargo xtask i386`: a kernel that has no BTF at all, with what the plugin `dwarf` makes of its debug information.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use xshell::{Shell, cmd};

use crate::foreign::Archive;
use crate::packages::{self, I386, RUN, TEST};
use crate::sources::{compile, only_file};
use crate::{Error, Outcome, machines};

/// Debian's 32-bit kernel; it is built without BTF.
const KERNEL: &str = "linux-image-686";
/// What the guest is linked with.
const LIBRARIES: [&str; 3] = ["libbpf-dev", "libelf-dev", "zlib1g-dev"];
const GUEST: &str = "vmtest/tests/i386/guest.c";
/// One without signed `long` in what it reads: libbpf refuses to read 64 bits of these where the kernel has 32.
const OBJECT: &str = "signals.bpf.o";

/// Downloads 0.8 GB, makes BTF of it, boots the kernel. Fails unless the program loads, attaches and reports what it should
/// with that BTF, and not with a damaged one.
pub fn i386(shell: &Shell, _: &[String]) -> Outcome {
    packages::install(shell, &[RUN, TEST, I386])?;
    let machines::Programs { btfpipe, machines } = machines::Programs::build(shell)?;
    let work = shell.create_temp_dir()?;
    let archive = Archive::open(shell, "i386", work.path())?;
    let package = archive.find_newest(KERNEL)?;
    let release = package.strip_prefix("linux-image-").ok_or("its kernel has another name")?;
    let debug = format!("{package}-dbg");
    eprintln!("fetching {package} and {debug}");
    let debs = archive.download(&LIBRARIES)?.to_owned();
    let root = work.path().join("root");
    for deb in shell.read_dir(&debs)? {
        cmd!(shell, "dpkg-deb -x {deb} {root}").quiet().run()?;
    }
    archive.download(&[&package, &debug])?;
    let guest = build_guest(shell, &root, work.path())?;
    let objects = compile(shell, work.path())?;
    let object = objects.iter().find(|object| object.ends_with(OBJECT)).ok_or("signals was not compiled")?;
    let [image, btf] = extract(shell, &btfpipe, release, &debs, work.path())?;
    let ended = cmd!(shell, "{machines} i386 {image} {guest} {btf} {object}").ignore_status().output()?;
    print!("{}", String::from_utf8_lossy(&ended.stdout));
    Ok(if ended.status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build_guest(shell: &Shell, root: &Path, work: &Path) -> Result<PathBuf, Error> {
    let guest = work.join("guest");
    let [include, multiarch, libraries] =
        ["usr/include", "usr/include/i386-linux-gnu", "usr/lib/i386-linux-gnu"].map(|part| root.join(part));
    cmd!(
        shell,
        "i686-linux-gnu-gcc -std=gnu11 -Wall -Wextra -Werror -O2 -static -s -o {guest} -I {include} -I {multiarch}
            {GUEST} -L {libraries} -lbpf -lelf -lz"
    )
    .quiet()
    .run()?;
    Ok(guest)
}

/// Boot image and BTF, through a pipeline. It knows no i386: the kernel goes by x86_64 there, which changes nothing.
fn extract(
    shell: &Shell,
    btfpipe: &Path,
    release: &str,
    debs: &Path,
    work: &Path,
) -> Result<[PathBuf; 2], Error> {
    let package = |name: &str| {
        let start = format!("{name}_");
        let mut files = shell.read_dir(debs)?.into_iter();
        let found = files
            .find(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&start)));
        found.ok_or_else(|| Error::from(format!("{name} was not downloaded")))
    };
    let boot = package(&format!("linux-image-{release}"))?;
    let debug = package(&format!("linux-image-{release}-dbg"))?;
    let (boot, debug) = (boot.display(), debug.display());
    let pipeline = work.join("i386.yaml");
    fs::write(
        &pipeline,
        format!(
            "version: 1\nname: i386\nkernels:\n  - uses: dwarf\n    with:\n      kernels:\n        - {{ id: \
             'debian/12/x86_64/{release}', debug: '{debug}', boot: '{boot}' }}\nprograms:\n  - '*.bpf.o'\nsteps:\n  \
             - uses: record\n"
        ),
    )?;
    std::os::unix::fs::symlink(shell.current_dir().join("plugins"), work.join("plugins"))?;
    let (kernels, store) = (work.join("kernels"), work.join("store"));
    cmd!(shell, "{btfpipe} extract {pipeline} {kernels} --store {store}").ignore_stdout().run()?;
    Ok([only_file(&kernels.join("kernels"))?, only_file(&kernels.join("btf"))?])
}
