//! Patching: the decision written into the instruction.

use btf::ByteOrder;

use crate::insn::{CLASS_ALU, CLASS_ALU64, CLASS_LD, CLASS_LDX, CLASS_ST, CLASS_STX};
use crate::{Decision, INSN_LEN, Insn, Mode, ReloError};

/// An instruction after relocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Patched {
    /// One instruction, or both halves of a 64-bit immediate load.
    pub insns: [Insn; 2],
    /// How many of the two there are.
    pub len: usize,
    /// Whether it was replaced by the invalid call.
    pub poisoned: bool,
}

impl Patched {
    /// The bytes in file order.
    pub(crate) fn encode(&self, order: ByteOrder) -> Vec<u8> {
        self.insns[..self.len].iter().flat_map(|insn| insn.encode(order)).collect()
    }
}

/// The instruction at an offset, if one starts there.
pub(crate) fn read_at(code: &[u8], offset: u32, order: ByteOrder) -> Option<Patched> {
    let at = offset as usize;
    read(code.get(at..).filter(|_| at.is_multiple_of(INSN_LEN))?, order)
}

/// The instruction at the start of `code`, with its second half if it has one.
fn read(code: &[u8], order: ByteOrder) -> Option<Patched> {
    let at = |index: usize| {
        let bytes = code.get(index * INSN_LEN..)?.first_chunk::<INSN_LEN>()?;
        Some(Insn::decode(*bytes, order))
    };
    let first = at(0)?;
    let nop = Insn { code: 0, dst: 0, src: 0, off: 0, imm: 0 };
    match at(1) {
        Some(second) if first.is_ldimm64() => {
            Some(Patched { insns: [first, second], len: 2, poisoned: false })
        }
        None if first.is_ldimm64() => None,
        Some(_) | None => Some(Patched { insns: [first, nop], len: 1, poisoned: false }),
    }
}

/// Applies a decision (libbpf: `bpf_core_patch_insn`).
pub(crate) fn patch(insn: Patched, decision: &Decision, mode: Mode) -> Result<Patched, ReloError> {
    if decision.poison {
        return Ok(poison(insn));
    }
    let first = insn.insns[0];
    match first.class() {
        CLASS_ALU | CLASS_ALU64 => patch_alu(insn, decision, mode),
        CLASS_LDX | CLASS_ST | CLASS_STX => patch_access(insn, decision),
        CLASS_LD => patch_ldimm64(insn, decision),
        _jump => Err(ReloError::UnexpectedInsn { code: first.code }),
    }
}

fn poison(insn: Patched) -> Patched {
    Patched { insns: [Insn::poison(); 2], len: insn.len, poisoned: true }
}

fn patch_alu(mut insn: Patched, decision: &Decision, mode: Mode) -> Result<Patched, ReloError> {
    let first = &mut insn.insns[0];
    if !first.has_immediate_operand() {
        return Err(ReloError::UnexpectedInsn { code: first.code });
    }
    // A 32-bit operation does not extend its immediate, so there an unsigned value stands for itself.
    let unextended = mode == Mode::Correct && first.class() == CLASS_ALU;
    let same = |found: u64| found == decision.local;
    if !(same(i64::from(first.imm) as u64) || (unextended && same(u64::from(first.imm as u32)))) {
        check_value(decision, i64::from(first.imm) as u64)?;
    }
    first.imm = decision.target as u32 as i32;
    Ok(insn)
}

fn patch_access(mut insn: Patched, decision: &Decision) -> Result<Patched, ReloError> {
    let first = insn.insns[0];
    check_value(decision, i64::from(first.off) as u64)?;
    let off = i16::try_from(decision.target).map_err(|_| ReloError::OffsetOutOfRange(decision.target))?;
    if decision.width_is_fixed {
        return Ok(poison(insn));
    }
    insn.insns[0].off = off;
    if decision.local_size != decision.target_size {
        let (found, expected) = (first.access_size(), decision.local_size);
        if found != expected {
            return Err(ReloError::UnexpectedWidth { found, expected });
        }
        let resized = insn.insns[0].with_access_size(decision.target_size);
        insn.insns[0] = resized.ok_or(ReloError::ImpossibleWidth(decision.target_size))?;
    }
    Ok(insn)
}

fn patch_ldimm64(mut insn: Patched, decision: &Decision) -> Result<Patched, ReloError> {
    let [first, second] = insn.insns;
    let plain_second = Insn { imm: 0, ..second } == Insn { code: 0, dst: 0, src: 0, off: 0, imm: 0 };
    if insn.len != 2 || first.src != 0 || first.off != 0 || !plain_second {
        return Err(ReloError::UnexpectedInsn { code: first.code });
    }
    check_value(decision, u64::from(second.imm as u32) << 32 | u64::from(first.imm as u32))?;
    insn.insns[0].imm = decision.target as u32 as i32;
    insn.insns[1].imm = (decision.target >> 32) as u32 as i32;
    Ok(insn)
}

fn check_value(decision: &Decision, found: u64) -> Result<(), ReloError> {
    if decision.validate && found != decision.local {
        return Err(ReloError::UnexpectedValue { found, expected: decision.local });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_at_the_end_of_a_section() {
        let check = |code: &[u8], offset, want: Option<usize>| {
            let found = read_at(code, offset, ByteOrder::Little).map(|insn| insn.len);
            assert_eq!(found, want, "{offset} in {code:x?}");
        };
        let (mov, ldimm64) = ([0xb7, 1, 0, 0, 0, 0, 0, 0], [0x18, 1, 0, 0, 0, 0, 0, 0]);
        let both = [ldimm64, mov].concat();
        check(&mov, 0, Some(1));
        check(&mov, 4, None);
        check(&mov, 8, None);
        check(&both, 0, Some(2));
        check(&both, 8, Some(1));
        check(&ldimm64, 0, None);
        check(&both[..12], 8, None);
    }
}
