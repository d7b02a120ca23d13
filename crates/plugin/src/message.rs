//! What goes over the wire, one JSON object a line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The protocol number that this crate speaks. It is independent of btfpipe's version.
pub const PROTOCOL: u32 = 1;

/// The longest line that either side accepts, in bytes without the newline.
pub const MAX_LINE: usize = 1 << 20;

/// The step that asks a source plugin which kernels there are: config is the pipeline's `with:`.
pub const RESOLVE: &str = "resolve";

/// The step that asks a source plugin for a kernel's packages: config is `{"kernel": SourceKernel}`.
pub const FETCH: &str = "fetch";

/// The step that makes a BPF object: the input `source`, and others that it may read; the output is one `object`.
pub const BUILD: &str = "build";

/// The step that makes another BTF of a kernel: the inputs are `btf`, the kernel's own, `minimized`, and each program as
/// `object`; the output is one `btf`.
pub const TRANSFORM: &str = "transform";

/// The step that makes more files of a package: the inputs are `bundle` and `tar`, the same without compression.
pub const PACKAGE: &str = "package";

/// The step that looks at a release: the inputs are all of its files.
pub const VERIFY: &str = "verify";

/// The step that brings a release to its users: the inputs are all of its files; outputs go beside them.
pub const PUBLISH: &str = "publish";

/// From the host to the plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum HostMessage {
    /// First of all: which protocols the host speaks.
    Hello(Hello),
    /// Asks whether a configuration is right, beyond what its JSON Schema can say; answered by `invalid`.
    Validate(Validate),
    /// Asks for one action; answered by `result`.
    Run(Box<Run>),
    /// Asks to give up an action. SIGTERM follows after 2 s.
    Cancel {
        /// The action's id.
        id: u64,
    },
    /// Asks to exit.
    Shutdown,
}

/// From the plugin to the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum PluginMessage {
    /// Answers the host's hello.
    Hello(PluginHello),
    /// How far an action is.
    Progress(Progress),
    /// A line for the step's log.
    Log(Log),
    /// Answers `validate`; without problems the configuration is right.
    Invalid(Invalid),
    /// Answers `run`, and ends the action.
    Result(RunResult),
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the program.
    pub name: String,
    /// Its version, for messages.
    pub version: String,
}

/// The host's hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocols that the host speaks; the plugin picks one.
    pub protocols: Vec<u32>,
    /// The host.
    pub host: Identity,
    /// What the host understands besides `run` and `result`: `progress`, `cancel`, `validate`.
    #[serde(default)]
    pub features: Vec<String>,
}

/// The plugin's hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginHello {
    /// The protocol that the plugin picked.
    pub protocol: u32,
    /// The plugin.
    pub plugin: Identity,
    /// What the plugin does besides `run`: `progress`, `cancel`, `validate`.
    #[serde(default)]
    pub features: Vec<String>,
}

/// A configuration to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validate {
    /// Comes back in `invalid`.
    pub id: u64,
    /// The pipeline's `with:`.
    pub config: Value,
}

/// An action.
///
/// Paths are absolute. None of `action`, `attempt`, `jobs`, `deadline_ms` and the paths is part of the action's key:
/// the outputs must not depend on them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Comes back in `progress`, `log` and `result`.
    pub id: u64,
    /// The action's name for logs.
    #[serde(default)]
    pub action: String,
    /// What to do, e.g. [`RESOLVE`].
    pub step: String,
    /// The step's configuration.
    #[serde(default)]
    pub config: Value,
    /// The kernel that the action is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelRef>,
    /// The architecture that the action is for: `x86_64` or `arm64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Files to read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// A fresh folder, and the process's current folder.
    pub workdir: PathBuf,
    /// Where outputs go; anything there that the result doesn't declare is an error.
    pub outdir: PathBuf,
    /// A folder for what nobody needs afterwards.
    pub tmpdir: PathBuf,
    /// A folder of this plugin that later actions see again, shared with other processes; may be lost at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cachedir: Option<PathBuf>,
    /// Seconds since 1970 that outputs use instead of the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_date_epoch: Option<u64>,
    /// How many threads or processes to use.
    #[serde(default = "one")]
    pub jobs: usize,
    /// Milliseconds until the host gives the action up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// 1 at first, then one more for each retry.
    #[serde(default = "one_u32")]
    pub attempt: u32,
}

fn one() -> usize {
    1
}

fn one_u32() -> u32 {
    1
}

/// A kernel by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelRef {
    /// `distro/version/arch/release`.
    pub id: String,
    /// `x86_64` or `arm64`.
    pub arch: String,
}

/// A file that an action reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// What it is to the step, e.g. `btf`.
    pub name: String,
    /// Absolute, or relative to the work folder.
    pub path: PathBuf,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

/// How far an action is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The action's id.
    pub id: u64,
    /// In `unit`s.
    pub done: u64,
    /// In `unit`s; absent where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// E.g. `bytes`, `suites`.
    #[serde(default)]
    pub unit: String,
    /// What is being done.
    #[serde(default)]
    pub message: String,
}

/// How serious a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For the log file only.
    Debug,
    /// Good to know.
    Info,
    /// Somebody should look at it.
    Warn,
    /// Something failed; the result says what follows from it.
    Error,
}

/// A line for the step's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// The action's id.
    pub id: u64,
    /// How serious it is.
    pub level: Level,
    /// One line.
    pub message: String,
    /// The same for machines.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invalid {
    /// The `validate`'s id.
    pub id: u64,
    /// Empty if nothing is wrong.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// JSON pointer into the configuration, e.g. `/suites/2`; empty for the whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// The action's id.
    pub id: u64,
    /// Good or bad.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Good or bad.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Outcome {
    /// The action was done.
    Ok(Success),
    /// The action was not done.
    Error(Failure),
}

/// What an action made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Success {
    /// All files in the output folder, no more and no less.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
    /// The answer to [`BUILD`]: every file that the object depends on; all inputs if it isn't said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<Vec<PathBuf>>,
    /// The answer to [`RESOLVE`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<SourceKernel>,
    /// Numbers for reports.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metrics: Map<String, Value>,
}

/// A file that an action made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// What it is to the step, e.g. `btf`.
    pub name: String,
    /// In the output folder; absolute, or relative to the work folder.
    pub path: PathBuf,
}

/// Whose turn it is after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The configuration or the input is wrong.
    User,
    /// The plugin or a program that it uses failed.
    Tool,
    /// May work when tried again: network, a busy machine.
    Transient,
    /// What was locked is no longer to be had; resolve again.
    Gone,
}

/// Why an action was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose turn it is.
    pub class: Class,
    /// The problem, once, lowercase.
    pub message: String,
    /// What a person can do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Which part of the configuration it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<At>,
}

/// A place in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// JSON pointer.
    pub path: String,
}

impl Failure {
    /// A failure of class `class`.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Failure { class, message: message.into(), help: None, at: None }
    }

    /// The configuration or the input is wrong.
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(Class::User, message)
    }

    /// The plugin or a program that it uses failed.
    pub fn tool(message: impl Into<String>) -> Self {
        Self::new(Class::Tool, message)
    }

    /// May work when tried again.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(Class::Transient, message)
    }

    /// What was locked is no longer to be had.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(Class::Gone, message)
    }

    /// Adds what a person can do next.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the place in the configuration, a JSON pointer.
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.at = Some(At { path: path.into() });
        self
    }
}

/// A kernel that a source has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceKernel {
    /// `distro/version/arch/release`, e.g. `debian/12/x86_64/6.1.0-50-cloud-amd64`.
    pub id: String,
    /// The packages that hold its image, configuration and modules.
    pub packages: Vec<SourcePackage>,
    /// What the plugin needs to fetch it again, e.g. the suite.
    #[serde(default)]
    pub with: BTreeMap<String, String>,
}

/// A package of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePackage {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture in the distribution's word, e.g. `amd64`.
    pub arch: String,
    /// The name of its file.
    pub file: String,
    /// 64 hex digits.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}
