//! A kernel in `kernels.lock`, with everything that pins it.

use std::collections::BTreeMap;

use crate::{Digest, KernelId};

/// A pinned kernel.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedKernel {
    /// Which one.
    pub id: KernelId,
    /// The GNU build-id of its vmlinux, where it is known; in hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// Who fetches it.
    pub source: LockedSource,
    /// The files to fetch.
    pub packages: Vec<LockedPackage>,
    /// The kernel's full BTF.
    pub btf: LockedBlob,
    /// The BTFs of its modules; None when they were not looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules: Option<LockedModules>,
    /// The boot image as shipped; None for a kernel that is known by its BTF alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<LockedBlob>,
    /// Whether the kernel has BTF of its own, in `/sys/kernel/btf/vmlinux`.
    pub own_btf: bool,
}

/// The source plugin, and what it needs to fetch the kernel again.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedSource {
    /// The plugin's name.
    pub plugin: String,
    /// Its own fields, such as a suite.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, String>,
}

/// A file to fetch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedPackage {
    /// The package's name.
    pub name: String,
    /// Its version, as the source spells it.
    pub version: String,
    /// Its architecture, as the source spells it.
    pub arch: String,
    /// Its file name, without folders.
    pub file: String,
    /// The sha256 of the file.
    pub sha256: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// A blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedBlob {
    /// Its sha256.
    pub sha256: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl LockedBlob {
    /// Pins some bytes.
    pub fn of(bytes: &[u8]) -> LockedBlob {
        LockedBlob { sha256: Digest::of(bytes), size: bytes.len() as u64 }
    }
}

/// The BTFs of a kernel's modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedModules {
    /// How many there are.
    pub count: u64,
    /// Their common digest: [`crate::modules::digest`].
    pub sha256: Digest,
}

impl LockedKernel {
    /// What is wrong with the values, beyond their types.
    pub(crate) fn find_fault(&self) -> Option<String> {
        if let Some(id) = self.build_id.as_deref().filter(|id| !is_build_id(id)) {
            return Some(format!("the build-id {id:?} is not hex digits"));
        }
        // The name becomes a path when the file is fetched.
        let odd = self.packages.iter().find(|package| !is_file_name(&package.file))?;
        Some(format!("{:?} is not a plain file name", odd.file))
    }
}

fn is_build_id(id: &str) -> bool {
    !id.is_empty()
        && id.len().is_multiple_of(2)
        && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && !name.starts_with('-')
        && !name.contains(|c: char| c == '/' || c.is_control())
}
