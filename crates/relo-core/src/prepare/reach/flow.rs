//! The control flow as the instructions say it, before anything is known: where paths meet, and what is read later.

use super::Image;

/// Facts about the code that hold whatever is known of values.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    /// Instructions where paths can meet: targets of jumps, places behind calls, starts of functions.
    pub meets: Vec<bool>,
    /// By instruction, the registers that may be read later.
    pub live: Vec<u16>,
}

/// Every register.
const ALL: u16 = 0x7ff;
/// Rounds in which liveness may settle; after that every register counts as read.
const ROUNDS: usize = 64;

impl Flow {
    pub(crate) fn of(image: &Image<'_>) -> Flow {
        let mut meets = vec![false; image.insns.len()];
        let mut mark = |target: i64| {
            if let Some(meet) = usize::try_from(target).ok().and_then(|target| meets.get_mut(target)) {
                *meet = true;
            }
        };
        for (at, insn) in image.insns.iter().enumerate() {
            if let Some(target) = insn.jump_target(at) {
                mark(target);
            }
            if insn.is_subprogram_call() {
                mark(at as i64 + 1);
            }
        }
        for part in image.parts {
            mark(part.start as i64);
        }
        for table in &image.references.jump_tables {
            for &target in &table.targets {
                mark(target as i64);
            }
        }
        let live = live(image);
        Flow { meets, live }
    }
}

/// Backwards over the code until nothing changes.
fn live(image: &Image<'_>) -> Vec<u16> {
    let insns = image.insns;
    let mut live = vec![0u16; insns.len()];
    for _ in 0..ROUNDS {
        let mut changed = false;
        for at in (0..insns.len()).rev() {
            let insn = insns[at];
            let next = if insn.is_ldimm64() { at + 2 } else { at + 1 };
            let mut after = 0;
            if insn.falls_through() {
                after |= live.get(next).copied().unwrap_or(0);
            }
            match insn.jump_target(at).map(usize::try_from) {
                Some(Ok(target)) => after |= live.get(target).copied().unwrap_or(0),
                Some(Err(_)) => {}
                // Where a register says where to go on, anything may be read there.
                None if !insn.falls_through() && insn.operation() == 0 => after = ALL,
                None => {}
            }
            let (reads, writes) = insn.registers();
            // An atomic operation writes its registers only sometimes.
            let writes = if reads & writes != 0 { 0 } else { writes };
            let now = (after & !writes) | reads;
            changed |= now != live[at];
            live[at] = now;
        }
        if !changed {
            return live;
        }
    }
    vec![ALL; insns.len()]
}
