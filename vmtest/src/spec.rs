//! What is asked for: the machine, and the checks to make in it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::results;
use crate::states::StateFolder;

/// Processor architecture of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// `x86_64`, also called amd64.
    X86_64,
    /// `arm64`, also called aarch64.
    Arm64,
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arch::X86_64 => "x86_64",
            Arch::Arm64 => "arm64",
        })
    }
}

/// How the guest's instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// KVM if it is there, permitted and fast; else TCG, aloud.
    #[default]
    Auto,
    /// KVM or nothing.
    Kvm,
    /// QEMU's own emulation.
    Tcg,
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Accel::Auto => "auto",
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        })
    }
}

impl FromStr for Accel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Accel::Auto),
            "kvm" => Ok(Accel::Kvm),
            "tcg" => Ok(Accel::Tcg),
            _ => Err(format!("unknown accelerator {text:?}: use auto, kvm or tcg")),
        }
    }
}

/// A machine to boot.
#[derive(Debug, Clone)]
pub struct VmSpec {
    /// Architecture of the kernel.
    pub arch: Arch,
    /// The unpacked `vmlinux` ELF (boots faster, through PVH), or a bzImage.
    pub kernel: PathBuf,
    /// Another form of the same kernel for the boots after a failed first one: a bzImage where `kernel` is an ELF.
    pub fallback_kernel: Option<PathBuf>,
    /// The kernel's configuration, for objects with `__kconfig` externs.
    pub kernel_config: Option<PathBuf>,
    /// Memory; raised by itself when the checks need more. 256 is enough for the largest of bcc's tools.
    pub memory_mib: u32,
    /// How to execute.
    pub accel: Accel,
    /// Limit of one boot from start to the last answer, whatever its progress.
    pub timeout: Duration,
    /// Limits of the phases of a boot.
    pub limits: Limits,
    /// Existing folder for the files of the run: initramfs, console logs. They stay.
    pub work: PathBuf,
    /// Where machines that are up are kept, so that a later check of the same kernel needs no boot. Emulated ones only:
    /// a state fits the processor that it was made on.
    pub states: Option<StateFolder>,
    /// A folder, made when it is not there, for what every boot leaves as evidence: its command line, console and
    /// results, and the report.
    pub evidence: Option<PathBuf>,
    /// Another QEMU than the one on the PATH.
    pub qemu: Option<PathBuf>,
    /// Another guest program than the embedded one.
    pub guest: Option<PathBuf>,
    /// Another program with the older libbpf than the embedded one.
    pub old_libbpf: Option<PathBuf>,
    /// The oldest libbpf that the guest may be linked with, major and minor version.
    pub oldest_libbpf: (u32, u32),
    /// Attach what loads, and do in the machine what it watches. That takes a disk, which a machine that is kept gets
    /// when it is up.
    pub attach: bool,
}

impl VmSpec {
    /// A machine with the usual memory, limits and QEMU.
    pub fn new(arch: Arch, kernel: impl Into<PathBuf>, work: impl Into<PathBuf>) -> Self {
        VmSpec {
            arch,
            kernel: kernel.into(),
            fallback_kernel: None,
            kernel_config: None,
            memory_mib: 256,
            accel: Accel::Auto,
            timeout: Duration::from_secs(600),
            limits: Limits::default(),
            work: work.into(),
            states: None,
            evidence: None,
            qemu: None,
            guest: None,
            old_libbpf: None,
            oldest_libbpf: results::LIBBPF,
            attach: false,
        }
    }
}

/// How long each phase of a boot may take without anything happening. Generous: they tell a dead machine from a slow
/// one, and a host may be busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From start to the first byte on the console, and later between two bytes until the guest is ready.
    pub console: Duration,
    /// The same under KVM, where a healthy machine needs a fraction of a second.
    pub console_kvm: Duration,
    /// From start until the guest speaks.
    pub ready: Duration,
    /// For one check. The guest gives up a little earlier, so that it can say so.
    pub check: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            console: Duration::from_secs(20),
            console_kvm: Duration::from_secs(5),
            ready: Duration::from_secs(60),
            check: Duration::from_secs(120),
        }
    }
}

/// Which libbpf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Libbpf {
    /// The one that the guest program is linked with: a recent one.
    #[default]
    Current,
    /// 1.1, which Debian 12 has: many loaders are linked with one of its age.
    Old,
}

/// One object against one BTF.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// Name of the object in the report.
    pub object: String,
    /// The object file.
    pub elf: Vec<u8>,
    /// The BTF to relocate it with.
    pub btf: Vec<u8>,
    /// Which BTF that is, in words.
    pub label: String,
    /// Who relocates and loads it.
    pub libbpf: Libbpf,
    /// The instructions with a `target_type_id` relocation: ELF section, and instruction index within it. Type ids are
    /// renumbered by minimizing, so that these differ rightly; they are reported as [`Verdict::TypeIdReloc`].
    ///
    /// [`Verdict::TypeIdReloc`]: crate::Verdict::TypeIdReloc
    pub type_id_insns: Vec<(String, u32)>,
}
