//! `cargo xtask test`: what a change must pass, on a developer's machine and in CI alike.

use std::fs;
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use xshell::{Shell, cmd};

use crate::instructions::{self, Verdict};
use crate::packages::{self, RUN, TEST};
use crate::run::{self, HOSTED};
use crate::{Error, Outcome, fuzz, guest, real};

/// One stage of the tests, and what became of it.
struct Stage {
    name: &'static str,
    end: End,
    took: Duration,
}

enum End {
    Passed,
    Failed(String),
    Skipped(String),
    /// It ran where there was nothing to compare with.
    NotCompared(String),
}

/// Runs every stage, also after a failure, and says in the last line what ran, what was skipped, and why.
pub fn test(shell: &Shell, arguments: &[String]) -> Outcome {
    let quick = match arguments {
        [] => false,
        [flag] if flag == "--quick" => true,
        other => return Err(format!("test takes --quick or nothing, not {other:?}").into()),
    };
    let start = Instant::now();
    let installed = packages::install(shell, &[RUN, TEST]);
    let mut stages = vec![stage("format", || cmd!(shell, "cargo fmt --all --check").run())];
    let lints_and_tests =
        || [stage("lints", || clippy(shell)), stage("tests", || tests(shell, installed.is_ok()))];
    let why_not = match (&installed, quick) {
        (_, true) => Some("--quick".to_owned()),
        (Err(error), false) => Some(format!("packages are missing: {error}")),
        (Ok(()), false) => None,
    };
    match why_not {
        Some(reason) => {
            stages.extend(lints_and_tests());
            for name in ["guest", "builds", "instructions", "real"] {
                stages.push(Stage { name, end: End::Skipped(reason.clone()), took: Duration::ZERO });
            }
        }
        None => {
            stages.extend(side_by_side(shell, lints_and_tests, |shell| {
                [stage("guest", || guest::test(shell)), stage("builds", || builds(shell))]
            }));
            // The gate stands with the figures that it compares with.
            if shell.path_exists(instructions::BASELINE) {
                stages.push(instructions(shell));
            }
            stages.push(stage("real", || real::real(shell)));
        }
    }
    Ok(conclude(&stages, start.elapsed()))
}

/// Beside the lints and the tests, which wait as much as they work, the guest is tested, and what later stages run is
/// built.
fn side_by_side(
    shell: &Shell,
    first: impl FnOnce() -> [Stage; 2],
    beside: impl FnOnce(&Shell) -> [Stage; 2] + Send,
) -> Vec<Stage> {
    let shell = shell.clone();
    thread::scope(|scope| {
        let beside = scope.spawn(move || {
            yield_to_tests(&shell);
            beside(&shell)
        });
        let mut stages = Vec::from(first());
        stages.extend(beside.join().unwrap_or_else(|panic| resume_unwind(panic)));
        stages
    })
}

/// Tests have limits of time, what is started from this thread has none.
fn yield_to_tests(shell: &Shell) {
    let thread = fs::read_link("/proc/thread-self").unwrap_or_default();
    let thread = thread.file_name().unwrap_or_default();
    if let Err(error) = cmd!(shell, "renice --priority 10 --pid {thread}").quiet().ignore_stdout().run() {
        eprintln!("builds go on as fast as tests: {error}");
    }
}

/// What fails here fails again, in the stage that needs it.
fn builds(shell: &Shell) -> Result<(), Error> {
    run::build(shell)?;
    fuzz::build(shell)?;
    Ok(())
}

/// The expected messages of the wrong pipelines, written anew.
pub fn update(shell: &Shell, _: &[String]) -> Outcome {
    let test = cmd!(shell, "cargo test --quiet --locked --package pipeline --test wrong");
    test.env("BTFPIPE_TEST_UPDATE", "1").run()?;
    cmd!(shell, "git status --short crates/pipeline/tests/wrong").run()?;
    Ok(ExitCode::SUCCESS)
}

/// What takes too long for every change.
pub fn endurance(shell: &Shell, _: &[String]) -> Outcome {
    let test = cmd!(
        shell,
        "cargo test --locked --package pipeline --test run -- killed thousand --nocapture --test-threads=1"
    );
    test.env("BTFPIPE_ENDURANCE", "1").run()?;
    Ok(ExitCode::SUCCESS)
}

/// Only the layout's rules.
pub fn tidy(shell: &Shell, _: &[String]) -> Outcome {
    cmd!(shell, "cargo test --quiet --locked --package xtask --test tidy").run()?;
    Ok(ExitCode::SUCCESS)
}

fn clippy(shell: &Shell) -> xshell::Result<()> {
    cmd!(shell, "cargo clippy --quiet --locked {HOSTED...} --all-targets -- -D warnings").run()
}

/// With all packages there, a test that skips itself is a failure.
fn tests(shell: &Shell, complete: bool) -> xshell::Result<()> {
    let mut cargo = cmd!(shell, "cargo test --quiet --locked {HOSTED...}");
    if complete {
        cargo = cargo.env("BTFPIPE_NO_SKIPS", "1");
    }
    cargo.run()
}

/// Counts that can't be compared are no reason to fail; that they were not is said.
fn instructions(shell: &Shell) -> Stage {
    let mut not_alike = None;
    let ended = stage("instructions", || match instructions::compare(shell)? {
        Verdict::Good(text) => {
            eprintln!("{text}");
            Ok(())
        }
        Verdict::Worse(text) => Err(Error::from(text)),
        Verdict::NotAlike(text) => {
            not_alike = Some(text);
            Ok(())
        }
    });
    match not_alike {
        Some(reason) => Stage { end: End::NotCompared(reason), ..ended },
        None => ended,
    }
}

fn stage<E: std::fmt::Display>(name: &'static str, run: impl FnOnce() -> Result<(), E>) -> Stage {
    eprintln!("── {name}");
    let start = Instant::now();
    let end = match run() {
        Ok(()) => End::Passed,
        Err(error) => End::Failed(error.to_string()),
    };
    Stage { name, end, took: start.elapsed() }
}

/// A skipped stage fails only where someone relies on it having run: in CI.
fn conclude(stages: &[Stage], took: Duration) -> ExitCode {
    let strict = std::env::var("CI").is_ok_and(|value| value == "true");
    let mut words = Vec::new();
    let mut good = true;
    for Stage { name, end, took } in stages {
        match end {
            End::Passed => words.push(format!("{name} ok in {} s", took.as_secs())),
            End::Failed(reason) => {
                good = false;
                words.push(format!("{name} FAILED ({reason})"));
            }
            End::NotCompared(reason) => words.push(format!("{name} not compared ({reason})")),
            End::Skipped(reason) => {
                good &= !strict;
                words.push(format!(
                    "{name} skipped ({reason}{})",
                    if strict { "; CI=true wants it" } else { "" }
                ));
            }
        }
    }
    let verdict = if good { "passed" } else { "FAILED" };
    eprintln!("xtask test: {verdict}: {}; {} s in all", words.join(", "), took.as_secs());
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_builds_yields() {
        let shell = Shell::new().unwrap();
        let niceness = |shell: &Shell| cmd!(shell, "nice").quiet().read().unwrap();
        let (before, beside) = (niceness(&shell), shell.clone());
        let yielding = thread::spawn(move || {
            yield_to_tests(&beside);
            niceness(&beside)
        });
        assert_eq!((yielding.join().unwrap().as_str(), niceness(&shell)), ("10", before));
    }

    #[test]
    fn all_four_stages_are_reported() {
        let done = |name| Stage { name, end: End::Passed, took: Duration::ZERO };
        let told = |stages: &[Stage]| stages.iter().map(|stage| stage.name).collect::<Vec<_>>();
        let (shell, quick) = (Shell::new().unwrap(), || [done("lints"), done("tests")]);
        let beside = |_: &Shell| [done("guest"), done("builds")];
        assert_eq!(told(&side_by_side(&shell, quick, beside)), ["lints", "tests", "guest", "builds"]);
    }
}
