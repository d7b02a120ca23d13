//! What is there of a file so far; it outlives the process.
//!
//! Beside the bytes stands what they are the beginning of: URL and strong ETag. Only with these does a later request ask
//! for the rest. The file is emptied before that note changes, so the note never speaks of another's bytes.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::problem::DownloadProblem;
use crate::{Digest, Error};

/// A file that is being fetched. Whoever has it holds the lock of its key.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    note_path: PathBuf,
    file: File,
    len: u64,
    note: Option<Note>,
}

/// What the bytes are the beginning of.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Note {
    url: String,
    etag: String,
}

impl Part {
    /// Opens what is there for a key, or begins anew.
    pub(super) fn open(folder: &Path, key: &str) -> Result<Part, DownloadProblem> {
        let name = Digest::of(key.as_bytes()).to_string();
        let (path, note_path) = (folder.join(&name), folder.join(name + ".json"));
        let open = || {
            fs::create_dir_all(folder)?;
            let mut file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            let len = file.seek(SeekFrom::End(0))?;
            Ok((file, len))
        };
        let (file, len) = open().map_err(|cause| Error::io("open", &path, cause))?;
        let note = fs::read(&note_path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Ok(Part { path, note_path, file, len, note })
    }

    /// Bytes that are there.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Where to go on, and the ETag of which file, when a URL's answer can be continued.
    pub(super) fn resume(&self, url: &str) -> Option<(u64, &str)> {
        let note = self.note.as_ref().filter(|note| note.url == url && self.len > 0)?;
        Some((self.len, &note.etag))
    }

    /// Begins anew with an answer of a URL.
    pub(super) fn restart(&mut self, url: &str, etag: Option<&str>) -> Result<(), DownloadProblem> {
        self.clear()?;
        let Some(etag) = etag else { return Ok(()) };
        let note = Note { url: url.to_owned(), etag: etag.to_owned() };
        let text = serde_json::to_vec(&note).map_err(std::io::Error::from);
        text.and_then(|text| fs::write(&self.note_path, text))
            .map_err(|cause| Error::io("write", &self.note_path, cause))?;
        self.note = Some(note);
        Ok(())
    }

    /// Throws away what is there.
    pub(super) fn clear(&mut self) -> Result<(), DownloadProblem> {
        let clear = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()
        };
        clear(&mut self.file).map_err(|cause| Error::io("empty", &self.path, cause))?;
        (self.len, self.note) = (0, None);
        match fs::remove_file(&self.note_path) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &self.note_path, cause).into())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), DownloadProblem> {
        self.file.write_all(bytes).map_err(|cause| Error::io("write", &self.path, cause))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// The sha256 and the size of all bytes.
    pub(super) fn digest(&self) -> Result<(Digest, u64), DownloadProblem> {
        Ok(Digest::of_file(&self.path)?)
    }

    /// Moves the file to its place; what was beside it goes.
    pub(crate) fn persist(self, place: &Path) -> std::io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        self.file.set_permissions(fs::Permissions::from_mode(0o644))?;
        fs::rename(&self.path, place)?;
        // Without its file the note says nothing.
        let _ = fs::remove_file(&self.note_path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Part::open(folder.path(), "key").unwrap();
        let mut part = open();
        assert_eq!((part.len(), part.resume("u")), (0, None));
        part.restart("u", Some("\"1\"")).unwrap();
        assert_eq!(part.resume("u"), None, "nothing to go on from");
        part.append(b"abc").unwrap();
        drop(part);
        let mut part = open();
        assert_eq!(part.resume("u"), Some((3, "\"1\"")));
        assert_eq!(part.resume("other"), None);
        part.append(b"d").unwrap();
        assert_eq!(part.digest().unwrap(), (Digest::of(b"abcd"), 4));
        part.restart("u", None).unwrap();
        part.append(b"e").unwrap();
        drop(part);
        assert_eq!(open().resume("u"), None, "without an ETag nothing is continued");
        let mut part = open();
        part.clear().unwrap();
        part.append(b"whole").unwrap();
        part.persist(&folder.path().join("place")).unwrap();
        assert_eq!(fs::read(folder.path().join("place")).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_odd_note_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut part = Part::open(folder.path(), "key").unwrap();
        part.restart("u", Some("\"1\"")).unwrap();
        part.append(b"abc").unwrap();
        fs::write(&part.note_path, b"{").unwrap();
        assert_eq!(Part::open(folder.path(), "key").unwrap().resume("u"), None);
    }
}
