//! A pipeline with its lock, its programs' files and its kernels: everything that is read before anything runs.

pub(crate) mod acting;
pub mod building;
pub mod clang;
pub mod compiling;
pub mod plugin_step;
pub mod programs;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use kernels::source::Pattern;
use kernels::{KernelId, Lock, Store, source};
use plugin::{Class, SourceKernel};

use crate::events::{Events, Phase};
use crate::file::selection::Selection;
use crate::file::{Given, KernelSource, Package, PipelineFile};
use crate::host::conform;
use crate::host::trust;
use crate::lock::locking::{self, Chosen, Request};
use crate::lock::sources::{SourceError, Sources};
use crate::outcome::Error;
use crate::project::building::Builder;
use crate::project::plugin_step::{Role, Step};
use crate::work::patience::Patience;
use crate::yaml::problem::{At, Invalid, Problem, Problems, Text, located};
use programs::ProgramFile;

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The pipeline file.
    pub file: PathBuf,
    /// Another lock than `kernels.lock` beside `pipelines/`.
    pub lock: Option<PathBuf>,
    /// Another output folder than `dist` beside `pipelines/`.
    pub dist: Option<PathBuf>,
    /// Another store than the default one.
    pub store: Option<PathBuf>,
    /// How many kernels at a time; 0 for as many as there are processors.
    pub jobs: usize,
    /// Refuse to work on anything that isn't locked.
    pub locked: bool,
    /// Open no connection.
    pub offline: bool,
    /// Which kernels to work on, all without one: `debian/*`.
    pub select: Vec<String>,
    /// The last step to do, all without it.
    pub until: Option<String>,
    /// Begin nothing new after the first failure.
    pub fail_fast: bool,
    /// Make everything again, whatever the store has; packages that were fetched stay.
    pub rerun: bool,
    /// This is not the run that `retry` and `explain` speak of afterwards.
    pub unremembered: bool,
    /// When to try again, and when to stop.
    pub patience: Patience,
    /// What the pipeline's profiles, inputs and variables are.
    pub given: Given,
    /// Verify on the host only: boot nothing.
    pub no_vm: bool,
    /// Refuse plugins that are not as `plugins.lock` says.
    pub locked_plugins: bool,
    /// Use neither what machines said in earlier runs nor machines that were kept.
    pub boot_anew: bool,
}

impl Options {
    /// The number of threads.
    pub fn jobs(&self) -> usize {
        match self.jobs {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            jobs => jobs,
        }
    }

    /// Opens the store.
    pub fn open_store(&self) -> Result<Store, Error> {
        let path = self.store.clone().map_or_else(Store::default_path, Ok)?;
        Ok(Store::open(&path)?)
    }
}

/// Everything that is read before anything runs.
#[derive(Debug, Clone)]
pub struct Project {
    /// The pipeline.
    pub file: PipelineFile,
    /// What the command line gave it.
    pub given: Given,
    /// Where the lock is.
    pub lock_path: PathBuf,
    /// The lock; empty when there is none.
    pub lock: Lock,
    /// Where packages go.
    pub dist: PathBuf,
    /// The programs' files.
    pub programs: Vec<ProgramFile>,
    /// What makes some of them, by the index that they have.
    pub builders: Vec<Arc<Builder>>,
    /// What plugins do, in the file's order.
    pub steps: Vec<Arc<Step>>,
    /// What the sources that count are asked, in the file's order, and where.
    pub requests: Vec<(Request, String)>,
    /// Which kernels to work on.
    pub select: Vec<Selection>,
}

/// Which kernels to work on.
#[derive(Debug, Clone, Default)]
pub struct Kernels {
    /// The kernels, each once, with the requests (by index) that they answer.
    pub chosen: BTreeMap<KernelId, (Chosen, Vec<usize>)>,
    /// Requests (by index) that the lock doesn't answer.
    pub unresolved: Vec<usize>,
    /// Kernels that a second source has, with other files: the first one's are worked on.
    pub twice: Vec<Chosen>,
    /// How many kernels `--select` leaves out.
    pub left_out: usize,
}

impl Project {
    /// Reads the pipeline file and its lock, and finds its programs.
    pub fn load(options: &Options) -> Result<Project, Error> {
        let mut file = PipelineFile::read(&options.file, &options.given)?;
        options.until.iter().for_each(|step| file.steps.end_with(step));
        let select = selections(options)?;
        let root = file.root();
        let lock_path = options.lock.clone().unwrap_or_else(|| plain(root.join("kernels.lock")));
        let lock = match Lock::read(&lock_path) {
            Err(error) if error.is_not_found() => Lock::default(),
            other => other?,
        };
        let requests: Vec<(Request, String)> =
            file.sources().map(|source| (request(source), place(&file, source))).collect();
        if requests.is_empty() {
            return Err(Error::NoSource(options.file.clone()));
        }
        if options.locked_plugins {
            let sources = requests.iter().map(|(request, _)| request.plugin.as_str());
            let sources = sources.filter(|name| !source::is_built_in(name));
            trust::verify(&root, sources.chain(file.step_plugins()))?;
        }
        let (programs, builders) = programs::find(&file)?;
        let builders = builders.into_iter().map(Arc::new).collect();
        let mut steps = Vec::new();
        for entry in &file.steps.plugins {
            steps.push(Step::find(&file, entry, &steps)?);
        }
        let steps = steps.into_iter().map(Arc::new).collect();
        let mut dist = options.dist.clone().unwrap_or_else(|| plain(root.join("dist")));
        if !select.is_empty() {
            // A part is never taken for the release.
            dist.push("selected");
        }
        let given = options.given.clone();
        Ok(Project { file, given, lock_path, lock, dist, programs, builders, steps, requests, select })
    }

    /// What plugins make of the minimized BTF of a package.
    pub fn transforms(&self, package: &Package) -> impl Iterator<Item = &Step> {
        self.steps_of(Role::Transform, &package.name)
    }

    /// What makes files of a package in layouts of its own.
    pub fn layouts(&self, package: &str) -> impl Iterator<Item = &Step> {
        self.steps_of(Role::Package, package)
    }

    fn steps_of(&self, role: Role, package: &str) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| step.role == role && step.is_for(package)).map(Arc::as_ref)
    }

    /// All requests of the file, also those whose `when:` doesn't hold now, and those of every profile alone.
    pub fn declared(&self) -> Vec<Request> {
        let others = self.file.profiles.iter().filter_map(|profile| {
            let given = Given { profiles: vec![profile.clone()], ..self.given.clone() };
            PipelineFile::read(&self.file.path, &given).ok()
        });
        let plain =
            PipelineFile::read(&self.file.path, &Given { profiles: Vec::new(), ..self.given.clone() });
        let all = others.chain(plain).flat_map(|file| file.kernels);
        self.file.kernels.iter().cloned().chain(all).map(|source| request(&source)).collect()
    }

    /// The kernels that the lock has, and the requests that it doesn't answer.
    pub fn locked_kernels(&self) -> Kernels {
        let mut kernels = Kernels::default();
        for (index, (request, _)) in self.requests.iter().enumerate() {
            match locking::kept(&self.lock, request) {
                Some(chosen) => kernels.add(chosen, index),
                None => kernels.unresolved.push(index),
            }
        }
        kernels
    }

    /// Only the kernels that are asked for; a selection that selects nothing is an error.
    pub fn selected(&self, mut kernels: Kernels) -> Result<Kernels, Error> {
        if self.select.is_empty() {
            return Ok(kernels);
        }
        let all = kernels.chosen.len();
        let ids: Vec<KernelId> = kernels.chosen.keys().cloned().collect();
        let nothing = self.select.iter().filter_map(|one| {
            Some((one, one.nothing(At::START, ids.iter()).filter(|_| kernels.unresolved.is_empty())?))
        });
        let mut problems = Problems::default();
        let mut texts = Vec::new();
        for (number, (one, problem)) in nothing.enumerate() {
            texts.push(Text { name: format!("--select {one}"), text: String::new(), included: None });
            problems.add(Problem { at: At { text: number as u16, ..At::START }, ..problem });
        }
        problems.into_result(&texts)?;
        kernels.chosen.retain(|id, _| self.select.iter().any(|one| one.matches(id)));
        kernels.left_out = all - kernels.chosen.len();
        Ok(kernels)
    }

    /// The problem when a package's `kernels:` have none of those that there are.
    pub fn check_packages(&self, kernels: &Kernels) -> Result<(), Error> {
        let mut problems = Problems::default();
        let ids: Vec<&KernelId> = kernels.chosen.keys().collect();
        let complete = kernels.unresolved.is_empty() && kernels.left_out == 0 && !ids.is_empty();
        for (at, selection) in self.file.packages.iter().flat_map(|package| &package.kernels) {
            if let Some(problem) = selection.nothing(*at, ids.iter().copied()).filter(|_| complete) {
                problems.add(problem);
            }
        }
        Ok(problems.into_result(&self.file.texts)?)
    }

    /// What to say of versions that have other words and no kernel. No error: a profile may leave their kernels out.
    pub fn idle_aliases(&self, kernels: &Kernels) -> Vec<String> {
        let Some(step) = self.file.steps.package.as_ref().filter(|_| kernels.unresolved.is_empty()) else {
            return Vec::new();
        };
        let idle = step.aliases.idle(kernels.chosen.keys());
        idle.into_iter().map(|problem| self.file.invalid(problem).to_string()).collect()
    }

    /// The kernels that the lock has, and those that the sources name where it has none.
    pub fn resolve_missing(
        &self,
        options: &Options,
        sources: &dyn Sources,
        work: &Path,
        events: Events<'_>,
    ) -> Result<Kernels, Error> {
        let mut kernels = self.locked_kernels();
        for index in std::mem::take(&mut kernels.unresolved) {
            let (request, place) = &self.requests[index];
            if options.locked {
                return Err(self.not_locked(request, place));
            }
            if options.offline {
                return Err(self.offline(request, place));
            }
            let name = self.lock_path.display();
            events.info(format!("{name} doesn't have the kernels for {}: asking", shown(request)));
            let answer = self.ask(index, sources, work, events, &options.patience)?;
            let chosen = locking::answered(&self.lock, request, &answer)
                .map_err(|error| Error::BadAnswer { plugin: request.plugin.clone(), error })?;
            kernels.add(chosen, index);
        }
        Ok(kernels)
    }

    /// The kernels that the sources name now, whatever the lock has.
    pub fn resolve_all(
        &self,
        options: &Options,
        sources: &dyn Sources,
        work: &Path,
        events: Events<'_>,
    ) -> Result<Kernels, Error> {
        let mut kernels = Kernels::default();
        for (index, (request, _)) in self.requests.iter().enumerate() {
            let answer = self.ask(index, sources, work, events, &options.patience)?;
            let chosen = locking::refreshed(&self.lock, request, &answer)
                .map_err(|error| Error::BadAnswer { plugin: request.plugin.clone(), error })?;
            kernels.add(chosen, index);
        }
        Ok(kernels)
    }

    /// Asks a source; `work` is a folder for what nobody needs afterwards.
    pub fn ask(
        &self,
        index: usize,
        sources: &dyn Sources,
        work: &Path,
        events: Events<'_>,
        patience: &Patience,
    ) -> Result<Vec<SourceKernel>, Error> {
        let (request, place) = &self.requests[index];
        let task = events.begin(Phase::Resolve, shown(request));
        let folder = tempfile::Builder::new()
            .prefix("resolve-")
            .tempdir_in(work)
            .map_err(|error| Error::Output { path: work.to_owned(), error })?;
        let ask = || sources.resolve(&request.plugin, &request.with, folder.path(), &task);
        let answer = patience.ask(&shown(request), events, ask);
        let answer = task.finish(answer, |kernels| format!("{} kernels", kernels.len()));
        answer.map_err(|error| self.source_error(index, place, error))
    }

    /// Has every source look at its configuration, also those that don't count now. All that is wrong is told at once.
    pub fn validate(&self, sources: &dyn Sources) -> Result<(), Error> {
        let mut problems = Problems::default();
        for source in &self.file.kernels {
            if let Err(error) = validate_one(source, sources, &mut problems) {
                match error.class {
                    Class::User => problems.add(unknown(source, &error, sources)),
                    Class::Tool | Class::Transient | Class::Gone => {
                        return Err(Error::Source {
                            place: place(&self.file, source),
                            plugin: source.uses.clone(),
                            error: Box::new(error),
                        });
                    }
                }
            }
        }
        self.validate_plugins(&mut problems)?;
        Ok(problems.into_result(&self.file.texts)?)
    }

    /// The same of the plugins that do steps; those that aren't there were told when the project was loaded.
    fn validate_plugins(&self, problems: &mut Problems) -> Result<(), Error> {
        let entries = self.file.builders.iter().filter(|entry| entry.when).zip(&self.builders);
        let builders = entries.map(|(entry, builder)| (builder.actor(), entry.at, &entry.with));
        let steps = self.file.steps.plugins.iter().zip(&self.steps);
        let steps = steps.map(|(entry, step)| (&step.actor, entry.at, &entry.with));
        for (actor, at, with) in builders.chain(steps) {
            actor.check(with, problems).map_err(|error| Error::Source {
                place: self.file.place(at),
                plugin: actor.name().to_owned(),
                error: Box::new(error),
            })?;
        }
        Ok(())
    }

    /// A source's complaint, at the place in the file that it is about.
    fn source_error(&self, index: usize, place: &str, error: SourceError) -> Error {
        let (request, _) = &self.requests[index];
        let source = self.file.kernels.iter().find(|source| self::request(source) == *request);
        match (&error.at, source) {
            (Some(pointer), Some(source)) => {
                let help = error.help.as_deref();
                let problem = located(&source.uses, &source.with, pointer, &error.message, help);
                self.file.invalid(problem).into()
            }
            _ => Error::Source {
                place: place.to_owned(),
                plugin: request.plugin.clone(),
                error: Box::new(error),
            },
        }
    }

    fn not_locked(&self, request: &Request, place: &str) -> Error {
        Error::NotLocked {
            lock: self.lock_path.clone(),
            file: self.file.path.clone(),
            request: shown(request),
            place: place.to_owned(),
        }
    }

    fn offline(&self, request: &Request, place: &str) -> Error {
        Error::Offline { lock: self.lock_path.clone(), request: shown(request), place: place.to_owned() }
    }
}

impl Kernels {
    fn add(&mut self, chosen: Vec<Chosen>, request: usize) {
        for chosen in chosen {
            match self.chosen.entry(chosen.id.clone()) {
                Entry::Vacant(entry) => _ = entry.insert((chosen, vec![request])),
                Entry::Occupied(mut entry) => {
                    let (first, requests) = entry.get_mut();
                    requests.push(request);
                    if first.source.packages != chosen.source.packages {
                        self.twice.push(chosen);
                    }
                }
            }
        }
    }
}

/// The schema has the first word: what it says, it says at once and for every plugin alike.
fn validate_one(
    source: &KernelSource,
    sources: &dyn Sources,
    problems: &mut Problems,
) -> Result<(), SourceError> {
    let before = problems.len();
    if let Some(schema) = sources.config_schema(&source.uses)? {
        conform::check(&schema, &source.with, &source.uses, problems);
    }
    if problems.len() == before {
        for one in sources.validate(&source.uses, &source.with.to_json())? {
            problems.add(located(&source.uses, &source.with, &one.path, &one.message, one.help.as_deref()));
        }
    }
    Ok(())
}

/// A plugin that isn't there, or isn't complete.
fn unknown(source: &KernelSource, error: &SourceError, sources: &dyn Sources) -> Problem {
    let known = sources.known();
    let problem = Problem::new(source.uses_at, error.message.clone());
    let problem = error.help.iter().cloned().fold(problem, Problem::help);
    if known.contains(&source.uses) {
        return problem;
    }
    problem.did_you_mean(&source.uses, known.iter().map(String::as_str))
}

fn selections(options: &Options) -> Result<Vec<Selection>, Error> {
    let mut selections = Vec::new();
    for pattern in &options.select {
        selections.push(Selection::new(pattern).map_err(|reason| Invalid {
            texts: vec![Text { name: format!("--select {pattern}"), text: String::new(), included: None }],
            problems: vec![Problem::new(At::START, reason).help("write it as debian/* or */*/arm64")],
        })?);
    }
    Ok(selections)
}

fn request(source: &KernelSource) -> Request {
    Request { plugin: source.uses.clone(), with: source.with.to_json() }
}

fn place(file: &PipelineFile, source: &KernelSource) -> String {
    file.place(source.at)
}

/// `debian {"suites":["sid"]}`
pub fn shown(request: &Request) -> String {
    let (with, longest) = (request.with.to_string(), 200);
    match with.char_indices().nth(longest) {
        Some((end, _)) => format!("{} {}…", request.plugin, &with[..end]),
        None => format!("{} {with}", request.plugin),
    }
}

/// Without the `./` that a root of `.` gives.
fn plain(path: PathBuf) -> PathBuf {
    path.strip_prefix(".").map(Path::to_owned).unwrap_or(path)
}
