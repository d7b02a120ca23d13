//! BPF instructions as eight bytes.

use btf::ByteOrder;

/// Bytes of an instruction; a 64-bit immediate load takes two.
pub const INSN_LEN: usize = 8;

/// One instruction, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Insn {
    /// Class, mode, size, source and operation.
    pub code: u8,
    /// Destination register, 0 to 15.
    pub dst: u8,
    /// Source register, 0 to 15.
    pub src: u8,
    /// Signed offset of loads, stores and jumps.
    pub off: i16,
    /// Signed immediate.
    pub imm: i32,
}

pub(crate) const CLASS_LD: u8 = 0;
pub(crate) const CLASS_LDX: u8 = 1;
pub(crate) const CLASS_ST: u8 = 2;
pub(crate) const CLASS_STX: u8 = 3;
pub(crate) const CLASS_ALU: u8 = 4;
pub(crate) const CLASS_ALU64: u8 = 7;
const LDIMM64: u8 = 0x18;

impl Insn {
    /// Decodes eight bytes; the byte order also decides which half of a byte is which register.
    pub fn decode(bytes: [u8; INSN_LEN], order: ByteOrder) -> Insn {
        let [code, registers, o0, o1, i0, i1, i2, i3] = bytes;
        let (low, high) = (registers & 0x0f, registers >> 4);
        let imm = order.decode([i0, i1, i2, i3]) as i32;
        match order {
            ByteOrder::Little => Insn { code, dst: low, src: high, off: i16::from_le_bytes([o0, o1]), imm },
            ByteOrder::Big => Insn { code, dst: high, src: low, off: i16::from_be_bytes([o0, o1]), imm },
        }
    }

    /// Encodes it again.
    pub fn encode(&self, order: ByteOrder) -> [u8; INSN_LEN] {
        let (registers, [o0, o1]) = match order {
            ByteOrder::Little => (self.src << 4 | self.dst & 0x0f, self.off.to_le_bytes()),
            ByteOrder::Big => (self.dst << 4 | self.src & 0x0f, self.off.to_be_bytes()),
        };
        let [i0, i1, i2, i3] = order.encode(self.imm as u32);
        [self.code, registers, o0, o1, i0, i1, i2, i3]
    }

    /// The call that takes the place of an instruction that can't be relocated (libbpf: `bpf_core_poison_insn`).
    pub fn poison() -> Insn {
        Insn { code: 0x85, dst: 0, src: 0, off: 0, imm: 0x0bad_2310 }
    }

    /// The class: the lowest three bits of the code.
    pub fn class(&self) -> u8 {
        self.code & 7
    }

    /// Whether this is the first half of a 64-bit immediate load.
    pub fn is_ldimm64(&self) -> bool {
        self.code == LDIMM64
    }

    /// Whether an ALU operation takes its operand from the immediate.
    pub(crate) fn has_immediate_operand(&self) -> bool {
        self.code & 0x08 == 0
    }

    /// Bytes that a load or store accesses.
    pub(crate) fn access_size(&self) -> u32 {
        match self.code & 0x18 {
            0x00 => 4,
            0x08 => 2,
            0x10 => 1,
            _dw => 8,
        }
    }

    /// The same load or store with another width; None where there is no such width.
    pub(crate) fn with_access_size(self, bytes: u32) -> Option<Insn> {
        let size = match bytes {
            4 => 0x00,
            2 => 0x08,
            1 => 0x10,
            8 => 0x18,
            _other => return None,
        };
        Some(Insn { code: self.code & !0x18 | size, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders() {
        let insn = Insn { code: 0x61, dst: 1, src: 10, off: -8, imm: 0x01020304 };
        assert_eq!(insn.encode(ByteOrder::Little), [0x61, 0xa1, 0xf8, 0xff, 4, 3, 2, 1]);
        assert_eq!(insn.encode(ByteOrder::Big), [0x61, 0x1a, 0xff, 0xf8, 1, 2, 3, 4]);
        for order in [ByteOrder::Little, ByteOrder::Big] {
            assert_eq!(Insn::decode(insn.encode(order), order), insn);
        }
        assert_eq!(Insn::poison().encode(ByteOrder::Little), [0x85, 0, 0, 0, 0x10, 0x23, 0xad, 0x0b]);
    }
}
