//! Damaged BTFs, each with the verdict that it must get. Which relocations a damage reaches is for our engine to say; what
//! comes of it, for libbpf in the machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use btf::Btf;
use relo_core::{BpfObject, Mode, Target, Wanted, relocate};
use vmtest::{Check, Verdict};

use crate::{MATRIX, check, mutate, name, run, setup};

/// Fewer damaged BTFs than this show little.
const VARIANTS: usize = 60;

/// A damaged BTF for an object, and what it must come to.
struct Case {
    check: Check,
    expect: Expect,
}

#[derive(Clone, Copy)]
enum Expect {
    /// libbpf does not take it for BTF.
    Refused,
    /// A program would read other memory, or see other answers.
    Mismatch,
    /// No relocation meets the damage: as with the good one.
    AsGood,
}

#[test]
fn damage_is_found() {
    let Some(setup) = setup("damage_is_found") else {
        return;
    };
    let kernel = setup.kernel("6.1.");
    let (mut good, mut cases) = (Vec::new(), Vec::new());
    for object in setup.objects_named(&MATRIX) {
        let btf = setup.min_btf(kernel, std::slice::from_ref(&object));
        good.push(check(&object, &btf, "good"));
        cases.extend(damaged(&object, &btf));
    }
    assert!(cases.len() >= VARIANTS, "only {} variants", cases.len());
    let checks: Vec<Check> = good.iter().chain(cases.iter().map(|case| &case.check)).cloned().collect();
    let (report, verdicts) = run(&setup.spec(kernel), &checks);
    let (as_good, found) = verdicts.split_at(good.len());
    let mut table: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for (case, verdict) in cases.iter().zip(found) {
        *table.entry((&verdict.label, verdict.verdict.to_string())).or_default() += 1;
        let of_good = as_good.iter().find(|good| good.object == verdict.object).expect("the good one");
        let expect = match case.expect {
            Expect::Refused => Verdict::LoadFailMinOnly,
            Expect::Mismatch => Verdict::Mismatch,
            Expect::AsGood => of_good.verdict,
        };
        assert!(!of_good.verdict.is_failure(), "{of_good:#?}");
        assert_eq!(verdict.verdict, expect, "{verdict:#?}");
    }
    println!("{} variants, {:.1} s: {table:#?}", found.len(), report.seconds);
    // One that meets nothing shows that the others are not found by the way.
    let harmless = cases.iter().filter(|case| matches!(case.expect, Expect::AsGood)).count();
    assert!(harmless > 0 && harmless < found.len() / 4, "{harmless} of {} are harmless", found.len());
}

fn damaged(object: &Path, good: &[u8]) -> Vec<Case> {
    let btf = mutate::Btf::parse(good.to_vec());
    let structs = btf.structs();
    assert!(!structs.is_empty(), "{}", object.display());
    let case =
        |label: &str, bytes: Vec<u8>, expect: Expect| Case { check: check(object, &bytes, label), expect };
    // Whether it is one that the object meets, is not for the name to say.
    let met = |label: &str, bytes: Vec<u8>| {
        let expect =
            if patches(object, &bytes) == patches(object, good) { Expect::AsGood } else { Expect::Mismatch };
        case(label, bytes, expect)
    };
    let (first, _) = structs[0];
    let mut cases = vec![
        met("moved 1", btf.moved(first, 1)),
        met("member renamed", btf.member_renamed(first)),
        met("struct renamed", btf.struct_renamed(first)),
        met("size 1", btf.struct_size_one(first)),
        met("int resized", btf.int_resized()),
        met("empty", mutate::Btf::empty()),
        case("truncated", btf.truncated(), Expect::Refused),
        case("bad magic", btf.bad_magic(), Expect::Refused),
    ];
    for (index, _) in &structs {
        cases.push(met("moved 8", btf.moved(*index, 8)));
        cases.push(case("bad type id", btf.bad_member_type(*index), Expect::Refused));
    }
    cases
}

/// What the engine writes at each relocation.
fn patches(object: &Path, btf: &[u8]) -> Vec<Vec<u8>> {
    let bytes = fs::read(object).expect("object");
    let parsed = BpfObject::parse(name(object), &bytes).expect("object");
    let btf = Btf::parse(btf).expect("damaged, but BTF");
    let wanted = Wanted::new([&parsed]);
    let target = Target::new(&btf, &[], &wanted).expect("target");
    let records = relocate(&parsed, &target, Mode::StrictLibbpf);
    records.into_iter().map(|record| record.insn_after.to_vec()).collect()
}
