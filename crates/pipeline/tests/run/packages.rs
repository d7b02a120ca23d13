//! Several packages in one file, and parts of a run.

use bundle::Bundle;
use pipeline::outcome::Code;

use crate::fixture::{ARM, NEW, OLD, World, pipeline, program};

fn world() -> World {
    let world = World::new();
    world.write("pipelines/programs/b.bpf.o", &program(&["flags"]));
    world
}

fn declare(world: &World, packages: &str) {
    let sets = "programs:\n  one: [pipelines/programs/a.bpf.o]\n  two: [pipelines/programs/b.bpf.o]\n";
    let file = pipeline(&["bookworm"])
        .replace("programs:\n  - pipelines/programs/*.bpf.*\n", &format!("{sets}{packages}"));
    world.write("pipelines/test.yaml", file.as_bytes());
}

/// Programs and kernels of a package.
fn inside(world: &World, file: &str) -> (Vec<String>, Vec<String>) {
    let bundle = Bundle::open(&world.read(&format!("dist/{file}"))).unwrap();
    let index = bundle.index();
    let programs = index.programs.iter().map(|program| program.name.clone()).collect();
    (programs, index.kernels.iter().map(|kernel| kernel.entry.key().to_string()).collect())
}

#[test]
fn each_package_has_its_programs_and_kernels() {
    let world = world();
    world.offer("bookworm", NEW, 24);
    declare(
        &world,
        "packages:\n  - { name: all }\n  - { name: first, programs: [one], arch: [x86_64] }\n  - { name: old, programs: [two], kernels: [\"*/*/*/*-49-*\"] }\n",
    );
    let finished = world.run().unwrap();
    assert_eq!(finished.code, Code::Ok);
    let files: Vec<&str> = finished.summary.packages.iter().map(|package| package.file.as_str()).collect();
    assert_eq!(
        files,
        ["all-x86_64.tar.zst", "all-arm64.tar.zst", "first-x86_64.tar.zst", "old-x86_64.tar.zst"]
    );
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(inside(&world, "all-arm64.tar.zst"), (names(&["a.bpf.o", "b.bpf.o"]), names(&[ARM])));
    assert_eq!(inside(&world, "first-x86_64.tar.zst"), (names(&["a.bpf.o"]), names(&[OLD, NEW])));
    assert_eq!(inside(&world, "old-x86_64.tar.zst"), (names(&["b.bpf.o"]), names(&[OLD])));
    let sums = String::from_utf8(world.read("dist/SHA256SUMS")).unwrap();
    // Four packages, the manifest, what they were made of.
    assert_eq!(sums.lines().count(), 7, "{sums}");
    // A package holds what its own programs use, and nothing of the others'.
    let sizes = ["all-x86_64", "old-x86_64"].map(|name| {
        let bundle = Bundle::open(&world.read(&format!("dist/{name}.tar.zst"))).unwrap();
        bundle.btf(&OLD.parse().unwrap()).unwrap().len()
    });
    assert!(sizes[1] < sizes[0], "{sizes:?}");
}

#[test]
fn a_package_for_no_kernel_is_a_slip() {
    let world = world();
    declare(&world, "packages:\n  - { name: all, kernels: [debain/*] }\n");
    let error = world.run().unwrap_err();
    assert_eq!(error.code(), Code::Usage);
    let text = error.to_string();
    assert!(
        text.contains("none has the distribution `debain`") && text.contains("did you mean `debian`?"),
        "{text}"
    );
}

#[test]
fn a_selection_is_no_release() {
    let mut world = world();
    world.run().unwrap();
    let sums = world.read("dist/SHA256SUMS");
    world.options.select = vec!["debian/*/arm64".to_owned()];
    let finished = world.run().unwrap();
    assert_eq!(finished.summary.kernels.len(), 1);
    assert!(finished.dist.ends_with("dist/selected"));
    assert!(world.has("dist/selected/test-arm64.tar.zst") && !world.has("dist/selected/test-x86_64.tar.zst"));
    assert!(world.read("dist/SHA256SUMS") == sums);
    assert_eq!(world.lock(), [OLD, ARM]);
    world.options.select = vec!["debian/11".to_owned()];
    let error = world.run().unwrap_err();
    assert_eq!(error.code(), Code::Usage);
    assert!(
        error.to_string().starts_with(
            "--select debian/11: `debian/11` selects no kernel: none of debian has the version `11`"
        ),
        "{error}"
    );
}

#[test]
fn a_step_is_the_last_one() {
    let mut world = world();
    world.options.until = Some("minimize".to_owned());
    let finished = world.run().unwrap();
    assert_eq!((finished.actions.ran("minimize"), finished.actions.count("package")), (2, 0));
    assert!(!world.has("dist/SHA256SUMS"));
    world.options.until = None;
    let finished = world.run().unwrap();
    assert_eq!((finished.actions.ran("minimize"), finished.actions.ran("package")), (0, 2));
}

#[test]
fn fail_fast_begins_nothing_more() {
    let mut world = world();
    world.offer_package("bookworm", "debian/11/x86_64/5.10", b"no package at all".to_vec());
    world.options.jobs = 1;
    world.options.fail_fast = true;
    let finished = world.run().unwrap();
    assert_eq!((finished.code, finished.summary.kernels.len()), (Code::Failed, 1));
    assert!(
        finished.summary.failures[0].starts_with("2 kernels were not begun"),
        "{:?}",
        finished.summary.failures
    );
    assert!(!world.has("dist/SHA256SUMS"));
    world.options.fail_fast = false;
    let finished = world.run().unwrap();
    assert_eq!((finished.code, finished.summary.kernels.len()), (Code::Failed, 3));
    assert!(world.has("dist/SHA256SUMS"));
}
