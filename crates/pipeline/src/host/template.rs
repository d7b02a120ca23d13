//! `btfpipe plugin new`: a plugin that works, to be changed into another.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a plugin is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// With the SDK of `crates/plugin`.
    Rust,
    /// With the helper `btfpipe_plugin.py`, which is copied.
    Python,
    /// For sh, with nothing.
    Shell,
}

/// Why there is no new plugin.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A name that can't be one.
    #[error("\"{0}\" is no name of a plugin: a-z, 0-9 and - make one, and no - begins it")]
    Name(String),
    /// It is not new.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// What the system says.
    #[error("{}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What.
        error: io::Error,
    },
}

macro_rules! template {
    ($language:literal, $($file:literal),*) => {
        &[$(($file, include_str!(concat!("../../templates/", $language, "/", $file)))),*]
    };
}

const RUST: &[(&str, &str)] = template!(
    "rust",
    "plugin.yaml",
    "schema.json",
    "README.md",
    "Cargo.toml.txt",
    "src/main.rs",
    "tests/resolve.json",
    "tests/fetch.json",
    "tests/wrong.json",
    "tests/kernel.btf"
);
const PYTHON: &[(&str, &str)] = template!(
    "python",
    "plugin.yaml",
    "schema.json",
    "README.md",
    "main.py",
    "tests/resolve.json",
    "tests/fetch.json",
    "tests/wrong.json",
    "tests/kernel.btf"
);
const SHELL: &[(&str, &str)] = template!(
    "sh",
    "plugin.yaml",
    "schema.json",
    "README.md",
    "main.sh",
    "tests/resolve.json",
    "tests/fetch.json",
    "tests/wrong.json",
    "tests/kernel.btf"
);

/// The helper in one file.
const HELPER: (&str, &str) =
    ("btfpipe_plugin.py", include_str!("../../../../plugins/sdk/python/btfpipe_plugin.py"));

impl Language {
    fn files(self) -> Vec<(&'static str, &'static str)> {
        match self {
            // A Cargo.toml would be a package of ours.
            Language::Rust => {
                RUST.iter().map(|(file, text)| (file.strip_suffix(".txt").unwrap_or(file), *text)).collect()
            }
            Language::Python => PYTHON.iter().copied().chain([HELPER]).collect(),
            Language::Shell => SHELL.to_vec(),
        }
    }
}

/// Makes the folder `FOLDER/NAME` with a plugin in it; gives its path and its files.
pub fn write(
    folder: &Path,
    name: &str,
    language: Language,
) -> Result<(PathBuf, Vec<&'static str>), TemplateError> {
    if !crate::host::is_name(name) {
        return Err(TemplateError::Name(name.to_owned()));
    }
    let new = folder.join(name);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| TemplateError::Io { path, error }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    match fs::create_dir(&new) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(TemplateError::Exists(new)),
        made => made.map_err(failed(&new))?,
    }
    let files = language.files();
    for (file, text) in &files {
        let path = new.join(file);
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed(&path))?;
        fs::write(&path, filled(text, name, &new)).map_err(failed(&path))?;
    }
    Ok((new, files.into_iter().map(|(file, _)| file).collect()))
}

fn filled(text: &str, name: &str, folder: &Path) -> String {
    text.replace("NAME", name).replace("SDK", &sdk(folder))
}

/// Where the Rust SDK is, seen from a plugin's folder, if that is somewhere in btfpipe's sources.
fn sdk(folder: &Path) -> String {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let above = whole.ancestors().position(|root| root.join("crates/plugin/src/serve.rs").is_file());
    match above {
        Some(levels) => format!("{}crates/plugin", "../".repeat(levels)),
        None => "/path/to/btfpipe/crates/plugin".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::kit;

    /// What is new passes the kit as it is.
    fn check(language: Language) {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = write(folder.path(), "mine", language).unwrap();
        let report = kit::examine(&path);
        assert!(report.is_good(), "{report}");
        assert!(report.to_string().contains("tests/resolve.json"), "{report}");
        assert!(matches!(write(folder.path(), "mine", language), Err(TemplateError::Exists(_))));
    }

    #[test]
    fn shell() {
        check(Language::Shell);
    }

    #[test]
    fn python() {
        if std::process::Command::new("python3").arg("--version").output().is_err() {
            assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "python3 is not installed");
            return eprintln!("skipped: python3 is not installed");
        }
        check(Language::Python);
    }

    #[test]
    fn rust_finds_its_sdk() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
        assert_eq!(sdk(&root.join("plugins/new")), "../../crates/plugin");
        assert_eq!(sdk(Path::new("/nowhere/new")), "/path/to/btfpipe/crates/plugin");
    }

    #[test]
    fn names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", "../x", "A", "-a", "a b"] {
            assert!(
                matches!(write(folder.path(), name, Language::Shell), Err(TemplateError::Name(_))),
                "{name}"
            );
        }
    }
}
