//! The plugin as a process, with the machine's apt, against a mirror of ours on loopback.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use pipeline::host::{Dirs, Host};
use serde_json::{Value, json};

/// A web server that gives every path the same answer; ends with the test.
fn serve(answer: fn(path: &str) -> (&'static str, &'static str)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let (status, body) = answer(request.split(' ').nth(1).unwrap_or_default());
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close", body.len());
            let _ = (&stream).write_all(format!("{head}\r\n\r\n{body}").as_bytes());
        }
    });
    format!("http://{address}")
}

/// The plugin's result for one `run`, with apt's sources and nothing of the machine's configuration.
fn run(sources: &str, step: &str, config: Value) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("sources.list"), sources).unwrap();
    let apt = format!(
        "Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\n\
         Dir::Etc::main \"/dev/null\";\nAcquire::http::Proxy \"DIRECT\";\nAcquire::Retries \"0\";\n",
        path("sources.list").display()
    );
    fs::write(path("apt.conf"), apt).unwrap();
    for name in ["work", "out", "tmp", "cache"] {
        fs::create_dir(path(name)).unwrap();
    }
    let run = json!({"type": "run", "id": 1, "step": step, "config": config, "workdir": path("work"),
                     "outdir": path("out"), "tmpdir": path("tmp"), "cachedir": path("cache")});
    ask(&run, &path("apt.conf"))
}

fn ask(run: &Value, apt_config: &Path) -> Value {
    let mut plugin = Command::new(env!("CARGO_BIN_EXE_btfpipe-plugin-debian"))
        .env("APT_CONFIG", apt_config)
        .env_remove("http_proxy")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(plugin.stdin.take().unwrap(), "{run}").unwrap();
    let output = plugin.wait_with_output().unwrap();
    let last = output.stdout.lines().map_while(Result::ok).last().unwrap();
    serde_json::from_str(&last).unwrap()
}

fn has_apt() -> bool {
    let found = Command::new("apt-get").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "no apt-get on this machine");
        eprintln!("skipped: no apt-get on this machine");
    }
    found
}

/// The class, and a part of message or help that must be there.
fn check(sources: &str, step: &str, config: Value, class: &str, parts: &[&str]) {
    if !has_apt() {
        return;
    }
    let result = run(sources, step, config);
    assert_eq!(result["status"], "error", "{result}");
    assert_eq!(result["class"], class, "{result}");
    for part in parts {
        assert!(result.to_string().contains(part), "{part} is not in {result}");
    }
}

fn sid() -> Value {
    json!({"suites": ["sid"], "flavours": ["cloud-amd64"]})
}

fn sources(mirror: &str) -> String {
    format!("deb {mirror}/debian sid main\n")
}

#[test]
fn a_mirror_without_the_suite() {
    let mirror = serve(|_| ("404 Not Found", ""));
    let message = format!("suite sid is not on the mirror {mirror}/debian");
    check(&sources(&mirror), "resolve", sid(), "user", &[&message, "remove the suite"]);
}

#[test]
fn a_mirror_that_is_down() {
    let mirror = serve(|_| ("503 Service Unavailable", ""));
    let parts = ["suite sid does not answer", "503  Service Unavailable", "try again"];
    check(&sources(&mirror), "resolve", sid(), "transient", &parts);
}

#[test]
fn a_mirror_that_refuses() {
    let mirror = serve(|_| ("403 Forbidden", ""));
    check(&sources(&mirror), "resolve", sid(), "tool", &["suite sid does not answer", "403  Forbidden"]);
}

#[test]
fn a_mirror_without_signature() {
    let mirror = serve(|path| {
        if path.ends_with("/Release") {
            ("200 OK", "Origin: Debian\nSuite: sid\nCodename: sid\nSHA256:\n")
        } else {
            ("404 Not Found", "")
        }
    });
    let parts = ["suite sid does not answer", "is not signed", "debian-archive-keyring"];
    check(&sources(&mirror), "resolve", sid(), "user", &parts);
}

#[test]
fn a_machine_without_debian() {
    let parts = ["no Debian archive in", "sources.list"];
    check("deb http://127.0.0.1:9/ubuntu noble main\n", "resolve", sid(), "user", &parts);
}

#[test]
fn a_wrong_configuration() {
    let config = json!({"suites": ["sid"], "flavours": ["cloud-amd64"], "newst": 1});
    check(
        "",
        "resolve",
        config,
        "user",
        &["unknown key \\\"newst\\\"", "suites, flavours, archive, newest", "/newst"],
    );
    check("", "fetch", json!({}), "user", &["no \\\"kernel\\\" to fetch"]);
}

#[test]
fn a_locked_kernel_of_a_mirror_that_is_down() {
    let mirror = serve(|_| ("503 Service Unavailable", ""));
    let package = json!({"name": "linux-image-7-cloud-amd64", "version": "7-1", "arch": "amd64",
                         "file": "linux-image-7-cloud-amd64_7-1_amd64.deb", "sha256": "0".repeat(64), "size": 1});
    let kernel =
        json!({"id": "debian/sid/x86_64/7-cloud-amd64", "packages": [package], "with": {"suite": "sid"}});
    check(&sources(&mirror), "fetch", json!({"kernel": kernel}), "transient", &["503"]);
}

/// The machine's own configuration with ours after it: nothing outside the private folder, and no hook.
#[test]
fn the_machine_is_left_alone() {
    if !has_apt() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mirror = serve(|_| ("404 Not Found", ""));
    let hooks = "APT::Update::Post-Invoke { \"touch hooked\"; };\nAPT::Update::Pre-Invoke { \"touch hooked\"; };\n\
                 APT::Update::Post-Invoke-Success { \"touch hooked\"; };\nAPT::Architectures { \"hurd-i386\"; };\n";
    fs::write(path("sources.list"), sources(&mirror)).unwrap();
    let sources = format!(
        "Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"/dev/null\";\n",
        path("sources.list").display()
    );
    fs::write(path("apt.conf"), format!("{sources}{hooks}")).unwrap();
    let run = json!({"type": "run", "id": 1, "step": "resolve", "config": sid(), "workdir": folder.path(),
                     "outdir": folder.path(), "tmpdir": folder.path(), "cachedir": folder.path()});
    ask(&run, &path("apt.conf"));
    let dump = Command::new("apt-config")
        .arg("-c")
        .arg(path("sid-amd64/apt.conf"))
        .arg("dump")
        .env("APT_CONFIG", path("apt.conf"))
        .output()
        .unwrap();
    let dump = String::from_utf8(dump.stdout).unwrap();
    assert!(dump.contains("Dir::State::lists"));
    let private = folder.path().to_str().unwrap();
    for line in dump.lines() {
        let state = ["Dir::State", "Dir::Cache", "Dir::Log"].iter().any(|name| line.starts_with(name));
        let elsewhere = line.contains(" \"/") && !line.contains(private) && !line.contains("/dev/null");
        assert!(!(line.contains("var/") || state && elsewhere), "{line}");
        assert!(!line.contains("hooked") && !line.contains("hurd"), "{line}");
    }
    assert!(!path("hooked").exists());
}

/// In its cage, with the plugin.yaml that is shipped: apt-get runs, has its cache, and reaches the mirror.
#[test]
fn in_the_cage() {
    if !has_apt() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mirror = serve(|_| ("404 Not Found", ""));
    fs::write(path("sources.list"), sources(&mirror)).unwrap();
    let apt = format!(
        "Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"/dev/null\";\nAcquire::http::Proxy \"DIRECT\";\n",
        path("sources.list").display()
    );
    fs::write(path("apt.conf"), apt).unwrap();
    // Sources of apt elsewhere than in /etc are not among what the plugin reads.
    let manifest =
        include_str!("../plugin.yaml").replace("read: [", &format!("read: [{}, ", folder.path().display()));
    let plugin = path("debian");
    fs::create_dir(&plugin).unwrap();
    fs::write(plugin.join("plugin.yaml"), manifest).unwrap();
    fs::write(plugin.join("schema.json"), include_str!("../schema.json")).unwrap();
    std::os::unix::fs::symlink(
        env!("CARGO_BIN_EXE_btfpipe-plugin-debian"),
        plugin.join("btfpipe-plugin-debian"),
    )
    .unwrap();
    // The host hands its own APT_CONFIG on, so that it needs a process of its own.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "asked_by_the_host", "--nocapture"])
        .env("APT_CONFIG", path("apt.conf"))
        .env("BTFPIPE_TEST_FOLDER", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&format!("suite sid is not on the mirror {mirror}/debian")), "{output:?}");
}

/// Not a test of its own: the process that the test above starts.
#[test]
fn asked_by_the_host() {
    let Some(folder) = std::env::var_os("BTFPIPE_TEST_FOLDER") else { return };
    let folder = Path::new(&folder);
    let dirs = Dirs::below(&folder.join("work"), Some(&folder.join("cache")));
    let plugin = Host::open(&folder.join("debian")).unwrap();
    println!("{:?}", plugin.run("resolve", &sid(), &dirs, &mut |event| println!("{event:?}")));
}
