//! libbpf's own relocation code, driven offline, as the judge of relo-core.
//!
//! libbpf does CO-RE relocations in functions that take BTFs, a record and an instruction and do no IO. They are not
//! in its API, and they are in its static library. [`judge`] calls them as `bpf_object__relocate_core` does and
//! returns what they say; [`compare`] holds relo-core's records against that. [`Known`] lists where relo-core is
//! meant to differ, with `judges/known-differences.md` as the text for people.
//!
//! [`generate`] makes objects and targets out of a seed, with every kind of relocation and every way in which one can
//! end; [`Coverage`] counts them.
//!
//! Not for products: libbpf crashes or never returns on types that [`Sound`] keeps from it.
#![deny(unsafe_code)]

mod compare;
mod coverage;
mod elf;
mod ffi;
pub mod generate;
mod judge;
mod known;
mod libbpf;
mod sound;

pub use compare::{Comparison, Disagreement, Pair, compare};
pub use coverage::Coverage;
pub use elf::{Code, write_object};
pub use judge::{Judged, Object, Path, Program, Site, Target, Verdict, judge};
pub use known::Known;
pub use libbpf::{Cand, Errno, LibbpfBtf, Resolution, version};
pub use sound::{Sound, Unsound};
