//! The commands that need no pipeline: files in, an answer or files out.

pub mod batch;
pub mod corpus;
pub mod diff;
pub mod dump;
pub mod kernel;
pub mod min_core_btf;
pub mod objects;
pub mod prepare;
pub mod record;
pub mod table;
pub mod target;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::outcome::Code;

pub use kernel::Kernel;
pub use objects::Objects;
pub use relo_core::{Keep, KernelVersion, Mode};
pub use target::TargetFiles;

/// Why a command without a pipeline could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// A file with BTF.
    #[error(transparent)]
    Input(#[from] kernels::InputError),
    /// The store.
    #[error(transparent)]
    Store(#[from] kernels::Error),
    /// What the file's BTF holds.
    #[error("{name}: {error}")]
    Btf {
        /// The file.
        name: String,
        /// What is wrong, and where.
        error: btf::Error,
    },
    /// No program is left.
    #[error("no BPF object is left to work with; {0}")]
    NoObjects(&'static str),
    /// A text that is given with the target.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// An output.
    #[error("{}: {error}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The target or the objects, by what only showed when they met.
    #[error("{name}: {error}")]
    Engine {
        /// The target.
        name: String,
        /// What happened.
        error: String,
    },
    /// What can't be combined, or means nothing.
    #[error("{0}")]
    Usage(String),
}

impl ToolError {
    /// The exit code.
    pub fn code(&self) -> Code {
        match self {
            ToolError::Usage(_) => Code::Usage,
            ToolError::Input(_) | ToolError::Store(_) | ToolError::Btf { .. } | ToolError::NoObjects(_) => {
                Code::Failed
            }
            ToolError::Read { .. } | ToolError::Write { .. } | ToolError::Engine { .. } => Code::Failed,
        }
    }

    pub(crate) fn btf(name: &str, error: btf::Error) -> ToolError {
        ToolError::Btf { name: name.to_owned(), error }
    }

    pub(crate) fn engine(name: &str, error: impl std::fmt::Display) -> ToolError {
        ToolError::Engine { name: name.to_owned(), error: error.to_string() }
    }

    pub(crate) fn write(path: &Path, error: io::Error) -> ToolError {
        ToolError::Write { path: path.to_owned(), error }
    }
}

/// Where a command says things: answers, and what people should know besides.
pub struct Voice<'v> {
    /// The answer: standard output.
    pub out: &'v mut dyn Write,
    /// Notes and warnings: standard error.
    pub notes: &'v mut dyn Write,
}

impl Voice<'_> {
    /// A part of the answer. Whoever closes the pipe has read enough.
    pub fn answer(&mut self, text: &str) -> Result<(), Enough> {
        self.out.write_all(text.as_bytes()).map_err(|_| Enough)
    }

    /// A line on the side.
    pub fn note(&mut self, text: impl std::fmt::Display) {
        // Without a place to say it there is nobody to tell.
        let _ = self.notes.write_all(format!("btfpipe: {text}\n").as_bytes());
    }
}

/// The reader of the answer has gone.
#[derive(Debug, Clone, Copy)]
pub struct Enough;

/// Writes a file so that it is there whole or not at all; `-` is the standard output.
pub(crate) fn put(path: &Path, bytes: &[u8], voice: &mut Voice<'_>) -> Result<(), ToolError> {
    if path == Path::new("-") {
        return voice.out.write_all(bytes).map_err(|error| ToolError::write(path, error));
    }
    put_file(path, bytes).map_err(|error| ToolError::write(path, error))
}

/// The same for a path that is a file. One that has these bytes already is left as it is.
pub(crate) fn put_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::metadata(path) {
        // A pipe or a device is written to, not replaced.
        Ok(metadata) if !metadata.is_file() => return std::fs::write(path, bytes),
        Ok(metadata) if metadata.len() == bytes.len() as u64 && has_bytes(path, bytes).unwrap_or(false) => {
            return Ok(());
        }
        Ok(_) | Err(_) => {}
    }
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let mut temp = tempfile::Builder::new()
        .prefix(".btfpipe-")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)
        // Its own message names a file that nobody has asked for.
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(error.kind(), "its folder is not there; make it first"),
            kind => kind.into(),
        })?;
    temp.write_all(bytes)?;
    temp.persist(path)?;
    Ok(())
}

/// Whether a file holds exactly these bytes. Reading it is far cheaper than replacing it, for which the system waits for
/// the disk.
fn has_bytes(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let mut file = std::fs::File::open(path)?;
    let mut part = [0; 16 << 10];
    let mut left = bytes;
    loop {
        match io::Read::read(&mut file, &mut part)? {
            0 => return Ok(left.is_empty()),
            len => match left.strip_prefix(&part[..len]) {
                Some(rest) => left = rest,
                None => return Ok(false),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_when_it_differs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let inode = || std::fs::metadata(&path).unwrap().ino();
        let long = vec![1; 40_000];
        let mut other = long.clone();
        other[39_999] = 2;
        put_file(&path, &long).unwrap();
        let first = inode();
        put_file(&path, &long).unwrap();
        assert_eq!(inode(), first);
        for bytes in [&other[..], b"", b"x", &long] {
            put_file(&path, bytes).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1);
    }
}
