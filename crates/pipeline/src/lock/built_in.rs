//! The sources that need no plugin, beside those that do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kernels::download::{Downloader, Settings};
use kernels::source::{self, Context, Day, Offer, Say};
use kernels::{LockedPackage, Store};
use plugin::{Class, Problem, SourceKernel, SourcePackage};
use serde_json::Value;

use crate::events::{Events, Task};
use crate::lock::locking::locked_packages;
use crate::lock::plugins::PluginSources;
use crate::lock::sources::{SourceError, Sources};

/// Requests at a time, over all hosts.
const THREADS: usize = 8;

/// Every source: `btfhub`, `files` and `host` here, all others as plugins.
#[derive(Debug)]
pub struct AllSources<'a> {
    /// The others.
    pub plugins: PluginSources<'a>,
    /// Where files are kept; None for commands that leave no trace, and then nothing is resolved or fetched.
    pub kept: Option<Kept>,
}

/// What sources keep files with.
#[derive(Debug)]
pub struct Kept {
    store: Store,
    downloader: Downloader,
}

impl Kept {
    /// With `offline` no socket is opened.
    pub fn new(store: Store, offline: bool) -> Kept {
        let downloader = Downloader::new(&store, Settings { offline, ..Settings::default() });
        Kept { store, downloader }
    }
}

impl AllSources<'_> {
    fn work<T>(
        &self,
        task: &Task<'_>,
        work: impl FnOnce(&Context<'_>) -> Result<T, source::SourceError>,
    ) -> Result<T, SourceError> {
        let kept = self.kept.as_ref().ok_or_else(|| failure(Class::Tool, "no store is open"))?;
        let say = Telling { task, events: self.plugins.events };
        let context = Context {
            root: &self.plugins.root,
            store: &kept.store,
            downloader: &kept.downloader,
            threads: THREADS,
            today: Day::of(SystemTime::now()),
            say: &say,
        };
        work(&context).map_err(source_error)
    }
}

impl Sources for AllSources<'_> {
    fn config_schema(&self, plugin: &str) -> Result<Option<Value>, SourceError> {
        match source::config_schema(plugin) {
            Some(text) => serde_json::from_str(text).map(Some).map_err(|error| failure(Class::Tool, error)),
            None => self.plugins.config_schema(plugin),
        }
    }

    fn known(&self) -> Vec<String> {
        let mut names = self.plugins.known();
        names.extend(source::NAMES.map(str::to_owned));
        names
    }

    fn validate(&self, plugin: &str, with: &Value) -> Result<Vec<Problem>, SourceError> {
        if !source::is_built_in(plugin) {
            return self.plugins.validate(plugin, with);
        }
        let fault = source::find_fault(plugin, with);
        Ok(fault.into_iter().map(|message| Problem { path: String::new(), message, help: None }).collect())
    }

    fn resolve(
        &self,
        plugin: &str,
        with: &Value,
        folder: &Path,
        task: &Task<'_>,
    ) -> Result<Vec<SourceKernel>, SourceError> {
        if !source::is_built_in(plugin) {
            return self.plugins.resolve(plugin, with, folder, task);
        }
        let offers = self.work(task, |context| source::resolve(plugin, with, context))?;
        Ok(offers.into_iter().map(source_kernel).collect())
    }

    fn fetch(
        &self,
        plugin: &str,
        kernel: &SourceKernel,
        folder: &Path,
        task: &Task<'_>,
    ) -> Result<Vec<PathBuf>, SourceError> {
        if !source::is_built_in(plugin) {
            return self.plugins.fetch(plugin, kernel, folder, task);
        }
        let offer = offer(kernel)?;
        let paths = self.work(task, |context| source::fetch(plugin, &offer, context))?;
        let paths: BTreeMap<&str, PathBuf> =
            offer.files.iter().map(|file| file.file.as_str()).zip(paths).collect();
        // In the kernel's own order, which need not be that of the lock.
        let path = |package: &SourcePackage| paths.get(package.file.as_str()).cloned();
        let ordered: Option<Vec<PathBuf>> = kernel.packages.iter().map(path).collect();
        ordered.ok_or_else(|| failure(Class::Tool, "the source brought fewer files than the kernel has"))
    }
}

/// Tells views and people.
struct Telling<'a> {
    task: &'a Task<'a>,
    events: Events<'a>,
}

impl Say for Telling<'_> {
    fn moved(&self, done: u64, total: u64, what: &str) {
        self.task.moved(done, Some(total), what);
    }

    fn warn(&self, text: String) {
        self.events.warn(text);
    }
}

fn source_kernel(offer: Offer) -> SourceKernel {
    let package = |file: LockedPackage| SourcePackage {
        name: file.name,
        version: file.version,
        arch: file.arch,
        file: file.file,
        sha256: file.sha256.to_string(),
        size: file.size,
    };
    SourceKernel {
        id: offer.id.to_string(),
        packages: offer.files.into_iter().map(package).collect(),
        with: offer.with,
    }
}

fn offer(kernel: &SourceKernel) -> Result<Offer, SourceError> {
    let id = kernel.id.parse().map_err(|error| failure(Class::Tool, error))?;
    let files = locked_packages(kernel).map_err(|error| failure(Class::Tool, error))?;
    Ok(Offer { id, files, with: kernel.with.clone() })
}

fn source_error(error: source::SourceError) -> SourceError {
    let class = match &error {
        source::SourceError::Config(_) => Class::User,
        source::SourceError::Gone(_) => Class::Gone,
        source::SourceError::Download(error) if error.is_gone() => Class::Gone,
        source::SourceError::Download(error) if error.is_transient() => Class::Transient,
        _ => Class::Tool,
    };
    failure(class, error)
}

fn failure(class: Class, message: impl std::fmt::Display) -> SourceError {
    SourceError { class, message: message.to_string(), help: None, at: None }
}
