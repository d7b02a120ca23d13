//! The kernel packages that the Packages files of a suite list.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use plugin::SourcePackage;

/// What a Packages file says of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Name, version, file and digest.
    pub package: SourcePackage,
    /// The source package's name.
    pub source: String,
    /// Names of the packages that it depends on, of alternatives the first.
    pub depends: Vec<String>,
    /// The pocket that lists it.
    pub pocket: String,
}

/// Packages by name; of each name, all versions.
#[derive(Debug, Default)]
pub struct Index {
    packages: BTreeMap<String, Vec<Package>>,
}

impl Index {
    /// Adds the kernel packages of a Packages file.
    pub fn add(&mut self, pocket: &str, file: impl BufRead) -> io::Result<()> {
        let mut stanza = Stanza::default();
        for line in file.lines() {
            let line = line?;
            if line.is_empty() {
                self.add_stanza(pocket, std::mem::take(&mut stanza));
            } else {
                stanza.add(&line);
            }
        }
        self.add_stanza(pocket, stanza);
        Ok(())
    }

    fn add_stanza(&mut self, pocket: &str, stanza: Stanza) {
        let Some(found) = stanza.package(pocket) else {
            return;
        };
        let versions = self.packages.entry(found.package.name.clone()).or_default();
        if !versions.iter().any(|known| known.package == found.package) {
            versions.push(found);
        }
    }

    /// All packages, by name.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values().flatten()
    }

    /// A package by name and version.
    pub fn find(&self, name: &str, version: &str) -> Option<&Package> {
        self.packages.get(name)?.iter().find(|found| found.package.version == version)
    }
}

/// The fields that matter of the stanza that is being read.
#[derive(Default)]
struct Stanza {
    /// Kernel packages are few among tens of thousands; the rest isn't kept.
    skip: bool,
    fields: BTreeMap<&'static str, String>,
}

const FIELDS: &[&str] =
    &["Package", "Source", "Version", "Architecture", "Depends", "Filename", "Size", "SHA256"];

impl Stanza {
    fn add(&mut self, line: &str) {
        if self.skip {
            return;
        }
        let Some((key, value)) = line.split_once(':') else {
            return;
        };
        let Some(known) = FIELDS.iter().find(|known| **known == key) else {
            return;
        };
        let value = value.trim();
        self.skip = *known == "Package" && !value.starts_with("linux-");
        self.fields.insert(known, value.to_owned());
    }

    /// Nothing if it is no kernel package, or one that says things which can't be used.
    fn package(mut self, pocket: &str) -> Option<Package> {
        if self.skip {
            return None;
        }
        let name = self.fields.remove("Package")?;
        let source = self.fields.remove("Source").unwrap_or_else(|| name.clone());
        let package = SourcePackage {
            version: self.fields.remove("Version")?,
            arch: self.fields.remove("Architecture")?,
            file: self.fields.remove("Filename")?.rsplit('/').next()?.to_owned(),
            sha256: self.fields.remove("SHA256")?,
            size: self.fields.remove("Size")?.parse().ok()?,
            name,
        };
        is_usable(&package).then(|| Package {
            package,
            source: source.split(' ').next().unwrap_or_default().to_owned(),
            depends: parse_depends(&self.fields.remove("Depends").unwrap_or_default()),
            pocket: pocket.to_owned(),
        })
    }
}

/// `a (= 1), b | c` to `a`, `b`.
fn parse_depends(text: &str) -> Vec<String> {
    text.split(',')
        .filter_map(|group| group.split_whitespace().next())
        .map(|name| name.split(['(', ':', '|']).next().unwrap_or_default().to_owned())
        .collect()
}

/// Whether the names are such that they can be arguments and file names. They come from signed files, or from a
/// lock that people edit.
pub fn is_usable(package: &SourcePackage) -> bool {
    let made_of = |text: &str, more: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    made_of(&package.name, "+-.")
        && made_of(&package.version, "+-.:~")
        && made_of(&package.arch, "-")
        && made_of(&package.file, "+-._:~%")
        && package.sha256.len() == 64
        && package.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A stanza of a Packages file.
    pub fn stanza(name: &str, version: &str, source: &str, depends: &str) -> String {
        format!(
            "Package: {name}\nSource: {source} (1+1)\nVersion: {version}\nArchitecture: amd64\nDepends: {depends}\n\
             Description: Depends: nothing\n Version: 0\nFilename: pool/main/l/{name}_{version}_amd64.deb\n\
             Size: 7\nSHA256: {:064x}\n\n",
            name.len()
        )
    }

    /// The index of one Packages file.
    pub fn index(text: &str) -> Index {
        let mut index = Index::default();
        index.add("sid", text.as_bytes()).unwrap();
        index
    }

    #[test]
    fn stanzas() {
        let text = stanza("bash", "5", "bash", "")
            + &stanza("linux-image-6", "6.1-1", "linux", "kmod, a (>= 1) | b");
        let index = index(text.trim_end());
        let all: Vec<&Package> = index.packages().collect();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].package.name, "linux-image-6");
        assert_eq!(all[0].package.version, "6.1-1");
        assert_eq!(all[0].package.file, "linux-image-6_6.1-1_amd64.deb");
        assert_eq!(all[0].package.size, 7);
        assert_eq!(all[0].source, "linux");
        assert_eq!(all[0].depends, ["kmod", "a"]);
        assert!(index.find("linux-image-6", "6.1-1").is_some());
        assert!(index.find("linux-image-6", "6.1-2").is_none());
        assert!(index.find("bash", "5").is_none());
    }

    #[test]
    fn the_same_package_in_two_pockets_is_one() {
        let mut index = index(&stanza("linux-a", "1", "linux", ""));
        index.add("sid-security", stanza("linux-a", "1", "linux", "").as_bytes()).unwrap();
        index.add("sid-security", stanza("linux-a", "2", "linux", "").as_bytes()).unwrap();
        let found: Vec<(&str, &str)> =
            index.packages().map(|p| (p.package.version.as_str(), p.pocket.as_str())).collect();
        assert_eq!(found, [("1", "sid"), ("2", "sid-security")]);
    }

    #[test]
    fn unusable_stanzas_are_left_out() {
        let good = stanza("linux-a", "1", "linux", "");
        assert_eq!(index(&good).packages().count(), 1);
        for (from, to) in [
            ("Package: linux-a\n", "Package: linux-a b\n"),
            ("Version: 1\n", "Version: -1\n"),
            ("Version: 1\n", ""),
            ("Size: 7", "Size: many"),
            ("SHA256: 0", "SHA256: Z"),
            ("SHA256: 0", "SHA256: "),
            ("_amd64.deb", "_amd64.deb/"),
            ("pool/main/l/", "pool/main/l/.."),
        ] {
            let text = good.replace(from, to);
            assert_ne!(text, good);
            assert_eq!(index(&text).packages().count(), 0, "{text}");
        }
    }
}
