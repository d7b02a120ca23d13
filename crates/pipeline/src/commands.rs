//! The commands on a pipeline, with real plugins and a real clang behind them.

use std::path::Path;
use std::sync::OnceLock;

use kernels::source::Pattern;
use kernels::{Arch, Store};

use crate::built_in::{AllSources, Kept};
use crate::clang::{self, Clang};
use crate::events::{Deaf, Events, Listener};
use crate::export::Exported;
use crate::outcome::Error;
use crate::plan::Plan;
use crate::plugins::PluginSources;
use crate::project::{Options, Project};
use crate::relock::{Checked, Relocked};
use crate::run::Finished;
use crate::works::Tools;

/// Says what is wrong with a pipeline, or in a few words what it has. Writes nothing; plugins are asked about their
/// configuration only.
pub fn check(options: &Options) -> Result<String, Error> {
    let project = Project::load(options)?;
    let events = Events::new(&Deaf);
    let plugins = PluginSources { root: project.file.root(), cache: None, events };
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
    let store = if path.is_dir() { Some(Store::open(&path)?) } else { None };
    Ok(crate::plan::plan(&project, &project.locked_kernels(), store.as_ref()))
}

/// Resolves all kernels anew and writes them into `kernels.lock`.
pub fn lock(options: &Options, listener: &dyn Listener) -> Result<Relocked, Error> {
    with_tools(options, listener, |tools| crate::relock::lock(options, tools))
}

/// Says what `lock` would change; writes nothing.
pub fn check_lock(options: &Options, listener: &dyn Listener) -> Result<Checked, Error> {
    with_tools(options, listener, |tools| crate::relock::check(options, tools))
}

/// Resolves those kernels anew that match a pattern, and leaves the others as they are.
pub fn update(
    options: &Options,
    pattern: Option<&Pattern>,
    listener: &dyn Listener,
) -> Result<Relocked, Error> {
    with_tools(options, listener, |tools| crate::relock::update(options, pattern, tools))
}

/// Writes BTFs, boot images and configurations of a pipeline's kernels into a folder.
pub fn extract(options: &Options, folder: &Path, listener: &dyn Listener) -> Result<Exported, Error> {
    with_tools(options, listener, |tools| crate::export::export(options, folder, tools))
}

/// Runs a pipeline.
pub fn run(options: &Options, listener: &dyn Listener) -> Result<Finished, Error> {
    with_tools(options, listener, |tools| crate::run::run(options, tools))
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
    let plugins = PluginSources { root, cache: Some(store.root().join("plugins")), events };
    let sources = AllSources { plugins, kept: Some(Kept::new(store, options.offline)) };
    let clang: OnceLock<Result<Clang, String>> = OnceLock::new();
    let compile = |source: &Path, arch: Arch| {
        let clang = clang.get_or_init(|| Clang::find().map_err(|error| error.to_string()));
        let compiled =
            clang.as_ref().map_err(Clone::clone)?.compile(source, arch, &clang::Options::default());
        let compiled = compiled.map_err(|error| error.to_string())?;
        if !compiled.warnings.trim().is_empty() {
            events.warn(format!(
                "{} for {arch}: clang says:\n{}",
                source.display(),
                compiled.warnings.trim_end()
            ));
        }
        Ok(compiled.bytes)
    };
    work(Tools { sources: &sources, compile: &compile, events })
}
