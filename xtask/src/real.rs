//! The stage with real kernels and real boots: what needs packages, the mirror and QEMU.

use std::collections::BTreeSet;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use xshell::{Cmd, Shell, cmd};

use crate::run::HOSTED;
use crate::{Error, fuzz, guest, run};

const PIPELINE: &str = "pipelines/release.yaml";

/// The release pipeline as a newcomer runs it, twice, then killed and run again; then every test that needs its kernels.
pub fn real(shell: &Shell) -> Result<(), Error> {
    let program = run::build(shell)?;
    let work = shell.create_temp_dir()?;
    let folder = |name: &str| work.path().join(name);
    let (first, second, third, kernels) =
        (folder("first"), folder("second"), folder("third"), folder("kernels"));
    cmd!(shell, "{program} run {PIPELINE} --dist {first}").run()?;
    kept(shell, &program, &first)?;
    let start = Instant::now();
    cmd!(shell, "{program} run {PIPELINE} --dist {second} --rerun").run()?;
    let takes = start.elapsed();
    same_files(&first, &second)?;
    verified(shell, &program, &first)?;
    killed(shell, &program, &third, takes)?;
    same_files(&first, &third)?;
    cmd!(shell, "{program} extract {PIPELINE} {kernels}").run()?;
    let mut btfs: Vec<PathBuf> = shell.read_dir(kernels.join("btf"))?;
    btfs.sort();
    let btf = btfs.last().ok_or("no BTF was extracted")?;
    let tests = Tests::new(shell, &kernels)?;
    at_once(
        shell,
        |shell| tests.with_machines(shell),
        |shell| {
            tests.without_machines(shell)?;
            fuzz::smoke(shell, btf)
        },
    )
}

/// A machine takes one processor: what needs none has the other meanwhile. Both go on to their ends.
fn at_once(
    shell: &Shell,
    first: impl FnOnce(&Shell) -> Result<(), Error> + Send,
    second: impl FnOnce(&Shell) -> Result<(), Error>,
) -> Result<(), Error> {
    let shell_of_first = shell.clone();
    let (first, second) = thread::scope(|scope| {
        // Errors stay in their threads, their words don't.
        let first = scope.spawn(move || first(&shell_of_first).map_err(|error| error.to_string()));
        let second = second(shell).map_err(|error| error.to_string());
        (first.join().unwrap_or_else(|panic| resume_unwind(panic)), second)
    });
    match (first, second) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(first), Err(second)) => Err(format!("{first}, and {second}").into()),
        (Err(error), Ok(())) | (Ok(()), Err(error)) => Err(error.into()),
    }
}

/// A second run has nothing to do, opens no connection, and says so.
fn kept(shell: &Shell, program: &Path, dist: &Path) -> Result<(), Error> {
    let start = Instant::now();
    let said = cmd!(shell, "{program} run {PIPELINE} --dist {dist} --locked --offline").read()?;
    let takes = start.elapsed();
    eprintln!("a run with nothing to do: {takes:?}");
    match said.contains("nothing had to be done") {
        true => Ok(()),
        false => Err(format!("a second run had something to do:\n{said}").into()),
    }
}

/// What the release says of itself is true, down to each decision of its programs on the minimized BTF.
fn verified(shell: &Shell, program: &Path, dist: &Path) -> Result<(), Error> {
    let mut programs: Vec<PathBuf> = shell.read_dir("pipelines/programs")?;
    programs.retain(|path| path.to_string_lossy().ends_with(".bpf.c"));
    cmd!(shell, "{program} bundle verify {dist} --program {programs...}").ignore_stdout().run()?;
    Ok(())
}

/// Every crate's tests that ask for `BTFPIPE_REAL=1`.
struct Tests {
    /// What cargo is told: how to start a test.
    runner: String,
}

impl Tests {
    /// With the guests, and the kernels of the release.
    fn new(shell: &Shell, kernels: &Path) -> Result<Tests, Error> {
        let guests = guest::build(shell)?;
        if guests.len() < 4 {
            let wanted = "guests for x86_64 and arm64 are wanted, each with its older libbpf";
            return Err(format!("{wanted}, and there are only {guests:?}").into());
        }
        let folders =
            [("BTFPIPE_VM_KERNELS", kernels.join("kernels")), ("BTFPIPE_VM_BTFS", kernels.join("btf"))];
        let mut runner = vec!["env".to_owned(), "BTFPIPE_REAL=1".to_owned()];
        runner.extend(folders.iter().chain(&guests).map(|(name, path)| format!("{name}={}", path.display())));
        // Only the tests' environment: a build script that is told of guests embeds them, and all that stands on it would be
        // compiled once more.
        let runner = format!("target.{}-unknown-linux-gnu.runner={runner:?}", std::env::consts::ARCH);
        Ok(Tests { runner })
    }

    /// Those that boot, one after the other.
    fn with_machines(&self, shell: &Shell) -> Result<(), Error> {
        let machines = ["--test", "machines", "--", "--nocapture", "--test-threads=1"];
        self.cargo(shell).args(machines).run().map_err(Error::from)
    }

    /// The others. What they say is said at their end: the machines speak meanwhile.
    fn without_machines(&self, shell: &Shell) -> Result<(), Error> {
        let real = ["--test", "real", "--test", "bpftool", "--", "--nocapture", "--test-threads=1"];
        // The plugin host with the real plugin; unit tests, since it looks inside.
        let host = ["--quiet", "--lib", "--", "host::"];
        for arguments in [&real[..], &host] {
            let ran = self.cargo(shell).args(arguments).ignore_status().output()?;
            eprint!("{}{}", String::from_utf8_lossy(&ran.stderr), String::from_utf8_lossy(&ran.stdout));
            if !ran.status.success() {
                return Err(format!("cargo test {}: {}", arguments.join(" "), ran.status).into());
            }
        }
        Ok(())
    }

    /// The same packages as in the stage "tests": with fewer, features differ, and all is compiled once more.
    fn cargo<'a>(&self, shell: &'a Shell) -> Cmd<'a> {
        let runner = &self.runner;
        cmd!(shell, "cargo test --locked {HOSTED...} --config {runner}")
    }
}

/// Kills a run early, and one that boots: nothing half written, no machine left behind, and the next run ends well.
fn killed(shell: &Shell, program: &Path, dist: &Path, takes: Duration) -> Result<(), Error> {
    let mut machines = 0;
    for percent in [3, 60] {
        let mut run = Command::new(program)
            .args(["run", PIPELINE, "--rerun", "--dist"])
            .arg(dist)
            .current_dir(shell.current_dir())
            .stdin(Stdio::null())
            .spawn()?;
        thread::sleep(takes * percent / 100);
        let children = children(run.id())?;
        run.kill()?;
        if run.wait()?.success() {
            return Err(format!("the run ended before {percent} % of {takes:?}").into());
        }
        eprintln!("killed at {percent} % of {takes:?}, with {} processes of its own", children.len());
        machines += children.len();
        ended(&children)?;
        if dist.join("SHA256SUMS").exists() {
            let _in = shell.push_dir(dist);
            cmd!(shell, "sha256sum --check --quiet SHA256SUMS").run()?;
        }
    }
    if machines == 0 {
        return Err("no machine was running when the runs were killed: this shows nothing".into());
    }
    cmd!(shell, "{program} run {PIPELINE} --dist {dist}").run()?;
    Ok(())
}

/// The processes that this one started, and that still are.
fn children(parent: u32) -> std::io::Result<Vec<PathBuf>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let folder = entry?.path();
        // "pid (name) state parent …", and a name may hold spaces and parentheses.
        let stat = fs::read_to_string(folder.join("stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        if after_name.split_whitespace().nth(1) == Some(&parent.to_string()) {
            children.push(folder);
        }
    }
    Ok(children)
}

/// Waits a little: they get their signal from the kernel.
fn ended(processes: &[PathBuf]) -> Result<(), Error> {
    let start = Instant::now();
    while let Some(left) = processes.iter().find(|folder| is_running(folder)) {
        if start.elapsed() > Duration::from_secs(5) {
            return Err(format!("{} outlived the run that started it", left.display()).into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A zombie that nobody collects yet has ended.
fn is_running(folder: &Path) -> bool {
    let stat = fs::read_to_string(folder.join("stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Two runs in two folders must give the same packages, byte for byte.
fn same_files(first: &Path, second: &Path) -> Result<(), Error> {
    let (mut expected, mut found) = (release(first)?, release(second)?);
    if expected.len() < 3 {
        return Err(format!("two packages and SHA256SUMS were expected, not {expected:?}").into());
    }
    if expected != found {
        expected.append(&mut found);
        return Err(format!("two runs made other files: {expected:?}").into());
    }
    for name in &expected {
        if fs::read(first.join(name))? != fs::read(second.join(name))? {
            return Err(format!("two runs made different {name}").into());
        }
    }
    Ok(())
}

/// The names of the packages, and of their sums.
fn release(dist: &Path) -> std::io::Result<BTreeSet<String>> {
    let names = fs::read_dir(dist)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: BTreeSet<String> = names.collect::<std::io::Result<_>>()?;
    names.retain(|name| name.ends_with(".tar.zst") || name == "SHA256SUMS");
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_go_on_to_their_ends_and_are_heard() {
        let shell = Shell::new().unwrap();
        let said = |first: Result<(), &'static str>, second: Result<(), &'static str>| {
            let both = at_once(&shell, |_| Ok(first?), |_| Ok(second?));
            both.map_err(|error| error.to_string())
        };
        assert_eq!(said(Ok(()), Ok(())), Ok(()));
        assert_eq!(said(Err("machines"), Ok(())), Err("machines".to_owned()));
        assert_eq!(said(Ok(()), Err("fuzz")), Err("fuzz".to_owned()));
        assert_eq!(said(Err("machines"), Err("fuzz")), Err("machines, and fuzz".to_owned()));
    }
}
