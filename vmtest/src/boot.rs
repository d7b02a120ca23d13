//! One boot, from start to the last answer, under a watchdog on progress.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ChildStderr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::console::{Console, Tail};
use crate::failure::{Failure, Phase};
use crate::feed::{self, Feed, FeedError, Start, Unpacking};
use crate::process::{End, Input, Process, Wires};
use crate::qmp::Qmp;
use crate::report::VmEvent;
use crate::results::{Answer, Progress, Reader};
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
    /// Where everything that comes over the results' line is kept.
    pub results: &'a Path,
    pub nonce: &'a str,
    pub checks: usize,
    pub oldest_libbpf: (u32, u32),
    /// Whether the guest attaches.
    pub attach: bool,
    /// Whether the guest has the older libbpf, too.
    pub old_libbpf: bool,
    /// For a machine that gets its checks when it is up.
    pub feed: Option<Feed<'a>>,
    pub limits: Limits,
    /// Silence of the console before the guest is ready.
    pub quiet: Duration,
    /// The whole boot.
    pub cap: Duration,
}

/// What came of it, and the evidence.
pub struct Booted {
    pub answers: Result<Vec<Answer>, Failure>,
    /// How a session's command ended.
    pub exit: Option<i32>,
    pub hello: Option<Hello>,
    pub ready_seconds: Option<f64>,
    pub seconds: f64,
    pub console: Vec<String>,
    pub stderr: Vec<String>,
}

/// Boots or restores, and listens.
pub fn run(boot: &Boot<'_>, events: &mut dyn FnMut(VmEvent)) -> Booted {
    // Nothing is calibrated in a machine that is restored: it need not wait for its turn.
    let turn = boot.restores().is_none().then(|| BOOTING.lock().unwrap_or_else(PoisonError::into_inner));
    let state = boot.restores().map(feed::unpack);
    let console = match Console::create(boot.console) {
        Ok(console) => console,
        Err(error) => return not_started(error),
    };
    let input = if boot.feed.is_some() { Input::Socket } else { Input::Nothing };
    let started = Process::start(boot.command, input)
        .and_then(|(process, wires)| Watch::new(boot, turn, console, process, wires));
    match started {
        Ok(watch) => watch.run(state, events),
        Err(error) => not_started(error),
    }
}

impl Boot<'_> {
    /// The state that it goes on from.
    fn restores(&self) -> Option<&Path> {
        match self.feed?.start {
            Start::Restore { state } => Some(state),
            Start::Boot { .. } => None,
        }
    }

    fn reader(&self) -> Reader {
        let reader = match self.feed {
            Some(Feed { boot_nonce, start: Start::Boot { .. }, .. }) => {
                Reader::waiting(boot_nonce, self.nonce, self.checks)
            }
            _ => Reader::new(self.nonce, self.checks),
        };
        reader
            .with_oldest_libbpf(self.oldest_libbpf)
            .with_old_libbpf(self.old_libbpf)
            .with_attach(self.attach)
    }
}

fn not_started(error: io::Error) -> Booted {
    Booted {
        answers: Err(Failure::Start(error)),
        exit: None,
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
    /// Given back when the guest is up.
    turn: Option<MutexGuard<'static, ()>>,
    process: Process,
    console: Console,
    /// To speak to the guest.
    results: UnixStream,
    control: Option<UnixStream>,
    /// Kept open: QEMU's control socket.
    qmp: Option<Qmp>,
    lines: Receiver<String>,
    /// Where they are kept as evidence.
    heard: File,
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
        turn: Option<MutexGuard<'static, ()>>,
        console: Console,
        process: Process,
        wires: Wires,
    ) -> io::Result<Self> {
        let start = Instant::now();
        Ok(Watch {
            boot,
            turn,
            process,
            console,
            lines: read_lines(wires.results.try_clone()?),
            results: wires.results,
            control: wires.control,
            qmp: None,
            heard: File::create(boot.results)?,
            stderr: read_tail(wires.stderr),
            reader: boot.reader(),
            start,
            alive: start,
            console_spoke: false,
            ready_seconds: None,
            dying: None,
        })
    }

    fn run(mut self, state: Option<Unpacking>, events: &mut dyn FnMut(VmEvent)) -> Booted {
        let end = match self.restore(state) {
            Err(failure) => Err(failure),
            Ok(()) => loop {
                if let Some(end) = self.step(events) {
                    break end;
                }
            },
        };
        let seconds = self.seconds();
        drop(self.process);
        let _ = self.console.poll();
        let hello = self.reader.hello().cloned();
        Booted {
            exit: self.reader.exit(),
            answers: end.map(|()| self.reader.into_answers()),
            hello,
            ready_seconds: self.ready_seconds,
            seconds,
            console: self.console.tail.into_lines(),
            stderr: std::mem::take(&mut *self.stderr.lock().unwrap_or_else(PoisonError::into_inner))
                .into_lines(),
        }
    }

    /// Takes the state up, if the machine was started for one, and gives the checks.
    fn restore(&mut self, state: Option<Unpacking>) -> Result<(), Failure> {
        let (Some(state), Some(feed)) = (state, self.boot.feed) else {
            return Ok(());
        };
        let restored = self.take_control().and_then(|control| {
            let mut qmp = feed::restore(control, state)?;
            feed::fill(feed.memory, feed.work)?;
            feed::go_on(&mut qmp)?;
            give_disk(&mut qmp, feed)?;
            feed::tell(&self.results)?;
            Ok(qmp)
        });
        self.qmp = Some(restored.map_err(|reason| self.cannot_feed(reason))?);
        self.alive = Instant::now();
        Ok(())
    }

    /// The guest waits: keeps its state, and gives the checks. A state that cannot be kept costs a boot some other day.
    fn feed(&mut self, events: &mut dyn FnMut(VmEvent)) -> Result<(), Failure> {
        let Some(feed @ Feed { memory, work, start: Start::Boot { states, key }, .. }) = self.boot.feed
        else {
            return Ok(());
        };
        let opened = self.take_control().and_then(|control| Ok(feed::open(control)?));
        let mut qmp = opened.map_err(|reason| self.cannot_feed(reason))?;
        match feed::keep(&mut qmp, states, key) {
            Ok(bytes) => events(VmEvent::StateKept { bytes }),
            Err(reason) => events(VmEvent::StateNotKept { reason: reason.to_string() }),
        }
        let fed = give_disk(&mut qmp, feed).and_then(|()| {
            feed::fill(memory, work)?;
            Ok(feed::tell(&self.results)?)
        });
        self.qmp = Some(qmp);
        fed.map_err(|reason| self.cannot_feed(reason))
    }

    fn take_control(&mut self) -> Result<UnixStream, FeedError> {
        self.control.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into())
    }

    /// QEMU's end, if it ended, says more than its socket.
    fn cannot_feed(&self, reason: FeedError) -> Failure {
        let during = self.phase();
        match self.process.find_end() {
            Some(end) => Failure::Ended { end, during },
            None => Failure::Feed { reason, during },
        }
    }

    /// Waits for the next thing; `Some` when it was the last.
    fn step(&mut self, events: &mut dyn FnMut(VmEvent)) -> Option<Result<(), Failure>> {
        let received = self.lines.recv_timeout(TICK);
        self.listen(events);
        match received {
            Ok(line) => self.take(&line, events),
            Err(RecvTimeoutError::Timeout) => self.find_failure(false).map(Err),
            Err(RecvTimeoutError::Disconnected) => {
                // QEMU closed it, so it is about to end: no reason to spin.
                thread::sleep(TICK);
                self.find_failure(true).map(Err)
            }
        }
    }

    fn take(&mut self, line: &str, events: &mut dyn FnMut(VmEvent)) -> Option<Result<(), Failure>> {
        // Evidence only: a full disk must not change a verdict.
        let _ = writeln!(self.heard, "{line}");
        match self.reader.take(line) {
            Ok(Progress::Done) if self.console.tail.death().is_none() => Some(Ok(())),
            Ok(progress) => self.note(progress, line, events).err().map(Err),
            Err(reason) => Some(Err(Failure::Broken { reason, during: self.phase() })),
        }
    }

    fn note(
        &mut self,
        progress: Progress,
        line: &str,
        events: &mut dyn FnMut(VmEvent),
    ) -> Result<(), Failure> {
        match progress {
            Progress::Done => return Ok(()),
            Progress::Nothing => {
                // A session's output; between checks it is somebody else's noise, and no sign of life.
                if self.boot.checks > 0 || self.ready_seconds.is_none() {
                    return Ok(());
                }
                events(VmEvent::Output { line: line.to_owned() });
            }
            Progress::Program => {}
            Progress::Waiting => {
                self.turn = None;
                self.ready_seconds = Some(self.seconds());
                self.feed(events)?;
            }
            Progress::Ready => {
                self.turn = None;
                self.ready_seconds.get_or_insert(self.start.elapsed().as_secs_f64());
                let kernel = self.reader.hello().map(|hello| hello.kernel.clone()).unwrap_or_default();
                events(VmEvent::Ready { kernel, seconds: self.seconds() });
            }
            Progress::CheckBegin(index) => events(VmEvent::CheckBegin { index }),
            Progress::CheckEnd(index) => events(VmEvent::CheckEnd { index }),
        }
        self.alive = Instant::now();
        Ok(())
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
            Phase::Restore | Phase::Firmware | Phase::Kernel => self.boot.quiet,
            Phase::Guest | Phase::Check(_) => self.boot.limits.check,
        }
    }

    fn phase(&self) -> Phase {
        match (self.ready_seconds, self.reader.current()) {
            (Some(_), Some(index)) => Phase::Check(index),
            (Some(_), None) => Phase::Guest,
            (None, _) if self.boot.restores().is_some() => Phase::Restore,
            (None, _) if self.console_spoke => Phase::Kernel,
            (None, _) => Phase::Firmware,
        }
    }

    fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

fn give_disk(qmp: &mut Qmp, feed: Feed<'_>) -> Result<(), FeedError> {
    feed.disk.map_or(Ok(()), |bus| Ok(feed::plug_disk(qmp, bus)?))
}

/// Lines of the results as they come; the channel closes with the stream.
fn read_lines(stdout: UnixStream) -> Receiver<String> {
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
