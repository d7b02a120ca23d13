//! The files that a plugin was given: they are the same afterwards.

use std::path::{Path, PathBuf};

use kernels::Digest;
use plugin::Input;

use super::Dirs;

/// A file to read, as it is now.
pub(crate) fn input(name: &str, path: &Path) -> Result<Input, kernels::Error> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (digest, size) = Digest::of_file(&path)?;
    Ok(Input { name: name.to_owned(), path, digest: format!("sha256:{digest}"), size })
}

/// The first that is no longer what it was. Landlock lets nobody write to them, unless they lie in the work folder.
pub(super) fn find_changed(dirs: &Dirs, inputs: &[Input]) -> Option<PathBuf> {
    let same = |path: &PathBuf, input: &Input| {
        let expected = input.digest.strip_prefix("sha256:");
        Digest::of_file(path)
            .is_ok_and(|(digest, size)| size == input.size && expected == Some(digest.to_string().as_str()))
    };
    inputs
        .iter()
        .map(|input| (dirs.workdir.join(&input.path), input))
        .find(|(path, input)| !same(path, input))
        .map(|(path, _)| path)
}
