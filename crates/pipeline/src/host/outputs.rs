//! The output folder as it is, against what the plugin says.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use plugin::Output;

use super::{Dirs, OutputFile};

/// What is wrong with a plugin's outputs.
#[derive(Debug, thiserror::Error)]
pub enum OutputProblem {
    /// A path that leads elsewhere.
    #[error("output {} is not inside its output folder {}", path.display(), outdir.display())]
    Outside {
        /// What the plugin said.
        path: PathBuf,
        /// Where it should be.
        outdir: PathBuf,
    },
    /// Nothing there.
    #[error("output {} was not written", .0.display())]
    Missing(PathBuf),
    /// Two outputs, one file.
    #[error("output {} is named twice", .0.display())]
    Twice(PathBuf),
    /// Written, and not said.
    #[error("{} is in the output folder, and not among the outputs", .0.display())]
    Undeclared(PathBuf),
    /// A link, a device and the like.
    #[error("{} in the output folder is no regular file", .0.display())]
    Irregular(PathBuf),
    /// What the system says.
    #[error("{}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What.
        error: io::Error,
    },
}

/// The declared files, if there are no others. What they hold is seen when they are read.
pub(super) fn check(dirs: &Dirs, declared: &[Output]) -> Result<Vec<OutputFile>, OutputProblem> {
    let mut there = BTreeSet::new();
    if !fs::symlink_metadata(&dirs.outdir).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(OutputProblem::Irregular(dirs.outdir.clone()));
    }
    list(&dirs.outdir, &mut there)?;
    let mut files = Vec::new();
    let mut named = BTreeSet::new();
    for output in declared {
        let path = resolve(dirs, &output.path)?;
        if !named.insert(path.clone()) {
            return Err(OutputProblem::Twice(path));
        }
        if !there.remove(&path) {
            return Err(OutputProblem::Missing(path));
        }
        let size = fs::symlink_metadata(&path)
            .map_err(|error| OutputProblem::Io { path: path.clone(), error })?
            .len();
        files.push(OutputFile { name: output.name.clone(), path, size });
    }
    match there.pop_first() {
        Some(path) => Err(OutputProblem::Undeclared(path)),
        None => Ok(files),
    }
}

/// Relative paths are relative to the work folder, as the plugin's current folder is.
fn resolve(dirs: &Dirs, path: &Path) -> Result<PathBuf, OutputProblem> {
    let whole = dirs.workdir.join(path);
    let inside = whole.strip_prefix(&dirs.outdir).is_ok_and(|rest| {
        rest.components().next().is_some()
            && rest.components().all(|part| matches!(part, Component::Normal(_)))
    });
    if inside {
        // Without any `.` that was written.
        Ok(whole.components().collect())
    } else {
        Err(OutputProblem::Outside { path: path.to_owned(), outdir: dirs.outdir.clone() })
    }
}

/// All regular files below a folder. No link is followed.
fn list(folder: &Path, files: &mut BTreeSet<PathBuf>) -> Result<(), OutputProblem> {
    let failed = |error| OutputProblem::Io { path: folder.to_owned(), error };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            list(&entry.path(), files)?;
        } else if kind.is_file() {
            files.insert(entry.path());
        } else {
            return Err(OutputProblem::Irregular(entry.path()));
        }
    }
    Ok(())
}
