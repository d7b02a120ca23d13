//! Conditional jumps: which way they go, and what is known afterwards.

use super::comparison::{Comparison, Place, Side, holds};
use super::state::State;
use super::value::{Known, Value};
use crate::Insn;
use crate::prepare::environment::Verifier;
use crate::prepare::opcode::{CLASS_JMP32, jump};

/// Which way a jump goes. It is taken apart where it is made, so its size matters little.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Split {
    /// The verifier sees that only one way is possible: taken or not.
    One(bool, State),
    /// It follows both, or it can't be told: taken, and not.
    Both(Box<[Way; 2]>),
}

/// One of two ways.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub state: State,
    /// Whether the verifier is known to follow it.
    pub sure: bool,
}

/// Decides a conditional jump.
pub(crate) fn split(verifier: Verifier, insn: Insn, state: State) -> Split {
    let narrow = insn.class() == CLASS_JMP32;
    let dst = state.get(insn.dst);
    let src = if insn.has_immediate_operand() {
        Value::Const(i64::from(insn.imm) as u64)
    } else {
        state.get(insn.src)
    };
    let op = insn.operation();
    if op == jump::MAY_GOTO {
        return both(state, true);
    }
    let (register, subject, comparison) = match (dst, src) {
        (Value::Const(a), Value::Const(b)) => return Split::One(holds(op, a, b, narrow), state),
        (subject, Value::Const(constant)) => {
            let place = if insn.has_immediate_operand() { Place::Immediate } else { Place::Source };
            (insn.dst, subject, Comparison { op, constant, place })
        }
        (Value::Const(constant), subject) => {
            let comparison = Comparison { op, constant, place: Place::Source };
            (insn.src, subject, comparison.mirrored())
        }
        (a, b) => return of_two(insn, a, b, state),
    };
    match comparison.sides(verifier, subject, narrow) {
        Ok(taken) => Split::One(taken, state),
        Err([taken, fall]) => Split::Both(Box::new([
            way(state.clone(), register, subject, taken),
            way(state, register, subject, fall),
        ])),
    }
}

fn way(mut state: State, register: u8, subject: Value, side: Side) -> Way {
    state.learn(subject.id(), side.value);
    state.set(register, side.value);
    Way { state, sure: side.sure }
}

fn both(state: State, sure: bool) -> Split {
    let taken = Way { state: state.clone(), sure };
    Split::Both(Box::new([taken, Way { state, sure }]))
}

/// Two registers that are not constant: open the first time, and then each may be known by the other.
fn of_two(insn: Insn, a: Value, b: Value, mut state: State) -> Split {
    let is_free = |value: Value| match value {
        Value::Scalar(scalar) => scalar.known == Known::Free,
        _other => false,
    };
    let apart = insn.dst != insn.src && (a.id() == 0 || a.id() != b.id());
    let sure = is_free(a) && is_free(b) && apart;
    for (register, value) in [(insn.dst, a), (insn.src, b)] {
        if let Value::Scalar(scalar) = value {
            state.learn(scalar.id, value);
            state.set(register, Value::Scalar(scalar.with(Known::Vague)));
        }
    }
    both(state, sure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KernelVersion;
    use crate::prepare::reach::value::{Nullable, Scalar};

    fn new_verifier() -> Verifier {
        Verifier::of(Some(KernelVersion { major: 6, minor: 1, patch: 0 }))
    }

    /// The two ways of a comparison of r1 with an immediate: `!` for sure, `?` for not, with the value on that way.
    fn ways(value: Value, code: u8, imm: i32) -> String {
        let mut state = State::new();
        state.set(1, value);
        let insn = Insn { code, dst: 1, src: 0, off: 0, imm };
        let show = |way: Way| {
            let mark = if way.sure { '!' } else { '?' };
            let value = match way.state.get(1) {
                Value::Const(value) => value.to_string(),
                Value::Scalar(scalar) if scalar.known == Known::Vague => "vague".to_owned(),
                Value::Scalar(scalar) => format!("{}..{}", scalar.min, scalar.max),
                other => format!("{other:?}"),
            };
            format!("{mark}{value}")
        };
        match split(new_verifier(), insn, state) {
            Split::One(taken, _) => taken.to_string(),
            Split::Both(ways) => {
                let [taken, fall] = *ways;
                format!("{} {}", show(taken), show(fall))
            }
        }
    }

    const EQ: u8 = 0x15;
    const NE: u8 = 0x55;
    const GT: u8 = 0x25;
    const SGT: u8 = 0x65;
    const SET: u8 = 0x45;

    #[test]
    fn constants_fold() {
        let check = |value: i64, code, imm, want: &str| {
            assert_eq!(ways(Value::Const(value as u64), code, imm), want, "{value} {code:#x} {imm}");
        };
        check(0, EQ, 0, "true");
        check(1, EQ, 0, "false");
        check(-1, GT, 5, "true");
        check(-1, SGT, 5, "false");
        check(6, SET, 4, "true");
        check(1 << 32, 0x16, 0, "true");
        check(0xffff_ffff, 0x66, -2, "true");
        check(5, 0xd5, 5, "true");
    }

    #[test]
    fn numbers() {
        let check = |scalar: Scalar, code, imm, want: &str| {
            assert_eq!(ways(Value::Scalar(scalar), code, imm), want, "{scalar:?} {code:#x} {imm}");
        };
        let byte = Scalar::of_size(1, 0);
        let full = Scalar::of_size(8, 0);
        check(byte, EQ, 0, "!0 !1..255");
        check(byte, NE, 0, "!1..255 !0");
        check(byte, EQ, 300, "?vague !0..255");
        check(byte, GT, 254, "!255 !0..254");
        check(byte, GT, 255, "?vague !0..255");
        check(byte, SGT, -1, "!0..255 ?vague");
        check(byte, SET, 0x80, "!vague !vague");
        check(byte, SET, 0x100, "?vague !vague");
        check(full, SGT, -1, "!vague !vague");
        check(full, 0x66, i32::MAX, "?vague ?vague");
        check(full, 0xc6, i32::MIN, "?vague ?vague");
        check(full, 0x16, 0, "!vague !vague");
        check(byte.with(Known::Vague), EQ, 7, "?7 ?vague");
        check(byte.with(Known::Vague), GT, 7, "?vague ?vague");
        check(full.with(Known::PerhapsPointer), EQ, 0, "?0 !1..18446744073709551615");
        check(full.with(Known::PerhapsPointer), GT, 0, "!1..18446744073709551615 !0");
        check(full.with(Known::AnySign), 0xc5, 0, "!vague !vague");
        check(full.with(Known::AnySign), 0xc5, 7, "?vague ?vague");
        check(byte.with(Known::ZeroOrNot), EQ, 0, "!0 !vague");
        check(byte.with(Known::ZeroOrNot), EQ, 4, "?4 ?vague");
    }

    #[test]
    fn pointers() {
        let check = |value, code, imm, want: &str| assert_eq!(ways(value, code, imm), want);
        check(Value::Pointer, EQ, 0, "false");
        check(Value::Pointer, NE, 0, "true");
        let or_null = Nullable { id: 7, folds: true, null: true };
        check(Value::OrNull(or_null), EQ, 0, "!0 !Pointer");
        check(Value::OrNull(or_null), NE, 0, "!Pointer !0");
        check(Value::OrNull(Nullable { folds: false, ..or_null }), EQ, 0, "!0 !1..18446744073709551615");
        check(Value::OrNull(Nullable { null: false, ..or_null }), EQ, 0, "?0 !Pointer");
        check(Value::Context, EQ, 0, "?Context !Context");
        check(Value::Any, EQ, 0, "?Any ?Any");
    }
}
