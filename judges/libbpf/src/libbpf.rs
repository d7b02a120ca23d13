//! A safe wrapper of libbpf's functions. The one file with unsafe code.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::Once;

use btf::{CoreRelo, TypeId};
use libbpf_sys::bpf_core_relo;

use crate::ffi;

/// A positive errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// "Invalid argument", libbpf's word for nearly everything.
    pub const EINVAL: Errno = Errno(libc::EINVAL);
    /// Too long a spec, too large a size, too wide a bitfield.
    pub const E2BIG: Errno = Errno(libc::E2BIG);
    /// An offset that the instruction can't hold.
    pub const ERANGE: Errno = Errno(libc::ERANGE);

    fn check(code: c_int) -> Result<(), Errno> {
        if code == 0 { Ok(()) } else { Err(Errno(-code)) }
    }
}

/// The version of the linked libbpf, as it says it itself.
pub fn version() -> String {
    // SAFETY: returns a static string.
    let text = unsafe { CStr::from_ptr(libbpf_sys::libbpf_version_string()) };
    text.to_string_lossy().into_owned()
}

/// A BTF that libbpf has parsed.
#[derive(Debug)]
pub struct LibbpfBtf {
    raw: NonNull<libbpf_sys::btf>,
    /// Split BTF points into its base.
    _base: Option<Rc<LibbpfBtf>>,
}

impl LibbpfBtf {
    /// Parses a BTF, of either byte order (libbpf: `btf__new`).
    pub fn new(data: &[u8]) -> Result<LibbpfBtf, Errno> {
        // SAFETY: the data is copied.
        Self::wrap(unsafe { libbpf_sys::btf__new(data.as_ptr().cast(), len_of(data)?) }, None)
    }

    /// Parses split BTF on its base.
    pub fn new_split(data: &[u8], base: &Rc<LibbpfBtf>) -> Result<LibbpfBtf, Errno> {
        // SAFETY: the data is copied, and the base outlives what points to it.
        let raw =
            unsafe { libbpf_sys::btf__new_split(data.as_ptr().cast(), len_of(data)?, base.raw.as_ptr()) };
        Self::wrap(raw, Some(Rc::clone(base)))
    }

    fn wrap(raw: *mut libbpf_sys::btf, base: Option<Rc<LibbpfBtf>>) -> Result<LibbpfBtf, Errno> {
        static QUIET: Once = Once::new();
        // SAFETY: no callback: libbpf then prints nothing.
        QUIET.call_once(|| unsafe {
            libbpf_sys::libbpf_set_print(None);
        });
        match NonNull::new(raw) {
            Some(raw) => Ok(LibbpfBtf { raw, _base: base }),
            None => Err(Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL))),
        }
    }

    /// Sets the size of a pointer, as libbpf's loader does for objects.
    pub fn set_pointer_size(&mut self, bytes: usize) {
        // SAFETY: a parsed BTF, borrowed mutably. Only sizes other than 4 and 8 are refused.
        unsafe { libbpf_sys::btf__set_pointer_size(self.raw.as_ptr(), bytes as libbpf_sys::size_t) };
    }

    /// The number of types with void and the base's.
    pub fn type_count(&self) -> u32 {
        // SAFETY: a parsed BTF.
        unsafe { libbpf_sys::btf__type_cnt(self.raw.as_ptr()) }
    }

    /// The name of a type; None without such a type.
    fn type_name(&self, id: TypeId) -> Option<CString> {
        // SAFETY: a parsed BTF; both calls check their arguments, the type and the string live as long as the BTF.
        unsafe {
            let ty = libbpf_sys::btf__type_by_id(self.raw.as_ptr(), id.0).as_ref()?;
            let name = libbpf_sys::btf__name_by_offset(self.raw.as_ptr(), ty.name_off);
            (!name.is_null()).then(|| CStr::from_ptr(name).to_owned())
        }
    }
}

impl Drop for LibbpfBtf {
    fn drop(&mut self) {
        // SAFETY: owned, and freed once.
        unsafe { libbpf_sys::btf__free(self.raw.as_ptr()) }
    }
}

fn len_of(data: &[u8]) -> Result<u32, Errno> {
    u32::try_from(data.len()).map_err(|_| Errno::E2BIG)
}

/// A candidate: index of the target's BTF (0 is vmlinux), and the type in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cand {
    /// Index of the BTF.
    pub btf: usize,
    /// The type.
    pub id: TypeId,
}

/// A list of candidates, allocated by libbpf.
pub(crate) struct Cands(NonNull<ffi::bpf_core_cand_list>);

impl Cands {
    /// Searches the targets for a local root (libbpf: `bpf_core_find_cands`): vmlinux, and if that has none, modules.
    pub(crate) fn find(local: &LibbpfBtf, root: TypeId, targets: &[Rc<LibbpfBtf>]) -> Result<Cands, Errno> {
        let name = local.type_name(root).ok_or(Errno::EINVAL)?;
        if name.is_empty() {
            return Err(Errno::EINVAL);
        }
        let mut cands = Cands::empty()?;
        let Some((vmlinux, modules)) = targets.split_first() else { return Ok(cands) };
        cands.add(local, root, &name, vmlinux, 1)?;
        if cands.list().is_empty() {
            for module in modules {
                cands.add(local, root, &name, module, vmlinux.type_count())?;
            }
        }
        Ok(cands)
    }

    fn empty() -> Result<Cands, Errno> {
        // SAFETY: zeroes are an empty list. bpf_core_free_cands frees it with free(), so calloc() it is.
        let raw = unsafe { libc::calloc(1, size_of::<ffi::bpf_core_cand_list>()) };
        NonNull::new(raw.cast()).map(Cands).ok_or(Errno(libc::ENOMEM))
    }

    fn add(
        &mut self,
        local: &LibbpfBtf,
        root: TypeId,
        name: &CStr,
        target: &LibbpfBtf,
        first: u32,
    ) -> Result<(), Errno> {
        let mut local = ffi::bpf_core_cand { btf: local.raw.as_ptr(), id: root.0 };
        // SAFETY: the root was found in the local BTF; both BTFs and the list are alive; the name is for messages.
        Errno::check(unsafe {
            let essential = ffi::bpf_core_essential_name_len(name.as_ptr());
            let (target, text) = (target.raw.as_ptr(), c"target".as_ptr());
            ffi::bpf_core_add_cands(&mut local, essential, target, text, first as c_int, self.0.as_ptr())
        })
    }

    /// A list of one.
    pub(crate) fn of(cand: ffi::bpf_core_cand) -> Result<Cands, Errno> {
        let mut list = Cands::empty()?;
        // SAFETY: room for one candidate, which the list owns and bpf_core_free_cands frees.
        unsafe {
            let room: *mut ffi::bpf_core_cand = libc::calloc(1, size_of::<ffi::bpf_core_cand>()).cast();
            let room = NonNull::new(room).ok_or(Errno(libc::ENOMEM))?;
            room.write(cand);
            let raw = list.0.as_mut();
            (raw.cands, raw.len) = (room.as_ptr(), 1);
        }
        Ok(list)
    }

    pub(crate) fn list(&self) -> &[ffi::bpf_core_cand] {
        // SAFETY: libbpf keeps `len` entries at `cands`, which is null only when there are none.
        unsafe {
            let list = self.0.as_ref();
            if list.cands.is_null() { &[] } else { std::slice::from_raw_parts(list.cands, list.len as usize) }
        }
    }

    /// The candidates, named by the target that they stand in.
    pub(crate) fn named(&self, targets: &[Rc<LibbpfBtf>]) -> Vec<Cand> {
        let index =
            |btf: *const libbpf_sys::btf| targets.iter().position(|target| ptr::eq(target.raw.as_ptr(), btf));
        let name = |cand: &ffi::bpf_core_cand| Cand {
            btf: index(cand.btf).unwrap_or(usize::MAX),
            id: TypeId(cand.id),
        };
        self.list().iter().map(name).collect()
    }

    /// Leaves only these of the candidates that the list was made with.
    pub(crate) fn narrow(&mut self, to: &[ffi::bpf_core_cand]) {
        // SAFETY: the list never grows after the search, so the array has room for what it ever held.
        unsafe {
            let list = self.0.as_mut();
            if !to.is_empty() {
                ptr::copy_nonoverlapping(to.as_ptr(), list.cands, to.len());
            }
            list.len = to.len() as c_int;
        }
    }
}

impl Drop for Cands {
    fn drop(&mut self) {
        // SAFETY: owned, and freed once.
        unsafe { ffi::bpf_core_free_cands(self.0.as_ptr()) }
    }
}

/// What `bpf_core_calc_relo_insn` says.
#[derive(Clone, Copy)]
pub(crate) struct Calc {
    pub res: ffi::bpf_core_relo_res,
    /// Local spec, scratch, target spec; the last is zeroes where nothing matched.
    pub specs: [ffi::bpf_core_spec; 3],
}

/// What a relocation comes to (`struct bpf_core_relo_res`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// No match, and no answer for that.
    pub poison: bool,
    /// Whether the instruction must hold `orig_val`.
    pub validate: bool,
    /// The width of a load or store can't change.
    pub fail_memsz_adjust: bool,
    /// The value by the local type.
    pub orig_val: u64,
    /// The value by the target type.
    pub new_val: u64,
    /// Bytes of the local field, for byte_off.
    pub orig_sz: u32,
    /// Bytes of the target field, for byte_off.
    pub new_sz: u32,
}

impl Calc {
    pub(crate) fn resolution(&self) -> Resolution {
        let res = &self.res;
        Resolution {
            poison: res.poison,
            validate: res.validate,
            fail_memsz_adjust: res.fail_memsz_adjust,
            orig_val: res.orig_val,
            new_val: res.new_val,
            orig_sz: res.orig_sz,
            new_sz: res.new_sz,
        }
    }
}

/// Calculates a relocation and narrows the candidates (libbpf: `bpf_core_calc_relo_insn`). None for the candidates
/// is for local_type_id alone.
pub(crate) fn calc(local: &LibbpfBtf, relo: &CoreRelo, cands: Option<&mut Cands>) -> Result<Calc, Errno> {
    if local.type_name(TypeId(relo.type_id.0)).is_none() {
        return Err(Errno::EINVAL);
    }
    let raw_relo = raw(relo);
    // SAFETY: zeroes are valid for both: numbers, null pointers and false.
    let mut calc: Calc = unsafe { std::mem::zeroed() };
    let before = cands.as_ref().map(|cands| cands.list().to_vec());
    let list = cands.as_ref().map_or(ptr::null_mut(), |cands| cands.0.as_ptr());
    // SAFETY: the root exists; everything that is pointed to is alive; there are three specs, as libbpf wants.
    let code = unsafe {
        ffi::bpf_core_calc_relo_insn(
            c"judge".as_ptr(),
            &raw_relo,
            0,
            local.raw.as_ptr(),
            list,
            calc.specs.as_mut_ptr(),
            &mut calc.res,
        )
    };
    if let (Err(errno), Some(cands), Some(before)) = (Errno::check(code), cands, before) {
        // libbpf itself stops here and never uses the list again; the judge goes on.
        cands.narrow(&before);
        return Err(errno);
    }
    Errno::check(code).map(|()| calc)
}

/// Room for one instruction, or both halves of a 64-bit immediate load, in the host's byte order.
#[repr(C, align(8))]
pub(crate) struct Slot(pub [u8; 16]);

/// Writes a calculated relocation into an instruction (libbpf: `bpf_core_patch_insn`).
pub(crate) fn patch(slot: &mut Slot, relo: &CoreRelo, calc: &Calc) -> Result<(), Errno> {
    let insn: *mut c_void = slot.0.as_mut_ptr().cast();
    // SAFETY: an instruction has 8 bytes, and libbpf touches the one after it only for a 64-bit immediate load.
    Errno::check(unsafe {
        ffi::bpf_core_patch_insn(c"judge".as_ptr(), insn.cast(), 0, &raw(relo), 0, &calc.res)
    })
}

fn raw(relo: &CoreRelo) -> bpf_core_relo {
    bpf_core_relo {
        insn_off: relo.insn_off,
        type_id: relo.type_id.0,
        access_str_off: relo.access.0,
        kind: relo.kind,
    }
}
