//! The plugin's side of the conversation.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::job::send;
use crate::{
    FETCH, Failure, Hello, HostMessage, Identity, Invalid, Job, LineError, Outcome, PROTOCOL, PluginHello,
    PluginMessage, Problem, RESOLVE, Run, RunResult, Source, SourceKernel, Step, Success, step,
};

/// What a plugin does with what it is asked.
trait Served {
    fn validate(&self, config: &Value) -> Vec<Problem>;
    fn act(&self, job: &Job<'_>, run: &Run) -> Result<Success, Failure>;
}

struct Steps<'a, S>(&'a S);
struct Kernels<'a, S>(&'a S);

impl<S: Step> Served for Steps<'_, S> {
    fn validate(&self, config: &Value) -> Vec<Problem> {
        self.0.validate(config)
    }

    fn act(&self, job: &Job<'_>, run: &Run) -> Result<Success, Failure> {
        step::act(self.0, job, run)
    }
}

impl<S: Source> Served for Kernels<'_, S> {
    fn validate(&self, config: &Value) -> Vec<Problem> {
        self.0.validate(config)
    }

    fn act(&self, job: &Job<'_>, run: &Run) -> Result<Success, Failure> {
        resolve_or_fetch(job, run, self.0)
    }
}

/// Speaks with the host over stdin and stdout until it says goodbye. The `main` of a source is this call.
pub fn serve_source(name: &str, version: &str, source: &impl Source) -> ExitCode {
    serve_process(name, version, &Kernels(source))
}

/// The same for a plugin that does steps.
pub fn serve_step(name: &str, version: &str, step: &impl Step) -> ExitCode {
    serve_process(name, version, &Steps(step))
}

fn serve_process(name: &str, version: &str, served: &impl Served) -> ExitCode {
    if std::env::args_os().len() > 1 {
        eprintln!("{name} {version}: a plugin of btfpipe; it takes no arguments and speaks btfpipe-plugin/1");
        return ExitCode::from(2);
    }
    let identity = Identity { name: name.to_owned(), version: version.to_owned() };
    match serve(io::stdin(), io::stdout(), identity, served) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Reads messages on a thread of its own, so that `cancel` is heard while an action runs.
fn serve(
    input: impl io::Read + Send + 'static,
    output: impl Write + Send + 'static,
    identity: Identity,
    served: &impl Served,
) -> Result<(), String> {
    let out = Mutex::new(output);
    let cancelled = std::sync::Arc::new(AtomicU64::new(0));
    let (sender, messages) = mpsc::channel();
    let heard = std::sync::Arc::clone(&cancelled);
    // Not joined: it may wait for a host that never closes stdin.
    thread::spawn(move || {
        for line in io::BufReader::new(input).lines().map_while(Result::ok) {
            let message = HostMessage::parse(&line);
            if let Ok(HostMessage::Cancel { id }) = message {
                heard.store(id, Ordering::Relaxed);
            } else if sender.send(message).is_err() {
                return;
            }
        }
    });
    for message in messages {
        match message {
            Ok(HostMessage::Hello(hello)) => send(&out, &answer_hello(&hello, &identity)?),
            Ok(HostMessage::Validate(validate)) => send(
                &out,
                &PluginMessage::Invalid(Invalid {
                    id: validate.id,
                    problems: served.validate(&validate.config),
                }),
            ),
            Ok(HostMessage::Run(run)) => {
                let begin = Instant::now();
                let outcome = match served.act(&Job::new(&run, &out, &cancelled), &run) {
                    Ok(mut success) => {
                        let busy = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
                        success.metrics.insert("busy_us".to_owned(), busy.into());
                        Outcome::Ok(success)
                    }
                    Err(failure) => Outcome::Error(failure),
                };
                send(&out, &PluginMessage::Result(RunResult { id: run.id, outcome }));
            }
            Ok(HostMessage::Cancel { .. }) => {}
            Ok(HostMessage::Shutdown) => break,
            Err(error) => answer_error(&out, &error),
        }
    }
    Ok(())
}

fn answer_hello(hello: &Hello, identity: &Identity) -> Result<PluginMessage, String> {
    if !hello.protocols.contains(&PROTOCOL) {
        return Err(format!(
            "{} {} speaks protocol {PROTOCOL}, {} {} speaks {:?}; use versions that match",
            identity.name, identity.version, hello.host.name, hello.host.version, hello.protocols
        ));
    }
    Ok(PluginMessage::Hello(PluginHello {
        protocol: PROTOCOL,
        plugin: identity.clone(),
        features: ["progress", "cancel", "validate"].map(String::from).to_vec(),
    }))
}

/// A request that can't be read is answered if it has an id; anything else is ignored, as later versions may add it.
fn answer_error(out: &Mutex<impl Write + Send + 'static>, error: &LineError) {
    match error {
        LineError::Malformed { kind, id: Some(id), .. } if kind == "run" => {
            let outcome = Outcome::Error(Failure::tool(error.to_string()));
            send(out, &PluginMessage::Result(RunResult { id: *id, outcome }));
        }
        _ => eprintln!("ignored: {error}"),
    }
}

fn resolve_or_fetch(job: &Job<'_>, run: &Run, source: &impl Source) -> Result<Success, Failure> {
    match run.step.as_str() {
        RESOLVE => Ok(Success { kernels: source.resolve(job, &run.config)?, ..Success::default() }),
        FETCH => {
            Ok(Success { outputs: source.fetch(job, &parse_kernel(&run.config)?)?, ..Success::default() })
        }
        other => Err(Failure::user(format!("no step \"{other}\""))
            .help(format!("a source plugin does \"{RESOLVE}\" and \"{FETCH}\""))),
    }
}

fn parse_kernel(config: &Value) -> Result<SourceKernel, Failure> {
    let kernel =
        config.get("kernel").cloned().ok_or_else(|| Failure::user("no \"kernel\" to fetch").at("/kernel"))?;
    serde_json::from_value(kernel)
        .map_err(|error| Failure::user(format!("wrong \"kernel\": {error}")).at("/kernel"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, Level, Output, Problem};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    struct Fake;

    impl Source for Fake {
        fn validate(&self, config: &Value) -> Vec<Problem> {
            let message = format!("{config}");
            vec![Problem { path: "/a".into(), message, help: None }]
        }

        fn resolve(&self, job: &Job<'_>, config: &Value) -> Result<Vec<SourceKernel>, Failure> {
            job.progress(1, None, "suites", "one");
            job.log(Level::Info, "hi");
            if config.is_null() {
                return Err(Failure::user("no config").help("write one").at("/"));
            }
            Ok(vec![SourceKernel { id: "d/1/arm64/5".into(), packages: Vec::new(), with: BTreeMap::new() }])
        }

        fn fetch(&self, job: &Job<'_>, kernel: &SourceKernel) -> Result<Vec<Output>, Failure> {
            if kernel.id == "gone" {
                return Err(Failure::new(Class::Gone, "gone"));
            }
            Ok(vec![Output { name: kernel.id.clone(), path: job.run().outdir.join("x") }])
        }
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn converse(host: &str) -> (Result<(), String>, String) {
        converse_with(host, &Kernels(&Fake))
    }

    fn converse_with(host: &str, served: &impl Served) -> (Result<(), String>, String) {
        let out = Shared::default();
        let identity = Identity { name: "fake".into(), version: "1".into() };
        let result = serve(io::Cursor::new(host.to_owned()), out.clone(), identity, served);
        let said = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        (result, said)
    }

    fn check(host: &str, plugin: &[&str]) {
        check_with(host, plugin, &Kernels(&Fake));
    }

    fn check_with(host: &str, plugin: &[&str], served: &impl Served) {
        let (result, said) = converse_with(host, served);
        assert_eq!(result, Ok(()));
        let said: Vec<String> = said.lines().map(without_time).collect();
        assert_eq!(said, plugin, "after {host}");
    }

    /// How long it took is another each time.
    fn without_time(line: &str) -> String {
        let Some((before, after)) = line.split_once(r#","metrics":{"busy_us":"#) else {
            return line.to_owned();
        };
        let (digits, after) = after.split_once('}').unwrap();
        assert!(digits.parse::<u64>().is_ok(), "{line}");
        format!("{before}{after}")
    }

    struct Doubles;

    impl Step for Doubles {
        fn validate(&self, config: &Value) -> Vec<Problem> {
            let message = "no number".to_owned();
            let problem = Problem { path: "/times".into(), message, help: Some("2".into()) };
            if config["times"].is_u64() { Vec::new() } else { vec![problem] }
        }

        fn build(&self, job: &Job<'_>, _: &Value) -> Result<Vec<Output>, Failure> {
            let source = job.input("source")?;
            job.reads(job.inputs("file").into_iter().chain([source]));
            Ok(vec![job.output("object", &format!("a-{}.o", job.arch().unwrap_or("-")))])
        }
    }

    #[test]
    fn steps() {
        let check = |host: &str, said: &str| check_with(host, &[said], &Steps(&Doubles));
        let input =
            |name: &str| format!(r#"{{"name":"{name}","path":"in/{name}.c","digest":"sha256:0","size":1}}"#);
        let inputs = format!(r#""inputs":[{},{}]"#, input("source"), input("file"));
        check(
            &run(&format!(r#""step":"build","arch":"arm64","config":{{"times":2}},{inputs}"#)),
            r#"{"type":"result","id":3,"status":"ok","outputs":[{"name":"object","path":"/w/out/a-arm64.o"}],"reads":["/w/in/file.c","/w/in/source.c"]}"#,
        );
        check(
            &run(r#""step":"build","config":{"times":2}"#),
            r#"{"type":"result","id":3,"status":"error","class":"user","message":"no input \"source\""}"#,
        );
        check(
            &run(&format!(r#""step":"build","config":{{}},{inputs}"#)),
            r#"{"type":"result","id":3,"status":"error","class":"user","message":"no number","help":"2","at":{"path":"/times"}}"#,
        );
        for step in ["verify", "resolve", "dance"] {
            check(
                &run(&format!(r#""step":"{step}","config":{{"times":2}}"#)),
                &format!(
                    r#"{{"type":"result","id":3,"status":"error","class":"user","message":"no step \"{step}\"","help":"\"provides\" in plugin.yaml says what this plugin does"}}"#
                ),
            );
        }
    }

    const FOLDERS: &str = r#""workdir":"/w","outdir":"/w/out","tmpdir":"/w/tmp""#;

    fn run(rest: &str) -> String {
        format!("{{\"type\":\"run\",\"id\":3,{FOLDERS},{rest}}}\n")
    }

    #[test]
    fn conversations() {
        check(
            "{\"type\":\"hello\",\"protocols\":[2,1],\"host\":{\"name\":\"h\",\"version\":\"9\"}}\n",
            &[
                r#"{"type":"hello","protocol":1,"plugin":{"name":"fake","version":"1"},"features":["progress","cancel","validate"]}"#,
            ],
        );
        check(
            "{\"type\":\"validate\",\"id\":1,\"config\":{\"b\":2,\"a\":1}}\n",
            &[r#"{"type":"invalid","id":1,"problems":[{"path":"/a","message":"{\"b\":2,\"a\":1}"}]}"#],
        );
        let progress = r#"{"type":"progress","id":3,"done":1,"unit":"suites","message":"one"}"#;
        let log = r#"{"type":"log","id":3,"level":"info","message":"hi"}"#;
        check(
            &run(r#""step":"resolve","config":{}"#),
            &[
                progress,
                log,
                r#"{"type":"result","id":3,"status":"ok","kernels":[{"id":"d/1/arm64/5","packages":[],"with":{}}]}"#,
            ],
        );
        check(
            &run(r#""step":"resolve""#),
            &[
                progress,
                log,
                r#"{"type":"result","id":3,"status":"error","class":"user","message":"no config","help":"write one","at":{"path":"/"}}"#,
            ],
        );
        check(
            &run(r#""step":"fetch","config":{"kernel":{"id":"k","packages":[]}}"#),
            &[r#"{"type":"result","id":3,"status":"ok","outputs":[{"name":"k","path":"/w/out/x"}]}"#],
        );
        check(
            &run(r#""step":"fetch","config":{"kernel":{"id":"gone","packages":[]}}"#),
            &[r#"{"type":"result","id":3,"status":"error","class":"gone","message":"gone"}"#],
        );
        check(
            &run(r#""step":"fetch","config":{}"#),
            &[
                r#"{"type":"result","id":3,"status":"error","class":"user","message":"no \"kernel\" to fetch","at":{"path":"/kernel"}}"#,
            ],
        );
        check(
            &run(r#""step":"dance""#),
            &[
                r#"{"type":"result","id":3,"status":"error","class":"user","message":"no step \"dance\"","help":"a source plugin does \"resolve\" and \"fetch\""}"#,
            ],
        );
    }

    #[test]
    fn what_it_does_not_know_is_ignored() {
        check("garbage\n{\"type\":\"dance\"}\n{\"type\":\"cancel\",\"id\":1}\n", &[]);
        check("{\"type\":\"shutdown\"}\n{\"type\":\"validate\",\"id\":1,\"config\":1}\n", &[]);
    }

    #[test]
    fn a_request_that_it_cannot_read_is_answered() {
        let (_, said) = converse("{\"type\":\"run\",\"id\":8,\"step\":\"resolve\"}\n");
        assert!(
            said.starts_with(r#"{"type":"result","id":8,"status":"error","class":"tool","message":"wrong"#)
        );
    }

    #[test]
    fn another_protocol_is_refused() {
        let (result, said) =
            converse("{\"type\":\"hello\",\"protocols\":[2],\"host\":{\"name\":\"h\",\"version\":\"9\"}}\n");
        assert_eq!(result.unwrap_err(), "fake 1 speaks protocol 1, h 9 speaks [2]; use versions that match");
        assert_eq!(said, "");
    }

    #[test]
    fn a_cancelled_action_knows() {
        let cancelled = AtomicU64::new(0);
        let out = Mutex::new(Vec::new());
        let run = Run { id: 3, ..Run::default() };
        let job = Job::new(&run, &out, &cancelled);
        assert!(!job.is_cancelled());
        cancelled.store(3, Ordering::Relaxed);
        assert!(job.is_cancelled());
    }
}
