//! Reading a bundle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use crate::archive::{self, Entry, check_limit};
use crate::digest::Digest;
use crate::error::{Error, TarFault};
use crate::frame;
use crate::index::{BlobRef, INDEX_PATH, Index, IndexedKernel};
use crate::key::KernelKey;
use crate::outcomes;
use crate::writer::is_btf;

/// How much a reader accepts before it has seen that a bundle is a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the compressed file.
    pub compressed: u64,
    /// Bytes of the archive inside.
    pub archive: u64,
    /// Bytes of one file in it.
    pub file: u64,
    /// Bytes of `index.json`.
    pub index: u64,
    /// Number of files.
    pub files: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { compressed: 1 << 30, archive: 4 << 30, file: 256 << 20, index: 64 << 20, files: 1 << 18 }
    }
}

/// A bundle whose every byte was checked.
#[derive(Clone, Debug)]
pub struct Bundle {
    tar: Vec<u8>,
    files: BTreeMap<String, Range<usize>>,
    index: Index,
    source_date_epoch: u64,
}

impl Bundle {
    /// Opens the bundle that `bytes` are: decompresses it and checks every digest.
    pub fn open(bytes: &[u8]) -> Result<Bundle, Error> {
        Bundle::open_within(bytes, &Limits::default())
    }

    /// Opens the bundle in the file at `path`.
    pub fn open_file(path: impl AsRef<Path>) -> Result<Bundle, Error> {
        Bundle::open_file_within(path, &Limits::default())
    }

    /// As [`open_file`](Self::open_file), with other limits.
    pub fn open_file_within(path: impl AsRef<Path>, limits: &Limits) -> Result<Bundle, Error> {
        let path = path.as_ref();
        let failed = |source| Error::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(limits.compressed.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        Bundle::open_within(&bytes, limits)
    }

    /// As [`open`](Self::open), with other limits.
    pub fn open_within(bytes: &[u8], limits: &Limits) -> Result<Bundle, Error> {
        check_limit("size of the bundle", bytes.len() as u64, limits.compressed)?;
        Bundle::of_tar(frame::decompress(bytes, limits.archive)?, limits)
    }

    /// Opens the archive of a bundle, already decompressed.
    pub fn of_tar(tar: Vec<u8>, limits: &Limits) -> Result<Bundle, Error> {
        check_limit("size of the decompressed archive", tar.len() as u64, limits.archive)?;
        let mut files = BTreeMap::new();
        let (entries, source_date_epoch) = archive::parse_archive(&tar, limits.files, limits.file)?;
        for entry in entries {
            check_file(&tar, &entry)?;
            files.insert(entry.path, entry.content);
        }
        let index = files.get(INDEX_PATH).ok_or_else(|| Error::Missing(INDEX_PATH.to_owned()))?;
        check_limit("size of index.json", index.len() as u64, limits.index)?;
        let index = Index::parse(&tar[index.clone()])?;
        check_references(&index, &files)?;
        Ok(Bundle { tar, files, index, source_date_epoch })
    }

    /// Which kernels and programs it serves.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The time of every file in it, in seconds since 1970.
    pub fn source_date_epoch(&self) -> u64 {
        self.source_date_epoch
    }

    /// The archive inside.
    pub fn tar(&self) -> &[u8] {
        &self.tar
    }

    /// The paths in the archive, sorted, and the size of each.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.files.iter().map(|(path, range)| (path.as_str(), range.len() as u64))
    }

    /// A file of the archive, by its path.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.content(path)
    }

    /// The minimized BTF of a kernel, by its exact key. None too where several build-ids share the key; then
    /// [`Index::resolve`] or [`Index::find`] tells them apart.
    pub fn btf(&self, key: &KernelKey) -> Option<&[u8]> {
        self.btf_of(self.only(key)?)
    }

    /// The relocation records of a kernel (JSON Lines), by its exact key; see [`btf`](Self::btf).
    pub fn records(&self, key: &KernelKey) -> Option<&[u8]> {
        self.records_of(self.only(key)?)
    }

    /// The minimized BTF of a kernel of this bundle's index.
    pub fn btf_of(&self, kernel: &IndexedKernel) -> Option<&[u8]> {
        self.content(&kernel.btf.btf_path())
    }

    /// The relocation records of a kernel of this bundle's index.
    pub fn records_of(&self, kernel: &IndexedKernel) -> Option<&[u8]> {
        self.content(&kernel.records.records_path())
    }

    /// Whether the outcomes in the index are those that the records tell.
    pub fn check_outcomes(&self) -> Result<(), Error> {
        for kernel in &self.index.kernels {
            let told = outcomes::of_records(self.records_of(kernel).unwrap_or_default())?;
            if self.index.outcomes_of(kernel).is_some_and(|indexed| *indexed != told) {
                return Err(Error::OtherOutcomes(kernel.entry.key().to_string()));
            }
        }
        Ok(())
    }

    fn only(&self, key: &KernelKey) -> Option<&IndexedKernel> {
        let mut found = self.index.find(key);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    fn content(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|range| &self.tar[range.clone()])
    }
}

/// A file is `index.json` or is named by its digest; nothing else has a place in a bundle.
fn check_file(tar: &[u8], entry: &Entry) -> Result<(), Error> {
    let path = &entry.path;
    if path == INDEX_PATH {
        return Ok(());
    }
    let between = |start, end| path.strip_prefix(start)?.strip_suffix(end)?.parse::<Digest>().ok();
    let btf = between("blobs/", ".btf");
    let Some(want) = btf.or_else(|| between("records/", ".jsonl")) else {
        let fault = TarFault::UnexpectedPath(path.clone());
        return Err(Error::Tar { offset: entry.offset, fault });
    };
    let content = &tar[entry.content.clone()];
    let found = Digest::of(content);
    if found != want {
        return Err(Error::Digest { path: path.clone(), found });
    }
    if btf.is_some() && !content.first_chunk().copied().is_some_and(is_btf) {
        return Err(Error::NotBtf(path.clone()));
    }
    Ok(())
}

/// Every file that the index names is there, and no other.
fn check_references(index: &Index, files: &BTreeMap<String, Range<usize>>) -> Result<(), Error> {
    let mut named: BTreeSet<String> = BTreeSet::from([INDEX_PATH.to_owned()]);
    for kernel in &index.kernels {
        for (path, blob) in
            [(kernel.btf.btf_path(), kernel.btf), (kernel.records.records_path(), kernel.records)]
        {
            check_reference(&path, &blob, files)?;
            named.insert(path);
        }
    }
    match files.keys().find(|path| !named.contains(*path)) {
        Some(path) => Err(Error::Stray(path.clone())),
        None => Ok(()),
    }
}

fn check_reference(path: &str, blob: &BlobRef, files: &BTreeMap<String, Range<usize>>) -> Result<(), Error> {
    let found = files.get(path).ok_or_else(|| Error::Missing(path.to_owned()))?.len() as u64;
    if found != blob.size {
        return Err(Error::Size { path: path.to_owned(), found, want: blob.size });
    }
    Ok(())
}
