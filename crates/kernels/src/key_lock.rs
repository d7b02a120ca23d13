//! One at a time, across processes: a lock per key, that says who holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use crate::Error;

/// Enough to recognize a command.
const MAX_COMMAND: usize = 200;

/// A held lock; released when it is dropped, and by the system when the process ends in any way.
#[derive(Debug)]
pub struct KeyLock {
    file: File,
}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Holder {
    /// The process id.
    pub pid: u32,
    /// Its command line, cut after 200 characters.
    pub command: String,
}

impl Holder {
    fn current() -> Holder {
        let arguments: Vec<_> =
            std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let command = arguments.join(" ").chars().filter(|c| !c.is_control()).take(MAX_COMMAND).collect();
        Holder { pid: std::process::id(), command }
    }
}

impl KeyLock {
    /// Takes the lock of a file; calls `waiting` once if another holds it, then waits for that one.
    ///
    /// The holder is None when the other has not written it yet.
    pub(crate) fn take(path: &Path, waiting: &mut dyn FnMut(Option<&Holder>)) -> Result<KeyLock, Error> {
        let mut take = || {
            let mut file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    waiting(read_holder(&mut file).as_ref());
                    file.lock()?;
                }
                Err(TryLockError::Error(cause)) => return Err(cause),
            }
            write_holder(&mut file)?;
            Ok(KeyLock { file })
        };
        take().map_err(|cause| Error::io("lock", path, cause))
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // Only the message of others depends on it, so an error is of no interest. Closing unlocks.
        let _ = self.file.set_len(0);
    }
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.take(64 << 10).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(serde_json::to_string(&Holder::current())?.as_bytes())
}
