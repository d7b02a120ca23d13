//! A file to fetch: its mirrors, and what pins it.

use super::part::Part;
use super::problem::{BoxedProblem, DownloadProblem};
use crate::Digest;

/// A file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is, `http://` or `https://`; the first one is asked first, the others when that fails.
    pub urls: Vec<String>,
    /// What says that it is the right one.
    pub pin: Pin,
    /// The largest size in bytes that is taken.
    pub limit: u64,
}

/// What pins a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// Its content.
    Sha256 {
        /// The digest.
        sha256: Digest,
        /// The size in bytes, where it is known.
        size: Option<u64>,
    },
    /// A name that never means other bytes, such as a path in a commit: what was fetched for it once, is kept.
    Name(String),
    /// Nothing: it is asked for every time, such as a list of what there is.
    Nothing,
}

impl Wanted {
    /// What tells the same file from others, across processes.
    pub(super) fn key(&self) -> String {
        match &self.pin {
            Pin::Sha256 { sha256, .. } => format!("download sha256 {sha256}"),
            Pin::Name(name) => format!("download name {name}"),
            Pin::Nothing => format!("download now {}", self.urls.join(" ")),
        }
    }

    /// The size in bytes that it must have.
    pub(super) fn size(&self) -> Option<u64> {
        match self.pin {
            Pin::Sha256 { size, .. } => size,
            Pin::Name(_) | Pin::Nothing => None,
        }
    }

    /// Whether what is there is what was asked for.
    pub(super) fn check(&self, part: &Part) -> Result<(Digest, u64), BoxedProblem> {
        let (found, size) = part.digest()?;
        match self.pin {
            Pin::Sha256 { sha256, .. } if sha256 != found => {
                Err(DownloadProblem::Digest { wanted: sha256, found, size }.into())
            }
            Pin::Sha256 { .. } | Pin::Name(_) | Pin::Nothing => Ok((found, size)),
        }
    }
}

/// The host and port of a URL, which share a server's patience.
pub(super) fn host(url: &str) -> Result<String, BoxedProblem> {
    let wrong = |reason: &str| DownloadProblem::Url(reason.to_owned()).into();
    let parsed = reqwest::Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
    match (parsed.scheme(), parsed.host_str()) {
        ("http" | "https", Some(host)) => {
            Ok(format!("{host}:{}", parsed.port_or_known_default().unwrap_or_default()))
        }
        ("http" | "https", None) => Err(wrong("it names no host")),
        _ => Err(wrong("only http and https are fetched")),
    }
}

/// A URL for messages: without user, password and query, which may be secrets.
pub(super) fn shown(url: &str) -> String {
    let Ok(mut parsed) = reqwest::Url::parse(url) else {
        return url.to_owned();
    };
    // Both fail only for URLs that can't have them.
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    parsed.set_query(None);
    parsed.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let check = |url: &str, wanted: Result<&str, &str>| match (host(url), wanted) {
            (Ok(found), Ok(wanted)) => assert_eq!(found, wanted, "{url}"),
            (Err(problem), Err(wanted)) => assert!(problem.to_string().contains(wanted), "{url}: {problem}"),
            (found, wanted) => panic!("{url}: {found:?}, not {wanted:?}"),
        };
        check("http://a/b", Ok("a:80"));
        check("https://user:secret@a/b", Ok("a:443"));
        check("http://127.0.0.1:8080/", Ok("127.0.0.1:8080"));
        check("http://[::1]:8080/", Ok("[::1]:8080"));
        check("ftp://a/b", Err("only http and https"));
        check("file:///etc/passwd", Err("only http and https"));
        check("/etc/passwd", Err("relative URL"));
        check("", Err("relative URL"));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(shown("https://user:secret@a/b?token=x"), "https://a/b");
        assert_eq!(shown("no url"), "no url");
    }
}
