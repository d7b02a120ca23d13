//! Reads the guest's messages and believes them only as a whole: right number, no gap, every check answered.

use crate::attached::{Attached, token};
use crate::wire::{End, Frame, Hello, Message, NotAFrame, Program, decode};

/// The oldest libbpf that the embedded guests are built with; an older one was linked by accident: a distribution's libbpf.a in the
/// folder of libelf.a wins silently over the vendored one.
pub const LIBBPF: (u32, u32) = (1, 7);
/// The older one, which is to be no other.
pub const OLD_LIBBPF: (u32, u32) = (1, 1);

/// What the guest found out about one check.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub programs: Vec<Program>,
    /// What came of attaching them, where that was wanted.
    pub attached: Option<Attached>,
    pub end: End,
    /// What an event of this check carries.
    pub token: String,
}

/// What was said so far about a check.
#[derive(Debug, Default)]
struct Open {
    programs: Vec<Program>,
    attached: Option<Attached>,
}

/// The state of the conversation.
#[derive(Debug)]
pub struct Reader {
    nonce: String,
    /// What a guest that waits for its checks must say first.
    waiting: Option<String>,
    checks: u32,
    oldest_libbpf: (u32, u32),
    /// Whether checks want the older libbpf.
    old_libbpf: bool,
    seq: u32,
    hello: Option<Hello>,
    /// Whether each check must say what came of attaching.
    attach: bool,
    open: Option<Open>,
    answers: Vec<Answer>,
    /// How the session's command ended.
    exit: Option<i32>,
}

/// What a line changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Other text on the line: nothing.
    Nothing,
    /// The guest is up and wants its checks.
    Waiting,
    Ready,
    CheckBegin(usize),
    Program,
    CheckEnd(usize),
    Done,
}

/// Why the guest is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("a line of results arrived damaged: {0:?}")]
    Damaged(String),
    #[error("message {got} of the results came where {want} was due")]
    Sequence { want: u32, got: u32 },
    #[error("the results carry the number of another boot")]
    Nonce,
    #[error("the guest program links libbpf {0}, older than it may be: build it with \"cargo xtask guest\"")]
    Libbpf(String),
    #[error("the older libbpf of the guest is {0}, and not 1.1: build it with \"cargo xtask guest\"")]
    OldLibbpf(String),
    #[error("the guest was given {want} checks and speaks of {got}")]
    Count { want: u32, got: u32 },
    #[error("{0:?} came out of turn")]
    OutOfTurn(&'static str),
    #[error("the guest gave up: {0}")]
    GaveUp(String),
}

impl Reader {
    /// Waits for the hello of the guest that was given this number and this many checks.
    pub fn new(nonce: &str, checks: usize) -> Self {
        Reader {
            nonce: nonce.to_owned(),
            waiting: None,
            checks: u32::try_from(checks).unwrap_or(u32::MAX),
            oldest_libbpf: LIBBPF,
            old_libbpf: false,
            seq: 0,
            hello: None,
            attach: false,
            open: None,
            answers: Vec::new(),
            exit: None,
        }
    }

    /// Waits for a guest that was started with `boot`, and gets its checks and `nonce` later.
    pub fn waiting(boot: &str, nonce: &str, checks: usize) -> Self {
        Reader { waiting: Some(boot.to_owned()), ..Reader::new(nonce, checks) }
    }

    /// Lets a guest with an older libbpf speak.
    pub fn with_oldest_libbpf(self, oldest_libbpf: (u32, u32)) -> Self {
        Reader { oldest_libbpf, ..self }
    }

    /// Wants a guest that has the older libbpf as well.
    pub fn with_old_libbpf(self, old_libbpf: bool) -> Self {
        Reader { old_libbpf, ..self }
    }

    /// Wants to hear what came of attaching.
    pub fn with_attach(self, attach: bool) -> Self {
        Reader { attach, ..self }
    }

    /// The guest's hello.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// The exit code of a session's command.
    pub fn exit(&self) -> Option<i32> {
        self.exit
    }

    /// The check being made.
    pub fn current(&self) -> Option<usize> {
        self.open.as_ref().map(|_| self.answers.len())
    }

    /// All answers; to be asked after [`Progress::Done`].
    pub fn into_answers(self) -> Vec<Answer> {
        self.answers
    }

    /// Takes one line.
    pub fn take(&mut self, line: &str) -> Result<Progress, Broken> {
        let Frame { seq, message } = match decode(line) {
            Ok(frame) => frame,
            Err(NotAFrame::Foreign) => return Ok(Progress::Nothing),
            Err(NotAFrame::Damaged) => return Err(Broken::Damaged(line.chars().take(80).collect())),
        };
        if seq != self.seq {
            return Err(Broken::Sequence { want: self.seq, got: seq });
        }
        self.seq += 1;
        self.take_message(message)
    }

    fn take_message(&mut self, message: Message) -> Result<Progress, Broken> {
        let done = self.answers.len() as u32;
        match (message, &mut self.open) {
            (Message::Fatal { reason }, _) => Err(Broken::GaveUp(reason)),
            (Message::Waiting { nonce }, _) => self.wait(&nonce),
            _ if self.waiting.is_some() => Err(Broken::OutOfTurn("a message before the checks were given")),
            (Message::Hello(hello), _) if self.hello.is_none() => self.greet(hello),
            _ if self.hello.is_none() => Err(Broken::OutOfTurn("a message before the hello")),
            // A session has no checks.
            (Message::Exit { code }, None) if self.checks == 0 => {
                self.exit = Some(code);
                Ok(Progress::Done)
            }
            (Message::Exit { .. }, _) => Err(Broken::OutOfTurn("exit")),
            (Message::Begin { check }, None) if check == done && done < self.checks => {
                self.open = Some(Open::default());
                Ok(Progress::CheckBegin(self.answers.len()))
            }
            (Message::Program(program), Some(open)) if open.attached.is_none() => {
                open.programs.push(program);
                Ok(Progress::Program)
            }
            (Message::Attached(attached), Some(open))
                if self.attach && open.attached.is_none() && attached.check == done =>
            {
                open.attached = Some(attached);
                Ok(Progress::Program)
            }
            (Message::End(end), Some(open))
                if end.check == done && open.attached.is_some() == self.attach =>
            {
                let Open { programs, attached } = std::mem::take(open);
                self.open = None;
                let token = token(&self.nonce, done);
                self.answers.push(Answer { programs, attached, end, token });
                Ok(Progress::CheckEnd(self.answers.len() - 1))
            }
            (Message::Done { count }, None) if count == self.checks && done == self.checks => {
                Ok(Progress::Done)
            }
            (Message::Done { count }, None) => Err(Broken::Count { want: self.checks, got: count.min(done) }),
            (Message::Hello(_), _) => Err(Broken::OutOfTurn("hello")),
            (Message::Begin { .. }, _) => Err(Broken::OutOfTurn("begin")),
            (Message::Program(_), _) => Err(Broken::OutOfTurn("program")),
            (Message::Attached(_), _) => Err(Broken::OutOfTurn("attached")),
            (Message::End(_), _) => Err(Broken::OutOfTurn("end")),
            (Message::Done { .. }, Some(_)) => Err(Broken::OutOfTurn("done")),
        }
    }

    fn wait(&mut self, nonce: &str) -> Result<Progress, Broken> {
        match self.waiting.take() {
            None => Err(Broken::OutOfTurn("waiting")),
            Some(expected) if expected != nonce => Err(Broken::Nonce),
            Some(_) => {
                self.seq = 0;
                Ok(Progress::Waiting)
            }
        }
    }

    fn greet(&mut self, hello: Hello) -> Result<Progress, Broken> {
        if hello.nonce != self.nonce {
            return Err(Broken::Nonce);
        }
        if parse_version(&hello.libbpf) < Some(self.oldest_libbpf) {
            return Err(Broken::Libbpf(hello.libbpf));
        }
        let old = hello.old_libbpf.as_deref();
        if self.old_libbpf && old.and_then(parse_version) != Some(OLD_LIBBPF) {
            return Err(Broken::OldLibbpf(old.unwrap_or("not there").to_owned()));
        }
        if hello.checks != self.checks {
            return Err(Broken::Count { want: self.checks, got: hello.checks });
        }
        self.hello = Some(hello);
        Ok(Progress::Ready)
    }
}

/// `v1.7`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.strip_prefix('v')?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Pass, PassEnd, encode};

    const NONCE: &str = "n1";
    const LIBBPF: &str = "v1.7";

    fn hello(nonce: &str, libbpf: &str, checks: u32) -> Message {
        let (nonce, libbpf) = (nonce.to_owned(), libbpf.to_owned());
        Message::Hello(Hello {
            nonce,
            kernel: "6.1".into(),
            agent: "0".into(),
            libbpf,
            old_libbpf: None,
            btf: None,
            checks,
        })
    }

    fn end(check: u32) -> Message {
        let pass = Pass { end: PassEnd::Ok, millis: 1, log: None };
        Message::End(End { check, full: pass.clone(), visible: pass.clone(), hidden: pass })
    }

    /// The conversation about one check, as lines.
    fn good() -> Vec<String> {
        lines(&[hello(NONCE, LIBBPF, 1), Message::Begin { check: 0 }, end(0), Message::Done { count: 1 }])
    }

    fn lines(messages: &[Message]) -> Vec<String> {
        (0..).zip(messages).map(|(seq, message)| encode(seq, message).unwrap().trim().to_owned()).collect()
    }

    /// The last progress, or the first refusal.
    #[track_caller]
    fn check(lines: &[String], expect: Result<Progress, Broken>) {
        let mut reader = Reader::new(NONCE, 1);
        let mut last = Ok(Progress::Nothing);
        for line in lines {
            last = reader.take(line);
            if last.is_err() {
                break;
            }
        }
        assert_eq!(last, expect);
    }

    #[test]
    fn believes_a_whole_conversation() {
        check(&good(), Ok(Progress::Done));
        let mut noisy = good();
        noisy.insert(1, "[  3.1] some kernel message".into());
        noisy.insert(0, "\u{fffd}\u{fffd}SeaBIOS".into());
        check(&noisy, Ok(Progress::Done));
        check(&good()[..3], Ok(Progress::CheckEnd(0)));
    }

    #[test]
    fn refuses_anything_less() {
        let mut lines = good();
        lines.remove(1);
        check(&lines, Err(Broken::Sequence { want: 1, got: 2 }));
        let mut lines = good();
        lines.insert(2, lines[1].clone());
        check(&lines, Err(Broken::Sequence { want: 2, got: 1 }));
        let mut lines = good();
        lines[2].truncate(40);
        check(&lines, Err(Broken::Damaged(lines[2].clone())));
        let mut lines = good();
        lines[3] = lines[3].replace("\"count\":1", "\"count\":2");
        check(&lines, Err(Broken::Damaged(lines[3].clone())));
    }

    #[test]
    fn what_came_of_attaching_is_said_once_and_where_it_was_wanted() {
        let attached = |check| Message::Attached(Attached { check, sets: Vec::new() });
        let hi = || [hello(NONCE, LIBBPF, 1), Message::Begin { check: 0 }];
        let check = |attach, messages: &[Message], expect: Result<Progress, Broken>| {
            let mut reader = Reader::new(NONCE, 1).with_attach(attach);
            let all = hi().into_iter().chain(messages.iter().cloned()).collect::<Vec<_>>();
            let mut told = lines(&all).into_iter().map(|line| reader.take(&line));
            let last = told.by_ref().find(Result::is_err).or(Some(Ok(Progress::Done)));
            drop(told);
            assert_eq!(last, Some(expect), "{messages:?}");
            reader.into_answers()
        };
        let done = Message::Done { count: 1 };
        let answers = check(true, &[attached(0), end(0), done.clone()], Ok(Progress::Done));
        assert_eq!(answers[0].token, token(NONCE, 0));
        assert_eq!(answers[0].attached, Some(Attached { check: 0, sets: Vec::new() }));
        check(true, &[end(0), done.clone()], Err(Broken::OutOfTurn("end")));
        check(true, &[attached(0), attached(0)], Err(Broken::OutOfTurn("attached")));
        check(true, &[attached(1)], Err(Broken::OutOfTurn("attached")));
        check(true, &[attached(0), end(0), attached(0)], Err(Broken::OutOfTurn("attached")));
        check(false, &[attached(0), end(0), done], Err(Broken::OutOfTurn("attached")));
    }

    #[test]
    fn refuses_another_guest() {
        check(&lines(&[hello("n0", LIBBPF, 1)]), Err(Broken::Nonce));
        check(&lines(&[hello(NONCE, "v1.1", 1)]), Err(Broken::Libbpf("v1.1".into())));
        let mut old = Reader::new(NONCE, 1).with_oldest_libbpf((1, 1));
        assert_eq!(old.take_message(hello(NONCE, "v1.1", 1)), Ok(Progress::Ready));
        for (seen, right) in
            [(Some("v1.1"), true), (Some("v1.7"), false), (Some("does not start"), false), (None, false)]
        {
            let Message::Hello(hello) = hello(NONCE, LIBBPF, 1) else { panic!() };
            let hello = Hello { old_libbpf: seen.map(str::to_owned), ..hello };
            let got = Reader::new(NONCE, 1).with_old_libbpf(true).take_message(Message::Hello(hello));
            let wrong = || Err(Broken::OldLibbpf(seen.unwrap_or("not there").to_owned()));
            assert_eq!(got, if right { Ok(Progress::Ready) } else { wrong() });
        }
        check(&lines(&[hello(NONCE, "1.7", 1)]), Err(Broken::Libbpf("1.7".into())));
        check(&lines(&[hello(NONCE, "v1.10", 1)]), Ok(Progress::Ready));
        check(&lines(&[hello(NONCE, LIBBPF, 2)]), Err(Broken::Count { want: 1, got: 2 }));
        check(&lines(&[Message::Begin { check: 0 }]), Err(Broken::OutOfTurn("a message before the hello")));
    }

    #[test]
    fn refuses_messages_out_of_turn() {
        let hi = || hello(NONCE, LIBBPF, 1);
        check(&lines(&[hi(), hi()]), Err(Broken::OutOfTurn("hello")));
        check(&lines(&[hi(), Message::Begin { check: 1 }]), Err(Broken::OutOfTurn("begin")));
        check(&lines(&[hi(), end(0)]), Err(Broken::OutOfTurn("end")));
        check(&lines(&[hi(), Message::Done { count: 1 }]), Err(Broken::Count { want: 1, got: 0 }));
        let early = [hi(), Message::Begin { check: 0 }, Message::Done { count: 1 }];
        check(&lines(&early), Err(Broken::OutOfTurn("done")));
        let fatal = Message::Fatal { reason: "no memory".into() };
        check(&lines(&[hi(), fatal]), Err(Broken::GaveUp("no memory".into())));
    }
}
