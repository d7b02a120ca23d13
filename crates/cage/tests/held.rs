//! A shell in a cage, and what it still can do.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use cage::{Cage, Level, Limits};

const SYSTEM: &[&str] = &["/usr", "/bin", "/lib", "/lib64", "/etc", "/dev/null", "/proc"];

const NOTHING: Level = Level { landlock: 0, seccomp: false, bubblewrap: false };

fn shell(cage: &Cage, level: Level, script: &str) -> Output {
    let arguments = ["-c".to_owned(), script.to_owned()];
    let mut command = cage.command(Path::new("/bin/sh"), &arguments, Path::new("/"), level);
    command.process_group(0);
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
    let free = shell(&cage, NOTHING, &script);
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
    let level = NOTHING;
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

/// The levels at which bubblewrap stands in: for a kernel without Landlock, and for one that has nothing.
fn wrapped() -> Vec<Level> {
    if cage::bubblewrap::find().is_none() {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "bubblewrap is not installed, or can't work");
        eprintln!("skipped: bubblewrap is not installed, or can't work");
        return Vec::new();
    }
    let seccomp = Level::of_this_machine().seccomp;
    [seccomp, false].map(|seccomp| Level { landlock: 0, seccomp, bubblewrap: true }).to_vec()
}

#[test]
fn bubblewrap_stands_in() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let (port, other_id) = (listener.local_addr().unwrap().port(), other.id());
    let connect = format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}'");
    let scripts = [
        "cat OUTSIDE/secret".to_owned(),
        "ls OUTSIDE | grep secret".to_owned(),
        "echo x > OUTSIDE/new".to_owned(),
        ": > OUTSIDE/secret".to_owned(),
        "rm OUTSIDE/secret".to_owned(),
        "echo x > OUTSIDE/read/new".to_owned(),
        "ln -sf OUTSIDE/secret here && cat here".to_owned(),
        connect,
        format!("kill -0 {other_id}"),
        format!("cat /proc/{other_id}/comm"),
    ];
    for level in wrapped() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let read = outside.path().join("read");
        fs::create_dir(&read).unwrap();
        fs::write(read.join("given"), "g").unwrap();
        let mut cage = cage(inside.path());
        cage.read.push(read.clone());
        let at_work = |script: &str| {
            let script = script.replace("OUTSIDE", outside.path().to_str().unwrap());
            format!("cd {} && {script}", inside.path().display())
        };
        for script in &scripts {
            fs::write(outside.path().join("secret"), "s").unwrap();
            let held = shell(&cage, level, &at_work(script));
            assert!(!held.status.success(), "{script} at {level:?}: {held:?}");
            assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"s", "{script} at {level:?}");
            let free = shell(&cage, NOTHING, &at_work(script));
            assert!(free.status.success(), "{script} can't be done anyway: {free:?}");
        }
        let allowed =
            "mkdir a && cat OUTSIDE/read/given /etc/passwd > a/b && mv a/b c && echo x > /dev/null && cat c";
        let done = shell(&cage, level, &at_work(allowed));
        assert!(done.status.success() && done.stdout.starts_with(b"g"), "{allowed} at {level:?}: {done:?}");
        assert!(inside.path().join("c").is_file());
        let open = Cage { network: true, ..cage };
        let level = Level { seccomp: false, ..level };
        let done = shell(&open, level, &at_work(&scripts[7]));
        assert!(done.status.success(), "{done:?}");
    }
    other.kill().unwrap();
    other.wait().unwrap();
}
