//! What is written, judged by others: JUnit by xmllint, events and pipelines by Python's jsonschema. Skipped, aloud, where
//! these are not installed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pipeline::events::chronicle::Chronicle;
use pipeline::events::{Events, Phase};
use pipeline::outcome::Code;
use pipeline::summary::{Cell, Checked, KernelColumn, PackageLine, Row, State, Summary, to_junit};

fn schema(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schema").join(name)
}

/// Whether a judge is there; a machine that must have it fails.
fn is_here(package: &str, command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let here = status.is_ok_and(|status| status.success());
    assert!(
        here || std::env::var_os("BTFPIPE_NO_SKIPS").is_none(),
        "the Debian package {package} is not installed"
    );
    if !here {
        eprintln!("skipped: the Debian package {package} is not installed");
    }
    here
}

/// Every state once on the first kernel, with reasons that no markup survives.
fn summary() -> Summary {
    let kernel = |id: &str, failure: Option<&str>| KernelColumn {
        id: id.into(),
        checked: Checked::Booted("libbpf \"1.7\" & tcg".into()),
        failure: failure.map(str::to_owned),
        bytes: Some((4_000_000, 2_000)),
    };
    let reason = "a < b & \"c\"\n]]> \u{1}\u{1b}[31m";
    let row = |state: State| Row {
        object: "a.bpf.o".into(),
        program: state.code().into(),
        cells: vec![Cell::because(state, reason), Cell::of(State::Absent)],
    };
    Summary {
        name: "release".into(),
        kernels: vec![kernel("debian/12/x86_64/6.1", None), kernel("debian/13/x86_64/6.12", Some(reason))],
        rows: State::ALL.into_iter().map(row).collect(),
        packages: vec![PackageLine { file: "a".into(), bytes: 1, sha256: "0".into(), kernels: 1, blobs: 1 }],
        failures: vec!["b.bpf.c for arm64: <no>".into()],
    }
}

#[test]
fn junit_fits_its_schema() {
    if !is_here("libxml2-utils", Command::new("xmllint").arg("--version")) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("junit.xml");
    let judge = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("xmllint");
        command.args(["--noout", "--nonet", "--schema"]).arg(schema("junit.xsd")).arg(&file);
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let times = BTreeMap::from([("debian/12/x86_64/6.1".to_owned(), 12.5)]);
    for summary in [summary(), Summary { name: "nothing".into(), ..Summary::default() }] {
        let (good, said) = judge(&to_junit(&summary, &times));
        assert!(good, "{said}");
    }
    let text = to_junit(&summary(), &times);
    assert!(!judge(&text.replacen(" failures=", " faults=", 1)).0, "the judge takes anything");
}

/// Judges documents by a schema; the answer has a line for each that doesn't fit.
fn judged(schema: &Path, documents: &str) -> Option<String> {
    const JUDGE: &str = "
import json, sys
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
judge = Draft202012Validator(schema)
for number, line in enumerate(open(sys.argv[2]), 1):
    for error in judge.iter_errors(json.loads(line)):
        print(number, error.message)
";
    if !is_here("python3-jsonschema", Command::new("/usr/bin/python3").args(["-c", "import jsonschema"])) {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("documents");
    std::fs::write(&file, documents).unwrap();
    let output =
        Command::new("/usr/bin/python3").args(["-c", JUDGE]).arg(schema).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn events_fit_their_schema() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    let chronicle = Chronicle::create(&file, Path::new("pipelines/release.yaml")).unwrap();
    let events = Events::new(&chronicle);
    events.plan(8);
    for phase in
        [Phase::Resolve, Phase::Fetch, Phase::Extract, Phase::Compile, Phase::Minimize, Phase::Package]
    {
        let task = events.begin(phase, "debian/12/x86_64/6.1");
        task.moved(1, Some(2), "half");
        task.moved(2, None, "");
        task.done("1 MB");
        events.kept(phase, "debian/13/x86_64/6.12", "in the store");
    }
    events.begin(Phase::Verify, "debian/12/x86_64/6.1").failed("no");
    events.begin(Phase::Verify, "debian/12/x86_64/6.1").kept("why not");
    events.info("good");
    events.warn("bad");
    chronicle.end(Some(&summary()), Code::Interrupted, "INTERRUPTED").unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    if let Some(said) = judged(&schema("event.json"), &text) {
        assert_eq!(said, "");
        let broken = text.replacen("\"end\":\"failed\"", "\"end\":\"lost\"", 1);
        assert_ne!(judged(&schema("event.json"), &broken).unwrap(), "", "the judge takes anything");
    }
}

#[test]
fn shipped_pipelines_fit_their_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
    let files = [
        ("pipeline.json", vec![root.join("release.yaml"), root.join("nightly.yaml")]),
        (
            "fragment.json",
            vec![root.join("fragments/debian-cloud.yaml"), root.join("fragments/proven-packages.yaml")],
        ),
    ];
    for (name, files) in files {
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let mut problems = pipeline::yaml::problem::Problems::default();
            let node = pipeline::yaml::parse(&text, 0, &mut problems).unwrap();
            if let Some(said) = judged(&schema(name), &format!("{}\n", node.to_json())) {
                assert_eq!(said, "", "{}", file.display());
            }
        }
    }
}
