//! Several actions in one process.

use std::io::Write;

use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// Answers with its process's number, and copies its input.
const WORKER: &str = r#"
n=0
while read -r line; do
    id=$(printf '%s' "$line" | sed -n 's/^{"type":"[a-z]*","id":\([0-9]*\).*/\1/p')
    case "$line" in
    '{"type":"hello"'*) echo '{"type":"hello","protocol":1,"plugin":{"name":"fake","version":"0.1.0"},"features":["worker"]}' ;;
    '{"type":"run"'*)
        n=$((n + 1))
        out=$(printf '%s' "$line" | sed -n 's/.*"outdir":"\([^"]*\)".*/\1/p')
        in=$(printf '%s' "$line" | sed -n 's/.*"inputs":\[{"name":"x","path":"\([^"]*\)".*/\1/p')
        case "$line" in *'"step":"die"'*) exit 3 ;; esac
        if [ -n "$in" ]; then cat "$in" > "$out/x" || exit 4; (echo y >> "$in") 2> /dev/null; fi
        outputs=
        [ -z "$in" ] || outputs=',"outputs":[{"name":"x","path":"'"$out"'/x"}]'
        echo '{"type":"result","id":'"$id"',"status":"ok"'"$outputs"',"metrics":{"pid":'$$',"n":'$n'}}' ;;
    '{"type":"shutdown"'*) exit 0 ;;
    esac
done
"#;

struct Work {
    fixture: Fixture,
    work: TempDir,
}

impl Work {
    fn new(manifest: &str) -> Work {
        Work { fixture: Fixture::new(manifest, WORKER), work: tempfile::tempdir().unwrap() }
    }

    /// Which process did it, as how many of its actions, and what it wrote.
    fn act(
        &self,
        step: &str,
        config: &Value,
        input: Option<&Path>,
    ) -> Result<(i64, i64, String), PluginError> {
        let plugin = self.fixture.find().unwrap();
        let dirs = self.fixture.dirs();
        let inputs = input.iter().map(|path| inputs::input("x", path).unwrap()).collect();
        let request = Request { inputs, ..Request::new(step, config, &dirs) };
        let (result, folder) = plugin.run_in_worker(&request, self.work.path(), &mut |_| ())?;
        let text =
            result.outputs.iter().map(|output| String::from_utf8(output.read().unwrap()).unwrap()).collect();
        assert!(folder.path().exists());
        Ok((result.metrics["pid"].as_i64().unwrap(), result.metrics["n"].as_i64().unwrap(), text))
    }
}

fn manifest() -> String {
    format!("{MANIFEST}capabilities: {{ worker: true, read: [config] }}\n")
}

#[test]
fn one_process_does_what_several_would() {
    if !caged::holds_files() {
        return;
    }
    let work = Work::new(&manifest());
    let file = |text: &str| {
        let mut file = tempfile::NamedTempFile::new_in(work.fixture.folder.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    };
    let files = ["one", "two", "three"].map(file);
    let config = json!({});
    let (pid, first, text) = work.act("x", &config, Some(files[0].path())).unwrap();
    assert_eq!((first, text.as_str()), (1, "one"));
    // Inputs that its cage didn't know, which it can read and not write.
    for (number, file) in [(2, 1), (3, 2), (4, 0)] {
        let found = work.act("x", &config, Some(files[file].path())).unwrap();
        assert_eq!(found, (pid, number, ["one", "two", "three"][file].to_owned()));
        assert_eq!(fs::read_to_string(files[file].path()).unwrap(), found.2);
    }
    // Another configuration is another cage; another thread's workers are its own.
    assert_ne!(work.act("x", &json!({"a": 1}), None).unwrap().0, pid);
    let other =
        std::thread::scope(|scope| scope.spawn(|| work.act("x", &config, None).unwrap()).join().unwrap());
    assert_ne!(other.0, pid);
    // One that dies costs the action that it had; the next has a process of its own.
    assert!(matches!(work.act("die", &config, None), Err(PluginError::Crashed { .. })));
    let next = work.act("x", &config, None).unwrap();
    assert!(next.0 != pid && next.1 == 1);
}

#[test]
fn one_that_died_meanwhile_costs_no_action() {
    let work = Work::new(&manifest());
    let (pid, ..) = work.act("x", &json!({}), None).unwrap();
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    wait_until_gone(&pid.to_string());
    let next = work.act("x", &json!({}), None).unwrap();
    assert!(next.0 != pid && next.1 == 1);
}

#[test]
fn one_that_does_not_say_so_is_asked_once() {
    let work = Work::new(&manifest());
    work.fixture.write("plugins/fake/main.sh", &WORKER.replace(r#","features":["worker"]"#, ""));
    let (one, two) = (work.act("x", &json!({}), None).unwrap(), work.act("x", &json!({}), None).unwrap());
    assert!(one.0 != two.0 && one.1 == 1 && two.1 == 1);
}
