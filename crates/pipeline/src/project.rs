//! A pipeline with its lock, its programs' files and its kernels: everything that is read before anything runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kernels::{KernelId, Lock, Store};
use plugin::SourceKernel;

use crate::events::{Events, Phase};
use crate::file::{KernelSource, PipelineFile};
use crate::locking::{self, Chosen, Request};
use crate::outcome::Error;
use crate::problem::Problem;
use crate::programs::{self, ProgramFile};
use crate::sources::{SourceError, Sources};

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
    /// Profiles that are on.
    pub profiles: Vec<String>,
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
    /// Where the lock is.
    pub lock_path: PathBuf,
    /// The lock; empty when there is none.
    pub lock: Lock,
    /// Where packages go.
    pub dist: PathBuf,
    /// The programs' files.
    pub programs: Vec<ProgramFile>,
    /// What the sources that count are asked, in the file's order, and where.
    pub requests: Vec<(Request, String)>,
}

/// Which kernels to work on.
#[derive(Debug, Clone, Default)]
pub struct Kernels {
    /// The kernels, each once, with the requests (by index) that they answer.
    pub chosen: BTreeMap<KernelId, (Chosen, Vec<usize>)>,
    /// Requests (by index) that the lock doesn't answer.
    pub unresolved: Vec<usize>,
}

impl Project {
    /// Reads the pipeline file and its lock, and finds its programs.
    pub fn load(options: &Options) -> Result<Project, Error> {
        let file = PipelineFile::read(&options.file)?;
        let root = file.root();
        let lock_path = options.lock.clone().unwrap_or_else(|| plain(root.join("kernels.lock")));
        let lock = match Lock::read(&lock_path) {
            Err(error) if error.is_not_found() => Lock::default(),
            other => other?,
        };
        let requests: Vec<(Request, String)> =
            file.sources(&options.profiles).map(|source| (request(source), place(&file, source))).collect();
        if requests.is_empty() {
            return Err(Error::NoSource(options.file.clone()));
        }
        let programs = programs::find(&file)?;
        let dist = options.dist.clone().unwrap_or_else(|| plain(root.join("dist")));
        Ok(Project { file, lock_path, lock, dist, programs, requests })
    }

    /// All requests of the file, also those whose `when:` doesn't hold now.
    pub fn declared(&self) -> Vec<Request> {
        self.file.kernels.iter().map(request).collect()
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
            let answer = self.ask(index, sources, work, events)?;
            let chosen = locking::answered(&self.lock, request, &answer)
                .map_err(|error| Error::BadAnswer { plugin: request.plugin.clone(), error })?;
            kernels.add(chosen, index);
        }
        Ok(kernels)
    }

    /// The kernels that the sources name now, whatever the lock has.
    pub fn resolve_all(
        &self,
        sources: &dyn Sources,
        work: &Path,
        events: Events<'_>,
    ) -> Result<Kernels, Error> {
        let mut kernels = Kernels::default();
        for (index, (request, _)) in self.requests.iter().enumerate() {
            let answer = self.ask(index, sources, work, events)?;
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
    ) -> Result<Vec<SourceKernel>, Error> {
        let (request, place) = &self.requests[index];
        let task = events.begin(Phase::Resolve, shown(request));
        let folder = tempfile::Builder::new()
            .prefix("resolve-")
            .tempdir_in(work)
            .map_err(|error| Error::Output { path: work.to_owned(), error })?;
        let answer = sources.resolve(&request.plugin, &request.with, folder.path(), &task);
        let answer = task.finish(answer, |kernels| format!("{} kernels", kernels.len()));
        answer.map_err(|error| self.source_error(index, place, error))
    }

    /// Has every source look at its configuration.
    pub fn validate(&self, sources: &dyn Sources) -> Result<(), Error> {
        for (index, source) in self.file.kernels.iter().enumerate() {
            let problems =
                sources.validate(&source.uses, &source.with.to_json()).map_err(|error| Error::Source {
                    place: place(&self.file, &self.file.kernels[index]),
                    plugin: source.uses.clone(),
                    error: Box::new(error),
                })?;
            if let Some(first) = problems.first() {
                return Err(self
                    .file
                    .invalid(located(source, &first.path, &first.message, first.help.as_deref()))
                    .into());
            }
        }
        Ok(())
    }

    /// A source's complaint, at the place in the file that it is about.
    fn source_error(&self, index: usize, place: &str, error: SourceError) -> Error {
        let (request, _) = &self.requests[index];
        let source = self.file.kernels.iter().find(|source| self::request(source) == *request);
        match (&error.at, source) {
            (Some(pointer), Some(source)) => {
                let problem = located(source, pointer, &error.message, error.help.as_deref());
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
            let (_, requests) = self.chosen.entry(chosen.id.clone()).or_insert_with(|| (chosen, Vec::new()));
            requests.push(request);
        }
    }
}

fn request(source: &KernelSource) -> Request {
    Request { plugin: source.uses.clone(), with: source.with.to_json() }
}

fn place(file: &PipelineFile, source: &KernelSource) -> String {
    format!("{}:{}:{}", file.path.display(), source.at.line, source.at.column)
}

/// The problem at the place in `with:` that a JSON pointer names; a pointer to a key is shown at the key's value.
fn located(source: &KernelSource, pointer: &str, message: &str, help: Option<&str>) -> Problem {
    let problem = Problem::new(source.with.place(pointer), format!("{}: {message}", source.uses));
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// `debian {"suites":["sid"]}`
pub fn shown(request: &Request) -> String {
    format!("{} {}", request.plugin, request.with)
}

/// Without the `./` that a root of `.` gives.
fn plain(path: PathBuf) -> PathBuf {
    path.strip_prefix(".").map(Path::to_owned).unwrap_or(path)
}
