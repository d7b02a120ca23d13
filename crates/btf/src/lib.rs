//! BTF and .BTF.ext as bytes: read, index, write, dump.
//!
//! A [`Btf`] is a value: it is parsed once, never changed, and every answer is read from its bytes when it is asked
//! for. Nothing here touches files, the environment or the clock, and no input makes it panic: what the bytes get
//! wrong comes back as an [`Error`] with the offset where it stands.
//!
//! The format is the kernel's (Documentation/bpf/btf.rst); where the document is silent, libbpf's `btf.c` decides.
//!
//! ```
//! use btf::{Btf, Builder, ByteOrder, IntEncoding, Kind};
//!
//! let mut builder = Builder::new(ByteOrder::Little);
//! let int = builder.int("int", 4, IntEncoding::SIGNED)?;
//! let point = builder.composite(Kind::Struct, "point", 8)?;
//! builder.member("x", int, 0, None)?;
//! builder.member("y", int, 32, None)?;
//! let bytes = builder.finish()?;
//!
//! let btf = Btf::parse(&bytes)?;
//! let point = btf.resolve(point)?;
//! assert_eq!(point.name()?, b"point");
//! assert_eq!(point.member(1)?.bit_offset, 32);
//! # Ok::<(), btf::Error>(())
//! ```
#![forbid(unsafe_code)]

mod bytes;
mod check;
mod distilled;
mod dump;
mod dump_c;
mod error;
mod ext;
mod header;
mod id;
mod kind;
mod lanes;
mod layout;
mod outline;
mod parse;
mod places;
mod search;
mod size;
mod trailer;
mod types;
mod walk;
mod write;

pub use bytes::ByteOrder;
pub use distilled::RebaseError;
pub use dump::DumpError;
pub use dump_c::Roots;
pub use error::{Error, ErrorKind};
pub use ext::{BtfExt, CoreRelo, ExtSection};
pub use header::{Header, HeaderLen};
pub use id::{StrOff, TypeId};
pub use kind::Kind;
pub use outline::Outline;
pub use parse::Btf;
pub use places::Places;
pub use search::{Search, Seen};
pub use size::PointerSize;
pub use types::{Array, Enumerator, IntEncoding, Member, Param, Type, VarSection};
pub use write::Builder;
