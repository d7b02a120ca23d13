//! One run at a time per output folder: whoever comes second waits, and is told for whom.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

/// The lock's file in the folder. It stays there: removing it would let two runs hold two different locks.
const FILE: &str = ".btfpipe.lock";

/// Holds a folder until dropped, or until the process is gone.
#[derive(Debug)]
pub struct Busy {
    _file: File,
}

impl Busy {
    /// Takes the folder, which must exist. When another process has it, calls `waiting` with who that is, and waits.
    pub fn take(folder: &Path, waiting: impl FnOnce(&str)) -> io::Result<Busy> {
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(folder.join(FILE))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                waiting(&holder(&mut file));
                file.lock()?;
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", myself())?;
        file.flush()?;
        Ok(Busy { _file: file })
    }
}

/// What the holder wrote; a holder that has just begun may not have written yet.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(4096).read_to_string(&mut text) {
        Ok(_) if !text.is_empty() => text,
        _ => "another btfpipe".to_owned(),
    }
}

fn myself() -> String {
    let words: Vec<String> = std::env::args().collect();
    format!("process {} ({})", std::process::id(), words.join(" "))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_second_waits_and_hears_for_whom() {
        let folder = tempfile::tempdir().unwrap();
        let first = Busy::take(folder.path(), |_| panic!("nobody else is there")).unwrap();
        let (send, receive) = mpsc::channel();
        std::thread::scope(|scope| {
            let second =
                scope.spawn(|| Busy::take(folder.path(), |holder| send.send(holder.to_owned()).unwrap()));
            let holder = receive.recv().unwrap();
            assert!(holder.contains(&format!("process {}", std::process::id())), "{holder}");
            drop(first);
            second.join().unwrap().unwrap();
        });
        // Another test's child may hold a copy of the lock between its fork and its exec: waiting is no failure.
        Busy::take(folder.path(), |_| ()).unwrap();
    }
}
