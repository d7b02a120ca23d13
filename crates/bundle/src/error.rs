//! What can be wrong with a bundle, or with what goes into one.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::digest::Digest;

/// Why a bundle could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The compressor failed.
    #[error("cannot compress the bundle")]
    Compress(#[source] io::Error),
    /// The bytes given to a writer could not be passed on.
    #[error("cannot write the bundle")]
    Write(#[source] io::Error),
    /// A compression level that zstd doesn't have.
    #[error("zstd level {0} is not in 1..=22")]
    Level(i32),
    /// A part of a key or a name that cannot stand in a path.
    #[error("{field} {value:?} {problem}")]
    Part {
        /// Which part.
        field: &'static str,
        /// Its text.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A kernel of another architecture than its bundle.
    #[error("{kernel} does not belong into a bundle for {bundle}: make one bundle per architecture")]
    OtherArch {
        /// The kernel's key.
        kernel: String,
        /// The architecture of the bundle.
        bundle: crate::Arch,
    },
    /// Two kernels that a lookup could not tell apart.
    #[error("{0} is there twice: kernels with one key need different build ids")]
    DuplicateKernel(String),
    /// Two programs of one name.
    #[error("program {0} is there twice")]
    DuplicateProgram(String),
    /// A blob that is no BTF.
    #[error("{0} does not begin with the BTF magic 0xeb9f")]
    NotBtf(String),
    /// A file that changed while the bundle was written.
    #[error("{} changed while the bundle was written: run again", .0.display())]
    Changed(PathBuf),
    /// A path that the archive format cannot hold.
    #[error("path {0:?} does not fit into the archive: at most 99 bytes of printable ASCII without space")]
    Path(String),
    /// A number that the archive format cannot hold.
    #[error("{field} {value} does not fit into a tar header: at most {max}")]
    Octal {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The greatest value that fits.
        max: u64,
    },
    /// More bytes or more things than a reader accepts.
    #[error(
        "{what}: {found} is over the limit of {limit}: make smaller bundles, or open a trusted one with higher limits"
    )]
    Limit {
        /// What is too large or too many.
        what: &'static str,
        /// How many.
        found: u64,
        /// How many the reader accepts.
        limit: u64,
    },
    /// Not one zstd frame.
    #[error("not a bundle: expected one zstd frame that states its content size")]
    NotZstd,
    /// A zstd frame that does not decode.
    #[error("the zstd frame does not decode: the file is damaged or cut off")]
    Decompress(#[source] io::Error),
    /// Bytes behind the zstd frame.
    #[error("{0} bytes after the zstd frame: a bundle is one frame and nothing else")]
    AfterFrame(usize),
    /// An archive that is not written as a bundle is.
    #[error("tar offset {offset}: {fault}")]
    Tar {
        /// Where the entry's header starts, in the decompressed archive.
        offset: usize,
        /// What is wrong there.
        fault: TarFault,
    },
    /// The index is missing or is not the JSON that it should be.
    #[error("index.json: {0}")]
    Json(#[source] serde_json::Error),
    /// Another format, or another version of it.
    #[error("{what} is {found:?}, this program reads {want:?}: use a matching btfpipe")]
    Version {
        /// What carries the version.
        what: &'static str,
        /// What it says.
        found: String,
        /// What is read here.
        want: String,
    },
    /// The kernels or programs of the index are not sorted.
    #[error("index.json: {0} is out of order")]
    IndexOrder(String),
    /// The index names a file that the archive lacks.
    #[error("{0} is named by index.json and missing in the archive")]
    Missing(String),
    /// The archive has a file that the index doesn't name.
    #[error("{0} is in the archive and not named by index.json")]
    Stray(String),
    /// A file whose size is not the one that the index names.
    #[error("{path} has {found} bytes, index.json says {want}")]
    Size {
        /// The file in the archive.
        path: String,
        /// Its size.
        found: u64,
        /// The size in the index.
        want: u64,
    },
    /// A file whose content is not the one that its name promises.
    #[error("{path} has the sha256 {found}: the bundle is damaged or was tampered with, fetch it again")]
    Digest {
        /// The file in the archive.
        path: String,
        /// The digest of what it holds.
        found: Digest,
    },
    /// A line of a checksum file that cannot be read.
    #[error("SHA256SUMS line {line}: {problem}")]
    Checksums {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two kernels that a consumer looks for under one path, with different BTFs.
    #[error(
        "{layout}: {first} and {second} would both be {path:?}: that consumer can't tell them apart, leave one out"
    )]
    SamePath {
        /// The layout.
        layout: &'static str,
        /// The path.
        path: String,
        /// A kernel.
        first: String,
        /// Another one.
        second: String,
    },
    /// A distribution that Datadog's loader doesn't know.
    #[error("datadog: its loader doesn't know the distribution of {0}: leave the kernel or the layout out")]
    Platform(String),
    /// A path that go:embed leaves out.
    #[error("{layout}: go:embed would leave {path:?} out")]
    NotEmbedded {
        /// The layout.
        layout: &'static str,
        /// The path.
        path: String,
    },
    /// A relocation record that can't be read.
    #[error("records line {line}: {problem}")]
    Record {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A kernel that names outcomes which the index lacks.
    #[error("index.json: {0} names outcomes that are not there")]
    NoOutcomes(String),
    /// Outcomes in the index that are not those of the records.
    #[error("index.json: the outcomes of {0} are not what its records say")]
    OtherOutcomes(String),
    /// A delta pack that can't be read, made or applied.
    #[error("{0}")]
    Delta(DeltaFault),
    /// A delta pack where a bundle is wanted.
    #[error("this is a delta pack: \"btfpipe bundle apply\" makes a bundle of it and the one before")]
    IsDelta,
    /// The manifest is not the JSON that it should be.
    #[error("manifest.json: {0}")]
    Manifest(#[source] serde_json::Error),
}

/// What is wrong with a delta pack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaFault {
    /// It begins with something else.
    #[error("not a delta pack: it does not begin with BTFDELT1")]
    NotADelta,
    /// Its digest is not that of its bytes, or it is cut off.
    #[error("the delta pack does not have its own digest: it is damaged or cut off, fetch it again")]
    Damaged,
    /// It belongs to another bundle.
    #[error("the delta pack is for the bundle whose archive has the sha256 {want}, this one has {found}")]
    OtherBase {
        /// The archive that it is for.
        want: Digest,
        /// The archive that was given.
        found: Digest,
    },
    /// Its frame is none, or states another size than the header.
    #[error("the delta pack has no zstd frame of the size that it names")]
    Frame,
    /// It does not make what it promises.
    #[error("the delta pack does not make the {0} that it promises")]
    OtherResult(&'static str),
    /// The new bundle's file is not what any level makes of its archive here.
    #[error(
        "the new bundle is not what zstd {} makes of its archive at any level: \
         make the delta pack with the btfpipe that made the bundle",
        crate::zstd_version()
    )]
    NotOurs,
    /// The file can't be made by the zstd that is here.
    #[error(
        "the new bundle was compressed by zstd {0}, and the one here makes other bytes of the same archive: \
         take the archive (--tar), which is right"
    )]
    OtherZstd(u32),
}

/// What is wrong at one place of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TarFault {
    /// The archive ends within a header, a file or the end mark.
    Truncated,
    /// The checksum of a header is wrong.
    Checksum,
    /// A link, a directory, a device or an extension header.
    EntryType(&'static str, String),
    /// A header field that is not written as a bundle writes it.
    Field(&'static str),
    /// A path that no bundle contains.
    UnexpectedPath(String),
    /// An entry that does not sort behind the one before it.
    Order(String),
    /// An entry whose time differs from the first entry's.
    Mtime(String),
    /// Padding that is not zero.
    Padding,
    /// Something behind the end mark.
    AfterEnd,
}

impl fmt::Display for TarFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TarFault::Truncated => f.write_str("the archive is cut off"),
            TarFault::Checksum => f.write_str("the header checksum is wrong"),
            TarFault::EntryType(kind, path) => {
                write!(f, "{path:?} is {kind}: a bundle has regular files only")
            }
            TarFault::Field(field) => write!(f, "the header field {field} is not written as in a bundle"),
            TarFault::UnexpectedPath(path) => write!(f, "{path:?} has no place in a bundle"),
            TarFault::Order(path) => write!(f, "{path:?} is there twice or out of order"),
            TarFault::Mtime(path) => write!(f, "{path:?} has another time than the entries before it"),
            TarFault::Padding => f.write_str("padding is not zero"),
            TarFault::AfterEnd => f.write_str("there is something after the end of the archive"),
        }
    }
}
