//! What helpers return, and what they write.

use super::state::State;
use super::value::{Known, Scalar, Value};
use crate::Insn;

/// The bytes of the stack that a helper surely overwrites with what nobody knows, and no others: offset and size.
pub(crate) fn written(call: Insn, state: &State) -> Option<(i32, u32)> {
    // Reads of memory into a buffer, whose address and size come first.
    if call.src != 0 || !matches!(call.imm, 4 | 16 | 45 | 112..=115) {
        return None;
    }
    match (state.get(1), state.get(2)) {
        (Value::Stack(Some(at)), Value::Const(size @ 1..=512)) => Some((at, size as u32)),
        _elsewhere => None,
    }
}

/// What the verifier knows of a helper's result.
pub(crate) fn result(helper: i32, id: u32) -> Value {
    let number = Scalar::of_size(8, id);
    match helper {
        // A pointer, or null: lookups of elements, sockets, storages, reservations, casts of sockets.
        1 | 84 | 85 | 95 | 96 | 98 | 99 | 107 | 131 | 136..=140 | 145 | 153 | 156 => Value::OrNull(id),
        178 | 194 | 195 | 196 | 203 | 207 | 210 => Value::OrNull(id),
        // A pointer that is never null: local storage, per-CPU variables, the current task, its registers.
        81 | 154 | 158 | 175 => Value::Scalar(number.with(Known::PerhapsPointer)),
        // Numbers with bounds of their own: copied strings, stacks, paths, the CPU.
        8 | 45 | 67 | 112..=115 | 141 | 147 => Value::Scalar(number.with(Known::Vague)),
        _number => Value::Scalar(number),
    }
}
