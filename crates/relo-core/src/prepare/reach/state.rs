//! What is known at one place of a program: registers and the stack of one function.

use super::value::{Known, Scalar, Value};

/// Registers and stack of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub registers: [Value; 11],
    /// Slots of which something is known, by offset from the frame pointer; they never overlap.
    pub stack: Vec<Slot>,
    /// Whether pointers into the stack may stand in the stack itself.
    pub holds_own: bool,
}

/// Slots of one function of which something is known at a time: as many as the verifier has of 8 bytes.
const SLOTS: usize = 64;

/// Some bytes of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub offset: i32,
    pub size: u32,
    pub value: Value,
}

impl Slot {
    /// Whether nothing is known of any of its bytes, and it is no copy of another value.
    fn is_unknown_bytes(&self) -> bool {
        self.value == Value::Scalar(Scalar::of_size(self.size, 0))
    }
}

impl State {
    /// Nothing is known but the frame pointer. The other registers hold nothing that could be read, or arguments that
    /// lead nowhere into this stack.
    pub(crate) fn new() -> State {
        let mut registers = [Value::vague(); 11];
        registers[10] = Value::Stack(Some(0));
        State { registers, stack: Vec::new(), holds_own: false }
    }

    /// The start of a program: the context in r1.
    pub(crate) fn of_program() -> State {
        let mut state = State::new();
        state.registers[1] = Value::Context;
        state
    }

    /// The start of a function that the verifier checks apart from its callers: any arguments.
    pub(crate) fn of_global(known: Known) -> State {
        let mut state = State::new();
        for (number, register) in state.registers[1..6].iter_mut().enumerate() {
            *register = Value::Scalar(Scalar::of_size(8, u32::MAX - number as u32).with(known));
        }
        state
    }

    /// A register; one that does not exist holds anything.
    pub(crate) fn get(&self, register: u8) -> Value {
        self.registers.get(usize::from(register)).copied().unwrap_or(Value::Any)
    }

    pub(crate) fn set(&mut self, register: u8, value: Value) {
        // The frame pointer can't be written: a program that tries is refused.
        if let Some(slot) = self.registers[..10].get_mut(usize::from(register)) {
            *slot = value;
        }
    }

    /// Sets a register to a value that is made here, so that older values with its id are no copies of it.
    pub(crate) fn set_new(&mut self, register: u8, value: Value) {
        let id = value.id();
        if id != 0 {
            self.each(|old| {
                if old.id() == id {
                    *old = Value::vague();
                }
            });
        }
        self.set(register, value);
    }

    /// Every value, to be changed.
    pub(crate) fn each(&mut self, mut change: impl FnMut(&mut Value)) {
        for register in &mut self.registers[..10] {
            change(register);
        }
        for slot in &mut self.stack {
            change(&mut slot.value);
        }
    }

    /// What a load of the stack gives.
    pub(crate) fn load(&self, offset: i32, size: u32) -> Value {
        let end = offset.saturating_add(size as i32);
        let covers =
            |slot: &&Slot| slot.offset <= offset && end <= slot.offset.saturating_add(slot.size as i32);
        match self.stack.iter().find(covers) {
            Some(slot) if slot.offset == offset && slot.size == size => slot.value,
            Some(slot) if slot.is_unknown_bytes() => Value::Scalar(Scalar::of_size(size, 0)),
            Some(_part) => Value::Scalar(Scalar::of_size(size, 0).with(Known::Vague)),
            None if self.holds_own && size == 8 => Value::Any,
            None => Value::Scalar(Scalar::of_size(size, 0).with(Known::Vague)),
        }
    }

    /// Stores something on the stack; None where it can't be told what the verifier knows afterwards.
    pub(crate) fn store(&mut self, offset: i32, size: u32, value: Option<Value>) {
        let end = offset.saturating_add(size as i32);
        self.holds_own |= value.is_some_and(|value| value.may_be_stack());
        self.stack
            .retain(|slot| slot.offset >= end || slot.offset.saturating_add(slot.size as i32) <= offset);
        // A frame has 512 bytes; what lies outside is refused.
        if let Some(value) = value
            && (-512..0).contains(&offset)
            && self.stack.len() < SLOTS
        {
            let at = self.stack.partition_point(|slot| slot.offset < offset);
            self.stack.insert(at, Slot { offset, size, value });
        }
    }

    /// Forgets the stack from an offset upwards, or all of it.
    pub(crate) fn forget_stack(&mut self, from: Option<i32>) {
        match from {
            Some(from) => self.stack.retain(|slot| slot.offset.saturating_add(slot.size as i32) <= from),
            None => self.stack.clear(),
        }
    }

    /// Forgets what no later instruction reads.
    pub(crate) fn forget_dead(&mut self, live: u16) {
        for (number, register) in self.registers[..10].iter_mut().enumerate() {
            if live >> number & 1 == 0 {
                *register = Value::vague();
            }
        }
    }

    /// Adds what is known on another path; true if less is known now.
    pub(crate) fn join(&mut self, other: &State) -> bool {
        let before = self.clone();
        for (register, &other) in self.registers.iter_mut().zip(&other.registers) {
            *register = register.join(other);
        }
        self.stack = self
            .stack
            .iter()
            .filter_map(|slot| {
                let there = other
                    .stack
                    .iter()
                    .find(|there| (there.offset, there.size) == (slot.offset, slot.size))?;
                let value = slot.value.join(there.value);
                Some(Slot { value, ..*slot })
            })
            .collect();
        self.holds_own |= other.holds_own;
        *self != before
    }

    /// Whether whatever can follow from `other` can follow from this one as well.
    pub(crate) fn covers(&self, other: &State) -> bool {
        let registers = self.registers.iter().zip(&other.registers);
        registers.into_iter().all(|(a, b)| a.covers(b))
            && self.holds_own == other.holds_own
            && self.stack.len() == other.stack.len()
            && self
                .stack
                .iter()
                .zip(&other.stack)
                .all(|(a, b)| (a.offset, a.size) == (b.offset, b.size) && a.value.covers(&b.value))
    }

    /// A value is known better now, and so are its copies.
    pub(crate) fn learn(&mut self, id: u32, better: Value) {
        if id != 0 {
            self.each(|value| value.learn(id, better));
        }
    }

    /// Gives a number of a register an id, so that a copy of it that is about to be made is known as one.
    pub(crate) fn mark_copied(&mut self, register: u8, id: u32) {
        if let Value::Scalar(Scalar { id: 0, .. }) = self.get(register) {
            let value = self.get(register).with_id(id);
            self.set_new(register, value);
        }
    }

    /// Whether an id is that of more than one value.
    pub(crate) fn has_copies(&self, id: u32) -> bool {
        let registers = self.registers[..10].iter();
        let holders = registers.chain(self.stack.iter().map(|slot| &slot.value));
        id != 0 && holders.filter(|value| value.id() == id).count() > 1
    }

    /// What a function gives back: a value made by it counts as made by the call.
    pub(crate) fn set_returned(&mut self, value: Value, made_by_callee: bool, call: usize) {
        if value.may_be_stack() {
            // The verifier allows none.
            self.set(0, Value::vague());
        } else if made_by_callee {
            self.set_new(0, value.with_id(call as u32 + 1));
        } else {
            self.set(0, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(size: u32) -> Value {
        Value::Scalar(Scalar::of_size(size, 0).with(Known::Vague))
    }

    #[test]
    fn stack_slots() {
        let mut state = State::new();
        state.store(-8, 8, Some(Value::Const(1)));
        state.store(-16, 8, Some(Value::Const(2)));
        assert_eq!(state.load(-8, 8), Value::Const(1));
        assert_eq!(state.load(-8, 4), unknown(4));
        state.store(-12, 4, Some(Value::Const(3)));
        assert_eq!(state.load(-16, 8), unknown(8));
        assert_eq!(state.load(-12, 4), Value::Const(3));
        state.forget_stack(Some(-9));
        assert_eq!(state.load(-8, 8), unknown(8));
        assert_eq!(state.load(-12, 4), unknown(4), "it reaches into what is forgotten");
        state.store(-600, 8, Some(Value::Const(1)));
        state.store(i32::MAX, 8, Some(Value::Const(1)));
        assert!(state.stack.is_empty());
        state.store(-64, 40, Some(Value::Scalar(Scalar::of_size(40, 0))));
        assert_eq!(state.load(-60, 4), Value::Scalar(Scalar::of_size(4, 0)), "nobody knows what was written");
        assert_eq!(state.load(-28, 8), unknown(8), "partly overwritten");
        state.store(-8, 8, Some(Value::Stack(Some(-16))));
        assert_eq!(state.load(-24, 8), Value::Any, "a pointer into the stack may stand anywhere now");
        assert_eq!(state.load(-24, 4), unknown(4));
    }

    #[test]
    fn joining_forgets() {
        let mut a = State::of_program();
        let mut b = a.clone();
        a.set(2, Value::Const(1));
        b.set(2, Value::Const(1));
        b.store(-8, 8, Some(Value::Const(7)));
        assert!(!a.join(&b));
        assert_eq!(a.get(2), Value::Const(1));
        b.set(2, Value::Const(2));
        assert!(a.join(&b));
        assert_eq!(a.get(2), Value::vague());
        assert!(a.stack.is_empty());
    }
}
