//! Plugins that behave, and plugins that don't. They are scripts for sh.

mod caged;
mod sdk;
mod workers;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use plugin::{Class, Level, Provides};
use serde_json::json;
use tempfile::TempDir;

use super::search::{Search, is_inside};
use super::*;

/// A repository with the plugin `fake`, and a folder to work in.
struct Fixture {
    folder: TempDir,
}

const MANIFEST: &str = "api: 1\nname: fake\nversion: 0.1.0\nrun: [sh, main.sh]\nruntime: [main.sh]\n";

/// Reads hello and answers it; then reads `run`.
const HELLO: &str = r#"read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"fake","version":"0.1.0"},"features":["progress"]}'
read -r run
"#;

const OK: &str = r#"echo '{"type":"result","id":1,"status":"ok"}'"#;

impl Fixture {
    fn new(manifest: &str, script: &str) -> Fixture {
        let fixture = Fixture { folder: tempfile::tempdir().unwrap() };
        fixture.write("plugins/fake/plugin.yaml", manifest);
        fixture.write("plugins/fake/main.sh", script);
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn write_program(&self, name: &str) {
        self.write(name, "#!/bin/sh\n");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn search(&self) -> Search {
        Search {
            folders: vec![self.path("plugins")],
            beside: Some(self.path("beside")),
            path: vec!["/bin".into()],
        }
    }

    fn find(&self) -> Result<Plugin, PluginError> {
        self.search().find("fake")
    }

    fn dirs(&self) -> Dirs {
        Dirs::below(&self.path("work"), None)
    }

    fn run(&self) -> (Result<PluginResult, PluginError>, Vec<PluginEvent>) {
        self.run_with(&self.find().unwrap())
    }

    fn run_with(&self, plugin: &Plugin) -> (Result<PluginResult, PluginError>, Vec<PluginEvent>) {
        let mut events = Vec::new();
        let result = plugin.run("step", &json!({"a": 1}), &self.dirs(), &mut |event| events.push(event));
        (result, events)
    }
}

/// A plugin that gets little time to act and to go, and enough to start on a busy machine.
fn hasty(fixture: &Fixture) -> Plugin {
    let mut plugin = fixture.find().unwrap();
    plugin.timeout = Duration::from_millis(400);
    plugin.limits = Limits {
        validate: Duration::from_millis(400),
        terminate: Duration::from_millis(200),
        kill: Duration::from_millis(400),
        exit: Duration::from_millis(200),
        ..LIMITS
    };
    plugin
}

/// The same with time to act.
fn patient(fixture: &Fixture) -> Plugin {
    Plugin {
        timeout: TIMEOUT,
        limits: Limits { exit: LIMITS.exit, ..hasty(fixture).limits },
        ..hasty(fixture)
    }
}

fn script(after_hello: &str) -> String {
    format!("{HELLO}{after_hello}\n")
}

/// A script that fails, and a part of the error.
fn check_error(script: &str, part: &str) {
    let fixture = Fixture::new(MANIFEST, script);
    check_plugin(&fixture, &patient(&fixture), part);
}

/// A script that is stopped, and a part of the error.
fn check_stopped(script: &str, part: &str) {
    let fixture = Fixture::new(MANIFEST, script);
    check_plugin(&fixture, &hasty(&fixture), part);
}

fn check_plugin(fixture: &Fixture, plugin: &Plugin, part: &str) {
    let begin = Instant::now();
    let (result, events) = fixture.run_with(plugin);
    let error = result.unwrap_err().to_string();
    assert!(error.contains(part), "{part:?} is not in {error:?} after {events:?}");
    // Whoever hangs, hangs for a minute.
    assert!(begin.elapsed() < Duration::from_secs(30), "{error} took {:?}", begin.elapsed());
}

#[test]
fn a_good_run() {
    let fixture = Fixture::new(
        MANIFEST,
        &script(
            r#"echo '{"type":"progress","id":1,"done":1,"total":2,"unit":"types","message":"one\u001b[2J"}'
echo '{"type":"log","id":1,"level":"warn","message":"careful","fields":{"n":1}}'
echo "a word" >&2
printf '%s' "$run" > out/run.json
mkdir out/sub; printf abc > "$PWD/out/sub/abc"
echo '{"type":"result","id":1,"status":"ok","outputs":[{"name":"abc","path":"out/./sub/abc"},{"name":"run","path":"out/run.json"}],"metrics":{"n":3},"kernels":[{"id":"k","packages":[]}]}'
read -r line; case "$line" in *shutdown*) exit 0;; esac; exit 1"#,
        ),
    );
    let (result, events) = fixture.run();
    let result = result.unwrap();
    assert_eq!(result.metrics["n"], 3);
    assert_eq!(result.kernels[0].id, "k");
    assert_eq!(result.outputs[0].name, "abc");
    assert_eq!(result.outputs[0].path, fixture.path("work/out/sub/abc").canonicalize().unwrap());
    assert_eq!((result.outputs[0].size, result.outputs[0].digest().unwrap()), (3, Digest::of(b"abc")));
    let run: Value = serde_json::from_slice(&fs::read(&result.outputs[1].path).unwrap()).unwrap();
    assert_eq!((&run["step"], &run["config"]["a"], &run["attempt"]), (&json!("step"), &json!(1), &json!(1)));
    assert_eq!(run["deadline_ms"], 600_000);
    let stderr = PluginEvent::Stderr("a word".into());
    assert!(events.contains(&stderr));
    let others: Vec<&PluginEvent> = events
        .iter()
        .filter(|event| **event != stderr && !matches!(event, PluginEvent::Uncaged(_)))
        .collect();
    assert_eq!(others[0], &PluginEvent::Started(Identity { name: "fake".into(), version: "0.1.0".into() }));
    assert_eq!(
        others[1],
        &PluginEvent::Progress { done: 1, total: Some(2), unit: "types".into(), message: "one [2J".into() }
    );
    assert!(
        matches!(others[2], PluginEvent::Log { level: Level::Warn, message, .. } if message == "careful")
    );
    assert_eq!(others.len(), 3);
}

#[test]
fn a_failure_that_the_plugin_tells() {
    let told = r#"echo '{"type":"result","id":1,"status":"error","class":"gone","message":"no more","help":"ask again"}'"#;
    let (result, _) = Fixture::new(MANIFEST, &script(told)).run();
    let error = result.unwrap_err();
    assert_eq!(error.class(), Class::Gone);
    assert_eq!(error.to_string(), "no more; ask again");
    assert_eq!(error.failure().unwrap().help.as_deref(), Some("ask again"));
}

#[test]
fn plugins_that_hang() {
    // Each starts a child, which has to go too: it holds stdout, so that a survivor would be noticed by the time.
    for (script, part) in [
        ("sleep 60 & sleep 60", "sh did not say hello within 1 s"),
        ("echo 'starting up' >&2; sleep 60", "within 1 s; it last wrote:\n  starting up"),
    ] {
        let fixture = Fixture::new(MANIFEST, script);
        let mut plugin = hasty(&fixture);
        plugin.limits.hello = Duration::from_secs(1);
        check_plugin(&fixture, &plugin, part);
    }
    check_stopped(&script("sleep 60 & sleep 60"), "took longer than 0.4 s");
    check_stopped(&script("trap '' TERM; sleep 60 & while true; do sleep 1; done"), "took longer than 0.4 s");
    check_stopped(
        &script("while true; do echo '{\"type\":\"progress\",\"id\":1,\"done\":1}'; done"),
        "took longer",
    );
    check_stopped(&script("while true; do echo noise; done"), "took longer");
    check_error(&script("exec >&-; sleep 60"), "closed its stdout before it gave a result");
}

#[test]
fn a_cancel_is_heard() {
    let heard = r#"read -r line; case "$line" in *cancel*'"id":1'*) echo "heard" >&2;; esac; exit 0"#;
    let fixture = Fixture::new(MANIFEST, &script(heard));
    let (result, events) = fixture.run_with(&Plugin { limits: LIMITS, ..hasty(&fixture) });
    assert!(matches!(result, Err(PluginError::Deadline { .. })));
    assert!(events.contains(&PluginEvent::Stderr("heard".into())));
}

#[test]
fn plugins_that_crash() {
    check_error("exit 3", "exited with code 3 before it gave a result");
    check_error(
        &script("echo 'it broke' >&2; exit 1"),
        "exited with code 1 before it gave a result; it last wrote:\n  it broke",
    );
    check_error(&script("kill -SEGV $$"), "crashed (signal 11) before it gave a result");
    check_error(&script("exit 0"), "exited with code 0 before it gave a result");
    check_error(&script("seq 1000 >&2; exit 1"), "it last wrote:\n  981\n");
}

#[test]
fn plugins_that_speak_something_else() {
    let hello = |protocol| {
        format!(
            r#"echo '{{"type":"hello","protocol":{protocol},"plugin":{{"name":"x","version":"1"}}}}'; sleep 60"#
        )
    };
    check_error(&hello(2), "speaks protocol 2, and btfpipe speaks 1");
    check_error(OK, "speaks before it says hello");
    check_error(
        &script("head -c 2000000 /dev/zero | tr '\\0' x; sleep 60"),
        "a line of more than 1048576 bytes",
    );
    check_error("cat /dev/zero", "a line of more than 1048576 bytes");
    check_error(&script(r#"echo '{"type":"invalid","id":1,"problems":[]}'"#), "answers run with \"invalid\"");
}

/// Scripts that do well in the end, and the warning that they get on the way.
fn check_warning(noise: &str, expected: &str) {
    let fixture = Fixture::new(MANIFEST, &script(&format!("{noise}\n{OK}")));
    let (result, events) = fixture.run();
    result.unwrap();
    let warnings: Vec<&String> = events
        .iter()
        .filter_map(|event| match event {
            PluginEvent::Warning(warning) => Some(warning),
            _ => None,
        })
        .collect();
    assert!(warnings.len() == 1 && warnings[0].contains(expected), "{expected} is not {warnings:?}");
}

#[test]
fn noise_is_one_warning() {
    check_warning("echo Hello; echo; echo World", "writes to stdout what is no message: Hello");
    check_warning("printf '\\377\\376\\n'", "writes to stdout what is no message: \u{fffd}\u{fffd}");
    check_warning(r#"echo '{"type":"dance"}'; echo '{"type":"sing"}'"#, "unknown message type \"dance\"");
    check_warning(r#"echo '{"type":"progress"}'"#, "wrong \"progress\" message");
    check_warning(r#"echo '{"type":"result","id":7,"status":"ok"}'"#, "answers what nobody asked");
    check_warning(
        r#"echo '{"type":"hello","protocol":1,"plugin":{"name":"x","version":"1"}}'"#,
        "says hello again",
    );
}

#[test]
fn a_line_as_long_as_allowed() {
    let fill = format!(
        r#"printf '{{"type":"log","id":1,"level":"info","message":"'; head -c {} /dev/zero | tr '\0' x; echo '"}}'; {OK}"#,
        plugin::MAX_LINE - r#"{"type":"log","id":1,"level":"info","message":""}"#.len()
    );
    let (result, events) = Fixture::new(MANIFEST, &script(&fill)).run();
    result.unwrap();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, PluginEvent::Log { message, .. } if message.len() > 1_000_000))
    );
}

#[test]
fn an_end_that_is_not_clean() {
    let fixture = Fixture::new(MANIFEST, &script(&format!("{OK}; exit 5")));
    let (result, events) = fixture.run();
    result.unwrap();
    assert!(events.contains(&PluginEvent::Warning("plugin fake exited with code 5 after its result".into())));
    let fixture =
        Fixture::new(MANIFEST, &script(&format!("{OK}; trap '' TERM; while true; do sleep 1; done")));
    let (result, events) = fixture.run_with(&hasty(&fixture));
    result.unwrap();
    let killed = "plugin fake did not end after its result, and was killed";
    assert!(events.contains(&PluginEvent::Warning(killed.into())));
}

#[test]
fn no_process_is_left() {
    let fixture = Fixture::new(MANIFEST, &script(&format!("sleep 61 & echo $! > \"$PWD/pid\"; {OK}")));
    let (result, _) = fixture.run();
    result.unwrap();
    wait_until_gone(&fs::read_to_string(fixture.path("work/pid")).unwrap());
}

/// For a process that has been killed; when it is gone is for the kernel to choose.
fn wait_until_gone(pid: &str) {
    let stat = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !(stat().is_empty() || stat().contains(") Z ")) {
        assert!(Instant::now() < deadline, "{}", stat());
        std::thread::yield_now();
    }
}

#[test]
fn interruption() {
    let fixture = Fixture::new(MANIFEST, &script("sleep 60"));
    let plugin = hasty(&fixture);
    let (config, dirs, cancel) = (json!(null), fixture.dirs(), AtomicBool::new(true));
    let request = Request { cancel: Some(&cancel), ..Request::new("step", &config, &dirs) };
    let error = plugin.run_request(&request, &mut |_| {}).unwrap_err();
    assert!(matches!(error, PluginError::Cancelled { .. }), "{error}");
}

fn check_output(script_text: &str, declared: &str, part: &str) {
    let result = format!(r#"echo '{{"type":"result","id":1,"status":"ok","outputs":[{declared}]}}'"#);
    check_error(&script(&format!("{script_text}\n{result}")), part);
}

#[test]
fn outputs_that_are_refused() {
    let x = r#"{"name":"x","path":"out/x"}"#;
    check_output("", x, "out/x was not written");
    check_output("mkdir out/x", x, "out/x was not written");
    check_output(
        "echo 1 > out/x; echo 2 > out/y",
        x,
        "out/y is in the output folder, and not among the outputs",
    );
    check_output("echo 1 > out/x; mkdir out/d; echo 2 > out/d/y", x, "out/d/y is in the output folder");
    check_output("ln -s /etc/passwd out/x", x, "out/x in the output folder is no regular file");
    check_output("mkfifo out/x", x, "out/x in the output folder is no regular file");
    check_output(
        "echo 1 > y; ln -s .. out/d",
        r#"{"name":"x","path":"out/d/y"}"#,
        "out/d in the output folder is no",
    );
    check_output(
        "rmdir out; mkdir o; echo 1 > o/x; ln -s o out",
        x,
        "out in the output folder is no regular file",
    );
    check_output("echo 1 > out/x", &format!("{x},{x}"), "out/x is named twice");
    for path in ["/etc/passwd", "x", "out/../x", "out", "out/", "../out/x", "out/../out/x", ""] {
        let declared = format!(r#"{{"name":"x","path":"{path}"}}"#);
        check_output("echo 1 > x", &declared, &format!("output {path} is not inside its output folder"));
    }
}

#[test]
fn a_small_environment() {
    let fixture = Fixture::new(
        &format!("{MANIFEST}capabilities: {{ write: cache }}\n"),
        &script(&format!(
            "env > out/env; pwd > out/pwd; {}",
            OK.replace(
                "}'",
                r#","outputs":[{"name":"env","path":"out/env"},{"name":"pwd","path":"out/pwd"}]}'"#
            )
        )),
    );
    let plugin = fixture.find().unwrap();
    let dirs = Dirs::below(&fixture.path("work"), Some(&fixture.path("cache")));
    let result = plugin.run("step", &json!(null), &dirs, &mut |_| {}).unwrap();
    let environment = fs::read_to_string(&result.outputs[0].path).unwrap();
    for line in environment.lines() {
        let name = line.split('=').next().unwrap();
        // The shell adds some of its own.
        let allowed = ["PATH", "HOME", "LANG", "BTFPIPE_CACHE", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_"];
        assert!(allowed.contains(&name), "{line}");
    }
    let cache = fixture.path("cache").canonicalize().unwrap();
    assert!(environment.contains(&format!("BTFPIPE_CACHE={}\n", cache.display())));
    let tmp = fixture.path("work/tmp").canonicalize().unwrap();
    assert!(environment.contains(&format!("HOME={}\n", tmp.display())), "{environment}");
    let pwd = fs::read_to_string(&result.outputs[1].path).unwrap();
    assert_eq!(Path::new(pwd.trim()), fixture.path("work").canonicalize().unwrap());
}

#[test]
fn validation() {
    let able = r#"read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"fake","version":"1"},"features":["validate"]}'
read -r line
case "$line" in *'"config":{"a":1}'*) path=/a;; *) path=/;; esac
echo '{"type":"invalid","id":1,"problems":[{"path":"'$path'","message":"wrong","help":"right"}]}'
"#;
    let validate = |script: &str| {
        let fixture = Fixture::new(MANIFEST, script);
        hasty(&fixture).validate(&json!({"a": 1}), &mut |_| {})
    };
    assert_eq!(validate(able).unwrap()[0].path, "/a");
    assert_eq!(validate(&script("sleep 60")).unwrap(), []);
    let silent = able.replace("echo '{\"type\":\"invalid\"", "sleep 60 # ");
    assert!(matches!(validate(&silent), Err(PluginError::Deadline { .. })));
}

fn check_manifest(manifest: &str, part: &str) {
    let error = Fixture::new(manifest, "").find().unwrap_err().to_string();
    assert!(error.contains(part), "{part:?} is not in {error}");
    assert!(error.contains("plugin.yaml") || error.contains("plugin fake"), "{error}");
}

#[test]
fn manifests_that_are_refused() {
    let with = |key: &str, line: &str| {
        let others: String =
            MANIFEST.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
        format!("{others}{line}\n")
    };
    check_manifest("", "unexpected end of input");
    check_manifest("a: [", "plugin.yaml: ");
    check_manifest(&with("api", "api: 2"), "api: 2 is unknown, this btfpipe knows 1");
    check_manifest(&with("name", "name: other"), "name: \"other\" is not the folder's name \"fake\"");
    check_manifest(&with("version", ""), "version");
    check_manifest(&with("x", "colour: red"), "colour");
    check_manifest(&with("x", "api: 1"), "api");
    check_manifest(&with("x", "timeout: soon"), "timeout: \"soon\" is no time");
    check_manifest(&with("x", "provides: [magic]"), "magic");
    check_manifest(
        &with("x", "limits: { disk: lots }"),
        "limits: disk: \"lots\" is no size such as 512M or 16G",
    );
    check_manifest(&with("x", "limits: { memory: 1GB }"), "limits: memory: \"1GB\" is no size");
    check_manifest(&with("x", "capabilities: { write: all }"), "write: \"all\" is neither");
    check_manifest(&with("x", "capabilities: { read: [home] }"), "read: \"home\" is neither \"config\" nor");
    check_manifest(&with("run", "run: []"), "the command is empty");
    check_manifest(&with("run", "run: sh main.sh"), "run");
    check_manifest(&with("run", "run: { plan9-z80: [sh] }"), "no command for linux-");
    check_manifest(&with("run", "run: [no-such-program-here]"), "nor on PATH; build or install it");
    check_manifest(&with("run", "run: [./main.sh]"), "needs the program \"./main.sh\"");
    check_manifest(&with("runtime", "runtime: [../x]"), "\"../x\" is not inside the plugin's folder");
    check_manifest(&with("x", "config_schema: /etc/passwd"), "\"/etc/passwd\" is not inside");
}

#[test]
fn manifests_that_are_accepted() {
    let full = "api: 1\nname: fake\nversion: 0.3.1\nrun: {linux-x86_64: [sh, main.sh], linux-aarch64: [sh, main.sh]}\n\
                runtime: [main.sh]\nconfig_schema: schema.json\nprovides: [source, transform]\n\
                capabilities: {network: true, exec: [apt-get], write: out-only, worker: false}\n\
                cache: {pure: true}\ntimeout: 5m\n";
    let fixture = Fixture::new(full, "");
    fixture.write("plugins/fake/schema.json", "{\"type\": \"object\"}");
    let plugin = fixture.find().unwrap();
    assert_eq!(plugin.timeout, Duration::from_secs(300));
    assert_eq!(plugin.schema().unwrap().unwrap()["type"], "object");
    assert!(plugin.provides(Provides::Source) && !plugin.provides(Provides::Verify));
    assert!(plugin.manifest().cache.pure && plugin.manifest().capabilities.network);
}

#[test]
fn where_plugins_are_found() {
    let fixture = Fixture::new(MANIFEST, "");
    let search = fixture.search();
    let program = |name: &str| search.find(name).unwrap().program;
    assert_eq!(
        search.find("fake").unwrap().arguments,
        [fixture.path("plugins/fake/main.sh").to_str().unwrap()]
    );
    assert_eq!(program("fake"), Path::new("/bin/sh"));
    // A program of the plugin's own, then one beside btfpipe, go before PATH.
    fixture.write_program("beside/sh");
    assert_eq!(program("fake"), fixture.path("beside/sh"));
    fixture.write_program("plugins/fake/sh");
    assert_eq!(program("fake"), fixture.path("plugins/fake/sh"));
    // Without plugin.yaml.
    fixture.write_program("beside/btfpipe-plugin-bare");
    assert_eq!(program("bare"), fixture.path("beside/btfpipe-plugin-bare"));
    assert!(search.find("bare").unwrap().provides(Provides::Source));
    assert_eq!(search.find("bare").unwrap().schema().unwrap(), None);
    let error = search.find("nowhere").unwrap_err().to_string();
    assert!(
        error.starts_with("no plugin \"nowhere\": no ") && error.contains("plugins/nowhere/plugin.yaml"),
        "{error}"
    );
    for name in ["", "../fake", "a/b", "A", "-a", "a b", &"a".repeat(65)] {
        assert!(matches!(search.find(name), Err(PluginError::Name(_))), "{name}");
    }
}

#[test]
fn what_stays_inside() {
    for path in ["a", "a/b", "./a", "**", "a/*"] {
        assert!(is_inside(path), "{path}");
    }
    for path in ["", "/", "/a", "..", "a/../..", "../a"] {
        assert!(!is_inside(path), "{path}");
    }
}

#[test]
fn the_digest_is_of_what_matters() {
    let manifest = MANIFEST.replace("[main.sh]", "[main.sh, \"lib/**\"]");
    let make = || {
        let fixture = Fixture::new(&manifest, "a");
        fixture.write("plugins/fake/lib/deep/x", "1");
        fixture
    };
    let digest = |fixture: &Fixture| fixture.find().unwrap().digest().unwrap();
    let expected = digest(&make());
    let check = |change: &dyn Fn(&Fixture), same: bool| {
        let fixture = make();
        change(&fixture);
        assert_eq!(digest(&fixture) == expected, same);
    };
    check(&|_| {}, true);
    check(&|fixture| fixture.write("plugins/fake/README.md", "x"), true);
    check(&|fixture| fixture.write("plugins/fake/main.sh", "b"), false);
    check(&|fixture| fixture.write("plugins/fake/lib/deep/x", "2"), false);
    check(&|fixture| fixture.write("plugins/fake/lib/y", "1"), false);
    check(&|fixture| fixture.write("plugins/fake/plugin.yaml", &format!("{manifest}\n")), false);
    check(&|fixture| fixture.write_program("beside/sh"), false);
    let fixture = Fixture::new(&manifest, "a");
    let error = fixture.find().unwrap().digest().unwrap_err().to_string();
    assert!(error.contains("runtime: \"lib/**\": no such file"), "{error}");
    symlink("/nowhere", fixture.path("plugins/fake/lib")).unwrap();
    assert!(fixture.find().unwrap().digest().is_err());
}

/// The repository's own plugin, with the program that cargo has built.
fn debian() -> Search {
    let exe = std::env::current_exe().unwrap();
    Search {
        folders: vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins")],
        beside: exe.parent().and_then(Path::parent).map(Path::to_owned),
        path: Vec::new(),
    }
}

#[test]
fn the_plugin_debian_is_well_formed() {
    match debian().find("debian") {
        Ok(plugin) => {
            assert!(plugin.provides(Provides::Source));
            assert_eq!(plugin.schema().unwrap().unwrap()["additionalProperties"], false);
            plugin.digest().unwrap();
        }
        // Not built yet; the manifest was read before.
        Err(error) => assert!(matches!(error, PluginError::Program { .. }), "{error}"),
    }
}

#[test]
fn the_plugin_debian_for_real() {
    if std::env::var_os("BTFPIPE_REAL").is_none_or(|value| value != "1") {
        return eprintln!("skipped: needs apt and a Debian mirror; set BTFPIPE_REAL=1");
    }
    let plugin = debian()
        .find("debian")
        .unwrap_or_else(|error| panic!("{error}: cargo build -p btfpipe-plugin-debian"));
    let folder = tempfile::tempdir().unwrap();
    let dirs = |name: &str| Dirs::below(&folder.path().join(name), Some(&folder.path().join("cache")));
    let wrong =
        plugin.validate(&json!({"suites": ["sad"], "flavours": ["cloud-amd64"]}), &mut |_| {}).unwrap();
    assert_eq!(wrong[0].path, "/suites/0");
    let config = json!({"suites": ["sid"], "flavours": ["cloud-amd64"]});
    let resolved = plugin.run(plugin::RESOLVE, &config, &dirs("resolve"), &mut |_| {}).unwrap();
    let kernel = &resolved.kernels[0];
    assert!(kernel.id.starts_with("debian/sid/x86_64/"));
    let mut events = Vec::new();
    let config = json!({"kernel": kernel});
    let fetched =
        plugin.run(plugin::FETCH, &config, &dirs("fetch"), &mut |event| events.push(event)).unwrap();
    assert!(events.iter().any(|event| matches!(event, PluginEvent::Progress { .. })));
    assert!(
        !events.iter().any(|event| matches!(event, PluginEvent::Warning(_) | PluginEvent::Stderr(_))),
        "{events:?}"
    );
    let expected: Vec<_> =
        kernel.packages.iter().map(|package| (package.sha256.clone(), package.size)).collect();
    let found: Vec<_> =
        fetched.outputs.iter().map(|file| (file.digest().unwrap().to_string(), file.size)).collect();
    assert_eq!(found, expected);
}
