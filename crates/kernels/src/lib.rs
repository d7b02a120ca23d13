//! Which kernel: identity, kernels.lock, packages, images, store.
//!
//! | file | noun |
//! |--|--|
//! | `id.rs`, `arch.rs`, `digest.rs` | names: a kernel's identity, its architecture, a sha256 |
//! | `lock.rs`, `locked.rs` | `kernels.lock`: every kernel that a pipeline uses, pinned; one kernel of it |
//! | `deb.rs`, `ar.rs` | a Debian package, read as a stream; the archive around it |
//! | `rpm.rs` | an RPM package, read as a stream |
//! | `image.rs`, `raw.rs`, `compression.rs` | a boot image, as shipped, and what is inside |
//! | `elf.rs` | sections and build-id of an ELF file |
//! | `modules.rs` | the split BTFs of kernel modules |
//! | `input.rs` | a BTF out of any file that has one |
//! | `extract.rs` | packages in, BTFs and boot image out |
//! | `same_kernel.rs` | whether two BTFs can be of one kernel |
//! | `source/` | the sources that need no plugin: `btfhub`, `files`, `host` |
//! | `store.rs`, `store/upkeep.rs`, `key_lock.rs` | what was fetched and derived, by content and by key |
//! | `download/` | files from servers into the store |
//! | `corpus.rs` | BTFs that are kept at hand, by name, with an index or packed |
//!
//! Everything read here comes from elsewhere and may be broken or hostile: all sizes have limits, nothing from a
//! package is written to a path that the package names.
#![deny(unsafe_code)]

mod ar;
mod arch;
mod compression;
pub mod corpus;
mod deb;
mod digest;
pub mod download;
pub mod elf;
mod error;
pub mod extract;
mod file_bytes;
mod id;
pub mod image;
pub mod input;
mod key_lock;
mod lock;
mod locked;
pub mod modules;
mod raw;
mod rpm;
pub mod same_kernel;
pub mod source;
mod store;

pub use arch::Arch;
pub use corpus::Corpus;
pub use digest::Digest;
pub use error::{Error, FormatError};
pub use extract::Extracted;
pub use file_bytes::FileBytes;
pub use id::KernelId;
pub use image::{Image, ImageKind};
pub use input::{Input, InputError, InputProblem};
pub use key_lock::{Holder, KeyLock};
pub use lock::{Lock, LockedRequest};
pub use locked::{LockedBlob, LockedKernel, LockedModules, LockedPackage, LockedSource};
pub use modules::{BadModule, ModuleBtf};
pub use store::{Collected, Fault, Stats, Store, Use};
