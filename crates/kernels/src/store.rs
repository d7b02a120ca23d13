//! What was fetched and derived: blobs by their content, derived values by their key.
//!
//! ```text
//! blobs/ba/ba7816bf…       content; the name is its sha256
//! derived/3a/3a6eb079….json  {"key": …, "value": …}; the name is the key's sha256
//! locks/3a6eb079…          who works on a key now
//! tmp/                     what is being written
//! parts/3a6eb079…          the beginning of a file that is being fetched, with what a later run needs to go on
//! plugins/NAME/            what a source plugin may need again
//! ```
//! Every file appears by rename, whole. Nothing in the store is trusted: what doesn't fit its name is removed and
//! counts as absent, so a lost or broken store costs time only. A store that can't be written is read, and what is new goes
//! to a folder that ends with the process.

mod upkeep;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::digest::Hashing;
use crate::download::Part;
use crate::{Digest, Error, Holder, KeyLock};

pub use upkeep::{Collected, Fault, Stats, Use};

/// A folder with blobs and derived values, shared by processes. Clones share it too.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// Locked shared while any store is open: nobody else may clear `tmp`.
    in_use: Arc<File>,
    /// What is read only, and the folder that is written to in its place.
    below: Option<Below>,
}

/// A store that is read only.
#[derive(Debug, Clone)]
struct Below {
    root: PathBuf,
    _written: Arc<tempfile::TempDir>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Derived {
    key: String,
    value: Value,
}

impl Store {
    /// Where the store is by default: `$BTFPIPE_STORE`, else `$XDG_CACHE_HOME/btfpipe`, else `~/.cache/btfpipe`.
    pub fn default_path() -> Result<PathBuf, Error> {
        find_place(|name| std::env::var_os(name)).ok_or(Error::NoStorePlace)
    }

    /// Opens a store, made when it is not there; clears what killed processes left half written.
    ///
    /// One that is there and can't be written is only read.
    pub fn open(path: &Path) -> Result<Store, Error> {
        match Store::open_writable(path) {
            Err(Error::Io { cause, .. }) if is_read_only(&cause) && path.join("blobs").is_dir() => {
                let written = tempfile::Builder::new().prefix("btfpipe-store-").tempdir();
                let written = written
                    .map_err(|cause| Error::io("write beside the store", &std::env::temp_dir(), cause))?;
                let store = Store::open_writable(written.path())?;
                let below = Below { root: path.to_owned(), _written: Arc::new(written) };
                Ok(Store { below: Some(below), ..store })
            }
            opened => opened,
        }
    }

    fn open_writable(path: &Path) -> Result<Store, Error> {
        let open = || {
            for folder in ["blobs", "derived", "locks", "tmp", "parts"] {
                fs::create_dir_all(path.join(folder))?;
            }
            let in_use =
                File::options().write(true).create(true).truncate(false).open(path.join("in-use"))?;
            if in_use.try_lock().is_ok() {
                clear(&path.join("tmp"))?;
                in_use.unlock()?;
            }
            in_use.lock_shared()?;
            Ok(in_use)
        };
        let in_use = open().map_err(|cause| Error::io("open the store", path, cause))?;
        Ok(Store { root: path.to_owned(), in_use: Arc::new(in_use), below: None })
    }

    /// Whether the store is only read.
    pub fn is_read_only(&self) -> bool {
        self.below.is_some()
    }

    /// A store as it is, for plans: nothing is made, cleared or removed as long as only [`link`](Store::link),
    /// [`size_of`](Store::size_of), [`contains`](Store::contains) and [`read`](Store::read) are called. None when there
    /// is none.
    pub fn peek(path: &Path) -> Option<Store> {
        let in_use = File::open(path.join("in-use")).ok()?;
        in_use.lock_shared().ok()?;
        Some(Store { root: path.to_owned(), in_use: Arc::new(in_use), below: None })
    }

    /// The folder that is written to.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Keeps some bytes.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(bytes);
        if self.path_of(&digest).is_none() {
            self.write(&self.blob_path(&digest), bytes)?;
        }
        Ok(digest)
    }

    /// Keeps a copy of a file's content.
    pub fn put_file(&self, path: &Path) -> Result<Digest, Error> {
        let (temp, digest) = self.copy(path)?;
        self.persist(temp, &self.blob_path(&digest))?;
        Ok(digest)
    }

    /// Keeps a copy of a file's content if it is what was promised, and says where; else nothing is kept, and the answer is
    /// what it is instead. The file is read once, so that it may change meanwhile.
    pub fn put_promised(&self, path: &Path, promised: &Digest) -> Result<Result<PathBuf, Digest>, Error> {
        let (temp, found) = self.copy(path)?;
        if found != *promised {
            return Ok(Err(found));
        }
        let blob = self.blob_path(promised);
        self.persist(temp, &blob)?;
        Ok(Ok(blob))
    }

    /// A copy that is not in its place yet, and its digest.
    fn copy(&self, path: &Path) -> Result<(NamedTempFile, Digest), Error> {
        let file = File::open(path).map_err(|cause| Error::io("read", path, cause))?;
        let mut reader = Hashing::new(file);
        let mut copy = || {
            let mut temp = temp_file(&self.root.join("tmp"))?;
            reader.copy_to(temp.as_file_mut())?;
            Ok(temp)
        };
        let temp = copy().map_err(|cause| Error::io("copy into the store", path, cause))?;
        Ok((temp, reader.finish()))
    }

    /// Takes over a file that was fetched into [`Store::parts`]; the answer is where it is now.
    pub(crate) fn adopt(&self, part: Part, digest: &Digest) -> Result<PathBuf, Error> {
        let path = self.blob_path(digest);
        let adopt = || {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            part.persist(&path)
        };
        adopt().map_err(|cause| Error::io("write", &path, cause))?;
        Ok(path)
    }

    /// Where files are kept while they are fetched.
    pub(crate) fn parts(&self) -> PathBuf {
        self.root.join("parts")
    }

    /// The bytes of a digest; None when the store does not have them, or no longer has them as they were.
    pub fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        for root in self.roots() {
            let path = blob_path(root, digest);
            match fs::read(&path) {
                Ok(bytes) if Digest::of(&bytes) == *digest => return Ok(Some(bytes)),
                Ok(_) => self.throw_away(&path)?,
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(Error::io("read", &path, cause)),
            }
        }
        Ok(None)
    }

    /// The file of a digest, after checking its content; None as for [`Store::get`]. Never write to it.
    pub fn path_of(&self, digest: &Digest) -> Option<PathBuf> {
        self.roots().find_map(|root| {
            let path = blob_path(root, digest);
            match Digest::of_file(&path) {
                Ok((found, _)) if found == *digest => Some(path),
                Ok(_) => {
                    // Whether or not that works, the blob counts as absent.
                    let _ = self.throw_away(&path);
                    None
                }
                Err(_) => None,
            }
        })
    }

    /// Whether there is a file for a digest; its content is not read. For plans.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.roots().any(|root| blob_path(root, digest).is_file())
    }

    /// The size of a digest's file, whose content is not read; None when there is none.
    pub fn size_of(&self, digest: &Digest) -> Option<u64> {
        let sizes = self.roots().filter_map(|root| fs::metadata(blob_path(root, digest)).ok());
        sizes.filter(|file| file.is_file()).map(|file| file.len()).next()
    }

    /// The bytes of a digest, and nothing is removed when they are broken: for plans.
    pub fn read(&self, digest: &Digest) -> Option<Vec<u8>> {
        let found = self.roots().filter_map(|root| fs::read(blob_path(root, digest)).ok());
        found.into_iter().find(|bytes| Digest::of(bytes) == *digest)
    }

    /// The value derived for a key; None when there is none, or none that can be read.
    pub fn link(&self, key: &str) -> Option<Value> {
        self.roots().find_map(|root| {
            let text = fs::read(derived_path(root, key)).ok()?;
            let derived: Derived = serde_json::from_slice(&text).ok()?;
            (derived.key == key).then_some(derived.value)
        })
    }

    /// Keeps a value for a key, in place of an earlier one.
    pub fn set_link(&self, key: &str, value: Value) -> Result<(), Error> {
        let path = self.derived_path(key);
        let derived = Derived { key: key.to_owned(), value };
        let text = serde_json::to_vec(&derived).map_err(|error| Error::io("write", &path, error.into()))?;
        self.write(&path, &text)
    }

    /// Takes the lock of a key; calls `waiting` once if another process or thread holds it, then waits.
    pub fn lock(&self, key: &str, waiting: &mut dyn FnMut(Option<&Holder>)) -> Result<KeyLock, Error> {
        KeyLock::take(&self.root.join("locks").join(Digest::of(key.as_bytes()).to_string()), waiting)
    }

    /// Where things are looked for, in this order.
    fn roots(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&*self.root).chain(self.below.iter().map(|below| &*below.root))
    }

    /// A file that is not what its name says; one that is read only stays and counts as absent.
    fn throw_away(&self, path: &Path) -> Result<(), Error> {
        if !path.starts_with(&self.root) {
            return Ok(());
        }
        match fs::remove_file(path) {
            // Another process was faster.
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove the broken", path, cause))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        blob_path(&self.root, digest)
    }

    fn derived_path(&self, key: &str) -> PathBuf {
        derived_path(&self.root, key)
    }

    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let write = || {
            let mut temp = temp_file(&self.root.join("tmp"))?;
            temp.write_all(bytes)?;
            Ok(temp)
        };
        self.persist(write().map_err(|cause| Error::io("write", path, cause))?, path)
    }

    fn persist(&self, temp: NamedTempFile, path: &Path) -> Result<(), Error> {
        let persist = || {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            temp.persist(path)?;
            Ok(())
        };
        persist().map_err(|cause| Error::io("write", path, cause))
    }
}

fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    let name = digest.to_string();
    root.join("blobs").join(&name[..2]).join(name)
}

fn derived_path(root: &Path, key: &str) -> PathBuf {
    let name = Digest::of(key.as_bytes()).to_string();
    root.join("derived").join(&name[..2]).join(name + ".json")
}

fn is_read_only(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// A file to be renamed when it is complete, readable as usual (temporary files are private otherwise).
pub(crate) fn temp_file(folder: &Path) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new()
        .prefix(".btfpipe-")
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)
}

fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let removed = match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path()),
            false => fs::remove_file(entry.path()),
        };
        removed?;
    }
    Ok(())
}

fn find_place(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The XDG specification: relative paths count as not set.
    let cache = || set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let home = || set("HOME").map(|home| home.join(".cache"));
    set("BTFPIPE_STORE").or_else(|| cache().or_else(home).map(|cache| cache.join("btfpipe")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("deep/store")).unwrap();
        (folder, store)
    }

    fn files_in(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn blobs() {
        let (folder, store) = store();
        let digest = store.put(b"abc").unwrap();
        assert_eq!(digest, Digest::of(b"abc"));
        assert_eq!(store.get(&digest).unwrap().unwrap(), b"abc");
        assert_eq!(fs::read(store.path_of(&digest).unwrap()).unwrap(), b"abc");
        assert!(store.contains(&digest));
        let file = folder.path().join("file");
        fs::write(&file, b"of a file").unwrap();
        let of_file = store.put_file(&file).unwrap();
        fs::write(&file, b"changed").unwrap();
        assert_eq!(store.get(&of_file).unwrap().unwrap(), b"of a file");
        let absent = Digest::of(b"absent");
        let changed = Digest::of(b"changed");
        assert_eq!(store.put_promised(&file, &absent).unwrap(), Err(changed));
        assert!(!store.contains(&changed));
        let kept = store.put_promised(&file, &changed).unwrap().unwrap();
        assert_eq!((fs::read(&kept).unwrap(), store.path_of(&changed)), (b"changed".to_vec(), Some(kept)));
        assert_eq!((store.get(&absent).unwrap(), store.path_of(&absent)), (None, None));
        assert!(!store.contains(&absent));
        assert!(store.put_file(Path::new("/nonexistent/file")).unwrap_err().is_not_found());
        assert_eq!(files_in(&store.root().join("tmp")), 0);
    }

    #[test]
    fn peeking_changes_nothing() {
        let (folder, store) = store();
        assert!(Store::peek(&folder.path().join("nothing")).is_none());
        let digest = store.put(b"abc").unwrap();
        store.set_link("key", Value::from(1)).unwrap();
        let root = store.root().to_owned();
        let left = root.join("tmp/left");
        fs::write(&left, b"half").unwrap();
        fs::write(store.blob_path(&digest), b"abd").unwrap();
        drop(store);
        let seen = Store::peek(&root).unwrap();
        assert_eq!((seen.size_of(&digest), seen.read(&digest)), (Some(3), None));
        assert_eq!(seen.link("key"), Some(Value::from(1)));
        assert!(left.exists() && seen.contains(&digest));
    }

    #[test]
    fn a_broken_blob_is_removed_and_absent() {
        let (_folder, store) = store();
        let digest = store.put(b"abc").unwrap();
        let path = store.path_of(&digest).unwrap();
        for broken in [&b""[..], b"abd", b"abcd"] {
            fs::write(&path, broken).unwrap();
            assert_eq!(store.get(&digest).unwrap(), None);
            assert!(!path.exists());
            fs::write(&path, broken).unwrap();
            assert_eq!(store.path_of(&digest), None);
            assert!(!path.exists());
            fs::write(&path, broken).unwrap();
            store.put(b"abc").unwrap();
            assert_eq!(store.get(&digest).unwrap().unwrap(), b"abc");
        }
    }

    #[test]
    fn links() {
        let (_folder, store) = store();
        let key = "btf of debian/12";
        assert_eq!(store.link(key), None);
        store.set_link(key, serde_json::json!({"btf": "ba78"})).unwrap();
        store.set_link("other", Value::Null).unwrap();
        assert_eq!(store.link(key).unwrap()["btf"], "ba78");
        assert_eq!(store.link("other"), Some(Value::Null));
        // Written for one key, found at the place of another.
        fs::copy(store.derived_path("other"), store.derived_path(key)).unwrap();
        assert_eq!(store.link(key), None);
        fs::write(store.derived_path(key), "{\"key\":").unwrap();
        assert_eq!(store.link(key), None);
        store.set_link(key, Value::from(7)).unwrap();
        assert_eq!(store.link(key), Some(Value::from(7)));
    }

    #[test]
    fn what_killed_processes_left_is_cleared_when_nobody_writes() {
        let (_folder, store) = store();
        let left = store.root().join("tmp/.btfpipe-left");
        fs::write(&left, b"half").unwrap();
        let folder = store.root().join("tmp/vm-left");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("initramfs"), b"half").unwrap();
        let second = Store::open(store.root()).unwrap();
        assert!(left.exists(), "the first store is open and may be writing");
        drop(store);
        let third = Store::open(second.root()).unwrap();
        assert!(left.exists());
        let root = third.root().to_owned();
        drop((second, third));
        Store::open(&root).unwrap();
        assert!(!left.exists() && !folder.exists());
    }

    #[test]
    fn many_write_the_same() {
        let (_folder, store) = store();
        let bytes = vec![7; 100_000];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let digest = store.put(&bytes).unwrap();
                    assert_eq!(store.get(&digest).unwrap().unwrap(), bytes);
                    store.set_link("key", Value::from(1)).unwrap();
                    assert_eq!(store.link("key"), Some(Value::from(1)));
                });
            }
        });
    }

    #[test]
    fn a_lock_waits_for_its_holder_and_names_it() {
        let (_folder, store) = store();
        let held = store.lock("key", &mut |_| panic!("nobody holds it")).unwrap();
        let _other = store.lock("other key", &mut |_| panic!("nobody holds it")).unwrap();
        let (told, wait) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                store.lock("key", &mut |holder| told.send(holder.cloned()).unwrap()).unwrap();
            });
            let holder = wait.recv().unwrap().unwrap();
            assert_eq!(holder.pid, std::process::id());
            assert!(!holder.command.is_empty());
            drop(held);
            waiting.join().unwrap();
        });
        store.lock("key", &mut |_| panic!("it was released")).unwrap();
    }

    #[test]
    fn places() {
        let check = |variables: &[(&str, &str)], wanted: Option<&str>| {
            let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
            assert_eq!(find_place(find), wanted.map(PathBuf::from), "{variables:?}");
        };
        check(&[("BTFPIPE_STORE", "/s"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], Some("/s"));
        check(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], Some("/x/btfpipe"));
        check(&[("BTFPIPE_STORE", ""), ("XDG_CACHE_HOME", "x"), ("HOME", "/h")], Some("/h/.cache/btfpipe"));
        check(&[], None);
    }
}
