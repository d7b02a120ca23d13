//! Writing `kernels.lock`: after a run that had to resolve, and for `btfpipe lock`.

use std::fmt;
use std::path::PathBuf;

use kernels::{KernelId, Lock, LockedKernel};

use crate::content::{self, Content};
use crate::events::Events;
use crate::locking::{self, Request, Why};
use crate::outcome::{Code, Error, Failure};
use crate::project::{Options, Project, shown};
use crate::works::{Tools, Worked, Works};

/// The lock after work on kernels, and what changed in it.
pub(crate) fn relock(project: &Project, done: &[Worked]) -> Result<(Lock, Vec<String>), Failure> {
    let mut answers: Vec<(Request, Vec<LockedKernel>)> = Vec::new();
    let mut declared = project.declared();
    for (index, (request, _)) in project.requests.iter().enumerate() {
        let own: Vec<&Worked> = done.iter().filter(|worked| worked.requests.contains(&index)).collect();
        let kernels: Result<Vec<LockedKernel>, Option<Failure>> = own
            .into_iter()
            .map(|worked| match &worked.result {
                Ok((content, _)) => locked_kernel(worked, content).map_err(Some),
                Err(_) => kept_lock(worked).ok_or(None),
            })
            .collect();
        match kernels {
            Ok(kernels) => answers.push((request.clone(), kernels)),
            Err(Some(failure)) => return Err(failure),
            // A request without all its kernels stays unanswered, and nothing that was known is forgotten.
            Err(None) => declared.extend(
                project
                    .lock
                    .requests
                    .iter()
                    .map(|known| Request { plugin: known.plugin.clone(), with: known.with.clone() }),
            ),
        }
    }
    let next = locking::updated(&project.lock, &project.file.name, &declared, &answers);
    let changes = changes(&project.lock, &next);
    Ok((next, changes))
}

/// A locked kernel stays as it was reviewed; only what the lock doesn't know is written.
fn locked_kernel(worked: &Worked, content: &Content) -> Result<LockedKernel, Failure> {
    kept_lock(worked).map_or_else(|| content::locked_kernel(&worked.chosen, content), Ok)
}

fn kept_lock(worked: &Worked) -> Option<LockedKernel> {
    worked.chosen.locked.clone().filter(|_| worked.chosen.why == Why::Locked)
}

/// One line a change.
fn changes(before: &Lock, after: &Lock) -> Vec<String> {
    let mut lines = Vec::new();
    for kernel in &after.kernels {
        match before.find(&kernel.id) {
            None => lines.push(format!("added {}", kernel.id)),
            Some(old) if old == kernel => {}
            Some(old) if old.packages == kernel.packages => lines.push(format!("completed {}", kernel.id)),
            Some(_) => lines.push(format!("CHANGED {}: the same name, other bytes", kernel.id)),
        }
    }
    let removed = before.kernels.iter().filter(|kernel| after.find(&kernel.id).is_none());
    lines.extend(removed.map(|kernel| format!("removed {}", kernel.id)));
    lines
}

/// Writes the lock when it changed, aloud.
pub(crate) fn write_lock(
    project: &Project,
    next: &Lock,
    changes: &[String],
    events: Events<'_>,
) -> Result<(), Error> {
    // The text says which differences count: the order of requests doesn't.
    if next.to_yaml() == project.lock.to_yaml() {
        return Ok(());
    }
    next.write(&project.lock_path)?;
    let name = project.lock_path.display();
    let what = if changes.is_empty() { vec!["requests".to_owned()] } else { changes.to_vec() };
    events.info(format!("{name} written, commit it: {}", what.join(", ")));
    Ok(())
}

/// Writes into the lock what had to be resolved.
pub(crate) fn keep(
    project: &Project,
    options: &Options,
    done: &[Worked],
    events: Events<'_>,
) -> Result<(), Error> {
    if options.locked {
        return Ok(());
    }
    match relock(project, done) {
        Ok((next, changes)) => write_lock(project, &next, &changes, events),
        Err(failure) => {
            events.warn(format!("{} is not written: {failure}", project.lock_path.display()));
            Ok(())
        }
    }
}

/// What `btfpipe lock` did.
#[derive(Debug)]
pub struct Relocked {
    /// Where the lock is.
    pub path: PathBuf,
    /// One line a change.
    pub changes: Vec<String>,
    /// How many kernels it has now.
    pub kernels: usize,
    /// Kernels that could not be locked, and why.
    pub failures: Vec<(KernelId, Failure)>,
}

impl Relocked {
    /// The exit code.
    pub fn code(&self) -> Code {
        self.failures.iter().map(|(_, failure)| failure.code).max().unwrap_or(Code::Ok)
    }
}

impl fmt::Display for Relocked {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        for (id, failure) in &self.failures {
            writeln!(out, "FAILED {id}: {failure}")?;
        }
        for change in &self.changes {
            writeln!(out, "{change}")?;
        }
        let same = if self.changes.is_empty() { ", nothing changed" } else { "" };
        writeln!(out, "{}: {} kernels{same}", self.path.display(), self.kernels)
    }
}

/// Resolves every request, fetches and extracts what is new, writes the lock.
pub fn lock(options: &Options, tools: Tools<'_>) -> Result<Relocked, Error> {
    let project = Project::load(options)?;
    if options.offline {
        let (request, place) = &project.requests[0];
        return Err(Error::Offline {
            lock: project.lock_path,
            request: shown(request),
            place: place.clone(),
        });
    }
    let store = options.open_store()?;
    let work = store.root().join("tmp");
    let kernels = project.resolve_all(tools.sources, &work, tools.events)?;
    tools.events.plan(kernels.chosen.len() as u64 * 2);
    let works = Works::new(&project, options, tools, &store, &work, &kernels);
    let done = works.all(kernels, false);
    let (next, changes) = relock(&project, &done).map_err(internal)?;
    write_lock(&project, &next, &changes, tools.events)?;
    let failures =
        done.into_iter().filter_map(|worked| Some((worked.chosen.id, worked.result.err()?))).collect();
    Ok(Relocked { path: project.lock_path, changes, kernels: next.kernels.len(), failures })
}

/// What was checked when it was resolved can't be wrong now.
fn internal(failure: Failure) -> Error {
    let error = locking::BadAnswer { id: "kernels.lock".to_owned(), reason: failure.message };
    Error::BadAnswer { plugin: "source".to_owned(), error }
}
