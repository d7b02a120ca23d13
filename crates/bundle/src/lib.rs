//! Reproducible packages of minimized BTF, and reading one.
//!
//! A bundle is one zstd frame around one tar: `index.json`, each distinct minimized BTF once, each distinct list of
//! relocation records once. `docs/bundle-format.md` specifies it byte by byte.
//!
//! - [`BundleBuilder`] makes one. The same kernels, programs and level make the same bytes, whatever the order in
//!   which they were added and the number of threads.
//! - [`Bundle`] reads one, checks every digest before it hands anything out, and refuses what a bundle never contains.
//! - [`Query`] says which kernel runs; [`Index::resolve`] finds its BTF and says by which [`Rule`].
//!
//! ```
//! use bundle::{Arch, Bundle, BundleBuilder, BundleMeta, KernelEntry, Query, Rule};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let meta = BundleMeta { name: "release".into(), arch: Arch::X86_64, engine: "btfpipe 0.1.0".into(), source_date_epoch: 0 };
//! let mut builder = BundleBuilder::new(meta)?;
//! let kernel = KernelEntry {
//!     distro: "debian".into(),
//!     version: "12".into(),
//!     version_aliases: vec![],
//!     arch: Arch::X86_64,
//!     release: "6.1.0-50-cloud-amd64".into(),
//!     build_id: None,
//! };
//! builder.add_kernel(kernel, b"\x9f\xeb\x01\0".to_vec(), Vec::new())?;
//! let package = builder.finish(19)?;
//!
//! let bundle = Bundle::open(&package.tar_zst)?;
//! let query = Query::new(Arch::X86_64, "6.1.0-50-cloud-amd64").os("debian", "12");
//! let hit = bundle.index().resolve(&query)?;
//! assert_eq!(hit.rule, Rule::Exact);
//! assert_eq!(bundle.btf_of(hit.kernel), Some(&b"\x9f\xeb\x01\0"[..]));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod arch;
mod archive;
mod checksums;
mod content;
mod digest;
mod error;
mod frame;
mod host;
mod index;
mod key;
mod lookup;
mod manifest;
mod os_release;
mod query;
mod reader;
mod release_pattern;
mod writer;

pub use arch::{Arch, UnknownArch};
pub use checksums::Checksums;
pub use content::Content;
pub use digest::{Digest, NotADigest};
pub use error::{Error, TarFault};
pub use frame::zstd_version;
pub use host::{HostError, build_id_from_notes};
pub use index::{BlobRef, INDEX_VERSION, Index, IndexedKernel, ProgramEntry};
pub use key::{KernelEntry, KernelKey};
pub use lookup::{BuildIdCheck, Hit, Miss, Rule};
pub use manifest::{MANIFEST_VERSION, Manifest, ManifestKernel, PackageEntry};
pub use os_release::OsRelease;
pub use query::Query;
pub use reader::{Bundle, Limits};
pub use writer::{BundleBuilder, BundleMeta, Package};
