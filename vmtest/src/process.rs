//! A child that never outlives us, in a process group of its own.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, getppid, kill_process_group, set_parent_process_death_signal,
    waitid,
};

/// A running program; dropped, it is killed with all that it started.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it. Its standard output is a socket, so that it can be spoken to as well.
    ///
    /// The kernel kills it when the *thread* that started it ends: that one has to wait for it.
    pub fn start(line: &[OsString], input: Input) -> io::Result<(Self, Wires)> {
        let (program, arguments) = line.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let (results, stdout) = UnixStream::pair()?;
        let (control, stdin) = match input {
            Input::Nothing => (None, Stdio::null()),
            Input::Socket => {
                let (control, stdin) = UnixStream::pair()?;
                (Some(control), OwnedFd::from(stdin).into())
            }
        };
        let mut command = Command::new(program);
        command.args(arguments).stdin(stdin).stdout(OwnedFd::from(stdout)).stderr(Stdio::piped());
        // Ctrl-C goes to our group: we end it ourselves, after we have said so.
        command.process_group(0);
        die_with_parent(&mut command);
        let mut child = command.spawn()?;
        match child.stderr.take() {
            Some(stderr) => Ok((Process { child }, Wires { results, control, stderr })),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// How it ended, if it has. It is not collected yet, so that its process group's number stays taken.
    pub fn find_end(&self) -> Option<End> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(Pid::from_child(&self.child)), options) {
            Ok(None) => None,
            Ok(Some(status)) => Some(End { code: status.exit_status(), signal: status.terminating_signal() }),
            Err(_) => Some(End { code: None, signal: None }),
        }
    }
}

/// What a program's standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Empty.
    Nothing,
    /// A socket to us.
    Socket,
}

/// Our ends of a program's standard streams.
#[derive(Debug)]
pub struct Wires {
    /// Output, and something to write to.
    pub results: UnixStream,
    /// Input, with [`Input::Socket`].
    pub control: Option<UnixStream>,
    /// Complaints.
    pub stderr: ChildStderr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    code: Option<i32>,
    signal: Option<i32>,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exited with code {code}"),
            (None, Some(signal)) => write!(f, "was killed by signal {signal}"),
            (None, None) => f.write_str("ended"),
        }
    }
}

/// The kernel kills the child when the thread that starts it ends.
#[allow(unsafe_code)]
pub fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    // SAFETY: between fork and exec only two system calls are made: nothing allocates or locks.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the call above.
            if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        });
    }
}
