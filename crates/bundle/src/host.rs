//! The kernel that runs on this machine, as a query.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::arch::{Arch, UnknownArch};
use crate::os_release::OsRelease;
use crate::query::Query;

/// More than any of the files that are read here has.
const MAX_FILE: u64 = 1 << 20;

/// Why the running kernel could not be told.
#[derive(Debug)]
#[non_exhaustive]
pub enum HostError {
    /// A file of the system could not be read.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No bundle serves this machine.
    Arch(UnknownArch),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostError::Io { path, .. } => write!(f, "cannot read {}", path.display()),
            HostError::Arch(unknown) => unknown.fmt(f),
        }
    }
}

impl std::error::Error for HostError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            HostError::Io { source, .. } => Some(source),
            HostError::Arch(_) => None,
        }
    }
}

impl From<UnknownArch> for HostError {
    fn from(unknown: UnknownArch) -> HostError {
        HostError::Arch(unknown)
    }
}

impl Query {
    /// The running kernel: its release, the distribution of the first os-release file that is there, and its build-id
    /// where the system shows it.
    pub fn host() -> Result<Query, HostError> {
        Query::host_at(Path::new("/"))
    }

    /// As [`host`](Self::host), with `/proc`, `/sys` and `/etc` looked for below `root`.
    pub fn host_at(root: &Path) -> Result<Query, HostError> {
        let below = |path: &str| root.join(path.trim_start_matches('/'));
        let release = below("/proc/sys/kernel/osrelease");
        let bytes = read(&release).map_err(|source| HostError::Io { path: release, source })?;
        let query =
            Query::new(std::env::consts::ARCH.parse::<Arch>()?, String::from_utf8_lossy(&bytes).trim());
        let os = OsRelease::PATHS.iter().find_map(|path| read(&below(path)).ok()).unwrap_or_default();
        let build_id = read(&below("/sys/kernel/notes")).ok().and_then(|notes| build_id_from_notes(&notes));
        let query = query.os_release(&OsRelease::parse(&String::from_utf8_lossy(&os)));
        Ok(Query { build_id, ..query })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The GNU build-id among the ELF notes of `/sys/kernel/notes`, in lowercase hexadecimal.
///
/// The notes are in the byte order of the machine. Damaged notes have none.
pub fn build_id_from_notes(notes: &[u8]) -> Option<String> {
    const NT_GNU_BUILD_ID: u32 = 3;
    let mut rest = notes;
    loop {
        let (name_size, tail) = take_u32(rest)?;
        let (desc_size, tail) = take_u32(tail)?;
        let (kind, tail) = take_u32(tail)?;
        let (name, tail) = take_padded(tail, name_size)?;
        let (desc, tail) = take_padded(tail, desc_size)?;
        if (kind, name) == (NT_GNU_BUILD_ID, b"GNU\0") && !desc.is_empty() {
            return Some(desc.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        rest = tail;
    }
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_ne_bytes(*word), rest))
}

/// `size` bytes; the padding to 4 behind them is dropped and may be missing at the end.
fn take_padded(bytes: &[u8], size: u32) -> Option<(&[u8], &[u8])> {
    let (content, rest) = bytes.split_at_checked(size as usize)?;
    let padding = (size.wrapping_neg() % 4) as usize;
    Some((content, &rest[padding.min(rest.len())..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(kind: u32, name: &[u8], desc: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [name.len() as u32, desc.len() as u32, kind] {
            note.extend(word.to_ne_bytes());
        }
        for part in [name, desc] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn notes() {
        let check = |notes: &[Vec<u8>], want: Option<&str>| {
            assert_eq!(build_id_from_notes(&notes.concat()).as_deref(), want);
        };
        let id = note(3, b"GNU\0", &[0xab, 0x01, 0xff]);
        check(std::slice::from_ref(&id), Some("ab01ff"));
        check(&[note(6, b"Xen\0", b"12345"), note(3, b"Linux\0", b"1"), id.clone()], Some("ab01ff"));
        check(&[note(1, b"GNU\0", b"1234")], None);
        check(&[], None);
        check(&[note(3, b"GNU\0", b"")], None);
        check(&[vec![0xff; 12], id.clone()], None);
        for len in 0..19 {
            assert_eq!(build_id_from_notes(&id[..len]), None, "{len}");
        }
    }

    #[test]
    fn a_machine() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, content: &[u8]| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        assert!(matches!(Query::host_at(root.path()), Err(HostError::Io { .. })));
        put("proc/sys/kernel/osrelease", b"6.1.0-50-cloud-amd64\n");
        let bare = Query::host_at(root.path()).unwrap();
        assert_eq!((bare.release.as_str(), bare.distro, bare.build_id), ("6.1.0-50-cloud-amd64", None, None));
        put("etc/os-release", b"ID=alpine\nVERSION_ID=3.20\n");
        put("host/etc/os-release", b"ID=\"debian\"\nVERSION_ID=\"12\"\n");
        put("sys/kernel/notes", &note(3, b"GNU\0", &[1, 2]));
        let full = Query::host_at(root.path()).unwrap();
        assert_eq!(full, Query::new(full.arch, "6.1.0-50-cloud-amd64").os("debian", "12").build_id("0102"));
    }
}
