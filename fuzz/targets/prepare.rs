//! A real or hostile object for a hostile kernel: no panic, bounded time (libFuzzer's -timeout), and results that agree.
#![no_main]

use btf::Btf;
use libfuzzer_sys::fuzz_target;
use relo_core::{
    BpfObject, Environment, KernelBtf, KernelVersion, Mode, OpenObject, Prepared, Target, Wanted, prepare,
};

fuzz_target!(|data: &[u8]| {
    let Some((bytes, target)) = halves(data) else { return };
    let (Ok(object), Ok(btf)) = (BpfObject::parse("fuzz", bytes), Btf::parse(target)) else { return };
    let Ok(open) = OpenObject::open(&object, bytes) else { return };
    let wanted = Wanted::new([&object]);
    let Ok(target_btf) = Target::new(&btf, &[], &wanted) else { return };
    let (kconfig, kallsyms) = texts(&open, target);
    let old = KernelVersion { major: 5, minor: 4, patch: 0 };
    let new = KernelVersion { major: 7, minor: 2, patch: 0 };
    let nothing = Environment { kernel_btf: KernelBtf::Absent, ..Environment::default() };
    let all = Environment {
        kconfig: Some(&kconfig),
        kallsyms: Some(&kallsyms),
        kernel_version: Some(new),
        ..Environment::default()
    };
    let strict = Environment { mode: Mode::StrictLibbpf, kernel_version: Some(old), ..all };
    for environment in [nothing, all, strict] {
        check(&open, &prepare(&open, &target_btf, &environment));
    }
});

fn check(open: &OpenObject<'_>, prepared: &Prepared) {
    let object = open.object();
    assert_eq!(prepared.externs.len(), open.externs().len());
    assert_eq!(prepared.relocations.len(), object.relos().len());
    let entries = open.functions().iter().filter(|function| function.entry).count();
    assert_eq!(prepared.programs.len(), entries);
    for program in &prepared.programs {
        assert_eq!(program.bytes(object).len(), program.insns.len() * 8);
        assert!(program.poisoned.iter().all(|poisoned| poisoned.insn < program.insns.len()));
        let listing = prepared.listing(open, program);
        assert!(listing.lines().count() <= program.insns.len() + program.parts.len() + 1);
    }
    let Ok(patched) = prepared.elf(open) else { return };
    assert_eq!(patched.len(), open.bytes().len());
}

/// A configuration and symbols that name what the object asks for, with values that the target's bytes give.
fn texts(open: &OpenObject<'_>, target: &[u8]) -> (String, String) {
    let (mut kconfig, mut kallsyms) = (String::new(), String::new());
    for (index, external) in open.externs().iter().enumerate().take(100) {
        let seed = target.get(target.len() / 2 + index).copied().unwrap_or(0);
        let value = ["y", "n", "m", "\"text\"", "0x7fffffffffffffff", "-1", "3", "\""][usize::from(seed & 7)];
        kconfig += &format!("{}={value}\n", external.name);
        kallsyms += &format!("ffffffff81{seed:02x}0000 T {}\n", external.name);
    }
    (kconfig, kallsyms)
}

/// The object's length in the first four bytes, then the object, then the target.
fn halves(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = data.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}
