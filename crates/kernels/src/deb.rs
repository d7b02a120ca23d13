//! A Debian package, read as a stream: an `ar` archive with a compressed tar inside.
//!
//! Nothing is unpacked to disk, links and special files are passed over, and only wanted files get into memory.

use std::io::{self, BufRead, BufReader, Read};
use std::num::NonZero;

use crate::compression::Compression;
use crate::{FormatError, ar};

/// More than any kernel package unpacks to; the ones with debug symbols have up to 7 GB.
const MAX_UNPACKED: u64 = 8 << 30;
/// Long names stand in entries of their own; no file system takes longer ones.
const MAX_LONG_NAME: u64 = 64 << 10;

/// Says which files of a package are wanted, and gets them.
pub(crate) trait Visit {
    /// The largest size in bytes to accept for a file; None when it is not wanted.
    ///
    /// Paths are relative (`boot/vmlinuz`) and without `.` and `..`.
    fn limit(&mut self, path: &str) -> Option<usize>;
    /// Gets a wanted file.
    fn take(&mut self, path: &str, content: Result<Vec<u8>, FormatError>);
}

/// Shows the regular files of a package to a visitor, in the order of the package.
pub(crate) fn visit_files(mut deb: impl BufRead, visitor: &mut dyn Visit) -> Result<(), FormatError> {
    let member = ar::seek_member(&mut deb, "data.tar", "the package's data.tar")?;
    visit_tar(unpack(&member.suffix, deb.take(member.size))?, visitor)
}

/// The tar inside, uncompressed; the compression stands in the member's name (deb(5)).
fn unpack<'r>(suffix: &str, data: impl BufRead + 'r) -> Result<Box<dyn Read + 'r>, FormatError> {
    let compression = match suffix {
        "" => return Ok(Box::new(data)),
        ".xz" => Compression::Xz,
        ".zst" => Compression::Zstd,
        ".gz" => Compression::Gzip,
        ".lzma" => Compression::Lzma,
        other => return Err(FormatError::Unsupported(other.trim_start_matches('.').to_owned())),
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(8) as u32;
    compression.reader(data, threads).map_err(FormatError::Read)
}

fn visit_tar(tar: impl Read, visitor: &mut dyn Visit) -> Result<(), FormatError> {
    let limited = Limited { inner: tar, left: MAX_UNPACKED };
    let mut archive = tar::Archive::new(BufReader::with_capacity(256 << 10, limited));
    let mut long_name = None;
    // Raw: the entries that hold long names are read here, with a limit.
    for entry in archive.entries().map_err(FormatError::Read)?.raw(true) {
        let mut entry = entry.map_err(FormatError::Read)?;
        match entry.header().entry_type() {
            tar::EntryType::GNULongName => long_name = Some(read_long_name(&mut entry)?),
            tar::EntryType::XHeader => long_name = find_pax_path(&read_long_name(&mut entry)?).or(long_name),
            tar::EntryType::GNULongLink | tar::EntryType::XGlobalHeader => {}
            tar::EntryType::Regular => {
                let name = long_name.take().unwrap_or_else(|| entry.header().path_bytes().into_owned());
                if let Some(path) = to_path(&name) {
                    visit_file(path, &mut entry, visitor)?;
                }
            }
            _ => long_name = None,
        }
    }
    Ok(())
}

fn visit_file(
    path: &str,
    entry: &mut tar::Entry<'_, impl Read>,
    visitor: &mut dyn Visit,
) -> Result<(), FormatError> {
    let Some(limit) = visitor.limit(path) else {
        return Ok(());
    };
    let size = entry.size();
    if size > limit as u64 {
        visitor.take(path, Err(FormatError::TooLarge { what: "the file", limit: limit as u64 }));
        return Ok(());
    }
    let mut content = Vec::with_capacity(size as usize);
    entry.read_to_end(&mut content).map_err(FormatError::Read)?;
    if content.len() as u64 != size {
        return Err(FormatError::Read(io::ErrorKind::UnexpectedEof.into()));
    }
    visitor.take(path, Ok(content));
    Ok(())
}

fn read_long_name(entry: &mut impl Read) -> Result<Vec<u8>, FormatError> {
    let mut name = Vec::new();
    entry.take(MAX_LONG_NAME + 1).read_to_end(&mut name).map_err(FormatError::Read)?;
    if name.len() as u64 > MAX_LONG_NAME {
        return Err(FormatError::TooLarge { what: "a name in the package", limit: MAX_LONG_NAME });
    }
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn find_pax_path(records: &[u8]) -> Option<Vec<u8>> {
    let mut records = tar::PaxExtensions::new(records).filter_map(Result::ok);
    records.find(|record| record.key_bytes() == b"path").map(|record| record.value_bytes().to_vec())
}

/// The path without its leading `./`; None for one that is not plain.
pub(crate) fn to_path(name: &[u8]) -> Option<&str> {
    let path = std::str::from_utf8(name).ok()?;
    let path = path.strip_prefix('.').unwrap_or(path).trim_start_matches('/');
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    path.split('/').all(plain).then_some(path)
}

/// A reader that fails, rather than ends, at its limit.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buf)?;
        self.left = self.left.checked_sub(len as u64).ok_or_else(|| {
            io::Error::other(format!("the package unpacks to more than {MAX_UNPACKED} bytes"))
        })?;
        Ok(len)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ar::tests::make_ar;
    use crate::compression::tests::encode;

    /// A package with these files.
    pub(crate) fn make_deb(suffix: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
        make_ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar.xz", b"odd"),
            (&format!("data.tar{suffix}"), &pack(suffix, make_tar(files))),
        ])
    }

    fn pack(suffix: &str, tar: Vec<u8>) -> Vec<u8> {
        match suffix {
            ".xz" => encode(Compression::Xz, &tar),
            ".zst" => encode(Compression::Zstd, &tar),
            ".gz" => encode(Compression::Gzip, &tar),
            ".lzma" => encode(Compression::Lzma, &tar),
            _ => tar,
        }
    }

    fn make_tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, *content).unwrap();
        }
        tar.into_inner().unwrap()
    }

    /// A path, and the content unless it was too large.
    pub(crate) type File = (String, Option<Vec<u8>>);

    /// Wants all up to 1000 bytes, but what is called unwanted.
    struct All(Vec<File>);

    impl Visit for All {
        fn limit(&mut self, path: &str) -> Option<usize> {
            (!path.starts_with("unwanted")).then_some(1000)
        }
        fn take(&mut self, path: &str, content: Result<Vec<u8>, FormatError>) {
            self.0.push((path.to_owned(), content.ok()));
        }
    }

    /// What a visitor is shown.
    pub(crate) fn shown(
        visit_files: impl FnOnce(&mut dyn Visit) -> Result<(), FormatError>,
    ) -> Result<Vec<File>, FormatError> {
        let mut all = All(Vec::new());
        visit_files(&mut all).map(|()| all.0)
    }

    fn visit(deb: &[u8]) -> Result<Vec<File>, FormatError> {
        shown(|all| visit_files(deb, all))
    }

    #[test]
    fn every_compression() {
        let long = format!("./usr/{}x", "long/".repeat(60));
        let large = vec![0; 1001];
        let files: [(&str, &[u8]); 5] =
            [("./boot/a", b"one"), ("b", b""), ("unwanted", b"x"), (&long, b"two"), ("large", &large)];
        let wanted =
            [("boot/a", Some(&b"one"[..])), ("b", Some(b"")), (&long[2..], Some(b"two")), ("large", None)];
        for suffix in ["", ".xz", ".zst", ".gz", ".lzma"] {
            let found = visit(&make_deb(suffix, &files)).unwrap();
            let found: Vec<_> =
                found.iter().map(|(path, content)| (path.as_str(), content.as_deref())).collect();
            assert_eq!(found, wanted, "{suffix}");
        }
        assert!(
            matches!(visit(&make_deb(".bz2", &files)), Err(FormatError::Unsupported(name)) if name == "bz2")
        );
    }

    #[test]
    fn only_plain_regular_files() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |kind: tar::EntryType, name: &[u8], content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, content).unwrap();
        };
        add(tar::EntryType::Regular, b"../../etc/passwd", b"x");
        add(tar::EntryType::Regular, b"./a/../b", b"x");
        add(tar::EntryType::Regular, b"a//b", b"x");
        add(tar::EntryType::Regular, b"a/\xff", b"x");
        add(tar::EntryType::Symlink, b"link", b"");
        add(tar::EntryType::Link, b"hard", b"");
        add(tar::EntryType::Directory, b"boot/", b"");
        add(tar::EntryType::Fifo, b"fifo", b"");
        add(tar::EntryType::Regular, b"/absolute", b"1");
        // A link's long name is not the next file's.
        add(tar::EntryType::GNULongName, b"././@LongLink", b"long\0");
        add(tar::EntryType::Symlink, b"link", b"");
        add(tar::EntryType::Regular, b"./short", b"2");
        add(tar::EntryType::XHeader, b"pax", b"17 path=pax/name\n");
        add(tar::EntryType::Regular, b"cut", b"3");
        let tar = tar.into_inner().unwrap();
        let found = visit(&make_ar(&[("debian-binary/", b"2.0\n"), ("data.tar/", &tar)])).unwrap();
        let found: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(found, ["absolute", "short", "pax/name"]);
    }

    #[test]
    fn broken_packages_are_errors() {
        let files: [(&str, &[u8]); 2] = [("a", &[7; 900]), ("b", &[8; 900])];
        for suffix in ["", ".xz", ".gz", ".zst"] {
            let deb = make_deb(suffix, &files);
            // The tar's end marker alone may be missing.
            for len in (0..deb.len() - if suffix.is_empty() { 2048 } else { 0 }).step_by(17) {
                match visit(&deb[..len]) {
                    Err(_) => {}
                    // gzip and xz end with checksums that a tar reader, done at the end marker, may not ask for.
                    Ok(found) => {
                        assert!(found.len() == 2 && len > deb.len() - 40, "{suffix} {len}: {found:?}")
                    }
                }
            }
        }
        assert!(visit(b"!<arch>\n").is_err());
        assert!(visit(b"MZ").is_err());
    }

    #[test]
    fn a_name_without_end_is_stopped() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(10 << 20);
        header.set_cksum();
        tar.append(&header, io::repeat(b'n').take(10 << 20)).unwrap();
        let deb = make_ar(&[("data.tar", &tar.into_inner().unwrap())]);
        assert!(matches!(visit(&deb), Err(FormatError::TooLarge { .. })));
    }

    #[test]
    fn limited_fails_at_its_limit() {
        let mut limited = Limited { inner: io::repeat(0), left: 10 };
        assert!(limited.read(&mut [0; 10]).is_ok());
        assert!(limited.read(&mut [0; 1]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_change_is_read_or_refused(at in 0..3000usize, bytes in proptest::collection::vec(0u8.., 1..20)) {
            for suffix in ["", ".xz"] {
                let mut deb = make_deb(suffix, &[("a", &[7; 900]), (&"long/".repeat(30), &[8; 100])]);
                let at = at % (deb.len() - bytes.len());
                deb[at..at + bytes.len()].copy_from_slice(&bytes);
                let _ = visit(&deb);
            }
        }
    }
}
