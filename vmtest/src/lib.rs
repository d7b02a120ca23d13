//! Boots a kernel in QEMU and asks libbpf in it what a BTF is worth.
//!
//! A program that loads may still read the wrong memory, so loading proves little: each object is relocated by libbpf
//! twice, with the kernel's own BTF and with the one to check, and the instructions are compared. Then it is loaded with
//! `/sys/kernel/btf` hidden, as on a kernel that has none. What the machine does wrong is never a verdict on a BTF.
//!
//! Phases of a run: [`kvm`] or emulation, initramfs, boot under a watchdog, answers, verdicts; see [`run`].
#![deny(unsafe_code)]

mod accel;
mod attached;
mod attachment;
mod boot;
mod budget;
mod console;
mod cpio;
mod evidence;
mod failure;
mod feed;
mod foresight;
mod initramfs;
mod judge;
pub mod kvm;
mod pace;
mod process;
pub mod qemu;
mod qmp;
mod report;
mod results;
mod run;
pub mod session;
mod spec;
mod states;
mod supply;
mod tsc;
mod typeid;
mod warm;
mod wire;

pub use report::{
    Attachment, Attempt, Instructions, ObjectVerdict, Outcome, ProgramVerdict, Ran, SeenBtf, Verdict,
    VmEvent, VmReport,
};
pub use run::run;
pub use spec::{Accel, Arch, Check, Libbpf, Limits, VmSpec};
pub use states::StateFolder;

/// The guest program for an architecture: PID 1 of the machine. Absent when this library was built without.
pub fn guest(arch: Arch) -> Option<&'static [u8]> {
    const X86_64: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest-x86_64"));
    const ARM64: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest-arm64"));
    embedded(arch, X86_64, ARM64)
}

/// The program with the older libbpf for an architecture: PID 1 starts it for [`Libbpf::Old`].
pub fn old_libbpf(arch: Arch) -> Option<&'static [u8]> {
    const X86_64: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/old-libbpf-x86_64"));
    const ARM64: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/old-libbpf-arm64"));
    embedded(arch, X86_64, ARM64)
}

fn embedded(arch: Arch, x86_64: &'static [u8], arm64: &'static [u8]) -> Option<&'static [u8]> {
    let program = match arch {
        Arch::X86_64 => x86_64,
        Arch::Arm64 => arm64,
    };
    Some(program).filter(|program| !program.is_empty())
}
