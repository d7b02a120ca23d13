//! The second serial port: numbered lines to the host.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};

use crate::wire::{Message, encode};

/// The open line and the number of the next message.
pub struct Results {
    tty: File,
    seq: u32,
}

impl Results {
    /// Opens the device raw: the terminal layer must not turn newlines, echo or wait for a carrier.
    pub fn open(path: &str) -> io::Result<Self> {
        let tty = OpenOptions::new().read(true).write(true).open(path)?;
        let mut mode = tcgetattr(&tty)?;
        mode.make_raw();
        tcsetattr(&tty, OptionalActions::Now, &mode)?;
        Ok(Results { tty, seq: 0 })
    }

    pub fn send(&mut self, message: &Message) -> io::Result<()> {
        self.tty.write_all(encode(self.seq, message)?.as_bytes())?;
        self.seq += 1;
        Ok(())
    }

    /// The line itself, for a session.
    pub fn tty(&self) -> &File {
        &self.tty
    }

    /// Numbers the messages from 0 again.
    pub fn restart(&mut self) {
        self.seq = 0;
    }

    /// Reads until a line is this word.
    pub fn wait_for(&mut self, word: &str) -> io::Result<()> {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            self.tty.read_exact(&mut byte)?;
            match byte[0] {
                b'\n' if line == word.as_bytes() => return Ok(()),
                b'\n' => line.clear(),
                other => line.push(other),
            }
        }
    }

    /// Waits until the last byte left.
    pub fn drain(&self) -> io::Result<()> {
        Ok(tcdrain(&self.tty)?)
    }
}
