//! The static guest: its own target, flags and profile, so that the host's build is not disturbed.

use std::path::PathBuf;
use std::process::ExitCode;

use xshell::{Cmd, Shell, cmd};

use crate::packages::{self, RUN};
use crate::{Error, Outcome};

/// Where vmtest's build script looks for the guest to embed.
pub const EMBED: &str = "BTFPIPE_GUEST_X86_64";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The task: packages, build, path.
pub fn guest(shell: &Shell, _: &[String]) -> Outcome {
    packages::install(shell, &[RUN])?;
    match build(shell)? {
        Some(path) => println!("{}", path.display()),
        None => eprintln!("no guest: this machine is not x86_64"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the guest for x86_64; none on another machine, where no x86_64 libelf is at hand.
pub fn build(shell: &Shell) -> Result<Option<PathBuf>, Error> {
    if std::env::consts::ARCH != "x86_64" {
        return Ok(None);
    }
    cargo(shell, "build").run()?;
    let built = target_folder(shell).join(TARGET).join("guest/vmtest-guest");
    if !built.is_file() {
        return Err(format!("cargo built no {}", built.display()).into());
    }
    Ok(Some(built))
}

/// The guest's own lints and tests, which need its target and flags as well.
pub fn test(shell: &Shell) -> xshell::Result<()> {
    cargo(shell, "clippy").args(["--all-targets", "--", "-D", "warnings"]).run()?;
    cargo(shell, "test").run()
}

fn cargo<'a>(shell: &'a Shell, verb: &str) -> Cmd<'a> {
    cmd!(shell, "cargo {verb} --quiet --locked --package vmtest-guest --profile guest --target {TARGET}")
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("LIBBPF_SYS_LIBRARY_PATH", "/usr/lib/x86_64-linux-gnu")
}

/// The folder that cargo builds into.
pub fn target_folder(shell: &Shell) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| shell.current_dir().join("target"), PathBuf::from)
}
