//! A kernel's identity.

use std::fmt;
use std::str::FromStr;

use crate::{Arch, Error};

/// Parts end up in paths; no file system takes longer names.
const MAX_PART: usize = 128;

/// Which kernel: `distro/version/arch/release`, such as `debian/12/x86_64/6.1.0-50-cloud-amd64`.
///
/// `distro` and `version` are os-release's ID and VERSION_ID, `release` is `uname -r`. Since a release is not unique
/// (Debian keeps it over several package versions), the build-id goes with it wherever it is known.
///
/// Every part is safe as a path component: printable ASCII, no slash, no `..`. The order is that of the parts' bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct KernelId {
    distro: String,
    version: String,
    arch: Arch,
    release: String,
}

impl KernelId {
    /// Makes an identity of its parts, which are checked.
    pub fn new(distro: &str, version: &str, arch: Arch, release: &str) -> Result<KernelId, Error> {
        let text = || format!("{distro}/{version}/{arch}/{release}");
        for (name, part) in [("distro", distro), ("version", version), ("release", release)] {
            if let Some(reason) = find_fault(part) {
                return Err(Error::KernelId { text: text(), reason: format!("the {name} {reason}") });
            }
        }
        Ok(KernelId { distro: distro.into(), version: version.into(), arch, release: release.into() })
    }

    /// os-release's ID: `debian`.
    pub fn distro(&self) -> &str {
        &self.distro
    }

    /// os-release's VERSION_ID: `12`; a suite's name where there is none.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The architecture.
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// `uname -r`.
    pub fn release(&self) -> &str {
        &self.release
    }
}

/// Why a text can't be a part of an identity.
fn find_fault(part: &str) -> Option<&'static str> {
    if part.is_empty() {
        Some("is empty")
    } else if part.len() > MAX_PART {
        Some("is longer than 128 bytes")
    } else if part == "." || part.contains("..") {
        Some("is \".\" or contains \"..\"")
    } else if part.starts_with('-') {
        Some("starts with \"-\"")
    } else if !part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b'\\') {
        Some("contains a slash, a space, a control or a non-ASCII character")
    } else {
        None
    }
}

impl fmt::Display for KernelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KernelId { distro, version, arch, release } = self;
        f.pad(&format!("{distro}/{version}/{arch}/{release}"))
    }
}

impl FromStr for KernelId {
    type Err = Error;

    fn from_str(text: &str) -> Result<KernelId, Error> {
        let wrong = |reason: String| Error::KernelId { text: text.to_owned(), reason };
        let parts: Vec<&str> = text.split('/').collect();
        let [distro, version, arch, release] = parts[..] else {
            return Err(wrong(format!("it has {} parts, not 4", parts.len())));
        };
        let arch = arch.parse().map_err(|error: Error| wrong(error.to_string()))?;
        KernelId::new(distro, version, arch, release)
    }
}

impl From<KernelId> for String {
    fn from(id: KernelId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for KernelId {
    type Error = Error;

    fn try_from(text: String) -> Result<KernelId, Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: Result<&str, &str>) {
        match (text.parse::<KernelId>(), wanted) {
            (Ok(id), Ok(wanted)) => assert_eq!(id.to_string(), wanted),
            (Err(error), Err(wanted)) => {
                assert!(error.to_string().contains(wanted), "{text:?}: {error}, not {wanted}");
            }
            (found, wanted) => panic!("{text:?}: {found:?}, not {wanted:?}"),
        }
    }

    #[test]
    fn parse() {
        let debian = "debian/12/x86_64/6.1.0-50-cloud-amd64";
        check(debian, Ok(debian));
        check("debian/12/amd64/6.1.0-50-cloud-amd64", Ok(debian));
        check("debian/13/aarch64/6.12.107+deb13", Ok("debian/13/arm64/6.12.107+deb13"));
        check("cos/105/x86_64/6.1.58+", Ok("cos/105/x86_64/6.1.58+"));
        check("", Err("1 parts"));
        check("debian/12/x86_64", Err("3 parts"));
        check("debian/12/x86_64/6.1/0", Err("5 parts"));
        check("debian//x86_64/6.1", Err("version is empty"));
        check("debian/12/x86_64/", Err("release is empty"));
        check("../12/x86_64/6.1", Err(".."));
        check("./12/x86_64/6.1", Err("\".\""));
        check("debian/12/x86_64/6..1", Err(".."));
        check("debian/12/x86_64/6.1\n", Err("control"));
        check("debian/12/x86_64/6 1", Err("space"));
        check("debian/12/x86_64/6\u{e9}", Err("non-ASCII"));
        check("debian/12/x86_64/a\\b", Err("slash"));
        check("-rf/12/x86_64/6.1", Err("\"-\""));
        check("debian/12/i386/6.1", Err("i386"));
        check(&format!("debian/12/x86_64/{}", "6".repeat(129)), Err("longer"));
    }

    #[test]
    fn order_is_by_part() {
        let ids = [
            "debian/11/x86_64/6",
            "debian/12/x86_64/6",
            "debian/12/arm64/5",
            "debian/12/arm64/6",
            "x/1/arm64/1",
        ];
        let parsed: Vec<KernelId> = ids.iter().map(|id| id.parse().unwrap()).collect();
        assert!(parsed.is_sorted());
    }

    #[test]
    fn serde_as_string() {
        let id: KernelId = serde_json::from_str("\"debian/12/amd64/6.1\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"debian/12/x86_64/6.1\"");
        assert!(serde_json::from_str::<KernelId>("\"debian\"").is_err());
    }
}
