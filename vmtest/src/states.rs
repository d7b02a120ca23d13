//! Machines that are up and wait for checks, kept as files: a later run goes on from there instead of booting.
//!
//! The name of a file is the sha256 of everything that the state depends on: QEMU, its command line, kernel and guest
//! program. A state is zstd with a checksum; what cannot be restored is deleted, and costs a boot.

use std::fs::{self, File, FileTimes};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

/// States of another version are of no use: changes with what the guest does before it waits.
const VERSION: &[u8] = b"btfpipe state 1";
const ENDING: &str = "state";
const HALF: &str = "half-";
/// A file that is being written for so long is a killed run's.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);
/// zstd's fastest usual level: a state is written while a machine waits.
const LEVEL: i32 = 1;

/// A folder with states, and how large it may get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFolder {
    /// Made when it is not there.
    pub folder: PathBuf,
    /// Bytes; the states that were used least recently make room.
    pub limit: u64,
}

/// What a state depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

/// Collects what a state depends on.
#[derive(Debug)]
pub struct KeyParts(Sha256);

impl KeyParts {
    /// Nothing yet but the version of the format.
    pub fn new() -> Self {
        let mut parts = KeyParts(Sha256::new());
        parts.add(VERSION);
        parts
    }

    /// One more thing, apart from the one before.
    pub fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// The content of a file.
    pub fn add_file(&mut self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        self.0.update(file.metadata()?.len().to_le_bytes());
        let mut bytes = vec![0; 1 << 20];
        loop {
            match file.read(&mut bytes)? {
                0 => return Ok(()),
                n => self.0.update(&bytes[..n]),
            }
        }
    }

    /// The key.
    pub fn finish(self) -> Key {
        Key(self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl StateFolder {
    /// The state's file, marked as used now.
    pub fn find(&self, key: &Key) -> Option<PathBuf> {
        let path = self.path(key);
        let now = FileTimes::new().set_modified(SystemTime::now());
        // A folder that cannot be written to still serves.
        let _ = File::options().append(true).open(&path).and_then(|file| file.set_times(now));
        path.is_file().then_some(path)
    }

    /// Forgets a state.
    pub fn remove(&self, key: &Key) {
        let _ = fs::remove_file(self.path(key));
    }

    /// Takes a state from a stream to its end. It appears in the folder by rename, whole, with [`NewState::keep`].
    pub fn receive(&self, key: &Key, mut from: impl Read) -> io::Result<NewState> {
        fs::create_dir_all(&self.folder)?;
        let file = tempfile::Builder::new().prefix(HALF).tempfile_in(&self.folder)?;
        let mut packed = zstd::Encoder::new(file, LEVEL)?;
        packed.include_checksum(true)?;
        io::copy(&mut from, &mut packed)?;
        Ok(NewState { file: packed.finish()?, path: self.path(key) })
    }

    /// Deletes the states that were used least recently, until the rest fits, and what killed runs left.
    pub fn make_room(&self) -> io::Result<()> {
        let mut states = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else { continue };
            let (path, used) = (entry.path(), metadata.modified()?);
            if path.extension().is_some_and(|ending| ending == ENDING) {
                states.push((used, path, metadata.len()));
            } else if entry.file_name().to_string_lossy().starts_with(HALF)
                && used.elapsed().is_ok_and(|age| age > LEFT_BEHIND)
            {
                fs::remove_file(path)?;
            }
        }
        states.sort();
        let mut total: u64 = states.iter().map(|(_, _, size)| size).sum();
        for (_, path, size) in states {
            if total <= self.limit {
                break;
            }
            fs::remove_file(path)?;
            total -= size;
        }
        Ok(())
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(&key.0).with_extension(ENDING)
    }
}

/// A state that is not yet in the folder.
#[derive(Debug)]
pub struct NewState {
    file: NamedTempFile,
    path: PathBuf,
}

impl NewState {
    /// Puts it there; gives its size.
    pub fn keep(self) -> io::Result<u64> {
        let size = self.file.as_file().metadata()?.len();
        self.file.persist(self.path)?;
        Ok(size)
    }
}

/// How many times smaller a state gets, at least: what is taken for it at once.
const RATIO: u64 = 5;

/// A state's content; an error when the file is not whole.
pub fn unpack(state: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(state)?;
    let size = usize::try_from(file.metadata()?.len().saturating_mul(RATIO)).unwrap_or_default();
    let mut content = Vec::with_capacity(size);
    zstd::Decoder::new(file)?.read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(part: &str) -> Key {
        let mut parts = KeyParts::new();
        parts.add(part.as_bytes());
        parts.finish()
    }

    fn keep(states: &StateFolder, part: &str, content: &[u8]) -> u64 {
        states.receive(&key(part), content).unwrap().keep().unwrap()
    }

    #[test]
    fn gives_back_what_it_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let states = StateFolder { folder: folder.path().join("new"), limit: 1 << 20 };
        assert_eq!(states.find(&key("a")), None);
        let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        keep(&states, "a", &content);
        let path = states.find(&key("a")).unwrap();
        assert!(unpack(&path).unwrap() == content);
        // A damaged file is noticed, at its end at the latest.
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(unpack(&path).is_err());
        states.remove(&key("a"));
        assert_eq!(states.find(&key("a")), None);
    }

    #[test]
    fn the_least_recently_used_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let mut states = StateFolder { folder: folder.path().to_owned(), limit: 0 };
        let hour_ago = SystemTime::now() - 2 * LEFT_BEHIND;
        for (age, part) in [(3, "old"), (2, "used"), (1, "new")] {
            let size = keep(&states, part, part.as_bytes());
            states.limit += size;
            let path = states.path(&key(part));
            let times = FileTimes::new().set_modified(hour_ago - Duration::from_secs(age));
            File::options().append(true).open(path).unwrap().set_times(times).unwrap();
        }
        let left = folder.path().join("half-written");
        fs::write(&left, b"x").unwrap();
        File::options()
            .append(true)
            .open(&left)
            .unwrap()
            .set_times(FileTimes::new().set_modified(hour_ago))
            .unwrap();
        states.make_room().unwrap();
        assert!(!left.exists());
        // All three fit; the oldest is used, and then one byte is missing.
        states.find(&key("old")).unwrap();
        states.limit -= 1;
        states.make_room().unwrap();
        let there = ["old", "used", "new"].map(|part| states.find(&key(part)).is_some());
        assert_eq!(there, [true, false, true]);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = |parts: &[&str]| {
            let mut all = KeyParts::new();
            parts.iter().for_each(|part| all.add(part.as_bytes()));
            all.finish()
        };
        assert_ne!(key(&["a", "bc"]), key(&["ab", "c"]));
        assert_ne!(key(&["a"]), key(&["a", ""]));
        assert_eq!(key(&["a", "bc"]), key(&["a", "bc"]));
    }
}
