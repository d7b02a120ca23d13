//! What `prepare` says without a kernel, against what real kernels say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use btf::Btf;
use relo_core::{BpfObject, Environment, OpenObject, Status, Target, Wanted, prepare};
use vmtest::{ProgramVerdict, Verdict};

use super::{Answer, Setup, compile, name, release, setup};

/// How each program would end on a kernel.
fn foretell(object: &Path, btf: &Btf<'_>, release: &str) -> BTreeMap<String, Status> {
    let bytes = fs::read(object).expect("object");
    let parsed = BpfObject::parse(name(object), &bytes).expect("object");
    let open = OpenObject::open(&parsed, &bytes).expect("object that opens");
    let wanted = Wanted::new([&parsed]);
    let target = Target::new(btf, &[], &wanted).expect("target");
    let environment = Environment { kernel_version: release.parse().ok(), ..Environment::default() };
    let prepared = prepare(&open, &target, &environment);
    prepared.programs.into_iter().map(|program| (program.name, program.status)).collect()
}

/// What a foretold status and the kernel's own answer come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Agreement {
    Loaded,
    NotLoaded,
    /// It was said that it can't be told.
    NotForetold,
    /// Relocated as foretold, and refused for what has nothing to do with relocation.
    OtherwiseRefused,
    Wrong,
}

fn compare(status: &Status, real: &ProgramVerdict) -> Agreement {
    let loaded = real.verdict != Verdict::LoadFailBoth;
    let detail = real.detail.as_deref().unwrap_or_default();
    // What the verifier and libbpf say of poisoned instructions.
    let says = |text: &str| detail.contains(text);
    let poisoned = says("invalid CO-RE relocation") || says("#195896080") || says("but wasn't resolved");
    match status {
        Status::Unknown(_) => Agreement::NotForetold,
        status if status.is_usable() && loaded => Agreement::Loaded,
        status if status.is_usable() && !poisoned && detail.contains("processed ") => {
            Agreement::OtherwiseRefused
        }
        Status::PoisonedReachable { .. } if !loaded && poisoned => Agreement::NotLoaded,
        Status::Refused(_) if !loaded && !poisoned => Agreement::NotLoaded,
        _disagree => Agreement::Wrong,
    }
}

/// Compares for all objects on all kernels; true where nothing is wrong.
fn agree(setup: &Setup, objects: &[PathBuf], answers: &[Answer]) -> bool {
    let mut wrong = false;
    assert_eq!(answers.len(), setup.kernels.len());
    for (kernel, (_, verdicts)) in setup.kernels.iter().zip(answers) {
        let full = Btf::parse(fs::read(setup.full_btf(kernel)).expect("BTF")).expect("BTF");
        let mut counts: BTreeMap<Agreement, usize> = BTreeMap::new();
        assert_eq!(verdicts.len(), objects.len());
        for (object, verdict) in objects.iter().zip(verdicts) {
            let foretold = foretell(object, &full, &release(kernel));
            assert_eq!(verdict.programs.len(), foretold.len(), "{}", verdict.object);
            for real in &verdict.programs {
                let status = &foretold[&real.program];
                let agreement = compare(status, real);
                *counts.entry(agreement).or_default() += 1;
                wrong |= agreement == Agreement::Wrong;
                if matches!(agreement, Agreement::Loaded | Agreement::NotLoaded) {
                    continue;
                }
                let detail = real.detail.as_deref().unwrap_or_default();
                println!(
                    "{agreement:?}: {} {} on {}: {status}; in fact {}: {detail}",
                    verdict.object,
                    real.program,
                    name(kernel),
                    real.verdict
                );
            }
        }
        println!("{}: {counts:?}", name(kernel));
    }
    !wrong
}

#[test]
fn objects_end_as_foretold() {
    if let Some(setup) = setup("objects_end_as_foretold") {
        assert!(agree(&setup, &setup.objects, setup.answers()));
    }
}

/// The same for an object that is compiled of this source.
fn agree_on(test: &str, source: &str) -> bool {
    setup(test).is_none_or(|setup| {
        let objects = [compile(&setup, source)];
        let answers: Vec<Answer> = setup.kernels.iter().map(|kernel| setup.ask(kernel, &objects)).collect();
        agree(&setup, &objects, &answers)
    })
}

#[test]
fn guards_are_seen_as_the_verifier_sees_them() {
    assert!(agree_on("guards_are_seen_as_the_verifier_sees_them", "guards.bpf.c"));
}

#[test]
fn the_analysis_is_not_fooled() {
    assert!(agree_on("the_analysis_is_not_fooled", "hostile.bpf.c"));
}
