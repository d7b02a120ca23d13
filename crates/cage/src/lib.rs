//! What a process may read, write, reach and use up, held by the kernel: Landlock, seccomp and resource limits.
//!
//! Nothing of it needs privileges or another program; where the kernel lacks a part, [`bubblewrap`] stands in if it is there. What a process starts is in the same cage, and nobody gets out
//! of it again. A kernel that lacks a part is told by [`Level::missing`]; the other parts hold there all the same.
//!
//! The kernel's limit for processes doesn't hold root, and there is none for folders: [`group`] counts and measures, so
//! that whoever started the process can end it. That ends all of it, as nobody in a cage leaves the process group.
// Not forbidden: what a new process does before it becomes the program can't be said without.
#![deny(unsafe_code)]

pub mod bubblewrap;
mod calls;
mod files;
pub mod group;
mod level;
mod limits;
mod rights;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use level::Level;
pub use limits::Limits;

/// What a process may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cage {
    /// Files, and folders with all that is below, that are read and run. Those that aren't there are left out.
    pub read: Vec<PathBuf>,
    /// The same, to be written as well.
    pub write: Vec<PathBuf>,
    /// Whether it may open sockets.
    pub network: bool,
    /// What it may use up.
    pub limits: Limits,
}

impl Cage {
    /// The command that is to be confined: the program itself, or bubblewrap that starts it.
    pub fn command(&self, program: &Path, arguments: &[String], folder: &Path, level: Level) -> Command {
        let wrapper = bubblewrap::find().filter(|_| level.is_wrapped());
        let mut command = Command::new(wrapper.unwrap_or(program));
        if wrapper.is_some() {
            command.args(bubblewrap::arguments(self, folder, level.seccomp)).arg("--").arg(program);
        }
        command.args(arguments).current_dir(folder);
        command
    }

    /// Puts the process of a command of [`Cage::command`] into the cage, as far as `level` goes.
    ///
    /// The process must already lead a process group of its own ([`std::os::unix::process::CommandExt::process_group`]).
    #[allow(unsafe_code)]
    pub fn confine(&self, command: &mut Command, level: Level) -> io::Result<()> {
        use std::os::unix::process::CommandExt;
        let is_wrapped = level.is_wrapped();
        let files = (level.landlock > 0 && !is_wrapped)
            .then(|| files::Rules::new(self, level.landlock))
            .transpose()?;
        let calls = level.seccomp.then(|| calls::Filter::new(self.network));
        let limits = self.limits;
        // SAFETY: between fork and exec there are system calls only: nothing allocates or locks. What needs memory was
        // made above, by the parent.
        unsafe {
            command.pre_exec(move || {
                limits.set()?;
                // Bubblewrap needs root's rights, and takes them away itself.
                if is_wrapped {
                    rights::never_gain()?
                } else {
                    rights::give_up()?
                }
                if let Some(files) = &files {
                    files.apply()?;
                }
                calls.as_ref().map_or(Ok(()), calls::Filter::apply)
            })
        };
        Ok(())
    }
}
