//! BTFHub archives: over HTTP, or a clone at hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::listing::{self, Listed, ListedPin};
use super::selection::{Exclusion, Selection, one_or_more};
use super::{Context, Offer, Pattern, Reporting, SourceError, archive, field, release, walk};
use crate::download::{DownloadError, Pin, Wanted};
use crate::{Digest, Error, KernelId, LockedPackage, input};

/// Archives have up to 8 MB; this is the size that one would have who wants to fill a disk.
const MAX_ARCHIVE: u64 = 64 << 20;
const MAX_LIST: u64 = 256 << 20;
/// A BTF in xz has hundreds of kilobytes; smaller archives are looked into, since empty ones have been published.
const SUSPICIOUS: u64 = 4096;

/// What a pipeline says.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// A repository on GitHub, the URL of a folder of files, or a folder here.
    url: String,
    /// Branch, tag or commit of a repository.
    #[serde(default = "main_branch", rename = "ref")]
    reference: String,
    /// Where the list is: a URL, or a path from `url`.
    index: Option<String>,
    /// Other places with the same files.
    #[serde(default, deserialize_with = "one_or_more")]
    mirrors: Vec<String>,
    #[serde(default, deserialize_with = "one_or_more")]
    select: Vec<Pattern>,
    versions: Option<release::Range>,
    newest: Option<usize>,
    #[serde(default)]
    exclude: Vec<Exclusion>,
}

fn main_branch() -> String {
    "main".to_owned()
}

/// Where an archive is.
enum Place {
    Folder(PathBuf),
    Server { files: String, list: String },
}

/// Which kernels an archive has; what comes over the network is in the store then.
pub(super) fn resolve(config: &Config, context: &Context<'_>) -> Result<Vec<Offer>, SourceError> {
    let place = config.place(context.root);
    let listed = config.list(&place, context)?;
    let mut kernels: BTreeMap<KernelId, Listed> = BTreeMap::new();
    for file in listed {
        let Some(id) = archive::find_kernel(&file.path) else { continue };
        if file.size == Some(0) {
            context.say.warn(format!("{}: {} is empty and left out", config.url, file.path));
            continue;
        }
        // Folders of codenames that are copies and no links: the first one by name counts.
        kernels.entry(id).or_insert(file);
    }
    let selected = config.selection().apply(kernels.keys().cloned(), context.today);
    selected.notes.into_iter().for_each(|note| context.say.warn(note));
    let wanted: Vec<(KernelId, Listed)> =
        selected.kernels.into_iter().filter_map(|id| kernels.remove_entry(&id)).collect();
    if wanted.is_empty() {
        let total = kernels.len();
        return Err(SourceError::Config(format!("{}: none of its {total} kernels is selected", config.url)));
    }
    match &place {
        Place::Folder(folder) => config.offers_of_folder(folder, wanted, context),
        Place::Server { files, .. } => config.offers_of_server(files, wanted, context),
    }
}

/// The archive of a locked kernel.
pub(super) fn fetch(offer: &Offer, context: &Context<'_>) -> Result<Vec<PathBuf>, SourceError> {
    let path = field(offer, "path")?;
    if let Some(folder) = offer.with.get("folder") {
        let file = context.root.join(folder).join(path);
        return match file.is_file() {
            true => Ok(vec![file]),
            false => Err(SourceError::Gone(format!("{} is no longer there", file.display()))),
        };
    }
    let package = offer.files.first().ok_or_else(|| SourceError::Config(format!("{}: no file", offer.id)))?;
    let mirrors = offer.with.get("mirrors").map_or("", String::as_str);
    let bases = std::iter::once(field(offer, "url")?).chain(mirrors.split_whitespace());
    let wanted = Wanted {
        urls: bases.map(|base| join(base, path)).collect(),
        pin: Pin::Sha256 { sha256: package.sha256, size: Some(package.size) },
        limit: MAX_ARCHIVE,
    };
    match context.downloader.fetch(&wanted, &Reporting { say: context.say, file: Some(path) }) {
        Ok(fetched) => Ok(vec![fetched.path]),
        Err(error) if error.is_gone() => Err(SourceError::Gone(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

impl Config {
    fn selection(&self) -> Selection {
        Selection {
            select: self.select.clone(),
            versions: self.versions.clone(),
            newest: self.newest,
            exclude: self.exclude.clone(),
        }
    }

    fn place(&self, root: &Path) -> Place {
        if !self.url.contains("://") {
            return Place::Folder(root.join(&self.url));
        }
        let (files, list) = match self.url.strip_prefix("https://github.com/") {
            Some(repository) => {
                let name = repository.trim_end_matches('/').trim_end_matches(".git");
                let reference = &self.reference;
                (
                    format!("https://raw.githubusercontent.com/{name}/{reference}"),
                    format!("https://api.github.com/repos/{name}/git/trees/{reference}?recursive=1"),
                )
            }
            None => (self.url.clone(), join(&self.url, "index.txt")),
        };
        let list = match &self.index {
            Some(index) if index.contains("://") => index.clone(),
            Some(index) => join(&files, index),
            None => list,
        };
        Place::Server { files, list }
    }

    fn list(&self, place: &Place, context: &Context<'_>) -> Result<Vec<Listed>, SourceError> {
        let (text, what) = match (place, &self.index) {
            (Place::Folder(folder), None) => {
                let files = walk(folder)?.into_iter();
                return Ok(files.map(|(path, size)| Listed { path, size: Some(size), pin: None }).collect());
            }
            (Place::Folder(folder), Some(index)) => {
                let path = folder.join(index);
                let text = std::fs::read_to_string(&path).map_err(|cause| Error::io("read", &path, cause))?;
                (text, path.display().to_string())
            }
            (Place::Server { list, .. }, _) => {
                let wanted = Wanted { urls: vec![list.clone()], pin: Pin::Nothing, limit: MAX_LIST };
                let fetched =
                    context.downloader.fetch(&wanted, &Reporting { say: context.say, file: Some(list) })?;
                let bytes = std::fs::read(&fetched.path);
                let bytes = bytes.map_err(|cause| Error::io("read", &fetched.path, cause))?;
                (String::from_utf8_lossy(&bytes).into_owned(), list.clone())
            }
        };
        listing::parse(&text).map_err(|reason| SourceError::List { what, reason })
    }

    fn offers_of_folder(
        &self,
        folder: &Path,
        wanted: Vec<(KernelId, Listed)>,
        context: &Context<'_>,
    ) -> Result<Vec<Offer>, SourceError> {
        let mut offers = Vec::new();
        for (id, file) in wanted {
            let path = folder.join(&file.path);
            let (sha256, size) = Digest::of_file(&path)?;
            let with = BTreeMap::from([
                ("folder".to_owned(), self.url.clone()),
                ("path".to_owned(), file.path.clone()),
            ]);
            if self.is_sound(&path, size, &file, sha256, context) {
                offers.push(self.offer(id, &file, sha256, size, with));
            }
        }
        Ok(offers)
    }

    /// Fetches all; one that is missing or broken costs the others nothing, and is told.
    fn offers_of_server(
        &self,
        base: &str,
        wanted: Vec<(KernelId, Listed)>,
        context: &Context<'_>,
    ) -> Result<Vec<Offer>, SourceError> {
        let files: Vec<Wanted> = wanted.iter().map(|(_, file)| self.wanted(base, file)).collect();
        let (offers, worst): (Mutex<Vec<Offer>>, Mutex<Option<DownloadError>>) = Default::default();
        let (done, total) = (AtomicU64::new(0), files.len() as u64);
        let watch = Reporting { say: context.say, file: None };
        context.downloader.fetch_all(&files, context.threads, &watch, &|index, fetched| {
            let (id, file) = &wanted[index];
            context.say.moved(done.fetch_add(1, Ordering::Relaxed) + 1, total, &file.path);
            match fetched {
                Ok(fetched) => {
                    if self.is_sound(&fetched.path, fetched.size, file, fetched.sha256, context) {
                        let offer =
                            self.offer(id.clone(), file, fetched.sha256, fetched.size, self.with(base, file));
                        guard(&offers).push(offer);
                    }
                }
                Err(error) if error.is_transient() || !error.is_gone() => *guard(&worst) = Some(error),
                Err(error) => context.say.warn(format!("listed, but not there, and left out: {error}")),
            }
        });
        // A list without what could not be fetched now would be taken for the whole.
        match guard(&worst).take() {
            Some(error) => Err(error.into()),
            None => Ok(std::mem::take(&mut guard(&offers))),
        }
    }

    fn wanted(&self, base: &str, file: &Listed) -> Wanted {
        let bases = std::iter::once(base).chain(self.mirrors.iter().map(String::as_str));
        let pin = match &file.pin {
            Some(ListedPin::Sha256(sha256)) => Pin::Sha256 { sha256: *sha256, size: file.size },
            Some(ListedPin::GitBlob(id)) => Pin::Name(format!("git blob {id}")),
            None => Pin::Nothing,
        };
        Wanted { urls: bases.map(|base| join(base, &file.path)).collect(), pin, limit: MAX_ARCHIVE }
    }

    fn with(&self, base: &str, file: &Listed) -> BTreeMap<String, String> {
        let mut with =
            BTreeMap::from([("url".to_owned(), base.to_owned()), ("path".to_owned(), file.path.clone())]);
        if !self.mirrors.is_empty() {
            with.insert("mirrors".to_owned(), self.mirrors.join(" "));
        }
        with
    }

    /// Whether a small archive holds anything at all; the larger ones are read when they are needed.
    fn is_sound(&self, path: &Path, size: u64, file: &Listed, found: Digest, context: &Context<'_>) -> bool {
        let promised = match &file.pin {
            Some(ListedPin::Sha256(sha256)) => Some(*sha256),
            _ => None,
        };
        let reason = match promised {
            Some(promised) if promised != found => format!("sha256 {found}, where {promised} is listed"),
            _ if size >= SUSPICIOUS => return true,
            _ => match input::read(path) {
                Ok(_) => return true,
                Err(error) => error.problem.to_string(),
            },
        };
        context.say.warn(format!("{}: {} is left out: {reason}", self.url, file.path));
        false
    }

    fn offer(
        &self,
        id: KernelId,
        file: &Listed,
        sha256: Digest,
        size: u64,
        with: BTreeMap<String, String>,
    ) -> Offer {
        let name = file.path.rsplit('/').next().unwrap_or(&file.path);
        let version = if self.url.starts_with("https://github.com/") { &self.reference } else { "" };
        let package = LockedPackage {
            name: id.release().to_owned(),
            version: version.to_owned(),
            arch: id.arch().to_string(),
            file: name.to_owned(),
            sha256,
            size,
        };
        Offer { id, files: vec![package], with }
    }
}

/// A base and a path, whose odd characters are encoded.
fn join(base: &str, path: &str) -> String {
    let plain = format!("{}/{path}", base.trim_end_matches('/'));
    let Ok(mut url) = reqwest::Url::parse(base) else { return plain };
    match url.path_segments_mut() {
        Ok(mut segments) => {
            segments.pop_if_empty().extend(path.split('/'));
        }
        Err(()) => return plain,
    }
    url.to_string()
}

fn guard<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places() {
        let check = |with: serde_json::Value, wanted: &[&str]| {
            let config: Config = serde_json::from_value(with).unwrap();
            let found = match config.place(Path::new("/project")) {
                Place::Folder(folder) => vec![folder.display().to_string()],
                Place::Server { files, list } => vec![files, list],
            };
            assert_eq!(found, wanted);
        };
        check(
            json!({"url": "https://github.com/aquasecurity/btfhub-archive"}),
            &[
                "https://raw.githubusercontent.com/aquasecurity/btfhub-archive/main",
                "https://api.github.com/repos/aquasecurity/btfhub-archive/git/trees/main?recursive=1",
            ],
        );
        check(
            json!({"url": "https://github.com/o/r.git", "ref": "v1", "index": "SHA256SUMS"}),
            &[
                "https://raw.githubusercontent.com/o/r/v1",
                "https://raw.githubusercontent.com/o/r/v1/SHA256SUMS",
            ],
        );
        check(json!({"url": "http://m/btf/"}), &["http://m/btf/", "http://m/btf/index.txt"]);
        check(json!({"url": "http://m/btf", "index": "http://i/x"}), &["http://m/btf", "http://i/x"]);
        check(json!({"url": "clone"}), &["/project/clone"]);
        check(json!({"url": "/clone"}), &["/clone"]);
        assert_eq!(join("http://m/a/", "b c/d?e#f+g"), "http://m/a/b%20c/d%3Fe%23f+g");
    }
}
