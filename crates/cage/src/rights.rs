//! Rights that nobody in a cage has.

use std::io;

use rustix::process::geteuid;

/// Root keeps what it needs for files and for becoming somebody else, as apt-get does: `CAP_CHOWN` (0) to `CAP_SETUID`
/// (7) of linux/capability.h.
const KEPT: std::ops::RangeInclusive<libc::c_ulong> = 0..=7;

/// The names of [`KEPT`].
pub const KEPT_NAMES: [&str; 8] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
];

/// More than there are.
const LAST: libc::c_ulong = 63;

/// No rights by set-user-id programs, and of root's rights those of [`KEPT`] only. Called between fork and exec.
#[allow(unsafe_code)]
pub fn give_up() -> io::Result<()> {
    if geteuid().is_root() {
        for right in (0..=LAST).filter(|right| !KEPT.contains(right)) {
            // In a container it may be gone already, and there may be no right to give it up.
            // SAFETY: the call takes a number and changes nothing but the thread's rights.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, right, 0, 0, 0) };
        }
    }
    never_gain()
}

/// No rights by set-user-id programs. Called between fork and exec.
#[allow(unsafe_code)]
pub fn never_gain() -> io::Result<()> {
    // SAFETY: the call takes numbers and changes nothing but the thread's rights.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
