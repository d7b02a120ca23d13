//! BTF that a plugin minimizes in place of us: proven, kept, and beside ours in one pipeline.

use pipeline::outcome::Code;
use pipeline::plan::Runs;

use crate::fixture::{World, kernel_btf, pipeline, program};
use crate::plugins::{has_programs, has_python, put, ship};

fn write(world: &World, step: &str) {
    let text = pipeline(&["bookworm"]).replace("  - uses: package", &format!("{step}  - uses: package"));
    let text = text.replace("steps:", "packages:\n  - name: ours\n  - name: theirs\nsteps:");
    world.write("pipelines/test.yaml", text.as_bytes());
}

#[test]
fn both_minimizers_in_one_pipeline() {
    if !has_python() || !has_programs(&["bpftool"]) {
        return;
    }
    let world = World::new();
    ship(&world, "bpftool");
    write(&world, "  - uses: bpftool\n    packages: [theirs]\n");
    let finished = world.run().unwrap();
    let ran = |step| (finished.actions.count(step), finished.actions.ran(step));
    assert_eq!((finished.code, ran("transform"), ran("package")), (Code::Ok, (2, 2), (4, 4)));
    let open =
        |name: &str| bundle::Bundle::open(&world.read(&format!("dist/{name}-x86_64.tar.zst"))).unwrap();
    let (ours, theirs) = (open("ours"), open("theirs"));
    // Where bpftool is right, the bytes are equal: so are the records.
    assert_eq!(ours.btf_of(&ours.index().kernels[0]), theirs.btf_of(&theirs.index().kernels[0]));
    assert!(world.planned("transform").iter().all(|(runs, _)| *runs == Runs::No));
    let second = world.run().unwrap();
    assert_eq!((second.actions.ran("transform"), second.actions.ran("package")), (0, 0));
    world.write("pipelines/programs/a.bpf.o", &program(&["flags"]));
    assert!(world.planned("transform").iter().all(|(runs, _)| *runs != Runs::No));
    let third = world.run().unwrap();
    assert_eq!((third.actions.ran("minimize"), third.actions.ran("transform")), (2, 2));
}

const MAIN: &str = r#"
import os, shutil, struct
import btfpipe_plugin as btfpipe

class Mine(btfpipe.Step):
    def transform(self, job, config):
        path = os.path.join(job.outdir, "btf")
        if config.get("empty"):
            with open(path, "wb") as file:
                file.write(struct.pack("<HBBIIIII", 0xeB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0")
        else:
            shutil.copy(job.input("btf"), path)
        return [("btf", path)]

btfpipe.serve(Mine(), name="mine", version="0.1.0")
"#;

#[test]
fn what_decides_otherwise_is_refused() {
    if !has_python() {
        return;
    }
    let world = World::new();
    let manifest = "api: 1\nname: mine\nversion: 0.1.0\nrun: [python3, main.py]\nruntime: [main.py]\nprovides: [transform]\ncache: { pure: true }\n";
    put(&world, "mine", manifest, MAIN);
    write(&world, "  - uses: mine\n    packages: [theirs]\n");
    // All of the kernel's BTF decides as the minimized.
    assert_eq!(world.run().unwrap().code, Code::Ok);
    let bundle = bundle::Bundle::open(&world.read("dist/theirs-x86_64.tar.zst")).unwrap();
    assert_eq!(bundle.btf_of(&bundle.index().kernels[0]), Some(kernel_btf(8).as_slice()));
    write(&world, "  - uses: mine\n    packages: [theirs]\n    with: { empty: true }\n");
    let finished = world.run().unwrap();
    assert_eq!(finished.code, Code::Failed);
    let said = pipeline::summary::to_markdown(&finished.summary);
    assert!(said.contains("mine: its BTF decides otherwise") && said.contains("outcome is"), "{said}");
}
