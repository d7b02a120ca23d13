//! libbpf's own calls, as far as they are needed: what wraps them elsewhere loads and closes in one step, and a failed
//! load takes the relocated instructions along.

// The program with the older libbpf only relocates and loads.
#[cfg(not(feature = "at-once"))]
mod btf;
#[cfg(not(feature = "at-once"))]
mod events;
#[cfg(not(feature = "at-once"))]
mod prepare;
mod types;

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::ptr::{self, NonNull};

use crate::compare::Insn;

#[cfg(not(feature = "at-once"))]
pub use {
    btf::Btf,
    events::{Link, RingBuffer},
    types::Place,
};

pub use types::Types;

/// libbpf's version as it says it itself: the linked one, not the one that was asked for.
#[allow(unsafe_code)]
pub fn version() -> String {
    // SAFETY: returns a static string.
    let text = unsafe { CStr::from_ptr(libbpf_sys::libbpf_version_string()) };
    text.to_string_lossy().into_owned()
}

/// An object file, opened.
pub struct Object(NonNull<libbpf_sys::bpf_object>);

/// A program of an object.
#[derive(Clone, Copy)]
pub struct Program<'a>(NonNull<libbpf_sys::bpf_program>, PhantomData<&'a Object>);

/// A map of an object.
#[derive(Clone, Copy)]
pub struct Map<'a>(NonNull<libbpf_sys::bpf_map>, PhantomData<&'a Object>);

impl Drop for Object {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it is open, and nothing borrows it any more.
        unsafe { libbpf_sys::bpf_object__close(self.0.as_ptr()) }
    }
}

impl Object {
    /// Opens a file, to be relocated with this BTF in place of the kernel's own; the error is a negative errno.
    #[allow(unsafe_code)]
    pub fn open(path: &str, btf: Option<&str>) -> Result<Self, i32> {
        let path = CString::new(path).map_err(|_| -libc::EINVAL)?;
        let btf = btf.map(CString::new).transpose().map_err(|_| -libc::EINVAL)?;
        // SAFETY: all zeros is what C starts with.
        let mut options: libbpf_sys::bpf_object_open_opts = unsafe { mem::zeroed() };
        options.sz = mem::size_of_val(&options) as libbpf_sys::size_t;
        options.btf_custom_path = btf.as_ref().map_or(ptr::null(), |path| path.as_ptr());
        // SAFETY: path and options live through the call, which keeps copies; a pointer that is not null is an object.
        let object = unsafe { libbpf_sys::bpf_object__open_file(path.as_ptr(), &options) };
        NonNull::new(object).map(Object).ok_or_else(last_error)
    }

    /// Loads the enabled programs, relocated now or before; the first that fails ends it.
    #[allow(unsafe_code)]
    pub fn load(&mut self) -> Result<(), i32> {
        // SAFETY: as above.
        check(unsafe { libbpf_sys::bpf_object__load(self.0.as_ptr()) })
    }

    /// Its programs, in its order.
    #[allow(unsafe_code)]
    pub fn programs(&self) -> impl Iterator<Item = Program<'_>> {
        // SAFETY: the object is open, and the program before is one of it or null.
        let after =
            |program| NonNull::new(unsafe { libbpf_sys::bpf_object__next_program(self.0.as_ptr(), program) });
        std::iter::successors(after(ptr::null_mut()), move |program| after(program.as_ptr()))
            .map(|program| Program(program, PhantomData))
    }

    /// Its maps, in its order.
    #[allow(unsafe_code)]
    pub fn maps(&self) -> impl Iterator<Item = Map<'_>> {
        // SAFETY: the object is open, and the map before is one of it or null.
        let after = |map| NonNull::new(unsafe { libbpf_sys::bpf_object__next_map(self.0.as_ptr(), map) });
        std::iter::successors(after(ptr::null_mut()), move |map| after(map.as_ptr()))
            .map(|map| Map(map, PhantomData))
    }

    /// Its own types, if it has any.
    #[allow(unsafe_code)]
    pub fn types(&self) -> Option<Types<'_>> {
        // SAFETY: the object is open.
        NonNull::new(unsafe { libbpf_sys::bpf_object__btf(self.0.as_ptr()) }).map(Types::of)
    }
}

impl<'a> Program<'a> {
    #[allow(unsafe_code)]
    pub fn name(self) -> &'a str {
        // SAFETY: the program belongs to an open object, its name too.
        unsafe { text(libbpf_sys::bpf_program__name(self.0.as_ptr())) }
    }

    /// What the source says in `SEC()`.
    #[allow(unsafe_code)]
    pub fn section(self) -> &'a str {
        // SAFETY: as above.
        unsafe { text(libbpf_sys::bpf_program__section_name(self.0.as_ptr())) }
    }

    /// Attach targets are types of the kernel's own BTF, `btf_custom_path` or not.
    #[allow(unsafe_code)]
    pub fn needs_kernel_btf(self) -> bool {
        use libbpf_sys::{
            BPF_PROG_TYPE_EXT, BPF_PROG_TYPE_LSM, BPF_PROG_TYPE_STRUCT_OPS, BPF_PROG_TYPE_TRACING,
        };
        const KINDS: [libbpf_sys::bpf_prog_type; 4] =
            [BPF_PROG_TYPE_TRACING, BPF_PROG_TYPE_LSM, BPF_PROG_TYPE_STRUCT_OPS, BPF_PROG_TYPE_EXT];
        // SAFETY: as above.
        KINDS.contains(&unsafe { libbpf_sys::bpf_program__type(self.0.as_ptr()) })
    }

    /// Whether it is loaded with its object.
    #[allow(unsafe_code)]
    pub fn autoload(self) -> bool {
        // SAFETY: as above.
        unsafe { libbpf_sys::bpf_program__autoload(self.0.as_ptr()) }
    }

    #[allow(unsafe_code)]
    pub fn set_autoload(self, autoload: bool) {
        // SAFETY: as above; it fails only where the object is loaded.
        unsafe { libbpf_sys::bpf_program__set_autoload(self.0.as_ptr(), autoload) };
    }

    /// Its instructions as they stand now, in file order.
    #[allow(unsafe_code)]
    pub fn insns(self) -> Vec<Insn> {
        // SAFETY: the program belongs to an open object; libbpf gives an array of that many instructions of 8 bytes.
        unsafe {
            let first = libbpf_sys::bpf_program__insns(self.0.as_ptr()).cast::<Insn>();
            let count = libbpf_sys::bpf_program__insn_cnt(self.0.as_ptr()) as usize;
            if first.is_null() { Vec::new() } else { std::slice::from_raw_parts(first, count).to_vec() }
        }
    }
}

impl<'a> Map<'a> {
    #[allow(unsafe_code)]
    pub fn name(self) -> &'a str {
        // SAFETY: the map belongs to an open object, its name too.
        unsafe { text(libbpf_sys::bpf_map__name(self.0.as_ptr())) }
    }

    #[allow(unsafe_code)]
    pub fn kind(self) -> libbpf_sys::bpf_map_type {
        // SAFETY: as above.
        unsafe { libbpf_sys::bpf_map__type(self.0.as_ptr()) }
    }

    #[allow(unsafe_code)]
    pub fn max_entries(self) -> u32 {
        // SAFETY: as above.
        unsafe { libbpf_sys::bpf_map__max_entries(self.0.as_ptr()) }
    }

    #[allow(unsafe_code)]
    pub fn set_max_entries(self, entries: u32) {
        // SAFETY: as above; what is wrong with it, the load says.
        unsafe { libbpf_sys::bpf_map__set_max_entries(self.0.as_ptr(), entries) };
    }

    #[allow(unsafe_code)]
    pub fn value_size(self) -> u32 {
        // SAFETY: as above.
        unsafe { libbpf_sys::bpf_map__value_size(self.0.as_ptr()) }
    }

    #[allow(unsafe_code)]
    pub fn set_value_size(self, bytes: u32) {
        // SAFETY: as above.
        unsafe { libbpf_sys::bpf_map__set_value_size(self.0.as_ptr(), bytes) };
    }
}

/// SAFETY: a string that ends with NUL and lives that long, or null.
#[allow(unsafe_code)]
unsafe fn text<'a>(pointer: *const c_char) -> &'a str {
    if pointer.is_null() {
        return "";
    }
    // SAFETY: as the caller says.
    unsafe { CStr::from_ptr(pointer) }.to_str().unwrap_or_default()
}

fn last_error() -> i32 {
    -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)
}

fn check(code: i32) -> Result<(), i32> {
    if code == 0 { Ok(()) } else { Err(code) }
}
