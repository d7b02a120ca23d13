//! A shell in a cage, and what it still can do.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use cage::{Cage, Level, Limits};

const SYSTEM: &[&str] = &["/usr", "/bin", "/lib", "/lib64", "/etc", "/dev/null", "/proc"];

fn shell(cage: &Cage, level: Level, script: &str) -> Output {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).process_group(0);
    cage.confine(&mut command, level).unwrap();
    command.output().unwrap()
}

fn cage(folder: &Path) -> Cage {
    Cage {
        read: SYSTEM.iter().map(PathBuf::from).collect(),
        write: vec![folder.to_owned(), "/dev/null".into()],
        network: false,
        limits: Limits::default(),
    }
}

/// Whether the machine has all that a cage can be made of. No package brings another kernel.
fn whole() -> Option<Level> {
    let level = Level::of_this_machine();
    if level.missing().is_empty() {
        return Some(level);
    }
    eprintln!("skipped: processes can {}", level.missing().join(", "));
    None
}

/// What `script` says on stderr; it must fail in the whole cage, and succeed outside of it.
fn check(script: &str, said: &str) {
    let Some(level) = whole() else { return };
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("secret"), "s").unwrap();
    let script = format!(
        "cd {} && {}",
        inside.path().display(),
        script.replace("OUTSIDE", outside.path().to_str().unwrap())
    );
    let cage = cage(inside.path());
    let held = shell(&cage, level, &script);
    let error = String::from_utf8_lossy(&held.stderr);
    assert!(!held.status.success() && error.contains(said), "{script}: {held:?}");
    let free = shell(&cage, Level { landlock: 0, seccomp: false }, &script);
    assert!(free.status.success(), "{script} can't be done anyway: {free:?}");
}

#[test]
fn files() {
    check("cat OUTSIDE/secret", "Permission denied");
    check("ls OUTSIDE", "Permission denied");
    check("echo x > OUTSIDE/new", "ermission denied");
    check("echo x >> OUTSIDE/secret", "ermission denied");
    check(": > OUTSIDE/secret", "ermission denied");
    check("mkdir OUTSIDE/folder", "Permission denied");
    check("rm OUTSIDE/secret", "Permission denied");
    check("mv OUTSIDE/secret .", "Permission denied");
    check("ln OUTSIDE/secret hard", "");
    check("ln -sf OUTSIDE/secret here && cat here", "Permission denied");
}

#[test]
fn what_is_allowed() {
    let Some(level) = whole() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script =
        "mkdir a && echo x > a/b && mv a/b c && ln -s c d && cat d /etc/passwd > /dev/null && rm -r a";
    let done = shell(&cage(folder.path()), level, &format!("cd {} && {script}", folder.path().display()));
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn other_processes() {
    let Some(level) = whole() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let held = shell(&cage(folder.path()), level, &format!("kill {}", other.id()));
    assert!(!held.status.success(), "{held:?}");
    let held = shell(&cage(folder.path()), level, &format!("cat /proc/{}/environ", other.id()));
    assert!(!held.status.success() && held.stdout.is_empty(), "{held:?}");
    assert!(other.try_wait().unwrap().is_none());
    other.kill().unwrap();
    other.wait().unwrap();
    check("setsid -w true", "ermitted");
}

#[test]
fn limits() {
    let level = Level { landlock: 0, seccomp: false };
    let folder = tempfile::tempdir().unwrap();
    let held = |limits, script: &str| {
        let cage = Cage { limits, ..cage(folder.path()) };
        let done = shell(&cage, level, &format!("cd {}; {script}", folder.path().display()));
        assert!(!done.status.success(), "{script}: {done:?}");
    };
    held(Limits { file: Some(1 << 20), ..Limits::default() }, "exec head -c 2M /dev/zero > x");
    assert_eq!(fs::metadata(folder.path().join("x")).unwrap().len(), 1 << 20);
    held(
        Limits { memory: Some(64 << 20), ..Limits::default() },
        "exec head -c 200M /dev/zero | tail -c 190M > /dev/null",
    );
    held(Limits { cpu: Some(Duration::ZERO), ..Limits::default() }, "while :; do :; done");
}
