//! What a plugin is made of, as one digest.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kernels::Digest;

use super::{Plugin, PluginError};
use crate::glob::Glob;

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
