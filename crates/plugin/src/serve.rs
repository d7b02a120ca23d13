//! The plugin's side of the conversation.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;

use serde_json::Value;

use crate::job::send;
use crate::{
    FETCH, Failure, Hello, HostMessage, Identity, Invalid, Job, LineError, Outcome, PROTOCOL, PluginHello,
    PluginMessage, RESOLVE, Run, RunResult, Source, SourceKernel, Success,
};

/// Speaks with the host over stdin and stdout until it says goodbye. A plugin's `main` is this call.
pub fn serve_source(name: &str, version: &str, source: &impl Source) -> ExitCode {
    if std::env::args_os().len() > 1 {
        eprintln!("{name} {version}: a plugin of btfpipe; it takes no arguments and speaks btfpipe-plugin/1");
        return ExitCode::from(2);
    }
    let identity = Identity { name: name.to_owned(), version: version.to_owned() };
    match serve(io::stdin(), io::stdout(), identity, source) {
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
    source: &impl Source,
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
                    problems: source.validate(&validate.config),
                }),
            ),
            Ok(HostMessage::Run(run)) => {
                let outcome = match act(&Job::new(&run, &out, &cancelled), &run, source) {
                    Ok(success) => Outcome::Ok(success),
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

fn act(job: &Job<'_>, run: &Run, source: &impl Source) -> Result<Success, Failure> {
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
        let out = Shared::default();
        let identity = Identity { name: "fake".into(), version: "1".into() };
        let result = serve(io::Cursor::new(host.to_owned()), out.clone(), identity, &Fake);
        let said = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        (result, said)
    }

    fn check(host: &str, plugin: &[&str]) {
        let (result, said) = converse(host);
        assert_eq!(result, Ok(()));
        assert_eq!(said.lines().collect::<Vec<_>>(), plugin, "after {host}");
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
