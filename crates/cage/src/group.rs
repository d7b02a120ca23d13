//! What the kernel has no limit for: how many processes a group has, and how much lies in a folder.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Processes and threads of the process group `group`, as far as `/proc` shows them.
pub fn tasks(group: u32) -> usize {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = entries.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit());
    numbered
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|stat| tasks_in(&stat, group))
        .sum()
}

/// The number of threads in a line of `/proc/PID/stat`, if it is of the group.
fn tasks_in(stat: &str, group: u32) -> Option<usize> {
    // The second field is a name in parentheses, which may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let is_it = fields.get(2)?.parse() == Ok(group);
    is_it.then(|| fields.get(17)?.parse().ok()).flatten()
}

/// All tasks of the machine, which costs next to nothing; at most 65535.
pub fn tasks_of_machine() -> usize {
    usize::from(rustix::system::sysinfo().procs)
}

/// Bytes that a folder and all below take on the disk. What vanishes meanwhile is left out; no link is followed.
pub fn bytes_in(folder: &Path) -> u64 {
    let mut folders = vec![folder.to_owned()];
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            // An empty file takes an inode, which disks have a number of as well.
            bytes += (metadata.blocks() * 512).max(512);
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_stat() {
        let line = "7 (a) b) S 1 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 3 0 9";
        assert_eq!(tasks_in(line, 42), Some(3));
        assert_eq!(tasks_in(line, 1), None);
        assert_eq!(tasks_in("7 (a", 1), None);
    }

    #[test]
    fn this_process_is_there() {
        let group = rustix::process::getpgrp().as_raw_nonzero().get();
        assert!(tasks(group as u32) >= 1);
        assert!(tasks_of_machine() >= 1);
    }

    #[test]
    fn folders() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(bytes_in(folder.path()), 0);
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), vec![1; 100_000]).unwrap();
        assert!((100_000..200_000).contains(&bytes_in(folder.path())));
        assert_eq!(bytes_in(Path::new("/nowhere")), 0);
    }
}
