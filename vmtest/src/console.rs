//! The guest's console: a file that QEMU writes, read as it grows. It is evidence and a sign of life, never a result.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// How many lines are kept.
const LINES: usize = 200;
/// A line without an end is cut here.
const LINE_MAX: usize = 4096;

/// What the kernel writes when it is past saving.
const DEATHS: [&str; 7] = [
    "Kernel panic",
    "end Kernel panic",
    "soft lockup",
    "rcu: INFO",
    "Oops",
    "IO-APIC + timer",
    "BUG: unable to handle",
];

/// The last lines of a growing text.
#[derive(Debug, Default)]
pub struct Tail {
    lines: VecDeque<String>,
    partial: Vec<u8>,
    death: Option<String>,
}

impl Tail {
    /// Takes more bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' || self.partial.len() >= LINE_MAX {
                self.end_line();
            }
            if byte != b'\n' {
                self.partial.push(byte);
            }
        }
    }

    /// The kept lines, the unfinished one last.
    pub fn into_lines(mut self) -> Vec<String> {
        if !self.partial.is_empty() {
            self.end_line();
        }
        self.lines.into()
    }

    /// The first line that says that the kernel died.
    pub fn death(&self) -> Option<&str> {
        self.death.as_deref()
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial).replace(|c: char| c.is_control() && c != '\t', "");
        self.partial.clear();
        if self.death.is_none() && DEATHS.iter().any(|death| line.contains(death)) {
            self.death = Some(line.trim().to_owned());
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

/// A console file and what was read of it.
#[derive(Debug)]
pub struct Console {
    file: File,
    /// Its last lines.
    pub tail: Tail,
}

impl Console {
    /// Makes an empty file for QEMU to write to.
    pub fn create(path: &Path) -> io::Result<Self> {
        File::create(path)?;
        Ok(Console { file: File::open(path)?, tail: Tail::default() })
    }

    /// Reads what came since the last time; true when something did.
    pub fn poll(&mut self) -> io::Result<bool> {
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes)?;
        self.tail.push(&bytes);
        Ok(!bytes.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(parts: &[&str]) -> Tail {
        let mut tail = Tail::default();
        parts.iter().for_each(|part| tail.push(part.as_bytes()));
        tail
    }

    #[test]
    fn keeps_the_last_lines() {
        assert_eq!(tail(&["a\r\nb", "c\nd"]).into_lines(), ["a", "bc", "d"]);
        let many: String = (0..500).map(|n| format!("{n}\n")).collect();
        let lines = tail(&[&many]).into_lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[199].as_str()), (200, "300", "499"));
        assert_eq!(tail(&[&"x".repeat(3 * LINE_MAX)]).into_lines().len(), 3);
        assert_eq!(tail(&["a\u{1b}[0mb\tc\n"]).into_lines(), ["a[0mb\tc"]);
    }

    #[test]
    fn sees_a_death_even_when_it_comes_in_two_parts() {
        let text = ["[ 1.0] Kernel pa", "nic - not syncing\n[ 1.1] Oops\n"];
        assert_eq!(tail(&text).death(), Some("[ 1.0] Kernel panic - not syncing"));
        assert_eq!(tail(&["all is well\n"]).death(), None);
    }
}
