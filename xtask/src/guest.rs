//! The static guests: their own targets, flags and profile, so that the host's build is not disturbed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use xshell::{Cmd, Shell, cmd};

use crate::foreign;
use crate::packages::{self, ARM64, DEBIAN_RUSTC, RUN};
use crate::{Error, Outcome};

/// A guest program: PID 1 of the machines of one architecture.
pub struct Guest {
    /// What Rust calls the architecture.
    arch: &'static str,
    target: &'static str,
    /// Where vmtest's build script looks for the guest to embed.
    embed: &'static str,
}

const X86_64: Guest =
    Guest { arch: "x86_64", target: "x86_64-unknown-linux-gnu", embed: "BTFPIPE_GUEST_X86_64" };
const ARM_64: Guest =
    Guest { arch: "aarch64", target: "aarch64-unknown-linux-gnu", embed: "BTFPIPE_GUEST_ARM64" };

/// A guest that was built, and the environment variable that embeds it.
pub type Built = (&'static str, PathBuf);

/// The task: packages, build, paths.
pub fn guest(shell: &Shell, _: &[String]) -> Outcome {
    packages::install(shell, &[RUN])?;
    for (_, path) in build(shell)? {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the guest for this machine's architecture, and on x86_64 the one for arm64 too. What the second needs may not
/// be had here: then it is left out, aloud, and those kernels are compared on the host only.
pub fn build(shell: &Shell) -> Result<Vec<Built>, Error> {
    let mut built = Vec::new();
    match std::env::consts::ARCH {
        "x86_64" => {
            built.push(X86_64.build(shell, None)?);
            match packages::install(shell, &[ARM64]).and_then(|()| foreign::unpack(shell)) {
                Ok(root) => built.push(ARM_64.build(shell, Some(&root))?),
                Err(error) => eprintln!("no guest for arm64: {error}"),
            }
        }
        "aarch64" => built.push(ARM_64.build(shell, None)?),
        other => eprintln!("no guest: this machine is {other}"),
    }
    Ok(built)
}

/// The guest's own lints and tests, which need its target and flags as well.
pub fn test(shell: &Shell) -> xshell::Result<()> {
    let native = if std::env::consts::ARCH == ARM_64.arch { ARM_64 } else { X86_64 };
    native.cargo(shell, "clippy", None).args(["--all-targets", "--", "-D", "warnings"]).run()?;
    native.cargo(shell, "test", None).run()
}

impl Guest {
    fn build(&self, shell: &Shell, root: Option<&Path>) -> Result<Built, Error> {
        self.cargo(shell, "build", root).run()?;
        let built = target_folder(shell).join(self.target).join("guest/vmtest-guest");
        if !built.is_file() {
            return Err(format!("cargo built no {}", built.display()).into());
        }
        Ok((self.embed, built))
    }

    /// With a folder of packages of the other architecture: Debian's compiler and that standard library.
    fn cargo<'a>(&self, shell: &'a Shell, verb: &str, root: Option<&Path>) -> Cmd<'a> {
        let Guest { arch, target, .. } = self;
        let libraries = format!("usr/lib/{arch}-linux-gnu");
        let cargo = cmd!(
            shell,
            "cargo {verb} --quiet --locked --package vmtest-guest --profile guest --target {target}"
        );
        let flags = "-C target-feature=+crt-static";
        match root {
            None => {
                cargo.env("RUSTFLAGS", flags).env("LIBBPF_SYS_LIBRARY_PATH", Path::new("/").join(libraries))
            }
            Some(root) => cargo
                .env("RUSTC", DEBIAN_RUSTC)
                // One flag a separator: the folder's name may have spaces.
                .env("CARGO_ENCODED_RUSTFLAGS", encoded(flags, &root.join("usr")))
                .env("LIBBPF_SYS_LIBRARY_PATH", root.join(libraries))
                .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc")
                .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc"),
        }
    }
}

fn encoded(flags: &str, sysroot: &Path) -> String {
    let mut words: Vec<String> = flags.split(' ').map(str::to_owned).collect();
    words.extend(["--sysroot".to_owned(), sysroot.to_string_lossy().into_owned()]);
    words.join("\u{1f}")
}

/// The folder that cargo builds into.
pub fn target_folder(shell: &Shell) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| shell.current_dir().join("target"), PathBuf::from)
}
