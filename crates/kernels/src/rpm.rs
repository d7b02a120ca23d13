//! An RPM package, read as a stream: a lead, two headers, and a compressed cpio archive.
//!
//! Nothing is unpacked to disk, links and special files are passed over, and only wanted files get into memory.

use std::io::{self, BufRead, BufReader, Read};
use std::num::NonZero;

use crate::FormatError;
use crate::compression::Compression;
use crate::deb::{self, Visit};

/// What an RPM package starts with.
pub(crate) const MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];

const LEAD: u64 = 96;
const HEADER_MAGIC: [u8; 3] = [0x8e, 0xad, 0xe8];
/// Headers hold file lists: those of kernels with all modules have 5 MB.
const MAX_HEADER: u64 = 256 << 20;
/// More than any kernel package unpacks to; the ones with debug symbols have up to 7 GB.
const MAX_UNPACKED: u64 = 16 << 30;
const MAX_NAME: u64 = 64 << 10;

/// Shows the regular files of a package to a visitor, in the order of the package.
pub(crate) fn visit_files(mut rpm: impl BufRead, visitor: &mut dyn Visit) -> Result<(), FormatError> {
    let mut lead = [0; LEAD as usize];
    read(&mut rpm, &mut lead, "the lead", 0)?;
    if lead[..4] != MAGIC {
        return Err(FormatError::Unknown { expected: "an RPM package", start: lead[..4].to_vec() });
    }
    let signature = skip_header(&mut rpm, LEAD)?;
    // The signature, and only it, is padded.
    let padding = signature.next_multiple_of(8) - signature;
    skip(&mut rpm, padding, LEAD + signature)?;
    let start = LEAD + signature + padding;
    let header = skip_header(&mut rpm, start)?;
    let payload = unpack(rpm)?;
    let limited = payload.take(MAX_UNPACKED);
    Cpio { inner: BufReader::with_capacity(256 << 10, limited), at: start + header }.visit(visitor)
}

/// Passes over a header; the answer is its size.
fn skip_header(rpm: &mut impl BufRead, at: u64) -> Result<u64, FormatError> {
    let mut intro = [0; 16];
    read(rpm, &mut intro, "a header", at)?;
    if intro[..3] != HEADER_MAGIC {
        return Err(FormatError::Invalid { what: "the magic number of a header", offset: at });
    }
    let word =
        |at: usize| u64::from(u32::from_be_bytes([intro[at], intro[at + 1], intro[at + 2], intro[at + 3]]));
    let size = word(8) * 16 + word(12);
    if size > MAX_HEADER {
        return Err(FormatError::TooLarge { what: "a header", limit: MAX_HEADER });
    }
    skip(rpm, size, at)?;
    Ok(16 + size)
}

fn unpack<'r>(mut payload: impl BufRead + 'r) -> Result<Box<dyn Read + 'r>, FormatError> {
    let start = payload.fill_buf().map_err(FormatError::Read)?;
    if start.starts_with(b"0707") {
        return Ok(Box::new(payload));
    }
    let compression = Compression::resolve(start, "a compressed cpio archive")?;
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(8) as u32;
    compression.reader(payload, threads).map_err(FormatError::Read)
}

/// A cpio archive of the "new ASCII" format (cpio(5)); all that RPM writes, up to files of 4 GB.
struct Cpio<R> {
    inner: R,
    /// For messages.
    at: u64,
}

impl<R: Read> Cpio<R> {
    fn visit(mut self, visitor: &mut dyn Visit) -> Result<(), FormatError> {
        loop {
            let mut header = [0; 110];
            read(&mut self.inner, &mut header, "an entry of the cpio archive", self.at)?;
            if !matches!(&header[..6], b"070701" | b"070702") {
                return Err(FormatError::Invalid {
                    what: "the magic number of a cpio entry",
                    offset: self.at,
                });
            }
            let field = |index: usize| hex(&header[6 + index * 8..][..8]);
            let values = (field(1), field(6), field(11));
            let (Some(mode), Some(size), Some(name_size)) = values else {
                return Err(FormatError::Invalid { what: "a number of a cpio entry", offset: self.at });
            };
            let name = self.name(name_size)?;
            if name == b"TRAILER!!!" {
                return Ok(());
            }
            const FORMAT: u64 = 0o170_000;
            const REGULAR: u64 = 0o100_000;
            let path = deb::to_path(&name).filter(|_| mode & FORMAT == REGULAR);
            self.content(path, size, visitor)?;
            self.at += 110 + name_size + size;
        }
    }

    /// Header and name together are padded to 4 bytes.
    fn name(&mut self, size: u64) -> Result<Vec<u8>, FormatError> {
        if size > MAX_NAME {
            return Err(FormatError::TooLarge { what: "a name in the package", limit: MAX_NAME });
        }
        let mut name = vec![0; (size + (110 + size).next_multiple_of(4) - (110 + size)) as usize];
        read(&mut self.inner, &mut name, "a name in the package", self.at)?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    fn content(&mut self, path: Option<&str>, size: u64, visitor: &mut dyn Visit) -> Result<(), FormatError> {
        let padding = size.next_multiple_of(4) - size;
        let wanted = path.and_then(|path| Some((path, visitor.limit(path)?)));
        match wanted {
            Some((path, limit)) if size > limit as u64 => {
                visitor.take(path, Err(FormatError::TooLarge { what: "the file", limit: limit as u64 }));
                skip(&mut self.inner, size + padding, self.at)
            }
            Some((path, _)) => {
                let mut content = Vec::new();
                (&mut self.inner).take(size).read_to_end(&mut content).map_err(FormatError::Read)?;
                if content.len() as u64 != size {
                    return Err(FormatError::Read(io::ErrorKind::UnexpectedEof.into()));
                }
                visitor.take(path, Ok(content));
                skip(&mut self.inner, padding, self.at)
            }
            None => skip(&mut self.inner, size + padding, self.at),
        }
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u64::from_str_radix(text, 16).ok()
}

fn read(from: &mut impl Read, into: &mut [u8], what: &'static str, at: u64) -> Result<(), FormatError> {
    from.read_exact(into).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FormatError::Truncated { what, offset: at },
        _ => FormatError::Read(error),
    })
}

fn skip(from: &mut impl Read, bytes: u64, at: u64) -> Result<(), FormatError> {
    let skipped = io::copy(&mut from.take(bytes), &mut io::sink()).map_err(FormatError::Read)?;
    match skipped == bytes {
        true => Ok(()),
        false => Err(FormatError::Truncated { what: "what follows", offset: at }),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::compression::tests::encode;
    use crate::deb::tests::{File, shown};

    /// A package with these files; `None` is no compression.
    pub(crate) fn make_rpm(compression: Option<Compression>, files: &[(&str, &[u8])]) -> Vec<u8> {
        let entries: Vec<(u32, &str, &[u8])> =
            files.iter().map(|(path, content)| (0o100_644, *path, *content)).collect();
        make_rpm_of(compression, &entries)
    }

    fn make_rpm_of(compression: Option<Compression>, entries: &[(u32, &str, &[u8])]) -> Vec<u8> {
        let mut cpio = Vec::new();
        for (mode, path, content) in entries.iter().copied().chain([(0, "TRAILER!!!", &b""[..])]) {
            let mut header = b"070701".to_vec();
            let fields = [1, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, path.len() as u32 + 1, 0];
            fields.iter().for_each(|field| header.extend(format!("{field:08x}").bytes()));
            header.extend(path.bytes().chain([0]));
            header.resize(header.len().next_multiple_of(4), 0);
            cpio.extend(header);
            cpio.extend(content);
            cpio.resize(cpio.len().next_multiple_of(4), 0);
        }
        let mut rpm = MAGIC.to_vec();
        rpm.resize(LEAD as usize, 0);
        // One entry and 5 bytes, so that the signature needs padding.
        for size in [5u32, 7] {
            rpm.extend(HEADER_MAGIC.iter().chain(&[1, 0, 0, 0, 0, 0, 0, 0, 1]));
            rpm.extend(size.to_be_bytes());
            rpm.resize(rpm.len() + 16 + size as usize, 0);
            if size == 5 {
                rpm.resize(rpm.len().next_multiple_of(8), 0);
            }
        }
        rpm.extend(compression.map_or(cpio.clone(), |compression| encode(compression, &cpio)));
        rpm
    }

    fn visit(rpm: &[u8]) -> Result<Vec<File>, FormatError> {
        shown(|all| visit_files(rpm, all))
    }

    #[test]
    fn every_compression() {
        let large = vec![0; 1001];
        let files: [(&str, &[u8]); 5] = [
            ("./boot/a", b"one"),
            ("./b", b""),
            ("unwanted", b"x"),
            ("./large", &large),
            ("./last", b"12345"),
        ];
        for compression in [None, Some(Compression::Xz), Some(Compression::Zstd), Some(Compression::Gzip)] {
            let found = visit(&make_rpm(compression, &files)).unwrap();
            let found: Vec<_> =
                found.iter().map(|(path, content)| (path.as_str(), content.as_deref())).collect();
            let wanted =
                [("boot/a", Some(&b"one"[..])), ("b", Some(b"")), ("large", None), ("last", Some(b"12345"))];
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn only_plain_regular_files() {
        let entries: &[(u32, &str, &[u8])] = &[
            (0o100_644, "./../../etc/passwd", b"x"),
            (0o120_777, "./link", b"/etc/passwd"),
            (0o020_666, "./device", b""),
            (0o040_755, "./folder", b""),
            (0o100_644, "/absolute", b"1"),
            (0o100_644, "./a//b", b"x"),
        ];
        let found = visit(&make_rpm_of(None, entries)).unwrap();
        assert_eq!(found, [("absolute".to_owned(), Some(b"1".to_vec()))]);
    }

    #[test]
    fn broken_packages_are_errors() {
        let rpm = make_rpm(None, &[("./a", &[7; 900])]);
        for len in (0..rpm.len() - 4).step_by(3) {
            assert!(visit(&rpm[..len]).is_err(), "{len}");
        }
        let mut bzip2 = make_rpm(None, &[]);
        let at = bzip2.len() - 124;
        bzip2[at..at + 4].copy_from_slice(b"BZh9");
        assert!(matches!(visit(&bzip2), Err(FormatError::Unsupported(name)) if name == "bzip2"));
        let mut huge = rpm.clone();
        huge[LEAD as usize + 8] = 0xff;
        assert!(matches!(visit(&huge), Err(FormatError::TooLarge { .. })));
    }

    proptest::proptest! {
        #[test]
        fn any_change_is_read_or_refused(at in 0..3000usize, bytes in proptest::collection::vec(0u8.., 1..20)) {
            let mut rpm = make_rpm(None, &[("./a", &[7; 900]), ("./b", &[8; 100])]);
            let at = at % (rpm.len() - bytes.len());
            rpm[at..at + bytes.len()].copy_from_slice(&bytes);
            let _ = visit(&rpm);
        }
    }
}
