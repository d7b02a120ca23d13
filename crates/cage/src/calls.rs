//! Which system calls: a filter of seccomp.

use std::io;

use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter, sock_fprog};

/// The numbers of system calls mean something else in other architectures (`AUDIT_ARCH_*` of linux/audit.h).
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Where the two stand in `struct seccomp_data`.
const NUMBER_OFF: u32 = 0;
const ARCHITECTURE_OFF: u32 = 4;

/// Calls of x32 have this bit, on x86_64.
const X32: u32 = 0x4000_0000;

/// A program for the kernel that says what becomes of each system call.
pub struct Filter(Vec<sock_filter>);

impl Filter {
    /// Nobody leaves the process group, so that it can be counted and ended; without `network` nobody opens a socket,
    /// be it by a ring.
    pub fn new(network: bool) -> Filter {
        let mut program = vec![load(ARCHITECTURE_OFF)];
        program.extend(unless(BPF_JEQ, ARCHITECTURE, refuse(libc::ENOSYS)));
        program.push(load(NUMBER_OFF));
        program.extend(when(BPF_JGE, X32, refuse(libc::ENOSYS)));
        let mut deny = |call: libc::c_long, error| {
            // No system call has a number beyond 32 bits.
            program.extend(when(BPF_JEQ, u32::try_from(call).unwrap_or(u32::MAX), refuse(error)));
        };
        deny(libc::SYS_setsid, libc::EPERM);
        deny(libc::SYS_setpgid, libc::EPERM);
        if !network {
            deny(libc::SYS_socket, libc::EACCES);
            deny(libc::SYS_io_uring_setup, libc::ENOSYS);
        }
        program.push(instruction(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW));
        Filter(program)
    }

    /// From now on it holds for this thread and for what it starts. Called between fork and exec.
    #[allow(unsafe_code)]
    pub fn apply(&self) -> io::Result<()> {
        let program = sock_fprog { len: self.0.len() as u16, filter: self.0.as_ptr().cast_mut() };
        // SAFETY: the kernel copies the program, which lives until the call returns, and writes nothing to it.
        let result =
            unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn instruction(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset)
}

fn refuse(error: libc::c_int) -> sock_filter {
    instruction(BPF_RET | BPF_K, libc::SECCOMP_RET_ERRNO | error as u32)
}

/// Does `then` if the loaded value compares.
fn when(comparison: u32, value: u32, then: sock_filter) -> [sock_filter; 2] {
    [sock_filter { jf: 1, ..instruction(BPF_JMP | comparison | BPF_K, value) }, then]
}

fn unless(comparison: u32, value: u32, then: sock_filter) -> [sock_filter; 2] {
    [sock_filter { jt: 1, ..instruction(BPF_JMP | comparison | BPF_K, value) }, then]
}
