//! A kernel's content: its packages brought into the store, BTF and boot image taken out of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kernels::extract::NamedFile;
use kernels::{Digest, LockedBlob, LockedKernel, LockedModules, LockedPackage, LockedSource, Store};
use plugin::Class;
use serde::{Deserialize, Serialize};

use crate::events::{Events, Phase};
use crate::lock::locking::{BadAnswer, Chosen, locked_packages};
use crate::lock::sources::{SourceError, Sources};
use crate::outcome::{Code, Failure};
use crate::work::patience::Patience;

/// Part of every key: change it when the extraction gives something else of the same packages.
const EXTRACTION: &str = "extract/2";

/// What is known of a kernel after extraction; the bytes are in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The GNU build-id of its vmlinux.
    pub build_id: Option<String>,
    /// Its own BTF.
    pub btf: LockedBlob,
    /// The boot image as shipped; None for a kernel of which only the BTF is at hand.
    pub boot: Option<LockedBlob>,
    /// Whether the boot image has BTF, which need not be the one above.
    pub own_btf: bool,
    /// Its configuration.
    pub config: Option<LockedBlob>,
    /// The BTFs of its modules.
    pub modules: LockedModules,
    /// Modules whose BTF can't be used, and why.
    pub bad_modules: Vec<String>,
}

/// Where a kernel's content comes from.
#[derive(Clone, Copy)]
pub struct Supply<'a> {
    /// What was fetched and extracted before.
    pub store: &'a Store,
    /// Who fetches.
    pub sources: &'a dyn Sources,
    /// Where files are fetched to before they go into the store.
    pub work: &'a Path,
    /// Fetch nothing.
    pub offline: bool,
    /// When to try again.
    pub patience: &'a Patience,
}

/// What is known of a kernel without touching its bytes: by the lock, or by an extraction before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The GNU build-id of its vmlinux.
    pub build_id: Option<String>,
    /// Its own BTF.
    pub btf: LockedBlob,
    /// One digest over its packages: they hold the boot image and the configuration.
    pub packages: Digest,
}

/// Why there is no content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoContent {
    /// The source no longer has it.
    Gone(String),
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for NoContent {
    fn from(failure: Failure) -> NoContent {
        NoContent::Failed(failure)
    }
}

impl From<kernels::Error> for NoContent {
    fn from(error: kernels::Error) -> NoContent {
        NoContent::Failed(error.into())
    }
}

/// How much of a kernel the store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// BTF and boot image.
    Extracted,
    /// The packages.
    Fetched,
    /// Not all packages.
    Nothing,
}

/// What the store has of a kernel, by name only: for plans.
pub fn held(store: &Store, chosen: &Chosen) -> Held {
    let Ok(packages) = locked_packages(&chosen.source) else {
        return Held::Nothing;
    };
    match find(store, &key(chosen, &packages)) {
        Some(content)
            if store.contains(&content.btf.sha256)
                && content.boot.is_none_or(|boot| store.contains(&boot.sha256)) =>
        {
            Held::Extracted
        }
        _ if packages.iter().all(|package| store.contains(&package.sha256)) => Held::Fetched,
        _ => Held::Nothing,
    }
}

/// What is known of a kernel; None when it must be extracted first.
pub fn known(store: Option<&Store>, chosen: &Chosen) -> Option<Known> {
    let packages = locked_packages(&chosen.source).ok()?;
    let digests: String = packages.iter().map(|package| format!("{}\n", package.sha256)).collect();
    let of =
        |build_id: Option<String>, btf| Known { build_id, btf, packages: Digest::of(digests.as_bytes()) };
    if let Some(locked) = &chosen.locked {
        return Some(of(locked.build_id.clone(), locked.btf));
    }
    let content = find(store?, &key(chosen, &packages))?;
    Some(of(content.build_id, content.btf))
}

/// The same of a kernel whose content is there.
pub fn known_of(chosen: &Chosen, content: &Content) -> Result<Known, BadAnswer> {
    let packages = locked_packages(&chosen.source)?;
    let digests: String = packages.iter().map(|package| format!("{}\n", package.sha256)).collect();
    let packages = Digest::of(digests.as_bytes());
    Ok(Known { build_id: content.build_id.clone(), btf: content.btf, packages })
}

/// The content of a kernel: out of the store, or fetched and extracted. Checked against the lock.
pub fn obtain(supply: Supply<'_>, chosen: &Chosen, events: Events<'_>) -> Result<Content, NoContent> {
    let packages = locked_packages(&chosen.source).map_err(Failure::new)?;
    let key = key(chosen, &packages);
    // Another process may be at the same kernel: its result is ours.
    let _turn = supply.store.lock(&key, &mut |holder| {
        let who = holder.map_or("another btfpipe".to_owned(), |holder| {
            format!("process {} ({})", holder.pid, holder.command)
        });
        events.info(format!("{}: waiting for {who}", chosen.id));
    })?;
    let content = match whole(supply.store, &key) {
        Some(content) => {
            events.begin(Phase::Fetch, chosen.id.to_string()).kept("in the store");
            events.begin(Phase::Extract, chosen.id.to_string()).kept("in the store");
            content
        }
        None => {
            let paths = fetch(supply, chosen, &packages, events)?;
            let files: Vec<NamedFile> =
                packages.iter().map(|package| package.file.clone()).zip(paths).collect();
            extract(supply.store, chosen, &key, &files, events)?
        }
    };
    check(chosen, &content)?;
    Ok(content)
}

fn key(chosen: &Chosen, packages: &[LockedPackage]) -> String {
    let digests: Vec<String> = packages.iter().map(|package| package.sha256.to_string()).collect();
    format!("{EXTRACTION} {} {}", chosen.id.release(), digests.join(" "))
}

fn find(store: &Store, key: &str) -> Option<Content> {
    serde_json::from_value(store.link(key)?).ok()
}

/// A link counts only when its blobs are there and right.
fn whole(store: &Store, key: &str) -> Option<Content> {
    let content = find(store, key)?;
    let blobs = [Some(content.btf), content.boot, content.config];
    blobs.into_iter().flatten().all(|blob| store.path_of(&blob.sha256).is_some()).then_some(content)
}

fn fetch(
    supply: Supply<'_>,
    chosen: &Chosen,
    packages: &[LockedPackage],
    events: Events<'_>,
) -> Result<Vec<PathBuf>, NoContent> {
    let task = events.begin(Phase::Fetch, chosen.id.to_string());
    let held: Option<Vec<PathBuf>> =
        packages.iter().map(|package| supply.store.path_of(&package.sha256)).collect();
    if let Some(paths) = held {
        task.kept("in the store");
        return Ok(paths);
    }
    let fetched = fetch_packages(supply, chosen, packages, events, &task);
    match &fetched {
        Ok(_) => task.done(format!("{:.1} MB", size(packages) as f64 / 1e6)),
        Err(NoContent::Gone(reason)) => task.failed(reason),
        Err(NoContent::Failed(failure)) => task.failed(failure),
    }
    fetched
}

fn size(packages: &[LockedPackage]) -> u64 {
    packages.iter().map(|package| package.size).sum()
}

fn fetch_packages(
    supply: Supply<'_>,
    chosen: &Chosen,
    packages: &[LockedPackage],
    events: Events<'_>,
    task: &crate::events::Task<'_>,
) -> Result<Vec<PathBuf>, NoContent> {
    if supply.offline {
        return Err(Failure::new("not in the store, and --offline forbids to fetch it").into());
    }
    let folder = tempfile::Builder::new().prefix("fetch-").tempdir_in(supply.work).map_err(Failure::new)?;
    // The paths come in the source's order, `packages` are sorted.
    let ask = || supply.sources.fetch(&chosen.plugin, &chosen.source, folder.path(), task);
    let fetched = supply.patience.ask(chosen.source.id.as_str(), events, ask).map_err(no_content)?;
    let files: BTreeMap<&str, &PathBuf> =
        chosen.source.packages.iter().map(|package| package.file.as_str()).zip(&fetched).collect();
    let mut paths = Vec::new();
    for package in packages {
        let file = &package.file;
        let fetched =
            files.get(file.as_str()).ok_or_else(|| Failure::new(format!("the source brought no {file}")))?;
        let wanted = package.sha256;
        let kept = supply.store.put_promised(fetched, &wanted)?;
        paths.push(kept.map_err(|found| {
            Failure::digest(format!("{file} has sha256 {found}, {wanted} was promised; nothing was read"))
        })?);
    }
    Ok(paths)
}

fn no_content(error: SourceError) -> NoContent {
    match error.class {
        Class::Gone => NoContent::Gone(error.to_string()),
        Class::User | Class::Tool | Class::Transient => {
            NoContent::Failed(Failure { code: Code::of_class(error.class), message: error.to_string() })
        }
    }
}

fn extract(
    store: &Store,
    chosen: &Chosen,
    key: &str,
    files: &[NamedFile],
    events: Events<'_>,
) -> Result<Content, Failure> {
    let task = events.begin(Phase::Extract, chosen.id.to_string());
    let content = extract_files(store, chosen, key, files);
    let content = task.finish(content, |content| {
        format!("BTF of {} bytes, {} modules", content.btf.size, content.modules.count)
    })?;
    for bad in &content.bad_modules {
        events.warn(format!("{}: {bad}", chosen.id));
    }
    Ok(content)
}

fn extract_files(store: &Store, chosen: &Chosen, key: &str, files: &[NamedFile]) -> Result<Content, Failure> {
    let extracted = kernels::extract::from_files(files, chosen.id.release())?;
    let put = |bytes: &[u8]| -> Result<LockedBlob, kernels::Error> {
        store.put(bytes)?;
        Ok(LockedBlob::of(bytes))
    };
    let content = Content {
        // A source may know what the files don't tell: that of the running kernel is in its notes.
        build_id: extracted.build_id.or_else(|| chosen.source.with.get("build-id").cloned()),
        btf: put(&extracted.btf)?,
        boot: extracted.boot.as_deref().map(put).transpose()?,
        own_btf: extracted.own_btf,
        config: extracted.config.as_deref().map(put).transpose()?,
        modules: LockedModules {
            count: extracted.modules.len() as u64,
            sha256: kernels::modules::digest(&extracted.modules),
        },
        bad_modules: extracted.bad_modules.iter().map(|bad| format!("{}: {}", bad.path, bad.fault)).collect(),
    };
    store.set_link(key, serde_json::to_value(&content).map_err(Failure::new)?)?;
    Ok(content)
}

/// What the lock promised must be what is there.
fn check(chosen: &Chosen, content: &Content) -> Result<(), Failure> {
    let Some(locked) = &chosen.locked else {
        return Ok(());
    };
    let differs = |what: &str, wanted: &dyn std::fmt::Display, found: &dyn std::fmt::Display| {
        Err(Failure::digest(format!(
            "kernels.lock pins {what} {wanted}, the packages have {found}; remove the kernel from kernels.lock and run \
             \"btfpipe lock\" if that is right"
        )))
    };
    if locked.btf != content.btf {
        return differs("the BTF", &locked.btf.sha256, &content.btf.sha256);
    }
    match (&locked.build_id, &content.build_id) {
        (Some(wanted), Some(found)) if wanted != found => return differs("the build-id", wanted, found),
        _ => {}
    }
    match (locked.boot, content.boot) {
        (Some(wanted), Some(found)) if wanted != found => {
            differs("the boot image", &wanted.sha256, &found.sha256)
        }
        (Some(wanted), None) => differs("the boot image", &wanted.sha256, &"none"),
        _ => Ok(()),
    }
}

/// What the lock will say of a kernel.
pub fn locked_kernel(chosen: &Chosen, content: &Content) -> Result<LockedKernel, Failure> {
    Ok(LockedKernel {
        id: chosen.id.clone(),
        build_id: content.build_id.clone(),
        source: LockedSource { plugin: chosen.plugin.clone(), with: chosen.source.with.clone() },
        packages: locked_packages(&chosen.source).map_err(Failure::new)?,
        btf: content.btf,
        modules: Some(content.modules),
        boot: content.boot,
        own_btf: content.own_btf,
    })
}
