//! The conformance kit: plays the host for a plugin, in all the ways that a plugin has to stand.
//!
//! Each check is a conversation with a fresh process. What a plugin really does is in its folder `tests`: files
//! `NAME.json` with `step` and `config`, and `status` where the result is not to be `ok`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plugin::{
    Class, Hello, HostMessage, Identity, KernelRef, Outcome, PROTOCOL, PluginMessage, Provides, RESOLVE,
    Validate,
};
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::inputs::input;
use super::session::{Answer, Session, Stop};
use super::{Dirs, Host, ID, Plugin, PluginError, PluginEvent, Request, confinement};

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The plugin's name, or its folder where it has none.
    pub plugin: String,
    /// In the order in which they were made.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// How it stands.
    pub verdict: Verdict,
    /// In words.
    pub text: String,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it must be.
    Passed,
    /// There was nothing to check.
    Skipped,
    /// The plugin has to be changed.
    Failed,
}

/// What an action takes at most that is only asked for something wrong.
const SOON: Duration = Duration::from_secs(10);

/// What saying goodbye takes at most.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Makes all checks of the plugin in a folder.
pub fn examine(folder: &Path) -> Report {
    let plugin = match Host::open(folder).and_then(|plugin| whole(&plugin).map(|()| plugin)) {
        Ok(plugin) => plugin,
        Err(error) => {
            let checks = vec![check("manifest", Err(error.to_string()))];
            return Report { plugin: folder.display().to_string(), checks };
        }
    };
    let version = &plugin.manifest.version;
    let mut checks = vec![check("manifest", Ok(format!("version {version}, {}", plugin.program.display())))];
    let kit = Kit { plugin: &plugin };
    checks.push(kit.converse("hello", "", Kit::hello));
    // Who can't say hello fails everything else for the same reason.
    if checks.iter().all(|check| check.verdict != Verdict::Failed) {
        kit.protocol(&mut checks);
        kit.actions(&mut checks);
    }
    Report { plugin: plugin.name().to_owned(), checks }
}

/// The files that are only read when they are needed.
fn whole(plugin: &Plugin) -> Result<(), PluginError> {
    plugin.digest()?;
    plugin.schema()?;
    Ok(())
}

fn check(name: &str, found: Result<String, String>) -> Check {
    let (verdict, text) = match found {
        Ok(text) => (Verdict::Passed, text),
        Err(text) => (Verdict::Failed, text),
    };
    Check { name: name.to_owned(), verdict, text }
}

struct Kit<'a> {
    plugin: &'a Plugin,
}

/// What a plugin is asked.
#[derive(Clone, Copy)]
struct Question<'a> {
    step: &'a str,
    config: &'a Value,
    /// How long the answer may take.
    within: Duration,
}

impl<'a> Question<'a> {
    fn new(step: &'a str, config: &'a Value) -> Question<'a> {
        Question { step, config, within: SOON }
    }
}

/// A file of the plugin's folder `tests`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    step: String,
    #[serde(default)]
    config: Value,
    /// Files to read.
    #[serde(default)]
    inputs: Vec<CaseInput>,
    #[serde(default)]
    arch: Option<String>,
    #[serde(default)]
    kernel: Option<KernelRef>,
    /// `ok`, or the class of the error.
    #[serde(default = "ok")]
    status: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseInput {
    name: String,
    path: PathBuf,
}

impl Case {
    fn of(step: &str) -> Case {
        Case {
            step: step.to_owned(),
            config: json!(7),
            inputs: Vec::new(),
            arch: None,
            kernel: None,
            status: "user".to_owned(),
        }
    }

    /// With the digests of the inputs as they are.
    fn request<'a>(&'a self, dirs: &'a Dirs) -> Result<Request<'a>, String> {
        let input = |one: &CaseInput| input(&one.name, &one.path).map_err(|error| error.to_string());
        Ok(Request {
            action: "a test",
            kernel: self.kernel.clone(),
            arch: self.arch.as_deref(),
            inputs: self.inputs.iter().map(input).collect::<Result<_, _>>()?,
            ..Request::new(&self.step, &self.config, dirs)
        })
    }
}

fn ok() -> String {
    "ok".to_owned()
}

impl Kit<'_> {
    /// One conversation, in a folder of its own, below `name`. What the host would warn of is a failure.
    fn converse(
        &self,
        name: &str,
        below: &str,
        talk: impl FnOnce(&Self, &mut Session<'_>, &Dirs) -> Result<String, String>,
    ) -> Check {
        let folder = match tempfile::tempdir() {
            Ok(folder) => folder,
            Err(error) => return check(name, Err(error.to_string())),
        };
        check(name, self.converse_in(&folder, below, &Value::Null, talk))
    }

    fn converse_in(
        &self,
        folder: &TempDir,
        below: &str,
        config: &Value,
        talk: impl FnOnce(&Self, &mut Session<'_>, &Dirs) -> Result<String, String>,
    ) -> Result<String, String> {
        let cache = folder.path().join("cache");
        let dirs = Dirs::below(&folder.path().join(format!("work{below}")), Some(&cache)).make();
        let dirs = dirs.map_err(|error| error.to_string())?;
        let cage = confinement::cage(self.plugin, &dirs, config, &[]);
        let mut noise = Vec::new();
        let mut listen = |event| {
            if let PluginEvent::Warning(warning) = event {
                noise.push(warning);
            }
        };
        let session = Session::start(self.plugin, &dirs, &cage, None, &mut listen);
        let found = session
            .map_err(|error| error.to_string())
            .and_then(|mut session| talk(self, &mut session, &dirs));
        match noise.into_iter().next() {
            Some(warning) if found.is_ok() => Err(warning),
            _ => found,
        }
    }

    /// Says who it is, and goes when it is told to.
    fn hello(&self, session: &mut Session<'_>, _: &Dirs) -> Result<String, String> {
        let hello = session.hello().map_err(|error| error.to_string())?;
        let manifest = &self.plugin.manifest;
        if (&hello.plugin.name, &hello.plugin.version) != (&manifest.name, &manifest.version) {
            return Err(format!(
                "it calls itself {} {}, and plugin.yaml {} {}",
                hello.plugin.name, hello.plugin.version, manifest.name, manifest.version
            ));
        }
        session.leave();
        Ok(format!("protocol {}, features: {}", hello.protocol, list(&hello.features)))
    }

    fn protocol(&self, checks: &mut Vec<Check>) {
        checks.push(self.converse("another protocol", "", |_, session, _| {
            session.say(hello_line(PROTOCOL + 998, ""));
            match session.listen(Instant::now() + AT_ONCE) {
                Ok(PluginMessage::Hello(hello)) if hello.protocol == PROTOCOL + 998 => {
                    Err("it agrees to a protocol that there is not".to_owned())
                }
                Ok(PluginMessage::Hello(hello)) => Ok(format!("offers {} instead", hello.protocol)),
                Ok(_) => Err("it speaks before it says hello".to_owned()),
                Err(Stop::Closed) => match session.wait(Instant::now() + AT_ONCE) {
                    Some(end) => Ok(end.to_string()),
                    None => Err("it closed its stdout and did not end".to_owned()),
                },
                Err(_) => Err(format!("it neither answers nor ends within {} s", AT_ONCE.as_secs())),
            }
        }));
        checks.push(self.converse("a newer host", "", |_, session, _| {
            session.say(hello_line(PROTOCOL, r#","mood":{"good":[true,null]}"#));
            match session.listen(Instant::now() + SOON) {
                Ok(PluginMessage::Hello(_)) => {}
                _ => return Err("it doesn't answer a hello with a field that it doesn't know".to_owned()),
            }
            session.say("{\"type\":\"dance\",\"id\":7,\"with\":{\"whom\":\"you\"}}\n".to_owned());
            session.leave();
            Ok("unknown fields and messages are ignored".to_owned())
        }));
        checks.push(self.converse("the host is gone", "", |_, session, _| {
            session.hello().map_err(|error| error.to_string())?;
            session.hang_up();
            match session.wait(Instant::now() + AT_ONCE) {
                Some(end) => Ok(end.to_string()),
                None => Err(format!("it goes on {} s after its stdin was closed", AT_ONCE.as_secs())),
            }
        }));
    }

    fn actions(&self, checks: &mut Vec<Check>) {
        let step = self.step();
        let begin = Instant::now();
        let wrong = self.wrong_configuration(step);
        // Who doesn't answer at all lets each of the others wait as long.
        let hangs = wrong.verdict == Verdict::Failed && begin.elapsed() >= SOON;
        checks.push(wrong);
        if !hangs {
            self.questions(step, checks);
        }
        let cases = match cases(self.plugin) {
            Ok(cases) => cases,
            Err(error) => return checks.push(check("tests", Err(error))),
        };
        let action =
            cases.first().map_or((step, json!(7)), |(_, case)| (case.step.as_str(), case.config.clone()));
        self.endings(Question::new(action.0, &action.1), checks);
        if cases.is_empty() {
            let text = "there are no tests/NAME.json with step and config".to_owned();
            checks.push(Check { name: "tests".to_owned(), verdict: Verdict::Skipped, text });
        }
        if self.plugin.is_worker() {
            let case = cases.first().map(|(_, case)| case.clone()).unwrap_or_else(|| Case::of(step));
            checks.push(check("worker", self.worker(&case)));
        }
        checks.extend(cases.iter().map(|(name, case)| check(&format!("tests/{name}"), self.case(case))));
    }

    fn wrong_configuration(&self, step: &str) -> Check {
        self.converse("wrong configuration", "", |kit, session, dirs| {
            let failure = kit.refused(session, dirs, Question::new(step, &json!(7)))?;
            match failure.class {
                Class::User => Ok(failure.message),
                other => Err(format!(
                    "it calls a wrong configuration {other:?}, and not user: {}",
                    failure.message
                )),
            }
        })
    }

    fn questions(&self, step: &str, checks: &mut Vec<Check>) {
        checks.push(self.converse("wrong step", "", |kit, session, dirs| {
            Ok(kit.refused(session, dirs, Question::new("dance", &json!({})))?.message)
        }));
        checks.push(self.validation());
        checks.push(self.converse("a long line", "", |kit, session, dirs| {
            let long = json!({ "long": "x".repeat(plugin::MAX_LINE - 8192) });
            kit.answered(session, dirs, Question::new(step, &long))
        }));
        checks.push(self.converse("unicode", " ünï \u{202e}🐝", |kit, session, dirs| {
            let strange = json!({ "ключ 🐝\u{202e}": ["\u{0}\u{1b}[2J\u{ffff}", "\\\"'$(id)`id`\n%s"] });
            kit.answered(session, dirs, Question::new(step, &strange))
        }));
    }

    fn validation(&self) -> Check {
        let mut can = true;
        let found = self.converse("validate", "", |_, session, _| {
            let hello = session.hello().map_err(|error| error.to_string())?;
            can = hello.features.iter().any(|feature| feature == "validate");
            if !can {
                session.leave();
                return Ok("it leaves that to its schema".to_owned());
            }
            let message = HostMessage::Validate(Validate { id: ID, config: json!(7) });
            session.send(&message).map_err(|error| error.to_string())?;
            match session.answer(ID, SOON).map_err(|error| error.to_string())? {
                Answer::Invalid(problems) => {
                    session.leave();
                    let first = problems.first().ok_or("it finds nothing wrong with the configuration 7")?;
                    Ok(first.message.clone())
                }
                Answer::Result(_) => Err("it answers validate with \"result\"".to_owned()),
            }
        });
        if can || found.verdict == Verdict::Failed {
            found
        } else {
            Check { verdict: Verdict::Skipped, ..found }
        }
    }

    /// Ends of an action that the plugin doesn't choose.
    fn endings(&self, asked: Question<'_>, checks: &mut Vec<Check>) {
        let end = |name: &str, talk: &dyn Fn(&Kit<'_>, &mut Session<'_>, &Dirs) -> Result<String, String>| {
            let folder = tempfile::tempdir().map_err(|error| error.to_string());
            check(name, folder.and_then(|folder| self.converse_in(&folder, "", asked.config, talk)))
        };
        checks.push(end("cancel", &|kit, session, dirs| {
            kit.begin(session, dirs, asked)?;
            session.send(&HostMessage::Cancel { id: ID }).map_err(|error| error.to_string())?;
            session.hang_up();
            if let Some(end) = session.wait(Instant::now() + AT_ONCE) {
                return Ok(end.to_string());
            }
            session.signal(Signal::TERM);
            match session.wait(Instant::now() + SOON) {
                Some(end) => Ok(format!("{end} on SIGTERM")),
                None => {
                    Err("cancelled, its stdin closed and asked by SIGTERM, it has to be killed".to_owned())
                }
            }
        }));
        checks.push(end("deadline", &|kit, session, dirs| {
            kit.begin(session, dirs, asked)?;
            session.signal(Signal::TERM);
            session.hang_up();
            match session.wait(Instant::now() + SOON) {
                Some(end) => Ok(end.to_string()),
                None => Err("asked by SIGTERM, it has to be killed".to_owned()),
            }
        }));
        checks.push(check("crash", self.crash(asked)));
    }

    /// Killed in the middle, it does the same afterwards as if nothing had been.
    fn crash(&self, asked: Question<'_>) -> Result<String, String> {
        let folder = || tempfile::tempdir().map_err(|error| error.to_string());
        let (clean, dirty) = (folder()?, folder()?);
        let whole = |kit: &Self, session: &mut Session<'_>, dirs: &Dirs| {
            let answer = kit.ask(session, dirs, Question { within: kit.plugin.timeout, ..asked })?;
            Ok(in_words(&answer))
        };
        let expected = self.converse_in(&clean, "", asked.config, whole)?;
        self.converse_in(&dirty, "-killed", asked.config, |kit, session, dirs| {
            kit.begin(session, dirs, asked)?;
            session.signal(Signal::KILL);
            Ok(String::new())
        })?;
        let found = self.converse_in(&dirty, "", asked.config, whole)?;
        match found == expected {
            true => Ok(format!("killed and started again: {found}")),
            false => Err(format!("killed and started again it says {found:?}, and {expected:?} otherwise")),
        }
    }

    /// Three actions in one process end alike.
    fn worker(&self, case: &Case) -> Result<String, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let dirs = Dirs::below(folder.path(), None).make().map_err(|error| error.to_string())?;
        let cage = confinement::cage(self.plugin, &dirs, &case.config, &case.request(&dirs)?.inputs);
        let mut ignore = |_| ();
        let session = Session::start(self.plugin, &dirs, &cage, None, &mut ignore);
        let mut session = session.map_err(|error| error.to_string())?;
        let hello = session.hello().map_err(|error| error.to_string())?;
        if !hello.features.iter().any(|feature| feature == "worker") {
            return Err("plugin.yaml says that it is a worker, and its hello has no such feature".to_owned());
        }
        let mut answers = Vec::new();
        for id in ID..ID + 3 {
            let own = Dirs::below(&folder.path().join(format!("action {id}")), None);
            let own = own.make().map_err(|error| error.to_string())?;
            let message = case.request(&own)?.message(&own, self.plugin, id);
            match session.ask_more(&message, id, self.plugin.timeout).map_err(|error| error.to_string())? {
                Answer::Result(outcome) => answers.push(in_words(&outcome)),
                Answer::Invalid(_) => return Err("it answers run with \"invalid\"".to_owned()),
            }
        }
        session.leave();
        match answers.iter().all(|answer| *answer == answers[0]) {
            true => Ok(format!("three actions in one process: {}", answers[0])),
            false => Err(format!("the same action in one process ends as {}", answers.join(", then "))),
        }
    }

    /// A file of `tests`, twice.
    fn case(&self, case: &Case) -> Result<String, String> {
        let run = || -> Result<Vec<String>, String> {
            let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
            let dirs = Dirs::below(&folder.path().join("work ünï"), Some(&folder.path().join("cache")));
            let mut noise = None;
            let result = self.plugin.run_request(&case.request(&dirs)?, &mut |event| {
                if let PluginEvent::Warning(warning) = event {
                    noise.get_or_insert(warning);
                }
            });
            let status = match &result {
                Ok(_) => "ok".to_owned(),
                Err(PluginError::Failed(failure)) => format!("{:?}", failure.class).to_lowercase(),
                Err(other) => return Err(other.to_string()),
            };
            if status != case.status {
                let why = result.err().map(|error| format!(": {error}")).unwrap_or_default();
                return Err(format!("it ends with {status}, and not with {}{why}", case.status));
            }
            if let Some(warning) = noise {
                return Err(warning);
            }
            let mut made = Vec::new();
            for result in result.iter() {
                for file in &result.outputs {
                    let digest = file.digest().map_err(|error| error.to_string())?;
                    made.push(format!("{} {digest}", file.name));
                }
                made.extend(result.kernels.iter().map(|kernel| kernel.id.clone()));
            }
            Ok(made)
        };
        let (first, second) = (run()?, run()?);
        if self.plugin.manifest.cache.pure && first != second {
            return Err("it is \"pure\" in plugin.yaml, and makes something else each time".to_owned());
        }
        let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        Ok(format!("{}, {}", case.status, many(first.len(), "output or kernel")))
    }

    /// What the plugin is asked first of all.
    fn step(&self) -> &'static str {
        match self.plugin.manifest.provides.first() {
            None | Some(Provides::Source) => RESOLVE,
            Some(other) => other.word(),
        }
    }

    /// Says hello and asks.
    fn begin(&self, session: &mut Session<'_>, dirs: &Dirs, asked: Question<'_>) -> Result<(), String> {
        session.hello().map_err(|error| error.to_string())?;
        let request = Request { action: "a test", ..Request::new(asked.step, asked.config, dirs) };
        let message = request.message(dirs, self.plugin, ID);
        session.send(&message).map_err(|error| error.to_string())
    }

    fn ask(&self, session: &mut Session<'_>, dirs: &Dirs, asked: Question<'_>) -> Result<Outcome, String> {
        self.begin(session, dirs, asked)?;
        match session.answer(ID, asked.within).map_err(|error| error.to_string())? {
            Answer::Result(outcome) => {
                session.leave();
                Ok(outcome)
            }
            Answer::Invalid(_) => Err("it answers run with \"invalid\"".to_owned()),
        }
    }

    /// What is asked for can't be done.
    fn refused(
        &self,
        session: &mut Session<'_>,
        dirs: &Dirs,
        asked: Question<'_>,
    ) -> Result<plugin::Failure, String> {
        let Question { step, config, .. } = asked;
        match self.ask(session, dirs, asked)? {
            Outcome::Error(failure) => Ok(failure),
            Outcome::Ok(_) => Err(format!("the step {step:?} with the configuration {config} ends with ok")),
        }
    }

    fn answered(
        &self,
        session: &mut Session<'_>,
        dirs: &Dirs,
        asked: Question<'_>,
    ) -> Result<String, String> {
        self.ask(session, dirs, asked).map(|outcome| in_words(&outcome))
    }
}

fn in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok(_) => "ok".to_owned(),
        Outcome::Error(failure) => failure.message.clone(),
    }
}

fn hello_line(protocol: u32, more: &str) -> String {
    let hello = HostMessage::Hello(Hello {
        protocols: vec![protocol],
        host: Identity { name: "btfpipe".to_owned(), version: "99.0.0".to_owned() },
        features: vec!["progress".to_owned(), "telepathy".to_owned()],
    });
    let line = hello.to_line().unwrap_or_default();
    line.replace("}\n", &format!("{more}}}\n"))
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// By name.
fn cases(plugin: &Plugin) -> Result<Vec<(String, Case)>, String> {
    let folder = plugin.folder.as_ref().map(|folder| folder.join("tests")).unwrap_or_default();
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let wrong = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(&path).map_err(|error| wrong(&error))?;
        // A test can name files that come with it.
        let text = text.replace("${plugin}", &plugin.folder.as_deref().unwrap_or(&folder).to_string_lossy());
        let case: Case = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
        Ok((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), case))
    };
    paths.into_iter().map(read).collect()
}

impl Report {
    /// Whether nothing failed.
    pub fn is_good(&self) -> bool {
        self.checks.iter().all(|check| check.verdict != Verdict::Failed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.plugin)?;
        for Check { name, verdict, text } in &self.checks {
            let word = match verdict {
                Verdict::Passed => "ok",
                Verdict::Skipped => "skip",
                Verdict::Failed => "FAILED",
            };
            let text: String =
                text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
            writeln!(f, "  {word:<6}  {name:<20} {}", text.replace('\n', "\n          "))?;
        }
        let failed = self.checks.iter().filter(|check| check.verdict == Verdict::Failed).count();
        match failed {
            0 => writeln!(f, "  {} checks, all is well", self.checks.len()),
            _ => writeln!(f, "  {} checks, {failed} failed", self.checks.len()),
        }
    }
}
