//! What libbpf's static library holds and its API does not: `relo_core.h` and the end of `libbpf_internal.h`, 1.7.0.
//!
//! The layouts are those of that version. [`crate::version`] tells which one is linked.
#![allow(non_camel_case_types)]

use std::ffi::{c_char, c_int, c_uint};

use libbpf_sys::{bpf_core_relo, bpf_insn, btf};

/// Parts that a spec may have.
pub const BPF_CORE_SPEC_MAX_LEN: usize = 64;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct bpf_core_cand {
    pub btf: *const btf,
    pub id: u32,
}

#[repr(C)]
pub struct bpf_core_cand_list {
    pub cands: *mut bpf_core_cand,
    pub len: c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct bpf_core_accessor {
    pub type_id: u32,
    pub idx: u32,
    pub name: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct bpf_core_spec {
    pub btf: *const btf,
    pub spec: [bpf_core_accessor; BPF_CORE_SPEC_MAX_LEN],
    pub root_type_id: u32,
    pub relo_kind: c_uint,
    pub len: c_int,
    pub raw_spec: [c_int; BPF_CORE_SPEC_MAX_LEN],
    pub raw_len: c_int,
    pub bit_offset: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct bpf_core_relo_res {
    pub orig_val: u64,
    pub new_val: u64,
    pub poison: bool,
    pub validate: bool,
    pub fail_memsz_adjust: bool,
    pub orig_sz: u32,
    pub orig_type_id: u32,
    pub new_sz: u32,
    pub new_type_id: u32,
}

#[allow(unsafe_code)]
unsafe extern "C" {
    pub fn bpf_core_essential_name_len(name: *const c_char) -> usize;

    pub fn bpf_core_add_cands(
        local_cand: *mut bpf_core_cand,
        local_essent_len: usize,
        targ_btf: *const btf,
        targ_btf_name: *const c_char,
        targ_start_id: c_int,
        cands: *mut bpf_core_cand_list,
    ) -> c_int;

    pub fn bpf_core_free_cands(cands: *mut bpf_core_cand_list);

    pub fn bpf_core_calc_relo_insn(
        prog_name: *const c_char,
        relo: *const bpf_core_relo,
        relo_idx: c_int,
        local_btf: *const btf,
        cands: *mut bpf_core_cand_list,
        specs_scratch: *mut bpf_core_spec,
        targ_res: *mut bpf_core_relo_res,
    ) -> c_int;

    pub fn bpf_core_patch_insn(
        prog_name: *const c_char,
        insn: *mut bpf_insn,
        insn_idx: c_int,
        relo: *const bpf_core_relo,
        relo_idx: c_int,
        res: *const bpf_core_relo_res,
    ) -> c_int;
}
