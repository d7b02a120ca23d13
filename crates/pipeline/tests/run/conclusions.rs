//! What plugins do with a release, by those that are shipped: made again when it changed, and not when something failed.

use pipeline::outcome::Code;
use pipeline::plan::Runs;
use pipeline::run::Finished;
use pipeline::work::ledger::End;

use crate::fixture::{World, pipeline, program};
use crate::plugins::{has_programs, has_python, put, ship};

fn write(world: &World, steps: &str) {
    world.write("pipelines/test.yaml", format!("{}{steps}", pipeline(&["bookworm"])).as_bytes());
}

/// What became of the steps of plugins.
fn ends(finished: &Finished) -> Vec<(&str, End)> {
    let ours = ["check", "publish"];
    let actions = finished.actions.actions.iter().filter(|action| ours.contains(&action.step.as_str()));
    actions.map(|action| (action.subject.as_str(), action.end)).collect()
}

#[test]
fn a_table_of_offsets() {
    if !has_python() {
        return;
    }
    let world = World::new();
    ship(&world, "offsets");
    write(&world, "  - uses: offsets\n    with: { members: [struct task.*] }\n");
    let finished = world.run().unwrap();
    assert_eq!((finished.code, ends(&finished)), (Code::Ok, vec![("offsets", End::Done)]));
    let csv = String::from_utf8(world.read("dist/offsets/test-x86_64-offsets.csv")).unwrap();
    assert_eq!(csv, "kernel,struct task.pid\ndebian/12/x86_64/6.1.0-49-cloud-amd64,8\n");
    assert!(world.has("dist/offsets/test-arm64-offsets.html"));
    assert!(world.planned("check").iter().all(|(runs, _)| *runs == Runs::No));
    assert_eq!(ends(&world.run().unwrap()), [("offsets", End::Kept)]);
    // Another release, another table; one that is gone is made again.
    world.write("pipelines/programs/a.bpf.o", &program(&["pid", "flags"]));
    assert_eq!(ends(&world.run().unwrap()), [("offsets", End::Done)]);
    std::fs::remove_file(world.root.join("dist/offsets/test-arm64-offsets.html")).unwrap();
    assert!(
        world.planned("check").iter().all(|(runs, why)| *runs == Runs::Yes && why == "its result is gone")
    );
    assert_eq!(ends(&world.run().unwrap()), [("offsets", End::Done)]);
    // What an earlier run left there and this one doesn't.
    write(&world, "  - uses: offsets\n    with: { formats: [csv] }\n");
    world.run().unwrap();
    assert!(!world.has("dist/offsets/test-arm64-offsets.html"));
    write(&world, "  - uses: offsets\n    with: { members: [struct nobody.*] }\n");
    let failed = world.run().unwrap();
    assert_eq!(failed.code, Code::Usage);
    assert!(pipeline::summary::to_markdown(&failed.summary).contains("reads any of the members"));
}

#[test]
fn a_signature_is_of_this_release() {
    if !has_python() || !has_programs(&["minisign"]) {
        return;
    }
    let world = World::new();
    ship(&world, "minisign");
    ship(&world, "budget");
    let key = world.root.join("plugins/minisign/tests/test.key").display().to_string();
    let public = world.root.join("plugins/minisign/tests/test.pub").display().to_string();
    let sign = |bytes: u32| {
        format!(
            "  - uses: budget\n    with: {{ bytes: {bytes} }}\n  - uses: minisign\n    with: {{ secret_key: {key}, public_key: \
             {public}, files: [SHA256SUMS, '*.tar.zst'] }}\n  - uses: minisign\n    as: verify\n    with: {{ public_key: {public} }}\n"
        )
    };
    write(&world, &sign(1_000_000));
    let finished = world.run().unwrap();
    let done = [("budget", End::Done), ("minisign-2", End::Done), ("minisign", End::Done)];
    assert_eq!((finished.code, ends(&finished)), (Code::Ok, done.to_vec()));
    let signature = String::from_utf8(world.read("dist/SHA256SUMS.minisig")).unwrap();
    let text = String::from_utf8(std::fs::read(&public).unwrap()).unwrap();
    let key = bundle::SigningKey::parse(&text).unwrap();
    assert_eq!(key.check(&world.read("dist/SHA256SUMS"), &signature).unwrap(), "file:SHA256SUMS");
    assert!(world.has("dist/test-x86_64.tar.zst.minisig"));
    let kept = done.map(|(step, _)| (step, End::Kept));
    assert_eq!(ends(&world.run().unwrap()), kept);
    assert!(
        world.planned("publish").iter().chain(&world.planned("check")).all(|(runs, _)| *runs == Runs::No)
    );
    // Another plugin: exactly its steps run again.
    let main = String::from_utf8(world.read("plugins/budget/main.sh")).unwrap();
    world.write("plugins/budget/main.sh", format!("{main}\n# And a comment.\n").as_bytes());
    assert_eq!(
        ends(&world.run().unwrap()),
        [("budget", End::Done), ("minisign-2", End::Kept), ("minisign", End::Kept)]
    );
    // A release that nobody may have is not signed, and the signatures of the one before are gone.
    write(&world, &sign(10));
    world.write("pipelines/programs/a.bpf.o", &program(&["pid", "flags"]));
    let failed = world.run().unwrap();
    assert_eq!(failed.code, Code::Failed);
    assert!(!world.has("dist/SHA256SUMS.minisig") && !world.has("dist/test-x86_64.tar.zst.minisig"));
    let said = pipeline::summary::to_markdown(&failed.summary);
    assert!(said.contains(".tar.zst has 922 bytes; 10 are the budget"), "{said}");
    write(&world, &sign(1_000_000));
    assert_eq!(world.run().unwrap().code, Code::Ok);
    assert!(world.has("dist/SHA256SUMS.minisig"));
}

#[test]
fn a_part_is_not_published() {
    if !has_python() || !has_programs(&["minisign"]) {
        return;
    }
    let mut world = World::new();
    ship(&world, "minisign");
    let key = world.root.join("plugins/minisign/tests/test.key").display().to_string();
    write(&world, &format!("  - uses: minisign\n    with: {{ secret_key: {key} }}\n"));
    world.options.select = vec!["*/*/arm64".to_owned()];
    let finished = world.run().unwrap();
    assert_eq!((finished.code, ends(&finished)), (Code::Ok, vec![]));
    assert!(!world.has("dist/selected/SHA256SUMS.minisig") && world.has("dist/selected/SHA256SUMS"));
}

#[test]
fn what_a_publisher_may_not_leave() {
    if !has_python() {
        return;
    }
    let world = World::new();
    let main = "import os\nimport btfpipe_plugin as btfpipe\nclass Mine(btfpipe.Step):\n    def publish(self, job, config):\n        path = os.path.join(job.outdir, config['name'])\n        open(path, 'w').close()\n        return [path]\nbtfpipe.serve(Mine(), name='mine', version='0.1.0')\n";
    put(
        &world,
        "mine",
        "api: 1\nname: mine\nversion: 0.1.0\nrun: [python3, main.py]\nprovides: [publish]\n",
        main,
    );
    for (name, code) in
        [("manifest.json.sig", Code::Ok), ("manifest.json", Code::Failed), ("mine.txt", Code::Failed)]
    {
        write(&world, &format!("  - uses: mine\n    with: {{ name: {name} }}\n"));
        let finished = world.run().unwrap();
        assert_eq!(finished.code, code, "{name}");
        assert!(!world.has("dist/mine.txt") && !world.read("dist/manifest.json").is_empty(), "{name}");
        assert_eq!(world.has("dist/manifest.json.sig"), code == Code::Ok, "{name}");
    }
}
