//! The commands on a pipeline, with real plugins and a real clang behind them.

pub mod bundles;
pub mod doctor;
pub(crate) mod export;
pub mod night;
pub mod schemas;
pub mod store;
pub mod tools;
pub mod vm;

use std::path::Path;

use kernels::Store;
use kernels::source::Pattern;

use crate::commands::export::Exported;
use crate::events::chronicle::Recorded;
use crate::events::{Deaf, Events, Listener};
use crate::kernel::works::Tools;
use crate::lock::built_in::{AllSources, Kept};
use crate::lock::plugins::PluginSources;
use crate::outcome::Error;
use crate::plan::Plan;
use crate::plan::explain::Question;
use crate::project::acting::cache_in;
use crate::project::compiling::SystemClang;
use crate::project::{Options, Project};
use crate::run::Finished;
use crate::run::relock::{Checked, Relocked};
use crate::work::ledger::LastRun;
use night::{Morning, Night};

/// Says what is wrong with a pipeline, or in a few words what it has. Writes nothing; plugins are asked about their
/// configuration only.
pub fn check(options: &Options) -> Result<String, Error> {
    let project = Project::load(options)?;
    let events = Events::new(&Deaf);
    let plugins =
        PluginSources { root: project.file.root(), cache: None, events, stop: options.patience.stop.clone() };
    project.validate(&AllSources { plugins, kept: None })?;
    let kernels = project.locked_kernels();
    let (sources, files) = (project.file.kernels.len(), project.programs.len());
    let locked = match kernels.unresolved.len() {
        0 => format!("{} kernels locked", kernels.chosen.len()),
        missing => format!("{missing} sources to resolve"),
    };
    Ok(format!("{}: good: {sources} kernel sources, {locked}, {files} program files", options.file.display()))
}

/// What a run would do. Asks no source; writes nothing.
pub fn plan(options: &Options) -> Result<Plan, Error> {
    let project = Project::load(options)?;
    let path = options.store.clone().map_or_else(Store::default_path, Ok)?;
    let store = Store::peek(&path);
    let kernels = project.locked_kernels();
    project.check_packages(&kernels)?;
    let kernels = project.selected(kernels)?;
    Ok(crate::plan::plan(&project, &kernels, store.as_ref(), &SystemClang::default()))
}

/// Resolves all kernels anew and writes them into `kernels.lock`.
pub fn lock(options: &Options, listener: &dyn Listener) -> Result<Relocked, Error> {
    with_tools(options, listener, |tools| crate::run::relock::lock(options, tools))
}

/// Says what `lock` would change; writes nothing.
pub fn check_lock(options: &Options, listener: &dyn Listener) -> Result<Checked, Error> {
    with_tools(options, listener, |tools| crate::run::relock::check(options, tools))
}

/// Resolves those kernels anew that match a pattern, and leaves the others as they are.
pub fn update(
    options: &Options,
    pattern: Option<&Pattern>,
    listener: &dyn Listener,
) -> Result<Relocked, Error> {
    with_tools(options, listener, |tools| crate::run::relock::update(options, pattern, tools))
}

/// Writes BTFs, boot images and configurations of a pipeline's kernels into a folder.
pub fn extract(options: &Options, folder: &Path, listener: &dyn Listener) -> Result<Exported, Error> {
    with_tools(options, listener, |tools| crate::commands::export::export(options, folder, tools))
}

/// Runs a pipeline.
pub fn run(options: &Options, listener: &dyn Listener) -> Result<Finished, Error> {
    with_tools(options, listener, |tools| crate::run::run(options, tools))
}

/// What failed in the last run, and then a run: what is good is kept, what failed is tried again. None when nothing
/// failed.
pub fn retry(options: &Options, listener: &dyn Listener) -> Result<Option<Finished>, Error> {
    let events = Events::new(listener);
    let last = last_run(options)?;
    let failed: Vec<String> =
        last.failed().map(|entry| format!("{} {}", entry.step, entry.subject)).collect();
    if failed.is_empty() {
        return Ok(None);
    }
    events.info(format!("trying again: {}", failed.join(", ")));
    run(options, listener).map(Some)
}

/// Why actions run or don't, by the parts of their keys.
pub fn explain(options: &Options, question: &str) -> Result<String, Error> {
    let question = Question::parse(question)?;
    Ok(crate::plan::explain::explain(&question, &plan(options)?, &last_run(options)?)?)
}

fn last_run(options: &Options) -> Result<LastRun, Error> {
    let path = options.store.clone().map_or_else(Store::default_path, Ok)?;
    Ok(Store::peek(&path).map(|store| LastRun::read(&store, &options.file)).unwrap_or_default())
}

/// Updates the lock, runs, and says what changed since the last night.
pub fn nightly(options: &Options, listener: &dyn Listener) -> Result<Morning, Error> {
    with_tools(options, listener, |tools| night(options, tools))
}

/// The same, with given sources and compilers.
pub fn night(options: &Options, tools: Tools<'_>) -> Result<Morning, Error> {
    let relocked = crate::run::relock::lock(options, tools)?;
    let finished = crate::run::run(options, tools)?;
    let path = finished.dist.join(night::FILE);
    let before = std::fs::read(&path).ok().and_then(|text| Night::parse(&text));
    let now = Night::of(&finished);
    let morning = night::compare(before.as_ref(), &now, &relocked, finished.code, &options.open_store()?)?;
    let write = || {
        let mut temp = tempfile::NamedTempFile::new_in(&finished.dist)?;
        std::io::Write::write_all(&mut temp, now.to_json().as_bytes())?;
        temp.persist(&path)?;
        Ok(())
    };
    write().map_err(|error: std::io::Error| Error::Output { path: path.clone(), error })?;
    Ok(morning)
}

/// A run's events, read again.
pub fn recorded(path: &Path) -> Result<Recorded, Error> {
    let output = |error| Error::Output { path: path.to_owned(), error };
    let text = std::fs::read_to_string(path).map_err(output)?;
    Recorded::parse(&text).map_err(|error| output(std::io::Error::other(error)))
}

/// Real plugins and a real clang for `work`.
pub(crate) fn with_tools<T>(
    options: &Options,
    listener: &dyn Listener,
    work: impl FnOnce(Tools<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let events = Events::new(listener);
    let root = crate::file::root_of(&options.file);
    let store = options.open_store()?;
    let stop = options.patience.stop.clone();
    let plugins = PluginSources { root, cache: Some(cache_in(store.root())), events, stop };
    let sources = AllSources { plugins, kept: Some(Kept::new(store, options.offline)) };
    work(Tools { sources: &sources, compiler: &SystemClang::default(), events })
}
