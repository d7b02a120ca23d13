//! One conversation with a plugin, from hello to its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use ::cage::Cage;
use plugin::{
    Hello, HostMessage, Identity, LineError, MAX_LINE, Outcome, PROTOCOL, PluginHello, PluginMessage, Problem,
};
use rustix::process::Signal;

use super::error::Tail;
use super::process::{End, Process};
use super::watch::{Excess, Watch};
use super::{Dirs, Plugin, PluginError, PluginEvent};

/// What comes out of the process.
enum Heard {
    Line(Vec<u8>),
    TooLong,
    /// The end of stdout.
    Closed,
    Stderr(String),
}

/// Why there is no next message.
pub(super) enum Stop {
    Deadline,
    Cancelled,
    TooLong,
    Closed,
    Excess(Excess),
}

/// The plugin's answer to a request.
pub(super) enum Answer {
    Result(Outcome),
    Invalid(Vec<Problem>),
}

/// How often the wish to give up is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// The longest line of stderr; the rest is the next line.
const LONGEST_STDERR: u64 = 4096;

/// A running plugin, with nobody who speaks with it.
pub(super) struct Line {
    process: Process,
    watch: Watch,
    /// Dropped, it closes the plugin's stdin.
    to_plugin: Option<Sender<String>>,
    from_plugin: Receiver<Heard>,
    tail: Tail,
    /// What has been complained of.
    complained: Vec<&'static str>,
}

/// A conversation with a running plugin.
pub(super) struct Session<'a> {
    plugin: &'a Plugin,
    line: Line,
    cancel: Option<&'a AtomicBool>,
    events: &'a mut dyn FnMut(PluginEvent),
}

impl Line {
    /// Whether the process runs.
    pub fn is_up(&mut self) -> bool {
        self.process.find_end().is_none()
    }
}

impl<'a> Session<'a> {
    /// Starts the plugin.
    pub fn start(
        plugin: &'a Plugin,
        dirs: &Dirs,
        cage: &Cage,
        cancel: Option<&'a AtomicBool>,
        events: &'a mut dyn FnMut(PluginEvent),
    ) -> Result<Session<'a>, PluginError> {
        let mut process =
            Process::start(plugin, dirs, cage).map_err(|error| plugin.io(&plugin.program, error))?;
        let missing = plugin.level.missing();
        if !missing.is_empty() {
            events(PluginEvent::Uncaged(format!("on this machine plugins can {}", missing.join("; "))));
        }
        let (to_plugin, lines) = mpsc::channel();
        // Bounded: who writes faster than we read has to wait.
        let (heard, from_plugin) = mpsc::sync_channel(64);
        if let Some(stdin) = process.child.stdin.take() {
            thread::spawn(move || write_lines(stdin, &lines));
        }
        if let Some(stdout) = process.child.stdout.take() {
            let heard = heard.clone();
            thread::spawn(move || read_lines(stdout, &heard));
        }
        if let Some(stderr) = process.child.stderr.take() {
            thread::spawn(move || read_stderr(stderr, &heard));
        }
        let line = Line {
            watch: Watch::new(plugin, process.group(), dirs),
            process,
            to_plugin: Some(to_plugin),
            from_plugin,
            tail: Tail::default(),
            complained: Vec::new(),
        };
        Ok(Session::on(line, plugin, cancel, events))
    }

    /// Goes on with a plugin that runs already.
    pub fn on(
        line: Line,
        plugin: &'a Plugin,
        cancel: Option<&'a AtomicBool>,
        events: &'a mut dyn FnMut(PluginEvent),
    ) -> Session<'a> {
        Session { plugin, line, cancel, events }
    }

    /// Lets the plugin run on. What it wrote so far is nobody's last words.
    pub fn hang_on(mut self) -> Line {
        self.line.tail = Tail::default();
        self.line
    }

    /// Exchanges hellos.
    pub fn hello(&mut self) -> Result<PluginHello, PluginError> {
        self.send(&HostMessage::Hello(Hello {
            protocols: vec![PROTOCOL],
            host: Identity { name: "btfpipe".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
            features: ["progress", "cancel", "validate"].map(String::from).to_vec(),
        }))?;
        let within = self.plugin.limits.hello;
        let until = Instant::now() + within;
        match self.listen(until) {
            Ok(PluginMessage::Hello(hello)) if hello.protocol == PROTOCOL => {
                (self.events)(PluginEvent::Started(Identity {
                    name: printable(&hello.plugin.name),
                    version: printable(&hello.plugin.version),
                }));
                Ok(hello)
            }
            Ok(PluginMessage::Hello(hello)) => {
                let problem = format!("speaks protocol {}, and btfpipe speaks {PROTOCOL}", hello.protocol);
                Err(self.broken(problem))
            }
            Ok(_) => Err(self.broken("speaks before it says hello".to_owned())),
            Err(Stop::Deadline) => {
                self.kill();
                Err(PluginError::NoHello {
                    plugin: self.plugin.name().to_owned(),
                    program: self.plugin.program.clone(),
                    within,
                    tail: self.line.tail.clone(),
                })
            }
            Err(stop) => Err(self.stop(stop, 0, within)),
        }
    }

    /// Asks for one thing and waits until the plugin has answered and ended.
    pub fn ask(mut self, message: &HostMessage, id: u64, within: Duration) -> Result<Answer, PluginError> {
        self.send(message)?;
        let answer = self.answer(id, within)?;
        self.leave();
        self.measured(answer, id, within)
    }

    /// The same of a plugin that runs on.
    pub fn ask_more(
        &mut self,
        message: &HostMessage,
        id: u64,
        within: Duration,
    ) -> Result<Answer, PluginError> {
        self.send(message)?;
        let answer = self.answer(id, within)?;
        self.measured(answer, id, within)
    }

    fn measured(&mut self, answer: Answer, id: u64, within: Duration) -> Result<Answer, PluginError> {
        match self.line.watch.measure() {
            Some(excess) => Err(self.stop(Stop::Excess(excess), id, within)),
            None => Ok(answer),
        }
    }

    /// Waits for the answer to what was asked as `id`.
    pub fn answer(&mut self, id: u64, within: Duration) -> Result<Answer, PluginError> {
        let until = Instant::now() + within;
        loop {
            match self.listen(until) {
                Ok(PluginMessage::Result(result)) if result.id == id => {
                    return Ok(Answer::Result(result.outcome));
                }
                Ok(PluginMessage::Invalid(invalid)) if invalid.id == id => {
                    return Ok(Answer::Invalid(invalid.problems));
                }
                Ok(PluginMessage::Progress(progress)) => (self.events)(PluginEvent::Progress {
                    done: progress.done,
                    total: progress.total,
                    unit: printable(&progress.unit),
                    message: printable(&progress.message),
                }),
                Ok(PluginMessage::Log(log)) => (self.events)(PluginEvent::Log {
                    level: log.level,
                    message: printable(&log.message),
                    fields: log.fields,
                }),
                Ok(PluginMessage::Hello(_)) => self.complain("hello", "says hello again".to_owned()),
                Ok(PluginMessage::Result(_) | PluginMessage::Invalid(_)) => {
                    self.complain("id", "answers what nobody asked".to_owned());
                }
                Err(stop) => return Err(self.stop(stop, id, within)),
            }
        }
    }

    /// Says goodbye, and helps where the plugin doesn't go.
    pub fn leave(&mut self) {
        let _ = self.send(&HostMessage::Shutdown);
        self.line.to_plugin = None;
        let start = Instant::now();
        let limits = self.plugin.limits;
        let end = self.wait(start + limits.exit).or_else(|| {
            self.line.process.signal(Signal::TERM);
            self.wait(start + limits.exit + limits.terminate)
        });
        self.kill();
        match end {
            Some(end) if end.is_good() => {}
            Some(end) => self.complain("end", format!("{end} after its result")),
            None => self.complain("end", "did not end after its result, and was killed".to_owned()),
        }
    }

    /// The next message of the plugin; everything else is dealt with on the way.
    pub fn listen(&mut self, until: Instant) -> Result<PluginMessage, Stop> {
        loop {
            if self.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                return Err(Stop::Cancelled);
            }
            if let Some(excess) = self.line.watch.look() {
                return Err(Stop::Excess(excess));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Stop::Deadline);
            }
            match self.line.from_plugin.recv_timeout(left.min(GLANCE)) {
                Ok(Heard::Line(line)) => {
                    if let Some(message) = self.parse(&line) {
                        return Ok(message);
                    }
                }
                Ok(Heard::Stderr(line)) => self.note_stderr(line),
                Ok(Heard::TooLong) => return Err(Stop::TooLong),
                Ok(Heard::Closed) | Err(RecvTimeoutError::Disconnected) => return Err(Stop::Closed),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn parse(&mut self, line: &[u8]) -> Option<PluginMessage> {
        let text = String::from_utf8_lossy(line);
        match PluginMessage::parse(&text) {
            Ok(message) => return Some(message),
            Err(LineError::NotAMessage) => {
                let start: String = printable(&text).chars().take(80).collect();
                self.complain("text", format!("writes to stdout what is no message: {start}"));
            }
            Err(error @ LineError::UnknownType(_)) => {
                self.complain("type", format!("sends what is ignored: {error}"))
            }
            Err(error @ LineError::Malformed { .. }) => {
                self.complain("malformed", format!("sends what is ignored: {error}"));
            }
        }
        None
    }

    /// One warning of each kind.
    fn complain(&mut self, kind: &'static str, problem: String) {
        if !self.line.complained.contains(&kind) {
            self.line.complained.push(kind);
            (self.events)(PluginEvent::Warning(format!("plugin {} {problem}", self.plugin.name())));
        }
    }

    fn note_stderr(&mut self, line: String) {
        self.line.tail.add(line.clone());
        (self.events)(PluginEvent::Stderr(line));
    }

    pub fn send(&self, message: &HostMessage) -> Result<(), PluginError> {
        self.say(message.to_line().map_err(|error| self.plugin.start(error.into()))?);
        Ok(())
    }

    /// Sends a line, which ends with a newline, whatever it says.
    pub fn say(&self, line: String) {
        if let Some(to_plugin) = &self.line.to_plugin {
            // An error means that the plugin doesn't read any more; what it says tells more.
            let _ = to_plugin.send(line);
        }
    }

    /// Closes the plugin's stdin.
    pub fn hang_up(&mut self) {
        self.line.to_plugin = None;
    }

    pub fn signal(&self, signal: Signal) {
        self.line.process.signal(signal);
    }

    /// Ends the process in the way that the reason asks for.
    fn stop(&mut self, stop: Stop, id: u64, within: Duration) -> PluginError {
        let plugin = self.plugin.name().to_owned();
        match stop {
            Stop::Deadline => {
                self.give_up(id);
                PluginError::Deadline { plugin, within, tail: self.line.tail.clone() }
            }
            Stop::Cancelled => {
                self.give_up(id);
                PluginError::Cancelled { plugin }
            }
            Stop::Excess(excess) => {
                self.kill();
                PluginError::Excess { plugin, excess, tail: self.line.tail.clone() }
            }
            Stop::TooLong => self.broken(format!("writes a line of more than {MAX_LINE} bytes")),
            Stop::Closed => {
                let end = self.wait(Instant::now() + self.plugin.limits.exit);
                self.kill();
                let how = end.map_or("closed its stdout".to_owned(), |end| end.to_string());
                PluginError::Crashed {
                    plugin,
                    program: self.plugin.program.clone(),
                    how,
                    tail: self.line.tail.clone(),
                }
            }
        }
    }

    fn broken(&mut self, problem: String) -> PluginError {
        self.kill();
        PluginError::Protocol { plugin: self.plugin.name().to_owned(), problem, tail: self.line.tail.clone() }
    }

    /// First asks, then insists.
    fn give_up(&mut self, id: u64) {
        let _ = self.send(&HostMessage::Cancel { id });
        self.line.to_plugin = None;
        let start = Instant::now();
        let limits = self.plugin.limits;
        if self.wait(start + limits.terminate).is_none() {
            self.line.process.signal(Signal::TERM);
            self.wait(start + limits.kill);
        }
        self.kill();
    }

    /// Waits for the end, with open ears: who can't write can't end.
    pub fn wait(&mut self, until: Instant) -> Option<End> {
        loop {
            if let Some(end) = self.line.process.find_end() {
                return Some(end);
            }
            if self.line.watch.look().is_some() {
                self.line.process.signal(Signal::KILL);
            }
            if Instant::now() >= until {
                return None;
            }
            match self.line.from_plugin.recv_timeout(Duration::from_millis(5)) {
                Ok(Heard::Stderr(line)) => self.note_stderr(line),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Kills what is left of the process group, and hears the last words.
    fn kill(&mut self) {
        self.line.process.signal(Signal::KILL);
        let until = Instant::now() + Duration::from_millis(500);
        while let Ok(heard) =
            self.line.from_plugin.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            if let Heard::Stderr(line) = heard {
                self.note_stderr(line);
            }
        }
    }
}

/// Writes until the plugin is gone, or nothing more comes.
fn write_lines(mut stdin: ChildStdin, lines: &Receiver<String>) {
    for line in lines {
        if stdin.write_all(line.as_bytes()).is_err() {
            return;
        }
    }
}

fn read_lines(stdout: ChildStdout, heard: &SyncSender<Heard>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        let read = (&mut stdout).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line);
        let ended = line.pop_if(|last| *last == b'\n').is_some();
        let message = match read {
            Ok(0) | Err(_) => Heard::Closed,
            Ok(_) if !ended && line.len() > MAX_LINE => Heard::TooLong,
            Ok(_) => Heard::Line(line),
        };
        let last = !matches!(message, Heard::Line(_));
        if heard.send(message).is_err() || last {
            return;
        }
    }
}

fn read_stderr(stderr: ChildStderr, heard: &SyncSender<Heard>) {
    let mut stderr = BufReader::new(stderr);
    loop {
        let mut line = Vec::new();
        match (&mut stderr).take(LONGEST_STDERR).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                if heard.send(Heard::Stderr(printable(text.trim_end_matches(['\n', '\r'])))).is_err() {
                    return;
                }
            }
        }
    }
}

/// One line that does nothing to a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
