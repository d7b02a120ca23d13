//! Comparisons with a constant: what is known of the other side on each of the two ways.

use super::value::{Known, Scalar, Value};
use crate::prepare::environment::Verifier;
use crate::prepare::opcode::jump;

/// What a comparison makes of its subject on one of the ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Side {
    pub value: Value,
    /// Whether the verifier is known to follow this way.
    pub sure: bool,
}

/// A comparison of a subject with a constant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparison {
    pub op: u8,
    pub constant: u64,
    pub place: Place,
}

/// Where the constant stands. It tells what verifiers learn of pointers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Immediate,
    /// In the register that the subject is compared with.
    Source,
    /// In the register that is compared with the subject.
    Destination,
}

impl Comparison {
    /// The same with its sides exchanged.
    pub(crate) fn mirrored(self) -> Comparison {
        let op = match self.op {
            jump::GT => jump::LT,
            jump::GE => jump::LE,
            jump::LT => jump::GT,
            jump::LE => jump::GE,
            jump::SGT => jump::SLT,
            jump::SGE => jump::SLE,
            jump::SLT => jump::SGT,
            jump::SLE => jump::SGE,
            symmetric => symmetric,
        };
        Comparison { op, place: Place::Destination, ..self }
    }

    /// The way it goes, or what is known on each.
    pub(crate) fn sides(self, verifier: Verifier, subject: Value, narrow: bool) -> Result<bool, [Side; 2]> {
        let unsure = Side { value: subject, sure: false };
        let sure = |value| Side { value, sure: true };
        let is_zero_test = self.constant == 0 && !narrow && matches!(self.op, jump::EQ | jump::NE);
        let ordered = |zero: Side, other: Side| {
            if self.op == jump::EQ { [zero, other] } else { [other, zero] }
        };
        match subject {
            subject if is_zero_test && subject.is_not_null() => {
                // Constants on the left are looked at since 6.8.
                if verifier.pointers_not_null && self.place != Place::Destination {
                    Ok(self.op == jump::NE)
                } else {
                    Err(ordered(unsure, sure(subject)))
                }
            }
            Value::OrNull(nullable) if is_zero_test && self.place == Place::Immediate => {
                let zero = Side { value: Value::Const(0), sure: nullable.null };
                Err(ordered(zero, sure(nullable.not_null())))
            }
            Value::Stack(_) | Value::Context | Value::Function(_) if is_zero_test => {
                Err(ordered(unsure, sure(subject)))
            }
            Value::Scalar(scalar) if narrow => Err(self.narrow(scalar)),
            Value::Scalar(scalar) => Err(self.wide(scalar)),
            _other => Err([unsure, unsure]),
        }
    }

    /// A comparison of the lower 32 bits.
    fn narrow(self, scalar: Scalar) -> [Side; 2] {
        let low = Scalar::of_size(4, scalar.id);
        let comparison = Comparison { constant: self.constant & low.max, ..self };
        let is_signed = matches!(self.op, jump::SGT | jump::SGE | jump::SLT | jump::SLE);
        let is_free = matches!(scalar.known, Known::Free | Known::PerhapsPointer);
        if scalar.max <= low.max && !is_signed {
            return comparison.wide(scalar);
        }
        if scalar.max <= i32::MAX as u64 {
            // Below the sign bit of 32 the sign-extended constant compares as in 64 bits.
            return self.wide(scalar);
        }
        // What is known of all 64 bits does not follow from this.
        let value = Value::Scalar(scalar.with(Known::Vague));
        let sure = is_free && scalar.shift == 0 && (scalar.is_full() || scalar == low.with(scalar.known));
        let extreme = matches!(self.constant as i32, i32::MIN | i32::MAX);
        let sure =
            sure && if is_signed { !extreme } else { comparison.wide(low).iter().all(|side| side.sure) };
        [Side { value, sure }; 2]
    }

    /// A comparison of all bits.
    fn wide(self, scalar: Scalar) -> [Side; 2] {
        let is_zero_test = self.is_zero_test();
        let vague = Value::Scalar(scalar.with(Known::Vague));
        let unsure = Side { value: vague, sure: false };
        match scalar.known {
            Known::Free => self.free(scalar),
            Known::PerhapsPointer if matches!(self.op, jump::EQ | jump::NE) && self.constant == 0 => {
                let zero = Side { value: Value::Const(0), sure: false };
                let other =
                    Side { value: Value::Scalar(Scalar { min: scalar.min.max(1), ..scalar }), sure: true };
                if self.op == jump::EQ { [zero, other] } else { [other, zero] }
            }
            Known::PerhapsPointer => self.free(scalar.with(Known::Free)),
            Known::ZeroOrNot | Known::AnySign if is_zero_test => {
                self.with_equal(Side { sure: true, ..unsure })
            }
            Known::AnySign if self.is_sign_test() => [Side { sure: true, ..unsure }; 2],
            Known::ZeroOrNot | Known::AnySign | Known::Vague => self.with_equal(unsure),
        }
    }

    /// The same on both ways, but that a number that equals a constant is that constant.
    fn with_equal(self, side: Side) -> [Side; 2] {
        let equal = Side { value: Value::Const(self.constant), ..side };
        match self.op {
            jump::EQ => [equal, side],
            jump::NE => [side, equal],
            _ordering => [side; 2],
        }
    }

    /// Splits the bounds; a way outside them is one that the verifier may or may not see as impossible.
    fn free(self, scalar: Scalar) -> [Side; 2] {
        let c = self.constant;
        let vague = Value::Scalar(scalar.with(Known::Vague));
        let side = |part: Option<Scalar>| match part {
            Some(part) if part.min == part.max => Side { value: Value::Const(part.min), sure: true },
            Some(part) => Side { value: Value::Scalar(part), sure: true },
            None => Side { value: vague, sure: false },
        };
        let above = |from: Option<u64>| side(from.and_then(|from| scalar.between(from, u64::MAX)));
        let below = |to: Option<u64>| side(to.and_then(|to| scalar.between(0, to)));
        let equal = || side(scalar.between(c, c));
        let other = || side(scalar.without(c));
        match self.op {
            jump::EQ => [equal(), other()],
            jump::NE => [other(), equal()],
            jump::GT => [above(c.checked_add(1)), below(Some(c))],
            jump::GE => [above(Some(c)), below(c.checked_sub(1))],
            jump::LT => [below(c.checked_sub(1)), above(Some(c))],
            jump::LE => [below(Some(c)), above(c.checked_add(1))],
            jump::SET => {
                let bits = u64::MAX.checked_shr(scalar.max.leading_zeros()).unwrap_or(0);
                let possible = c & bits & !((1 << scalar.shift) - 1) != 0;
                let way = |sure| Side { value: vague, sure };
                [way(possible && scalar.is_wide()), way(scalar.min == 0)]
            }
            _signed => self.signed(scalar, vague),
        }
    }

    fn signed(self, scalar: Scalar, vague: Value) -> [Side; 2] {
        let way = |sure| Side { value: vague, sure };
        if scalar.max <= i64::MAX as u64 {
            let constant_is_negative = (self.constant as i64) < 0;
            let greater = matches!(self.op, jump::SGT | jump::SGE);
            if constant_is_negative {
                let certain = Side { value: Value::Scalar(scalar), sure: true };
                return if greater { [certain, way(false)] } else { [way(false), certain] };
            }
            let op = match self.op {
                jump::SGT => jump::GT,
                jump::SGE => jump::GE,
                jump::SLT => jump::LT,
                _sle => jump::LE,
            };
            return Comparison { op, ..self }.free(scalar);
        }
        let extreme = matches!(self.constant as i64, i64::MIN | i64::MAX);
        [way(scalar.is_full() && !extreme); 2]
    }

    fn is_zero_test(self) -> bool {
        matches!(
            (self.op, self.constant),
            (jump::EQ | jump::NE | jump::GT | jump::LE, 0) | (jump::GE | jump::LT, 1)
        )
    }

    fn is_sign_test(self) -> bool {
        let near_zero = (-1..=1).contains(&(self.constant as i64));
        near_zero && matches!(self.op, jump::SGT | jump::SGE | jump::SLT | jump::SLE)
    }
}

impl Scalar {
    /// What of it lies between two bounds; None for nothing.
    fn between(self, min: u64, max: u64) -> Option<Scalar> {
        let step = 1u64 << self.shift;
        let min = self.min.max(min).checked_next_multiple_of(step)?;
        let max = self.max.min(max) / step * step;
        (min <= max).then_some(Scalar { min, max, ..self })
    }

    /// All of it but one value: bounds tell only when it is the first or the last.
    fn without(self, value: u64) -> Option<Scalar> {
        if value == self.min {
            self.between(value.checked_add(1)?, u64::MAX)
        } else if value == self.max {
            self.between(0, value.checked_sub(1)?)
        } else {
            Some(self)
        }
    }

    /// Whether every bit below the highest can be set.
    fn is_wide(self) -> bool {
        self.min == 0 && (self.max == u64::MAX || (self.max + 1).is_power_of_two() || self.shift > 0)
    }
}

/// Whether a comparison of constants holds.
pub(crate) fn holds(op: u8, a: u64, b: u64, narrow: bool) -> bool {
    let (a, b) = if narrow { (u64::from(a as u32), u64::from(b as u32)) } else { (a, b) };
    let signed = |value: u64| {
        if narrow { i64::from(value as u32 as i32) } else { value as i64 }
    };
    match op {
        jump::EQ => a == b,
        jump::NE => a != b,
        jump::GT => a > b,
        jump::GE => a >= b,
        jump::LT => a < b,
        jump::LE => a <= b,
        jump::SET => a & b != 0,
        jump::SGT => signed(a) > signed(b),
        jump::SGE => signed(a) >= signed(b),
        jump::SLT => signed(a) < signed(b),
        _sle => signed(a) <= signed(b),
    }
}
