//! `btfpipe bundle delta` and `apply`: the next bundle for those who have the one before.

use std::path::Path;

use bundle::{Bundle, Delta};

use crate::commands::bundles::{broken, open};
use crate::commands::tools::{ToolError, Voice};
use crate::outcome::Code;

/// Writes what takes a holder of `old` to `new`, after having made the new file of it.
pub fn make(old: &Path, new: &Path, out: &Path, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    let before = open(old)?;
    let (delta, whole) = between(&before, new)?;
    let bytes = delta.to_bytes();
    crate::commands::tools::put(out, &bytes, voice)?;
    voice.note(format_args!("{}: {} bytes; the whole bundle has {whole}", out.display(), bytes.len()));
    Ok(Code::Ok)
}

/// The delta to the bundle in a file, proven, and the size of that file.
pub(super) fn between(before: &Bundle, new: &Path) -> Result<(Delta, u64), ToolError> {
    let failed = |error: bundle::Error| broken(new, &error);
    let file = std::fs::read(new).map_err(|error| ToolError::Read { path: new.to_owned(), error })?;
    let delta = Delta::between(before, &file).map_err(failed)?;
    let again = delta.apply(before).and_then(|bundle| delta.file(&bundle, 1)).map_err(failed)?;
    match again == file {
        true => Ok((delta, file.len() as u64)),
        false => Err(ToolError::engine(
            &new.display().to_string(),
            "the delta pack does not give the new bundle; a bug",
        )),
    }
}

/// Makes the new bundle of the old one and a delta pack: its file, or the archive in it where `tar` is asked for.
pub fn apply(
    old: &Path,
    delta: &Path,
    out: &Path,
    tar: bool,
    voice: &mut Voice<'_>,
) -> Result<Code, ToolError> {
    let failed = |error: bundle::Error| broken(delta, &error);
    let read = read(delta)?;
    let new = read.apply(&open(old)?).map_err(failed)?;
    match tar {
        true => crate::commands::tools::put(out, new.tar(), voice)?,
        false => crate::commands::tools::put(out, &read.file(&new, 1).map_err(failed)?, voice)?,
    }
    let (what, promised) = if tar { ("archive", read.new) } else { ("bundle", read.file) };
    voice.note(format_args!(
        "{}: the new {what}, {} kernels, {} bytes, sha256 {}",
        out.display(),
        new.index().kernels.len(),
        promised.size,
        promised.sha256
    ));
    Ok(Code::Ok)
}

/// A delta pack, its own digest checked.
pub(super) fn read(path: &Path) -> Result<Delta, ToolError> {
    let bytes = std::fs::read(path).map_err(|error| ToolError::Read { path: path.to_owned(), error })?;
    Delta::parse(&bytes).map_err(|error| broken(path, &error))
}
