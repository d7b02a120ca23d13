//! The output folder as it is, against what the plugin says.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use kernels::Digest;
use plugin::Output;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;

use super::Dirs;

/// A file that a plugin made: regular, and inside the output folder. Whoever takes it hashes what is read, once: a worker
/// runs on, and could write to it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    /// What it is to the step.
    pub name: String,
    /// Absolute.
    pub path: PathBuf,
    /// Bytes, when the plugin had answered.
    pub size: u64,
}

impl OutputFile {
    /// Its bytes, no more than those that were there when the plugin had answered.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open()?.take(self.size + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 == self.size {
            true => Ok(bytes),
            false => {
                Err(io::Error::other(format!("{} changed after the plugin's answer", self.path.display())))
            }
        }
    }

    /// Refuses what a worker has put in its place since: a link that leads out of its room, or a pipe that never ends.
    pub(super) fn open(&self) -> io::Result<File> {
        let irregular = || io::Error::other(format!("{} is no regular file any more", self.path.display()));
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        // A folder on the way can't be exchanged for a link either, where the kernel knows how to say so.
        let opened = match openat2(CWD, &self.path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            Err(Errno::NOSYS | Errno::PERM) => open(&self.path, flags, Mode::empty()),
            opened => opened,
        };
        let file = File::from(opened.map_err(|error| match error {
            Errno::LOOP => irregular(),
            error => error.into(),
        })?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(irregular()) }
    }

    /// The digest of what it is now.
    pub fn digest(&self) -> io::Result<Digest> {
        self.read().map(|bytes| Digest::of(&bytes))
    }
}

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

#[cfg(test)]
mod tests {
    use rustix::fs::{FileType, mknodat};

    use super::*;
    use crate::host::PluginResult;

    #[test]
    fn what_was_exchanged_after_the_answer_is_refused() {
        let check = |exchange: &dyn Fn(&Path), problem: Option<&str>| {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().canonicalize().unwrap();
            fs::create_dir_all(root.join("room/sub")).unwrap();
            fs::create_dir(root.join("own")).unwrap();
            fs::write(root.join("secret"), "abc").unwrap();
            let path = root.join("room/sub/secret");
            fs::write(&path, "abc").unwrap();
            let file = OutputFile { name: "f".into(), path: path.clone(), size: 3 };
            exchange(&path);
            let said = file.read().map(|bytes| assert_eq!(bytes, b"abc")).map_err(|error| error.to_string());
            assert_eq!(
                said.as_ref().err().map(|error| error.contains(problem.unwrap())),
                problem.map(|_| true)
            );
            let mut result = PluginResult { outputs: vec![file], ..PluginResult::default() };
            let moved = result.move_to(&root.join("room"), &root.join("own"));
            // How long it is counts when it is read.
            assert_eq!(
                moved.is_ok(),
                problem.is_none_or(|problem| problem.contains("changed")),
                "{problem:?}"
            );
        };
        check(&|_| (), None);
        check(&|path| fs::write(path, "abcd").unwrap(), Some("changed after"));
        let irregular = Some("no regular file any more");
        let remove = |path: &Path| fs::remove_file(path).unwrap();
        check(
            &|path| {
                remove(path);
                std::os::unix::fs::symlink("../../secret", path).unwrap();
            },
            irregular,
        );
        check(
            &|path| {
                remove(path);
                mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
            },
            irregular,
        );
        check(
            &|path| {
                remove(path);
                let folder = path.parent().unwrap();
                fs::remove_dir(folder).unwrap();
                std::os::unix::fs::symlink(folder.ancestors().nth(2).unwrap(), folder).unwrap();
            },
            irregular,
        );
    }
}
