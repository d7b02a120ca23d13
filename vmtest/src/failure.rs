//! Why a boot gave no answers, and what the machine was doing.

use std::fmt;
use std::io;

use crate::feed::FeedError;
use crate::process::End;
use crate::results::Broken;

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
    /// Its state could not be restored, or it could not be given its checks.
    Feed { reason: FeedError, during: Phase },
    /// The guest's messages cannot be believed.
    Broken { reason: Broken, during: Phase },
    /// It went on and on.
    Cap { during: Phase, seconds: u64 },
}

/// What the machine was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Going on from a kept state.
    Restore,
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
            | Failure::Feed { during, .. }
            | Failure::Broken { during, .. }
            | Failure::Cap { during, .. } => Some(*during),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Restore => f.write_str("while its state was restored"),
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
            Failure::Feed { reason, during } => write!(f, "{reason} ({during})"),
            Failure::Broken { reason, during } => write!(f, "{reason} ({during})"),
            Failure::Cap { during, seconds } => {
                write!(f, "the time limit of {seconds} s was reached {during}: raise the timeout")
            }
        }
    }
}
