//! Runs plugins: programs in any language that speak `btfpipe-plugin/1` over stdin and stdout.
//!
//! A plugin gets a process of its own for each action, an environment of a few variables, folders, a deadline, and a
//! cage: it reads the system, its own folder and what plugin.yaml declares, writes its work folder, and has no network
//! unless declared. What it writes is believed only as far as it is seen: the host lists, checks and hashes the outputs
//! itself.

mod confinement;
pub mod conform;
mod digest;
mod error;
mod inputs;
pub mod kit;
mod outputs;
mod process;
mod search;
mod session;
pub mod template;
#[cfg(test)]
mod tests;
pub mod trust;
mod watch;
mod worker;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ::cage::Level;
use kernels::Digest;
use plugin::{
    Failure, HostMessage, Identity, Input, KernelRef, Manifest, Outcome, Problem, Provides, Run,
    SourceKernel, Validate,
};
use serde_json::{Map, Value};

pub use error::PluginError;
pub(crate) use inputs::input;
pub use outputs::OutputFile;
pub(crate) use search::is_name;

use confinement::Bounds;
use search::Search;
use session::{Answer, Session, printable};

/// Where plugins are found.
pub struct Host;

impl Host {
    /// Looks for a plugin in `REPO_ROOT/plugins/NAME`, then in the folders of `$BTFPIPE_PLUGIN_PATH` and in
    /// `../share/btfpipe/plugins` beside the running program, then for a program `btfpipe-plugin-NAME` beside the running program and on `PATH`. Starts nothing.
    pub fn find(name: &str, repo_root: &Path) -> Result<Plugin, PluginError> {
        Search::of_this_process(repo_root).find(name)
    }

    /// The plugin in a folder, whose name is the plugin's.
    pub fn open(folder: &Path) -> Result<Plugin, PluginError> {
        Search::of_this_process(folder).open(folder)
    }

    /// All plugins that [`Host::find`] would find, by name.
    pub fn all(repo_root: &Path) -> Vec<Found> {
        Search::of_this_process(repo_root).all()
    }
}

/// A plugin that is there.
#[derive(Debug)]
pub struct Found {
    /// The name that pipelines would use.
    pub name: String,
    /// Its plugin.yaml, or its program where there is none.
    pub place: PathBuf,
    /// The plugin, or why it can't be used.
    pub plugin: Result<Plugin, PluginError>,
}

/// Plugins as lines for people.
pub fn table(found: &[Found]) -> String {
    let line = |Found { name, place, plugin }: &Found| match plugin {
        Ok(plugin) => {
            format!("{name:<16} {:<9} {:<28} {}\n", plugin.manifest.version, needs(plugin), place.display())
        }
        Err(error) => format!("{name:<16} can't be used: {error}\n"),
    };
    found.iter().map(line).collect()
}

/// What a plugin provides, and what it needs beyond what each may.
fn needs(plugin: &Plugin) -> String {
    let Manifest { provides, capabilities, .. } = &plugin.manifest;
    let provides = provides.iter().map(|what| format!("{what:?}").to_lowercase());
    let network = capabilities.network.then(|| "+network".to_owned());
    let cache = confinement::keeps_cache(plugin).then(|| "+cache".to_owned());
    let read = (!capabilities.read.is_empty()).then(|| "+read".to_owned());
    provides.chain(network).chain(cache).chain(read).collect::<Vec<_>>().join(" ")
}

/// A plugin that can be run, by several threads at once.
#[derive(Clone, Debug)]
pub struct Plugin {
    manifest: Manifest,
    /// Bytes of plugin.yaml; empty if there is none.
    manifest_bytes: Vec<u8>,
    /// Where plugin.yaml is.
    folder: Option<PathBuf>,
    program: PathBuf,
    arguments: Vec<String>,
    timeout: Duration,
    limits: Limits,
    bounds: Bounds,
    /// What the machine's kernel has to hold it.
    level: Level,
}

/// How long the host waits for what.
#[derive(Clone, Copy, Debug)]
struct Limits {
    hello: Duration,
    validate: Duration,
    /// From `cancel` to SIGTERM.
    terminate: Duration,
    /// From `cancel` to SIGKILL.
    kill: Duration,
    /// From `shutdown` to `cancel`'s measures.
    exit: Duration,
}

const LIMITS: Limits = Limits {
    // An interpreter takes its time on a machine that compiles on all of its processors.
    hello: Duration::from_secs(15),
    validate: Duration::from_secs(30),
    terminate: Duration::from_secs(2),
    kill: Duration::from_secs(10),
    exit: Duration::from_secs(2),
};

/// The deadline of an action if the manifest has no `timeout`.
const TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// The folders of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// Fresh; the plugin's current folder.
    pub workdir: PathBuf,
    /// Empty; what the plugin makes goes there.
    pub outdir: PathBuf,
    /// For what nobody needs afterwards.
    pub tmpdir: PathBuf,
    /// This plugin's own; seen again by later actions, and by others at the same time.
    pub cachedir: Option<PathBuf>,
}

impl Dirs {
    /// `FOLDER`, `FOLDER/out` and `FOLDER/tmp`.
    pub fn below(folder: &Path, cachedir: Option<&Path>) -> Dirs {
        Dirs {
            workdir: folder.to_owned(),
            outdir: folder.join("out"),
            tmpdir: folder.join("tmp"),
            cachedir: cachedir.map(Path::to_owned),
        }
    }

    /// Makes the folders, and their paths absolute and free of links.
    fn make(&self) -> io::Result<Dirs> {
        let make = |path: &PathBuf| {
            std::fs::create_dir_all(path)
                .and_then(|()| path.canonicalize())
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        };
        Ok(Dirs {
            workdir: make(&self.workdir)?,
            outdir: make(&self.outdir)?,
            tmpdir: make(&self.tmpdir)?,
            cachedir: self.cachedir.as_ref().map(make).transpose()?,
        })
    }
}

/// What an action is to do.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The step, e.g. [`plugin::RESOLVE`].
    pub step: &'a str,
    /// Its configuration.
    pub config: &'a Value,
    /// Its folders.
    pub dirs: &'a Dirs,
    /// A name for the plugin's own log.
    pub action: &'a str,
    /// The kernel that it is about.
    pub kernel: Option<KernelRef>,
    /// The architecture that it is for.
    pub arch: Option<&'a str>,
    /// Files to read.
    pub inputs: Vec<Input>,
    /// How many threads or processes to use.
    pub jobs: usize,
    /// 1 at first.
    pub attempt: u32,
    /// What outputs use instead of the clock.
    pub source_date_epoch: Option<u64>,
    /// Set by somebody else to give the action up.
    pub cancel: Option<&'a AtomicBool>,
}

impl<'a> Request<'a> {
    /// A request with one job, at the first attempt.
    pub fn new(step: &'a str, config: &'a Value, dirs: &'a Dirs) -> Self {
        Request {
            step,
            config,
            dirs,
            action: "",
            kernel: None,
            arch: None,
            inputs: Vec::new(),
            jobs: 1,
            attempt: 1,
            source_date_epoch: None,
            cancel: None,
        }
    }

    fn message(&self, dirs: &Dirs, plugin: &Plugin, id: u64) -> HostMessage {
        HostMessage::Run(Box::new(Run {
            id,
            action: self.action.to_owned(),
            step: self.step.to_owned(),
            config: self.config.clone(),
            kernel: self.kernel.clone(),
            arch: self.arch.map(str::to_owned),
            inputs: self.inputs.clone(),
            workdir: dirs.workdir.clone(),
            outdir: dirs.outdir.clone(),
            tmpdir: dirs.tmpdir.clone(),
            cachedir: dirs.cachedir.clone().filter(|_| confinement::keeps_cache(plugin)),
            source_date_epoch: self.source_date_epoch,
            jobs: self.jobs,
            deadline_ms: Some(u64::try_from(plugin.timeout.as_millis()).unwrap_or(u64::MAX)),
            attempt: self.attempt,
        }))
    }
}

/// The only request of a process, or its first.
const ID: u64 = 1;

/// What happens while a plugin runs. Texts are one line without control characters.
#[derive(Clone, Debug, PartialEq)]
pub enum PluginEvent {
    /// It said hello.
    Started(Identity),
    /// How far it is.
    Progress {
        /// In `unit`s.
        done: u64,
        /// In `unit`s.
        total: Option<u64>,
        /// E.g. `bytes`.
        unit: String,
        /// What it is doing.
        message: String,
    },
    /// A line for the log.
    Log {
        /// How serious it is.
        level: plugin::Level,
        /// The line.
        message: String,
        /// The same for machines.
        fields: Map<String, Value>,
    },
    /// The plugin breaks the protocol in a way that the host can live with.
    Warning(String),
    /// A line of its stderr.
    Stderr(String),
    /// What plugins can do on this machine in spite of their cage.
    Uncaged(String),
}

/// What an action made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginResult {
    /// The files of the output folder, in the plugin's order.
    pub outputs: Vec<OutputFile>,
    /// The answer of a source to [`plugin::RESOLVE`].
    pub kernels: Vec<SourceKernel>,
    /// What a builder says that its object depends on; absolute.
    pub reads: Option<Vec<PathBuf>>,
    /// Numbers for reports.
    pub metrics: Map<String, Value>,
}

impl PluginResult {
    /// How long the plugin itself worked, by its own word.
    pub fn busy(&self) -> Option<Duration> {
        self.metrics.get("busy_us")?.as_u64().map(Duration::from_micros)
    }
}

/// A failure as a terminal can show it.
fn printable_failure(failure: Failure) -> Failure {
    Failure { message: printable(&failure.message), help: failure.help.as_deref().map(printable), ..failure }
}

impl Plugin {
    /// The name that pipelines use.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// plugin.yaml; for a program without one, little more than the name.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The program that is started.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Whether the plugin says that it can do `what`. One without plugin.yaml says nothing, and may try.
    pub fn provides(&self, what: Provides) -> bool {
        self.folder.is_none() || self.manifest.provides.contains(&what)
    }

    /// The JSON Schema of its configuration.
    pub fn schema(&self) -> Result<Option<Value>, PluginError> {
        let (Some(folder), Some(name)) = (&self.folder, &self.manifest.config_schema) else {
            return Ok(None);
        };
        let path = folder.join(name);
        let read = std::fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        read.map(Some).map_err(|error| self.io(&path, error))
    }

    /// The digest of all that decides what the plugin does: plugin.yaml, schema, runtime files and program. Part of
    /// the key of every action that it does.
    pub fn digest(&self) -> Result<Digest, PluginError> {
        digest::of(self)
    }

    /// The digest of the programs that it says it starts, as this machine has them: part of the key as well.
    pub fn tools_digest(&self) -> Result<Digest, PluginError> {
        digest::of_tools(self)
    }

    /// The digests of all files of its folder, and of its program: what `plugins.lock` has of it.
    pub fn trust_digests(&self) -> Result<(Digest, Digest), PluginError> {
        digest::of_all(self)
    }

    /// Runs one action and waits for its end.
    ///
    /// The calling thread must live until then, as the plugin is killed with it.
    pub fn run(
        &self,
        step: &str,
        config: &Value,
        dirs: &Dirs,
        events: &mut dyn FnMut(PluginEvent),
    ) -> Result<PluginResult, PluginError> {
        self.run_request(&Request::new(step, config, dirs), events)
    }

    /// As [`Plugin::run`], with all that a request can have.
    pub fn run_request(
        &self,
        request: &Request<'_>,
        events: &mut dyn FnMut(PluginEvent),
    ) -> Result<PluginResult, PluginError> {
        let dirs = request.dirs.make().map_err(|error| self.start(error))?;
        let cage = confinement::cage(self, &dirs, request.config, &request.inputs);
        let mut session = Session::start(self, &dirs, &cage, request.cancel, events)?;
        session.hello()?;
        let answer = session.ask(&request.message(&dirs, self, ID), ID, self.timeout)?;
        self.result(answer, &dirs, &request.inputs)
    }

    /// What the host itself sees of an answer.
    fn result(&self, answer: Answer, dirs: &Dirs, inputs: &[Input]) -> Result<PluginResult, PluginError> {
        if let Some(path) = inputs::find_changed(dirs, inputs) {
            return Err(PluginError::Input { plugin: self.name().to_owned(), path });
        }
        match answer {
            Answer::Result(Outcome::Error(failure)) => Err(PluginError::Failed(printable_failure(failure))),
            Answer::Result(Outcome::Ok(success)) => Ok(PluginResult {
                outputs: outputs::check(dirs, &success.outputs).map_err(|problem| self.output(problem))?,
                kernels: success.kernels,
                reads: success.reads.map(|paths| paths.iter().map(|path| dirs.workdir.join(path)).collect()),
                metrics: success.metrics,
            }),
            Answer::Invalid(_) => Err(self.broken("answers run with \"invalid\"")),
        }
    }

    /// Asks what is wrong with a configuration. A plugin that can't say finds nothing wrong.
    pub fn validate(
        &self,
        config: &Value,
        events: &mut dyn FnMut(PluginEvent),
    ) -> Result<Vec<Problem>, PluginError> {
        let folder = tempfile::tempdir().map_err(|error| self.start(error))?;
        let dirs = Dirs::below(folder.path(), None).make().map_err(|error| self.start(error))?;
        let cage = confinement::cage(self, &dirs, config, &[]);
        let mut session = Session::start(self, &dirs, &cage, None, events)?;
        let hello = session.hello()?;
        if !hello.features.iter().any(|feature| feature == "validate") {
            session.leave();
            return Ok(Vec::new());
        }
        let message = HostMessage::Validate(Validate { id: ID, config: config.clone() });
        match session.ask(&message, ID, self.limits.validate)? {
            Answer::Invalid(problems) => Ok(problems),
            Answer::Result(_) => Err(self.broken("answers validate with \"result\"")),
        }
    }
}
