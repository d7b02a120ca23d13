//! The plugin as a process against the machine's real mirror, when BTFPIPE_REAL=1.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

struct Plugin {
    folder: tempfile::TempDir,
}

impl Plugin {
    fn new() -> Self {
        Plugin { folder: tempfile::tempdir().unwrap() }
    }

    /// All messages of one `run`; the result is the last.
    fn run(&self, step: &str, config: Value) -> Vec<Value> {
        let path = |name: &str| self.folder.path().join(name);
        let _ = fs::remove_dir_all(path("out"));
        for name in ["work", "out", "tmp", "cache"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        let run = json!({"type": "run", "id": 1, "step": step, "config": config, "workdir": path("work"),
                         "outdir": path("out"), "tmpdir": path("tmp"), "cachedir": path("cache")});
        let mut plugin = Command::new(env!("CARGO_BIN_EXE_btfpipe-plugin-debian"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(plugin.stdin.take().unwrap(), "{run}").unwrap();
        let output = plugin.wait_with_output().unwrap();
        let lines = output.stdout.lines().map_while(Result::ok);
        let messages: Vec<Value> = lines.map(|line| serde_json::from_str(&line).unwrap()).collect();
        assert_eq!(messages.last().unwrap()["type"], "result");
        messages
    }

    fn resolve(&self, suites: &[&str], flavours: &[&str]) -> Vec<Value> {
        let messages = self.run("resolve", json!({"suites": suites, "flavours": flavours}));
        let result = messages.last().unwrap();
        assert_eq!(result["status"], "ok", "{result}");
        result["kernels"].as_array().unwrap().clone()
    }

    /// Checks that the output folder holds the kernel's packages and nothing else.
    fn fetch(&self, kernel: &Value) {
        let messages = self.run("fetch", json!({"kernel": kernel}));
        let result = messages.last().unwrap();
        assert_eq!(result["status"], "ok", "{result}");
        let sizes: BTreeMap<PathBuf, u64> = files(&self.folder.path().join("out"));
        let outputs = result["outputs"].as_array().unwrap();
        let packages = kernel["packages"].as_array().unwrap();
        assert_eq!((sizes.len(), outputs.len()), (packages.len(), packages.len()));
        for (package, output) in packages.iter().zip(outputs) {
            let path = PathBuf::from(output["path"].as_str().unwrap());
            assert!(path.ends_with(package["file"].as_str().unwrap()));
            assert_eq!(sizes[&path], package["size"].as_u64().unwrap());
            assert_eq!(sha256sum(&path), package["sha256"]);
        }
    }
}

fn files(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.path(), entry.metadata().unwrap().len())).collect()
}

fn sha256sum(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

fn is_real() -> bool {
    let real = env::var_os("BTFPIPE_REAL").is_some_and(|value| value == "1");
    if !real {
        eprintln!("skipped: needs apt and a Debian mirror; set BTFPIPE_REAL=1");
    }
    real
}

#[test]
fn the_kernels_of_the_release() {
    if !is_real() {
        return;
    }
    let plugin = Plugin::new();
    let mut kernels = plugin.resolve(&["bullseye", "bookworm", "trixie", "sid"], &["cloud-amd64"]);
    kernels.extend(plugin.resolve(&["bookworm", "trixie"], &["cloud-arm64"]));
    let ids: Vec<&str> = kernels.iter().map(|kernel| kernel["id"].as_str().unwrap()).collect();
    let expected = [
        ("debian/11/x86_64/5.10.", "-cloud-amd64"),
        ("debian/12/x86_64/6.1.", "-cloud-amd64"),
        ("debian/13/x86_64/6.12.", "-cloud-amd64"),
        ("debian/sid/x86_64/", "-cloud-amd64"),
        ("debian/12/arm64/6.1.", "-cloud-arm64"),
        ("debian/13/arm64/6.12.", "-cloud-arm64"),
    ];
    assert_eq!(ids.len(), expected.len());
    for (id, (start, end)) in ids.iter().zip(expected) {
        assert!(id.starts_with(start) && id.ends_with(end), "{id} is no {start}*{end}");
    }
    for kernel in &kernels {
        plugin.fetch(kernel);
    }
    assert_eq!(files(&plugin.folder.path().join("tmp")).len(), 0);
    assert_eq!(files(&plugin.folder.path().join("cache")).len(), 6);
}

#[test]
fn what_is_gone() {
    if !is_real() {
        return;
    }
    let plugin = Plugin::new();
    let kernels = plugin.resolve(&["sid"], &["cloud-amd64"]);
    for (key, value) in [("version", json!("0.1-1")), ("sha256", json!("0".repeat(64)))] {
        let mut kernel = kernels[0].clone();
        kernel["packages"][0][key] = value;
        let messages = plugin.run("fetch", json!({"kernel": kernel}));
        let result = messages.last().unwrap();
        assert_eq!(result["class"], "gone", "{result}");
        assert!(result["help"].as_str().unwrap().starts_with("run \"btfpipe update debian/sid/x86_64/"));
        assert_eq!(files(&plugin.folder.path().join("out")).len(), 0);
    }
}

#[test]
fn a_flavour_that_is_not_there() {
    if !is_real() {
        return;
    }
    let config = json!({"suites": ["sid"], "flavours": ["nonsense-amd64"]});
    let result = Plugin::new().run("resolve", config).pop().unwrap();
    assert_eq!(result["class"], "user");
    assert_eq!(result["message"], "suite sid has no kernel of flavour nonsense-amd64");
    assert!(result["help"].as_str().unwrap().contains("cloud-amd64"));
}

/// Debian's archive as a stranger's: named in the pipeline, with its keys.
#[test]
fn an_archive_by_its_url() {
    if !is_real() {
        return;
    }
    let place = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
    let targets = ["indextargets", "--format", place, "Created-By: Packages"];
    let listed = Command::new("apt-get").args(targets).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    // `URL SUITE main`, of the suite itself.
    let mut lines = listed.lines().filter_map(|line| line.strip_suffix(" main")?.split_once(' '));
    let (url, suite) = lines.find(|(_, suite)| !suite.contains('-')).unwrap();
    let archive = json!({
        "distro": "other", "suites": {suite: "1"}, "url": url, "pockets": ["", "-updates"],
        "keyring": "/usr/share/keyrings/debian-archive-keyring.gpg", "flavours": ["cloud-amd64"],
    });
    let plugin = Plugin::new();
    let mut messages = plugin.run("resolve", json!({"archive": archive}));
    let kernel = &messages.pop().unwrap()["kernels"][0];
    let id = kernel["id"].as_str().unwrap();
    assert!(id.starts_with("other/1/x86_64/") && id.ends_with("-cloud-amd64"), "{id}");
    plugin.fetch(kernel);
    // Keys that signed nothing of it.
    let mut wrong = archive;
    wrong["keyring"] = json!("/dev/null");
    wrong["distro"] = json!("stranger");
    let result = plugin.run("resolve", json!({"archive": wrong})).pop().unwrap();
    assert_eq!(result["status"], "error", "{result}");
    assert!(result["message"].as_str().unwrap().contains("does not answer"), "{result}");
}
