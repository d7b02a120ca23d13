//! libbpf's object, as far as the judge needs it.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};

use libbpf_sys::{bpf_map, bpf_object, bpf_object_open_opts, bpf_program};

/// What is said when opening.
#[derive(Debug, Default)]
pub struct Options {
    /// BTF in place of the kernel's own, for CO-RE alone.
    pub custom_btf: Option<CString>,
}

/// An object that is open.
pub struct Object(NonNull<bpf_object>);

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: opened by libbpf and closed once.
        unsafe { libbpf_sys::bpf_object__close(self.0.as_ptr()) };
    }
}

impl Object {
    /// libbpf: `bpf_object__open_file`.
    pub fn open(path: &CStr, options: &Options) -> Result<Object, c_int> {
        let opts = bpf_object_open_opts {
            sz: size_of::<bpf_object_open_opts>() as libbpf_sys::size_t,
            btf_custom_path: options.custom_btf.as_ref().map_or(ptr::null(), |path| path.as_ptr()),
            ..Default::default()
        };
        // SAFETY: a string, and options that libbpf copies what it keeps of.
        let raw = unsafe { libbpf_sys::bpf_object__open_file(path.as_ptr(), &opts) };
        let errno = || std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
        NonNull::new(raw).map(Object).ok_or_else(|| -errno())
    }

    /// Loads one program and no other.
    pub fn load_only(&mut self, name: &CStr) {
        for program in self.each_program() {
            // SAFETY: a program of this object.
            unsafe {
                let chosen = CStr::from_ptr(libbpf_sys::bpf_program__name(program)) == name;
                libbpf_sys::bpf_program__set_autoload(program, chosen);
            }
        }
    }

    /// libbpf: `bpf_object__prepare`.
    pub fn prepare(&mut self) -> Result<(), c_int> {
        // SAFETY: an open object.
        check(unsafe { libbpf_sys::bpf_object__prepare(self.0.as_ptr()) })
    }

    /// libbpf: `bpf_object__load`.
    pub fn load(&mut self) -> Result<(), c_int> {
        // SAFETY: an open object.
        check(unsafe { libbpf_sys::bpf_object__load(self.0.as_ptr()) })
    }

    /// The maps' names and file descriptors.
    pub fn maps(&self) -> Vec<(String, c_int)> {
        let mut maps = Vec::new();
        let mut map: *mut bpf_map = ptr::null_mut();
        loop {
            // SAFETY: null or a map of this object.
            map = unsafe { libbpf_sys::bpf_object__next_map(self.0.as_ptr(), map) };
            if map.is_null() {
                return maps;
            }
            // SAFETY: a map of this object.
            maps.push(unsafe { (text(libbpf_sys::bpf_map__name(map)), libbpf_sys::bpf_map__fd(map)) });
        }
    }

    /// The programs that are loaded, with their instructions.
    pub fn programs(&self) -> Vec<(String, Vec<u8>)> {
        let mut programs = Vec::new();
        for program in self.each_program() {
            // SAFETY: a program of this object; its instructions live as long.
            unsafe {
                if !libbpf_sys::bpf_program__autoload(program) {
                    continue;
                }
                let count = libbpf_sys::bpf_program__insn_cnt(program) as usize;
                let insns = libbpf_sys::bpf_program__insns(program).cast::<u8>();
                let insns = std::slice::from_raw_parts(insns, count * 8).to_vec();
                programs.push((text(libbpf_sys::bpf_program__name(program)), insns));
            }
        }
        programs
    }

    fn each_program(&self) -> impl Iterator<Item = *mut bpf_program> {
        let mut program: *mut bpf_program = ptr::null_mut();
        std::iter::from_fn(move || {
            // SAFETY: null or a program of this object.
            program = unsafe { libbpf_sys::bpf_object__next_program(self.0.as_ptr(), program) };
            (!program.is_null()).then_some(program)
        })
    }
}

/// # Safety
/// A string of libbpf.
unsafe fn text(string: *const c_char) -> String {
    // SAFETY: the caller says so.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

fn check(code: c_int) -> Result<(), c_int> {
    if code == 0 { Ok(()) } else { Err(code) }
}
