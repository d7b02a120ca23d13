//! Writing `kernels.lock`: after a run that had to resolve, and for `btfpipe lock`.

use std::fmt;
use std::path::{Path, PathBuf};

use kernels::source::Pattern;
use kernels::{KernelId, Lock, LockedKernel};

use crate::events::Events;
use crate::kernel::content::{self, Content, NoContent, Supply};
use crate::kernel::works::{Goal, Ready, Tools, Worked, Works};
use crate::lock::changes::{Change, changes};
use crate::lock::locking::{self, Chosen, Request, Why};
use crate::outcome::{Code, Error, Failure};
use crate::project::{Kernels, Options, Project, shown};

/// The lock after work on kernels, and what changed in it.
pub(crate) fn relock(project: &Project, done: &[Worked]) -> Result<(Lock, Vec<Change>), Failure> {
    let mut answers: Vec<(Request, Vec<LockedKernel>)> = Vec::new();
    let mut declared = project.declared();
    for (index, (request, _)) in project.requests.iter().enumerate() {
        let own: Vec<&Worked> = done.iter().filter(|worked| worked.requests.contains(&index)).collect();
        let kernels: Result<Vec<LockedKernel>, Option<Failure>> = own
            .into_iter()
            .map(|worked| match &worked.result {
                Ok(Ready { content: Some(content), .. }) => locked_kernel(worked, content).map_err(Some),
                Ok(Ready { content: None, .. }) => kept_lock(worked).ok_or(None),
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

/// Writes the lock when it changed, aloud.
pub(crate) fn write_lock(
    project: &Project,
    next: &Lock,
    changes: &[Change],
    events: Events<'_>,
) -> Result<(), Error> {
    // The text says which differences count: the order of requests doesn't.
    if next.to_yaml() == project.lock.to_yaml() {
        return Ok(());
    }
    next.write(&project.lock_path)?;
    let name = project.lock_path.display();
    let what: Vec<String> = match changes {
        [] => vec!["requests".to_owned()],
        changes => changes.iter().map(ToString::to_string).collect(),
    };
    events.info(format!("{name} written, commit it: {}", what.join(", ")));
    for change in changes.iter().filter(|change| change.is_loud()) {
        events.warn(format!("{name}: {change}"));
    }
    Ok(())
}

/// Writes into the lock what had to be resolved; `known` is how many kernels there are, selected or not.
pub(crate) fn keep(
    project: &Project,
    options: &Options,
    done: &[Worked],
    known: usize,
    events: Events<'_>,
) -> Result<(), Error> {
    if options.locked {
        return Ok(());
    }
    if done.len() < known {
        let is_new = done.iter().any(|worked| worked.chosen.why != Why::Locked);
        if is_new {
            let lock = project.lock_path.display();
            events.warn(format!(
                "{lock} is not written, since not all kernels were worked on; \"btfpipe lock\" writes it"
            ));
        }
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
    /// What changed.
    pub changes: Vec<Change>,
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
    update(options, None, tools)
}

/// The same for those kernels that match a pattern; the others stay as they are.
pub(crate) fn update(
    options: &Options,
    pattern: Option<&Pattern>,
    tools: Tools<'_>,
) -> Result<Relocked, Error> {
    let project = Project::load(options)?;
    let store = options.open_store()?;
    let work = store.root().join("tmp");
    let kernels = resolve(&project, options, pattern, &work, tools)?;
    tools.events.plan(kernels.chosen.len() as u64 * 2);
    let works = Works::new(&project, options, tools, &store, &work, &kernels);
    let twice = kernels.twice.clone();
    let done = works.all(kernels, Goal::Content);
    let (next, changes) = relock(&project, &done).map_err(internal)?;
    write_lock(&project, &next, &changes, tools.events)?;
    let supply = Supply {
        store: &store,
        sources: tools.sources,
        work: &work,
        offline: options.offline,
        patience: &options.patience,
    };
    let mut failures: Vec<(KernelId, Failure)> = twice
        .iter()
        .filter_map(|other| {
            Some((other.id.clone(), compare(supply, &works, &done, other, tools.events).err()?))
        })
        .collect();
    failures.extend(done.into_iter().filter_map(|worked| Some((worked.chosen.id, worked.result.err()?))));
    Ok(Relocked { path: project.lock_path, changes, kernels: next.kernels.len(), failures })
}

/// What the sources name now; of what does not match the pattern, what is locked.
fn resolve(
    project: &Project,
    options: &Options,
    pattern: Option<&Pattern>,
    work: &Path,
    tools: Tools<'_>,
) -> Result<Kernels, Error> {
    if options.offline {
        let (request, place) = &project.requests[0];
        let (lock, request, place) = (project.lock_path.clone(), shown(request), place.clone());
        return Err(Error::Offline { lock, request, place });
    }
    let mut kernels = project.resolve_all(options, tools.sources, work, tools.events)?;
    let Some(pattern) = pattern else { return Ok(kernels) };
    let locked = project.locked_kernels();
    let asked = |id: &KernelId| pattern.matches(&id.to_string());
    if !kernels.chosen.keys().chain(locked.chosen.keys()).any(asked) {
        return Err(Error::NoKernel {
            pattern: String::from(pattern.clone()),
            lock: project.lock_path.clone(),
        });
    }
    // What the lock doesn't answer is taken as a whole: a part of an answer would be mistaken for it.
    let is_new = |requests: &[usize]| requests.iter().any(|request| locked.unresolved.contains(request));
    kernels.chosen.retain(|id, (_, requests)| asked(id) || is_new(requests));
    kernels.twice.retain(|chosen| kernels.chosen.contains_key(&chosen.id));
    for (id, entry) in locked.chosen {
        if !asked(&id) {
            kernels.chosen.insert(id, entry);
        }
    }
    Ok(kernels)
}

/// Two sources have a kernel of this name: their BTFs have to be of one kernel.
fn compare(
    supply: Supply<'_>,
    works: &Works<'_>,
    done: &[Worked],
    other: &Chosen,
    events: Events<'_>,
) -> Result<(), Failure> {
    let same = done.iter().find(|worked| worked.chosen.id == other.id);
    let Some(worked) = same.filter(|worked| worked.result.is_ok()) else {
        return Ok(());
    };
    let (chosen, content) = (&worked.chosen, works.content_of(worked)?);
    let second = match content::obtain(supply, other, events) {
        Ok(content) => content,
        Err(NoContent::Failed(failure)) => return Err(failure),
        Err(NoContent::Gone(reason)) => return Err(Failure::new(reason)),
    };
    let lost = || Failure::new("the store lost its BTF; run again");
    let first_btf = supply.store.get(&content.btf.sha256)?.ok_or_else(lost)?;
    let second_btf = supply.store.get(&second.btf.sha256)?.ok_or_else(lost)?;
    let differences =
        kernels::same_kernel::find_differences(&first_btf, &second_btf).map_err(Failure::new)?;
    let (one, two) = (&chosen.plugin, &other.plugin);
    match &differences[..] {
        [] => {
            events.info(format!("{}: {one} and {two} have BTF of the same kernel", other.id));
            Ok(())
        }
        [first, rest @ ..] => Err(Failure::digest(format!(
            "{one} and {two} have BTF of different kernels: one of them was made from another kernel than its name says: \
             {first}{}; leave one of them out",
            if rest.is_empty() { String::new() } else { format!(", and {} more layouts differ", rest.len()) }
        ))),
    }
}

/// What `btfpipe lock --check` found.
#[derive(Debug)]
pub struct Checked {
    /// Where the lock is.
    pub path: PathBuf,
    /// One line a kernel that `btfpipe lock` would change.
    pub changes: Vec<String>,
}

impl Checked {
    /// The exit code.
    pub fn code(&self) -> Code {
        if self.changes.is_empty() { Code::Ok } else { Code::Lock }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        for change in &self.changes {
            writeln!(out, "{change}")?;
        }
        match self.changes.len() {
            0 => writeln!(out, "{}: up to date", self.path.display()),
            count => writeln!(
                out,
                "{}: {count} kernels would change; run \"btfpipe lock\" or \"btfpipe update GLOB\", and commit it",
                self.path.display()
            ),
        }
    }
}

/// Asks every source, and says what would change. Fetches no packages, writes nothing.
pub(crate) fn check(options: &Options, tools: Tools<'_>) -> Result<Checked, Error> {
    let project = Project::load(options)?;
    let store = options.open_store()?;
    let kernels = resolve(&project, options, None, &store.root().join("tmp"), tools)?;
    let mut changes = Vec::new();
    for (id, (chosen, _)) in &kernels.chosen {
        match (&chosen.locked, project.lock.find(id)) {
            (Some(_), _) => {}
            (None, Some(_)) => changes.push(format!("CHANGED {id}: the same name, other files")),
            (None, None) => changes.push(format!("new {id}")),
        }
    }
    let asked = project.requests.iter().map(|(request, _)| request);
    for known in asked.filter_map(|request| locking::find_request(&project.lock, request)) {
        let gone = known.kernels.iter().filter(|id| !kernels.chosen.contains_key(*id));
        changes.extend(gone.map(|id| format!("LOST {id}: its source no longer names it")));
    }
    Ok(Checked { path: project.lock_path, changes })
}

/// What was checked when it was resolved can't be wrong now.
fn internal(failure: Failure) -> Error {
    let error = locking::BadAnswer { id: "kernels.lock".to_owned(), reason: failure.message };
    Error::BadAnswer { plugin: "source".to_owned(), error }
}
