//! What is known of a value, as the verifier would know it.

/// What a register or a stack slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// Whatever, pointers into the stack included.
    Any,
    /// A known number.
    Const(u64),
    /// A number, or a pointer that is no pointer into the stack.
    Scalar(Scalar),
    /// A pointer that a helper gave, or null.
    OrNull(Nullable),
    /// A pointer that the verifier knows not to be null.
    Pointer,
    /// A map, by its index.
    Map(u32),
    /// The context that the program gets.
    Context,
    /// A place in the stack of the function at hand, in bytes from the frame pointer.
    Stack(Option<i32>),
    /// A place in the only value of a map.
    Variable {
        /// Its index.
        map: u32,
        /// Bytes from the start of the value.
        offset: Option<u64>,
    },
    /// The address of a subprogram: its first instruction.
    Function(u32),
}

/// What a helper gives that gives a pointer or null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nullable {
    /// Tells copies of one value from others.
    pub id: u32,
    /// Whether the verifier, once it knows that it is not null, folds what asks again.
    pub folds: bool,
    /// Whether the verifier is known to take null for possible.
    pub null: bool,
}

impl Nullable {
    /// What it is where it turned out not to be null.
    pub(crate) fn not_null(self) -> Value {
        if self.folds {
            return Value::Pointer;
        }
        let number = Scalar { min: 1, ..Scalar::of_size(8, self.id) };
        Value::Scalar(number.with(Known::PerhapsPointer))
    }
}

/// A number between bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scalar {
    pub min: u64,
    pub max: u64,
    /// Low bits that are zero.
    pub shift: u8,
    pub known: Known,
    /// Tells copies of one value from others; 0 for a value without copies.
    pub id: u32,
}

/// How well the bounds say what the verifier knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// As far as the verifier can tell, any value between the bounds (with the low bits zero) is possible.
    Free,
    /// Zero and something else are both possible; more is not known here.
    ZeroOrNot,
    /// Zero, negative and positive numbers are all possible; more is not known here.
    AnySign,
    /// As free, but perhaps a pointer that can't be null.
    PerhapsPointer,
    /// The verifier may know more than is known here.
    Vague,
}

impl Scalar {
    /// Any number of so many bytes, as a load gives it.
    pub(crate) fn of_size(bytes: u32, id: u32) -> Scalar {
        Scalar {
            min: 0,
            max: if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 },
            shift: 0,
            known: Known::Free,
            id,
        }
    }

    pub(crate) fn vague() -> Scalar {
        Scalar { known: Known::Vague, ..Scalar::of_size(8, 0) }
    }

    pub(crate) fn with(self, known: Known) -> Scalar {
        Scalar { known, ..self }
    }

    /// Without bounds.
    pub(crate) fn is_full(&self) -> bool {
        self.min == 0 && self.max >= u64::MAX >> self.shift << self.shift
    }

    /// Whether a number lies between the bounds.
    pub(crate) fn has(&self, value: u64) -> bool {
        self.min <= value && value <= self.max && value.trailing_zeros() >= u32::from(self.shift)
    }

    /// Whether whatever can follow from `other` can follow from this one as well.
    fn covers(&self, other: &Scalar) -> bool {
        let within = self.min <= other.min && other.max <= self.max && self.shift <= other.shift;
        within && (self.known == Known::Free || self.known == other.known)
    }
}

impl Value {
    pub(crate) fn vague() -> Value {
        Value::Scalar(Scalar::vague())
    }

    /// Whether it is, or may be, a pointer into the stack.
    pub(crate) fn may_be_stack(&self) -> bool {
        matches!(self, Value::Any | Value::Stack(_))
    }

    /// Whether verifiers fold comparisons of it with zero, because it can't be.
    pub(crate) fn is_not_null(&self) -> bool {
        matches!(self, Value::Pointer | Value::Variable { .. })
    }

    /// A callee's argument: pointers into the caller's stack lead nowhere into the callee's.
    pub(crate) fn in_callee(self) -> Value {
        if self.may_be_stack() { Value::vague() } else { self }
    }

    /// What is known where two paths meet.
    pub(crate) fn join(self, other: Value) -> Value {
        match (self, other) {
            (a, b) if a == b => a,
            (Value::Stack(_), Value::Stack(_)) => Value::Stack(None),
            (Value::Any | Value::Stack(_), _) | (_, Value::Any | Value::Stack(_)) => Value::Any,
            (a, b) if a.is_not_null() && b.is_not_null() => Value::Pointer,
            (_, _) => Value::vague(),
        }
    }

    /// Whether whatever can follow from `other` can follow from this one as well.
    pub(crate) fn covers(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Scalar(a), Value::Scalar(b)) => a.covers(b),
            (Value::Scalar(a), Value::Const(b)) => a.known == Known::Free && a.has(*b),
            (a, b) => a == b,
        }
    }

    /// The id that copies of it share.
    pub(crate) fn id(&self) -> u32 {
        match self {
            Value::Scalar(scalar) => scalar.id,
            Value::OrNull(nullable) => nullable.id,
            _single => 0,
        }
    }

    /// Something is known better of the value with an id, and so of this one if it is a copy. Of numbers it depends on
    /// the verifier's age how much it sees of that.
    pub(crate) fn learn(&mut self, id: u32, better: Value) {
        if id == 0 || self.id() != id {
            return;
        }
        *self = match (*self, better) {
            (Value::Scalar(_), Value::Scalar(better)) => {
                Value::Scalar(Scalar { id, ..better.with(Known::Vague) })
            }
            (Value::Scalar(scalar), Value::Const(value)) => {
                let exactly = Scalar { min: value, max: value, shift: 0, ..scalar };
                Value::Scalar(exactly.with(Known::Vague))
            }
            (Value::Scalar(scalar), _pointer) => Value::Scalar(scalar.with(Known::Vague)),
            (_pointer, better) => better,
        };
    }

    /// The same with another id.
    pub(crate) fn with_id(self, id: u32) -> Value {
        match self {
            Value::Scalar(scalar) => Value::Scalar(Scalar { id, ..scalar }),
            Value::OrNull(nullable) => Value::OrNull(Nullable { id, ..nullable }),
            single => single,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins() {
        let check = |a: Value, b: Value, want: Value| {
            assert_eq!(a.join(b), want);
            assert_eq!(b.join(a), want);
        };
        check(Value::Const(1), Value::Const(1), Value::Const(1));
        check(Value::Const(1), Value::Const(2), Value::vague());
        check(Value::Stack(Some(-8)), Value::Stack(Some(-16)), Value::Stack(None));
        check(Value::Stack(Some(-8)), Value::Const(0), Value::Any);
        check(Value::Any, Value::Const(0), Value::Any);
        let map_value = |offset| Value::Variable { map: 1, offset };
        check(map_value(Some(0)), map_value(Some(8)), Value::Pointer);
        check(Value::Pointer, Value::Const(0), Value::vague());
    }

    #[test]
    fn what_covers_what() {
        let byte = Value::Scalar(Scalar::of_size(1, 0));
        let word = Value::Scalar(Scalar::of_size(4, 0));
        let check = |a: Value, b: Value, want: bool| assert_eq!(a.covers(&b), want, "{a:?} {b:?}");
        check(word, byte, true);
        check(byte, word, false);
        check(word, Value::Const(7), true);
        check(word, Value::Const(1 << 32), false);
        check(Value::vague(), Value::Const(7), false);
        check(Value::vague(), byte, false);
        check(word, Value::Scalar(Scalar::of_size(1, 0).with(Known::Vague)), true);
        check(Value::Const(7), Value::Const(7), true);
    }
}
