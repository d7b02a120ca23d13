//! What helpers return, what they write, and which of them call back.

use super::Image;
use super::state::State;
use super::value::{Known, Nullable, Scalar, Value};
use crate::Insn;
use crate::open::{ARRAY, ARRAY_OF_MAPS, HASH_OF_MAPS, PERCPU_ARRAY, XSKMAP};

const MAP_LOOKUP: i32 = 1;
const LOOP: i32 = 181;

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

/// Whether a helper calls a function of the program.
pub(crate) fn calls_back(helper: i32) -> bool {
    matches!(helper, 164 | 170 | 180 | LOOP | 209)
}

/// What a callback finds in its registers, and whether the verifier surely follows it.
pub(crate) fn callback(call: Insn, state: &State) -> (State, bool) {
    let mut inner = State::new();
    if call.src != 0 || call.imm != LOOP {
        return (inner, true);
    }
    inner.set(1, Value::Scalar(Scalar::of_size(8, 0)));
    inner.set(2, state.get(3).in_callee());
    // New verifiers know that a loop of no rounds calls nobody.
    let rounds = match state.get(1) {
        Value::Const(rounds) => rounds > 0,
        Value::Scalar(scalar) => scalar.known == Known::Free,
        _vague => false,
    };
    (inner, rounds)
}

/// What the verifier knows of a helper's result.
pub(crate) fn result(image: &Image<'_>, helper: i32, state: &State, id: u32) -> Value {
    let number = Scalar::of_size(8, id);
    let or_null = |folds| Value::OrNull(Nullable { id, folds, null: true });
    let verifier = image.verifier;
    match helper {
        MAP_LOOKUP => element(image, state, id),
        // A pointer, or null: sockets, storages, elements of a CPU.
        84 | 85 | 95 | 96 | 98 | 99 | 107 | 145 | 156 | 195 | 210 => or_null(verifier.pointers_not_null),
        // Reserved memory, the data of a dynptr.
        131 | 203 => or_null(verifier.memory_not_null),
        // Pointers that BTF types: casts of sockets, per-CPU variables, pointers in maps.
        136..=140 | 153 | 178 | 194 | 196 => or_null(false),
        // A pointer that is never null: local storage, per-CPU variables, the current task, its registers.
        81 | 154 | 158 | 175 => Value::Scalar(number.with(Known::PerhapsPointer)),
        // Numbers with bounds of their own: copied strings, stacks, paths, the CPU.
        8 | 45 | 67 | 112..=115 | 141 | 147 => Value::Scalar(number.with(Known::Vague)),
        _number => Value::Scalar(number),
    }
}

/// An element of a map, or null.
fn element(image: &Image<'_>, state: &State, id: u32) -> Value {
    let map = match state.get(1) {
        Value::Map(index) => image.maps.get(index as usize),
        _unknown => None,
    };
    let Some(def) = map.map(|map| &map.def) else {
        return Value::OrNull(Nullable { id, folds: false, null: !image.verifier.elements_not_null });
    };
    let memory = !matches!(def.map_type, ARRAY_OF_MAPS | HASH_OF_MAPS | XSKMAP);
    let is_array = matches!(def.map_type, ARRAY | PERCPU_ARRAY);
    let key_may_be_known = match state.get(2) {
        Value::Stack(Some(at)) => match state.load(at, 4) {
            Value::Const(key) => key < u64::from(def.max_entries),
            Value::Scalar(scalar) => scalar.known != Known::Free,
            _any => true,
        },
        _elsewhere => true,
    };
    let elided = image.verifier.elements_not_null && is_array && key_may_be_known;
    Value::OrNull(Nullable { id, folds: memory && image.verifier.pointers_not_null, null: !elided })
}
