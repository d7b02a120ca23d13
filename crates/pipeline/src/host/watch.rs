//! What a plugin uses up while it runs, where the kernel has no limit for it.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::cage::group;
use rustix::process::{Pid, Signal, kill_process_group};

use super::confinement::{Bounds, keeps_cache};
use super::{Dirs, Plugin};

/// Counts a plugin's processes, and measures its folders.
pub(super) struct Watch {
    group: Pid,
    bounds: Bounds,
    workdir: PathBuf,
    /// With what was in it before.
    cache: Option<(PathBuf, u64)>,
    tasks_before: usize,
    next_glance: Instant,
    next_count: Instant,
    next_measure: Instant,
}

/// More than a plugin may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    what: What,
    bound: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Tasks,
    Disk,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Tasks => write!(f, "it started more than {} processes and threads (tasks", self.bound)?,
            What::Disk => write!(f, "it wrote more than {} MiB (disk", self.bound >> 20)?,
        }
        f.write_str(" of \"limits\" in plugin.yaml)")
    }
}

impl Watch {
    const GLANCE: Duration = Duration::from_millis(5);
    /// All processes of the machine are looked at for it.
    const COUNT: Duration = Duration::from_secs(2);
    const MEASURE: Duration = Duration::from_millis(500);

    pub fn new(plugin: &Plugin, group: Pid, dirs: &Dirs) -> Watch {
        let cache = dirs.cachedir.clone().filter(|_| keeps_cache(plugin));
        let now = Instant::now();
        Watch {
            group,
            bounds: plugin.bounds,
            workdir: dirs.workdir.clone(),
            cache: cache.map(|path| (path.clone(), group::bytes_in(&path))),
            tasks_before: group::tasks_of_machine(),
            next_glance: now + Watch::GLANCE,
            next_count: now + Watch::COUNT,
            next_measure: now + Watch::MEASURE,
        }
    }

    /// Looks where it is time to look again.
    pub fn look(&mut self) -> Option<Excess> {
        let now = Instant::now();
        if now < self.next_glance {
            return None;
        }
        self.next_glance = now + Watch::GLANCE;
        // A bomb shows in the whole machine's number, too, which is had for less.
        let many = group::tasks_of_machine() > self.tasks_before + self.bounds.tasks / 2;
        if many || now >= self.next_count {
            self.next_count = now + Watch::COUNT;
            if self.count(many) > self.bounds.tasks {
                return Some(Excess { what: What::Tasks, bound: self.bounds.tasks as u64 });
            }
        }
        if now >= self.next_measure {
            let excess = self.measure();
            // However much there is to measure, it takes a tenth of the time.
            self.next_measure = Instant::now() + Watch::MEASURE.max(now.elapsed() * 10);
            return excess;
        }
        None
    }

    /// How many there are. Where there may be far too many they stand still meanwhile, as thousands are counted slowly,
    /// and each of them starts another.
    fn count(&mut self, many: bool) -> usize {
        let signal = |signal| {
            if many {
                let _ = kill_process_group(self.group, signal);
            }
        };
        signal(Signal::STOP);
        let own = group::tasks(self.group.as_raw_nonzero().get().unsigned_abs());
        if own <= self.bounds.tasks {
            signal(Signal::CONT);
            // Others have started many: only more of them is a reason to look again.
            self.tasks_before = group::tasks_of_machine().saturating_sub(own);
        }
        own
    }

    /// Whether more lies on the disk than may.
    pub fn measure(&self) -> Option<Excess> {
        let added = |(path, before): &(PathBuf, u64)| group::bytes_in(path).saturating_sub(*before);
        let bytes = group::bytes_in(&self.workdir) + self.cache.as_ref().map_or(0, added);
        (bytes > self.bounds.disk).then_some(Excess { what: What::Disk, bound: self.bounds.disk })
    }
}
