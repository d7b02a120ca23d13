//! What a process may use up: resource limits, each for every single process.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::group;

/// What a process may use up. None is no limit.
///
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of address space.
    pub memory: Option<u64>,
    /// Bytes of one file.
    pub file: Option<u64>,
    /// Time of a CPU.
    pub cpu: Option<Duration>,
    /// Processes and threads besides those that the machine has when it starts. The kernel counts the user's, whoever
    /// started them, and doesn't hold root: see [`crate::group`].
    pub tasks: Option<usize>,
}

impl Limits {
    /// Called between fork and exec.
    pub(crate) fn set(self) -> io::Result<()> {
        lower(Resource::As, self.memory)?;
        lower(Resource::Fsize, self.file)?;
        lower(Resource::Cpu, self.cpu.map(|time| time.as_secs() + 1))?;
        lower(Resource::Nproc, self.tasks.map(|tasks| (tasks + group::tasks_of_machine()) as u64))?;
        lower(Resource::Core, Some(0))
    }
}

/// Never raises a limit, as that is not ours to do.
fn lower(resource: Resource, limit: Option<u64>) -> io::Result<()> {
    let Some(limit) = limit else {
        return Ok(());
    };
    let now = getrlimit(resource);
    let lower = |now: Option<u64>| Some(now.map_or(limit, |now| now.min(limit)));
    Ok(setrlimit(resource, Rlimit { current: lower(now.current), maximum: lower(now.maximum) })?)
}
