//! Kernels at work: each through fetch, extract and engine, several at a time; one that fails costs the others nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use kernels::{Arch, KernelId, Store};
use plugin::SourceKernel;

use crate::content::{self, Content, NoContent, Supply};
use crate::engine::{self, Minimized, ProgramSet};
use crate::events::{Events, Phase};
use crate::locking::{self, Chosen};
use crate::outcome::{Code, Failure};
use crate::programs::{self, Compile};
use crate::project::{Kernels, Options, Project};
use crate::sources::Sources;

/// What running needs from outside.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// Where kernels come from.
    pub sources: &'a dyn Sources,
    /// Makes objects of sources.
    pub compile: &'a Compile<'a>,
    /// Who hears of it.
    pub events: Events<'a>,
}

/// What became of a kernel.
#[derive(Debug)]
pub struct Worked {
    /// The kernel; another than the planned one where that is gone.
    pub chosen: Chosen,
    /// Which requests (by index) it answers.
    pub requests: Vec<usize>,
    /// Its content and what the engine made of it.
    pub result: Result<(Content, Option<Minimized>), Failure>,
}

/// Works on kernels, `jobs` at a time.
pub(crate) struct Works<'a> {
    project: &'a Project,
    options: &'a Options,
    tools: Tools<'a>,
    store: &'a Store,
    work: &'a Path,
    sets: BTreeMap<Arch, OnceLock<ProgramSet>>,
    /// Answers of sources that had to be asked again, by request.
    answers: Mutex<BTreeMap<usize, Result<Vec<SourceKernel>, String>>>,
    /// Ids that are worked on.
    taken: Mutex<BTreeSet<KernelId>>,
}

impl<'a> Works<'a> {
    pub(crate) fn new(
        project: &'a Project,
        options: &'a Options,
        tools: Tools<'a>,
        store: &'a Store,
        work: &'a Path,
        kernels: &Kernels,
    ) -> Works<'a> {
        let sets = kernels.chosen.keys().map(|id| (id.arch(), OnceLock::new())).collect();
        let taken = Mutex::new(kernels.chosen.keys().cloned().collect());
        Works { project, options, tools, store, work, sets, answers: Mutex::default(), taken }
    }

    /// All kernels; one that fails costs the others nothing. `minimize` is off for `btfpipe lock`.
    pub(crate) fn all(&self, kernels: Kernels, minimize: bool) -> Vec<Worked> {
        let queue: Vec<(Chosen, Vec<usize>)> = kernels.chosen.into_values().collect();
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        let work = || {
            while let Some((chosen, requests)) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                let worked = self.one(chosen.clone(), requests.clone(), minimize);
                locked(&done).push(worked);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.options.jobs().min(queue.len()) {
                scope.spawn(work);
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by(|a, b| a.chosen.id.cmp(&b.chosen.id));
        done
    }

    /// The programs of an architecture: whoever asks first opens them, the others wait.
    pub(crate) fn set(&self, arch: Arch) -> Option<&ProgramSet> {
        let set = self.sets.get(&arch)?;
        Some(set.get_or_init(|| {
            let task = self.tools.events.begin(Phase::Compile, format!("programs for {arch}"));
            let compile = |path: &Path, arch| {
                task.moved(0, None, path.display().to_string());
                (self.tools.compile)(path, arch)
            };
            let (programs, unusable) = programs::open(&self.project.programs, arch, &compile);
            for bad in &unusable {
                self.tools.events.warn(format!("{} for {arch}: {}", bad.what, bad.reason));
            }
            let relos: usize = programs.iter().map(|program| program.object.relos().len()).sum();
            task.done(format!("{} objects, {relos} relocations", programs.len()));
            ProgramSet { arch, programs, unusable }
        }))
    }

    /// Every architecture's programs that were opened.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &ProgramSet> {
        self.sets.values().filter_map(OnceLock::get)
    }

    fn one(&self, mut chosen: Chosen, requests: Vec<usize>, minimize: bool) -> Worked {
        // A panic is a bug of ours; it must not take the other kernels with it.
        let result = catch_unwind(AssertUnwindSafe(|| self.work_on(&mut chosen, &requests, minimize)));
        let result = result.unwrap_or_else(|panic| Err(bug(&*panic)));
        Worked { chosen, requests, result }
    }

    fn work_on(
        &self,
        chosen: &mut Chosen,
        requests: &[usize],
        minimize: bool,
    ) -> Result<(Content, Option<Minimized>), Failure> {
        let content = self.content(chosen, requests)?;
        if !minimize {
            return Ok((content, None));
        }
        let set =
            self.set(chosen.id.arch()).ok_or_else(|| Failure::new("no programs for its architecture"))?;
        let task = self.tools.events.begin(Phase::Minimize, chosen.id.to_string());
        let btf = self.store.get(&content.btf.sha256)?;
        let minimized = btf
            .ok_or_else(|| Failure::new("the store lost its BTF; run again"))
            .and_then(|btf| engine::minimize(&btf, set));
        let minimized = task.finish(minimized, |min| {
            format!(
                "{} -> {} bytes, {} records, proven",
                content.btf.size,
                min.btf.len(),
                min.records.lines().count()
            )
        })?;
        Ok((content, Some(minimized)))
    }

    /// The content; of another kernel in its place when the source no longer has it.
    fn content(&self, chosen: &mut Chosen, requests: &[usize]) -> Result<Content, Failure> {
        let supply = Supply {
            store: self.store,
            sources: self.tools.sources,
            work: self.work,
            offline: self.options.offline,
        };
        let reason = match content::obtain(supply, chosen, self.tools.events) {
            Ok(content) => return Ok(content),
            Err(NoContent::Failed(failure)) => return Err(failure),
            Err(NoContent::Gone(reason)) => reason,
        };
        *chosen = self.replace(chosen, requests, &reason)?;
        match content::obtain(supply, chosen, self.tools.events) {
            Ok(content) => Ok(content),
            Err(NoContent::Failed(failure)) => Err(failure),
            Err(NoContent::Gone(reason)) => Err(Failure::new(format!("also gone: {reason}"))),
        }
    }

    fn replace(&self, lost: &Chosen, requests: &[usize], reason: &str) -> Result<Chosen, Failure> {
        let (id, lock) = (&lost.id, self.project.lock_path.display());
        if self.options.locked {
            return Err(Failure::digest(format!(
                "{lock} pins {id}, which is gone ({reason}), and --locked forbids another; run without --locked, or \
                 \"btfpipe lock {}\", and commit {lock}",
                self.project.file.path.display()
            )));
        }
        // One at a time, so that each answer is asked for once and no kernel is taken twice.
        let mut answers = locked(&self.answers);
        for index in requests {
            let (request, _) = &self.project.requests[*index];
            let answer = answers.entry(*index).or_insert_with(|| {
                let ask = self.project.ask(*index, self.tools.sources, self.work, self.tools.events);
                ask.map_err(|error| error.to_string())
            });
            let answer =
                answer.as_ref().map_err(|error| Failure::new(format!("gone ({reason}), and {error}")))?;
            let mut taken = locked(&self.taken);
            let found = locking::replacement(lost, &taken, request, answer).map_err(Failure::new)?;
            if let Some(found) = found {
                taken.insert(found.id.clone());
                self.tools.events.warn(format!("{id} is gone ({reason}); taking {} instead", found.id));
                return Ok(found);
            }
        }
        Err(Failure::new(format!("gone ({reason}), and the source has nothing in its place")))
    }
}

fn bug(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Failure {
        code: Code::Bug,
        message: format!("a bug in btfpipe, please report it: {}", text.unwrap_or("panic")),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
