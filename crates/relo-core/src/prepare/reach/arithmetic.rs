//! ALU instructions on what is known, as far as every verifier follows them.

use super::value::{Known, Scalar, Value};
use crate::prepare::opcode::alu;

/// An operation, of 64 bits or of the lower 32.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    pub op: u8,
    pub wide: bool,
    /// Of a move: the bits that are sign-extended; 0 for a plain move.
    pub extend: u8,
    /// Whether the verifier follows exclusive or.
    pub exclusive_or: bool,
}

impl Operation {
    /// The result.
    pub(crate) fn apply(self, dst: Value, src: Value) -> Value {
        if self.op == alu::MOV {
            return self.copy(src);
        }
        if let (Value::Const(a), Value::Const(b)) = (dst, src) {
            return match self.constants(a, b) {
                Some(value) => Value::Const(value),
                None => self.cut(Value::vague()),
            };
        }
        if self.wide
            && let Some(pointer) = pointer_arithmetic(self.op, dst, src)
        {
            return pointer;
        }
        match (dst, src) {
            (Value::Any | Value::Stack(_), _) | (_, Value::Any | Value::Stack(_)) if self.wide => Value::Any,
            (Value::Scalar(scalar), Value::Const(by)) => {
                self.cut(Value::Scalar(self.by_constant(scalar, by)))
            }
            (Value::Const(by), Value::Scalar(scalar)) if self.is_commutative() => {
                self.cut(Value::Scalar(self.by_constant(scalar, by)))
            }
            (Value::Scalar(a), Value::Scalar(b)) => self.cut(Value::Scalar(self.of_two(a, b))),
            (_, _) => self.cut(Value::vague()),
        }
    }

    fn copy(self, src: Value) -> Value {
        match (src, self.extend) {
            (Value::Const(value), 0) => Value::Const(self.truncate(value)),
            (Value::Const(value), bits @ (8 | 16 | 32)) => {
                let unused = 64 - u32::from(bits.min(64));
                let extended = ((value << unused) as i64 >> unused) as u64;
                Value::Const(self.truncate(extended))
            }
            (value, 0) if self.wide => value,
            (value, 0) => self.cut(value),
            (value, bits) => self.cut(sign_extended(value, bits)),
        }
    }

    fn truncate(self, value: u64) -> u64 {
        if self.wide { value } else { value & u64::from(u32::MAX) }
    }

    /// What is left of a value in the lower 32 bits.
    fn cut(self, value: Value) -> Value {
        let low = Scalar::of_size(4, 0);
        match value {
            value if self.wide => value,
            Value::Const(value) => Value::Const(self.truncate(value)),
            Value::Scalar(scalar) if scalar.max <= low.max => value,
            Value::Scalar(scalar) if scalar.is_full() && scalar.shift == 0 => match scalar.known {
                Known::Free | Known::PerhapsPointer => Value::Scalar(low),
                Known::AnySign | Known::ZeroOrNot | Known::Vague => Value::Scalar(low.with(Known::Vague)),
            },
            _cut_off => Value::Scalar(low.with(Known::Vague)),
        }
    }

    fn is_commutative(self) -> bool {
        matches!(self.op, alu::ADD | alu::MUL | alu::AND | alu::OR | alu::XOR)
    }

    /// Known numbers; None where verifiers give up, or only new ones don't.
    fn constants(self, a: u64, b: u64) -> Option<u64> {
        let bits = if self.wide { 64 } else { 32 };
        let (a, b) = (self.truncate(a), self.truncate(b));
        let by = u32::try_from(b).ok().filter(|&by| by < bits);
        let value = match self.op {
            alu::ADD => a.wrapping_add(b),
            alu::SUB => a.wrapping_sub(b),
            alu::MUL => a.wrapping_mul(b),
            alu::OR => a | b,
            alu::AND => a & b,
            alu::XOR if self.exclusive_or => a ^ b,
            alu::LSH => a << by?,
            alu::RSH => a >> by?,
            alu::ARSH if self.wide => (a as i64 >> by?) as u64,
            alu::ARSH => u64::from((a as u32 as i32 >> by?) as u32),
            _division_negation_swap => return None,
        };
        Some(self.truncate(value))
    }

    fn by_constant(self, scalar: Scalar, by: u64) -> Scalar {
        // A pointer that went through arithmetic is a number.
        let known = match scalar.known {
            Known::PerhapsPointer => Known::Free,
            known => known,
        };
        let scalar = Scalar { id: 0, known, ..scalar };
        let by = self.truncate(by);
        match self.op {
            alu::ADD => add(scalar, by),
            alu::SUB => add(scalar, by.wrapping_neg()),
            alu::AND => and(scalar, by),
            alu::LSH => shift_left(scalar, by, if self.wide { 64 } else { 32 }),
            alu::RSH => shift_right(scalar, by),
            alu::ARSH if self.wide => shift_right_signed(scalar, by),
            _rest => Scalar::vague(),
        }
    }

    fn of_two(self, a: Scalar, b: Scalar) -> Scalar {
        let free =
            |scalar: &Scalar| scalar.is_full() && matches!(scalar.known, Known::Free | Known::PerhapsPointer);
        match self.op {
            // Any number plus any number is any number.
            alu::ADD | alu::SUB | alu::XOR if (free(&a) || free(&b)) && (a.id == 0 || a.id != b.id) => {
                Scalar::of_size(8, 0)
            }
            _rest => Scalar::vague(),
        }
    }
}

/// A number of either sign, where nothing is known of the bits that become the sign and of those below.
pub(crate) fn sign_extended(value: Value, bits: u8) -> Value {
    let number = Value::Scalar(Scalar::of_size(8, 0).with(Known::AnySign));
    match (value, bits) {
        (Value::Scalar(scalar), 8 | 16 | 32) if scalar.min == 0 && scalar.shift == 0 => {
            let all = scalar.max >= Scalar::of_size(u32::from(bits) / 8, 0).max;
            let wide = scalar.is_full() || (scalar.max + 1).is_power_of_two();
            if scalar.known == Known::Free && all && wide { number } else { Value::vague() }
        }
        (Value::Any | Value::Stack(_), _) => Value::Any,
        (_, _) => Value::vague(),
    }
}

fn pointer_arithmetic(op: u8, dst: Value, src: Value) -> Option<Value> {
    let (pointer, by) = match (op, dst, src) {
        (alu::ADD, pointer, by) if is_pointer(pointer) => (pointer, by),
        (alu::ADD, by, pointer) if is_pointer(pointer) => (pointer, by),
        (alu::SUB, pointer, Value::Const(by)) if is_pointer(pointer) => {
            (pointer, Value::Const(by.wrapping_neg()))
        }
        (alu::SUB, pointer, Value::Scalar(by)) if is_pointer(pointer) => (pointer, Value::Scalar(by)),
        (_, _, _) => return None,
    };
    Some(match (pointer, by) {
        (Value::Stack(Some(at)), Value::Const(by)) => {
            Value::Stack(i32::try_from(by as i64).ok().and_then(|by| at.checked_add(by)))
        }
        (Value::Stack(_), _) => Value::Stack(None),
        (Value::Variable { map, offset }, Value::Const(by)) => {
            Value::Variable { map, offset: offset.map(|offset| offset.wrapping_add(by)) }
        }
        (Value::Variable { map, .. }, _) => Value::Variable { map, offset: None },
        (pointer, _) => pointer,
    })
}

fn is_pointer(value: Value) -> bool {
    matches!(value, Value::Stack(_) | Value::Variable { .. } | Value::Pointer | Value::Context)
}

fn add(scalar: Scalar, by: u64) -> Scalar {
    if scalar.known != Known::Free {
        return Scalar::vague();
    }
    if by.trailing_zeros() < u32::from(scalar.shift) {
        return Scalar::vague();
    }
    if scalar.is_full() {
        return scalar;
    }
    // Bounds that wrap around are none.
    let (min, max) = (scalar.min.wrapping_add(by), scalar.max.wrapping_add(by));
    if min <= max { Scalar { min, max, ..scalar } } else { Scalar::vague() }
}

fn and(scalar: Scalar, mask: u64) -> Scalar {
    let bounded = Scalar { min: 0, max: mask, shift: 0, ..Scalar::vague() };
    if !matches!(scalar.known, Known::Free) || scalar.min != 0 || scalar.shift != 0 {
        return bounded;
    }
    let all_bits = (scalar.max.wrapping_add(1)).is_power_of_two() || scalar.max == u64::MAX;
    let low_mask = mask.wrapping_add(1).is_power_of_two() || mask == u64::MAX;
    match (all_bits, low_mask) {
        (_, true) if scalar.max <= mask => scalar,
        (true, true) => Scalar { max: mask, ..scalar },
        (true, false) if mask & scalar.max != 0 => bounded.with(Known::ZeroOrNot),
        (_, _) => bounded,
    }
}

fn shift_left(scalar: Scalar, by: u64, bits: u32) -> Scalar {
    let Some(by) = u32::try_from(by).ok().filter(|&by| by < bits) else {
        return Scalar::vague();
    };
    if scalar.known != Known::Free || scalar.min != 0 || bits == 32 {
        return Scalar::vague();
    }
    let all_bits = scalar.max == u64::MAX || (scalar.max + 1).is_power_of_two() || scalar.shift > 0;
    if scalar.max.leading_zeros() >= by || all_bits {
        let shift = (u32::from(scalar.shift) + by).min(63) as u8;
        let max =
            if scalar.max.leading_zeros() >= by { scalar.max << by } else { u64::MAX >> shift << shift };
        return Scalar { max, shift, ..scalar };
    }
    Scalar::vague()
}

fn shift_right(scalar: Scalar, by: u64) -> Scalar {
    let Some(by) = u32::try_from(by).ok().filter(|&by| by < 64) else {
        return Scalar::vague();
    };
    if scalar.known != Known::Free {
        return Scalar::vague();
    }
    Scalar {
        min: scalar.min >> by,
        max: scalar.max >> by,
        shift: scalar.shift.saturating_sub(by as u8),
        ..scalar
    }
}

/// Shifted up to the sign and down again: a number of either sign. Below the sign it is a plain shift.
fn shift_right_signed(scalar: Scalar, by: u64) -> Scalar {
    if scalar.max <= i64::MAX as u64 {
        return shift_right(scalar, by);
    }
    if scalar.known == Known::Free && scalar.is_full() && by < 63 {
        return Scalar::of_size(8, 0).with(Known::AnySign);
    }
    Scalar::vague()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(op: u8) -> Operation {
        Operation { op, wide: true, extend: 0, exclusive_or: true }
    }

    #[test]
    fn constants() {
        let check = |op: u8, a: i64, b: i64, wide_result: Option<i64>, low_result: Option<u32>| {
            let (a, b) = (Value::Const(a as u64), Value::Const(b as u64));
            let narrow = Operation { wide: false, ..wide(op) };
            let number = |value: Value| match value {
                Value::Const(value) => Some(value),
                _unknown => None,
            };
            assert_eq!(number(wide(op).apply(a, b)), wide_result.map(|value| value as u64), "{op:#x}");
            assert_eq!(number(narrow.apply(a, b)), low_result.map(u64::from), "{op:#x} w");
        };
        check(alu::ADD, 5, -1, Some(4), Some(4));
        check(alu::SUB, 0, 1, Some(-1), Some(u32::MAX));
        check(alu::MUL, 3, 4, Some(12), Some(12));
        check(alu::OR, 1, 6, Some(7), Some(7));
        check(alu::AND, -1, 0xff, Some(0xff), Some(0xff));
        check(alu::XOR, 5, 5, Some(0), Some(0));
        check(alu::LSH, 1, 40, Some(1 << 40), None);
        check(alu::RSH, -1, 60, Some(15), None);
        check(alu::ARSH, -16, 2, Some(-4), Some((-4i32) as u32));
        check(alu::DIV, 4, 2, None, None);
        check(alu::MOV, 4, -2, Some(-2), Some((-2i32) as u32));
        let extended = Operation { extend: 8, ..wide(alu::MOV) };
        assert_eq!(extended.apply(Value::Any, Value::Const(0xff)), Value::Const(u64::MAX));
    }

    #[test]
    fn zero_extension_by_shifts() {
        let any = Value::Scalar(Scalar::of_size(8, 9));
        let up = wide(alu::LSH).apply(any, Value::Const(32));
        assert_eq!(wide(alu::RSH).apply(up, Value::Const(32)), Value::Scalar(Scalar::of_size(4, 0)));
        let signed = wide(alu::ARSH).apply(up, Value::Const(32));
        assert_eq!(signed, Value::Scalar(Scalar::of_size(8, 0).with(Known::AnySign)));
    }

    #[test]
    fn pointers() {
        let stack = Value::Stack(Some(0));
        assert_eq!(wide(alu::ADD).apply(stack, Value::Const(-8i64 as u64)), Value::Stack(Some(-8)));
        assert_eq!(wide(alu::ADD).apply(stack, Value::vague()), Value::Stack(None));
        assert_eq!(wide(alu::AND).apply(stack, Value::Const(8)), Value::Any);
        let value = Value::Variable { map: 3, offset: Some(4) };
        let moved = wide(alu::ADD).apply(value, Value::Const(4));
        assert_eq!(moved, Value::Variable { map: 3, offset: Some(8) });
    }
}
