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
//!
//! [`Pack`] is the seekable form: a lookup reads some hundred bytes of it and decompresses one chunk. With default
//! features off the crate is this reader alone, for programs that carry a pack: no tar, no JSON, no C.
#![forbid(unsafe_code)]

mod arch;
mod digest;
mod host;
mod lookup;
mod os_release;
pub mod pack;
mod query;
mod release_pattern;

#[cfg(feature = "full")]
mod archive;
#[cfg(feature = "full")]
pub mod attestation;
#[cfg(feature = "full")]
mod checksums;
#[cfg(feature = "full")]
mod content;
#[cfg(feature = "full")]
pub mod delta;
#[cfg(feature = "full")]
mod error;
#[cfg(feature = "full")]
mod frame;
#[cfg(feature = "full")]
mod index;
#[cfg(feature = "full")]
mod key;
#[cfg(feature = "full")]
mod layout;
#[cfg(feature = "full")]
mod manifest;
#[cfg(feature = "full")]
mod outcomes;
#[cfg(feature = "full")]
mod reader;
#[cfg(feature = "full")]
mod signature;
#[cfg(feature = "full")]
mod writer;

pub use arch::{Arch, UnknownArch};
pub use digest::{Digest, NotADigest};
pub use host::{HostError, build_id_from_notes};
pub use lookup::{BuildIdCheck, Hit, Miss, Rule};
pub use os_release::OsRelease;
pub use pack::{Pack, PackError};
pub use query::Query;

#[cfg(feature = "full")]
pub use checksums::Checksums;
#[cfg(feature = "full")]
pub use content::Content;
#[cfg(feature = "full")]
pub use delta::Delta;
#[cfg(feature = "full")]
pub use error::{DeltaFault, Error, TarFault};
#[cfg(feature = "full")]
pub use frame::zstd_version;
#[cfg(feature = "full")]
pub use index::{BlobRef, INDEX_VERSION, Index, IndexedKernel, ProgramEntry};
#[cfg(feature = "full")]
pub use key::{KernelEntry, KernelKey};
#[cfg(feature = "full")]
pub use layout::{Deliverable, Layout, Member, UnknownLayout};
#[cfg(feature = "full")]
pub use manifest::{LayoutEntry, LayoutPlugin, MANIFEST_VERSION, Manifest, ManifestKernel, PackageEntry};
#[cfg(feature = "full")]
pub use outcomes::{Outcome, Outcomes};
#[cfg(feature = "full")]
pub use reader::{Bundle, Limits};
#[cfg(feature = "full")]
pub use signature::{SignatureError, SigningKey};
#[cfg(feature = "full")]
pub use writer::{BundleBuilder, BundleMeta, Package};
