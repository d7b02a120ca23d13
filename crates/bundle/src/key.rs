//! Which kernel: the key that a bundle files it under.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::error::Error;

/// A kernel's identity: `distro/version/arch/release`, e.g. `debian/12/x86_64/6.1.0-50-cloud-amd64`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelKey {
    /// The ID of os-release.
    pub distro: String,
    /// The VERSION_ID of os-release.
    pub version: String,
    /// The architecture.
    pub arch: Arch,
    /// `uname -r`.
    pub release: String,
}

impl fmt::Display for KernelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.distro, self.version, self.arch, self.release)
    }
}

impl FromStr for KernelKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<KernelKey, Error> {
        let bad = |problem| Error::Part { field: "kernel key", value: text.to_owned(), problem };
        let parts: Vec<&str> = text.split('/').collect();
        let [distro, version, arch, release] = parts[..] else {
            return Err(bad("is not distro/version/arch/release"));
        };
        let arch = arch.parse().map_err(|_| bad("has an unknown architecture"))?;
        for (field, part) in [("distro", distro), ("version", version), ("release", release)] {
            check_part(field, part)?;
        }
        Ok(KernelKey { distro: distro.into(), version: version.into(), arch, release: release.into() })
    }
}

/// A kernel as it is given to a bundle, and as the index names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelEntry {
    /// The ID of os-release.
    pub distro: String,
    /// The VERSION_ID of os-release.
    pub version: String,
    /// Other words for the same version that a machine with this kernel may say, e.g. `8.1` for `8`.
    #[serde(default)]
    pub version_aliases: Vec<String>,
    /// The architecture.
    pub arch: Arch,
    /// `uname -r`.
    pub release: String,
    /// The GNU build-id of its vmlinux in lowercase hexadecimal, where it is known.
    #[serde(default)]
    pub build_id: Option<String>,
}

impl KernelEntry {
    /// The key without the build-id.
    pub fn key(&self) -> KernelKey {
        KernelKey {
            distro: self.distro.clone(),
            version: self.version.clone(),
            arch: self.arch,
            release: self.release.clone(),
        }
    }

    /// The order of kernels in an index.
    pub(crate) fn order(&self) -> (&str, &str, Arch, &str, Option<&str>) {
        (&self.distro, &self.version, self.arch, &self.release, self.build_id.as_deref())
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        check_part("distro", &self.distro)?;
        check_part("version", &self.version)?;
        check_part("release", &self.release)?;
        self.version_aliases.iter().try_for_each(|alias| check_part("version alias", alias))?;
        self.build_id.as_deref().map_or(Ok(()), check_build_id)
    }
}

/// A part of a key stands in paths and messages of others, so it is one plain path component.
fn check_part(field: &'static str, value: &str) -> Result<(), Error> {
    let problem = match value {
        "" => "is empty",
        "." | ".." => "is no name",
        _ if value.len() > 255 => "is longer than 255 bytes",
        _ if value.contains('/') => "contains a slash",
        _ if value.chars().any(char::is_control) => "contains a control character",
        _ => return Ok(()),
    };
    Err(Error::Part { field, value: value.to_owned(), problem })
}

fn check_build_id(value: &str) -> Result<(), Error> {
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if (2..=128).contains(&value.len()) && value.len().is_multiple_of(2) && value.bytes().all(hex) {
        return Ok(());
    }
    Err(Error::Part {
        field: "build id",
        value: value.to_owned(),
        problem: "is not lowercase hexadecimal bytes",
    })
}

/// The name of a bundle, a program or the engine.
pub(crate) fn check_name(field: &'static str, value: &str) -> Result<(), Error> {
    check_part(field, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let check = |text: &str, want: Option<&str>| {
            let key = text.parse::<KernelKey>().ok().map(|key| key.to_string());
            assert_eq!(key.as_deref(), want, "{text}");
        };
        check("debian/12/x86_64/6.1.0-50-cloud-amd64", Some("debian/12/x86_64/6.1.0-50-cloud-amd64"));
        check("debian/sid/aarch64/7.0.4", Some("debian/sid/arm64/7.0.4"));
        check("debian/12/x86_64", None);
        check("debian/12/x86_64/a/b", None);
        check("debian/12/mips/a", None);
        check("debian//x86_64/a", None);
        check("../12/x86_64/a", None);
        check("debian/1\n2/x86_64/a", None);
        check(&format!("debian/12/x86_64/{}", "a".repeat(256)), None);
    }

    #[test]
    fn build_ids() {
        let check = |text: &str, ok: bool| assert_eq!(check_build_id(text).is_ok(), ok, "{text}");
        check("00ff", true);
        check(&"ab".repeat(20), true);
        check("", false);
        check("0", false);
        check("00FF", false);
        check(&"ab".repeat(65), false);
    }
}
