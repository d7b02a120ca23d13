//! The kernel that a caller looks for.

use crate::arch::Arch;
use crate::os_release::OsRelease;

/// What is known of the kernel whose BTF is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The ID of os-release. Old and long names (`redhat`, `amazon` …) are understood.
    pub distro: Option<String>,
    /// The VERSION_ID of os-release. Some have none: Debian testing, Arch.
    pub version: Option<String>,
    /// The architecture.
    pub arch: Arch,
    /// `uname -r`.
    pub release: String,
    /// The GNU build-id of the running kernel in lowercase hexadecimal, where it is known.
    pub build_id: Option<String>,
}

impl Query {
    /// A kernel of an unknown distribution.
    pub fn new(arch: Arch, release: impl Into<String>) -> Query {
        Query { distro: None, version: None, arch, release: release.into(), build_id: None }
    }

    /// With the distribution that `os` names.
    pub fn os_release(self, os: &OsRelease) -> Query {
        Query { distro: os.id.clone(), version: os.version_id.clone(), ..self }
    }

    /// With a distribution (ID) and its version (VERSION_ID).
    pub fn os(self, distro: impl Into<String>, version: impl Into<String>) -> Query {
        Query { distro: Some(distro.into()), version: Some(version.into()), ..self }
    }

    /// With the build-id of the running kernel.
    pub fn build_id(self, build_id: impl Into<String>) -> Query {
        Query { build_id: Some(build_id.into()), ..self }
    }
}
