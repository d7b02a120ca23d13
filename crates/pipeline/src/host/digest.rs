//! What a plugin is made of, as one digest.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kernels::Digest;

use super::confinement::find_on_path;
use super::{Plugin, PluginError};
use crate::file::glob::Glob;

/// Paths of the machine are not in it: two clones of a repository have the same plugins.
pub(super) fn of(plugin: &Plugin) -> Result<Digest, PluginError> {
    let mut text = b"btfpipe plugin\n".to_vec();
    let mut add = |what: &[u8], digest: Digest| {
        text.extend_from_slice(digest.to_string().as_bytes());
        text.push(b' ');
        text.extend_from_slice(what);
        text.push(0);
    };
    add(b"manifest", Digest::of(&plugin.manifest_bytes));
    add(b"program", of_file(plugin, &plugin.program)?);
    if let Some(folder) = &plugin.folder {
        for path in files(plugin, folder)? {
            let name = path.strip_prefix(folder).unwrap_or(&path).to_owned();
            add(name.as_os_str().as_bytes(), of_file(plugin, &path)?);
        }
    }
    Ok(Digest::of(&text))
}

/// By their names: where they lie must not matter, nor that one is missing which the plugin may do without.
pub(super) fn of_tools(plugin: &Plugin) -> Result<Digest, PluginError> {
    let mut text = b"btfpipe plugin tools\n".to_vec();
    for name in &plugin.manifest.capabilities.exec {
        let digest = match find_on_path(name) {
            Some(path) => of_file(plugin, &path)?.to_string(),
            None => "-".to_owned(),
        };
        text.extend_from_slice(format!("{digest} {name}\0").as_bytes());
    }
    Ok(Digest::of(&text))
}

/// Whatever a plugin could read of its folder, and its program. What cargo builds there is the program, or made of it.
pub(super) fn of_all(plugin: &Plugin) -> Result<(Digest, Digest), PluginError> {
    let mut text = b"btfpipe plugin folder\n".to_vec();
    if let Some(folder) = &plugin.folder {
        let mut paths = BTreeSet::new();
        list(folder, &mut paths).map_err(|error| plugin.io(folder, error))?;
        for path in paths {
            let name = path.strip_prefix(folder).unwrap_or(&path);
            text.extend_from_slice(of_file(plugin, &path)?.to_string().as_bytes());
            text.push(b' ');
            text.extend_from_slice(name.as_os_str().as_bytes());
            text.push(0);
        }
    }
    Ok((Digest::of(&text), of_file(plugin, &plugin.program)?))
}

fn list(folder: &Path, paths: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true if entry.file_name() == "target" || entry.file_name() == ".git" => {}
            true => list(&entry.path(), paths)?,
            false => {
                paths.insert(entry.path());
            }
        }
    }
    Ok(())
}

/// The runtime files and the schema, sorted.
fn files(plugin: &Plugin, folder: &Path) -> Result<BTreeSet<PathBuf>, PluginError> {
    let mut files: BTreeSet<PathBuf> =
        plugin.manifest.config_schema.iter().map(|name| folder.join(name)).collect();
    for pattern in &plugin.manifest.runtime {
        let wrong = |problem: &str| PluginError::Manifest {
            path: folder.join("plugin.yaml"),
            problem: format!("runtime: \"{pattern}\": {problem}"),
        };
        // `lib/**` means all files below lib.
        let whole = if pattern.ends_with("**") { format!("{pattern}/*") } else { pattern.clone() };
        let found = Glob::new(&whole)
            .map_err(wrong)?
            .files(folder)
            .map_err(|error| plugin.io(&folder.join(pattern), error))?;
        if found.is_empty() {
            return Err(wrong("no such file"));
        }
        files.extend(found);
    }
    Ok(files)
}

fn of_file(plugin: &Plugin, path: &Path) -> Result<Digest, PluginError> {
    let (digest, _) =
        Digest::of_file(path).map_err(|error| plugin.io(path, std::io::Error::other(error.to_string())))?;
    Ok(digest)
}
