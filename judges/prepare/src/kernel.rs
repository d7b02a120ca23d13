//! A kernel that is not there: takes every map, BTF and program, has the BTF, symbols and configuration that it is given.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::sync::OnceLock;

/// What the kernel has, as paths.
#[derive(Debug, Default)]
pub struct Kernel {
    /// BTF of its own.
    pub btf: Option<CString>,
    /// `/proc/kallsyms`.
    pub kallsyms: Option<CString>,
    /// `/boot/config-…`.
    pub kconfig: Option<CString>,
}

static KERNEL: OnceLock<Kernel> = OnceLock::new();

/// Says what the kernel has, before libbpf asks.
pub fn boot(kernel: Kernel) {
    assert!(KERNEL.set(kernel).is_ok(), "one kernel a process");
}

/// Commands of bpf() that make something that has a file descriptor.
const MAKES: [c_long; 3] = [0, 5, 18];
/// Updates of maps and freezing them.
const SUCCEEDS: [c_long; 2] = [2, 22];

unsafe extern "C" {
    fn __real_syscall(number: c_long, ...) -> c_long;
    fn __real_fopen(path: *const c_char, mode: *const c_char) -> *mut c_void;
    fn __real_gzopen(path: *const c_char, mode: *const c_char) -> *mut c_void;
}

/// The one door to the kernel: bpf() ends here, and everything else goes on.
///
/// # Safety
/// Called by C with what syscall(2) takes; arguments that a call does not have are passed on unread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    if number != libc::SYS_bpf {
        // SAFETY: as the caller called it.
        return unsafe { __real_syscall(number, a, b, c, d, e, f) };
    }
    if MAKES.contains(&a) {
        // SAFETY: a name that lives for ever.
        return c_long::from(unsafe { libc::memfd_create(c"bpf".as_ptr(), libc::MFD_CLOEXEC) });
    }
    if SUCCEEDS.contains(&a) {
        return 0;
    }
    // No programs, no links, no BTFs of modules, no tokens.
    // SAFETY: the thread's own errno.
    unsafe { *libc::__errno_location() = libc::ENOENT };
    -1
}

/// The kernel's own BTF.
///
/// # Safety
/// Called by C without arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_btf__load_vmlinux_btf() -> *mut libbpf_sys::btf {
    match KERNEL.get().and_then(|kernel| kernel.btf.as_ref()) {
        // SAFETY: a path that lives as long as the process.
        Some(path) => unsafe { libbpf_sys::btf__parse(path.as_ptr(), std::ptr::null_mut()) },
        None => {
            // SAFETY: the thread's own errno.
            unsafe { *libc::__errno_location() = libc::ESRCH };
            std::ptr::null_mut()
        }
    }
}

/// The path that stands in for one of the machine's: None when there is no such file.
fn in_place_of(path: &CStr) -> Option<&CStr> {
    let kernel = KERNEL.get();
    match path.to_bytes() {
        b"/proc/kallsyms" => kernel?.kallsyms.as_deref(),
        b"/proc/config.gz" => None,
        path if path.starts_with(b"/boot/config-") => kernel?.kconfig.as_deref(),
        _other => Some(path),
    }
}

/// # Safety
/// `path` and `mode` are strings.
unsafe fn open(
    path: *const c_char,
    mode: *const c_char,
    real: unsafe extern "C" fn(*const c_char, *const c_char) -> *mut c_void,
) -> *mut c_void {
    // SAFETY: the caller says so.
    match in_place_of(unsafe { CStr::from_ptr(path) }) {
        // SAFETY: as above.
        Some(path) => unsafe { real(path.as_ptr(), mode) },
        None => {
            // SAFETY: the thread's own errno.
            unsafe { *libc::__errno_location() = libc::ENOENT };
            std::ptr::null_mut()
        }
    }
}

macro_rules! opens {
    ($($name:ident => $real:ident),+) => {$(
        /// A file of the machine, or what stands in for it.
        ///
        /// # Safety
        /// Called by C with two strings.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(path: *const c_char, mode: *const c_char) -> *mut c_void {
            // SAFETY: the caller says so.
            unsafe { open(path, mode, $real) }
        }
    )+};
}

opens!(__wrap_fopen => __real_fopen, __wrap_fopen64 => __real_fopen,
       __wrap_gzopen => __real_gzopen, __wrap_gzopen64 => __real_gzopen);

/// The name of an errno that libbpf returned.
pub fn errno_text(code: c_int) -> String {
    std::io::Error::from_raw_os_error(-code).to_string()
}
