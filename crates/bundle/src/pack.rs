//! The seekable form of a bundle: a table that a reader searches without reading it, and BTF in chunks of which a
//! lookup decompresses one. docs/bundle-format.md specifies it byte by byte.

mod chunk;
mod error;
mod layout;
mod reader;
mod source;
#[cfg(feature = "full")]
mod writer;

pub use error::{Damage, PackError};
pub use layout::Method;
pub use reader::{Pack, PackedKernel, PackedProgram, Verdict};
pub use source::ReadAt;
#[cfg(feature = "full")]
pub use writer::{PackOptions, write_pack};
