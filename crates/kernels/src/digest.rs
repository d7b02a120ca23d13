//! A sha256.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::Error;

/// A sha256; written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// The digest of a file's content, and its size in bytes.
    pub fn of_file(path: &Path) -> Result<(Digest, u64), Error> {
        let read = || {
            let mut hashing = Hashing::new(std::fs::File::open(path)?);
            let size = hashing.copy_to(&mut io::sink())?;
            Ok((hashing.finish(), size))
        };
        read().map_err(|cause| Error::io("read", path, cause))
    }
}

/// Bytes that are read at a time: kernels have megabytes, and each read is a system call.
const BLOCK: usize = 1 << 17;

/// Hashes what is read through it.
pub(crate) struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Hashing<R> {
    pub(crate) fn new(inner: R) -> Hashing<R> {
        Hashing { inner, hasher: Sha256::new() }
    }

    /// Reads all of it, and writes the same.
    pub(crate) fn copy_to(&mut self, out: &mut impl Write) -> io::Result<u64> {
        let mut block = vec![0; BLOCK];
        let mut size = 0;
        loop {
            match self.read(&mut block) {
                Ok(0) => return Ok(size),
                Ok(len) => {
                    out.write_all(&block[..len])?;
                    size += len as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The digest of everything read so far.
    pub(crate) fn finish(self) -> Digest {
        Digest(self.hasher.finalize().into())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buf)?;
        self.hasher.update(&buf[..len]);
        Ok(len)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Digest, Error> {
        let wrong = || Error::Digest(text.to_owned());
        let bytes: &[u8; 64] = text.as_bytes().try_into().map_err(|_| wrong())?;
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(bytes.chunks_exact(2)) {
            let (high, low) = (hex_value(pair[0]).ok_or_else(wrong)?, hex_value(pair[1]).ok_or_else(wrong)?);
            *byte = high << 4 | low;
        }
        Ok(Digest(digest))
    }
}

/// Lower case only, so that a digest has one spelling.
fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Digest, Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn of_and_text() {
        assert_eq!(Digest::of(b"abc").to_string(), OF_ABC);
        assert_eq!(OF_ABC.parse::<Digest>().unwrap(), Digest::of(b"abc"));
        let check_refused = |text: &str| assert!(text.parse::<Digest>().is_err(), "{text:?}");
        check_refused("");
        check_refused(&OF_ABC[1..]);
        check_refused(&OF_ABC.to_uppercase());
        check_refused(&OF_ABC.replace('a', "g"));
        check_refused(&format!("{OF_ABC}0"));
        check_refused(&"é".repeat(32));
    }

    #[test]
    fn of_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"abc").unwrap();
        assert_eq!(Digest::of_file(file.path()).unwrap(), (Digest::of(b"abc"), 3));
        assert!(Digest::of_file(Path::new("/nonexistent/file")).unwrap_err().is_not_found());
    }
}
