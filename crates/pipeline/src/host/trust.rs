//! `plugins.lock`: which plugins may run, by the digests of all that they are.
//!
//! ```yaml
//! version: 1
//! plugins:
//!   debian:
//!     version: "0.1.0"
//!     files: 0f3c…     # all files of its folder
//!     program: 77ab…   # what is started: its own program, or the interpreter of this machine
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kernels::Digest;
use serde::Deserialize;

use crate::host::{Host, Plugin, PluginError};

/// The file's name, beside `kernels.lock`.
pub const FILE: &str = "plugins.lock";

/// The plugins that are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trusted {
    version: u32,
    #[serde(default)]
    plugins: BTreeMap<String, Entry>,
}

/// What a plugin is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    version: String,
    files: String,
    program: String,
}

/// Why a plugin is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// No file, or one that says nothing.
    #[error("{}: {problem}; \"btfpipe plugin trust\" writes it", path.display())]
    Lock {
        /// plugins.lock.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Somebody has to look at it first.
    #[error("{} has no plugin {plugin}; look at it, and run \"btfpipe plugin trust {plugin}\"", path.display())]
    Unknown {
        /// plugins.lock.
        path: PathBuf,
        /// The plugin.
        plugin: String,
    },
    /// It is not what it was.
    #[error(
        "plugin {plugin} is not the one that {} has: {what} changed; look at it, and run \"btfpipe plugin trust {plugin}\"",
        path.display()
    )]
    Changed {
        /// plugins.lock.
        path: PathBuf,
        /// The plugin.
        plugin: String,
        /// E.g. `its files`.
        what: &'static str,
    },
    /// It can't be found or read.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The lock can't be written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// What `trust` changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The plugin.
    pub plugin: String,
    /// In words: `new`, `as before`, or what changed.
    pub what: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.plugin, self.what)
    }
}

/// Refuses every plugin of `names` that isn't as `plugins.lock` says.
pub fn verify<'a>(root: &Path, names: impl IntoIterator<Item = &'a str>) -> Result<(), TrustError> {
    let path = root.join(FILE);
    let trusted = Trusted::read(&path)?;
    for name in names {
        let entry = trusted.plugins.get(name);
        let plugin = name.to_owned();
        let entry =
            entry.ok_or_else(|| TrustError::Unknown { path: path.clone(), plugin: plugin.clone() })?;
        if let Some(what) = entry.difference(&Entry::of(&Host::find(name, root)?)?) {
            return Err(TrustError::Changed { path, plugin, what });
        }
    }
    Ok(())
}

/// Takes plugins into `plugins.lock` as they are; without names, all that are in `plugins/` of the repository.
pub fn trust(root: &Path, names: &[String]) -> Result<Vec<Change>, TrustError> {
    let path = root.join(FILE);
    let mut trusted = match path.exists() {
        true => Trusted::read(&path)?,
        false => Trusted { version: 1, plugins: BTreeMap::new() },
    };
    let own = root.join("plugins");
    let names = match names {
        [] => Host::all(root)
            .into_iter()
            .filter(|found| found.place.starts_with(&own))
            .map(|found| found.name)
            .collect(),
        names => names.to_vec(),
    };
    let mut changes = Vec::new();
    for plugin in names {
        let entry = Entry::of(&Host::find(&plugin, root)?)?;
        let what = match trusted.plugins.insert(plugin.clone(), entry.clone()) {
            None => format!("new, version {}", entry.version),
            Some(before) => match before.difference(&entry) {
                None => "as before".to_owned(),
                Some(what) => {
                    format!("{what} changed, version {} before and {} now", before.version, entry.version)
                }
            },
        };
        changes.push(Change { plugin, what });
    }
    trusted.write(&path).map_err(|error| TrustError::Io { path, error })?;
    Ok(changes)
}

impl Trusted {
    fn read(path: &Path) -> Result<Trusted, TrustError> {
        let wrong = |problem: String| TrustError::Lock { path: path.to_owned(), problem };
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let trusted: Trusted = serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        match trusted.version {
            1 => Ok(trusted),
            other => Err(wrong(format!("version {other} is unknown, this btfpipe knows 1"))),
        }
    }

    /// Sorted by name, and whole or not at all.
    fn write(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        io::Write::write_all(&mut file, self.to_string().as_bytes())?;
        fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.persist(path)?;
        Ok(())
    }
}

impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Which plugins may run with --locked-plugins. Written by \"btfpipe plugin trust\"; reviewed by people."
        )?;
        writeln!(
            f,
            "version: {}\nplugins:{}",
            self.version,
            if self.plugins.is_empty() { " {}" } else { "" }
        )?;
        for (name, Entry { version, files, program }) in &self.plugins {
            // A JSON text is a YAML text.
            let version = serde_json::Value::from(version.as_str());
            // A name may be a number, to a YAML reader.
            writeln!(
                f,
                "  \"{name}\":\n    version: {version}\n    files: \"{files}\"\n    program: \"{program}\""
            )?;
        }
        Ok(())
    }
}

impl Entry {
    fn of(plugin: &Plugin) -> Result<Entry, PluginError> {
        let (files, program) = plugin.trust_digests()?;
        let text = |digest: Digest| digest.to_string();
        Ok(Entry { version: plugin.manifest().version.clone(), files: text(files), program: text(program) })
    }

    fn difference(&self, other: &Entry) -> Option<&'static str> {
        match (self.files == other.files, self.program == other.program) {
            (true, true) => None,
            (false, true) => Some("its files"),
            (true, false) => Some("its program"),
            (false, false) => Some("its files and its program"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            let folder = root.path().join("plugins").join(name);
            fs::create_dir_all(&folder).unwrap();
            let manifest = format!("api: 1\nname: {name}\nversion: 0.1.0\nrun: [sh, main.sh]\n");
            fs::write(folder.join("plugin.yaml"), manifest).unwrap();
            fs::write(folder.join("main.sh"), "exit 1\n").unwrap();
        }
        root
    }

    fn said(root: &Path, names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        trust(root, &names).unwrap().iter().map(|change| format!("{change}\n")).collect()
    }

    fn check(root: &Path, names: &[&str], part: &str) {
        let said =
            verify(root, names.iter().copied()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains(part) && said.is_empty() == part.is_empty(), "{part:?} is not {said:?}");
    }

    #[test]
    fn trust_is_kept() {
        let root = root();
        let root = root.path();
        check(root, &["one"], "\"btfpipe plugin trust\" writes it");
        assert_eq!(said(root, &["one"]), "one: new, version 0.1.0\n");
        check(root, &["one"], "");
        check(root, &["two"], "has no plugin two; look at it");
        assert_eq!(said(root, &[]), "one: as before\ntwo: new, version 0.1.0\n");
        check(root, &["one", "two"], "");
        // A file that plugin.yaml doesn't name counts as well: the plugin could read it.
        fs::write(root.join("plugins/two/more.sh"), "").unwrap();
        check(root, &["one"], "");
        check(root, &["two"], "plugin two is not the one that");
        check(root, &["two"], "its files changed");
        assert!(said(root, &["two"]).contains("its files changed, version 0.1.0 before and 0.1.0 now"));
        check(root, &["two"], "");
    }

    #[test]
    fn what_is_written_is_read() {
        let entry =
            |version: &str| Entry { version: version.into(), files: "12".into(), program: "0e1".into() };
        let plugins = [("1", "1.0"), ("null", "\"'\n: #"), ("a-b", "é")];
        let plugins = plugins.into_iter().map(|(name, version)| (name.to_owned(), entry(version))).collect();
        for trusted in [Trusted { version: 1, plugins }, Trusted { version: 1, plugins: BTreeMap::new() }] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(FILE);
            trusted.write(&path).unwrap();
            assert_eq!(Trusted::read(&path).unwrap(), trusted);
        }
    }
}
