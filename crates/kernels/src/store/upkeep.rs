//! What is in a store, whether it is whole, and making it smaller.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use super::{Derived, Store, clear};
use crate::{Digest, Error};

/// What is in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Derived values.
    pub derived: u64,
    /// Their bytes.
    pub derived_bytes: u64,
    /// Files that are fetched in part.
    pub parts: u64,
    /// Their bytes.
    pub part_bytes: u64,
    /// Bytes of plugins' caches.
    pub plugin_bytes: u64,
}

/// A file of the store that is not what its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// What was collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Files removed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of blobs and parts that are left.
    pub left: u64,
}

/// Why something is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The key of the derived value that names it.
    pub key: String,
    /// Where in the value: `/btf/sha256`.
    pub at: String,
}

/// A file, and when it was last used.
struct Kept {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl Store {
    /// Counts files and bytes.
    pub fn stats(&self) -> Result<Stats, Error> {
        let root = self.place();
        let sum = |folder: &str| -> Result<(u64, u64), Error> {
            let files = files(&root.join(folder))?;
            Ok((files.len() as u64, files.iter().map(|file| file.bytes).sum()))
        };
        let (blobs, blob_bytes) = sum("blobs")?;
        let (derived, derived_bytes) = sum("derived")?;
        let (parts, part_bytes) = sum("parts")?;
        let (_, plugin_bytes) = sum("plugins")?;
        Ok(Stats { blobs, blob_bytes, derived, derived_bytes, parts, part_bytes, plugin_bytes })
    }

    /// Reads everything; what is not what its name says is reported, and removed where the store can be written.
    pub fn verify(&self) -> Result<Vec<Fault>, Error> {
        let mut faults = Vec::new();
        for file in files(&self.place().join("blobs"))? {
            let found = Digest::of_file(&file.path)?.0.to_string();
            if !is_named(&file.path, &found) {
                faults.push(Fault { reason: format!("its sha256 is {found}"), path: file.path });
            }
        }
        for file in files(&self.place().join("derived"))? {
            let text = fs::read(&file.path).map_err(|cause| Error::io("read", &file.path, cause))?;
            let reason = match serde_json::from_slice::<Derived>(&text) {
                Ok(derived) => {
                    let name = Digest::of(derived.key.as_bytes()).to_string() + ".json";
                    if is_named(&file.path, &name) {
                        continue;
                    }
                    format!("it is the value of another key, {:?}", derived.key)
                }
                Err(error) => error.to_string(),
            };
            faults.push(Fault { reason, path: file.path });
        }
        for fault in &faults {
            self.throw_away(&fault.path)?;
        }
        Ok(faults)
    }

    /// Removes what was not used for longest until blobs and parts have at most `max` bytes, and values that name what
    /// is no longer there.
    ///
    /// Nobody else may have the store open; None when somebody has.
    pub fn collect(&self, max: u64) -> Result<Option<Collected>, Error> {
        if self.is_read_only() {
            let cause = io::ErrorKind::ReadOnlyFilesystem.into();
            return Err(Error::io("remove from the store", self.place(), cause));
        }
        let alone = self.in_use.try_lock().is_ok();
        let collected = alone.then(|| self.collect_alone(max)).transpose();
        // Locked shared again, as long as it is open; a failed try has given up that lock, too.
        self.in_use.lock_shared().map_err(|cause| Error::io("lock", &self.root, cause))?;
        collected
    }

    fn collect_alone(&self, max: u64) -> Result<Collected, Error> {
        for folder in ["tmp", "locks"] {
            let folder = self.root.join(folder);
            clear(&folder).map_err(|cause| Error::io("empty", &folder, cause))?;
        }
        let mut kept = files(&self.root.join("blobs"))?;
        kept.extend(files(&self.root.join("parts"))?);
        // The name last, so that the order is the same whatever the file system gives.
        kept.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
        let mut collected =
            Collected { left: kept.iter().map(|file| file.bytes).sum(), ..Collected::default() };
        for file in kept {
            if collected.left <= max {
                break;
            }
            self.throw_away(&file.path)?;
            collected.files += 1;
            collected.bytes += file.bytes;
            collected.left -= file.bytes;
        }
        for file in files(&self.root.join("derived"))? {
            if self.is_stale(&file.path) {
                self.throw_away(&file.path)?;
                collected.files += 1;
                collected.bytes += file.bytes;
            }
        }
        Ok(collected)
    }

    /// Whether a derived value can't be read, or names a blob that is not there.
    fn is_stale(&self, path: &Path) -> bool {
        let derived = fs::read(path).ok().and_then(|text| serde_json::from_slice::<Derived>(&text).ok());
        derived.is_none_or(|derived| {
            let mut named = BTreeSet::new();
            visit(&derived.value, "", &mut |_, digest| _ = named.insert(digest));
            // A value may also be a digest of what is no blob, such as all modules together.
            !named.is_empty() && !named.iter().any(|digest| self.contains(digest))
        })
    }

    /// Which derived values name a blob.
    pub fn uses(&self, digest: &Digest) -> Result<Vec<Use>, Error> {
        let mut uses = Vec::new();
        for file in files(&self.place().join("derived"))? {
            let Ok(text) = fs::read(&file.path) else { continue };
            let Ok(derived) = serde_json::from_slice::<Derived>(&text) else { continue };
            visit(&derived.value, "", &mut |at, found| {
                if found == *digest {
                    uses.push(Use { key: derived.key.clone(), at: at.to_owned() });
                }
            });
        }
        uses.sort_by(|a, b| (&a.key, &a.at).cmp(&(&b.key, &b.at)));
        Ok(uses)
    }

    /// The size in bytes of a blob; None when it is not there. Its content is not read.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        self.roots().find_map(|root| super::blob_path(root, digest).metadata().ok()).map(|found| found.len())
    }

    /// The folder that was opened, also where it is only read.
    fn place(&self) -> &Path {
        self.below.as_ref().map_or(&self.root, |below| &below.root)
    }
}

fn is_named(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|found| found == name)
}

/// Shows every digest in a value, and where it is.
fn visit(value: &Value, at: &str, found: &mut dyn FnMut(&str, Digest)) {
    match value {
        Value::String(text) => {
            if let Ok(digest) = text.parse() {
                found(at, digest);
            }
        }
        Value::Array(values) => {
            values
                .iter()
                .enumerate()
                .for_each(|(index, value)| visit(value, &format!("{at}/{index}"), found));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| visit(value, &format!("{at}/{name}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// All regular files below a folder, by path; none when it is not there. Links are not followed.
fn files(folder: &Path) -> Result<Vec<Kept>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            Err(cause) => return Err(Error::io("read", &folder, cause)),
        };
        for entry in entries {
            let entry = entry.map_err(|cause| Error::io("read", &folder, cause))?;
            // What another process removes meanwhile is not there.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() {
                let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                let used = metadata.accessed().map_or(modified, |accessed| accessed.max(modified));
                found.push(Kept { path: entry.path(), bytes: metadata.len(), used });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        (folder, store)
    }

    #[test]
    fn counted_and_explained() {
        let (_folder, store) = store();
        assert_eq!(store.stats().unwrap(), Stats::default());
        let digest = store.put(b"abc").unwrap();
        store.put(b"de").unwrap();
        store.set_link("extract 1", json!({"btf": {"sha256": digest, "size": 3}, "more": [digest]})).unwrap();
        let stats = store.stats().unwrap();
        assert_eq!((stats.blobs, stats.blob_bytes, stats.derived), (2, 5, 1));
        let at = |at: &str| Use { key: "extract 1".into(), at: at.into() };
        assert_eq!(store.uses(&digest).unwrap(), [at("/btf/sha256"), at("/more/0")]);
        assert_eq!(store.uses(&Digest::of(b"de")).unwrap(), []);
        assert_eq!((store.blob_size(&digest), store.blob_size(&Digest::of(b"x"))), (Some(3), None));
    }

    #[test]
    fn broken_files_are_found_and_removed() {
        let (_folder, store) = store();
        let (broken, good) = (store.put(b"abc").unwrap(), store.put(b"good").unwrap());
        store.set_link("good", Value::from(1)).unwrap();
        store.set_link("cut", Value::from(1)).unwrap();
        assert_eq!(store.verify().unwrap(), []);
        fs::write(store.path_of(&broken).unwrap(), b"abd").unwrap();
        fs::write(store.derived_path("cut"), "{\"key\":").unwrap();
        fs::create_dir_all(store.derived_path("other").parent().unwrap()).unwrap();
        fs::copy(store.derived_path("good"), store.derived_path("other")).unwrap();
        let faults = store.verify().unwrap();
        let reasons: Vec<&str> = faults.iter().map(|fault| fault.reason.as_str()).collect();
        assert_eq!(faults.len(), 3, "{reasons:?}");
        assert!(reasons[0].contains("its sha256 is"), "{reasons:?}");
        assert!(reasons.iter().any(|reason| reason.contains("another key, \"good\"")), "{reasons:?}");
        assert_eq!(store.verify().unwrap(), []);
        assert!(store.contains(&good) && !store.contains(&broken));
        assert_eq!(store.link("good"), Some(Value::from(1)));
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let (_folder, store) = store();
        let digests: Vec<Digest> = (0..4u8).map(|i| store.put(&[i; 100]).unwrap()).collect();
        for (age, digest) in digests.iter().enumerate() {
            let file = fs::File::options().write(true).open(store.blob_path(digest)).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age as u64);
            file.set_times(fs::FileTimes::new().set_accessed(time).set_modified(time)).unwrap();
            store.set_link(&format!("key {age}"), json!({ "sha256": digest })).unwrap();
        }
        fs::write(store.root().join("tmp/.btfpipe-left"), b"half").unwrap();
        let collected = store.collect(250).unwrap().unwrap();
        assert_eq!((collected.files, collected.left), (4, 200), "two blobs, and two values that name them");
        let kept: Vec<bool> = digests.iter().map(|digest| store.contains(digest)).collect();
        assert_eq!(kept, [true, true, false, false]);
        assert_eq!((store.link("key 1").is_some(), store.link("key 2")), (true, None));
        assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
        assert_eq!(store.verify().unwrap(), []);
    }

    #[test]
    fn nothing_is_collected_while_another_has_the_store_open() {
        let (_folder, store) = store();
        store.put(b"abc").unwrap();
        let other = Store::open(store.root()).unwrap();
        assert_eq!(store.collect(0).unwrap(), None);
        drop(other);
        assert_eq!(store.collect(0).unwrap().map(|collected| collected.files), Some(1));
        assert_eq!(store.collect(0).unwrap().map(|collected| collected.files), Some(0));
    }
}
