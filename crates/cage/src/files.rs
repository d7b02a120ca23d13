//! Which files: rules of Landlock (linux/landlock.h, Documentation/userspace-api/landlock.rst).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};

use crate::Cage;

/// `struct landlock_ruleset_attr`: what is refused unless a rule allows it. Older kernels know its beginning only.
#[repr(C)]
struct Refused {
    files: u64,
    /// Since version 4.
    network: u64,
    /// Since version 6.
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Allowed {
    rights: u64,
    parent: RawFd,
}

const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// To make and remove whatever can be in a folder.
const CHANGE_DIR: u64 = (1 << 13) - (1 << 4);
/// To move and link between folders.
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEVICE: u64 = 1 << 15;

/// What has a meaning for a file that is no folder.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE;
const READ: u64 = EXECUTE | READ_FILE | READ_DIR;

/// All that a version knows of.
fn rights(version: u32) -> u64 {
    let first = READ | WRITE_FILE | CHANGE_DIR;
    let later = [(2, REFER), (3, TRUNCATE), (5, IOCTL_DEVICE)];
    later.iter().filter(|(since, _)| version >= *since).fold(first, |all, (_, right)| all | right)
}

/// To bind and to connect by TCP.
const TCP: u64 = 0b11;

/// Abstract sockets and signals stay among the processes of the cage.
const SCOPED: u64 = 0b11;

/// Rules that were handed to the kernel, and hold for nobody yet.
pub struct Rules(OwnedFd);

impl Rules {
    /// `version` is that of the kernel's Landlock, 1 or more.
    pub fn new(cage: &Cage, version: u32) -> io::Result<Rules> {
        let all = rights(version);
        let refused = Refused { files: all, network: if cage.network { 0 } else { TCP }, scoped: SCOPED };
        let rules = Rules(create(&refused, version)?);
        let paths =
            cage.read.iter().map(|path| (path, READ)).chain(cage.write.iter().map(|path| (path, all)));
        paths.into_iter().try_for_each(|(path, rights)| rules.allow(path, rights))?;
        Ok(rules)
    }

    /// What isn't there needs no rule.
    fn allow(&self, path: &Path, rights: u64) -> io::Result<()> {
        let Ok(file) = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else {
            return Ok(());
        };
        let is_folder = FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::Directory;
        let rights = if is_folder { rights } else { rights & OF_FILES };
        add(self.0.as_raw_fd(), &Allowed { rights, parent: file.as_fd().as_raw_fd() })
    }

    /// From now on they hold for this thread and for what it starts. Called between fork and exec.
    #[allow(unsafe_code)]
    pub fn apply(&self) -> io::Result<()> {
        // SAFETY: the call reads its numbers and changes nothing but the thread's rights.
        let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.0.as_raw_fd(), 0) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[allow(unsafe_code)]
fn create(refused: &Refused, version: u32) -> io::Result<OwnedFd> {
    let size = match version {
        0..4 => size_of::<u64>(),
        4..6 => 2 * size_of::<u64>(),
        6.. => size_of::<Refused>(),
    };
    // SAFETY: the call reads `size` bytes, which the struct has.
    let file = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const *refused, size, 0) };
    match RawFd::try_from(file) {
        // SAFETY: it was opened just now, and is nobody else's.
        Ok(file) if file >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(file) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[allow(unsafe_code)]
fn add(rules: RawFd, allowed: &Allowed) -> io::Result<()> {
    const PATH_BENEATH: libc::c_int = 1;
    // SAFETY: the call reads the struct, which lives until it returns.
    let result =
        unsafe { libc::syscall(libc::SYS_landlock_add_rule, rules, PATH_BENEATH, &raw const *allowed, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_of_versions() {
        assert_eq!(rights(1), 0x1fff);
        assert_eq!(rights(2), 0x3fff);
        assert_eq!(rights(4), 0x7fff);
        assert_eq!(rights(7), 0xffff);
        assert_eq!(size_of::<Allowed>(), 12);
    }
}
