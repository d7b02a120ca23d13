//! BTF and .BTF.ext as bytes: read, index, write, dump.
#![forbid(unsafe_code)]
