//! Writing a bundle.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use crate::arch::Arch;
use crate::archive::{self, BLOCK, END, check_limit};
use crate::content::{Content, Sight};
use crate::digest::Digest;
use crate::error::Error;
use crate::frame;
use crate::index::{BlobRef, INDEX_PATH, Index, IndexedKernel, ProgramEntry};
use crate::key::{KernelEntry, check_name};
use crate::outcomes::{self, Outcomes};
use crate::reader::Limits;

/// What a bundle says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleMeta {
    /// The name that the vendor gives to it: a plain file name.
    pub name: String,
    /// The architecture of all its kernels.
    pub arch: Arch,
    /// The program and version that minimized the BTF, e.g. `btfpipe 0.1.0`.
    pub engine: String,
    /// The time of every file in it: SOURCE_DATE_EPOCH, or 0.
    pub source_date_epoch: u64,
}

/// Collects kernels and programs, in any order, and writes the bundle.
#[derive(Clone, Debug)]
pub struct BundleBuilder {
    meta: BundleMeta,
    kernels: Vec<IndexedKernel>,
    programs: Vec<ProgramEntry>,
    /// By the digest of the records: what these say.
    outcomes: BTreeMap<Digest, Outcomes>,
    files: BTreeMap<String, (Content, Sight)>,
    threads: u32,
}

/// A bundle, written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// `<name>-<arch>.tar.zst`.
    pub file: String,
    /// The bundle.
    pub tar_zst: Vec<u8>,
    /// The sha256 of the archive inside.
    pub tar_sha256: Digest,
    /// The size of the archive inside.
    pub tar_size: u64,
    /// The sha256 of [`tar_zst`](Self::tar_zst).
    pub zst_sha256: Digest,
    /// The size of [`tar_zst`](Self::tar_zst).
    pub zst_size: u64,
    /// The zstd level.
    pub level: i32,
    /// The time of every file in it.
    pub source_date_epoch: u64,
    /// How many distinct BTFs it holds.
    pub blobs: u64,
    /// Its `index.json`.
    pub index: Index,
}

impl BundleBuilder {
    /// An empty bundle.
    pub fn new(meta: BundleMeta) -> Result<BundleBuilder, Error> {
        check_name("bundle name", &meta.name)?;
        check_name("engine", &meta.engine)?;
        Ok(BundleBuilder {
            meta,
            kernels: Vec::new(),
            programs: Vec::new(),
            outcomes: BTreeMap::new(),
            files: BTreeMap::new(),
            threads: 1,
        })
    }

    /// How many threads compress. The bytes don't depend on it.
    pub fn threads(mut self, threads: u32) -> BundleBuilder {
        self.threads = threads;
        self
    }

    /// Adds a kernel with its minimized BTF and its relocation records (JSON Lines).
    pub fn add_kernel(
        &mut self,
        mut entry: KernelEntry,
        btf: impl Into<Content>,
        records: impl Into<Content>,
    ) -> Result<(), Error> {
        entry.version_aliases.sort();
        entry.version_aliases.dedup();
        entry.check()?;
        let (btf, records) = (btf.into(), records.into());
        let (btf_sight, records_sight) = (btf.sight()?, records.sight()?);
        if !is_btf(btf_sight.magic) {
            return Err(Error::NotBtf(format!("the BTF of {}", entry.key())));
        }
        if let Entry::Vacant(vacant) = self.outcomes.entry(records_sight.sha256) {
            let mut bytes = Vec::new();
            records.copy(&mut bytes)?;
            vacant.insert(outcomes::of_records(&bytes)?);
        }
        let (btf_ref, records_ref) = (blob_ref(&btf_sight), blob_ref(&records_sight));
        self.files.entry(btf_ref.btf_path()).or_insert((btf, btf_sight));
        self.files.entry(records_ref.records_path()).or_insert((records, records_sight));
        self.kernels.push(IndexedKernel { entry, btf: btf_ref, records: records_ref, outcomes: None });
        Ok(())
    }

    /// Adds a program that the BTF was minimized for.
    pub fn add_program(&mut self, program: ProgramEntry) -> Result<(), Error> {
        check_name("program", &program.name)?;
        self.programs.push(program);
        Ok(())
    }

    /// Writes the bundle into memory, compressed at `level` (1 to 22).
    pub fn finish(self, level: i32) -> Result<Package, Error> {
        let mut tar_zst = Vec::new();
        let mut package = self.write(level, &mut tar_zst)?;
        package.tar_zst = tar_zst;
        Ok(package)
    }

    /// Writes the bundle to `out`, compressed at `level` (1 to 22); the answer's `tar_zst` stays empty.
    ///
    /// Holds only those BTFs and records in memory that were given as bytes.
    pub fn write(mut self, level: i32, out: &mut dyn Write) -> Result<Package, Error> {
        let index = self.index()?;
        let blobs = self.files.keys().filter(|path| path.starts_with("blobs/")).count() as u64;
        let json = Content::Bytes(index.to_json().into_bytes());
        let sight = json.sight()?;
        let index_size = sight.size;
        self.files.insert(INDEX_PATH.to_owned(), (json, sight));

        let mtime = self.meta.source_date_epoch;
        let sizes = || self.files.values().map(|(_, sight)| sight.size);
        let tar_size = tar_size(sizes());
        check_readable(sizes(), index_size, tar_size)?;
        let encoder = frame::encoder(Hashing::new(out), level, self.threads, tar_size)?;
        let mut tar = Hashing::new(encoder);
        for (path, (content, sight)) in &self.files {
            write_file(&mut tar, path, content, sight, mtime)?;
        }
        tar.write_all(&[0; END]).map_err(Error::Compress)?;
        let (encoder, tar_sha256, _) = tar.finish();
        let (_, zst_sha256, zst_size) = encoder.finish().map_err(Error::Compress)?.finish();
        Ok(Package {
            file: format!("{}-{}.tar.zst", self.meta.name, self.meta.arch),
            tar_zst: Vec::new(),
            tar_sha256,
            tar_size,
            zst_sha256,
            zst_size,
            level,
            source_date_epoch: mtime,
            blobs,
            index,
        })
    }

    /// The index of all that was added, sorted and checked.
    fn index(&mut self) -> Result<Index, Error> {
        let meta = &self.meta;
        let mut index = Index::new(meta.name.clone(), meta.arch, meta.engine.clone());
        index.kernels = std::mem::take(&mut self.kernels);
        index.kernels.sort_by(|a, b| a.entry.order().cmp(&b.entry.order()));
        index.programs = std::mem::take(&mut self.programs);
        index.programs.sort();
        for kernel in &mut index.kernels {
            let of_it = &self.outcomes[&kernel.records.sha256];
            let row = index.outcomes.iter().position(|row| row == of_it).unwrap_or_else(|| {
                index.outcomes.push(of_it.clone());
                index.outcomes.len() - 1
            });
            kernel.outcomes = Some(row as u32);
        }
        index.check()?;
        Ok(index)
    }
}

/// BTF of either byte order.
pub(crate) fn is_btf(magic: [u8; 2]) -> bool {
    magic == [0x9f, 0xeb] || magic == [0xeb, 0x9f]
}

fn blob_ref(sight: &Sight) -> BlobRef {
    BlobRef { sha256: sight.sha256, size: sight.size }
}

fn tar_size(files: impl Iterator<Item = u64>) -> u64 {
    files.map(|size| BLOCK as u64 + size + archive::padding(size) as u64).sum::<u64>() + END as u64
}

/// Whether a reader with its usual limits will take the bundle; else the writer should say so, not the users.
fn check_readable(files: impl Iterator<Item = u64>, index_size: u64, tar_size: u64) -> Result<(), Error> {
    let limits = Limits::default();
    check_limit("size of index.json", index_size, limits.index)?;
    check_limit("size of the decompressed archive", tar_size, limits.archive)?;
    let mut count = 0;
    for size in files {
        check_limit("size of one file", size, limits.file)?;
        count += 1;
    }
    check_limit("number of files", count, limits.files)
}

fn write_file(
    tar: &mut dyn Write,
    path: &str,
    content: &Content,
    sight: &Sight,
    mtime: u64,
) -> Result<(), Error> {
    let header = archive::header(path, sight.size, mtime)?;
    tar.write_all(&header).map_err(Error::Compress)?;
    let copied = content.copy(tar);
    match (content, &copied) {
        // A file that grew is refused by the encoder, before its digest is known.
        (Content::File(path), Err(Error::Write(_))) if content.sight()? != *sight => {
            return Err(Error::Changed(path.clone()));
        }
        (Content::File(path), Ok(now)) if now != sight => return Err(Error::Changed(path.clone())),
        _ => copied?,
    };
    tar.write_all(&[0; BLOCK][..archive::padding(sight.size)]).map_err(Error::Compress)
}

/// Passes bytes on and keeps their digest and number.
struct Hashing<W> {
    out: W,
    hasher: Sha256,
    size: u64,
}

impl<W> Hashing<W> {
    fn new(out: W) -> Hashing<W> {
        Hashing { out, hasher: Sha256::new(), size: 0 }
    }

    fn finish(self) -> (W, Digest, u64) {
        (self.out, Digest::finish(self.hasher), self.size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> BundleBuilder {
        let meta =
            BundleMeta { name: "n".into(), arch: Arch::X86_64, engine: "e 1".into(), source_date_epoch: 0 };
        BundleBuilder::new(meta).unwrap()
    }

    fn entry(release: &str) -> KernelEntry {
        let (distro, version) = ("debian".into(), "12".into());
        let (arch, release) = (Arch::X86_64, release.into());
        KernelEntry { distro, version, version_aliases: vec![], arch, release, build_id: None }
    }

    const BTF: &[u8] = b"\x9f\xeb\x01\0";

    #[test]
    fn refused_at_once() {
        let mut builder = builder();
        let mut refuse = |entry, btf: &[u8], want: &str| {
            let error = builder.add_kernel(entry, btf.to_vec(), vec![]).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        };
        refuse(entry("r"), b"", "BTF magic");
        refuse(entry("r"), b"\x7fELF", "BTF magic");
        refuse(entry(""), BTF, "release \"\" is empty");
        refuse(entry("../r"), BTF, "slash");
        let meta = BundleMeta { name: "a/b".into(), ..builder.meta };
        assert!(BundleBuilder::new(meta).is_err());
    }

    #[test]
    fn refused_at_the_end() {
        let mut twice = builder();
        twice.add_kernel(entry("r"), BTF.to_vec(), vec![]).unwrap();
        twice.add_kernel(entry("r"), BTF.to_vec(), vec![]).unwrap();
        assert!(matches!(twice.finish(3), Err(Error::DuplicateKernel(_))));
        let mut other = builder();
        other.add_kernel(KernelEntry { arch: Arch::Arm64, ..entry("r") }, BTF.to_vec(), vec![]).unwrap();
        assert!(matches!(other.finish(3), Err(Error::OtherArch { .. })));
        assert!(matches!(builder().finish(99), Err(Error::Level(99))));
    }

    #[test]
    fn what_no_reader_would_take_is_not_written() {
        let limits = Limits::default();
        let check = |files: &[u64], index, tar, ok| {
            assert_eq!(
                check_readable(files.iter().copied(), index, tar).is_ok(),
                ok,
                "{files:?} {index} {tar}"
            );
        };
        check(&[limits.file], limits.index, limits.archive, true);
        check(&[limits.file + 1], 0, 0, false);
        check(&[], limits.index + 1, 0, false);
        check(&[], 0, limits.archive + 1, false);
        check(&vec![0; limits.files as usize + 1], 0, 0, false);
    }

    #[test]
    fn a_file_that_changes_is_caught() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("btf");
        for later in [&b"\x9f\xeb\x01\x01"[..], b"\x9f\xeb", &[0x9f; 99999], b""] {
            std::fs::write(&path, BTF).unwrap();
            let mut builder = builder();
            builder.add_kernel(entry("r"), path.clone(), vec![]).unwrap();
            std::fs::write(&path, later).unwrap();
            let error = builder.finish(3).unwrap_err();
            assert!(matches!(error, Error::Changed(_)), "{error}");
        }
    }

    #[test]
    fn a_writer_that_fails_is_no_panic() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(matches!(builder().write(3, &mut Full), Err(Error::Compress(_))));
    }
}
