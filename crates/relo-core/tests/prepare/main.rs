//! Prepare, on objects that clang compiles here: each status, each kind of reference, each way to be refused.
#![forbid(unsafe_code)]

mod attach;
mod case;
mod compiler;
mod externs;
mod fooled;
mod patched;
mod reach;
mod references;
mod refusals;
mod struct_ops;
