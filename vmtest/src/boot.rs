//! One boot, from start to the last answer, under a watchdog on progress.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{ChildStderr, ChildStdout};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::console::{Console, Tail};
use crate::process::{End, Process};
use crate::report::VmEvent;
use crate::results::{Answer, Broken, Progress, Reader};
use crate::spec::Limits;
use crate::wire::Hello;

/// How often the console and the process are looked at.
const TICK: Duration = Duration::from_millis(50);
/// After the kernel said that it dies, or QEMU ended: time for the rest of what they said.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The longest line of results.
const LINE_MAX: u64 = 4 << 20;

/// Machines boot one after the other: two that calibrate their timers on the same busy host starve each other, and
/// never come up.
static BOOTING: Mutex<()> = Mutex::new(());

/// What a boot needs.
pub struct Boot<'a> {
    pub command: &'a [OsString],
    pub console: &'a Path,
    pub nonce: &'a str,
    pub checks: usize,
    pub limits: Limits,
    /// Silence of the console before the guest is ready.
    pub quiet: Duration,
    /// The whole boot.
    pub cap: Duration,
}

/// What came of it, and the evidence.
pub struct Booted {
    pub answers: Result<Vec<Answer>, Failure>,
    pub hello: Option<Hello>,
    pub ready_seconds: Option<f64>,
    pub seconds: f64,
    pub console: Vec<String>,
    pub stderr: Vec<String>,
}

/// Why a boot gave no answers.
#[derive(Debug)]
pub enum Failure {
    /// QEMU or a file of the run could not be started or opened.
    Start(io::Error),
    /// QEMU ended before the guest was done.
    Ended { end: End, during: Phase },
    /// The kernel wrote that it dies.
    Died { line: String, during: Phase },
    /// Nothing happened for too long.
    Hang { during: Phase, seconds: u64 },
    /// The guest's messages cannot be believed.
    Broken { reason: Broken, during: Phase },
    /// It went on and on.
    Cap { during: Phase, seconds: u64 },
}

/// What the machine was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Firmware,
    Kernel,
    /// Between two checks.
    Guest,
    /// The check of that index.
    Check(usize),
}

impl Failure {
    /// When it happened; `None` before the start.
    pub fn during(&self) -> Option<Phase> {
        match self {
            Failure::Start(_) => None,
            Failure::Ended { during, .. }
            | Failure::Died { during, .. }
            | Failure::Hang { during, .. }
            | Failure::Broken { during, .. }
            | Failure::Cap { during, .. } => Some(*during),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Firmware => f.write_str("before the kernel's first word"),
            Phase::Kernel => f.write_str("while the kernel booted"),
            Phase::Guest => f.write_str("between two checks"),
            Phase::Check(index) => write!(f, "during check {}", index + 1),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Start(error) => write!(f, "cannot start QEMU: {error}"),
            Failure::Ended { end, during } => write!(f, "QEMU {end} {during}"),
            Failure::Died { line, during } => write!(f, "the kernel died {during}: {line}"),
            Failure::Hang { during, seconds } => write!(f, "nothing happened for {seconds} s {during}"),
            Failure::Broken { reason, during } => write!(f, "{reason} ({during})"),
            Failure::Cap { during, seconds } => {
                write!(f, "the time limit of {seconds} s was reached {during}: raise the timeout")
            }
        }
    }
}

/// Boots and listens.
pub fn run(boot: &Boot<'_>, events: &mut dyn FnMut(VmEvent)) -> Booted {
    let turn = BOOTING.lock().unwrap_or_else(PoisonError::into_inner);
    let console = match Console::create(boot.console) {
        Ok(console) => console,
        Err(error) => return not_started(error),
    };
    match Process::start(boot.command) {
        Ok((process, stdout, stderr)) => Watch::new(boot, turn, console, process, stdout, stderr).run(events),
        Err(error) => not_started(error),
    }
}

fn not_started(error: io::Error) -> Booted {
    Booted {
        answers: Err(Failure::Start(error)),
        hello: None,
        ready_seconds: None,
        seconds: 0.0,
        console: Vec::new(),
        stderr: Vec::new(),
    }
}

/// A running machine, observed.
struct Watch<'a> {
    boot: &'a Boot<'a>,
    /// Given back when the guest is ready.
    turn: Option<MutexGuard<'static, ()>>,
    process: Process,
    console: Console,
    lines: Receiver<String>,
    stderr: Arc<Mutex<Tail>>,
    reader: Reader,
    start: Instant,
    /// When something last happened that counts in this phase.
    alive: Instant,
    console_spoke: bool,
    ready_seconds: Option<f64>,
    /// Since when nothing good can come any more.
    dying: Option<Instant>,
}

impl<'a> Watch<'a> {
    fn new(
        boot: &'a Boot<'a>,
        turn: MutexGuard<'static, ()>,
        console: Console,
        process: Process,
        stdout: ChildStdout,
        stderr: ChildStderr,
    ) -> Self {
        let start = Instant::now();
        Watch {
            boot,
            turn: Some(turn),
            process,
            console,
            lines: read_lines(stdout),
            stderr: read_tail(stderr),
            reader: Reader::new(boot.nonce, boot.checks),
            start,
            alive: start,
            console_spoke: false,
            ready_seconds: None,
            dying: None,
        }
    }

    fn run(mut self, events: &mut dyn FnMut(VmEvent)) -> Booted {
        let end = loop {
            if let Some(end) = self.step(events) {
                break end;
            }
        };
        let seconds = self.seconds();
        drop(self.process);
        let _ = self.console.poll();
        let hello = self.reader.hello().cloned();
        Booted {
            answers: end.map(|()| self.reader.into_answers()),
            hello,
            ready_seconds: self.ready_seconds,
            seconds,
            console: self.console.tail.into_lines(),
            stderr: std::mem::take(&mut *self.stderr.lock().unwrap_or_else(PoisonError::into_inner))
                .into_lines(),
        }
    }

    /// Waits for the next thing; `Some` when it was the last.
    fn step(&mut self, events: &mut dyn FnMut(VmEvent)) -> Option<Result<(), Failure>> {
        let received = self.lines.recv_timeout(TICK);
        self.listen(events);
        match received {
            Ok(line) => match self.reader.take(&line) {
                Ok(Progress::Done) if self.console.tail.death().is_none() => return Some(Ok(())),
                Ok(progress) => self.note(progress, events),
                Err(reason) => {
                    return Some(Err(Failure::Broken { reason, during: self.phase() }));
                }
            },
            Err(RecvTimeoutError::Timeout) => return self.find_failure(false).map(Err),
            Err(RecvTimeoutError::Disconnected) => {
                // QEMU closed it, so it is about to end: no reason to spin.
                thread::sleep(TICK);
                return self.find_failure(true).map(Err);
            }
        }
        None
    }

    fn note(&mut self, progress: Progress, events: &mut dyn FnMut(VmEvent)) {
        match progress {
            Progress::Nothing | Progress::Done => return,
            Progress::Program => {}
            Progress::Ready => {
                self.turn = None;
                self.ready_seconds = Some(self.seconds());
                let kernel = self.reader.hello().map(|hello| hello.kernel.clone()).unwrap_or_default();
                events(VmEvent::Ready { kernel, seconds: self.seconds() });
            }
            Progress::CheckBegin(index) => events(VmEvent::CheckBegin { index }),
            Progress::CheckEnd(index) => events(VmEvent::CheckEnd { index }),
        }
        self.alive = Instant::now();
    }

    /// Reads the console. Once the guest is ready it is no sign of life any more: a kernel may complain for ever.
    fn listen(&mut self, events: &mut dyn FnMut(VmEvent)) {
        let spoke = self.console.poll().unwrap_or(false);
        if spoke && self.ready_seconds.is_none() {
            self.alive = Instant::now();
        }
        if spoke && !self.console_spoke {
            self.console_spoke = true;
            events(VmEvent::Console { seconds: self.seconds() });
        }
        if self.dying.is_none() && (self.console.tail.death().is_some() || self.process.find_end().is_some())
        {
            self.dying = Some(Instant::now());
        }
    }

    /// `silent`: no line of results will come any more.
    fn find_failure(&self, silent: bool) -> Option<Failure> {
        let during = self.phase();
        let end = self.process.find_end();
        if let Some(since) = self.dying {
            let over = since.elapsed() > LAST_WORDS || (silent && end.is_some());
            return over.then(|| self.death(end, during));
        }
        let (silence, limit) = (self.alive.elapsed(), self.limit(during));
        if silence > limit {
            return Some(Failure::Hang { during, seconds: silence.as_secs() });
        }
        let (total, cap) = (self.start.elapsed(), self.boot.cap);
        if self.ready_seconds.is_none() && total > self.boot.limits.ready {
            return Some(Failure::Hang { during, seconds: total.as_secs() });
        }
        (total > cap).then_some(Failure::Cap { during, seconds: cap.as_secs() })
    }

    fn death(&self, end: Option<End>, during: Phase) -> Failure {
        match (self.console.tail.death(), end) {
            (None, Some(end)) => Failure::Ended { end, during },
            (line, _) => Failure::Died { line: line.unwrap_or_default().to_owned(), during },
        }
    }

    fn limit(&self, during: Phase) -> Duration {
        match during {
            Phase::Firmware | Phase::Kernel => self.boot.quiet,
            Phase::Guest | Phase::Check(_) => self.boot.limits.check,
        }
    }

    fn phase(&self) -> Phase {
        match (self.ready_seconds, self.reader.current()) {
            (Some(_), Some(index)) => Phase::Check(index),
            (Some(_), None) => Phase::Guest,
            (None, _) if self.console_spoke => Phase::Kernel,
            (None, _) => Phase::Firmware,
        }
    }

    fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

/// Lines of the results as they come; the channel closes with the stream.
fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (send, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        while matches!(stdout.by_ref().take(LINE_MAX).read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line);
            if send.send(text.trim_end_matches(['\n', '\r']).to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    lines
}

/// The last lines of what QEMU itself says.
fn read_tail(mut stderr: ChildStderr) -> Arc<Mutex<Tail>> {
    let tail = Arc::new(Mutex::new(Tail::default()));
    let shared = Arc::clone(&tail);
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = stderr.read(&mut bytes) {
            shared.lock().unwrap_or_else(PoisonError::into_inner).push(&bytes[..n]);
        }
    });
    tail
}
