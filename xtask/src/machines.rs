//! `cargo xtask soak` and `cargo xtask times`: the release's kernels, booted over and over.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use xshell::{Shell, cmd};

use crate::packages::{self, RUN, TEST};
use crate::{Error, Outcome, guest, run, sources};

const PIPELINE: &str = "pipelines/release.yaml";
/// Has more kernels, under a lock of its own; `cargo xtask bench` measures with the same.
const MORE: &str = "pipelines/bench.yaml";
const DOCUMENT: &str = "docs/machines.md";
const BOOTS: &str = "300";

/// Where the document's second part starts, which is what the soak writes; `times` writes the first.
const SOAK: &str = "\n## One boot after the other\n";

/// Boots COUNT times, the kernels in turn; prints what was wrong, and the flakes, and writes them into the document.
pub fn soak(shell: &Shell, arguments: &[String]) -> Outcome {
    let count = match arguments {
        [] => BOOTS,
        [count] => count,
        other => return Err(format!("soak takes a number of boots, not {other:?}").into()),
    };
    let Machines { program, kernels, more } = Machines::build(shell)?;
    // What it says after each boot is for whoever waits.
    let ended = Command::new(program)
        .args(["soak", count])
        .args([kernels, more])
        .current_dir(shell.current_dir())
        .stderr(Stdio::inherit())
        .output()?;
    let table = String::from_utf8(ended.stdout)?;
    print!("{table}");
    if !ended.status.success() {
        return Ok(ExitCode::FAILURE);
    }
    let document = shell.current_dir().join(DOCUMENT);
    let text = fs::read_to_string(&document)?;
    let (times, _) = text.split_once(SOAK).unwrap_or((&text, ""));
    let soak = format!(
        "{SOAK}\nWritten by `cargo xtask soak`, on {}, emulated (TCG). Each boot checks a tool of libbpf-tools with a good \
         BTF and with one in which the members of `task_struct` moved by 8 bytes. *Wrong*: another verdict than identical \
         and mismatch, or a QEMU that stayed behind. *Flake*: a boot without an answer, made again.\n\n{table}",
        machine()?
    );
    fs::write(document, format!("{times}{soak}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Attaches our programs on the same kernels, and prints what they reported.
pub fn attach(shell: &Shell, _: &[String]) -> Outcome {
    let Machines { program, kernels, more } = Machines::build(shell)?;
    let objects = shell.create_temp_dir()?;
    for (arch, define) in [("x86_64", "x86"), ("arm64", "arm64")] {
        sources::compile_for(shell, define, &shell.create_dir(objects.path().join(arch))?)?;
    }
    let objects = objects.path();
    let ended = Command::new(program)
        .arg("attach")
        .args([objects, &kernels, &more])
        .current_dir(shell.current_dir())
        .status()?;
    Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures cold and warm starts, and writes the document.
pub fn times(shell: &Shell, _: &[String]) -> Outcome {
    let Machines { program, kernels, more } = Machines::build(shell)?;
    let table = cmd!(shell, "{program} times {kernels} {more}").read()?;
    let text = format!(
        "# Machines: how long they take\n\n\
         Written by `cargo xtask times`, on {}, emulated (TCG), medians of three. *Cold*: from QEMU's start to the \
         guest's first word. *Restored*: the same from a kept state. *Objects*: from QEMU's start to the last verdict; \
         each is loaded three times and compared. The objects are the first ten of Debian's libbpf-tools.\n\n{table}\n",
        machine()?
    );
    print!("{text}");
    let document = shell.current_dir().join(DOCUMENT);
    let before = fs::read_to_string(&document)?;
    let soak = before.find(SOAK).map_or("", |at| &before[at..]);
    fs::write(document, format!("{text}{soak}"))?;
    Ok(ExitCode::SUCCESS)
}

/// The program that boots, and the kernels to boot.
struct Machines {
    program: PathBuf,
    kernels: PathBuf,
    more: PathBuf,
}

impl Machines {
    fn build(shell: &Shell) -> Result<Self, Error> {
        packages::install(shell, &[RUN, TEST])?;
        let Programs { btfpipe, machines: program } = Programs::build(shell)?;
        let kernels = guest::target_folder(shell).join("kernels");
        cmd!(shell, "{btfpipe} extract {PIPELINE} {kernels}").ignore_stdout().run()?;
        let bench = guest::target_folder(shell).join("bench");
        let (more, lock) = (bench.join("kernels"), bench.join("kernels.lock"));
        fs::create_dir_all(&bench)?;
        cmd!(shell, "{btfpipe} extract {MORE} {more} --lock {lock}").ignore_stdout().run()?;
        Ok(Machines { program, kernels, more })
    }
}

/// What is built for tasks with machines.
pub struct Programs {
    pub btfpipe: PathBuf,
    /// vmtest's example.
    pub machines: PathBuf,
}

impl Programs {
    pub fn build(shell: &Shell) -> Result<Self, Error> {
        let btfpipe = run::build(shell)?;
        let guests = guest::build(shell)?;
        cmd!(shell, "cargo build --quiet --locked --release --package vmtest --example machines")
            .envs(guests)
            .run()?;
        Ok(Programs { btfpipe, machines: guest::target_folder(shell).join("release/examples/machines") })
    }
}

/// The processor and how many of them.
fn machine() -> Result<String, Error> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let names: Vec<&str> = cpus
        .lines()
        .filter(|line| line.starts_with("model name"))
        .filter_map(|line| line.split_once(": "))
        .map(|(_, name)| name)
        .collect();
    Ok(format!("{} × {}", names.len(), names.first().unwrap_or(&"a processor without a name")))
}
