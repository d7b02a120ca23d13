//! What our own engine makes of an object with the BTF to check: libbpf in the guest must come to the same instructions.
//!
//! The engine also made the BTF, so that it alone proves little; and libbpf alone would not show where the records that
//! we ship are wrong.

use btf::Btf;
use relo_core::{BpfObject, Mode, Outcome, RecordedRelo, Target, Wanted};

use crate::spec::Check;
use crate::typeid::Functions;
use crate::wire::Foreseen;

/// Every instruction that a CO-RE relocation writes. Empty where the engine takes the object or the BTF for damaged, or
/// refuses a relocation: what libbpf makes of those is for the verdict to say.
pub fn foresee(check: &Check) -> Vec<Foreseen> {
    relocate(check).unwrap_or_default()
}

fn relocate(check: &Check) -> Option<Vec<Foreseen>> {
    let object = BpfObject::parse(check.object.clone(), &check.elf).ok()?;
    let btf = Btf::parse(check.btf.as_slice()).ok()?;
    let wanted = Wanted::new([&object]);
    let target = Target::new(&btf, &[], &wanted).ok()?;
    // Where the two are known to differ, it is libbpf's way that is foreseen.
    let records = relo_core::relocate(&object, &target, Mode::StrictLibbpf);
    if records.iter().any(|record| matches!(record.outcome, Outcome::Error(_))) {
        return None;
    }
    let functions = Functions::of(&check.elf);
    Some(records.iter().flat_map(|record| insns(&object, record, &functions)).collect())
}

/// One, or the two halves of a 64-bit immediate load.
fn insns(object: &BpfObject, record: &RecordedRelo, functions: &Functions) -> Vec<Foreseen> {
    let relo = &object.relos()[record.index];
    let insn = relo.relo.insn_off / relo_core::INSN_LEN as u32;
    let Some((func, insn)) = functions.find(object.section_of(relo), insn) else {
        return Vec::new();
    };
    let halves = (insn..).zip(record.insn_after.chunks(relo_core::INSN_LEN));
    halves.map(|(insn, bytes)| Foreseen { func, insn, bytes: hex(bytes) }).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_foreseen() {
        let check = Check { object: "o".into(), elf: b"\x7fELF".to_vec(), ..Check::default() };
        assert_eq!(foresee(&check), []);
    }
}
