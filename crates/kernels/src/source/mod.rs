//! The sources of kernels that need no plugin.
//!
//! | file | noun |
//! |--|--|
//! | `btfhub.rs`, `listing.rs`, `archive.rs` | BTFHub archives: over HTTP or a clone; lists of them; what a path in one means |
//! | `files.rs`, `template.rs` | files at hand; what their paths tell |
//! | `host.rs` | the kernel that runs here |
//! | `selection.rs`, `pattern.rs`, `release.rs` | which kernels of a source are taken |
//! | `names.rs` | ids, versions and releases that mean the same |
//!
//! A source says which kernels there are ([`resolve`]), with the sha256 of every file, and brings these files
//! ([`fetch`]).

mod archive;
mod btfhub;
mod files;
mod host;
mod listing;
pub mod names;
mod pattern;
pub mod release;
mod selection;
mod template;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::download::{DownloadError, Downloader, Progress, Watch};
use crate::{Error, Holder, KernelId, LockedPackage, Store};

pub use pattern::Pattern;
pub use selection::{Day, Selected, Selection};

/// The names that pipelines use these sources by.
pub const NAMES: [&str; 3] = ["btfhub", "files", "host"];

/// What sources work with.
pub struct Context<'a> {
    /// Relative paths of configurations start here.
    pub root: &'a Path,
    /// Where files are kept.
    pub store: &'a Store,
    /// Who fetches.
    pub downloader: &'a Downloader,
    /// Files at a time.
    pub threads: usize,
    /// For exclusions that end.
    pub today: Day,
    /// Who hears of it.
    pub say: &'a (dyn Say + Sync),
}

/// Hears how it goes. Called from several threads.
pub trait Say {
    /// So many of so many are done.
    fn moved(&self, _done: u64, _total: u64, _what: &str) {}
    /// What a person should see.
    fn warn(&self, _text: String) {}
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Say for Silent {}

/// Passes on what a download tells.
struct Reporting<'a> {
    say: &'a (dyn Say + Sync),
    /// The file; None where files come many at a time, and only trouble is told.
    file: Option<&'a str>,
}

impl Watch for Reporting<'_> {
    fn moved(&self, progress: Progress) {
        if let (Some(file), Some(total)) = (self.file, progress.total) {
            let left =
                progress.left().map_or_else(String::new, |left| format!(", {} s left", left.as_secs()));
            let rate = progress.rate as f64 / 1e6;
            self.say.moved(progress.done, total, &format!("{rate:.1} MB/s{left}, {file}"));
        }
    }

    fn waiting(&self, holder: Option<&Holder>) {
        let who = holder.map_or("another btfpipe".to_owned(), |holder| {
            format!("process {} ({})", holder.pid, holder.command)
        });
        self.say.warn(format!("waiting for {who}, which fetches the same file"));
    }

    fn retrying(&self, error: &DownloadError) {
        self.say.warn(format!("trying again: {error}"));
    }
}

/// A kernel that a source has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Which one.
    pub id: KernelId,
    /// Its files.
    pub files: Vec<LockedPackage>,
    /// What the source needs to fetch it again.
    pub with: BTreeMap<String, String>,
}

/// Why a source gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(String),
    /// Nothing, or not what it was.
    #[error("{0}")]
    Gone(String),
    /// The server or the network.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The file system.
    #[error(transparent)]
    Store(#[from] Error),
    /// A list that can't be read.
    #[error("{what}: {reason}")]
    List {
        /// The list.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Whether a name is that of a source here.
pub fn is_built_in(name: &str) -> bool {
    NAMES.contains(&name)
}

/// The JSON Schema of a source's configuration; None for names that are not of a source here.
pub fn config_schema(name: &str) -> Option<&'static str> {
    match name {
        "btfhub" => Some(include_str!("schema/btfhub.json")),
        "files" => Some(include_str!("schema/files.json")),
        "host" => Some(include_str!("schema/host.json")),
        _ => None,
    }
}

/// What is wrong with a configuration; None when it is right.
pub fn find_fault(name: &str, with: &Value) -> Option<String> {
    let read = match name {
        "btfhub" => read::<btfhub::Config>(with).map(drop),
        "files" => read::<files::Config>(with).and_then(|config| config.check()),
        "host" => read::<host::Config>(with).map(drop),
        other => Err(SourceError::Config(format!("no source {other}"))),
    };
    read.err().map(|error| error.to_string())
}

/// Which kernels there are, sorted; files that are not local are in the store afterwards.
pub fn resolve(name: &str, with: &Value, context: &Context<'_>) -> Result<Vec<Offer>, SourceError> {
    let mut offers = match name {
        "btfhub" => btfhub::resolve(&read(with)?, context),
        "files" => files::resolve(&read(with)?, context),
        "host" => host::resolve(&read(with)?),
        other => Err(SourceError::Config(format!("no source {other}"))),
    }?;
    offers.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(offers)
}

/// The files of a kernel, in its order.
pub fn fetch(name: &str, offer: &Offer, context: &Context<'_>) -> Result<Vec<PathBuf>, SourceError> {
    match name {
        "btfhub" => btfhub::fetch(offer, context),
        "files" => files::fetch(offer, context.root),
        "host" => host::fetch(offer),
        other => Err(SourceError::Config(format!("no source {other}"))),
    }
}

fn read<T: serde::de::DeserializeOwned>(with: &Value) -> Result<T, SourceError> {
    T::deserialize(with).map_err(|error| SourceError::Config(error.to_string()))
}

/// A field that a locked kernel's source must have.
fn field<'o>(offer: &'o Offer, name: &str) -> Result<&'o str, SourceError> {
    let missing = || SourceError::Config(format!("{}: kernels.lock has no {name:?} for it", offer.id));
    offer.with.get(name).map(String::as_str).ok_or_else(missing)
}

/// The files of a folder and below, relative, sorted; links are not followed, and what starts with a dot is left out.
fn walk(root: &Path) -> Result<Vec<(String, u64)>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let place = root.join(&folder);
        let entries = std::fs::read_dir(&place).map_err(|cause| Error::io("read", &place, cause))?;
        for entry in entries {
            let entry = entry.map_err(|cause| Error::io("read", &place, cause))?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type().map_err(|cause| Error::io("read", &place, cause))?;
            // Names that are not text are nobody's kernel.
            let Some(text) =
                path.to_str().filter(|_| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            else {
                continue;
            };
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let size = entry.metadata().map_err(|cause| Error::io("read", &place, cause))?.len();
                found.push((text.to_owned(), size));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What a schema has and what is read have to be the same.
    #[test]
    fn schemas_name_the_fields() {
        let check = |name: &str, with: Value| {
            let schema: Value = serde_json::from_str(config_schema(name).unwrap()).unwrap();
            let listed: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
            let mut given: Vec<&String> = with.as_object().unwrap().keys().collect();
            given.sort_by_key(|key| listed.iter().position(|other| other == key));
            assert_eq!(given, listed, "{name}");
            assert_eq!(find_fault(name, &with), None);
            for field in listed {
                let mut wrong = with.clone();
                wrong[field] = json!({"odd": 1});
                assert!(find_fault(name, &wrong).is_some(), "{name}: {field}");
            }
        };
        let selection = json!({
            "select": "a/**", "versions": ">=4", "newest": 1,
            "exclude": [{"kernels": "b/**", "reason": "x", "until": "2027-01-31"}],
        });
        let with = |mut fields: Value| {
            fields.as_object_mut().unwrap().extend(selection.as_object().unwrap().clone());
            fields
        };
        check("btfhub", with(json!({"url": "x", "ref": "main", "index": "i", "mirrors": ["m"]})));
        let told = json!({"paths": ["x"], "distro": "a", "version": "1", "arch": "arm64", "release": "6"});
        check("files", with(told));
        check("host", json!({"root": "/", "arch": "arm64", "modules": true}));
        assert!(config_schema("debian").is_none() && find_fault("debian", &json!({})).is_some());
        assert!(NAMES.iter().all(|name| config_schema(name).is_some() && is_built_in(name)));
    }
}
