//! What a plan says, and that neither plan nor check leaves a trace.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pipeline::plan::Runs;
use pipeline::project::Project;

use crate::fixture::{NEW, World, pipeline, program};

/// Every file and folder: what it is, its time of change, its bytes.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (i64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let seen = std::fs::metadata(&path).unwrap();
            let bytes = if seen.is_dir() { Vec::new() } else { std::fs::read(&path).unwrap() };
            if seen.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path, (seen.mtime(), seen.mtime_nsec(), bytes));
        }
    }
    found
}

fn look(world: &World) {
    world.plan();
    world.plan().to_json();
    Project::load(&world.options).unwrap().validate(&world.source).unwrap();
}

/// Task's #166 and #1305: a dry run wrote the checksum, and the real run was skipped.
#[test]
fn plan_and_check_leave_no_trace() {
    let world = World::new();
    let before = tree(&world.root);
    look(&world);
    assert!(tree(&world.root) == before, "before the first run");
    assert_eq!(world.run().unwrap().actions.ran("minimize"), 2);
    let after = tree(&world.root);
    look(&world);
    assert!(tree(&world.root) == after, "after a run");
    // With all sorts of damage, which a run would clear away.
    world.write("pipelines/programs/a.bpf.o", &program(&["flags"]));
    std::fs::write(world.root.join("store/tmp/left"), "half").unwrap();
    std::fs::remove_file(world.root.join("dist/test-arm64.tar.zst")).unwrap();
    let damaged = tree(&world.root);
    look(&world);
    assert!(tree(&world.root) == damaged, "with changes and damage");
    assert_eq!(world.run().unwrap().actions.ran("minimize"), 2);
}

#[test]
fn a_plan_says_what_runs_and_why() {
    let world = World::new();
    let first = world.plan();
    assert_eq!(first.actions.len(), 1, "{first}");
    assert!(first.to_string().contains("has no answer to it"), "{first}");
    world.run().unwrap();
    assert_eq!(world.plan().running(), 0, "{}", world.plan());
    assert_eq!(
        world.planned("fetch")[0],
        (Runs::No, "nobody needs it: what is made of it is there".to_owned())
    );

    world.write("pipelines/programs/a.bpf.o", &program(&["flags"]));
    world.write("pipelines/programs/b.bpf.o", &program(&["pid"]));
    let reason = "program a.bpf.o changed, program b.bpf.o is new".to_owned();
    assert_eq!(world.planned("minimize"), [(Runs::Yes, reason.clone()), (Runs::Yes, reason)]);
    assert_eq!(world.planned("package")[0], (Runs::Yes, "1 of 1 kernels are minimized first".to_owned()));
    world.run().unwrap();

    std::fs::remove_file(world.root.join("dist/test-arm64.tar.zst")).unwrap();
    world.write("dist/test-x86_64.tar.zst", b"other");
    let packages = world.planned("package");
    assert!(packages.contains(&(Runs::Yes, "the file is gone".to_owned())), "{packages:?}");
    assert!(
        packages.contains(&(Runs::Yes, "the file is there, with other bytes".to_owned())),
        "{packages:?}"
    );
    world.run().unwrap();

    let file = pipeline(&["bookworm"]).replace("level: 3", "level: 4");
    world.write("pipelines/test.yaml", file.as_bytes());
    assert_eq!(world.planned("package")[0], (Runs::Yes, "level changed".to_owned()));
    world.run().unwrap();
    assert_eq!(world.plan().running(), 0, "{}", world.plan());
}

#[test]
fn a_plan_does_what_it_says() {
    let world = World::new();
    world.run().unwrap();
    world.write("pipelines/programs/b.bpf.o", &program(&["pid"]));
    std::fs::remove_file(world.root.join("dist/test-arm64.tar.zst")).unwrap();
    world.withdraw(NEW);
    let plan = world.plan();
    let finished = world.run().unwrap();
    for step in ["minimize", "package"] {
        let planned =
            plan.actions.iter().filter(|action| action.phase.name() == step && action.runs == Runs::Yes);
        assert_eq!(planned.count(), finished.actions.ran(step), "{step}\n{plan}");
    }
}

#[test]
fn a_source_that_must_be_compiled_leaves_the_rest_open() {
    let world = World::new();
    world.write("pipelines/programs/b.bpf.c", b"v1");
    let compile = |_: &Path, _: kernels::Arch| Ok(program(&["pid"]));
    world.run_compiling(&compile).unwrap();
    assert_eq!(world.plan().running(), 0, "{}", world.plan());
    world.write("pipelines/programs/b.bpf.c", b"v2");
    assert_eq!(world.planned("compile")[0].0, Runs::Yes);
    assert_eq!(world.planned("minimize")[0].0, Runs::Perhaps);
    assert_eq!(world.planned("package")[0].0, Runs::Perhaps);
}

#[test]
fn machines_and_graphs() {
    let world = World::new();
    world.run().unwrap();
    let plan = world.plan();
    let value: serde_json::Value = serde_json::from_str(&plan.to_json()).unwrap();
    let actions = value["actions"].as_array().unwrap();
    assert_eq!(actions.len(), plan.actions.len());
    for action in actions {
        let id = action["id"].as_u64().unwrap();
        assert!(
            action["needs"].as_array().unwrap().iter().all(|needed| needed.as_u64().unwrap() < id),
            "{action}"
        );
    }
    let dot = plan.to_dot();
    assert_eq!(dot.matches("label=").count(), actions.len());
    assert!(dot.starts_with("digraph plan {") && dot.ends_with("}\n"), "{dot}");
}
