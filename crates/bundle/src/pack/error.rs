//! What can be wrong with a pack.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::lookup::Miss;

/// Why a pack gave no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum PackError {
    /// The file could not be opened.
    Open {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes could not be read.
    Read(io::Error),
    /// The file begins with something else.
    NotAPack,
    /// The pack says something impossible.
    Damaged(Damage),
    /// A BTF has another digest than the pack promises.
    Digest {
        /// What it should be.
        want: Digest,
        /// What it is.
        found: Digest,
    },
    /// The chunk is compressed in a way that this build doesn't read.
    Method(&'static str),
    /// No kernel fits.
    Miss(Miss),
}

/// What is impossible, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// What is there.
    pub what: &'static str,
}

impl Damage {
    pub(crate) fn at(offset: u64, what: &'static str) -> Damage {
        Damage { offset, what }
    }
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PackError::Open { path, .. } => write!(f, "cannot open {}", path.display()),
            PackError::Read(_) => f.write_str("cannot read the pack"),
            PackError::NotAPack => f.write_str("not a pack: it does not begin with BTFPACK1"),
            PackError::Damaged(Damage { offset, what }) => {
                write!(f, "offset {offset}: {what}; the pack is damaged, fetch it again")
            }
            PackError::Digest { want, found } => {
                write!(
                    f,
                    "a BTF has the sha256 {found} instead of {want}; the pack is damaged, fetch it again"
                )
            }
            PackError::Method(method) => {
                write!(f, "the pack is compressed with {method}, which this build doesn't read")
            }
            PackError::Miss(miss) => miss.fmt(f),
        }
    }
}

impl std::error::Error for PackError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PackError::Open { source, .. } | PackError::Read(source) => Some(source),
            PackError::NotAPack
            | PackError::Damaged(_)
            | PackError::Digest { .. }
            | PackError::Method(_)
            | PackError::Miss(_) => None,
        }
    }
}

impl From<Damage> for PackError {
    fn from(damage: Damage) -> PackError {
        PackError::Damaged(damage)
    }
}

impl From<Miss> for PackError {
    fn from(miss: Miss) -> PackError {
        PackError::Miss(miss)
    }
}
