//! The files that a plugin was given: they are the same afterwards.

use std::path::PathBuf;

use kernels::Digest;
use plugin::Input;

use super::Dirs;

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
