//! How much of a cage this machine's kernel holds.

use std::ptr;

use crate::bubblewrap;

/// How much of a cage a kernel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The version of Landlock, 0 where there is none. 1 is of Linux 5.13, 6 of 6.12.
    pub landlock: u32,
    /// Whether system calls can be refused.
    pub seccomp: bool,
    /// Whether bubblewrap is here and works: only looked for where the kernel holds less than all.
    pub bubblewrap: bool,
}

/// The first version of Landlock that holds truncation.
const TRUNCATE: u32 = 3;

/// The first version of Landlock that holds signals.
const SIGNALS: u32 = 6;

impl Level {
    /// Asks the kernel.
    #[allow(unsafe_code)]
    pub fn of_this_machine() -> Level {
        const VERSION: libc::c_uint = 1;
        // SAFETY: asked for its version, the call reads no memory and makes nothing.
        let landlock = unsafe {
            libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<libc::c_void>(), 0usize, VERSION)
        };
        let action: u32 = libc::SECCOMP_RET_ERRNO;
        // SAFETY: the call reads the four bytes that it is given.
        let seccomp =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
        let kernel = Level {
            landlock: u32::try_from(landlock).unwrap_or(0),
            seccomp: seccomp == 0,
            bubblewrap: false,
        };
        let bubblewrap = !kernel.is_whole() && bubblewrap::find().is_some();
        Level { bubblewrap, ..kernel }
    }

    /// Whether the kernel needs no help.
    fn is_whole(self) -> bool {
        self.landlock >= SIGNALS && self.seccomp
    }

    /// Whether a cage is made by bubblewrap, in place of Landlock.
    pub fn is_wrapped(self) -> bool {
        self.bubblewrap && !self.is_whole()
    }

    /// What holds a cage, in words.
    pub fn means(self) -> String {
        let seccomp = if self.seccomp { ", seccomp" } else { "" };
        match (self.is_wrapped(), self.landlock) {
            (true, _) => format!("bubblewrap{seccomp}, limits"),
            (false, 0) => format!("no Landlock{seccomp}, limits"),
            (false, version) => format!("Landlock {version}{seccomp}, limits"),
        }
    }

    /// What a process can do in spite of a cage, for a sentence such as "plugins can …".
    pub fn missing(self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if self.is_wrapped() {
            return missing;
        }
        match self.landlock {
            0 => missing.push("read and write all that you can (the kernel has no Landlock, or it is off)"),
            version if version < TRUNCATE => {
                missing.push("empty files that you can write (Landlock 3 is of Linux 6.2)")
            }
            _ => {}
        }
        if self.landlock < SIGNALS {
            missing.push("end your other processes (Landlock 6 is of Linux 6.12)");
        }
        if !self.seccomp {
            missing.push("use the network and leave processes behind (the kernel has no seccomp filters)");
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing() {
        let check = |landlock, seccomp, words: &[&str]| {
            let level = Level { landlock, seccomp, bubblewrap: false };
            let missing = level.missing();
            let first: Vec<&str> = missing.iter().filter_map(|text| text.split(' ').next()).collect();
            assert_eq!(first, words, "{landlock} {seccomp}");
        };
        check(7, true, &[]);
        check(6, false, &["use"]);
        check(5, true, &["end"]);
        check(1, true, &["empty", "end"]);
        check(0, false, &["read", "end", "use"]);
        for (landlock, seccomp) in [(0, false), (5, true), (7, false)] {
            let wrapped = Level { landlock, seccomp, bubblewrap: true };
            assert!(wrapped.is_wrapped() && wrapped.missing().is_empty());
        }
        assert!(!Level { landlock: 6, seccomp: true, bubblewrap: true }.is_wrapped());
    }
}
