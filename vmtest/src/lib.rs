//! Boots a kernel in QEMU and asks libbpf in it what a BTF is worth.
//!
//! A program that loads may still read the wrong memory, so loading proves little: each object is relocated by libbpf
//! twice, with the kernel's own BTF and with the one to check, and the instructions are compared. Then it is loaded with
//! `/sys/kernel/btf` hidden, as on a kernel that has none. What the machine does wrong is never a verdict on a BTF.
//!
//! Phases of a run: [`kvm`] or emulation, initramfs, boot under a watchdog, answers, verdicts; see [`run`].
#![deny(unsafe_code)]

mod accel;
mod boot;
mod console;
mod cpio;
mod initramfs;
mod judge;
pub mod kvm;
mod process;
pub mod qemu;
mod report;
mod results;
mod run;
mod spec;
mod typeid;
mod wire;

pub use report::{
    Attempt, Instructions, ObjectVerdict, Outcome, ProgramVerdict, SeenBtf, Verdict, VmEvent, VmReport,
};
pub use run::run;
pub use spec::{Accel, Arch, Check, Limits, VmSpec};

/// The guest program for an architecture: PID 1 of the machine. Absent when this library was built without.
pub fn guest(arch: Arch) -> Option<&'static [u8]> {
    const X86_64: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest-x86_64"));
    match arch {
        Arch::X86_64 => Some(X86_64).filter(|program| !program.is_empty()),
        Arch::Arm64 => None,
    }
}
