//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

/// An error with everything a person needs; messages contain their cause, so print only the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system said no.
    #[error("can't {action} {}: {cause}", path.display())]
    Io {
        /// What was tried: "read", "write", …
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A text that is no kernel identity.
    #[error("{text:?} is not a kernel's identity (distro/version/arch/release): {reason}")]
    KernelId {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A text that names no architecture.
    #[error("unknown architecture {0:?}; known are x86_64 (amd64) and arm64 (aarch64)")]
    Arch(String),
    /// A text that is no sha256.
    #[error("{0:?} is not a sha256 (64 lower-case hex digits)")]
    Digest(String),
    /// A kernels.lock that can't be used.
    #[error("{}: {reason}", path.as_deref().unwrap_or(Path::new("kernels.lock")).display())]
    Lock {
        /// The file, when it came from one.
        path: Option<PathBuf>,
        /// What is wrong; with line and column where they are known.
        reason: String,
    },
    /// A package, or a file in it, that is not what it should be.
    #[error("{}: {}{fault}", package.display(), member.as_ref().map(|member| format!("{member}: ")).unwrap_or_default())]
    Package {
        /// The package.
        package: PathBuf,
        /// The file in the package, if it is to blame.
        member: Option<String>,
        /// What is wrong.
        fault: FormatError,
    },
    /// None of the packages has the kernel's boot image.
    #[error(
        "no boot/vmlinuz-{release} or usr/lib/modules/{release}/vmlinuz in {packages}{}",
        if others.is_empty() { String::new() } else { format!("; there are images of {}", others.join(", ")) }
    )]
    NoBootImage {
        /// The release that was looked for.
        release: String,
        /// File names of the packages.
        packages: String,
        /// Releases that the packages have images of.
        others: Vec<String>,
    },
    /// A file without usable BTF.
    #[error(transparent)]
    Input(#[from] crate::InputError),
    /// More than one BTF that is not a module's.
    #[error("two BTFs of one kernel: {0}; leave one out")]
    SeveralBtfs(String),
    /// No place for the store is known.
    #[error("no place for the store: set BTFPIPE_STORE to a folder, or HOME")]
    NoStorePlace,
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, cause: io::Error) -> Error {
        Error::Io { action, path: path.to_owned(), cause }
    }

    /// Whether a file is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Io { cause, .. } if cause.kind() == io::ErrorKind::NotFound)
    }
}

/// What is wrong with the bytes of a package, an image, an ELF file or a BTF. Offsets are in bytes from its start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes are of no known kind.
    #[error("not {expected}, it starts with {}", hex(start))]
    Unknown {
        /// What would be right.
        expected: &'static str,
        /// The first bytes.
        start: Vec<u8>,
    },
    /// The bytes end too early, or a header points behind their end.
    #[error("{what} at byte {offset} lies behind the end")]
    Truncated {
        /// What should be there.
        what: &'static str,
        /// Where.
        offset: u64,
    },
    /// A header field has an impossible value.
    #[error("{what} at byte {offset} is not valid")]
    Invalid {
        /// Which field.
        what: &'static str,
        /// Where.
        offset: u64,
    },
    /// Compressed in a way that this program can't undo.
    #[error("compressed with {0}, which is not supported; please report this kernel")]
    Unsupported(String),
    /// The decompressor gave up.
    #[error("broken {format} data: {cause}")]
    Decompress {
        /// The compression.
        format: &'static str,
        /// What the decompressor said.
        cause: io::Error,
    },
    /// The size after decompression is not the one that is stated.
    #[error("{found} bytes after decompression, but {stated} are stated")]
    Size {
        /// Bytes stated.
        stated: u64,
        /// Bytes found; decompression ends one byte above what is stated.
        found: u64,
    },
    /// More bytes than a sound input has.
    #[error("{what} has more than {limit} bytes, the limit")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// Reading failed in the middle.
    #[error("can't be read: {0}")]
    Read(io::Error),
    /// Not an ELF file, or a broken one.
    #[error("broken ELF file: {0}")]
    Elf(#[from] object::read::Error),
    /// The kernel has no BTF of its own.
    #[error(
        "no BTF in this kernel (built without CONFIG_DEBUG_INFO_BTF); its BTF has to come from another source"
    )]
    NoBtf,
    /// The BTF is not valid.
    #[error("broken BTF: {0}")]
    Btf(#[from] btf::Error),
    /// Two modules of a kernel have one name.
    #[error("another module has this name: {0}")]
    DuplicateModule(String),
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
