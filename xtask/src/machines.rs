//! `cargo xtask soak` and `cargo xtask times`: the release's kernels, booted over and over.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use xshell::{Shell, cmd};

use crate::packages::{self, RUN, TEST};
use crate::{Error, Outcome, guest, run};

const PIPELINE: &str = "pipelines/release.yaml";
/// Has more kernels, under a lock of its own; `cargo xtask bench` measures with the same.
const MORE: &str = "pipelines/bench.yaml";
const DOCUMENT: &str = "docs/machines.md";
const BOOTS: &str = "300";

/// Boots COUNT times, the kernels in turn, and prints what was wrong, and the flakes.
pub fn soak(shell: &Shell, arguments: &[String]) -> Outcome {
    let count = match arguments {
        [] => BOOTS,
        [count] => count,
        other => return Err(format!("soak takes a number of boots, not {other:?}").into()),
    };
    let Machines { program, kernels, .. } = Machines::build(shell)?;
    let ended = cmd!(shell, "{program} soak {count} {kernels}").ignore_status().output()?;
    print!("{}", String::from_utf8_lossy(&ended.stdout));
    Ok(if ended.status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures cold and warm starts, and writes the document.
pub fn times(shell: &Shell, _: &[String]) -> Outcome {
    let Machines { btfpipe, program, kernels } = Machines::build(shell)?;
    let bench = guest::target_folder(shell).join("bench");
    let (more, lock) = (bench.join("kernels"), bench.join("kernels.lock"));
    fs::create_dir_all(&bench)?;
    cmd!(shell, "{btfpipe} extract {MORE} {more} --lock {lock}").ignore_stdout().run()?;
    let table = cmd!(shell, "{program} times {kernels} {more}").read()?;
    let text = format!(
        "# Machines: how long they take\n\n\
         Written by `cargo xtask times`, on {}, emulated (TCG), medians of three. *Cold*: from QEMU's start to the \
         guest's first word. *Restored*: the same from a kept state. *Objects*: from QEMU's start to the last verdict; \
         each is loaded three times and compared. The objects are the first ten of Debian's libbpf-tools.\n\n{table}\n",
        machine()?
    );
    print!("{text}");
    fs::write(shell.current_dir().join(DOCUMENT), text)?;
    Ok(ExitCode::SUCCESS)
}

/// The program that boots, and the kernels to boot.
struct Machines {
    btfpipe: PathBuf,
    program: PathBuf,
    kernels: PathBuf,
}

impl Machines {
    fn build(shell: &Shell) -> Result<Self, Error> {
        packages::install(shell, &[RUN, TEST])?;
        let Programs { btfpipe, machines: program } = Programs::build(shell)?;
        let kernels = guest::target_folder(shell).join("kernels");
        cmd!(shell, "{btfpipe} extract {PIPELINE} {kernels}").ignore_stdout().run()?;
        Ok(Machines { btfpipe, program, kernels })
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
