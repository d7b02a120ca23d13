//! How a command ends: its exit code, and the errors that stop it as a whole.

use std::path::PathBuf;

use plugin::Class;

use crate::file::FileError;
use crate::host::template::TemplateError;
use crate::host::trust::TrustError;
use crate::lock::sources::SourceError;
use crate::yaml::problem::Invalid;

/// An exit code; later ones win over earlier ones when several things went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// All is well.
    Ok,
    /// May work when tried again.
    Transient,
    /// What the machine lacks: QEMU, the guest program.
    Environment,
    /// An action failed, or a check found a difference.
    Failed,
    /// The file or the command line is wrong.
    Usage,
    /// A lock or digest doesn't match.
    Lock,
    /// A bug of ours.
    Bug,
    /// Somebody said stop.
    Interrupted,
}

impl Code {
    /// The number for the shell.
    pub fn number(self) -> u8 {
        match self {
            Code::Ok => 0,
            Code::Failed => 1,
            Code::Usage => 2,
            Code::Lock => 3,
            Code::Environment => 69,
            Code::Bug => 70,
            Code::Transient => 75,
            Code::Interrupted => 130,
        }
    }

    /// What a source's failure means for the command.
    pub fn of_class(class: Class) -> Code {
        match class {
            Class::User => Code::Usage,
            Class::Tool => Code::Failed,
            Class::Transient => Code::Transient,
            Class::Gone => Code::Failed,
        }
    }
}

/// Why a command could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The pipeline file, by what only showed later.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The lock or the store.
    #[error(transparent)]
    Kernels(#[from] kernels::Error),
    /// A request that kernels.lock doesn't answer, where it must.
    #[error(
        "{} doesn't have the kernels for {request} ({place}); run \"btfpipe lock {}\" and commit the file, or run \
         without --locked", lock.display(), file.display()
    )]
    NotLocked {
        /// The lock.
        lock: PathBuf,
        /// The pipeline file.
        file: PathBuf,
        /// `debian {…}`
        request: String,
        /// Where it is asked.
        place: String,
    },
    /// A request that nobody can answer without a network.
    #[error("{} doesn't have the kernels for {request} ({place}), and --offline forbids to ask", lock.display())]
    Offline {
        /// The lock.
        lock: PathBuf,
        /// `debian {…}`
        request: String,
        /// Where it is asked.
        place: String,
    },
    /// A source gave no answer.
    #[error("{place}: {plugin}: {error}")]
    Source {
        /// Where it is asked.
        place: String,
        /// The plugin.
        plugin: String,
        /// What it said.
        error: Box<SourceError>,
    },
    /// A source gave an answer that can't be used.
    #[error("{plugin} answered badly: {error}")]
    BadAnswer {
        /// The plugin.
        plugin: String,
        /// What is wrong.
        error: crate::lock::locking::BadAnswer,
    },
    /// The output folder.
    #[error("{}: {error}", path.display())]
    Output {
        /// Which file or folder.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// SOURCE_DATE_EPOCH.
    #[error("SOURCE_DATE_EPOCH is {0:?}, which is no number of seconds")]
    Epoch(String),
    /// No kernel, because every entry has a `when:` that doesn't hold.
    #[error("{}: no kernel source counts; give --profile, or an entry without `when:`", .0.display())]
    NoSource(PathBuf),
    /// No store where one is to be looked at.
    #[error("there is no store at {}", .0.display())]
    NoStore(PathBuf),
    /// A pattern that no kernel matches.
    #[error("no kernel of the pipeline or of {} matches {pattern}", lock.display())]
    NoKernel {
        /// The pattern.
        pattern: String,
        /// The lock.
        lock: PathBuf,
    },
    /// Somebody said stop.
    #[error("interrupted: {done}; {left} left; run again, it goes on where it was")]
    Interrupted {
        /// What was done.
        done: String,
        /// What remains.
        left: String,
    },
    /// The package can't be written.
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    /// A plugin that nobody trusts.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A plugin that can't be made.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Error {
    /// The exit code.
    pub fn code(&self) -> Code {
        match self {
            Error::File(_)
            | Error::Invalid(_)
            | Error::Epoch(_)
            | Error::NoSource(_)
            | Error::NoStore(_)
            | Error::NoKernel { .. } => Code::Usage,
            Error::Kernels(kernels::Error::Lock { .. }) => Code::Usage,
            Error::NotLocked { .. } => Code::Lock,
            Error::Interrupted { .. } => Code::Interrupted,
            Error::Source { error, .. } => Code::of_class(error.class),
            Error::Kernels(_) | Error::Offline { .. } | Error::BadAnswer { .. } | Error::Output { .. } => {
                Code::Failed
            }
            Error::Bundle(_) => Code::Failed,
            Error::Trust(TrustError::Plugin(error)) => Code::of_class(error.class()),
            Error::Trust(TrustError::Io { .. }) | Error::Template(TemplateError::Io { .. }) => Code::Failed,
            Error::Trust(_) => Code::Lock,
            Error::Template(_) => Code::Usage,
        }
    }
}

/// Why one kernel has no result; the others go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What it means for the command.
    pub code: Code,
    /// What happened, and what to do.
    pub message: String,
}

impl Failure {
    /// A failure of the ordinary kind.
    pub fn new(message: impl std::fmt::Display) -> Failure {
        Failure { code: Code::Failed, message: message.to_string() }
    }

    /// Bytes that are not those that were promised.
    pub fn digest(message: impl std::fmt::Display) -> Failure {
        Failure { code: Code::Lock, message: message.to_string() }
    }
}

impl From<kernels::Error> for Failure {
    fn from(error: kernels::Error) -> Failure {
        Failure::new(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_wins() {
        let worst = |codes: &[Code]| codes.iter().copied().max().unwrap_or(Code::Ok).number();
        assert_eq!(worst(&[Code::Ok, Code::Environment]), 69);
        assert_eq!(worst(&[Code::Failed, Code::Environment]), 1);
        assert_eq!(worst(&[Code::Failed, Code::Lock, Code::Transient]), 3);
        assert_eq!(worst(&[Code::Bug, Code::Lock]), 70);
        assert_eq!(worst(&[]), 0);
    }
}
