//! What came of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::spec::{Accel, Libbpf};

/// What a run of a machine gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VmReport {
    /// `uname -r` in the guest.
    pub kernel_release: Option<String>,
    /// Size and CRC-32 of the kernel's own BTF as the guest saw it.
    pub kernel_btf: Option<SeenBtf>,
    /// Version string of the libbpf that relocated and loaded.
    pub libbpf: Option<String>,
    /// The same of the older one, where checks wanted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_libbpf: Option<String>,
    /// What executed the guest: never [`Accel::Auto`], unless nothing was started.
    pub accel: Accel,
    /// Why that.
    pub accel_reason: String,
    /// Each boot, in order.
    pub attempts: Vec<Attempt>,
    /// Wall time of all boots.
    pub seconds: f64,
    /// How slow this machine was: the limits were multiplied by it.
    pub slowness: u32,
    /// The verdicts, or why there are none.
    pub outcome: Outcome,
}

/// A BTF by size and CRC-32: enough to notice the wrong kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenBtf {
    /// Bytes.
    pub size: u64,
    /// CRC-32 (IEEE) of all bytes.
    pub crc32: u32,
}

/// One boot and its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// QEMU's machine type.
    pub machine: String,
    /// Accelerator.
    pub accel: Accel,
    /// Memory.
    pub memory_mib: u32,
    /// It went on from a kept state instead of booting.
    pub restored: bool,
    /// The command, program first.
    pub command: Vec<String>,
    /// From start to the guest's first message.
    pub ready_seconds: Option<f64>,
    /// From start to the end.
    pub seconds: f64,
    /// Why it gave no verdicts; `None` when it did.
    pub failure: Option<String>,
    /// The last lines of the console.
    pub console: Vec<String>,
    /// The last lines that QEMU itself wrote.
    pub qemu_stderr: Vec<String>,
}

/// Verdicts, or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// One per check, in the order of the checks.
    Done(Vec<ObjectVerdict>),
    /// The environment failed: this says nothing about any BTF.
    Infra {
        /// What failed, and what to do about it.
        reason: String,
    },
    /// This program cannot boot such a kernel: also no verdict, and no failure of the machine.
    Unsupported {
        /// What is missing.
        reason: String,
    },
}

/// What one check says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectVerdict {
    /// [`Check::object`](crate::Check::object).
    pub object: String,
    /// [`Check::label`](crate::Check::label).
    pub label: String,
    /// [`Check::libbpf`](crate::Check::libbpf).
    #[serde(default)]
    pub libbpf: Libbpf,
    /// In the object's order.
    pub programs: Vec<ProgramVerdict>,
    /// The gravest of its programs'.
    pub verdict: Verdict,
    /// What is true for the object as a whole.
    pub detail: Option<String>,
    /// Milliseconds of the three loads: kernel's own BTF, ours, ours with the kernel's own hidden.
    pub millis: [u32; 3],
}

impl ObjectVerdict {
    /// True when every program's instructions were compared and equal, whether or not the kernel took them.
    pub fn is_identical(&self) -> bool {
        !self.programs.is_empty()
            && self.programs.iter().all(|program| program.instructions == Instructions::Identical)
    }
}

/// What one check says of one program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProgramVerdict {
    /// Its function's name.
    pub program: String,
    /// Its ELF section.
    pub section: String,
    /// All in one word.
    pub verdict: Verdict,
    /// The comparison alone.
    pub instructions: Instructions,
    /// Instructions on which libbpf in the machine and our engine on the host came to the same.
    pub agreed: u32,
    /// What came of attaching it, where that was wanted and it loads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached: Option<Attachment>,
    /// The reason, over several lines where there is a log.
    pub detail: Option<String>,
}

/// What came of attaching a program, and of doing in the machine what it watches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// In one word.
    pub ran: Ran,
    /// What was done, and what is wrong.
    pub detail: Option<String>,
}

/// How an attached program did; a later one is graver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ran {
    /// An event came that says what was done, with something in it that nothing else in the machine has.
    Reported,
    /// Attached; what it watches is not known, or could not be done in this machine.
    NotProvoked,
    /// It cannot be attached on this kernel, with its own BTF neither.
    NotAttached,
    /// No right event, and none with the kernel's own BTF either.
    Silent,
    /// Right with the kernel's own BTF, and not with ours; or not right, where the kernel has none.
    Wrong,
}

/// Instructions relocated with ours against those relocated with the kernel's own BTF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instructions {
    /// No difference.
    Identical,
    /// At least one.
    Different,
    /// One of the two does not exist.
    NotCompared,
}

/// What a check means for a user of the BTF; a later one is graver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Same instructions, and it loads with the kernel's own BTF hidden.
    #[serde(rename = "ok")]
    Identical,
    /// The kernel has no BTF of its own to compare with; it loads.
    Skipped,
    /// Same instructions, but it attaches by BTF: no external BTF can help it on a kernel without.
    NeedsKernelBtf,
    /// Same instructions, but the kernel refuses it with its own BTF, too.
    LoadFailBoth,
    /// Only type ids differ: renumbered in any minimized BTF, of no use to the program.
    TypeIdReloc,
    /// Loads with the kernel's own BTF, fails with ours: our defect.
    LoadFailMinOnly,
    /// Attached, it does not report what was done, and does so with the kernel's own BTF: our defect.
    WrongEvent,
    /// Other instructions: it would read the wrong memory.
    Mismatch,
    /// libbpf crashed or hung.
    Crash,
}

impl Verdict {
    /// True when the BTF is to blame.
    pub fn is_failure(self) -> bool {
        match self {
            Verdict::Identical | Verdict::Skipped | Verdict::NeedsKernelBtf | Verdict::LoadFailBoth => false,
            Verdict::TypeIdReloc
            | Verdict::LoadFailMinOnly
            | Verdict::WrongEvent
            | Verdict::Mismatch
            | Verdict::Crash => true,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Identical => "ok",
            Verdict::Skipped => "skipped",
            Verdict::NeedsKernelBtf => "needs-kernel-btf",
            Verdict::LoadFailBoth => "load-fail-both",
            Verdict::TypeIdReloc => "type-id-reloc",
            Verdict::LoadFailMinOnly => "load-fail-min-only",
            Verdict::WrongEvent => "wrong-event",
            Verdict::Mismatch => "mismatch",
            Verdict::Crash => "crash",
        })
    }
}

/// What happens during a run, for whoever watches.
#[derive(Debug, Clone, PartialEq)]
pub enum VmEvent {
    /// The accelerator is chosen.
    Accel {
        /// Which.
        accel: Accel,
        /// Why.
        reason: String,
        /// `auto` wanted KVM and could not have it.
        fallback: bool,
    },
    /// A boot starts, the first is 1.
    Boot {
        /// Its number.
        attempt: usize,
        /// QEMU's machine type.
        machine: String,
        /// It goes on from a kept state.
        restored: bool,
    },
    /// The machine is up, and later checks of this kernel need no boot.
    StateKept {
        /// Size of the file.
        bytes: u64,
    },
    /// The machine is up, and the next one has to boot again.
    StateNotKept {
        /// Why.
        reason: String,
    },
    /// The kernel wrote its first byte.
    Console {
        /// Since start.
        seconds: f64,
    },
    /// The guest speaks.
    Ready {
        /// `uname -r`.
        kernel: String,
        /// Since start.
        seconds: f64,
    },
    /// A check starts.
    CheckBegin {
        /// Index of the check.
        index: usize,
    },
    /// A check ended. Its verdict counts only when the whole boot ends well.
    CheckEnd {
        /// Index of the check.
        index: usize,
    },
    /// The evidence could not be written.
    NoEvidence {
        /// Why.
        reason: String,
    },
    /// The command of a session wrote a line.
    Output {
        /// Without its end.
        line: String,
    },
    /// A boot failed; there may be another.
    BootFailed {
        /// Its number.
        attempt: usize,
        /// Why.
        reason: String,
    },
}
