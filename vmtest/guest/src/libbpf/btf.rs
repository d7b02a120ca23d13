//! The BTF of a file, opened by libbpf.

use std::ffi::CString;
use std::ptr::{self, NonNull};

use super::{Types, last_error};

/// The BTF of a file.
pub struct Btf(NonNull<libbpf_sys::btf>);

impl Btf {
    /// Raw, or an ELF file's section; the error is a negative errno.
    #[allow(unsafe_code)]
    pub fn parse(path: &str) -> Result<Self, i32> {
        let path = CString::new(path).map_err(|_| -libc::EINVAL)?;
        // SAFETY: the path lives through the call, and what is not null is ours.
        let btf = unsafe { libbpf_sys::btf__parse(path.as_ptr(), ptr::null_mut()) };
        NonNull::new(btf).map(Btf).ok_or_else(last_error)
    }

    pub fn types(&self) -> Types<'_> {
        Types::of(self.0)
    }
}

impl Drop for Btf {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it is ours, and nothing borrows it any more.
        unsafe { libbpf_sys::btf__free(self.0.as_ptr()) };
    }
}
