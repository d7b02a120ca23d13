//! Where things are in a pack. All numbers are little-endian; docs/bundle-format.md has the tables.

use crate::arch::Arch;
use crate::pack::error::{Damage, PackError};

pub(crate) const MAGIC: &[u8; 8] = b"BTFPACK1";
pub(crate) const HEADER: usize = 96;
/// Where the digest of the header before it and of the tables is.
pub(crate) const DIGEST: usize = 64;
pub(crate) const KERNEL: usize = 32;
pub(crate) const ALIAS: usize = 4;
pub(crate) const BLOB: usize = 48;
pub(crate) const CHUNK: usize = 24;
pub(crate) const PROGRAM: usize = 36;
/// The reference to a string that is not there.
pub(crate) const NONE: u32 = u32::MAX;
/// More than any chunk or BTF has.
pub(crate) const MAX_CHUNK: u32 = 256 << 20;

/// How a chunk is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    Stored,
    /// One zstd frame.
    Zstd,
    /// Raw DEFLATE (RFC 1951): for readers whose standard library has no zstd, such as Go's.
    Deflate,
}

impl Method {
    #[cfg(feature = "full")]
    pub(crate) fn number(self) -> u32 {
        match self {
            Method::Stored => 0,
            Method::Zstd => 1,
            Method::Deflate => 2,
        }
    }

    pub(crate) fn of(number: u32) -> Option<Method> {
        match number {
            0 => Some(Method::Stored),
            1 => Some(Method::Zstd),
            2 => Some(Method::Deflate),
            _ => None,
        }
    }
}

/// The counts of a header, and where its tables begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub arch: Arch,
    pub kernels: u32,
    pub aliases: u32,
    pub blobs: u32,
    pub chunks: u32,
    pub programs: u32,
    pub outcomes: u32,
    pub strings: u32,
    pub file_size: u64,
    pub name: u32,
    pub engine: u32,
}

impl Layout {
    pub fn parse(header: &[u8; HEADER]) -> Result<Layout, PackError> {
        if !header.starts_with(MAGIC) {
            return Err(PackError::NotAPack);
        }
        let arch = match u32_at(header, 8) {
            1 => Arch::X86_64,
            2 => Arch::Arm64,
            _ => return Err(Damage::at(8, "an unknown architecture").into()),
        };
        if u64_at(header, 56) != 0 {
            return Err(Damage::at(56, "a reserved field that is not zero").into());
        }
        Ok(Layout {
            arch,
            kernels: u32_at(header, 12),
            aliases: u32_at(header, 16),
            blobs: u32_at(header, 20),
            chunks: u32_at(header, 24),
            programs: u32_at(header, 28),
            outcomes: u32_at(header, 32),
            strings: u32_at(header, 36),
            file_size: u64_at(header, 40),
            name: u32_at(header, 48),
            engine: u32_at(header, 52),
        })
    }

    /// The header without the digest that is its end.
    #[cfg(feature = "full")]
    pub fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        let arch = match self.arch {
            Arch::X86_64 => 1,
            Arch::Arm64 => 2,
        };
        let words = [
            (8, arch),
            (12, self.kernels),
            (16, self.aliases),
            (20, self.blobs),
            (24, self.chunks),
            (28, self.programs),
            (32, self.outcomes),
            (36, self.strings),
            (48, self.name),
            (52, self.engine),
        ];
        for (at, word) in words {
            header[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        header[40..48].copy_from_slice(&self.file_size.to_le_bytes());
        header
    }

    // Seven tables of at most 2^32 entries of 48 bytes, and a row of 2^32 bytes for each of 2^32 outcomes, which is
    // why the products are of 128 bits until `data` has been compared with the size of the file.
    pub fn alias_table(&self) -> u128 {
        HEADER as u128 + u128::from(self.kernels) * KERNEL as u128
    }

    pub fn blob_table(&self) -> u128 {
        self.alias_table() + u128::from(self.aliases) * ALIAS as u128
    }

    pub fn chunk_table(&self) -> u128 {
        self.blob_table() + u128::from(self.blobs) * BLOB as u128
    }

    pub fn program_table(&self) -> u128 {
        self.chunk_table() + u128::from(self.chunks) * CHUNK as u128
    }

    pub fn outcome_table(&self) -> u128 {
        self.program_table() + u128::from(self.programs) * PROGRAM as u128
    }

    pub fn string_table(&self) -> u128 {
        self.outcome_table() + u128::from(self.outcomes) * u128::from(self.programs)
    }

    /// Where the directory ends and the chunks begin.
    pub fn data(&self) -> u128 {
        self.string_table() + u128::from(self.strings)
    }
}

/// The number at `at`, which the caller knows to be inside.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().copied().map_or(0, u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().copied().map_or(0, u64::from_le_bytes)
}
