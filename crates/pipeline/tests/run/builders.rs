//! Programs that a plugin makes: when they are made again, and what a failure costs.

use pipeline::outcome::Code;
use pipeline::plan::Runs;

use crate::fixture::{ARM, OLD, World, pipeline, program};
use crate::plugins::{has_python, put};

/// Copies its source, says so, and reads the header of the same name.
const MAIN: &str = r#"
import os, shutil
import btfpipe_plugin as btfpipe

class Made(btfpipe.Step):
    def build(self, job, config):
        source = job.input("source")
        name = os.path.basename(source)
        job.log("makes %s for %s" % (name, job.arch))
        if config.get("refuse") == name:
            raise btfpipe.Failure.tool("no, not %s" % name)
        for path in job.inputs("btf"):
            job.log("with a BTF of %d bytes" % os.path.getsize(path))
        job.reads([source, source + ".h"])
        return [("object", shutil.copy(source, job.outdir))]

btfpipe.serve(Made(), name="made", version="0.1.0")
"#;

const MANIFEST: &str = "api: 1\nname: made\nversion: 0.1.0\nrun: [python3, main.py]\nruntime: ['*.py']\nprovides: [build]\ncache: { pure: true }\n";

fn world(more: &str) -> World {
    let world = World::new();
    put(&world, "made", MANIFEST, MAIN);
    std::fs::create_dir(world.root.join("src")).unwrap();
    for (name, members) in [("one", ["pid"]), ("two", ["flags"])] {
        world.write(&format!("src/{name}.src"), &program(&members));
        world.write(&format!("src/{name}.src.h"), b"1");
    }
    world.write("src/nobody.h", b"1");
    write(&world, more);
    world
}

fn write(world: &World, more: &str) {
    let entry = format!(
        "programs:\n  - uses: made\n    files: [src/*.src]\n    reads: [src/*.h]\n{more}  - pipelines"
    );
    let text = pipeline(&["bookworm"]).replace("programs:\n  - pipelines", &entry);
    world.write("pipelines/test.yaml", text.as_bytes());
}

/// What was made in the run, and how many kernels were minimized.
fn run(world: &World) -> (Vec<String>, usize) {
    world.heard.0.lock().unwrap().clear();
    let finished = world.run().unwrap();
    let mut made: Vec<String> =
        world.heard.0.lock().unwrap().iter().filter(|note| note.contains("made: makes")).cloned().collect();
    made.sort();
    (made, finished.actions.ran("minimize"))
}

#[test]
fn what_is_made_again_after_what_change() {
    if !has_python() {
        return;
    }
    let world = world("");
    let (made, minimized) = run(&world);
    assert_eq!((made.len(), minimized), (4, 2), "{made:?}");
    assert!(world.planned("compile").iter().all(|(runs, _)| *runs == Runs::No));
    assert_eq!(run(&world), (vec![], 0));
    // A header that nobody read, and one that somebody did: the object is the same, and so is all that is made of it.
    world.write("src/nobody.h", b"2");
    assert_eq!(run(&world), (vec![], 0));
    world.write("src/one.src.h", b"2");
    assert!(world.planned("compile").iter().all(|(runs, why)| *runs == Runs::Yes && why.contains("one.src")));
    let one = ["arm64", "x86_64"].map(|arch| format!("made: makes one.src for {arch}"));
    assert_eq!(run(&world), (one.to_vec(), 0));
    world.write("src/two.src", &program(&["flags", "pid"]));
    let two = ["arm64", "x86_64"].map(|arch| format!("made: makes two.src for {arch}"));
    assert_eq!(run(&world), (two.to_vec(), 2));
    // A header that could hide another.
    world.write("src/new.h", b"1");
    assert_eq!(run(&world).0.len(), 4);
    write(&world, "    with: { flags: [x] }\n");
    assert_eq!((run(&world).0.len(), run(&world)), (4, (vec![], 0)));
    // Another plugin, the same objects.
    put(&world, "made", MANIFEST, &MAIN.replace("os, shutil", "shutil, os"));
    let (made, minimized) = run(&world);
    assert_eq!((made.len(), minimized), (4, 0));
}

#[test]
fn one_that_cannot_be_made_costs_no_other() {
    if !has_python() {
        return;
    }
    let world = world("    with: { refuse: one.src }\n");
    let finished = world.run().unwrap();
    assert_eq!((finished.code, finished.actions.ran("minimize")), (Code::Failed, 2));
    let said = pipeline::summary::to_markdown(&finished.summary);
    assert!(said.contains("no, not one.src") && said.contains("two.bpf.o"), "{said}");
    // What failed is tried again, what was made is not.
    assert_eq!(run(&world).0.len(), 2);
}

#[test]
fn what_is_impure_is_made_each_time() {
    if !has_python() {
        return;
    }
    let world = world("");
    put(&world, "made", &MANIFEST.replace("true", "false"), MAIN);
    assert_eq!((run(&world).0.len(), run(&world)), (4, (run(&world).0, 0)));
}

#[test]
fn a_builder_gets_the_btf_of_a_locked_kernel() {
    if !has_python() {
        return;
    }
    let world = world("");
    world.run().unwrap();
    write(&world, "    kernel: debian/12/*/6.1.*\n");
    assert_eq!(run(&world).0.len(), 4);
    assert!(world.heard("made: with a BTF of "));
    assert_eq!(run(&world), (vec![], 0));
    write(&world, "    kernel: debian/*/x86_64\n");
    let finished = world.run().unwrap();
    let said = pipeline::summary::to_markdown(&finished.summary);
    assert!(said.contains("is no kernel for arm64 that the lock has"), "{said}");
    assert!(world.lock().contains(&OLD.to_owned()) && world.lock().contains(&ARM.to_owned()));
}

#[test]
fn an_untrusted_builder_is_refused() {
    if !has_python() {
        return;
    }
    let mut world = world("");
    world.options.locked_plugins = true;
    let refused = world.run().unwrap_err();
    assert_eq!(refused.code(), Code::Lock, "{refused}");
}
