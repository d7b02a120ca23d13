//! The bytes of a file: mapped where that is cheaper than copying them.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// From here on mapping costs less than reading: the system call, the page table and a fault for every 64 KiB against
/// a copy and a fault for every 4 KiB.
const WORTH_MAPPING: u64 = 128 << 10;

/// The same for bytes that stay, where what is read needs pages of its own.
const WORTH_KEEPING_MAPPED: u64 = 8 << 10;

/// What is read of a pipe or of a file without a size at most, since it takes memory that mapped files don't.
const STREAM_LIMIT: u64 = 1 << 30;

/// Up to here all pages are mapped at once, which is cheaper than a fault for every few.
const WORTH_POPULATING: u64 = 64 << 20;

/// Bytes of a file, mapped or read.
#[derive(Debug, Clone)]
pub struct FileBytes(Kind);

/// Which pages of a mapping are there from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pages {
    All,
    AsRead,
}

#[derive(Debug, Clone)]
enum Kind {
    Mapped(Arc<memmap2::Mmap>),
    Read(Vec<u8>),
}

impl FileBytes {
    /// Opens a file; `limit` is in bytes.
    pub fn open(path: &Path, limit: u64) -> io::Result<FileBytes> {
        FileBytes::of(File::open(path)?, limit)
    }

    /// The rest of an open file, which has been read nothing of yet.
    ///
    /// Pipes and files of /proc and /sys, which have no size, are read.
    pub fn of(file: File, limit: u64) -> io::Result<FileBytes> {
        FileBytes::mapped_from(WORTH_MAPPING, file, limit, Pages::All)
    }

    /// The same of a file of which only a few places will be read: each costs a fault, and the others nothing.
    pub fn sparse(file: File, limit: u64) -> io::Result<FileBytes> {
        FileBytes::mapped_from(WORTH_MAPPING, file, limit, Pages::AsRead)
    }

    /// The bytes of a file for as long as the program runs.
    pub fn forever(file: File, limit: u64) -> io::Result<&'static [u8]> {
        Ok(match FileBytes::mapped_from(WORTH_KEEPING_MAPPED, file, limit, Pages::All)?.0 {
            Kind::Mapped(mapped) => Box::leak(Box::new(mapped)),
            Kind::Read(bytes) => bytes.leak(),
        })
    }

    fn mapped_from(worth: u64, file: File, limit: u64, pages: Pages) -> io::Result<FileBytes> {
        let metadata = file.metadata()?;
        if metadata.len() > limit {
            return Err(too_large(limit));
        }
        // Not every file that has a size can be mapped, and what can't be mapped can be read.
        if metadata.is_file()
            && metadata.len() >= worth
            && let Ok(mapped) = map(&file, metadata.len(), pages)
        {
            return Ok(FileBytes(Kind::Mapped(Arc::new(mapped))));
        }
        if metadata.is_file() && metadata.len() > 0 {
            return read_whole(file, metadata.len() as usize).map(FileBytes::from);
        }
        if std::os::unix::fs::FileTypeExt::is_char_device(&metadata.file_type()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a device, and no file or pipe"));
        }
        FileBytes::read(file, 0, limit.min(STREAM_LIMIT))
    }

    /// Everything that a stream gives.
    pub fn read(stream: impl Read, expected: usize, limit: u64) -> io::Result<FileBytes> {
        let mut bytes = Vec::with_capacity(expected + 1);
        stream.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit { Err(too_large(limit)) } else { Ok(FileBytes(Kind::Read(bytes))) }
    }

    /// The bytes as a value of their own; copies only what is mapped.
    pub fn into_vec(self) -> Vec<u8> {
        match self.0 {
            Kind::Mapped(mapped) => mapped.to_vec(),
            Kind::Read(bytes) => bytes,
        }
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kind::Mapped(mapped) => mapped,
            Kind::Read(bytes) => bytes,
        }
    }
}

impl PartialEq for FileBytes {
    fn eq(&self, other: &FileBytes) -> bool {
        **self == **other
    }
}

impl Eq for FileBytes {}

impl From<Vec<u8>> for FileBytes {
    fn from(bytes: Vec<u8>) -> FileBytes {
        FileBytes(Kind::Read(bytes))
    }
}

/// A file that has a size, in one call; what others add meanwhile is not there.
fn read_whole(mut file: File, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn too_large(limit: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("more than the {limit} bytes that are read"))
}

/// Nothing is written through the mapping, and every parser that gets it bounds each access by its length. What can't
/// be ruled out is that another process truncates the file meanwhile: then the kernel ends us with SIGBUS, as it does
/// with linkers. Files of the store are never changed in place.
#[allow(unsafe_code)]
fn map(file: &File, len: u64, pages: Pages) -> io::Result<memmap2::Mmap> {
    // SAFETY: read-only and private, as /sys/kernel/btf demands; the bytes are only ever seen as `&[u8]` of a fixed
    // length, see above.
    unsafe {
        let mut options = memmap2::MmapOptions::new();
        // Said here, it needs not be asked again; what is there no more when it is read ends us as above.
        options.len(len as usize);
        // Of a debug kernel's file only a few pages are looked at.
        if pages == Pages::All && len <= WORTH_POPULATING {
            options.populate();
        }
        options.map_copy_read_only(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let check = |len: usize, limit: u64, mapped: Option<bool>| {
            let path = folder.path().join("file");
            std::fs::write(&path, vec![7; len]).unwrap();
            let bytes = FileBytes::open(&path, limit).ok();
            assert_eq!(bytes.as_ref().map(|bytes| matches!(bytes.0, Kind::Mapped(_))), mapped, "{len}");
            assert!(bytes.is_none_or(|bytes| *bytes == vec![7; len] && bytes.into_vec() == vec![7; len]));
        };
        check(0, 10, Some(false));
        check(10, 10, Some(false));
        check(11, 10, None);
        check(WORTH_MAPPING as usize, 1 << 20, Some(true));
        check(2 << 20, 1 << 20, None);
    }

    #[test]
    fn bytes_that_stay() {
        let folder = tempfile::tempdir().unwrap();
        for len in [0, 1, WORTH_KEEPING_MAPPED as usize, 3 * WORTH_KEEPING_MAPPED as usize + 1] {
            let path = folder.path().join("file");
            std::fs::write(&path, vec![7; len]).unwrap();
            let bytes = FileBytes::forever(File::open(&path).unwrap(), 1 << 20).unwrap();
            std::fs::remove_file(&path).unwrap();
            assert_eq!(bytes, vec![7; len]);
        }
    }

    #[test]
    fn streams_end_somewhere() {
        assert!(FileBytes::read(io::repeat(1), 0, 1 << 16).is_err());
        assert!(FileBytes::open(Path::new("/dev/zero"), 1 << 40).is_err());
        assert!(FileBytes::open(Path::new("/proc/self/stat"), 1 << 16).unwrap().len() > 10);
    }

    /// It has a size, and can be mapped since Linux 6.16, but not shared.
    #[test]
    fn the_btf_of_the_running_kernel() {
        let path = Path::new("/sys/kernel/btf/vmlinux");
        if path.exists() {
            assert_eq!(FileBytes::open(path, 1 << 30).unwrap().to_vec(), std::fs::read(path).unwrap());
        }
    }
}
