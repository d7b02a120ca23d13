//! Who does what programs watch: a child with a name of its own.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use crate::fork::fork;

use super::event::hex;

/// A value that the event must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    Number(i128),
    /// Told so that the token's digits can be seen in it.
    Hex(u64),
    /// From the first to the last.
    Between(i128, i128),
    /// Up to its NUL.
    Text(String),
    /// The first bytes.
    Bytes(Vec<u8>),
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Want::Number(number) => write!(f, "{number}"),
            Want::Hex(number) => write!(f, "{number:016x}"),
            Want::Between(first, last) => write!(f, "{first}..{last}"),
            Want::Text(text) => f.write_str(text),
            Want::Bytes(bytes) => f.write_str(&hex(bytes)),
        }
    }
}

/// The fields of the event that must come, or why nothing was done.
pub type Wants = Result<Vec<(&'static str, Want)>, String>;

/// One thing that was done.
pub struct Done {
    pub what: &'static str,
    /// Last words of the sections of the programs that report it; all if there is none.
    pub hooks: &'static [&'static str],
    pub wants: Wants,
}

/// What all that is done has in common.
pub struct Scene<'a> {
    /// The check's own.
    pub token: &'a str,
    /// What whoever does something is called.
    pub comm: String,
    /// This process.
    pub parent: i128,
}

/// Someone who did something, and is gone.
pub struct Actor {
    pub pid: i128,
    /// What it wrote.
    pub said: Vec<u8>,
    /// What it used.
    pub usage: libc::rusage,
    /// From before its start to after its end.
    pub nanos: i128,
}

impl<'a> Scene<'a> {
    /// This process takes the name, too.
    pub fn new(token: &'a str) -> io::Result<Self> {
        let comm = format!("vm-{token}");
        set_name(&comm)?;
        Ok(Scene { token, comm, parent: std::process::id().into() })
    }

    /// Has it done by a child; an error in it is what it could not do.
    pub fn act(&self, work: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Actor, String> {
        self.try_act(work).map_err(|error| error.to_string())
    }

    fn try_act(&self, work: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Actor> {
        let (from_child, to_parent) = rustix::pipe::pipe()?;
        let start = Instant::now();
        let Some(child) = fork()? else {
            drop(from_child);
            let mut out = File::from(to_parent);
            if let Err(error) = set_name(&self.comm).and_then(|()| work(&mut out)) {
                let _ = write!(out, "{error}");
                leave(FAILED);
            }
            leave(0);
        };
        drop(to_parent);
        let mut said = Vec::new();
        File::from(from_child).read_to_end(&mut said)?;
        let pid = child.as_raw_nonzero().get();
        let (status, usage) = wait(pid)?;
        if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == FAILED {
            return Err(io::Error::other(String::from_utf8_lossy(&said).into_owned()));
        }
        Ok(Actor { pid: pid.into(), said, usage, nanos: start.elapsed().as_nanos() as i128 })
    }

    /// The head of what a child caused itself.
    pub fn head(&self, actor: &Actor) -> Vec<(&'static str, Want)> {
        vec![
            ("head.tgid", Want::Number(actor.pid)),
            ("head.tid", Want::Number(actor.pid)),
            ("head.parent", Want::Number(self.parent)),
            ("head.comm", Want::Text(self.comm.clone())),
        ]
    }
}

/// Exit code of a child that could not do it.
const FAILED: i32 = 111;

/// Ends this process without another word.
#[allow(unsafe_code)]
pub fn leave(code: i32) -> ! {
    // SAFETY: it does not come back.
    unsafe { libc::_exit(code) }
}

#[allow(unsafe_code)]
fn wait(pid: i32) -> io::Result<(i32, libc::rusage)> {
    let mut status = 0;
    // SAFETY: all zeros is a rusage, and both are written to.
    let (ended, usage) = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        (libc::wait4(pid, &mut status, 0, &mut usage), usage)
    };
    if ended < 0 { Err(io::Error::last_os_error()) } else { Ok((status, usage)) }
}

/// What the kernel calls this process; 15 bytes at most.
#[allow(unsafe_code)]
pub fn set_name(name: &str) -> io::Result<()> {
    let mut bytes = [0_u8; 16];
    let kept = name.len().min(bytes.len() - 1);
    bytes[..kept].copy_from_slice(&name.as_bytes()[..kept]);
    // SAFETY: it reads 16 bytes up to a NUL.
    done(unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) }.into()).map(drop)
}

/// The result of a system call.
pub fn done(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The number of the name space that this process is in.
pub fn name_space(kind: &str) -> Want {
    let inode = fs::metadata(format!("/proc/self/ns/{kind}")).map_or(-1, |seen| seen.ino().into());
    Want::Number(inode)
}
