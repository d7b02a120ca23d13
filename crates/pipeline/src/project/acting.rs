//! One action of a plugin, for steps: found by name, run by the host in a folder of its own, its words turned into ours.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use kernels::Digest;
use plugin::{Class, Input, KernelRef, Level, Provides};
use serde_json::Value;
use tempfile::TempDir;

use crate::events::{Events, Task};
use crate::host::conform;
use crate::host::{Dirs, Host, Plugin, PluginError, PluginEvent, PluginResult, Request};
use crate::lock::sources::SourceError;
use crate::work::key::Key;
use crate::work::patience::Patience;
use crate::yaml::Node;
use crate::yaml::problem::located;
use crate::yaml::problem::{At, Problem, Problems};

/// A plugin with its configuration.
#[derive(Debug)]
pub struct Actor {
    plugin: Plugin,
    with: Value,
    /// Of all that the plugin is, and of what it starts.
    digests: OnceLock<Result<(Digest, Digest), String>>,
}

/// Where an action works, and who hears of it.
#[derive(Clone, Copy)]
pub struct Stage<'a> {
    /// Where folders for actions are made.
    pub work: &'a Path,
    /// Where plugins keep what they may need again, by name.
    pub cache: &'a Path,
    /// Who hears what they say.
    pub events: Events<'a>,
    /// When to try again, and when to stop.
    pub patience: &'a Patience,
}

/// What an action is about.
#[derive(Debug, Clone, Default)]
pub struct Asked<'a> {
    /// The step, e.g. [`plugin::BUILD`].
    pub step: &'a str,
    /// With what, for people.
    pub subject: &'a str,
    /// The kernel, if it is one's.
    pub kernel: Option<KernelRef>,
    /// The architecture, if it is one's.
    pub arch: Option<&'a str>,
    /// All that it may read.
    pub inputs: Vec<Input>,
    /// What outputs use instead of the clock.
    pub epoch: Option<u64>,
}

/// What an action made; the files go with it.
#[derive(Debug)]
pub struct Acted {
    /// As the host saw it.
    pub result: PluginResult,
    folder: TempDir,
}

impl Acted {
    /// Whether a path lies in the folder of the action, and so is gone after it.
    pub fn is_own(&self, path: &Path) -> bool {
        self.folder.path().canonicalize().is_ok_and(|folder| path.starts_with(folder))
    }
}

impl Actor {
    /// Finds a plugin that does one of these; starts nothing.
    pub fn find(name: &str, root: &Path, with: Value, does: &[Provides]) -> Result<Actor, SourceError> {
        let plugin = Host::find(name, root).map_err(source_error)?;
        if does.iter().any(|what| plugin.provides(*what)) {
            return Ok(Actor { plugin, with, digests: OnceLock::new() });
        }
        let words: Vec<&str> = does.iter().map(|what| what.word()).collect();
        Err(SourceError {
            class: Class::User,
            message: format!("the plugin {name} does not {}", words.join(" or ")),
            help: Some(format!("\"provides\" in its plugin.yaml says what it does: {}", provided(&plugin))),
            at: None,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.plugin.name()
    }

    /// The plugin.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// What it is told.
    pub fn with(&self) -> &Value {
        &self.with
    }

    /// Whether what it makes may be kept.
    pub fn is_pure(&self) -> bool {
        self.plugin.manifest().cache.pure
    }

    /// A key with all that the plugin itself puts into its results.
    pub fn key(&self, step: &str) -> Result<Key, String> {
        let read = || -> Result<(Digest, Digest), PluginError> {
            Ok((self.plugin.digest()?, self.plugin.tools_digest()?))
        };
        let digests = self.digests.get_or_init(|| read().map_err(|error| error.to_string()));
        let (plugin, tools) = digests.clone()?;
        Ok(Key::of(&format!("{step}/1"))
            .with("plugin", self.plugin.name())
            .with("plugin digest", plugin)
            .with("tools", tools)
            .with("with", &self.with))
    }

    /// Adds what is wrong with its configuration: by its schema, and where that finds nothing by its own word.
    pub fn check(&self, with: &Node, problems: &mut Problems) -> Result<(), SourceError> {
        let before = problems.len();
        if let Some(schema) = self.plugin.schema().map_err(source_error)? {
            conform::check(&schema, with, self.name(), problems);
        }
        if problems.len() == before {
            for one in self.plugin.validate(&with.to_json(), &mut |_| {}).map_err(source_error)? {
                problems.add(located(self.name(), with, &one.path, &one.message, one.help.as_deref()));
            }
        }
        Ok(())
    }

    /// Runs an action, and runs it again where the trouble may pass.
    pub fn act(&self, stage: Stage<'_>, task: &Task<'_>, asked: &Asked<'_>) -> Result<Acted, SourceError> {
        let mut attempt = 0;
        stage.patience.ask(asked.subject, stage.events, || {
            attempt += 1;
            self.once(stage, task, attempt, asked)
        })
    }

    fn once(
        &self,
        stage: Stage<'_>,
        task: &Task<'_>,
        attempt: u32,
        asked: &Asked<'_>,
    ) -> Result<Acted, SourceError> {
        let (name, begin) = (self.plugin.name(), Instant::now());
        let failed = |error: std::io::Error| SourceError {
            class: Class::Tool,
            message: format!("{}: {error}", stage.work.display()),
            help: None,
            at: None,
        };
        let cache = stage.cache.join(name);
        // A worker has a room of its own, and in it a folder for each action.
        let folder = match self.plugin.is_worker() {
            true => None,
            false => Some(tempfile::Builder::new().prefix("act-").tempdir_in(stage.work).map_err(failed)?),
        };
        let dirs = Dirs::below(folder.as_ref().map_or(stage.work, TempDir::path), Some(&cache));
        let request = Request {
            action: asked.subject,
            kernel: asked.kernel.clone(),
            arch: asked.arch,
            inputs: asked.inputs.clone(),
            source_date_epoch: asked.epoch,
            attempt,
            cancel: Some(stage.patience.stop.flag()),
            ..Request::new(asked.step, &self.with, &dirs)
        };
        let mut listen = |event| tell(name, event, stage.events, task);
        let acted = match folder {
            None => self.plugin.run_in_worker(&request, stage.work, &mut listen),
            Some(folder) => self.plugin.run_request(&request, &mut listen).map(|result| (result, folder)),
        };
        let (result, folder) = acted.map_err(source_error)?;
        task.acted(name, begin.elapsed(), result.busy());
        Ok(Acted { result, folder })
    }
}

/// Where plugins keep what they may need again.
pub fn cache_in(store: &Path) -> PathBuf {
    store.join("plugins")
}

/// The plugins of a repository, for "did you mean".
pub(crate) fn known(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root.join("plugins")).into_iter().flatten().flatten();
    let plugins = entries.filter(|entry| entry.path().join("plugin.yaml").is_file());
    let mut names: Vec<String> =
        plugins.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What is wrong with a plugin that isn't there, or can't do what is asked.
pub(crate) fn unusable(at: At, uses: &str, root: &Path, error: SourceError, others: &[&str]) -> Problem {
    let problem = Problem::new(at, error.message);
    let problem = error.help.into_iter().fold(problem, Problem::help);
    let known = known(root);
    if known.iter().any(|name| name == uses) {
        return problem;
    }
    problem.did_you_mean(uses, others.iter().copied().chain(known.iter().map(String::as_str)))
}

fn provided(plugin: &Plugin) -> String {
    let words: Vec<&str> = plugin.manifest().provides.iter().map(|what| what.word()).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

/// Whether it was said what holds no plugin on this machine: once is enough.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Shows what a plugin says as if it were a step of ours.
pub(crate) fn tell(name: &str, event: PluginEvent, events: Events<'_>, task: &Task<'_>) {
    match event {
        PluginEvent::Progress { done, total, message, .. } => task.moved(done, total, message),
        PluginEvent::Log { level: Level::Warn | Level::Error, message, .. }
        | PluginEvent::Warning(message) => events.warn(format!("{name}: {message}")),
        PluginEvent::Log { level: Level::Info, message, .. } => events.info(format!("{name}: {message}")),
        PluginEvent::Uncaged(message) => {
            if !TOLD.swap(true, Ordering::Relaxed) {
                events.warn(message);
            }
        }
        PluginEvent::Started(_) | PluginEvent::Log { level: Level::Debug, .. } | PluginEvent::Stderr(_) => {}
    }
}

/// A plugin's error as that of a source or step.
pub(crate) fn source_error(error: PluginError) -> SourceError {
    let class = error.class();
    match error.failure() {
        Some(failure) => SourceError {
            class,
            message: failure.message.clone(),
            help: failure.help.clone(),
            at: failure.at.as_ref().map(|at| at.path.clone()),
        },
        None => SourceError { class, message: error.to_string(), help: None, at: None },
    }
}
