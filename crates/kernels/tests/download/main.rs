//! Downloads from servers that fail in every way, and from nginx.

mod faults;
mod killed;
mod nginx;
mod once;
mod server;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use kernels::download::{DownloadError, Downloader, Fetched, Pin, Progress, Settings, Wanted, Watch};
use kernels::{Digest, Store};

/// Short enough to fail in a test, long enough for a machine with much to do.
fn settings() -> Settings {
    Settings {
        stall: Duration::from_millis(700),
        connect: Duration::from_secs(5),
        slow: 0,
        retries: 2,
        backoff: Duration::ZERO,
        longest_wait: Duration::from_secs(60),
        redirects: 3,
        pause: |_| {},
        ..Settings::default()
    }
}

fn of(content: &[u8], urls: Vec<String>) -> Wanted {
    let pin = Pin::Sha256 { sha256: Digest::of(content), size: Some(content.len() as u64) };
    Wanted { urls, pin, limit: 1 << 20 }
}

/// A store in a folder, and nothing beside it.
struct Place {
    folder: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        Place { folder, store }
    }

    fn fetch(&self, settings: Settings, wanted: &Wanted) -> Result<Fetched, DownloadError> {
        Downloader::new(&self.store, settings).fetch(wanted, &Heard::default())
    }

    /// Nothing but the store is in the folder, nothing in the store is broken, and no blob but `wanted` is there.
    fn is_clean(&self, wanted: &[&[u8]]) {
        let names: Vec<_> =
            std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["store"], "something lies outside of the store");
        assert_eq!(self.store.verify().unwrap(), []);
        let stats = self.store.stats().unwrap();
        assert_eq!(stats.blobs, wanted.len() as u64, "blobs");
        for content in wanted {
            assert!(self.store.get(&Digest::of(content)).unwrap().is_some_and(|found| found == *content));
        }
    }
}

/// Remembers what it hears.
#[derive(Default)]
struct Heard {
    moved: Mutex<Vec<Progress>>,
    retried: Mutex<Vec<String>>,
}

impl Watch for Heard {
    fn moved(&self, progress: Progress) {
        self.moved.lock().unwrap().push(progress);
    }

    fn retrying(&self, error: &DownloadError) {
        self.retried.lock().unwrap().push(error.to_string());
    }
}

fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .map(|folder| folder.join(name))
        .find(|path| Path::is_file(path))
}
