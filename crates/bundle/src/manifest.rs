//! `manifest.json`: what a release consists of, and the digests that it promises.

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::digest::Digest;
use crate::error::Error;
use crate::frame::zstd_version;
use crate::index::{BlobRef, ProgramEntry, check_stamp};
use crate::layout::Deliverable;
use crate::writer::Package;

/// The version of the manifest that is written and read here.
pub const MANIFEST_VERSION: u32 = 1;
const FORMAT: &str = "btfpipe-manifest";

/// The packages of one release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    version: u32,
    /// The packages, sorted by file name.
    pub packages: Vec<PackageEntry>,
    /// The same in the layouts of others, sorted by file name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layouts: Vec<LayoutEntry>,
}

/// A package in a layout of others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LayoutEntry {
    /// Its file name.
    pub file: String,
    /// The layout's name.
    pub layout: String,
    /// The architecture of its kernels.
    pub arch: Arch,
    /// The digest and size of the file.
    pub content: BlobRef,
    /// The plugin that made it, where the layout is none of our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<LayoutPlugin>,
}

/// The plugin that made a layout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LayoutPlugin {
    /// Its name.
    pub name: String,
    /// The digest of all that decides what it does, without its configuration.
    pub sha256: Digest,
}

impl LayoutEntry {
    /// What the manifest says of a file that a plugin made.
    pub fn by(plugin: LayoutPlugin, layout: &str, file: String, arch: Arch, bytes: &[u8]) -> LayoutEntry {
        let content = BlobRef { sha256: Digest::of(bytes), size: bytes.len() as u64 };
        LayoutEntry { file, layout: layout.to_owned(), arch, content, plugin: Some(plugin) }
    }

    /// What the manifest says of `deliverable`.
    pub fn of(deliverable: &Deliverable, arch: Arch) -> LayoutEntry {
        let Deliverable { layout, file, bytes } = deliverable;
        let content = BlobRef { sha256: Digest::of(bytes), size: bytes.len() as u64 };
        LayoutEntry { file: file.clone(), layout: layout.name().to_owned(), arch, content, plugin: None }
    }
}

/// One package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageEntry {
    /// Its file name.
    pub file: String,
    /// The name that the vendor gave to it.
    pub name: String,
    /// The architecture of its kernels.
    pub arch: Arch,
    /// The program and version that minimized the BTF.
    pub engine: String,
    /// The time of every file in it.
    pub source_date_epoch: u64,
    /// The zstd level.
    pub level: i32,
    /// The version of zstd: another one may make another `zst` of the same `tar`.
    pub zstd: String,
    /// The archive, decompressed.
    pub tar: BlobRef,
    /// The file.
    pub zst: BlobRef,
    /// How many distinct BTFs it holds.
    pub blobs: u64,
    /// The digest of its set of programs, see [`Index::program_set`](crate::Index::program_set).
    #[serde(default)]
    pub program_set: Option<Digest>,
    /// Its kernels as `distro/version/arch/release`, in the order of its index.
    pub kernels: Vec<ManifestKernel>,
    /// Its programs, sorted by name.
    pub programs: Vec<ProgramEntry>,
}

/// A kernel of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestKernel {
    /// `distro/version/arch/release`.
    pub id: String,
    /// The GNU build-id of its vmlinux, where it is known.
    pub build_id: Option<String>,
    /// The digest of its minimized BTF.
    pub btf: BlobRef,
}

#[derive(Deserialize)]
struct Stamp {
    format: String,
    version: u64,
}

impl PackageEntry {
    /// What the manifest says of `package`.
    pub fn of(package: &Package) -> PackageEntry {
        let index = &package.index;
        let kernel = |kernel: &crate::IndexedKernel| ManifestKernel {
            id: kernel.entry.key().to_string(),
            build_id: kernel.entry.build_id.clone(),
            btf: kernel.btf,
        };
        PackageEntry {
            file: package.file.clone(),
            name: index.name.clone(),
            arch: index.arch,
            engine: index.engine.clone(),
            source_date_epoch: package.source_date_epoch,
            level: package.level,
            zstd: zstd_version().to_owned(),
            tar: BlobRef { sha256: package.tar_sha256, size: package.tar_size },
            zst: BlobRef { sha256: package.zst_sha256, size: package.zst_size },
            blobs: package.blobs,
            program_set: Some(index.program_set()),
            kernels: index.kernels.iter().map(kernel).collect(),
            programs: index.programs.clone(),
        }
    }
}

impl Manifest {
    /// The manifest of these packages, in any order.
    pub fn new(packages: impl IntoIterator<Item = PackageEntry>) -> Manifest {
        let mut packages: Vec<_> = packages.into_iter().collect();
        packages.sort_by(|a, b| a.file.cmp(&b.file));
        Manifest { format: FORMAT.into(), version: MANIFEST_VERSION, packages, layouts: Vec::new() }
    }

    /// With the files of these layouts, in any order.
    pub fn with_layouts(mut self, layouts: impl IntoIterator<Item = LayoutEntry>) -> Manifest {
        self.layouts.extend(layouts);
        self.layouts.sort();
        self
    }

    /// The text of `manifest.json`.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest is plain JSON");
        text.push('\n');
        text
    }

    /// Reads `manifest.json`.
    pub fn parse(json: &[u8]) -> Result<Manifest, Error> {
        let stamp: Stamp = serde_json::from_slice(json).map_err(Error::Manifest)?;
        check_stamp("the manifest format", (&stamp.format, stamp.version), (FORMAT, MANIFEST_VERSION))?;
        serde_json::from_slice(json).map_err(Error::Manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BundleBuilder, BundleMeta};

    fn entry(arch: Arch) -> PackageEntry {
        let meta = BundleMeta { name: "n".into(), arch, engine: "e".into(), source_date_epoch: 5 };
        PackageEntry::of(&BundleBuilder::new(meta).unwrap().finish(3).unwrap())
    }

    #[test]
    fn round_trip_and_order() {
        let manifest = Manifest::new([entry(Arch::X86_64), entry(Arch::Arm64)]);
        let files: Vec<_> = manifest.packages.iter().map(|package| package.file.as_str()).collect();
        assert_eq!(files, ["n-arm64.tar.zst", "n-x86_64.tar.zst"]);
        assert_eq!(manifest, Manifest::new([entry(Arch::Arm64), entry(Arch::X86_64)]));
        assert_eq!(Manifest::parse(manifest.to_json().as_bytes()).unwrap(), manifest);
        assert_ne!(manifest.packages[0].tar.sha256, Digest::of(b""));
    }

    #[test]
    fn refused() {
        let check = |json: &str, want: &str| {
            let error = Manifest::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        };
        check("", "manifest.json");
        check(r#"{"format":"btfpipe-manifest","version":9}"#, "btfpipe-manifest 9");
        check(r#"{"format":"btfpipe-manifest","version":1}"#, "missing field");
    }
}
