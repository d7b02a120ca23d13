//! Correct, or as libbpf does it.

/// Which rules hold where libbpf is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// What is correct.
    #[default]
    Correct,
    /// What libbpf 1.7 does, its bugs included.
    StrictLibbpf,
}

/// A place where the two modes decide differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Divergence {
    /// libbpf sign-extends enumerators of unsigned 32-bit enums, so that those from 0x80000000 on are refused.
    UnsignedEnumerator,
}
