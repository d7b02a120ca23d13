//! Instructions as text, in the words of the kernel's own disassembler (`bpftool prog dump xlated`).

use super::helper_names;
use super::opcode::{CLASS_JMP32, alu, jump, mode};
use crate::Insn;
use crate::insn::{CLASS_ALU, CLASS_ALU64, CLASS_LD, CLASS_LDX, CLASS_ST, CLASS_STX};

/// One instruction; `second` is the other half of a 64-bit immediate load.
pub(crate) fn text(insn: Insn, second: Option<Insn>) -> String {
    let line = match insn.class() {
        CLASS_LD => load_immediate(insn, second),
        CLASS_LDX => Some(load(insn)),
        CLASS_ST => Some(format!("{} = {}", place(insn, insn.dst), insn.imm)),
        CLASS_STX if insn.mode() == mode::ATOMIC => Some(atomic(insn)),
        CLASS_STX => Some(format!("{} = r{}", place(insn, insn.dst), insn.src)),
        CLASS_ALU | CLASS_ALU64 => arithmetic(insn),
        _jump => flow(insn),
    };
    let line = line.unwrap_or_else(|| "invalid".to_owned());
    format!("({:02x}) {line}", insn.code)
}

fn load_immediate(insn: Insn, second: Option<Insn>) -> Option<String> {
    match insn.mode() {
        mode::ABS => return Some(format!("r0 = *({} *)skb[{}]", width(insn), insn.imm)),
        mode::IND => {
            return Some(format!("r0 = *({} *)skb[r{} + {}]", width(insn), insn.src, insn.imm));
        }
        _immediate if !insn.is_ldimm64() => return None,
        _immediate => {}
    }
    let high = second.map_or(0, |second| second.imm);
    let value = match insn.src {
        0 => format!("{:#x}", u64::from(high as u32) << 32 | u64::from(insn.imm as u32)),
        Insn::PSEUDO_BTF_ID => format!("btf_id[{}]", insn.imm),
        Insn::PSEUDO_FUNC => format!("subprog[{:+}]", insn.imm),
        Insn::PSEUDO_MAP_IDX => format!("map[idx:{}]", insn.imm),
        Insn::PSEUDO_MAP_IDX_VALUE => format!("map[idx:{}][0]+{}", insn.imm, high),
        other => format!("pseudo {other} {:#x}", insn.imm),
    };
    Some(format!("r{} = {value}", insn.dst))
}

fn load(insn: Insn) -> String {
    let sign = if insn.mode() == mode::MEMSX { "s" } else { "u" };
    format!("r{} = *({sign}{} *)(r{} {:+})", insn.dst, 8 * insn.access_size(), insn.src, insn.off)
}

fn place(insn: Insn, register: u8) -> String {
    format!("*({} *)(r{register} {:+})", width(insn), insn.off)
}

fn width(insn: Insn) -> String {
    format!("u{}", 8 * insn.access_size())
}

fn atomic(insn: Insn) -> String {
    let (place, src) = (place(insn, insn.dst), insn.src);
    let fetch = |name: &str| format!("r{src} = atomic_fetch_{name}({place}, r{src})");
    match insn.imm {
        0x00 => format!("lock {place} += r{src}"),
        0x40 => format!("lock {place} |= r{src}"),
        0x50 => format!("lock {place} &= r{src}"),
        0xa0 => format!("lock {place} ^= r{src}"),
        0x01 => fetch("add"),
        0x41 => fetch("or"),
        0x51 => fetch("and"),
        0xa1 => fetch("xor"),
        0xe1 => format!("r{src} = atomic_xchg({place}, r{src})"),
        0xf1 => format!("r0 = atomic_cmpxchg({place}, r0, r{src})"),
        0x100 => format!("r{} = load_acquire(({} *)(r{src} {:+}))", insn.dst, width(insn), insn.off),
        0x110 => format!("store_release(({} *)(r{} {:+}), r{src})", width(insn), insn.dst, insn.off),
        other => format!("atomic {other:#x} {place}, r{src}"),
    }
}

fn arithmetic(insn: Insn) -> Option<String> {
    let wide = insn.class() == CLASS_ALU64;
    let letter = if wide { 'r' } else { 'w' };
    let (dst, src) = (insn.dst, insn.src);
    let operand = if insn.has_immediate_operand() { insn.imm.to_string() } else { format!("{letter}{src}") };
    let signed = if insn.off == 1 { "s" } else { "" };
    let operator = match insn.operation() {
        alu::ADD => "+=".to_owned(),
        alu::SUB => "-=".to_owned(),
        alu::MUL => "*=".to_owned(),
        alu::DIV => format!("{signed}/="),
        alu::OR => "|=".to_owned(),
        alu::AND => "&=".to_owned(),
        alu::LSH => "<<=".to_owned(),
        alu::RSH => ">>=".to_owned(),
        alu::MOD => format!("{signed}%="),
        alu::XOR => "^=".to_owned(),
        alu::ARSH => "s>>=".to_owned(),
        alu::NEG => return Some(format!("{letter}{dst} = -{letter}{dst}")),
        alu::MOV if insn.off != 0 => return Some(format!("{letter}{dst} = (s{}){letter}{src}", insn.off)),
        alu::MOV => "=".to_owned(),
        alu::END => {
            let name = match (wide, insn.has_immediate_operand()) {
                (true, _) => "bswap",
                (false, true) => "le",
                (false, false) => "be",
            };
            return Some(format!("r{dst} = {name}{} r{dst}", insn.imm));
        }
        _unknown => return None,
    };
    Some(format!("{letter}{dst} {operator} {operand}"))
}

fn flow(insn: Insn) -> Option<String> {
    let narrow = insn.class() == CLASS_JMP32;
    let letter = if narrow { 'w' } else { 'r' };
    let operator = match insn.operation() {
        jump::CALL => return Some(call(insn)),
        jump::EXIT => return Some("exit".to_owned()),
        jump::ALWAYS if !insn.has_immediate_operand() => return Some(format!("gotox r{}", insn.dst)),
        jump::ALWAYS if narrow => return Some(format!("gotol pc{:+}", insn.imm)),
        jump::ALWAYS => return Some(format!("goto pc{:+}", insn.off)),
        jump::MAY_GOTO => return Some(format!("may_goto pc{:+}", insn.off)),
        jump::EQ => "==",
        jump::NE => "!=",
        jump::GT => ">",
        jump::GE => ">=",
        jump::LT => "<",
        jump::LE => "<=",
        jump::SET => "&",
        jump::SGT => "s>",
        jump::SGE => "s>=",
        jump::SLT => "s<",
        jump::SLE => "s<=",
        _unknown => return None,
    };
    let operand = if insn.has_immediate_operand() {
        format!("{:#x}", insn.imm)
    } else {
        format!("{letter}{}", insn.src)
    };
    Some(format!("if {letter}{} {operator} {operand} goto pc{:+}", insn.dst, insn.off))
}

fn call(insn: Insn) -> String {
    match insn.src {
        Insn::PSEUDO_CALL => format!("call pc{:+}", insn.imm),
        Insn::PSEUDO_KFUNC_CALL => format!("call kernel-function[{}]", insn.imm),
        _helper => match helper_names::name(insn.imm) {
            Some(name) => format!("call bpf_{name}#{}", insn.imm),
            None => format!("call unknown#{}", insn.imm),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions() {
        let check = |code, dst, src, off, imm, want: &str| {
            let insn = Insn { code, dst, src, off, imm };
            let second = Insn { code: 0, dst: 0, src: 0, off: 0, imm: 1 };
            assert_eq!(text(insn, Some(second)), format!("({code:02x}) {want}"));
        };
        check(0xb7, 1, 0, 0, 5, "r1 = 5");
        check(0xbf, 6, 1, 0, 0, "r6 = r1");
        check(0xbc, 6, 1, 0, 0, "w6 = w1");
        check(0xbf, 6, 1, 16, 0, "r6 = (s16)r1");
        check(0x07, 2, 0, 0, -8, "r2 += -8");
        check(0x3f, 2, 3, 1, 0, "r2 s/= r3");
        check(0xc7, 2, 0, 0, 32, "r2 s>>= 32");
        check(0x87, 2, 0, 0, 0, "r2 = -r2");
        check(0xdc, 2, 0, 0, 16, "r2 = be16 r2");
        check(0xd4, 2, 0, 0, 64, "r2 = le64 r2");
        check(0xd7, 2, 0, 0, 32, "r2 = bswap32 r2");
        check(0x79, 1, 2, 8, 0, "r1 = *(u64 *)(r2 +8)");
        check(0x81, 1, 2, -4, 0, "r1 = *(s32 *)(r2 -4)");
        check(0x63, 10, 1, -4, 0, "*(u32 *)(r10 -4) = r1");
        check(0x7a, 10, 0, -8, 3, "*(u64 *)(r10 -8) = 3");
        check(0xdb, 1, 2, 0, 0, "lock *(u64 *)(r1 +0) += r2");
        check(0xc3, 1, 2, 0, 1, "r2 = atomic_fetch_add(*(u32 *)(r1 +0), r2)");
        check(0xdb, 1, 2, 0, 0xf1, "r0 = atomic_cmpxchg(*(u64 *)(r1 +0), r0, r2)");
        check(0x18, 1, 0, 0, 2, "r1 = 0x100000002");
        check(0x18, 1, 5, 0, 2, "r1 = map[idx:2]");
        check(0x18, 1, 6, 0, 2, "r1 = map[idx:2][0]+1");
        check(0x18, 1, 3, 0, 77, "r1 = btf_id[77]");
        check(0x18, 1, 4, 0, 9, "r1 = subprog[+9]");
        check(0x30, 0, 0, 0, 12, "r0 = *(u8 *)skb[12]");
        check(0x15, 1, 0, 4, 0, "if r1 == 0x0 goto pc+4");
        check(0x6e, 1, 2, -4, 0, "if w1 s> w2 goto pc-4");
        check(0x05, 0, 0, 7, 0, "goto pc+7");
        check(0x06, 0, 0, 0, 7, "gotol pc+7");
        check(0x0d, 3, 0, 0, 0, "gotox r3");
        check(0xe5, 0, 0, 3, 0, "may_goto pc+3");
        check(0x85, 0, 0, 0, 1, "call bpf_map_lookup_elem#1");
        check(0x85, 0, 0, 0, 0x0bad_2310, "call unknown#195896080");
        check(0x85, 0, 1, 0, 11, "call pc+11");
        check(0x85, 0, 2, 0, 11, "call kernel-function[11]");
        check(0x95, 0, 0, 0, 0, "exit");
        check(0xf7, 0, 0, 0, 0, "invalid");
    }
}
