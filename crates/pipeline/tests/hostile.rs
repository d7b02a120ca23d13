//! Plugins that are hostile or broken, each in a folder of `plugins` with what is to be said of it in `expected.txt`:
//!
//! ```text
//! ok                     the run ends well
//! error: PART            the run's error has this part
//! warning: PART          the run has a warning with this part, however it ends
//! manifest: PART         it can't even be opened, and why
//! kit: CHECK: PART       the conformance kit fails at this check, and says this
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use pipeline::host::{Dirs, Host, PluginEvent, kit};
use serde_json::json;

/// What a plugin must not come to.
struct World {
    folder: tempfile::TempDir,
    tcp: TcpListener,
    udp: UdpSocket,
}

impl World {
    fn new() -> World {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind(tcp.local_addr().unwrap()).unwrap();
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/secret"), "secret").unwrap();
        World { folder, tcp, udp }
    }

    fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    /// Nothing was written, removed, sent or left behind.
    fn check(&self, name: &str) {
        let names: Vec<_> =
            fs::read_dir(self.outside()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"], "{name}");
        assert_eq!(fs::read(self.outside().join("secret")).unwrap(), b"secret", "{name}");
        assert!(self.tcp.accept().is_err(), "{name} got through");
        assert!(self.udp.recv(&mut [0; 16]).is_err(), "{name} got through");
        if let Ok(pid) = fs::read_to_string(self.folder.path().join("work/tmp/pid")) {
            let stat = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            // It has been killed; when it is gone is for the kernel to choose.
            let deadline = Instant::now() + Duration::from_secs(10);
            while !(stat().is_empty() || stat().contains(") Z ")) {
                assert!(Instant::now() < deadline, "{name} left {}", stat());
                std::thread::yield_now();
            }
        }
    }
}

/// Lines of `expected.txt`, by their first word.
fn expected(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(folder.join("expected.txt")).unwrap();
    let mut expected = BTreeMap::<String, Vec<String>>::new();
    for line in text.lines() {
        let (what, part) = line.split_once(": ").unwrap_or((line, ""));
        expected.entry(what.to_owned()).or_default().push(part.to_owned());
    }
    expected
}

fn plugins() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path)).collect()
}

/// A machine whose kernel holds less is told so; here it is needed, and no package brings another kernel.
fn is_caged() -> bool {
    let missing = cage::Level::of_this_machine().missing();
    if !missing.is_empty() {
        let missing = missing.join("; ");
        eprintln!("skipped: on this machine plugins can {missing}");
    }
    missing.is_empty()
}

fn check_host(name: &str, folder: &Path) {
    let expected = expected(folder);
    let parts = |what: &str| expected.get(what).into_iter().flatten();
    let plugin = match Host::open(folder) {
        Ok(plugin) => plugin,
        Err(error) => {
            let error = error.to_string();
            assert!(expected.contains_key("manifest"), "{name}: {error}");
            return parts("manifest")
                .for_each(|part| assert!(error.contains(part), "{name}: {part:?} in {error}"));
        }
    };
    let world = World::new();
    let config = json!({ "outside": world.outside(), "port": world.tcp.local_addr().unwrap().port() });
    let dirs = Dirs::below(&world.folder.path().join("work"), None);
    let (begin, mut warnings) = (Instant::now(), Vec::new());
    let result = plugin.run(plugin::RESOLVE, &config, &dirs, &mut |event| {
        if let PluginEvent::Warning(warning) = event {
            warnings.push(warning);
        }
    });
    world.check(name);
    // Who hangs, hangs for a minute.
    assert!(begin.elapsed() < Duration::from_secs(50), "{name} took {:?}", begin.elapsed());
    match result {
        Ok(_) => assert!(!expected.contains_key("error"), "{name} ended well: {warnings:?}"),
        Err(error) => {
            let error = error.to_string();
            assert!(expected.contains_key("error"), "{name}: {error}, {warnings:?}");
            parts("error").for_each(|part| assert!(error.contains(part), "{name}: {part:?} in {error}"));
        }
    }
    for part in parts("warning") {
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{name}: {part:?} in {warnings:?}");
    }
}

fn check_kit(name: &str, folder: &Path) {
    let expected = expected(folder);
    let Some(lines) = expected.get("kit") else { return };
    let report = kit::examine(folder);
    assert!(!report.is_good(), "{name}:\n{report}");
    for line in lines {
        let (check, part) = line.split_once(": ").unwrap();
        let fails = |found: &kit::Check| {
            found.name == check && found.verdict == kit::Verdict::Failed && found.text.contains(part)
        };
        assert!(report.checks.iter().any(fails), "{name}: {line}\n{report}");
    }
}

/// Eight at a time, as they mostly wait; each that fails is named.
fn all(check: fn(&str, &Path)) {
    let plugins = plugins();
    assert!(plugins.len() >= 25);
    let failed: Vec<String> = thread::scope(|scope| {
        let (plugins, share) = (&plugins, plugins.len().div_ceil(8));
        let works: Vec<_> = (0..8)
            .map(|part| {
                let mine = plugins.iter().skip(part * share).take(share);
                scope.spawn(move || {
                    // A thread of its own for each: it may fail, and the others go on.
                    mine.filter(|(name, folder)| {
                        thread::scope(|scope| scope.spawn(|| check(name, folder)).join().is_err())
                    })
                    .map(|(name, _)| name.clone())
                    .collect::<Vec<_>>()
                })
            })
            .collect();
        works.into_iter().flat_map(|work| work.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn the_host_stands_them_all() {
    if is_caged() {
        all(check_host);
    }
}

#[test]
fn the_kit_finds_what_is_wrong() {
    all(check_kit);
}
