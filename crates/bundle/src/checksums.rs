//! `SHA256SUMS`: the file that `sha256sum -c` reads.

use std::collections::BTreeMap;
use std::fmt;

use crate::digest::Digest;
use crate::error::Error;

/// Digests by file name, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checksums(BTreeMap<String, Digest>);

impl Checksums {
    /// Of no file yet.
    pub fn new() -> Checksums {
        Checksums::default()
    }

    /// Adds a file. A name is one plain path component, so that no line means something else.
    pub fn add(&mut self, name: impl Into<String>, sha256: Digest) -> Result<(), Error> {
        let name = name.into();
        if let Some(problem) = bad_name(&name) {
            return Err(Error::Part { field: "file name", value: name, problem });
        }
        self.0.insert(name, sha256);
        Ok(())
    }

    /// The digest of a file.
    pub fn find(&self, name: &str) -> Option<Digest> {
        self.0.get(name).copied()
    }

    /// The names and digests, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Digest)> {
        self.0.iter().map(|(name, sha256)| (name.as_str(), *sha256))
    }

    /// Reads the text of the file; lines of binary mode (` *name`) too.
    pub fn parse(text: &str) -> Result<Checksums, Error> {
        let mut sums = Checksums::new();
        for (number, line) in text.lines().enumerate() {
            let (name, sha256) = parse_line(line)
                .and_then(|(name, sha256)| match bad_name(name) {
                    Some(problem) => Err(problem),
                    None if sums.0.contains_key(name) => Err("the name is there twice"),
                    None => Ok((name, sha256)),
                })
                .map_err(|problem| Error::Checksums { line: number + 1, problem })?;
            sums.0.insert(name.to_owned(), sha256);
        }
        Ok(sums)
    }
}

fn parse_line(line: &str) -> Result<(&str, Digest), &'static str> {
    let (digest, name) = line.split_once(' ').ok_or("expected a sha256, two spaces and a name")?;
    let digest = digest.parse().map_err(|_| "expected 64 lowercase hexadecimal digits")?;
    let name = name.strip_prefix([' ', '*']).ok_or("expected two spaces before the name")?;
    Ok((name, digest))
}

fn bad_name(name: &str) -> Option<&'static str> {
    match name {
        "" | "." | ".." => Some("is no file name"),
        _ if name.contains(['/', '\\']) => Some("contains a slash"),
        _ if name.chars().any(char::is_control) => Some("contains a control character"),
        _ => None,
    }
}

/// The text of the file.
impl fmt::Display for Checksums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, sha256)| writeln!(f, "{sha256}  {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_both_ways() {
        let mut sums = Checksums::new();
        sums.add("b.tar.zst", Digest::of(b"b")).unwrap();
        sums.add("a.tar.zst", Digest::of(b"a")).unwrap();
        let text = sums.to_string();
        assert_eq!(text, format!("{}  a.tar.zst\n{}  b.tar.zst\n", Digest::of(b"a"), Digest::of(b"b")));
        assert_eq!(Checksums::parse(&text).unwrap(), sums);
        assert_eq!(Checksums::parse(&text.replace("  ", " *")).unwrap(), sums);
        assert_eq!(sums.find("a.tar.zst"), Some(Digest::of(b"a")));
        for name in ["", "..", "a/b", "a\nb", "a\\b"] {
            assert!(sums.add(name, Digest::of(b"")).is_err(), "{name:?}");
        }
    }

    #[test]
    fn refused() {
        let digest = Digest::of(b"");
        let check = |text: &str, line: usize| {
            let error = Checksums::parse(text).unwrap_err();
            assert!(matches!(error, Error::Checksums { line: l, .. } if l == line), "{text:?}: {error}");
        };
        check("nothing", 1);
        check(&format!("{digest} a"), 1);
        check(&format!("{digest}  a\n{digest}  a"), 2);
        check(&format!("{digest}  ../a"), 1);
        check(&format!("{digest}  a\n\n"), 2);
        check("00  a", 1);
    }
}
