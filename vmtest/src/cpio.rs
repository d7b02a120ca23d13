//! The newc cpio archive that the kernel unpacks as its first root file system. Written here, since a device node in a
//! real folder needs root.

/// An archive in the making. Entries come in the order of the calls; folders before what is in them.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;
const TRAILER: &str = "TRAILER!!!";

/// One header; what is not here is zero: owner, time, checksum.
#[derive(Default)]
struct Header {
    mode: u32,
    device: (u32, u32),
}

impl Archive {
    /// Adds a folder, path without a leading slash.
    pub fn folder(&mut self, path: &str) {
        self.entry(path, Header { mode: FOLDER, ..Header::default() }, &[]);
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, Header { mode: FILE, ..Header::default() }, content);
    }

    /// Adds an executable file.
    pub fn program(&mut self, path: &str, content: &[u8]) {
        self.entry(path, Header { mode: PROGRAM, ..Header::default() }, content);
    }

    /// Adds a character device node.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, Header { mode: CHARACTER_DEVICE, device: (major, minor) }, &[]);
    }

    /// The archive with its trailer.
    pub fn finish(mut self) -> Vec<u8> {
        self.entries = u32::MAX;
        self.entry(TRAILER, Header::default(), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, header: Header, content: &[u8]) {
        self.entries = self.entries.wrapping_add(1);
        let links = if header.mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
        // Inode, mode, uid, gid, links, mtime, size, device of the file system, device of the node, name size, checksum.
        let fields = [
            self.entries,
            header.mode,
            0,
            0,
            links,
            0,
            content.len() as u32,
            0,
            0,
            header.device.0,
            header.device.1,
            path.len() as u32 + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checked once against what cpio itself lists; each header is 6 + 13 * 8 characters.
    #[rustfmt::skip]
    const GOLDEN: &str = concat!(
        "070701", "00000001", "000041ed", "00000000", "00000000", "00000002", "00000000", "00000000",
        "00000000", "00000000", "00000000", "00000000", "00000004", "00000000", "dev\0", "\0\0",
        "070701", "00000002", "00002180", "00000000", "00000000", "00000001", "00000000", "00000000",
        "00000000", "00000000", "00000005", "00000001", "0000000c", "00000000", "dev/console\0", "\0\0",
        "070701", "00000003", "000081ed", "00000000", "00000000", "00000001", "00000000", "00000003",
        "00000000", "00000000", "00000000", "00000000", "00000005", "00000000", "init\0", "\0", "abc", "\0",
        "070701", "00000000", "00000000", "00000000", "00000000", "00000001", "00000000", "00000000",
        "00000000", "00000000", "00000000", "00000000", "0000000b", "00000000", "TRAILER!!!\0", "\0\0\0",
    );

    #[test]
    fn writes_the_bytes_that_the_format_wants() {
        let mut archive = Archive::default();
        archive.folder("dev");
        archive.device("dev/console", 5, 1);
        archive.program("init", b"abc");
        assert_eq!(String::from_utf8(archive.finish()).unwrap(), GOLDEN);
    }

    #[test]
    fn cpio_reads_it_back() {
        let mut archive = Archive::default();
        archive.folder("checks");
        archive.file("checks/0", &[7; 5]);
        archive.file("checks/1", b"");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let mut at = 0;
        let mut names = Vec::new();
        while at < bytes.len() {
            let field = |n: usize| {
                let from = at + 6 + n * 8;
                usize::from_str_radix(std::str::from_utf8(&bytes[from..from + 8]).unwrap(), 16).unwrap()
            };
            let (size, name_size) = (field(6), field(11));
            names.push(String::from_utf8(bytes[at + 110..at + 109 + name_size].to_vec()).unwrap());
            at = (at + 110 + name_size).next_multiple_of(4);
            at = (at + size).next_multiple_of(4);
        }
        assert_eq!(names, ["checks", "checks/0", "checks/1", TRAILER]);
    }
}
