//! Instruction by instruction: the object relocated with the kernel's own BTF against the same with ours.

use crate::wire::{Compare, DIFFERENCES_MAX, Difference, Differs, Engine, Foreseen};

/// Eight bytes in file order: opcode, registers, 16-bit offset, 32-bit immediate.
pub type Insn = [u8; 8];

const LD_IMM64: u8 = 0x18;

/// Compares all; of what differs, the first few are told.
pub fn compare(full: &[Insn], ours: &[Insn], funcs: &[(u32, u32)]) -> Compare {
    if full.len() != ours.len() {
        return Compare::Length { full: full.len() as u32, ours: ours.len() as u32 };
    }
    let (full_masked, ours_masked) = (masked(full), masked(ours));
    let mut differing = (0..full.len()).filter(|&i| full_masked[i] != ours_masked[i]);
    let first: Vec<Difference> =
        differing.by_ref().take(DIFFERENCES_MAX).map(|i| difference(i, &full[i], &ours[i])).collect();
    if first.is_empty() {
        return Compare::Same;
    }
    let count = (first.len() + differing.count()) as u32;
    Compare::Differs(Differs { count, first, funcs: funcs.to_vec() })
}

/// What the host's engine foresaw of a program's functions, against its instructions.
pub fn compare_engine(foreseen: &[Foreseen], insns: &[Insn], funcs: &[(u32, u32)]) -> Engine {
    let mut engine = Engine::default();
    for (start, func) in funcs {
        for one in foreseen.iter().filter(|one| one.func == *func) {
            let at = start + one.insn;
            let libbpf = insns.get(at as usize).map(hex).unwrap_or_default();
            engine.compared += 1;
            if libbpf != one.bytes {
                engine.differ += 1;
                let ours = one.bytes.clone();
                engine.first.get_or_insert(Difference { insn: at, full: libbpf, ours, relo: None });
            }
        }
    }
    engine
}

/// Map descriptors, addresses of maps' values, functions and ksyms are different in each process: of a 64-bit load
/// that a pseudo register marks as one of these, only opcode and registers count.
fn masked(insns: &[Insn]) -> Vec<Insn> {
    let mut masked = insns.to_vec();
    let mut at = 0;
    while at < masked.len() {
        let wide = masked[at][0] == LD_IMM64;
        if wide && masked[at][1] >> 4 != 0 {
            for half in masked[at..].iter_mut().take(2) {
                half[2..].fill(0);
            }
        }
        at += if wide { 2 } else { 1 };
    }
    masked
}

fn difference(at: usize, full: &Insn, ours: &Insn) -> Difference {
    Difference { insn: at as u32, full: hex(full), ours: hex(ours), relo: None }
}

fn hex(insn: &Insn) -> String {
    insn.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXIT: Insn = [0x95, 0, 0, 0, 0, 0, 0, 0];
    const SECOND_HALF: Insn = [0; 8];

    fn mov(imm: u8) -> Insn {
        [0xb7, 1, 0, 0, imm, 0, 0, 0]
    }

    fn wide(pseudo: u8, imm: u8) -> Insn {
        [LD_IMM64, pseudo << 4 | 2, 0, 0, imm, 0, 0, 0]
    }

    #[track_caller]
    fn check(full: &[Insn], ours: &[Insn], expect: &[u32]) {
        let got: Vec<u32> = match compare(full, ours, &[]) {
            Compare::Same => vec![],
            Compare::Differs(differs) => {
                assert_eq!(differs.count as usize, differs.first.len());
                differs.first.iter().map(|difference| difference.insn).collect()
            }
            Compare::Length { .. } | Compare::NotDone => vec![u32::MAX],
        };
        assert_eq!(got, expect);
    }

    #[test]
    fn only_what_a_relocation_writes_counts() {
        check(&[mov(1), EXIT], &[mov(1), EXIT], &[]);
        check(&[mov(1), EXIT], &[mov(2), EXIT], &[0]);
        check(&[mov(1), EXIT], &[mov(1)], &[u32::MAX]);
        // Map descriptors differ, a plain 64-bit constant may not.
        check(&[wide(1, 3), SECOND_HALF], &[wide(1, 9), SECOND_HALF], &[]);
        check(&[wide(0, 3), SECOND_HALF], &[wide(0, 9), SECOND_HALF], &[0]);
        check(&[wide(1, 3), SECOND_HALF], &[wide(2, 3), SECOND_HALF], &[0]);
        // The second half of a wide load is no opcode of its own.
        let half = [0, 0, 0, 0, LD_IMM64, 0, 0, 0];
        check(&[wide(0, 3), half, mov(1)], &[wide(0, 3), half, mov(2)], &[2]);
        // A torn wide load at the end does not read past it.
        check(&[wide(1, 3)], &[wide(1, 4)], &[]);
    }

    #[test]
    fn the_engine_is_compared_function_by_function() {
        let foreseen = |func, insn, imm| Foreseen { func, insn, bytes: hex(&mov(imm)) };
        let all = [foreseen(7, 1, 5), foreseen(8, 0, 6), foreseen(9, 0, 1)];
        // Function 7 starts at 0, 8 at 2; 9 is not in this program.
        let funcs = [(0, 7), (2, 8)];
        let good = compare_engine(&all, &[EXIT, mov(5), mov(6)], &funcs);
        assert_eq!(good, Engine { compared: 2, differ: 0, first: None });
        let bad = compare_engine(&all, &[EXIT, mov(5), mov(9)], &funcs);
        assert_eq!((bad.compared, bad.differ), (2, 1));
        assert_eq!(bad.first.map(|first| first.insn), Some(2));
        // A program that is too short is a difference, not a crash.
        assert_eq!(compare_engine(&all, &[EXIT], &funcs).differ, 2);
    }

    #[test]
    fn the_count_is_exact_when_the_list_is_cut() {
        let (full, ours) = (vec![mov(1); 200], vec![mov(2); 200]);
        let Compare::Differs(differs) = compare(&full, &ours, &[(0, 5)]) else { panic!() };
        assert_eq!((differs.count, differs.first.len(), differs.funcs.len()), (200, DIFFERENCES_MAX, 1));
    }
}
