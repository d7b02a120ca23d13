//! Bytes that go into a bundle, held in memory or in a file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::error::Error;

/// A blob to package: its bytes, or the file that holds them.
///
/// Thousands of kernels fit into one bundle without fitting into memory: give files, they are read when the bundle is
/// written.
#[derive(Clone, Debug)]
pub enum Content {
    /// The bytes.
    Bytes(Vec<u8>),
    /// A file that must not change until the bundle is written.
    File(PathBuf),
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Content {
        Content::Bytes(bytes)
    }
}

impl From<PathBuf> for Content {
    fn from(path: PathBuf) -> Content {
        Content::File(path)
    }
}

/// What one reading of a [`Content`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub sha256: Digest,
    pub size: u64,
    /// The first two bytes, 0 where there are none.
    pub magic: [u8; 2],
}

impl Content {
    pub(crate) fn sight(&self) -> Result<Sight, Error> {
        self.copy(&mut io::sink())
    }

    /// Writes the content to `out` and says what it was.
    pub(crate) fn copy(&self, out: &mut dyn Write) -> Result<Sight, Error> {
        match self {
            Content::Bytes(bytes) => {
                out.write_all(bytes).map_err(Error::Write)?;
                Ok(Sight { sha256: Digest::of(bytes), size: bytes.len() as u64, magic: first_two(bytes) })
            }
            Content::File(path) => copy_file(path, out),
        }
    }
}

fn first_two(bytes: &[u8]) -> [u8; 2] {
    bytes.first_chunk().copied().unwrap_or_default()
}

fn copy_file(path: &Path, out: &mut dyn Write) -> Result<Sight, Error> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let (mut size, mut magic) = (0, [0; 2]);
    loop {
        let n = match file.read(&mut buffer) {
            Ok(0) => {
                return Ok(Sight { sha256: Digest::finish(hasher), size, magic });
            }
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        if size == 0 {
            magic = first_two(&buffer[..n]);
        }
        size += n as u64;
        hasher.update(&buffer[..n]);
        out.write_all(&buffer[..n]).map_err(Error::Write)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_its_bytes_look_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("content");
        for bytes in [vec![], vec![1], vec![7; 600 << 10]] {
            std::fs::write(&path, &bytes).unwrap();
            let mut copied = Vec::new();
            let sight = Content::from(path.clone()).copy(&mut copied).unwrap();
            assert!(copied == bytes);
            assert_eq!(sight, Content::from(bytes).sight().unwrap());
        }
        let gone = Content::from(dir.path().join("gone")).sight().unwrap_err();
        assert!(matches!(gone, Error::Io { .. }));
    }
}
