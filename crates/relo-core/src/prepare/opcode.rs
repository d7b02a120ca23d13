//! What instructions are, beyond what relocating needs.

use crate::Insn;
use crate::insn::{CLASS_ALU, CLASS_ALU64, CLASS_LD, CLASS_LDX, CLASS_ST, CLASS_STX};

pub(crate) const CLASS_JMP: u8 = 5;
pub(crate) const CLASS_JMP32: u8 = 6;

/// Operations of ALU instructions, in the upper four bits of the code.
pub(crate) mod alu {
    pub(crate) const ADD: u8 = 0x0;
    pub(crate) const SUB: u8 = 0x1;
    pub(crate) const MUL: u8 = 0x2;
    pub(crate) const DIV: u8 = 0x3;
    pub(crate) const OR: u8 = 0x4;
    pub(crate) const AND: u8 = 0x5;
    pub(crate) const LSH: u8 = 0x6;
    pub(crate) const RSH: u8 = 0x7;
    pub(crate) const NEG: u8 = 0x8;
    pub(crate) const MOD: u8 = 0x9;
    pub(crate) const XOR: u8 = 0xa;
    pub(crate) const MOV: u8 = 0xb;
    pub(crate) const ARSH: u8 = 0xc;
    pub(crate) const END: u8 = 0xd;
}

/// Operations of jumps, in the upper four bits of the code.
pub(crate) mod jump {
    pub(crate) const ALWAYS: u8 = 0x0;
    pub(crate) const EQ: u8 = 0x1;
    pub(crate) const GT: u8 = 0x2;
    pub(crate) const GE: u8 = 0x3;
    pub(crate) const SET: u8 = 0x4;
    pub(crate) const NE: u8 = 0x5;
    pub(crate) const SGT: u8 = 0x6;
    pub(crate) const SGE: u8 = 0x7;
    pub(crate) const CALL: u8 = 0x8;
    pub(crate) const EXIT: u8 = 0x9;
    pub(crate) const LT: u8 = 0xa;
    pub(crate) const LE: u8 = 0xb;
    pub(crate) const SLT: u8 = 0xc;
    pub(crate) const SLE: u8 = 0xd;
    pub(crate) const MAY_GOTO: u8 = 0xe;
}

/// How a load or store addresses memory, in bits 5 to 7 of the code.
pub(crate) mod mode {
    pub(crate) const ABS: u8 = 0x20;
    pub(crate) const IND: u8 = 0x40;
    pub(crate) const MEMSX: u8 = 0x80;
    pub(crate) const ATOMIC: u8 = 0xc0;
}

/// libbpf replaces loads of maps that it does not create by calls of this helper plus the map's index.
pub(crate) const POISON_MAP: i32 = 2_001_000_000;
/// libbpf replaces calls of missing weak kfuncs by calls of this helper plus the extern's index.
pub(crate) const POISON_KFUNC: i32 = 2_002_000_000;

impl Insn {
    /// `src` of a call: a subprogram.
    pub(crate) const PSEUDO_CALL: u8 = 1;
    /// `src` of a call: a kfunc, by its BTF id.
    pub(crate) const PSEUDO_KFUNC_CALL: u8 = 2;
    /// `src` of a 64-bit immediate load: the BTF id of a kernel variable.
    pub(crate) const PSEUDO_BTF_ID: u8 = 3;
    /// `src` of a 64-bit immediate load: the address of a subprogram.
    pub(crate) const PSEUDO_FUNC: u8 = 4;
    /// `src` of a 64-bit immediate load: a map by its index.
    pub(crate) const PSEUDO_MAP_IDX: u8 = 5;
    /// `src` of a 64-bit immediate load: a place in the value of a map, the map by its index.
    pub(crate) const PSEUDO_MAP_IDX_VALUE: u8 = 6;

    /// A call of a helper, subprogram or kfunc (libbpf: `is_call_insn`).
    pub(crate) fn is_call(&self) -> bool {
        self.code == CLASS_JMP | jump::CALL << 4
    }

    /// A call of a subprogram (libbpf: `insn_is_subprog_call`).
    pub(crate) fn is_subprogram_call(&self) -> bool {
        self.is_call() && self.src == Insn::PSEUDO_CALL && self.dst == 0 && self.off == 0
    }

    /// The address of a subprogram (libbpf: `insn_is_pseudo_func`).
    pub(crate) fn is_function_address(&self) -> bool {
        self.is_ldimm64() && self.src == Insn::PSEUDO_FUNC
    }

    /// The operation of an ALU or jump instruction.
    pub(crate) fn operation(&self) -> u8 {
        self.code >> 4
    }

    /// The mode of a load or store.
    pub(crate) fn mode(&self) -> u8 {
        self.code & 0xe0
    }

    pub(crate) fn is_alu(&self) -> bool {
        matches!(self.class(), CLASS_ALU | CLASS_ALU64)
    }

    pub(crate) fn is_jump(&self) -> bool {
        matches!(self.class(), CLASS_JMP | CLASS_JMP32)
    }

    /// Where a jump goes, counted from the start of the code that it stands in; None for what is no jump, and for one
    /// to a place that a register holds.
    pub(crate) fn jump_target(&self, at: usize) -> Option<i64> {
        let far = self.class() == CLASS_JMP32 && self.operation() == jump::ALWAYS;
        match self.operation() {
            jump::CALL | jump::EXIT => None,
            jump::ALWAYS if !self.has_immediate_operand() => None,
            _op if !self.is_jump() => None,
            _op if far => Some(at as i64 + 1 + i64::from(self.imm)),
            _op => Some(at as i64 + 1 + i64::from(self.off)),
        }
    }

    /// Whether the next instruction can follow: not behind an exit or a jump that is always taken.
    pub(crate) fn falls_through(&self) -> bool {
        !(self.is_jump() && matches!(self.operation(), jump::ALWAYS | jump::EXIT))
    }

    /// Registers that an instruction reads and those that it writes, as bits.
    pub(crate) fn registers(&self) -> (u16, u16) {
        let bit = |register: u8| 1u16 << register.min(15);
        let (dst, src) = (bit(self.dst), bit(self.src));
        let operand = if self.has_immediate_operand() { 0 } else { src };
        match self.class() {
            CLASS_LD if self.is_ldimm64() => (0, dst),
            CLASS_LD if self.mode() == mode::IND => (src | bit(6), 0x3f),
            CLASS_LD => (bit(6), 0x3f),
            CLASS_LDX => (src, dst),
            CLASS_ST => (dst, 0),
            CLASS_STX if self.mode() == mode::ATOMIC => (dst | src | bit(0), src | bit(0)),
            CLASS_STX => (dst | src, 0),
            CLASS_ALU | CLASS_ALU64 => match self.operation() {
                alu::MOV => (operand, dst),
                alu::NEG | alu::END => (dst, dst),
                _binary => (dst | operand, dst),
            },
            _jump => match self.operation() {
                jump::CALL => (0x3e, 0x3f),
                jump::EXIT => (1, 0),
                jump::ALWAYS if self.has_immediate_operand() => (0, 0),
                jump::ALWAYS => (dst, 0),
                jump::MAY_GOTO => (0, 0),
                _conditional => (dst | operand, 0),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps() {
        let check = |code: u8, off: i16, imm: i32, want: Option<i64>| {
            let insn = Insn { code, dst: 0, src: 0, off, imm };
            assert_eq!(insn.jump_target(10), want, "{code:#x}");
        };
        check(0x05, 5, 0, Some(16));
        check(0x05, -11, 0, Some(0));
        check(0x06, 5, 100, Some(111));
        check(0x0d, 5, 0, None);
        check(0x15, 5, 1, Some(16));
        check(0x85, 5, 1, None);
        check(0x95, 0, 0, None);
        check(0xb7, 5, 1, None);
        check(0xe5, 2, 0, Some(13));
    }
}
