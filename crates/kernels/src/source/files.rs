//! Files at hand: raw BTF, compressed or in tar archives, ELF files with BTF, boot images, packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::selection::{Exclusion, Selection, one_or_more};
use super::template::{KEYS, Template, Told};
use super::{Context, Offer, Pattern, SourceError, field, names, release, walk};
use crate::{Digest, KernelId, LockedPackage};

/// What a pipeline says.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Paths with `*`, `?`, `**`, and `{release}` and the like for what they tell.
    #[serde(deserialize_with = "one_or_more")]
    paths: Vec<Template>,
    /// What paths don't tell.
    distro: Option<String>,
    version: Option<String>,
    arch: Option<String>,
    release: Option<String>,
    #[serde(default, deserialize_with = "one_or_more")]
    select: Vec<Pattern>,
    versions: Option<release::Range>,
    newest: Option<usize>,
    #[serde(default)]
    exclude: Vec<Exclusion>,
}

impl Config {
    /// Whether every path can tell, or be told, a whole identity.
    pub(super) fn check(&self) -> Result<(), SourceError> {
        for template in &self.paths {
            let missing: Vec<&str> = KEYS
                .into_iter()
                .filter(|key| self.given(key).is_none() && !template.text().contains(&format!("{{{key}}}")))
                .collect();
            if let [first, ..] = missing[..] {
                return Err(SourceError::Config(format!(
                    "{}: nothing tells {}; write {{{first}}} into the path, or `{first}:` beside `paths`",
                    template.text(),
                    missing.join(", ")
                )));
            }
        }
        match self.paths.is_empty() {
            true => Err(SourceError::Config("`paths` is empty".to_owned())),
            false => Ok(()),
        }
    }

    fn given(&self, key: &str) -> Option<&str> {
        let given = match key {
            "distro" => &self.distro,
            "version" => &self.version,
            "arch" => &self.arch,
            _ => &self.release,
        };
        given.as_deref()
    }

    fn id(&self, told: &Told) -> Result<KernelId, SourceError> {
        let part =
            |key: &'static str| self.given(key).or(told.get(key).map(String::as_str)).unwrap_or_default();
        let distro = names::distro(part("distro"));
        let version = names::version(distro, part("version"));
        Ok(KernelId::new(distro, version, part("arch").parse()?, part("release"))?)
    }

    fn selection(&self) -> Selection {
        Selection {
            select: self.select.clone(),
            versions: self.versions.clone(),
            newest: self.newest,
            exclude: self.exclude.clone(),
        }
    }
}

/// Which kernels the files are of. Several files of one kernel belong together: its BTF and its boot image.
pub(super) fn resolve(config: &Config, context: &Context<'_>) -> Result<Vec<Offer>, SourceError> {
    config.check()?;
    let mut kernels: BTreeMap<KernelId, Vec<String>> = BTreeMap::new();
    for template in &config.paths {
        let mut found = false;
        for path in matching(template, context.root)? {
            let Some(told) = template.match_path(&path) else { continue };
            found = true;
            let files = kernels.entry(config.id(&told)?).or_default();
            if !files.contains(&path) {
                files.push(path);
            }
        }
        if !found {
            return Err(SourceError::Config(format!("no file matches {}", template.text())));
        }
    }
    let selected = config.selection().apply(kernels.keys().cloned(), context.today);
    selected.notes.into_iter().for_each(|note| context.say.warn(note));
    let wanted: Vec<(KernelId, Vec<String>)> =
        selected.kernels.into_iter().filter_map(|id| kernels.remove_entry(&id)).collect();
    wanted.into_iter().map(|(id, files)| offer(id, &files, context.root)).collect()
}

fn matching(template: &Template, root: &Path) -> Result<Vec<String>, SourceError> {
    if template.is_plain() {
        return Ok(if root.join(template.text()).is_file() {
            vec![template.text().to_owned()]
        } else {
            vec![]
        });
    }
    let folder = template.folder();
    let files = walk(&root.join(&folder))?.into_iter();
    Ok(files
        .map(|(path, _)| match folder.as_str() {
            "" => path,
            "/" => format!("/{path}"),
            folder => format!("{folder}/{path}"),
        })
        .collect())
}

fn offer(id: KernelId, paths: &[String], root: &Path) -> Result<Offer, SourceError> {
    let mut offer = Offer { id, files: Vec::new(), with: BTreeMap::new() };
    for path in paths {
        let name = path.rsplit('/').next().unwrap_or(path);
        let (sha256, size) = Digest::of_file(&root.join(path))?;
        if let Some(other) = offer.with.insert(name.to_owned(), path.clone()) {
            return Err(SourceError::Config(format!("{}: {other} and {path} have one name", offer.id)));
        }
        offer.files.push(LockedPackage {
            name: name.to_owned(),
            version: String::new(),
            arch: offer.id.arch().to_string(),
            file: name.to_owned(),
            sha256,
            size,
        });
    }
    offer.files.sort();
    Ok(offer)
}

/// The files of a locked kernel.
pub(super) fn fetch(offer: &Offer, root: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let mut paths = Vec::new();
    for file in &offer.files {
        let path = root.join(field(offer, &file.file)?);
        if !path.is_file() {
            return Err(SourceError::Gone(format!("{} is no longer there", path.display())));
        }
        paths.push(path);
    }
    Ok(paths)
}
