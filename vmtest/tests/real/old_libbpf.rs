//! The older libbpf beside the current one, in the same machines.

use std::path::{Path, PathBuf};

use vmtest::{Check, Libbpf, ObjectVerdict, Verdict};

use crate::{MATRIX, check, mutate, name, run, setup};

/// The struct whose members are moved: the tracepoint's, which is read on all kernels.
const MOVED: &str = "trace_event_raw_sys_enter";

fn both(object: &Path, btf: &[u8], label: &str) -> [Check; 2] {
    [Libbpf::Current, Libbpf::Old].map(|libbpf| Check { libbpf, ..check(object, btf, label) })
}

#[test]
fn libbpf_of_debian_12_comes_to_the_same() {
    let Some(setup) = setup("libbpf_of_debian_12_comes_to_the_same") else {
        return;
    };
    // The oldest and the newest: BTF grew most between these.
    let kernels: Vec<&PathBuf> =
        [setup.kernels.first(), setup.kernels.last()].into_iter().flatten().collect();
    assert!(kernels.len() == 2 && kernels[0] != kernels[1], "two kernels are wanted");
    let objects = setup.objects_named(&MATRIX);
    let opensnoop = &setup.objects_named(&["opensnoop"])[0];
    for kernel in kernels {
        let btf = setup.min_btf(kernel, &objects);
        let damaged = mutate::Btf::parse(btf.clone());
        let structs = damaged.structs();
        let (moved, _) = structs.iter().find(|(_, name)| name == MOVED).expect("the tracepoint's struct");
        let mut checks: Vec<Check> = objects.iter().flat_map(|object| both(object, &btf, "min")).collect();
        checks.extend(both(opensnoop, &damaged.moved(*moved, 8), "moved"));
        checks.extend(both(opensnoop, &damaged.bad_member_type(*moved), "bad type id"));
        checks.extend(both(opensnoop, &damaged.truncated(), "truncated"));
        let (report, verdicts) = run(&setup.spec(kernel), &checks);
        assert_eq!(report.old_libbpf.as_deref(), Some("v1.1"));
        for pair in verdicts.chunks(2) {
            let [current, old] = pair else { panic!("two checks each") };
            assert_eq!((current.libbpf, old.libbpf), (Libbpf::Current, Libbpf::Old));
            judged(current, old);
        }
        println!("{}: {:.1} s", name(kernel), report.seconds);
    }
}

#[track_caller]
fn judged(current: &ObjectVerdict, old: &ObjectVerdict) {
    let both = [current, old];
    match old.label.as_str() {
        "min" => {
            assert!(both.iter().all(|v| v.is_identical() && !v.verdict.is_failure()), "{both:#?}");
            let agreed = |of: &ObjectVerdict| of.programs.iter().map(|p| p.agreed).collect::<Vec<_>>();
            // Functions that others call stand where the current one has them, or the engine would disagree.
            assert_eq!(agreed(current), agreed(old), "{both:#?}");
        }
        "moved" => assert!(both.iter().all(|v| v.verdict == Verdict::Mismatch), "{both:#?}"),
        // The older one believes the id, and reads where nothing is.
        "bad type id" => {
            assert_eq!((current.verdict, old.verdict), (Verdict::LoadFailMinOnly, Verdict::Crash));
        }
        "truncated" => {
            assert!(both.iter().all(|v| v.verdict == Verdict::LoadFailMinOnly), "{both:#?}");
        }
        other => panic!("{other}"),
    }
}
