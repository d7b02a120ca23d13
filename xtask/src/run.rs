//! `cargo xtask run FILE`: the convenience around `btfpipe run FILE`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use xshell::{Shell, cmd};

use crate::guest;
use crate::packages::{self, RUN};
use crate::{Error, Outcome};

/// Installs, builds, runs; the exit code is btfpipe's.
pub fn run(shell: &Shell, arguments: &[String]) -> Outcome {
    if arguments.is_empty() {
        return Err("which pipeline? e.g. cargo xtask run pipelines/release.yaml".into());
    }
    packages::install(shell, &[RUN])?;
    let program = build(shell)?;
    // The program writes to the terminal itself, and its exit code says more than success.
    let status =
        Command::new(&program).arg("run").args(arguments).current_dir(shell.current_dir()).status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Static and at a fixed place: finding and joining libraries is a good part of what a short command takes.
const FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// The packages of the machine that builds: all but the guest, which has a target and flags of its own.
pub const HOSTED: [&str; 3] = ["--workspace", "--exclude", "vmtest-guest"];

/// An example, built as the tests are: with another choice of packages features differ, and all is compiled once more.
pub fn example(shell: &Shell, name: &str) -> Result<PathBuf, Error> {
    cmd!(shell, "cargo build --quiet --locked {HOSTED...} --example {name}").quiet().run()?;
    Ok(guest::target_folder(shell).join("debug/examples").join(name))
}

/// Builds btfpipe with the guest inside, and the plugins written in Rust beside it.
pub fn build(shell: &Shell) -> Result<PathBuf, Error> {
    let guests = guest::build(shell)?;
    eprintln!("building btfpipe");
    // With a target of its own the flags are not those of build scripts and macros, which can't be static.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let cargo = cmd!(
        shell,
        "cargo build --quiet --locked --release --target {target} --package btfpipe --package btfpipe-plugin-debian
            --package btfpipe-plugin-dwarf"
    );
    let given = std::env::var("RUSTFLAGS").unwrap_or_default();
    cargo.env("RUSTFLAGS", format!("{FLAGS} {given}").trim()).envs(guests).run()?;
    Ok(guest::target_folder(shell).join(target).join("release/btfpipe"))
}
