//! One piece of work in a process of its own: a crash in it is a result.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, setpgid, waitpid};

/// How the process ended.
pub enum Ended {
    /// It wrote all of this and exited with 0.
    Wrote(Vec<u8>),
    Signal(i32),
    Code(i32),
    TimedOut,
}

/// Runs `work` in a child that writes its answer into a pipe; kills it and its own children at `deadline`.
pub fn in_child(deadline: Instant, work: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Ended> {
    let (from_child, to_parent) = rustix::pipe::pipe()?;
    let Some(child) = fork()? else {
        drop(from_child);
        let mut out = File::from(to_parent);
        let code = i32::from(setpgid(None, None).is_err() || work(&mut out).is_err());
        std::process::exit(code);
    };
    drop(to_parent);
    let Some(answer) = read_until(File::from(from_child), deadline)? else {
        // The child may not have reached its setpgid yet: make the group exist before killing it.
        let _ = setpgid(Some(child), Some(child));
        kill_process_group(child, Signal::KILL)?;
        waitpid(Some(child), WaitOptions::empty())?;
        return Ok(Ended::TimedOut);
    };
    Ok(match waitpid(Some(child), WaitOptions::empty())? {
        Some((_, status)) if status.signaled() => Ended::Signal(status.terminating_signal().unwrap_or(0)),
        Some((_, status)) => match status.exit_status() {
            Some(0) => Ended::Wrote(answer),
            code => Ended::Code(code.unwrap_or(-1)),
        },
        None => Ended::Code(-1),
    })
}

/// All that comes before the end of file, or `None` when the deadline comes first.
fn read_until(mut pipe: File, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || !wait_readable(pipe.as_fd(), left)? {
            return Ok(None);
        }
        match pipe.read(&mut chunk)? {
            0 => return Ok(Some(bytes)),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

/// Until something can be read; false when the time is over.
pub fn wait_readable(pipe: BorrowedFd<'_>, left: Duration) -> io::Result<bool> {
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    let mut fds = [PollFd::from_borrowed_fd(pipe, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&timeout))? > 0)
}

/// `None` in the child.
#[allow(unsafe_code)]
pub fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: this program has one thread, so that the child may do anything that the parent may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Pid::from_raw(pid)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test harness has threads, so that these children do next to nothing.
    #[track_caller]
    fn check(work: impl FnOnce(&mut dyn Write) -> io::Result<()>, millis: u64, expect: &str) {
        let got = match in_child(Instant::now() + Duration::from_millis(millis), work).unwrap() {
            Ended::Wrote(answer) => format!("wrote {}", String::from_utf8(answer).unwrap()),
            Ended::Signal(signal) => format!("signal {signal}"),
            Ended::Code(code) => format!("code {code}"),
            Ended::TimedOut => "timed out".to_owned(),
        };
        assert_eq!(got, expect);
    }

    #[test]
    fn whatever_happens_to_the_child_is_an_answer() {
        check(|out| out.write_all(b"abc"), 60_000, "wrote abc");
        check(|_| Ok(()), 60_000, "wrote ");
        check(|_| Err(io::ErrorKind::Other.into()), 60_000, "code 1");
        check(|_| std::process::abort(), 60_000, "signal 6");
        check(segfault, 60_000, "signal 11");
    }

    #[allow(unsafe_code)]
    fn segfault(out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"half")?;
        // SAFETY: none: nothing is mapped there, and this is the point.
        let byte = unsafe { std::ptr::without_provenance::<u8>(8).read_volatile() };
        out.write_all(&[byte])
    }

    #[test]
    fn a_child_that_does_not_end_is_ended_with_its_own() {
        let forever = |_: &mut dyn Write| {
            fork()?;
            loop {
                std::thread::sleep(Duration::from_secs(1000));
            }
        };
        check(forever, 200, "timed out");
    }
}
