//! Files from servers into the store: whole, checked, once.
//!
//! | file | noun |
//! |--|--|
//! | `wanted.rs` | a file to fetch: its mirrors, and what pins it |
//! | `settings.rs` | how long, how often, how many at once |
//! | `transfer.rs` | one request, and what its answer may be |
//! | `part.rs` | what is there of a file so far; it outlives the process |
//! | `answer.rs` | the headers of an answer that matter |
//! | `hosts.rs` | how many requests a host gets at once |
//! | `pace.rs` | rate, time left, and when a server is too slow |
//! | `problem.rs` | what can go wrong, and whether to try again |
//!
//! Nothing parses a byte before the digest is right, where one is known. `offline` makes no client, so that no socket
//! can be opened.

mod answer;
mod hosts;
mod pace;
mod part;
mod problem;
mod settings;
mod transfer;
mod wanted;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::{Digest, Holder, Store};

use hosts::Hosts;
pub(crate) use part::Part;
use problem::BoxedProblem;

pub use pace::Progress;
pub use problem::{DownloadError, DownloadProblem, Retry};
pub use settings::Settings;
pub use wanted::{Pin, Wanted};

/// Fetches files into a store, from several threads.
#[derive(Debug)]
pub struct Downloader {
    store: Store,
    settings: Settings,
    hosts: Hosts,
    /// Made by the first request.
    client: OnceLock<Result<reqwest::blocking::Client, String>>,
}

/// A file that is in the store now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its sha256.
    pub sha256: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where it is; never write to it.
    pub path: PathBuf,
    /// Whether it came over the network just now.
    pub fetched: bool,
}

/// Hears how a download goes. Called from the thread that downloads.
pub trait Watch {
    /// More bytes are there.
    fn moved(&self, _: Progress) {}
    /// Another process or thread is at the same file; None when it is not known who.
    fn waiting(&self, _: Option<&Holder>) {}
    /// A request failed, and is made again or to another mirror.
    fn retrying(&self, _: &DownloadError) {}
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {}

impl Downloader {
    /// Opens no connection yet.
    pub fn new(store: &Store, settings: Settings) -> Downloader {
        let hosts = Hosts::new(settings.per_host);
        Downloader { store: store.clone(), settings, hosts, client: OnceLock::new() }
    }

    /// Brings a file into the store, unless it is there.
    ///
    /// One process at a time fetches a file; the others wait for it and take what it brought.
    pub fn fetch(&self, wanted: &Wanted, watch: &dyn Watch) -> Result<Fetched, DownloadError> {
        if let Some(held) = self.held(wanted) {
            return Ok(held);
        }
        let first = wanted.urls.first().map_or("", String::as_str);
        let fail = |problem: DownloadProblem| DownloadError::new(first, problem.into());
        if self.settings.offline {
            return Err(fail(DownloadProblem::Offline));
        }
        let key = wanted.key();
        let _turn = self
            .store
            .lock(&key, &mut |holder| watch.waiting(holder))
            .map_err(|error| fail(DownloadProblem::Store(error)))?;
        if let Some(held) = self.held(wanted) {
            return Ok(held);
        }
        let mut part = Part::open(&self.store.parts(), &key).map_err(fail)?;
        let (sha256, size) = self.ask_mirrors(wanted, &mut part, watch)?;
        let keep = || {
            let path = self.store.adopt(part, &sha256)?;
            if let Pin::Name(_) = wanted.pin {
                self.store.set_link(&key, json!({ "sha256": sha256, "size": size }))?;
            }
            Ok(Fetched { sha256, size, path, fetched: true })
        };
        keep().map_err(|error| fail(DownloadProblem::Store(error)))
    }

    /// Several files, `threads` at a time; `done` gets each with its index, in no particular order.
    pub fn fetch_all(
        &self,
        wanted: &[Wanted],
        threads: usize,
        watch: &(dyn Watch + Sync),
        done: &(dyn Fn(usize, Result<Fetched, DownloadError>) + Sync),
    ) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, wanted.len().max(1)) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(one) = wanted.get(index) else { break };
                        done(index, self.fetch(one, watch));
                    }
                });
            }
        });
    }

    /// What the store has of it, checked.
    fn held(&self, wanted: &Wanted) -> Option<Fetched> {
        let (sha256, size) = match &wanted.pin {
            Pin::Sha256 { sha256, .. } => (*sha256, None),
            Pin::Name(_) => {
                let link: Value = self.store.link(&wanted.key())?;
                let sha256 = link["sha256"].as_str()?.parse().ok()?;
                (sha256, link["size"].as_u64())
            }
            Pin::Nothing => return None,
        };
        let path = self.store.path_of(&sha256)?;
        let size = size.or_else(|| Some(path.metadata().ok()?.len()))?;
        Some(Fetched { sha256, size, path, fetched: false })
    }

    /// Asks one mirror after the other; the error is the last one's, or the one that gives most hope.
    fn ask_mirrors(
        &self,
        wanted: &Wanted,
        part: &mut Part,
        watch: &dyn Watch,
    ) -> Result<(Digest, u64), DownloadError> {
        let mut errors: Vec<DownloadError> = Vec::new();
        for (index, url) in wanted.urls.iter().enumerate() {
            match self.ask_mirror(wanted, url, part, watch) {
                Ok(found) => return Ok(found),
                Err(problem) => {
                    let error = DownloadError::new(url, problem);
                    if error.is_ours() {
                        return Err(error);
                    }
                    if index + 1 < wanted.urls.len() {
                        watch.retrying(&error);
                    }
                    errors.push(error);
                }
            }
        }
        Err(DownloadError::of_all(errors))
    }

    fn ask_mirror(
        &self,
        wanted: &Wanted,
        url: &str,
        part: &mut Part,
        watch: &dyn Watch,
    ) -> Result<(Digest, u64), BoxedProblem> {
        let resumes = part.len() > 0;
        self.insist(wanted, url, part, watch)?;
        match wanted.check(part) {
            // What was there from before may have been another's, or lost in a crash.
            Err(problem) if resumes && problem.may_be_stale() => {
                part.clear()?;
                self.insist(wanted, url, part, watch)?;
                wanted.check(part)
            }
            checked => checked,
        }
        .or_else(|problem| {
            part.clear()?;
            Err(problem)
        })
    }

    /// Repeats a request while that may help: as long as bytes come, and some times more.
    fn insist(
        &self,
        wanted: &Wanted,
        url: &str,
        part: &mut Part,
        watch: &dyn Watch,
    ) -> Result<(), BoxedProblem> {
        let host = wanted::host(url)?;
        let (mut furthest, mut in_vain, mut attempts) = (part.len(), 0, 0);
        loop {
            let tried = self.try_once(&host, wanted, url, part, watch);
            let problem = match tried {
                Ok(()) => return Ok(()),
                Err(problem) => problem,
            };
            attempts += 1;
            in_vain = if part.len() > furthest { 0 } else { in_vain + 1 };
            furthest = furthest.max(part.len());
            match problem.retry(&self.settings, in_vain) {
                Retry::After(wait)
                    if in_vain <= self.settings.retries && attempts < self.settings.attempts =>
                {
                    let error = DownloadError::new(url, problem);
                    watch.retrying(&error);
                    (self.settings.pause)(wait);
                }
                Retry::After(_) | Retry::Never => return Err(problem),
            }
        }
    }

    fn try_once(
        &self,
        host: &str,
        wanted: &Wanted,
        url: &str,
        part: &mut Part,
        watch: &dyn Watch,
    ) -> Result<(), BoxedProblem> {
        let _slot = self.hosts.enter(host);
        let client = self.client.get_or_init(|| transfer::client(&self.settings));
        let client = client.as_ref().map_err(|reason| DownloadProblem::Client(reason.clone()))?;
        transfer::once(client, &self.settings, wanted, url, part, watch)
    }
}
