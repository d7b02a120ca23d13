//! Why a plugin has no result.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plugin::{Class, Failure};

use super::Plugin;
use super::outputs::OutputProblem;
use super::watch::Excess;

/// Why a plugin has no result.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// A name that can't be one.
    #[error("\"{0}\" is no name of a plugin: a-z, 0-9 and - make one")]
    Name(String),
    /// Nowhere.
    #[error("no plugin \"{name}\": no {}", looked.join(", no "))]
    NotFound {
        /// Its name.
        name: String,
        /// Where it would have been.
        looked: Vec<String>,
    },
    /// plugin.yaml says something that can't be.
    #[error("{}: {problem}", path.display())]
    Manifest {
        /// plugin.yaml.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The program is not installed.
    #[error(
        "plugin {plugin} needs the program \"{program}\", which is neither in {} nor on PATH; build or install it",
        looked.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" nor in ")
    )]
    Program {
        /// The plugin.
        plugin: String,
        /// The first word of `run`.
        program: String,
        /// Folders that it isn't in.
        looked: Vec<PathBuf>,
    },
    /// A file of the plugin.
    #[error("plugin {plugin}: {}: {error}", path.display())]
    Io {
        /// The plugin.
        plugin: String,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The program, or its folders.
    #[error("plugin {plugin} can't be started: {error}")]
    Start {
        /// The plugin.
        plugin: String,
        /// What the system says.
        error: io::Error,
    },
    /// Nothing came, or something else.
    #[error("plugin {plugin}: {} did not say hello within {} s{tail}", program.display(), within.as_secs_f64())]
    NoHello {
        /// The plugin.
        plugin: String,
        /// Its program.
        program: PathBuf,
        /// How long the host waited.
        within: Duration,
        /// The end of its stderr.
        tail: Tail,
    },
    /// It ended too early.
    #[error("plugin {plugin}: {} {how} before it gave a result{tail}", program.display())]
    Crashed {
        /// The plugin.
        plugin: String,
        /// Its program.
        program: PathBuf,
        /// E.g. `exited with code 3`.
        how: String,
        /// The end of its stderr.
        tail: Tail,
    },
    /// It took too long, and was stopped.
    #[error("plugin {plugin} was stopped, as it took longer than {} s{tail}", within.as_secs_f64())]
    Deadline {
        /// The plugin.
        plugin: String,
        /// How long it may take.
        within: Duration,
        /// The end of its stderr.
        tail: Tail,
    },
    /// It used up more than it may, and was stopped.
    #[error("plugin {plugin} was stopped, as {excess}{tail}")]
    Excess {
        /// The plugin.
        plugin: String,
        /// What it used up.
        excess: Excess,
        /// The end of its stderr.
        tail: Tail,
    },
    /// It changed what it was given to read.
    #[error("plugin {plugin} changed its input {}", path.display())]
    Input {
        /// The plugin.
        plugin: String,
        /// The file.
        path: PathBuf,
    },
    /// It speaks something else.
    #[error("plugin {plugin} {problem}{tail}")]
    Protocol {
        /// The plugin.
        plugin: String,
        /// What it does.
        problem: String,
        /// The end of its stderr.
        tail: Tail,
    },
    /// Its outputs are not what it says.
    #[error("plugin {plugin}: {problem}")]
    Output {
        /// The plugin.
        plugin: String,
        /// What is wrong.
        problem: OutputProblem,
    },
    /// Somebody gave the action up.
    #[error("plugin {plugin} was interrupted")]
    Cancelled {
        /// The plugin.
        plugin: String,
    },
    /// The plugin itself says why.
    #[error("{}{}", .0.message, .0.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default())]
    Failed(Failure),
}

impl PluginError {
    /// Whose turn it is.
    pub fn class(&self) -> Class {
        match self {
            PluginError::Name(_) | PluginError::NotFound { .. } | PluginError::Program { .. } => Class::User,
            PluginError::Manifest { .. }
            | PluginError::Io { .. }
            | PluginError::Start { .. }
            | PluginError::NoHello { .. }
            | PluginError::Crashed { .. }
            | PluginError::Deadline { .. }
            | PluginError::Excess { .. }
            | PluginError::Input { .. }
            | PluginError::Protocol { .. }
            | PluginError::Output { .. }
            | PluginError::Cancelled { .. } => Class::Tool,
            PluginError::Failed(failure) => failure.class,
        }
    }

    /// What the plugin itself says.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            PluginError::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

/// What the system says in several languages' words when something is not allowed.
const REFUSALS: &[&str] =
    &["ermission denied", "peration not permitted", "PermissionError", "EACCES", "EPERM"];

const CAGE: &str = "a plugin reads the system, its own folder and its inputs, writes its work folder, and has no \
                    network; \"capabilities\" in plugin.yaml declares more";

/// The last lines of a plugin's stderr.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail(Vec<String>);

impl Tail {
    const LINES: usize = 20;

    pub(super) fn add(&mut self, line: String) {
        if self.0.len() == Self::LINES {
            self.0.remove(0);
        }
        self.0.push(line);
    }

    /// Whether the system refused something, which the cage may be the reason of.
    fn is_refused(&self) -> bool {
        let said = |line: &String| REFUSALS.iter().any(|words| line.contains(words));
        self.0.iter().any(said)
    }

    /// Oldest first.
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl std::fmt::Display for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        f.write_str("; it last wrote:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
        match self.is_refused() {
            true => write!(f, "\n{CAGE}"),
            false => Ok(()),
        }
    }
}

/// Errors of a plugin carry its name.
impl Plugin {
    pub(super) fn io(&self, path: &Path, error: io::Error) -> PluginError {
        PluginError::Io { plugin: self.name().to_owned(), path: path.to_owned(), error }
    }

    pub(super) fn start(&self, error: io::Error) -> PluginError {
        PluginError::Start { plugin: self.name().to_owned(), error }
    }

    pub(super) fn broken(&self, problem: &str) -> PluginError {
        PluginError::Protocol {
            plugin: self.name().to_owned(),
            problem: problem.to_owned(),
            tail: Tail::default(),
        }
    }

    pub(super) fn output(&self, problem: OutputProblem) -> PluginError {
        PluginError::Output { plugin: self.name().to_owned(), problem }
    }
}
