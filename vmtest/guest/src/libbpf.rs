//! The calls that libbpf-rs does not offer, or not with the errno: it loads and closes in one step, and a failed load
//! takes the relocated instructions along.

use std::ffi::{CStr, CString};
use std::io;
use std::ptr::NonNull;

use libbpf_rs::{AsRawLibbpf, ObjectBuilder, OpenObject, OpenProgram};

use crate::compare::Insn;

/// libbpf's version as it says it itself: the linked one, not the one that was asked for.
#[allow(unsafe_code)]
pub fn version() -> String {
    // SAFETY: returns a static string.
    let text = unsafe { CStr::from_ptr(libbpf_sys::libbpf_version_string()) };
    text.to_string_lossy().into_owned()
}

/// Opens an object file; the error is a negative errno.
#[allow(unsafe_code)]
pub fn open(builder: &ObjectBuilder, path: &str) -> Result<OpenObject, i32> {
    let path = CString::new(path).map_err(|_| -libc::EINVAL)?;
    // SAFETY: path and options live through the call, which keeps copies; a pointer that is not null is an open object.
    unsafe {
        let object = libbpf_sys::bpf_object__open_file(path.as_ptr(), builder.as_libbpf_object().as_ptr());
        match NonNull::new(object) {
            Some(object) => Ok(OpenObject::from_ptr(object)),
            None => Err(-io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)),
        }
    }
}

/// Relocates and creates maps (`bpf_object__prepare`); the error is a negative errno.
#[allow(unsafe_code)]
pub fn prepare(object: &mut OpenObject) -> Result<(), i32> {
    // SAFETY: the object is open, and borrowed mutably.
    check(unsafe { libbpf_sys::bpf_object__prepare(object.as_libbpf_object().as_ptr()) })
}

/// Loads the enabled programs of a prepared object; the first that fails ends it.
#[allow(unsafe_code)]
pub fn load(object: &mut OpenObject) -> Result<(), i32> {
    // SAFETY: as above.
    check(unsafe { libbpf_sys::bpf_object__load(object.as_libbpf_object().as_ptr()) })
}

/// Where a prepared program's functions start: instruction index, and the FUNC's type id.
#[allow(unsafe_code)]
pub fn func_info(program: &OpenProgram<'_>) -> Vec<(u32, u32)> {
    let program = program.as_libbpf_object().as_ptr();
    // SAFETY: the program belongs to an open object; libbpf gives an array of that many records, or null.
    let records = unsafe {
        let first = libbpf_sys::bpf_program__func_info(program);
        let count = libbpf_sys::bpf_program__func_info_cnt(program);
        if first.is_null() { &[] } else { std::slice::from_raw_parts(first, count as usize) }
    };
    records.iter().map(|record| (record.insn_off, record.type_id)).collect()
}

/// A program's instructions as they stand now, in file order.
pub fn insns<'a>(program: &OpenProgram<'a>) -> impl Iterator<Item = Insn> + 'a {
    program.insns().iter().map(|insn| {
        let (off, imm) = (insn.off.to_ne_bytes(), insn.imm.to_ne_bytes());
        let regs = insn.src_reg() << 4 | insn.dst_reg();
        [insn.code, regs, off[0], off[1], imm[0], imm[1], imm[2], imm[3]]
    })
}

fn check(code: i32) -> Result<(), i32> {
    if code == 0 { Ok(()) } else { Err(code) }
}
