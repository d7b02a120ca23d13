//! What runs again after what change, by count; and the mistakes of other tools with their keys.

use pipeline::file::Environment;
use pipeline::outcome::Code;
use pipeline::run::Finished;

use crate::fixture::{ARM, NEW, OLD, World, pipeline, program};

/// How many actions of the steps ran.
fn ran(finished: &Finished) -> [usize; 2] {
    ["minimize", "package"].map(|step| finished.actions.ran(step))
}

#[test]
fn a_second_run_has_nothing_to_do() {
    let world = World::new();
    assert_eq!(ran(&world.run().unwrap()), [2, 2]);
    let second = world.run().unwrap();
    assert_eq!((ran(&second), second.actions.count("minimize")), ([0, 0], 2));
    assert!(second.said().contains("nothing had to be done"), "{}", second.said());
    assert_eq!(second.summary, world.run().unwrap().summary);
}

#[test]
fn one_more_kernel_costs_one_kernel_and_its_package() {
    let world = World::new();
    world.run().unwrap();
    world.offer("trixie", NEW, 24);
    let text = format!("{}  - uses: fake\n    with: {{ suites: [trixie] }}\n", "");
    let file = pipeline(&["bookworm"]).replace("programs:", &format!("{text}programs:"));
    world.write("pipelines/test.yaml", file.as_bytes());
    assert_eq!(ran(&world.run().unwrap()), [1, 1]);
    assert_eq!(ran(&world.run().unwrap()), [0, 0]);
}

#[test]
fn one_changed_program_costs_what_depends_on_it() {
    let world = World::new();
    let sets = "programs:\n  one: [pipelines/programs/a.bpf.o]\n  two: [pipelines/programs/b.bpf.o]\nmatrix: { programs: [one, two] }\n";
    let file = pipeline(&["bookworm"]);
    let file = file.replace("programs:\n  - pipelines/programs/*.bpf.*\n", sets);
    world.write("pipelines/programs/b.bpf.o", &program(&["flags"]));
    world.write("pipelines/test.yaml", file.as_bytes());
    assert_eq!(ran(&world.run().unwrap()), [4, 4]);
    world.write("pipelines/programs/b.bpf.o", &program(&["flags", "pid"]));
    let changed = world.run().unwrap();
    assert_eq!(ran(&changed), [2, 2]);
    let again: Vec<&str> = changed
        .actions
        .actions
        .iter()
        .filter(|action| action.step == "minimize" && action.end != pipeline::work::ledger::End::Kept)
        .map(|action| action.subject.as_str())
        .collect();
    assert_eq!(again, [format!("{ARM} for test-two"), format!("{OLD} for test-two")]);
    // Back to what was there before: the store still has it, only the packages are written again.
    world.write("pipelines/programs/b.bpf.o", &program(&["flags"]));
    assert_eq!(ran(&world.run().unwrap()), [0, 2]);
}

/// Nextflow's #6884: an attempt's number in the hash loses every hit after a retry.
#[test]
fn attempts_are_not_in_the_key() {
    let mut world = World::new();
    world.options.jobs = 1;
    *world.source.troubles.lock().unwrap() = 2;
    let finished = world.run().unwrap();
    assert_eq!((finished.code, ran(&finished)), (Code::Ok, [2, 2]));
    assert!(world.heard("trying again in 0 s (2 of 2)"));
    assert_eq!(ran(&world.run().unwrap()), [0, 0]);
    let plain = World::new();
    plain.run().unwrap();
    assert!(plain.read("dist/manifest.json") == world.read("dist/manifest.json"));
}

#[test]
fn what_does_not_pass_is_a_failure_that_says_so() {
    let mut world = World::new();
    world.options.jobs = 1;
    *world.source.troubles.lock().unwrap() = 3;
    let finished = world.run().unwrap();
    assert_eq!((finished.code, finished.code.number()), (Code::Transient, 75));
    // Failures are not remembered: the next run does what is left, and only that.
    let next = world.run().unwrap();
    assert_eq!((next.code, ran(&next)), (Code::Ok, [1, 1]));
}

/// Bazel's #2853: USER and PATH in the key. A folder, a job count and another lock's place are as little.
#[test]
fn places_and_threads_are_not_in_the_key() {
    let (one, mut two) = (World::new(), World::new());
    one.run().unwrap();
    two.options.store = one.options.store.clone();
    two.options.jobs = 1;
    let finished = two.run().unwrap();
    // The packages are not in the other folder yet; all that they are made of is there.
    assert_eq!(ran(&finished), [0, 2]);
    let text = format!("{:?}", finished.actions);
    for word in [two.root.to_str().unwrap(), one.root.to_str().unwrap(), "jobs", "PATH", "USER"] {
        assert!(!text.contains(word), "{word} is in a key");
    }
}

/// Task's #548 and #455: variables and the definition itself were not in the checksum.
#[test]
fn the_definition_and_its_variables_are_in_the_key() {
    let mut world = World::new();
    let file = pipeline(&["bookworm"]).replace("kernels:", "env: [LEVEL]\ninputs:\n  level: 3\nkernels:");
    let file = file.replace("level: 3 }", "level: \"${input.level}\" }");
    world.write("pipelines/test.yaml", file.as_bytes());
    world.run().unwrap();
    world.options.given.set = vec!["level=4".to_owned()];
    assert_eq!(ran(&world.run().unwrap()), [0, 2]);
    assert_eq!(ran(&world.run().unwrap()), [0, 0]);
    let file = file.replace("name: test", "name: other");
    world.write("pipelines/test.yaml", file.as_bytes());
    assert_eq!(ran(&world.run().unwrap()), [0, 2]);
    // A variable that no line names has no say, whatever it is.
    let variables = [("LEVEL".to_owned(), "5".to_owned()), ("SECRET".to_owned(), "x".to_owned())];
    world.options.given.environment = Environment::Of(variables.into());
    assert_eq!(ran(&world.run().unwrap()), [0, 0]);
}

/// Task's #1816 and mkosi's #4273: "up to date", and the output is gone or another.
#[test]
fn outputs_are_looked_at() {
    let world = World::new();
    world.run().unwrap();
    let package = world.read("dist/test-x86_64.tar.zst");
    let restored = |what: &str, wanted: [usize; 2]| {
        let finished = world.run().unwrap();
        assert_eq!((finished.code, ran(&finished)), (Code::Ok, wanted), "{what}");
        assert!(world.read("dist/test-x86_64.tar.zst") == package, "{what}");
        assert!(world.has("dist/SHA256SUMS") && world.has("dist/manifest.json"), "{what}");
    };
    std::fs::remove_file(world.root.join("dist/test-x86_64.tar.zst")).unwrap();
    restored("a package is gone", [0, 1]);
    let mut broken = package.clone();
    broken[30] ^= 1;
    world.write("dist/test-x86_64.tar.zst", &broken);
    restored("a package has another byte", [0, 1]);
    std::fs::remove_file(world.root.join("dist/SHA256SUMS")).unwrap();
    restored("the sums are gone", [0, 0]);
    std::fs::remove_dir_all(world.root.join("dist")).unwrap();
    std::fs::remove_dir_all(world.root.join("store/blobs")).unwrap();
    restored("the results are gone", [2, 2]);
    // Damaged where it lies, with its size as it was: found when it is read.
    damage(&world.root.join("store/blobs"));
    std::fs::remove_dir_all(world.root.join("dist")).unwrap();
    let finished = world.run().unwrap();
    assert_eq!(finished.code, Code::Ok);
    assert!(world.read("dist/test-x86_64.tar.zst") == package);
}

/// Another last byte in every blob.
fn damage(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match std::fs::read(&path) {
            Ok(mut bytes) => {
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
                std::fs::write(&path, bytes).unwrap();
            }
            Err(_) => damage(&path),
        }
    }
}

#[test]
fn rerun_makes_everything_again_with_the_same_bytes() {
    let mut world = World::new();
    world.run().unwrap();
    let sums = world.read("dist/SHA256SUMS");
    world.options.rerun = true;
    assert_eq!(ran(&world.run().unwrap()), [2, 2]);
    assert!(world.read("dist/SHA256SUMS") == sums);
}

#[test]
fn the_same_source_is_compiled_once() {
    let world = World::new();
    std::fs::remove_file(world.root.join("pipelines/programs/a.bpf.o")).unwrap();
    world.write("pipelines/programs/a.bpf.c", b"v1");
    let compiled = std::sync::Mutex::new(0);
    let compile = |_: &std::path::Path, _: kernels::Arch| {
        *compiled.lock().unwrap() += 1;
        Ok(program(&["pid"]))
    };
    world.run_compiling(&compile).unwrap();
    assert_eq!(*compiled.lock().unwrap(), 2, "once an architecture");
    assert_eq!(ran(&world.run_compiling(&compile).unwrap()), [0, 0]);
    assert_eq!(*compiled.lock().unwrap(), 2);
    // A comment: compiled again, and the object is the same, so nothing else happens.
    world.write("pipelines/programs/a.bpf.c", b"v2");
    assert_eq!(ran(&world.run_compiling(&compile).unwrap()), [0, 0]);
    assert_eq!(*compiled.lock().unwrap(), 4);
}
