//! Names of kernels, and the digests of their BTFs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::Listed;
use crate::Error;

/// The list as it stands in its file: a line is read when somebody asks for it, since most ask for one of thousands.
#[derive(Debug, Clone)]
pub(super) struct List {
    path: PathBuf,
    text: String,
}

impl List {
    /// Reads the list; none is an empty one.
    pub(super) fn read(path: &Path) -> Result<List, Error> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => String::new(),
            Err(cause) => return Err(Error::io("read", path, cause)),
        };
        Ok(List { path: path.to_owned(), text })
    }

    /// All kernels.
    pub(super) fn all(&self) -> Result<BTreeMap<&str, Listed>, Error> {
        let mut kernels = BTreeMap::new();
        for (number, line) in self.text.lines().enumerate() {
            let Some((name, listed)) = parse_line(line) else {
                let what =
                    format!("line {} is not a digest, a size and a name; add the kernels again", number + 1);
                let cause = io::Error::new(io::ErrorKind::InvalidData, what);
                return Err(Error::io("read", &self.path, cause));
            };
            kernels.insert(name, listed);
        }
        Ok(kernels)
    }

    /// The kernel of a name, by halves; None also where the list is not sorted, or the line is none.
    pub(super) fn get(&self, name: &str) -> Option<Listed> {
        let mut rest = self.text.as_str();
        while !rest.is_empty() {
            let middle = rest.as_bytes()[..rest.len() / 2].iter().rposition(|&byte| byte == b'\n');
            let (before, after) = rest.split_at(middle.map_or(0, |newline| newline + 1));
            let (line, after) = after.split_once('\n').unwrap_or((after, ""));
            let (found, listed) = parse_line(line)?;
            match name.cmp(found) {
                std::cmp::Ordering::Less => rest = before,
                std::cmp::Ordering::Equal => return Some(listed),
                std::cmp::Ordering::Greater => rest = after,
            }
        }
        None
    }
}

/// The list as text, sorted by name.
pub(super) fn write(kernels: &BTreeMap<&str, Listed>) -> String {
    let mut text = String::new();
    for (name, Listed { digest, size }) in kernels {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{digest} {size} {name}");
    }
    text
}

fn parse_line(line: &str) -> Option<(&str, Listed)> {
    let (digest, rest) = line.split_once(' ')?;
    let (size, name) = rest.split_once(' ')?;
    let listed = Listed { digest: digest.parse().ok()?, size: size.parse().ok()? };
    (!name.is_empty()).then_some((name, listed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    #[test]
    fn by_halves_and_all() {
        for count in [0, 1, 2, 3, 10, 33] {
            let names: Vec<String> = (0..count).map(|number| format!("k {}", "x".repeat(number))).collect();
            let listed = |name: &str| Listed { digest: Digest::of(name.as_bytes()), size: name.len() as u64 };
            let kernels: BTreeMap<&str, Listed> =
                names.iter().map(|name| (name.as_str(), listed(name))).collect();
            let list = List { path: PathBuf::new(), text: write(&kernels) };
            assert_eq!(list.all().unwrap(), kernels);
            for name in &names {
                assert_eq!(list.get(name), Some(listed(name)), "{name:?} of {count}");
            }
            for other in ["", "a", "k", "z", "k xyx"] {
                assert_eq!(list.get(other), None, "{other:?} of {count}");
            }
        }
    }

    #[test]
    fn a_line_that_is_none() {
        let list = List { path: PathBuf::from("list"), text: "x y z\n".to_owned() };
        assert_eq!(list.get("z"), None);
        assert!(list.all().unwrap_err().to_string().contains("line 1 is not a digest"));
    }
}
