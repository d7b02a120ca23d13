//! Whole runs of a pipeline: what is locked, kept, replaced and refused, and what failures cost.

mod builders;
mod conclusions;
mod fixture;
mod interrupted;
mod keys;
mod killed;
mod layouts;
mod nights;
mod packages;
mod plans;
mod plugins;
mod thousand;
mod transforms;
mod vmlinux;

use bundle::{Bundle, KernelKey};
use fixture::{ARM, NEW, OLD, SID, World, deb, kernel_btf, pipeline, program};
use pipeline::outcome::Code;
use pipeline::run::Finished;
use pipeline::summary::State;

fn states(finished: &Finished) -> Vec<(String, Vec<State>)> {
    let rows = finished.summary.rows.iter();
    rows.map(|row| (row.object.clone(), row.cells.iter().map(|cell| cell.state).collect())).collect()
}

fn failures(finished: &Finished) -> Vec<(String, String)> {
    let failed = finished.summary.kernels.iter();
    failed.filter_map(|kernel| Some((kernel.id.clone(), kernel.failure.clone()?))).collect()
}

/// Where the kernel's packaged BTF has `task.pid`, by the records.
fn pid_offset(world: &World, arch: &str, id: &str) -> u64 {
    let bundle = Bundle::open(&world.read(&format!("dist/test-{arch}.tar.zst"))).unwrap();
    let records = bundle.records(&id.parse::<KernelKey>().unwrap()).unwrap();
    let record: serde_json::Value = serde_json::from_slice(records).unwrap();
    record["target"]["offset"].as_u64().unwrap()
}

#[test]
fn the_first_run_locks_and_the_second_keeps() {
    let world = World::new();
    let first = world.run().unwrap();
    assert_eq!((first.code, failures(&first)), (Code::Ok, vec![]));
    assert_eq!(states(&first), [("a.bpf.o".to_owned(), vec![State::Host; 2])]);
    assert_eq!(world.lock(), [OLD, ARM]);
    assert!(world.heard("kernels.lock written, commit it: added"));
    assert_eq!(pid_offset(&world, "x86_64", OLD), 8);
    assert_eq!(pid_offset(&world, "arm64", ARM), 16);
    let asked = world.asked();
    assert_eq!(asked.len(), 3, "{asked:?}");
    let lock = world.read("kernels.lock");

    // Newer kernels appear upstream: nobody asks.
    world.offer("bookworm", NEW, 24);
    let second = world.run().unwrap();
    assert_eq!((second.code, world.asked()), (Code::Ok, vec![]));
    assert_eq!(world.read("kernels.lock"), lock);

    // Without the store the locked packages are fetched again, nothing is resolved.
    world.forget_store();
    world.run().unwrap();
    assert_eq!(world.asked(), [format!("fetch {ARM}"), format!("fetch {OLD}")]);
    assert_eq!(world.read("kernels.lock"), lock);
}

#[test]
fn the_bytes_don_t_depend_on_folder_and_threads() {
    let (one, mut two) = (World::new(), World::new());
    two.options.jobs = 1;
    one.run().unwrap();
    two.run().unwrap();
    let names = ["test-x86_64.tar.zst", "test-arm64.tar.zst", "SHA256SUMS", "manifest.json", "summary.json"];
    for name in names.into_iter().chain(["sbom.cdx.json", "provenance.intoto.json"]) {
        assert!(one.read(&format!("dist/{name}")) == two.read(&format!("dist/{name}")), "{name} differs");
    }
    assert!(one.read("kernels.lock") == two.read("kernels.lock"));
}

#[test]
fn a_new_suite_is_resolved_and_the_others_stay() {
    let world = World::new();
    world.run().unwrap();
    world.offer("bookworm", NEW, 24);
    world.withdraw(OLD);
    world.offer("sid", SID, 32);
    world.write("pipelines/test.yaml", pipeline(&["bookworm", "sid"]).as_bytes());
    let finished = world.run().unwrap();
    assert_eq!(finished.code, Code::Ok);
    assert_eq!(world.lock(), [OLD, ARM, SID]);
    assert!(world.heard("kernels.lock doesn't have the kernels for fake"));
}

#[test]
fn what_is_gone_is_replaced_aloud() {
    let world = World::new();
    world.run().unwrap();
    world.offer("bookworm", NEW, 24);
    world.withdraw(OLD);
    world.forget_store();
    let finished = world.run().unwrap();
    assert_eq!((finished.code, failures(&finished)), (Code::Ok, vec![]));
    assert!(world.heard(&format!("warning: {OLD} is gone (the mirror has no")));
    let old_release = OLD.rsplit('/').next().unwrap();
    assert!(world.heard(&format!("added {NEW}, in place of {old_release}")));
    assert_eq!(world.lock(), [NEW, ARM]);
    assert_eq!(pid_offset(&world, "x86_64", NEW), 24);
}

#[test]
fn what_is_gone_without_successor_costs_only_itself() {
    let world = World::new();
    world.run().unwrap();
    let lock = world.read("kernels.lock");
    world.withdraw(OLD);
    world.forget_store();
    let finished = world.run().unwrap();
    assert_eq!(finished.code, Code::Failed);
    assert!(
        failures(&finished)[0].1.contains("the source has nothing in its place"),
        "{:?}",
        failures(&finished)
    );
    assert_eq!(world.read("kernels.lock"), lock, "what was reviewed isn't forgotten");
    assert_eq!(pid_offset(&world, "arm64", ARM), 16);
    assert!(!world.has("dist/test-x86_64.tar.zst"), "the package of an earlier run is not this run's");
}

#[test]
fn locked_refuses_and_names_the_way_out() {
    let mut world = World::new();
    world.options.locked = true;
    let error = world.run().unwrap_err();
    assert_eq!(error.code(), Code::Lock);
    let text = error.to_string();
    assert!(text.contains("run \"btfpipe lock") && text.contains("test.yaml:4:5"), "{text}");
    assert_eq!(world.asked(), [""; 0]);

    world.options.locked = false;
    world.run().unwrap();
    world.offer("bookworm", NEW, 24);
    world.withdraw(OLD);
    world.forget_store();
    world.options.locked = true;
    let lock = world.read("kernels.lock");
    let finished = world.run().unwrap();
    assert_eq!(finished.code, Code::Lock);
    assert!(failures(&finished)[0].1.contains("--locked forbids another"), "{:?}", failures(&finished));
    assert_eq!(world.read("kernels.lock"), lock);
    assert_eq!(pid_offset(&world, "arm64", ARM), 16);
}

#[test]
fn offline_asks_nobody() {
    let mut world = World::new();
    world.options.offline = true;
    assert!(world.run().unwrap_err().to_string().contains("--offline forbids to ask"));
    world.options.offline = false;
    world.run().unwrap();
    world.asked();
    world.options.offline = true;
    assert_eq!(world.run().unwrap().code, Code::Ok);
    world.forget_store();
    let finished = world.run().unwrap();
    assert_eq!((finished.code, failures(&finished).len()), (Code::Failed, 2));
    assert_eq!(world.asked(), [""; 0]);
}

#[test]
fn other_bytes_than_promised_are_not_read() {
    let world = World::new();
    let file = "linux-image-6.1.0-49-cloud-amd64_1_all.deb".to_owned();
    world.source.packages.lock().unwrap().insert(file, deb(OLD, &kernel_btf(64)));
    let finished = world.run().unwrap();
    assert_eq!(finished.code, Code::Lock);
    assert!(failures(&finished)[0].1.contains("was promised; nothing was read"), "{:?}", failures(&finished));
    assert_eq!(states(&finished)[0].1, [State::Failed, State::Host]);
    // The request has no complete answer, so it isn't locked.
    assert!(!world.has("kernels.lock") || world.lock().is_empty());
}

#[test]
fn a_broken_package_costs_only_its_kernel() {
    let world = World::new();
    world.offer_package("bookworm", NEW, b"no package at all".to_vec());
    world.offer_package("bookworm", SID, deb(SID, b"\x9f\xeb\x01\0 and then nothing"));
    let finished = world.run().unwrap();
    assert_eq!(finished.code, Code::Failed);
    assert_eq!(failures(&finished).len(), 2, "{:?}", failures(&finished));
    assert_eq!(pid_offset(&world, "x86_64", OLD), 8);
}

#[test]
fn a_broken_program_costs_only_itself() {
    let world = World::new();
    world.write("pipelines/programs/b.bpf.c", b"int x;");
    world.write("pipelines/programs/c.bpf.o", b"nothing");
    world.write("pipelines/programs/d.bpf.o", &program(&["flags", "gone"]));
    let finished = world.run().unwrap();
    assert_eq!(finished.code, Code::Failed);
    assert_eq!(finished.summary.failures.len(), 4, "{:?}", finished.summary.failures);
    assert!(world.heard("b.bpf.c for x86_64: no compiler here"));
    let good = ("a.bpf.o".to_owned(), vec![State::Host; 2]);
    assert_eq!(states(&finished), [good, ("d.bpf.o".to_owned(), vec![State::Poisoned; 2])]);
}

#[test]
fn a_bug_is_a_bug_and_not_the_end() {
    let world = World::new();
    world.write("pipelines/programs/b.bpf.c", b"int x;");
    let finished = world
        .run_compiling(&|_: &std::path::Path, _: kernels::Arch| -> Result<Vec<u8>, String> {
            panic!("the compiler's bug")
        })
        .unwrap();
    assert_eq!(finished.code, Code::Bug);
    assert!(failures(&finished)[0].1.contains("please report it: the compiler's bug"));
    assert!(world.has("dist/summary.md"));
}

#[test]
fn stale_packages_go() {
    let world = World::new();
    world.run().unwrap();
    world.withdraw(ARM);
    std::fs::remove_file(world.root.join("kernels.lock")).unwrap();
    world.run().unwrap();
    assert!(world.has("dist/test-x86_64.tar.zst") && !world.has("dist/test-arm64.tar.zst"));
    let sums = String::from_utf8(world.read("dist/SHA256SUMS")).unwrap();
    assert!(!sums.contains("arm64"), "{sums}");
}

#[test]
fn without_machines_there_is_no_verdict() {
    if vmtest::guest(vmtest::Arch::X86_64).is_some() {
        return println!("skipped here: this build has a guest, and would boot");
    }
    let world = World::new();
    let text = format!("{}  - uses: verify\n", pipeline(&["bookworm"]));
    world.write("pipelines/test.yaml", text.as_bytes());
    let finished = world.run().unwrap();
    assert_eq!((finished.code, finished.code.number()), (Code::Environment, 69));
    assert_eq!(states(&finished)[0].1, [State::NoVerdict, State::Host]);
    assert!(world.heard("warning: no kernel will be booted: this btfpipe was built without the guest"));
    assert!(world.has("dist/SHA256SUMS"));
}
