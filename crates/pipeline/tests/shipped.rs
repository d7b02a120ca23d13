//! The plugins that are shipped as scripts, before the kit. Those in Rust have tests of their own.

use std::path::Path;

use pipeline::host::kit;

/// What a plugin needs that is no part of every system.
const PLUGINS: [(&str, &[&str]); 5] = [
    ("budget", &["sh"]),
    ("offsets", &["python3"]),
    ("minisign", &["python3", "minisign"]),
    ("bpftool", &["python3", "bpftool"]),
    ("clang", &["python3", "clang-19"]),
];

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[test]
fn all_pass_the_kit() {
    // At once, as they mostly wait.
    std::thread::scope(|scope| {
        for (name, needs) in PLUGINS {
            scope.spawn(move || check(name, needs));
        }
    });
}

fn check(name: &str, needs: &[&str]) {
    if let Some(missing) = needs.iter().find(|program| !is_installed(program)) {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "{missing} is not installed");
        return eprintln!("skipped: {missing} is not installed, which the plugin {name} needs");
    }
    let report = kit::examine(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins").join(name));
    assert!(report.is_good(), "{report}");
    let cases = report.checks.iter().filter(|check| check.name.starts_with("tests/")).count();
    assert!(cases > 0, "{report}");
}

#[test]
fn the_one_in_sh_is_short() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/budget/main.sh");
    assert!(std::fs::read_to_string(script).unwrap().lines().count() < 30);
}
