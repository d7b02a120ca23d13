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

/// Builds btfpipe with the guest inside, and the plugins written in Rust beside it.
pub fn build(shell: &Shell) -> Result<PathBuf, Error> {
    let guests = guest::build(shell)?;
    eprintln!("building btfpipe");
    let cargo = cmd!(
        shell,
        "cargo build --quiet --locked --release --package btfpipe --package btfpipe-plugin-debian
            --package btfpipe-plugin-dwarf"
    );
    cargo.envs(guests).run()?;
    Ok(guest::target_folder(shell).join("release/btfpipe"))
}
