//! The judge, run as a process for each program: libbpf may crash, and nothing of one load stays for the next.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use relo_core::{INSN_LEN, Insn};

/// What libbpf came to.
#[derive(Debug)]
pub struct Answer {
    /// Whether it loaded the program.
    pub loaded: bool,
    /// The instructions with maps by their index; None where it did not come so far.
    pub insns: Option<Vec<Insn>>,
    /// Its own words.
    pub said: String,
}

/// Files that the kernel is made of.
#[derive(Debug, Default, Clone, Copy)]
pub struct Files<'f> {
    pub kernel: Option<&'f Path>,
    pub custom: Option<&'f Path>,
    pub kconfig: Option<&'f Path>,
    pub kallsyms: Option<&'f Path>,
}

/// Lets libbpf load one program of an object.
pub fn load(object: &Path, program: &str, files: Files<'_>) -> Answer {
    let mut judge = Command::new(env!("CARGO_BIN_EXE_judge-prepare"));
    let options = [
        ("--kernel", files.kernel),
        ("--custom", files.custom),
        ("--kconfig", files.kconfig),
        ("--kallsyms", files.kallsyms),
    ];
    for (option, path) in options {
        judge.args(path.map(|path| [option.as_ref(), path.as_os_str()]).into_iter().flatten());
    }
    let output = judge.args(["--only", program]).arg(object).output().expect("the judge runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: the judge ended with {}: {said}", object.display(), output.status);
    read(&String::from_utf8_lossy(&output.stdout), program, said)
}

fn read(lines: &str, program: &str, said: String) -> Answer {
    let mut maps = HashMap::new();
    let mut answer = Answer { loaded: false, insns: None, said };
    for line in lines.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        match fields[..] {
            ["map", _name, fd] => {
                let index = maps.len() as i32;
                maps.insert(fd.parse::<i32>().expect("a number"), index);
            }
            ["program", name, hex] if name == program => answer.insns = Some(insns(hex, &maps)),
            // libbpf leaves out a program of struct_ops that no map asks for.
            ["loaded"] => answer.loaded = answer.insns.is_some(),
            ["failed", ..] => answer.said += line,
            [..] => {}
        }
    }
    answer
}

/// The instructions, with indexes where libbpf puts file descriptors of maps.
fn insns(hex: &str, maps: &HashMap<i32, i32>) -> Vec<Insn> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(digit).collect();
    let decode = |bytes: &[u8; INSN_LEN]| Insn::decode(*bytes, btf::ByteOrder::Little);
    let mut insns: Vec<Insn> = bytes.as_chunks::<INSN_LEN>().0.iter().map(decode).collect();
    let mut at = 0;
    while at < insns.len() {
        let insn = &mut insns[at];
        let wide = insn.is_ldimm64();
        // BPF_PSEUDO_MAP_FD and BPF_PSEUDO_MAP_VALUE become BPF_PSEUDO_MAP_IDX and BPF_PSEUDO_MAP_IDX_VALUE.
        if wide && matches!(insn.src, 1 | 2) {
            insn.src += 4;
            insn.imm = *maps.get(&insn.imm).expect("the file descriptor of a map");
        }
        at += if wide { 2 } else { 1 };
    }
    insns
}
