//! `cargo xtask test`: what a change must pass, on a developer's machine and in CI alike.

use std::path::Path;
use std::process::ExitCode;

use xshell::{Shell, cmd};

use crate::packages::{self, RUN, TEST};
use crate::{Error, Outcome};

/// One stage of the tests, and what became of it.
struct Stage {
    name: &'static str,
    end: End,
}

enum End {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Runs every stage, also after a failure, and says in the last line what ran, what was skipped, and why.
pub fn test(shell: &Shell, arguments: &[String]) -> Outcome {
    let quick = match arguments {
        [] => false,
        [flag] if flag == "--quick" => true,
        other => return Err(format!("test takes --quick or nothing, not {other:?}").into()),
    };
    let installed = packages::install(shell, &[RUN, TEST]);
    let mut stages = vec![
        stage("format", || cmd!(shell, "cargo fmt --all --check").run()),
        stage("lints", || clippy(shell)),
        stage("tests", || {
            cmd!(shell, "cargo test --quiet --locked --workspace --exclude vmtest-guest").run()
        }),
    ];
    let why_not = match (&installed, quick) {
        (_, true) => Some("--quick".to_owned()),
        (Err(error), false) => Some(format!("packages are missing: {error}")),
        (Ok(()), false) => None,
    };
    match why_not {
        Some(reason) => stages.push(Stage { name: "real", end: End::Skipped(reason) }),
        None => stages.push(stage("real", || real(shell))),
    }
    Ok(conclude(&stages))
}

/// Only the layout's rules.
pub fn tidy(shell: &Shell, _: &[String]) -> Outcome {
    cmd!(shell, "cargo test --quiet --locked --package xtask --test tidy").run()?;
    Ok(ExitCode::SUCCESS)
}

fn clippy(shell: &Shell) -> xshell::Result<()> {
    cmd!(
        shell,
        "cargo clippy --quiet --locked --workspace --all-targets --exclude vmtest-guest -- -D warnings"
    )
    .run()
}

/// Real kernels, real boots, the release pipeline as a newcomer runs it: what needs packages, the mirror and QEMU.
fn real(shell: &Shell) -> Result<(), Error> {
    let program = crate::run::build(shell)?;
    let work = shell.create_temp_dir()?;
    let work = work.path();
    let (first, second, kernels) = (work.join("first"), work.join("second"), work.join("kernels"));
    let pipeline = "pipelines/release.yaml";
    for dist in [&first, &second] {
        cmd!(shell, "{program} run {pipeline} --dist {dist}").run()?;
    }
    same_files(&first, &second)?;
    cmd!(shell, "{program} extract {pipeline} {kernels}").run()?;
    let guest = crate::guest::build(shell)?.ok_or("no guest for this machine")?;
    let leave = [
        ("BTFPIPE_REAL", "1".into()),
        (crate::guest::EMBED, guest.into_os_string()),
        ("BTFPIPE_VM_KERNELS", kernels.join("kernels").into_os_string()),
        ("BTFPIPE_VM_BTFS", kernels.join("btf").into_os_string()),
    ];
    cmd!(
        shell,
        "cargo test --locked --package vmtest --package pipeline --package btfpipe-plugin-debian --package kernels
            --test real --test bpftool -- --nocapture --test-threads=1"
    )
    .envs(leave)
    .run()?;
    Ok(())
}

/// Two runs in two folders must give the same packages, byte for byte.
fn same_files(first: &Path, second: &Path) -> Result<(), Error> {
    let mut packages = 0;
    for entry in std::fs::read_dir(first)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if !text.ends_with(".tar.zst") && text != "SHA256SUMS" {
            continue;
        }
        if std::fs::read(first.join(&name))? != std::fs::read(second.join(&name))? {
            return Err(format!("two runs made different {text}").into());
        }
        packages += 1;
    }
    match packages {
        3.. => Ok(()),
        few => Err(format!("two packages and SHA256SUMS were expected, {few} files are there").into()),
    }
}

fn stage<E: std::fmt::Display>(name: &'static str, run: impl FnOnce() -> Result<(), E>) -> Stage {
    eprintln!("── {name}");
    let end = match run() {
        Ok(()) => End::Passed,
        Err(error) => End::Failed(error.to_string()),
    };
    Stage { name, end }
}

/// A skipped stage fails only where someone relies on it having run: in CI.
fn conclude(stages: &[Stage]) -> ExitCode {
    let strict = std::env::var("CI").is_ok_and(|value| value == "true");
    let mut words = Vec::new();
    let mut good = true;
    for Stage { name, end } in stages {
        match end {
            End::Passed => words.push(format!("{name} ok")),
            End::Failed(reason) => {
                good = false;
                words.push(format!("{name} FAILED ({reason})"));
            }
            End::Skipped(reason) => {
                good &= !strict;
                words.push(format!(
                    "{name} skipped ({reason}{})",
                    if strict { "; CI=true wants it" } else { "" }
                ));
            }
        }
    }
    eprintln!("xtask test: {}: {}", if good { "passed" } else { "FAILED" }, words.join(", "));
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
