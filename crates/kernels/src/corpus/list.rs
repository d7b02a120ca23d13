//! Names of kernels, and the digests of their BTFs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::Listed;
use crate::Error;

/// Reads the list; none is an empty one.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Listed>, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(cause) => return Err(Error::io("read", path, cause)),
    };
    let mut kernels = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let Some((name, listed)) = parse_line(line) else {
            let what =
                format!("line {} is not a digest, a size and a name; add the kernels again", number + 1);
            return Err(Error::io("read", path, io::Error::new(io::ErrorKind::InvalidData, what)));
        };
        kernels.insert(name, listed);
    }
    Ok(kernels)
}

/// The list as text.
pub(super) fn write(kernels: &BTreeMap<String, Listed>) -> String {
    let mut text = String::new();
    for (name, Listed { digest, size }) in kernels {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{digest} {size} {name}");
    }
    text
}

fn parse_line(line: &str) -> Option<(String, Listed)> {
    let (digest, rest) = line.split_once(' ')?;
    let (size, name) = rest.split_once(' ')?;
    let listed = Listed { digest: digest.parse().ok()?, size: size.parse().ok()? };
    (!name.is_empty()).then(|| (name.to_owned(), listed))
}
