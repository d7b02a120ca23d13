//! `cargo xtask soak`, `cargo xtask attach` and `cargo xtask times`: the release's kernels, booted over and over.

mod document;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use xshell::{Shell, cmd};

use crate::packages::{self, RUN, TEST};
use crate::{Error, Outcome, guest, run, sources};
use document::Part;

const PIPELINE: &str = "pipelines/release.yaml";
/// Has more kernels, under a lock of its own; `cargo xtask bench` measures with the same.
const MORE: &str = "pipelines/bench.yaml";
const BOOTS: &str = "300";

/// Boots COUNT times, the kernels in turn; prints what was wrong, and the flakes, and writes them into the document.
pub fn soak(shell: &Shell, arguments: &[String]) -> Outcome {
    let count = match arguments {
        [] => BOOTS,
        [count] => count,
        other => return Err(format!("soak takes a number of boots, not {other:?}").into()),
    };
    let Machines { program, kernels, more } = Machines::build(shell)?;
    let Some(table) = table_of(Command::new(program).args(["soak", count]).args([kernels, more]), shell)?
    else {
        return Ok(ExitCode::FAILURE);
    };
    let soak = format!(
        "Written by `cargo xtask soak`, on {}, emulated (TCG). Each boot checks a tool of libbpf-tools with a good \
         BTF and with one in which the members of `task_struct` moved by 8 bytes. *Wrong*: another verdict than identical \
         and mismatch, or a QEMU that stayed behind. *Flake*: a boot without an answer, made again.\n\n{table}",
        machine()?
    );
    document::write(&shell.current_dir(), Part::Soak, &soak)?;
    Ok(ExitCode::SUCCESS)
}

/// Attaches our programs on the same kernels; prints what they reported, and writes it into the document.
pub fn attach(shell: &Shell, _: &[String]) -> Outcome {
    let Machines { program, kernels, more } = Machines::build(shell)?;
    let objects = shell.create_temp_dir()?;
    for (arch, define) in [("x86_64", "x86"), ("arm64", "arm64")] {
        sources::compile_for(shell, define, &shell.create_dir(objects.path().join(arch))?)?;
    }
    let objects = objects.path();
    let Some(table) = table_of(Command::new(program).arg("attach").args([objects, &kernels, &more]), shell)?
    else {
        return Ok(ExitCode::FAILURE);
    };
    let attached = format!(
        "Written by `cargo xtask attach`, on {}, emulated (TCG). The programs of `pipelines/programs`, attached with a \
         minimized BTF; what they watch is done in the machine. *Reported*: the event says what was done, field by field. \
         After it stands how the same BTF was found when the members of one struct moved by 8 bytes: by the *event*, which then \
         says something else, or does not come; or already by the *load*, which says nothing of events.\n\n{table}",
        machine()?
    );
    document::write(&shell.current_dir(), Part::Attached, &attached)?;
    Ok(ExitCode::SUCCESS)
}

/// What the program prints, printed as well; `None` where it found something wrong. What it says after each boot is for
/// whoever waits.
fn table_of(program: &mut Command, shell: &Shell) -> Result<Option<String>, Error> {
    let ended = program.current_dir(shell.current_dir()).stderr(Stdio::inherit()).output()?;
    let table = String::from_utf8(ended.stdout)?;
    print!("{table}");
    Ok(ended.status.success().then_some(table))
}

/// Measures cold and warm starts, and writes the document.
pub fn times(shell: &Shell, _: &[String]) -> Outcome {
    let Machines { program, kernels, more } = Machines::build(shell)?;
    let table = cmd!(shell, "{program} times {kernels} {more}").read()?;
    let text = format!(
        "Written by `cargo xtask times`, on {}, emulated (TCG), medians of three. *Cold*: from QEMU's start to the \
         guest's first word. *Restored*: the same from a kept state. *Objects*: from QEMU's start to the last verdict; \
         each is loaded three times and compared. The objects are the first ten of Debian's libbpf-tools.\n\n{table}\n",
        machine()?
    );
    print!("{text}");
    document::write(&shell.current_dir(), Part::Times, &text)?;
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
