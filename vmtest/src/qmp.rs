//! QEMU's control socket: one JSON a line.

use std::io::{self, BufRead, BufReader, IoSlice, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

/// How long QEMU may think about a command, and how long a state may take to move.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why QEMU did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// It hung up, or said nothing for too long.
    #[error("QEMU's control socket: {0}")]
    Io(#[from] io::Error),
    /// It said something that is not its protocol.
    #[error("QEMU's control socket said {0:?}")]
    Foreign(String),
    /// It refused.
    #[error("QEMU refused {command}: {reason}")]
    Refused {
        /// The command.
        command: &'static str,
        /// Its words.
        reason: String,
    },
    /// The state could not be moved.
    #[error("QEMU's migration {0}")]
    Migration(String),
}

/// The open socket.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Exchanges greetings.
    pub fn greet(stream: UnixStream) -> Result<Self, QmpError> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut qmp = Qmp { stream: BufReader::new(stream) };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            return Err(QmpError::Foreign(greeting.to_string()));
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// One command, and its answer.
    pub fn execute(&mut self, command: &'static str, arguments: Value) -> Result<Value, QmpError> {
        self.send(command, arguments, None)
    }

    /// Gives QEMU a file to use under a name.
    pub fn give(&mut self, name: &str, file: impl AsFd) -> Result<(), QmpError> {
        self.send("getfd", json!({ "fdname": name }), Some(file.as_fd())).map(drop)
    }

    /// Waits until a migration that was started ends.
    pub fn wait_for_migration(&mut self) -> Result<(), QmpError> {
        loop {
            let event = self.read()?;
            if event.get("event").and_then(Value::as_str) != Some("MIGRATION") {
                continue;
            }
            match event.pointer("/data/status").and_then(Value::as_str) {
                Some("completed") => return Ok(()),
                Some(bad @ ("failed" | "cancelled")) => return Err(QmpError::Migration(bad.to_owned())),
                _ => {}
            }
        }
    }

    fn send(
        &mut self,
        command: &'static str,
        arguments: Value,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<Value, QmpError> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string().into_bytes();
        line.push(b'\n');
        match file {
            None => self.stream.get_mut().write_all(&line)?,
            Some(file) => send_with(self.stream.get_ref(), &line, file)?,
        }
        loop {
            let mut answer = self.read()?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                let reason = error.get("desc").and_then(Value::as_str).unwrap_or_default().to_owned();
                return Err(QmpError::Refused { command, reason });
            }
        }
    }

    fn read(&mut self) -> Result<Value, QmpError> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        serde_json::from_str(&line).map_err(|_| QmpError::Foreign(line.trim().chars().take(80).collect()))
    }
}

/// The first byte carries the file; what is left of the line follows.
fn send_with(mut stream: &UnixStream, line: &[u8], file: BorrowedFd<'_>) -> io::Result<()> {
    let files = [file];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent = sendmsg(stream, &[IoSlice::new(line)], &mut ancillary, SendFlags::NOSIGNAL)?;
    stream.write_all(&line[sent..])
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::thread;

    use super::*;

    /// A QEMU that answers with these lines, one after each line that it gets; the first is its greeting.
    fn qemu(answers: &'static [&'static str]) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut commands = BufReader::new(theirs.try_clone().unwrap());
            let mut theirs = theirs;
            for answer in answers {
                writeln!(theirs, "{answer}").unwrap();
                commands.read_line(&mut String::new()).unwrap();
            }
        });
        ours
    }

    #[test]
    fn commands_events_and_refusals() {
        let stream = qemu(&[
            r#"{"QMP": {}}"#,
            r#"{"return": {}}"#,
            "{\"event\": \"STOP\"}\n{\"return\": 5}",
            "{\"return\": {}}",
            r#"{"error": {"class": "GenericError", "desc": "no such file"}}"#,
            "{\"event\": \"MIGRATION\", \"data\": {\"status\": \"active\"}}\n{\"event\": \"MIGRATION\", \"data\": {\"status\": \"failed\"}}",
        ]);
        let mut qmp = Qmp::greet(stream).unwrap();
        assert_eq!(qmp.execute("stop", json!({})).unwrap(), 5);
        qmp.give("state", File::open("/dev/null").unwrap()).unwrap();
        let refused = qmp.execute("migrate", json!({"uri": "fd:x"})).unwrap_err();
        assert_eq!(refused.to_string(), "QEMU refused migrate: no such file");
        // Any line makes this one say its next word.
        qmp.stream.get_mut().write_all(b"\n").unwrap();
        assert_eq!(qmp.wait_for_migration().unwrap_err().to_string(), "QEMU's migration failed");
    }

    #[test]
    fn what_is_no_qemu_is_refused() {
        assert!(matches!(Qmp::greet(qemu(&["hello"])), Err(QmpError::Foreign(_))));
        assert!(matches!(Qmp::greet(qemu(&["{}"])), Err(QmpError::Foreign(_))));
        assert!(matches!(Qmp::greet(qemu(&[])), Err(QmpError::Io(_))));
    }
}
