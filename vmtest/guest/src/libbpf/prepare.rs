//! What libbpf has since 1.6 or 1.7: relocation without a load, and what it knows then.

use super::{Object, Program, check};

impl Object {
    /// Relocates and creates maps; the error is a negative errno.
    #[allow(unsafe_code)]
    pub fn prepare(&mut self) -> Result<(), i32> {
        // SAFETY: the object is open, and borrowed mutably.
        check(unsafe { libbpf_sys::bpf_object__prepare(self.0.as_ptr()) })
    }
}

impl Program<'_> {
    /// Where a prepared program's functions start: instruction index, and the FUNC's type id.
    #[allow(unsafe_code)]
    pub fn func_info(self) -> Vec<(u32, u32)> {
        // SAFETY: as above.
        let records = unsafe {
            let first = libbpf_sys::bpf_program__func_info(self.0.as_ptr());
            let count = libbpf_sys::bpf_program__func_info_cnt(self.0.as_ptr());
            if first.is_null() { &[] } else { std::slice::from_raw_parts(first, count as usize) }
        };
        records.iter().map(|record| (record.insn_off, record.type_id)).collect()
    }
}
