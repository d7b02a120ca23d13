//! One instruction: what it does to what is known, and where it goes on.

use super::arithmetic::{Operation, sign_extended};
use super::branch::{self, Split};
use super::helper_result;
use super::state::State;
use super::value::{Known, Scalar, Value};
use super::{Content, Image};
use crate::Insn;
use crate::insn::{CLASS_ALU64, CLASS_LD, CLASS_LDX, CLASS_ST, CLASS_STX};
use crate::prepare::environment::Verifier;
use crate::prepare::opcode::{alu, jump, mode};

/// Where it goes on.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// At an instruction.
    At(usize, State),
    /// One way or the other: the jump's target, and the next instruction.
    Split(usize, Split),
    /// In a subprogram, and then behind the call.
    Call { callee: usize, state: State },
    /// In any of the jump tables' targets.
    Anywhere(State),
    /// Nowhere: the end of a function, with what it returns.
    Exit(Value),
    /// Nowhere: an exception, or code that is broken, which the verifier refuses.
    End,
}

/// Executes an instruction.
pub(crate) fn execute(image: &Image<'_>, at: usize, mut state: State) -> Step {
    let insn = image.insns[at];
    // Values made here are told from those of other instructions by their place.
    let id = at as u32 + 1;
    match insn.class() {
        CLASS_LD if insn.is_ldimm64() => {
            let value = immediate(image, at);
            state.set_new(insn.dst, value);
            return Step::At(at + 2, state);
        }
        CLASS_LD => {
            state.set_new(0, Value::Scalar(Scalar::of_size(4, id)));
            clobber_arguments(&mut state);
        }
        CLASS_LDX => {
            let value = load(image, insn, &state, id);
            state.set_new(insn.dst, value);
        }
        CLASS_ST | CLASS_STX => store(image, insn, &mut state, id),
        _alu if insn.is_alu() => compute(image.verifier, insn, &mut state, id),
        _jump => return flow(image, at, insn, state, id),
    }
    Step::At(at + 1, state)
}

fn flow(image: &Image<'_>, at: usize, insn: Insn, mut state: State, id: u32) -> Step {
    match insn.operation() {
        jump::EXIT => Step::Exit(state.get(0)),
        jump::CALL if insn.is_subprogram_call() => {
            match target_of(image, at as i64 + 1 + i64::from(insn.imm)) {
                Some(callee) => Step::Call { callee, state },
                None => Step::End,
            }
        }
        jump::CALL if image.references.throws.contains(&at) => Step::End,
        jump::CALL => {
            call(image, insn, &mut state, id);
            Step::At(at + 1, state)
        }
        jump::ALWAYS if !insn.has_immediate_operand() => Step::Anywhere(state),
        operation => match insn.jump_target(at).and_then(|target| target_of(image, target)) {
            Some(target) if operation == jump::ALWAYS => Step::At(target, state),
            Some(target) => Step::Split(target, branch::split(image.verifier, insn, state)),
            None => Step::End,
        },
    }
}

fn target_of(image: &Image<'_>, target: i64) -> Option<usize> {
    usize::try_from(target).ok().filter(|&target| target < image.insns.len())
}

/// What a 64-bit immediate load gives.
pub(crate) fn immediate(image: &Image<'_>, at: usize) -> Value {
    let first = image.insns[at];
    let Some(second) = image.insns.get(at + 1) else {
        return Value::Any;
    };
    let number = u64::from(second.imm as u32) << 32 | u64::from(first.imm as u32);
    match first.src {
        _any if image.references.unknown.contains(&at) => Value::vague(),
        0 => Value::Const(number),
        Insn::PSEUDO_MAP_IDX_VALUE => {
            Value::Variable { map: first.imm as u32, offset: Some(u64::from(second.imm as u32)) }
        }
        Insn::PSEUDO_FUNC => match target_of(image, at as i64 + 1 + i64::from(first.imm)) {
            Some(start) => Value::Function(start as u32),
            None => Value::Any,
        },
        Insn::PSEUDO_BTF_ID if image.verifier.memory_not_null && image.references.memory.contains(&at) => {
            Value::Pointer
        }
        Insn::PSEUDO_BTF_ID => Value::Scalar(Scalar::of_size(8, 0).with(Known::PerhapsPointer)),
        // A map itself is no memory that values could be read from.
        Insn::PSEUDO_MAP_IDX => Value::Map(first.imm as u32),
        _unknown => Value::vague(),
    }
}

fn load(image: &Image<'_>, insn: Insn, state: &State, id: u32) -> Value {
    let size = insn.access_size();
    let signed = insn.mode() == mode::MEMSX;
    let value = match state.get(insn.src) {
        Value::Stack(Some(at)) => state.load(at.saturating_add(i32::from(insn.off)), size),
        Value::Stack(None) | Value::Any => Value::Any,
        Value::Variable { map, offset: Some(offset) } => {
            let offset = offset.wrapping_add(i64::from(insn.off) as u64);
            match image.content(map, offset, size) {
                Content::Is(value) => Value::Const(value),
                Content::Fixed => Value::Scalar(Scalar::of_size(size, 0).with(Known::Vague)),
                Content::Changes => Value::Scalar(Scalar::of_size(size, id)),
            }
        }
        // What LSM hooks are given has bounds.
        Value::Context if image.bounded_context => Value::vague(),
        Value::Context if size == 8 && image.typed_context => perhaps_pointer(id),
        Value::Context | Value::Pointer | Value::Variable { .. } => Value::Scalar(Scalar::of_size(size, id)),
        // What BTF says of a field may make it a pointer that can't be null.
        _pointer if size == 8 => perhaps_pointer(id),
        _pointer => Value::Scalar(Scalar::of_size(size, id)),
    };
    match value {
        Value::Const(value) if signed => {
            let unused = 64 - 8 * size.min(8);
            Value::Const(((value << unused) as i64 >> unused) as u64)
        }
        Value::Any | Value::Const(_) => value,
        number if signed => sign_extended(number, 8 * size as u8),
        value => value,
    }
}

fn perhaps_pointer(id: u32) -> Value {
    Value::Scalar(Scalar::of_size(8, id).with(Known::PerhapsPointer))
}

fn store(image: &Image<'_>, insn: Insn, state: &mut State, id: u32) {
    let size = insn.access_size();
    let atomic = insn.class() == CLASS_STX && insn.mode() == mode::ATOMIC;
    let to = state.get(insn.dst);
    match to {
        Value::Stack(Some(at)) => {
            let at = at.saturating_add(i32::from(insn.off));
            if insn.class() == CLASS_STX && size == 8 {
                state.mark_copied(insn.src, id);
            }
            let value = if atomic { None } else { stored(image.verifier, insn, state, at) };
            state.store(at, size, value);
        }
        Value::Stack(None) | Value::Any => {
            state.forget_stack(None);
            state.holds_own |= insn.class() == CLASS_STX && state.get(insn.src).may_be_stack();
        }
        // No other pointer leads into the stack.
        Value::Const(_) | Value::Scalar(_) | Value::OrNull(_) | Value::Pointer | Value::Map(_) => {}
        Value::Context | Value::Variable { .. } | Value::Function(_) => {}
    }
    if atomic {
        fetch(insn, state, size, id);
    }
}

/// What the verifier knows of a place in the stack after a store there; None where it can't be told.
///
/// It follows zeros anywhere, and other values of less than 8 bytes only at the start of a slot of 8.
fn stored(verifier: Verifier, insn: Insn, state: &State, at: i32) -> Option<Value> {
    let size = insn.access_size();
    let starts_slot = at.rem_euclid(8) == 0;
    let unknown = Value::Scalar(Scalar::of_size(size, 0));
    if insn.class() == CLASS_ST {
        return match insn.imm {
            value if verifier.stored_immediates && (starts_slot || value == 0) => {
                Some(Value::Const(cut(i64::from(value) as u64, size)))
            }
            0 => None,
            _other if starts_slot => None,
            _other => Some(unknown),
        };
    }
    match state.get(insn.src) {
        value if size == 8 => Some(value),
        Value::Const(0) => Some(Value::Const(0)),
        Value::Const(value) if starts_slot && verifier.small_spills => Some(Value::Const(cut(value, size))),
        Value::Const(_) if !starts_slot => Some(unknown),
        _other => None,
    }
}

/// What an atomic operation leaves in registers.
fn fetch(insn: Insn, state: &mut State, size: u32, id: u32) {
    const FETCH: i32 = 1;
    const COMPARE_EXCHANGE: i32 = 0xf1;
    const LOAD_ACQUIRE: i32 = 0x100;
    let value = Value::Scalar(Scalar::of_size(size, id).with(Known::Vague));
    match insn.imm {
        COMPARE_EXCHANGE => state.set_new(0, value),
        LOAD_ACQUIRE => state.set_new(insn.dst, value),
        operation if operation & FETCH != 0 => state.set_new(insn.src, value),
        _no_result => {}
    }
}

fn cut(value: u64, size: u32) -> u64 {
    if size >= 8 { value } else { value & ((1 << (8 * size)) - 1) }
}

fn compute(verifier: Verifier, insn: Insn, state: &mut State, id: u32) {
    let wide = insn.class() == CLASS_ALU64;
    let op = insn.operation();
    let before = state.get(insn.dst);
    if op == alu::MOV && insn.off == 0 && !insn.has_immediate_operand() {
        state.mark_copied(insn.src, id);
    }
    let operand = match insn.has_immediate_operand() {
        true => Value::Const(i64::from(insn.imm) as u64),
        false => state.get(insn.src),
    };
    let result = match op {
        // Byte swaps and negations of what is known are followed only by new verifiers.
        alu::END => swapped(before, insn.imm, id),
        alu::NEG => Value::vague(),
        // A number minus itself, and the like: new verifiers know what comes of it.
        alu::SUB | alu::XOR if !insn.has_immediate_operand() && insn.dst == insn.src => Value::vague(),
        // New verifiers know how far copies are from each other.
        alu::ADD | alu::SUB if matches!(before, Value::Scalar(_)) && state.has_copies(before.id()) => {
            Value::vague()
        }
        _binary => {
            let extend = if op == alu::MOV { insn.off as u8 } else { 0 };
            Operation { op, wide, extend, exclusive_or: verifier.exclusive_or }.apply(before, operand)
        }
    };
    state.set(insn.dst, result);
}

/// Bytes in another order; the number says how many bits.
fn swapped(value: Value, bits: i32, id: u32) -> Value {
    let bytes = match bits {
        16 => 2,
        32 => 4,
        _all => 8,
    };
    match value {
        Value::Scalar(scalar) if scalar.known == Known::Free && scalar.min == 0 && scalar.shift == 0 => {
            let all = scalar.is_full() || scalar == Scalar { id: scalar.id, ..Scalar::of_size(bytes, 0) };
            if all { Value::Scalar(Scalar::of_size(bytes, id)) } else { Value::vague() }
        }
        _known => Value::vague(),
    }
}

/// A call of a helper or kfunc.
fn call(image: &Image<'_>, insn: Insn, state: &mut State, id: u32) {
    let result =
        if insn.src == 0 { helper_result::result(image, insn.imm, state, id) } else { perhaps_pointer(id) };
    let passes_stack = (1..6).any(|register| state.get(register).may_be_stack());
    if insn.src == 0 && helper_result::calls_back(insn.imm) && passes_stack {
        // The callback may write wherever its context leads.
        state.forget_stack(None);
        state.holds_own = true;
    } else {
        match helper_result::written(insn, state) {
            Some((at, size)) => state.store(at, size, Some(Value::Scalar(Scalar::of_size(size, 0)))),
            None => forget_what_arguments_reach(state),
        }
    }
    clobber_arguments(state);
    state.set_new(0, result);
}

/// What a function may write through the pointers that it gets: the stack from there upwards.
fn forget_what_arguments_reach(state: &mut State) {
    for register in 1..6 {
        match state.get(register) {
            Value::Stack(Some(at)) => state.forget_stack(Some(at)),
            Value::Stack(None) | Value::Any => state.forget_stack(None),
            _no_stack => {}
        }
    }
}

/// The same for a subprogram, which may also store the pointers that it gets.
pub(crate) fn forget_for_subprogram(state: &mut State) {
    let passed = (1..6).any(|register| state.get(register).may_be_stack());
    if passed {
        state.holds_own = true;
        state.forget_stack(None);
    }
}

/// After a call nobody can read what the arguments were.
pub(crate) fn clobber_arguments(state: &mut State) {
    for register in 1..6 {
        state.set(register, Value::vague());
    }
}
