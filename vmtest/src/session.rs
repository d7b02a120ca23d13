//! A kernel for a person: boots it with some files, and runs a command or a shell in it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::boot::{self, Boot};
use crate::initramfs;
use crate::kvm;
use crate::process;
use crate::qemu::{self, KernelFile, Machine};
use crate::report::VmEvent;
use crate::spec::{Accel, Arch, VmSpec};
use crate::wire;

/// A file for the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFile {
    /// Absolute, in the machine.
    pub path: String,
    /// What it holds.
    pub content: Vec<u8>,
    /// It may be run.
    pub program: bool,
}

/// Why a session did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// QEMU is not installed.
    #[error(transparent)]
    Missing(#[from] qemu::Missing),
    /// The guest program is not in this library.
    #[error("this btfpipe was built without the guest program for {0}: run \"cargo xtask guest\"")]
    NoGuest(Arch),
    /// A path in the machine that cannot be.
    #[error("{0:?} is no absolute path for a file in the machine")]
    Path(String),
    /// A file of the run.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The machine.
    #[error("{reason}; its console ends with:\n{console}")]
    Machine {
        /// What happened.
        reason: String,
        /// Its last lines.
        console: String,
    },
}

/// Boots the kernel once, runs the command, and gives its exit code; what it writes comes as [`VmEvent::Output`].
pub fn run(
    spec: &VmSpec,
    files: &[SessionFile],
    command: &[String],
    events: &mut dyn FnMut(VmEvent),
) -> Result<i32, SessionError> {
    let ready = Ready::prepare(spec, files, command, false)?;
    let line = ready.command().line();
    let boot = Boot {
        command: &line,
        console: &ready.console,
        results: &spec.work.join("results.log"),
        nonce: NONCE,
        checks: 0,
        oldest_libbpf: spec.oldest_libbpf,
        attach: false,
        old_libbpf: false,
        feed: None,
        limits: crate::Limits { check: spec.timeout, ..spec.limits },
        quiet: spec.limits.console,
        cap: spec.timeout,
    };
    let booted = boot::run(&boot, events);
    match (booted.answers, booted.exit) {
        (Ok(_), Some(code)) => Ok(code),
        (answers, _) => Err(SessionError::Machine {
            reason: answers
                .err()
                .map_or_else(|| "the command did not end".to_owned(), |failure| failure.to_string()),
            console: last_lines(&booted.console),
        }),
    }
}

/// Boots the kernel with the command on this process's own terminal, and waits for the machine's end.
pub fn attach(spec: &VmSpec, files: &[SessionFile], command: &[String]) -> Result<(), SessionError> {
    let ready = Ready::prepare(spec, files, command, true)?;
    let line = ready.command().line();
    let ended = line.split_first().map(|(program, arguments)| {
        let mut qemu = Command::new(program);
        // In the foreground, since it reads the terminal: Ctrl-C goes to the machine.
        process::die_with_parent(qemu.args(arguments));
        qemu.status()
    });
    match ended {
        Some(Ok(status)) if status.success() => Ok(()),
        Some(Ok(status)) => {
            let console = fs::read_to_string(&ready.console).unwrap_or_default();
            let lines: Vec<String> = console.lines().map(str::to_owned).collect();
            Err(SessionError::Machine {
                reason: format!("QEMU ended with {status}"),
                console: last_lines(&lines),
            })
        }
        Some(Err(error)) => Err(SessionError::Io { path: ready.qemu, error }),
        None => Ok(()),
    }
}

/// No verdict hangs on it.
const NONCE: &str = "session";

struct Ready<'a> {
    spec: &'a VmSpec,
    qemu: PathBuf,
    machine: Machine,
    accel: Accel,
    initramfs: PathBuf,
    console: PathBuf,
    memory_mib: u32,
}

impl<'a> Ready<'a> {
    fn prepare(
        spec: &'a VmSpec,
        files: &[SessionFile],
        command: &[String],
        terminal: bool,
    ) -> Result<Self, SessionError> {
        if let Some(file) = files.iter().find(|file| !is_plain(&file.path)) {
            return Err(SessionError::Path(file.path.clone()));
        }
        let qemu = spec.qemu.clone().map_or_else(|| qemu::find(spec.arch), Ok)?;
        let guest = match &spec.guest {
            Some(path) => read(path)?,
            None => crate::guest(spec.arch).ok_or(SessionError::NoGuest(spec.arch))?.to_vec(),
        };
        let kind = KernelFile::of(&spec.kernel).map_err(|error| at(&spec.kernel, error))?;
        let kind = if spec.arch == Arch::Arm64 { KernelFile::Image } else { kind };
        let accel = match spec.accel {
            Accel::Auto if kvm::probe_for(spec.arch == Arch::X86_64).is_err() => Accel::Tcg,
            Accel::Auto => Accel::Kvm,
            asked => asked,
        };
        let session = wire::Session { command: command.to_vec(), terminal };
        let config = spec.kernel_config.as_deref().map(read).transpose()?;
        let initramfs = spec.work.join("session.cpio");
        let archive = initramfs::build_session(&guest, files, &session, config.as_deref())
            .map_err(|error| at(&initramfs, error.into()))?;
        fs::write(&initramfs, &archive).map_err(|error| at(&initramfs, error))?;
        let archive_mib = u32::try_from(archive.len() >> 20).unwrap_or(u32::MAX);
        let memory_mib = spec.memory_mib.max(archive_mib.saturating_mul(2).saturating_add(192));
        let machine = Machine::for_attempt(kind, 0, accel);
        let console = spec.work.join("console.log");
        Ok(Ready { spec, qemu, machine, accel, initramfs, console, memory_mib })
    }

    fn command(&self) -> qemu::Command<'_> {
        qemu::Command {
            qemu: &self.qemu,
            machine: self.machine,
            accel: self.accel,
            memory_mib: self.memory_mib,
            kernel: &self.spec.kernel,
            initramfs: &self.initramfs,
            console: &self.console,
            nonce: NONCE,
            pass_seconds: self.spec.timeout.as_secs(),
            shared: None,
            disk: false,
        }
    }
}

/// Every folder that these files are in, outermost first.
pub fn folders(files: &[SessionFile]) -> BTreeSet<String> {
    let above = |file: &SessionFile| {
        let parts: Vec<String> =
            file.path.match_indices('/').skip(1).map(|(at, _)| file.path[1..at].to_owned()).collect();
        parts
    };
    files.iter().flat_map(above).collect()
}

fn is_plain(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")))
}

fn read(path: &Path) -> Result<Vec<u8>, SessionError> {
    fs::read(path).map_err(|error| at(path, error))
}

fn at(path: &Path, error: io::Error) -> SessionError {
    SessionError::Io { path: path.to_owned(), error }
}

fn last_lines(lines: &[String]) -> String {
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> SessionFile {
        SessionFile { path: path.into(), content: Vec::new(), program: false }
    }

    #[test]
    fn folders_come_before_what_is_in_them() {
        let files = [file("/a"), file("/usr/share/x/b"), file("/usr/c")];
        assert_eq!(folders(&files).into_iter().collect::<Vec<_>>(), ["usr", "usr/share", "usr/share/x"]);
    }

    #[test]
    fn paths_in_the_machine() {
        for good in ["/a", "/a/b.o"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in ["", "a", "/", "/a/../b", "/a//b", "/./a", "/a/"] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
