//! What can go wrong, and whether to try again.

use std::fmt::Write;
use std::time::Duration;

use super::settings::Settings;
use super::wanted;
use crate::{Digest, Error};

pub(super) type BoxedProblem = Box<DownloadProblem>;

/// A file that could not be fetched.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {problem}{}", others(also))]
pub struct DownloadError {
    /// From where, without secrets.
    pub url: String,
    /// Why.
    pub problem: Box<DownloadProblem>,
    /// What the other mirrors came to.
    pub also: Vec<DownloadError>,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadProblem {
    /// Not a URL that is fetched here.
    #[error("not a URL to fetch from: {0}")]
    Url(String),
    /// No connection may be made.
    #[error("not in the store, and --offline forbids to fetch it")]
    Offline,
    /// TLS or the proxies of the environment can't be set up.
    #[error("no connection is possible: {0}")]
    Client(String),
    /// No answer: name, connection or TLS.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The connection broke in the middle.
    #[error("the connection broke after {done} bytes: {cause}")]
    Broken {
        /// Bytes that were there.
        done: u64,
        /// What the system or the protocol said.
        cause: String,
    },
    /// No byte for too long.
    #[error("no byte for {} s, after {done} bytes", after.as_secs_f32())]
    Stalled {
        /// Bytes that were there.
        done: u64,
        /// How long was waited.
        after: Duration,
    },
    /// Hardly any byte for too long.
    #[error("less than {limit} bytes a second, after {done} bytes")]
    TooSlow {
        /// Bytes that were there.
        done: u64,
        /// What is asked for.
        limit: u64,
    },
    /// A server that has too much to do, or is broken now.
    #[error("the server answers {status}{}", asks(wait))]
    Busy {
        /// The status.
        status: u16,
        /// The server's Retry-After.
        wait: Option<Duration>,
    },
    /// The server does not have it.
    #[error("the server answers {0}: it is not there")]
    Gone(u16),
    /// The server does not give it.
    #[error("the server answers {0}")]
    Status(u16),
    /// Redirects without end, or to where no one should go.
    #[error("redirected {0}")]
    Redirect(String),
    /// Another size than that of the file that is wanted.
    #[error("{found} bytes, where {wanted} were promised; nothing was read")]
    Size {
        /// Bytes promised.
        wanted: u64,
        /// Bytes there, or announced.
        found: u64,
    },
    /// More bytes than are taken.
    #[error("more than {limit} bytes, the limit")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Other bytes than those that are wanted.
    #[error("sha256 {found} ({size} bytes), where {wanted} was promised; nothing was read")]
    Digest {
        /// What was promised.
        wanted: Digest,
        /// What came.
        found: Digest,
        /// Bytes that came.
        size: u64,
    },
    /// An answer that HTTP does not allow.
    #[error("an impossible answer: {0}")]
    Nonsense(String),
    /// The server no longer has the file whose beginning is there.
    #[error("the server no longer has the file whose beginning was fetched")]
    Changed,
    /// The store can't be written.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Whether to make a request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// After this time.
    After(Duration),
    /// It would not help.
    Never,
}

impl DownloadProblem {
    /// Whether to make the request again, after the `in_vain`th that brought nothing.
    pub(super) fn retry(&self, settings: &Settings, in_vain: u32) -> Retry {
        match self {
            DownloadProblem::Busy { wait: Some(wait), .. } if *wait > settings.longest_wait => Retry::Never,
            DownloadProblem::Busy { wait: Some(wait), .. } => Retry::After((*wait).max(settings.backoff)),
            DownloadProblem::Changed => Retry::After(Duration::ZERO),
            DownloadProblem::Busy { wait: None, .. }
            | DownloadProblem::NoAnswer(_)
            | DownloadProblem::Broken { .. }
            | DownloadProblem::Stalled { .. }
            | DownloadProblem::TooSlow { .. }
            | DownloadProblem::Nonsense(_) => Retry::After(settings.wait(in_vain)),
            DownloadProblem::Url(_)
            | DownloadProblem::Offline
            | DownloadProblem::Client(_)
            | DownloadProblem::Gone(_)
            | DownloadProblem::Status(_)
            | DownloadProblem::Redirect(_)
            | DownloadProblem::Size { .. }
            | DownloadProblem::TooLarge { .. }
            | DownloadProblem::Digest { .. }
            | DownloadProblem::Store(_) => Retry::Never,
        }
    }

    /// Whether it may pass by itself, in minutes or hours.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            DownloadProblem::Busy { .. }
                | DownloadProblem::NoAnswer(_)
                | DownloadProblem::Broken { .. }
                | DownloadProblem::Stalled { .. }
                | DownloadProblem::TooSlow { .. }
                | DownloadProblem::Nonsense(_)
                | DownloadProblem::Changed
        )
    }

    /// Whether bytes of an earlier request may be to blame.
    pub(super) fn may_be_stale(&self) -> bool {
        matches!(self, DownloadProblem::Digest { .. } | DownloadProblem::Size { .. })
    }
}

impl DownloadError {
    pub(super) fn new(url: &str, problem: BoxedProblem) -> DownloadError {
        DownloadError { url: wanted::shown(url), problem, also: Vec::new() }
    }

    /// One error of several mirrors': a transient one first, since it leaves hope.
    pub(super) fn of_all(mut errors: Vec<DownloadError>) -> DownloadError {
        if errors.is_empty() {
            return DownloadError::new("", DownloadProblem::Url("no URL is known".to_owned()).into());
        }
        let main = errors.iter().position(|error| error.problem.is_transient()).unwrap_or(0);
        let first = errors.remove(main);
        DownloadError { also: errors, ..first }
    }

    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        self.problem.is_transient()
    }

    /// Whether all mirrors say that they don't have it.
    pub fn is_gone(&self) -> bool {
        matches!(*self.problem, DownloadProblem::Gone(_)) && self.also.iter().all(DownloadError::is_gone)
    }

    /// Whether what came is not what was promised.
    pub fn is_mismatch(&self) -> bool {
        let is = |problem: &DownloadProblem| {
            matches!(problem, DownloadProblem::Digest { .. } | DownloadProblem::Size { .. })
        };
        is(&self.problem) || self.also.iter().any(|error| is(&error.problem))
    }

    /// Whether no mirror can help.
    pub(super) fn is_ours(&self) -> bool {
        matches!(*self.problem, DownloadProblem::Store(_) | DownloadProblem::Client(_))
    }
}

fn asks(wait: &Option<Duration>) -> String {
    wait.map_or_else(String::new, |wait| format!(" and asks to come back in {} s", wait.as_secs()))
}

fn others(also: &[DownloadError]) -> String {
    also.iter().fold(String::new(), |mut text, error| {
        let _ = write!(text, "; {error}");
        text
    })
}

impl From<Error> for BoxedProblem {
    fn from(error: Error) -> BoxedProblem {
        Box::new(error.into())
    }
}
