//! A plugin's process: its own process group, and gone when we are.

use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

use ::cage::Cage;
use plugin::die_with_parent;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::confinement::keeps_cache;
use super::{Dirs, Plugin};

/// What of our environment every plugin sees.
const ENVIRONMENT: &[&str] = &["PATH", "LANG"];

/// What those see that have the network.
const NETWORK: &[&str] =
    &["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "APT_CONFIG"];

/// Dropped, it is killed with all that it started.
pub(super) struct Process {
    pub child: Child,
    /// Who was started is bubblewrap, which tells of a signal as shells do.
    is_wrapped: bool,
}

impl Process {
    /// Starts a plugin with all of its stdio piped. The kernel kills it when the *thread* that started it ends.
    pub fn start(plugin: &Plugin, dirs: &Dirs, cage: &Cage) -> io::Result<Process> {
        let seen = ENVIRONMENT.iter().chain(NETWORK.iter().filter(|_| cage.network));
        let mut command = cage.command(&plugin.program, &plugin.arguments, &dirs.workdir, plugin.level);
        command
            .env_clear()
            .envs(seen.filter_map(|name| Some((name, std::env::var_os(name)?))))
            // What programs keep at home and in /tmp goes with the action.
            .env("HOME", &dirs.tmpdir)
            .env("TMPDIR", &dirs.tmpdir)
            .envs(dirs.cachedir.as_ref().filter(|_| keeps_cache(plugin)).map(|path| ("BTFPIPE_CACHE", path)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C goes to our group: we end it ourselves, in order.
            .process_group(0);
        die_with_parent(&mut command);
        cage.confine(&mut command, plugin.level)?;
        Ok(Process { child: command.spawn()?, is_wrapped: plugin.level.is_wrapped() })
    }

    /// The number of its process group.
    pub fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// How it ended, if it has. It isn't collected yet, so that its process group's number stays taken.
    pub fn find_end(&self) -> Option<End> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(Pid::from_child(&self.child)), options) {
            Ok(status) => status.map(|status| self.end(status.exit_status(), status.terminating_signal())),
            Err(_) => Some(End { code: None, signal: None }),
        }
    }

    fn end(&self, code: Option<i32>, signal: Option<i32>) -> End {
        match code {
            Some(code @ 129..=192) if self.is_wrapped => End { code: None, signal: Some(code - 128) },
            code => End { code, signal },
        }
    }

    /// Signals it and all that it started; where there is no seccomp, unless that left the group.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    code: Option<i32>,
    signal: Option<i32>,
}

/// Sent at the limit of CPU time, and at that of a file's size.
const XCPU: i32 = Signal::XCPU.as_raw();
const XFSZ: i32 = Signal::XFSZ.as_raw();

impl End {
    pub fn is_good(self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exited with code {code}"),
            (None, Some(XCPU)) => f.write_str("was stopped, as it used the CPU for too long,"),
            (None, Some(XFSZ)) => f.write_str("was stopped, as it wrote too large a file,"),
            (None, Some(signal)) => write!(f, "crashed (signal {signal})"),
            (None, None) => f.write_str("ended"),
        }
    }
}
