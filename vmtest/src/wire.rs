//! What the guest says to the host: one message a line over the second serial port.
//!
//! `@@btfpipe1 <seq> <crc32> {json}`. The serial line may tear, repeat or mix bytes (the kernel writes to it when it is
//! told to, a restored machine repeats), so that a line counts only with its prefix, its number in sequence and its
//! checksum. This file is compiled into both programs: each uses its half.
#![allow(dead_code, reason = "the guest encodes, the host decodes")]

use serde::{Deserialize, Serialize};

use crate::attached::Attached;

/// First word of a line; the digit is the version of the protocol.
pub const PREFIX: &str = "@@btfpipe1";
/// Name of the environment variable (kernel command line) with the number that this boot must repeat.
pub const NONCE_ENV: &str = "BTFPIPE_NONCE";
/// Name of the environment variable with the path of the results' serial device.
pub const RESULTS_ENV: &str = "BTFPIPE_RESULTS";
/// Name of the environment variable with the seconds that one check may take.
pub const SECONDS_ENV: &str = "BTFPIPE_CHECK_SECONDS";
/// Name of the environment variable that, when set, makes the guest wait for its checks: see [`crate::supply`].
pub const SUPPLY_ENV: &str = "BTFPIPE_SUPPLY";
/// The line that ends the wait.
pub const GO: &str = "go";
/// Where the initramfs holds the list of checks.
pub const MANIFEST: &str = "/checks/manifest.json";
/// Where the initramfs holds the kernel's configuration, if the host has it.
pub const KERNEL_CONFIG: &str = "/checks/config";
/// Where the initramfs holds the program with the older libbpf, if it is wanted.
pub const OLD_LIBBPF: &str = "/libbpf-old";
/// Where the initramfs holds a command to run instead of checks: a [`Session`].
pub const SESSION: &str = "/session.json";
/// How many differing instructions of a program are reported; the count is always exact.
pub const DIFFERENCES_MAX: usize = 64;
/// Bytes kept of a verifier log.
pub const LOG_MAX: usize = 8 << 10;

/// What the guest checks, in order: the content of [`MANIFEST`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub checks: Vec<Entry>,
    /// Whether programs are attached, and what they watch is done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attach: bool,
}

/// One object and the BTF to relocate it with: paths in the guest. Equal contents share a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub elf: String,
    pub btf: String,
    /// Relocated and loaded by the older libbpf.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub old_libbpf: bool,
    /// What the host's engine makes of the object with this BTF.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreseen: Vec<Foreseen>,
}

/// An instruction after relocation, by its function (the id of its FUNC in the object's BTF) and its place within it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreseen {
    pub func: u32,
    pub insn: u32,
    /// As 16 hex digits in file order.
    pub bytes: String,
}

/// A command for a person, with the results' serial port as its standard streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Someone types: the port is its terminal, and nothing else is said there.
    pub terminal: bool,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Message {
    /// The guest is up and waits for checks. Its hello starts the numbers anew.
    Waiting {
        nonce: String,
    },
    Hello(Hello),
    /// A check starts: its index in the manifest.
    Begin {
        check: u32,
    },
    Program(Program),
    /// After its programs, when the manifest wants it.
    Attached(Attached),
    End(End),
    /// Every check was made.
    Done {
        count: u32,
    },
    /// The session's command ended.
    Exit {
        code: i32,
    },
    /// The guest cannot go on.
    Fatal {
        reason: String,
    },
}

/// The first message: who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub nonce: String,
    /// `uname -r`.
    pub kernel: String,
    /// Version of the guest program.
    pub agent: String,
    /// libbpf's own version string.
    pub libbpf: String,
    /// The same of the older one, where it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_libbpf: Option<String>,
    /// `/sys/kernel/btf/vmlinux`, absent on a kernel without BTF.
    pub btf: Option<KernelBtf>,
    pub checks: u32,
}

/// The kernel's own BTF as the guest saw it. A CRC: enough to notice the wrong kernel, and cheap under emulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelBtf {
    pub size: u64,
    pub crc32: u32,
}

/// Facts about one program of the check that began last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Program {
    pub program: String,
    pub section: String,
    /// fentry, tp_btf, lsm, struct_ops …: its attach target comes from the kernel's own BTF.
    pub needs_kernel_btf: bool,
    /// Loaded with the kernel's own BTF.
    pub full: Load,
    /// Loaded with ours, the kernel's own visible.
    pub visible: Load,
    /// Loaded with ours, the kernel's own hidden.
    pub hidden: Load,
    pub compare: Compare,
    /// The same with ours, against what the host's engine made of it.
    #[serde(default)]
    pub engine: Engine,
}

/// libbpf in the guest against the engine on the host, both with the BTF to check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// How many instructions were compared.
    pub compared: u32,
    /// How many differ.
    pub differ: u32,
    /// The first that does: `full` is libbpf's, `ours` the engine's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first: Option<Difference>,
}

/// How the load of one program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    Ok,
    Failed {
        errno: i32,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        log: Option<String>,
    },
    /// The pass ended before this program's turn; [`End`] says how.
    NotReached,
    /// Left out on purpose.
    NotTried,
}

/// Instructions relocated with the kernel's own BTF against those relocated with ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compare {
    Same,
    Differs(Differs),
    Length {
        full: u32,
        ours: u32,
    },
    /// One of the two was never relocated; [`End`] says why.
    NotDone,
}

/// The instructions that differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Differs {
    pub count: u32,
    /// The first [`DIFFERENCES_MAX`].
    pub first: Vec<Difference>,
    /// Where libbpf put each function: instruction index, and the FUNC's id in the object's BTF.
    pub funcs: Vec<(u32, u32)>,
}

/// One instruction that differs, as 16 hex digits in file order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub insn: u32,
    pub full: String,
    pub ours: String,
    /// libbpf's name of the relocation that wrote it, where its log tells.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub relo: Option<String>,
}

/// A check has ended; all its programs were reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub check: u32,
    pub full: Pass,
    pub visible: Pass,
    pub hidden: Pass,
}

/// One of the three loads of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    pub end: PassEnd,
    pub millis: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub log: Option<String>,
}

/// How a pass ended for the object as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PassEnd {
    /// Every enabled program was tried.
    Ok,
    /// libbpf does not take the file.
    NotOpened {
        errno: i32,
    },
    /// Externs, BTF, relocations or maps: no program was loaded.
    NotPrepared {
        errno: i32,
    },
    /// A program could not be loaded and libbpf did not say which.
    NotLoaded {
        errno: i32,
    },
    /// libbpf looked for the kernel's own BTF for the object itself (typed ksyms, struct_ops maps).
    NeedsKernelBtf,
    Crashed {
        signal: i32,
    },
    TimedOut {
        seconds: u32,
    },
    /// The worker ended without an answer.
    Lost {
        code: i32,
    },
    NotRun,
}

/// A message with its place in the sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub seq: u32,
    pub message: Message,
}

/// Why a line is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAFrame {
    /// No prefix: some other text.
    Foreign,
    /// The prefix is there, the rest is torn or altered.
    Damaged,
}

/// The line of a message, with a newline before and after: a torn line before it never takes it along.
pub fn encode(seq: u32, message: &Message) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string(message)?;
    Ok(format!("\n{PREFIX} {seq} {:08x} {json}\n", checksum(seq, &json)))
}

/// Reads one line without its newline.
pub fn decode(line: &str) -> Result<Frame, NotAFrame> {
    let rest = line.trim_end_matches('\r').strip_prefix(PREFIX).ok_or(NotAFrame::Foreign)?;
    let mut words = rest.strip_prefix(' ').ok_or(NotAFrame::Damaged)?.splitn(3, ' ');
    let mut word = || words.next().ok_or(NotAFrame::Damaged);
    let (seq, crc, json) = (word()?, word()?, word()?);
    let seq: u32 = seq.parse().map_err(|_| NotAFrame::Damaged)?;
    let crc = u32::from_str_radix(crc, 16).map_err(|_| NotAFrame::Damaged)?;
    if crc != checksum(seq, json) {
        return Err(NotAFrame::Damaged);
    }
    let message = serde_json::from_str(json).map_err(|_| NotAFrame::Damaged)?;
    Ok(Frame { seq, message })
}

fn checksum(seq: u32, json: &str) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&seq.to_le_bytes());
    crc.update(json.as_bytes());
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> String {
        encode(7, &Message::Begin { check: 3 }).unwrap().trim().to_owned()
    }

    #[track_caller]
    fn check(line: &str, expect: Result<u32, NotAFrame>) {
        assert_eq!(decode(line).map(|frame| frame.seq), expect, "{line:?}");
    }

    #[test]
    fn decodes_what_it_encodes_and_nothing_else() {
        let good = line();
        check(&good, Ok(7));
        check(&format!("{good}\r"), Ok(7));
        check("", Err(NotAFrame::Foreign));
        check("[    0.1] hello", Err(NotAFrame::Foreign));
        check(&good[1..], Err(NotAFrame::Foreign));
        check(PREFIX, Err(NotAFrame::Damaged));
        check(&good.replace(" 7 ", " 8 "), Err(NotAFrame::Damaged));
        check(&good.replace("\"check\":3", "\"check\":4"), Err(NotAFrame::Damaged));
        check(&good.replace("@@btfpipe1", "@@btfpipe2"), Err(NotAFrame::Foreign));
        check(&format!("{good}x"), Err(NotAFrame::Damaged));
    }

    #[test]
    fn every_cut_of_a_line_is_refused() {
        let good = line();
        for cut in 0..good.len() {
            assert!(decode(&good[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_line_stays_one_line_whatever_a_log_holds() {
        let reason = "a\nb\r\0\u{1b}[0m \"quoted\" \u{fffd}".to_owned();
        let text = encode(1, &Message::Fatal { reason: reason.clone() }).unwrap();
        assert_eq!(text.matches('\n').count(), 2);
        assert_eq!(decode(text.trim()).unwrap().message, Message::Fatal { reason });
    }
}
