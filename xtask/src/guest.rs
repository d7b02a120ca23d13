//! The static guests: their own targets, flags and profile, so that the host's build is not disturbed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use xshell::{Cmd, Shell, cmd};

use crate::foreign;
use crate::packages::{self, ARM64, DEBIAN_RUSTC, RUN};
use crate::{Error, Outcome};

/// The programs of the machines of one architecture.
pub struct Guest {
    /// What Rust calls the architecture.
    arch: &'static str,
    target: &'static str,
    /// Where vmtest's build script looks for PID 1, to embed it.
    embed: &'static str,
    /// The same for the program with the older libbpf.
    embed_old: &'static str,
}

const X86_64: Guest = Guest {
    arch: "x86_64",
    target: "x86_64-unknown-linux-gnu",
    embed: "BTFPIPE_GUEST_X86_64",
    embed_old: "BTFPIPE_OLD_LIBBPF_X86_64",
};
const ARM_64: Guest = Guest {
    arch: "aarch64",
    target: "aarch64-unknown-linux-gnu",
    embed: "BTFPIPE_GUEST_ARM64",
    embed_old: "BTFPIPE_OLD_LIBBPF_ARM64",
};

/// PID 1, and what it starts for an older libbpf: that has a manifest and a lock file of its own.
const PROGRAMS: [Program; 2] = [
    Program { name: "vmtest-guest", manifest: "Cargo.toml" },
    Program { name: "vmtest-old-libbpf", manifest: "vmtest/guest/old/Cargo.toml" },
];

#[derive(Clone, Copy)]
struct Program {
    name: &'static str,
    manifest: &'static str,
}

/// A program that was built, and the environment variable that embeds it.
pub type Built = (&'static str, PathBuf);

/// The task: packages, build, paths.
pub fn guest(shell: &Shell, _: &[String]) -> Outcome {
    packages::install(shell, &[RUN])?;
    for (_, path) in build(shell)? {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the programs for this machine's architecture, and on x86_64 those for arm64 too. What the second needs may not
/// be had here: then it is left out, aloud, and those kernels are compared on the host only.
pub fn build(shell: &Shell) -> Result<Vec<Built>, Error> {
    let mut built = Vec::new();
    match std::env::consts::ARCH {
        "x86_64" => {
            built.extend(X86_64.build(shell, None)?);
            match packages::install(shell, &[ARM64]).and_then(|()| foreign::unpack(shell)) {
                Ok(root) => built.extend(ARM_64.build(shell, Some(&root))?),
                Err(error) => eprintln!("no guest for arm64: {error}"),
            }
        }
        "aarch64" => built.extend(ARM_64.build(shell, None)?),
        other => eprintln!("no guest: this machine is {other}"),
    }
    Ok(built)
}

/// The guest's own lints and tests, which need its target and flags as well. The tests are of sources that both programs
/// share.
pub fn test(shell: &Shell) -> xshell::Result<()> {
    let native = if std::env::consts::ARCH == ARM_64.arch { ARM_64 } else { X86_64 };
    for program in PROGRAMS {
        native.cargo(shell, "clippy", program, None).args(["--all-targets", "--", "-D", "warnings"]).run()?;
    }
    native.cargo(shell, "test", PROGRAMS[0], None).run()
}

impl Guest {
    fn build(&self, shell: &Shell, root: Option<&Path>) -> Result<[Built; 2], Error> {
        let folder = target_folder(shell).join(self.target).join("guest");
        for program in PROGRAMS {
            self.cargo(shell, "build", program, root).run()?;
            let built = folder.join(program.name);
            if !built.is_file() {
                return Err(format!("cargo built no {}", built.display()).into());
            }
        }
        let [guest, old] = PROGRAMS.map(|program| folder.join(program.name));
        Ok([(self.embed, guest), (self.embed_old, old)])
    }

    /// With a folder of packages of the other architecture: Debian's compiler and that standard library.
    fn cargo<'a>(&self, shell: &'a Shell, verb: &str, program: Program, root: Option<&Path>) -> Cmd<'a> {
        let Guest { arch, target, .. } = self;
        let Program { name, manifest } = program;
        let libraries = format!("usr/lib/{arch}-linux-gnu");
        let folder = target_folder(shell);
        let cargo = cmd!(
            shell,
            "cargo {verb} --quiet --locked --manifest-path {manifest} --package {name} --profile guest
                --target {target} --target-dir {folder}"
        );
        let flags = "-C target-feature=+crt-static";
        match root {
            None => {
                cargo.env("RUSTFLAGS", flags).env("LIBBPF_SYS_LIBRARY_PATH", Path::new("/").join(libraries))
            }
            Some(root) => cargo
                .env("RUSTC", DEBIAN_RUSTC)
                // One flag a separator: the folder's name may have spaces.
                .env("CARGO_ENCODED_RUSTFLAGS", encoded(flags, root, &libraries))
                .env("LIBBPF_SYS_LIBRARY_PATH", root.join(libraries))
                .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc")
                .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc"),
        }
    }
}

/// The older libbpf-sys leaves it to the linker to find libelf and libz.
fn encoded(flags: &str, root: &Path, libraries: &str) -> String {
    let mut words: Vec<String> = flags.split(' ').map(str::to_owned).collect();
    words.extend(["--sysroot".to_owned(), root.join("usr").to_string_lossy().into_owned()]);
    words.extend(["-C".to_owned(), format!("link-arg=-L{}", root.join(libraries).display())]);
    words.join("\u{1f}")
}

/// The folder that cargo builds into.
pub fn target_folder(shell: &Shell) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| shell.current_dir().join("target"), PathBuf::from)
}
