//! The plugin under the host: the conformance kit, and its cage.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use pipeline::host::{Dirs, Host, kit};
use serde_json::json;

/// The plugin as it is shipped, with the program that cargo has built.
fn install(folder: &Path) -> PathBuf {
    let plugin = folder.join("dwarf");
    fs::create_dir(&plugin).unwrap();
    fs::write(plugin.join("plugin.yaml"), include_str!("../plugin.yaml")).unwrap();
    fs::write(plugin.join("schema.json"), include_str!("../schema.json")).unwrap();
    symlink(env!("CARGO_BIN_EXE_btfpipe-plugin-dwarf"), plugin.join("btfpipe-plugin-dwarf")).unwrap();
    plugin
}

#[test]
fn the_kit() {
    let folder = tempfile::tempdir().unwrap();
    let report = kit::examine(&install(folder.path()));
    assert!(report.is_good(), "{report}");
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "{program} is not installed");
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// In its cage: it reads what its configuration names, starts pahole, and keeps what it made.
#[test]
fn in_the_cage() {
    if !has("pahole") || !has("cc") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text =
        "const char linux_banner[] = \"Linux version 6.1.0-test (x)\\n\";\nstruct task { int pid; } task;\n";
    fs::write(path("vmlinux.c"), text).unwrap();
    let compiled =
        Command::new("cc").args(["-g", "-c", "-o"]).arg(path("vmlinux")).arg(path("vmlinux.c")).status();
    assert!(compiled.unwrap().success());
    let config = json!({ "kernels": [{ "id": "debian/12/x86_64/6.1.0-test", "debug": path("vmlinux") }] });
    let dirs = |name: &str| Dirs::below(&path(name), Some(&path("cache")));
    let plugin = Host::open(&install(folder.path())).unwrap();
    let resolved = plugin.run("resolve", &config, &dirs("resolve"), &mut |_| {}).unwrap();
    let config = json!({ "kernel": resolved.kernels[0] });
    let fetched = plugin.run("fetch", &config, &dirs("fetch"), &mut |_| {}).unwrap();
    assert_eq!(fetched.outputs[0].digest().unwrap().to_string(), resolved.kernels[0].packages[0].sha256);
}
