//! What plugin.yaml declares, and machines that hold less. Those that try without are in `tests/plugins`.

use std::net::TcpListener;

use ::cage::Level;

use super::*;

/// Whether this machine's kernel holds files, which is what the test is about. No package brings another kernel.
pub(super) fn holds_files() -> bool {
    let holds = Level::of_this_machine().landlock > 0;
    if !holds {
        eprintln!("skipped: this kernel has no Landlock");
    }
    holds
}

fn run(fixture: &Fixture, plugin: &Plugin, config: &Value) -> Result<PluginResult, PluginError> {
    let dirs = Dirs::below(&fixture.path("work"), Some(&fixture.path("cache")));
    plugin.run("step", config, &dirs, &mut |_| {})
}

/// A script that does well with these capabilities, and not without.
fn check(capabilities: &str, after_hello: &str, config: &Value) {
    if !holds_files() {
        return;
    }
    let script = script(&format!("{after_hello} || exit 1\n{OK}"));
    let with = Fixture::new(&format!("{MANIFEST}capabilities: {capabilities}\n"), &script);
    run(&with, &patient(&with), config).unwrap();
    let without = Fixture::new(&format!("{MANIFEST}capabilities: {{ exec: [python3] }}\n"), &script);
    let error = run(&without, &patient(&without), config).unwrap_err().to_string();
    assert!(error.contains("exited with code 1"), "{error}");
}

#[test]
fn what_is_declared_is_read() {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("a b");
    fs::write(&path, "x").unwrap();
    let cat = format!("cat '{}' > /dev/null", path.display());
    check(&format!("{{ read: [{}] }}", outside.path().display()), &cat, &json!(null));
    check("{ read: [config] }", &cat, &json!({ "kernels": [{ "path": path }] }));
}

#[test]
fn the_cache_is_for_those_who_declare_it() {
    check("{ write: cache }", "echo x > \"$BTFPIPE_CACHE/x\"", &json!(null));
}

#[test]
fn the_network_is_for_those_who_declare_it() {
    if !Level::of_this_machine().missing().is_empty() {
        return eprintln!("skipped: this kernel has no whole cage");
    }
    if std::process::Command::new("python3").arg("-V").output().is_err() {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "python3 is not installed");
        return eprintln!("skipped: python3 is not installed");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))'");
    check("{ network: true, exec: [python3] }", &connect, &json!(null));
}

#[test]
fn inputs_are_read_only() {
    let fixture =
        Fixture::new(MANIFEST, &script(&format!("cat in/x \"$PWD/../y\" > /dev/null || exit 1\n{OK}")));
    let write = |name: &str| fixture.write(name, "input");
    ["work/in/x", "y"].iter().for_each(|name| write(name));
    let input = |path: &str| Input {
        name: "x".into(),
        path: path.into(),
        digest: format!("sha256:{}", Digest::of(b"input")),
        size: 5,
    };
    let (config, dirs) = (json!(null), fixture.dirs());
    let inputs = vec![input("in/x"), input(fixture.path("y").to_str().unwrap())];
    let run = |script_text: Option<&str>| {
        if let Some(text) = script_text {
            fixture.write("plugins/fake/main.sh", &script(text));
        }
        let request = Request { inputs: inputs.clone(), ..Request::new("step", &config, &dirs) };
        patient(&fixture).run_request(&request, &mut |_| {}).map_err(|error| error.to_string())
    };
    run(None).unwrap();
    if holds_files() {
        let said = run(Some("echo more >> ../y || exit 1")).unwrap_err();
        assert!(said.contains("exited with code 2") || said.contains("exited with code 1"), "{said}");
    }
    // In the work folder nobody holds it, and the host looks.
    let said = run(Some(&format!("echo other > in/x\n{OK}"))).unwrap_err();
    assert!(said.contains("plugin fake changed its input") && said.ends_with("work/in/x"), "{said}");
}

#[test]
fn a_machine_that_holds_less_says_so() {
    let fixture =
        Fixture::new(MANIFEST, &script(&format!("cat \"$PWD/../secret\" > /dev/null || exit 1\n{OK}")));
    fixture.write("secret", "x");
    let plugin =
        Plugin { level: Level { landlock: 0, seccomp: false, bubblewrap: false }, ..patient(&fixture) };
    let (result, events) = fixture.run_with(&plugin);
    result.unwrap();
    let told = events.iter().find_map(|event| match event {
        PluginEvent::Uncaged(text) => Some(text.as_str()),
        _ => None,
    });
    let told = told.unwrap();
    assert!(told.starts_with("on this machine plugins can read and write all that you can"), "{told}");
    assert!(told.contains("; use the network"), "{told}");
    let whole = Plugin { level: Level::of_this_machine(), ..plugin };
    if holds_files() {
        assert!(fixture.run_with(&whole).0.is_err());
    }
}

#[test]
fn bubblewrap_where_the_kernel_holds_less() {
    if ::cage::bubblewrap::find().is_none() {
        assert!(std::env::var_os("BTFPIPE_NO_SKIPS").is_none(), "bubblewrap is not installed, or can't work");
        return eprintln!("skipped: bubblewrap is not installed, or can't work");
    }
    let wrapped = |fixture: &Fixture| Plugin {
        level: Level { landlock: 0, seccomp: false, bubblewrap: true },
        ..patient(fixture)
    };
    let check = |after_hello: &str, part: Option<&str>| {
        let fixture = Fixture::new(MANIFEST, &script(after_hello));
        fixture.write("secret", "x");
        let (result, events) = fixture.run_with(&wrapped(&fixture));
        match (result, part) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{error}"),
            (result, _) => panic!("{after_hello}: {result:?}"),
        }
        // Nothing is missing, so that nobody is warned.
        assert!(!events.iter().any(|event| matches!(event, PluginEvent::Uncaged(_))), "{events:?}");
    };
    check(&format!("cat \"$PWD/../plugins/fake/main.sh\" > made || exit 7\n{OK}"), None);
    check(&format!("cat \"$PWD/../secret\" > /dev/null || exit 7\n{OK}"), Some("exited with code 7"));
    check(&format!("echo x > \"$PWD/../plugins/fake/x\" || exit 7\n{OK}"), Some("exited with code 7"));
    check("kill -SEGV $$", Some("crashed (signal 11)"));
}
