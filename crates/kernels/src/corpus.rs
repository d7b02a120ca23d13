//! The kernels whose BTFs a store keeps at hand, by name: each with an index, so that one seen before costs no pass.
//!
//! ```text
//! corpus/list              a line a kernel: digest of its BTF, size in bytes, name; sorted by name
//! corpus/ba/ba78….index    where the types of that BTF start and what they are called (relo_core::Index), and the stamp
//!                          of the blob as it was when its content was last checked
//! corpus/ba/ba78….packed   the BTF, compressed, beside one of a related kernel; then there need be no blob
//! ```
//! The BTFs themselves are blobs of the store. A blob whose file has the stamp that its index names is taken as it is;
//! any other is hashed first. An index that is damaged, of another version or of another blob is made again.

mod list;
mod packed;
mod stamp;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use btf::Btf;
use relo_core::Index;

use crate::{Digest, Error, FileBytes, Store};
use list::List;
use stamp::Stamp;

/// Larger than any BTF or index.
const MAX_FILE: u64 = 1 << 30;

/// The corpus of a store, with its list as it was when it was opened.
#[derive(Debug, Clone)]
pub struct Corpus {
    store: Store,
    list: List,
}

/// What the list says of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Of the BTF.
    pub digest: Digest,
    /// Of the BTF, in bytes.
    pub size: u64,
}

/// A BTF out of the corpus.
#[derive(Debug)]
pub struct StoredBtf {
    /// The BTF.
    pub btf: FileBytes,
    digest: Digest,
    sidecar: Option<FileBytes>,
}

/// How a kernel is kept; sizes are those of the files, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// As it is, ready to be read, with an index of this size.
    Open {
        /// 0 when there is none, as for a BTF with kinds that are not known.
        index: u64,
    },
    /// Compressed to this size.
    Packed {
        /// Of the compressed file.
        size: u64,
    },
    /// Not there any more: to be added again.
    Lost,
}

/// A BTF that others are packed beside.
#[derive(Debug, Clone)]
pub struct Reference {
    digest: Digest,
    btf: FileBytes,
}

impl StoredBtf {
    /// Its index; None where there is none or it is damaged.
    pub fn index(&self) -> Option<Index<'_>> {
        let (index, _) = stamp::split(self.sidecar.as_ref()?)?;
        Index::parse(index, self.digest.bytes()).ok()
    }
}

impl Corpus {
    /// Opens the corpus of a store; one without a list is empty.
    pub fn open(store: Store) -> Result<Corpus, Error> {
        let list = List::read(&store.root().join("corpus/list"))?;
        Ok(Corpus { store, list })
    }

    /// All kernels by their names.
    pub fn kernels(&self) -> Result<BTreeMap<&str, Listed>, Error> {
        self.list.all()
    }

    /// The kernel of a name; much cheaper than all of them.
    pub fn get(&self, name: &str) -> Option<Listed> {
        self.list.get(name)
    }

    /// Keeps a BTF and makes its index; [`Corpus::list`] makes it known under a name.
    pub fn keep(&self, btf: &[u8]) -> Result<Listed, Error> {
        let digest = self.store.put(btf)?;
        let listed = Listed { digest, size: btf.len() as u64 };
        // Whoever adds a kernel again wants it at hand.
        self.write_sidecar(listed, btf)?;
        Ok(listed)
    }

    /// Adds names to the list, in place of earlier ones; others may be doing the same.
    pub fn list(&mut self, named: impl IntoIterator<Item = (String, Listed)>) -> Result<(), Error> {
        let _lock = self.store.lock("corpus list", &mut |_| {})?;
        let path = self.store.root().join("corpus/list");
        let (before, named): (List, Vec<_>) = (List::read(&path)?, named.into_iter().collect());
        let mut kernels = before.all()?;
        kernels.extend(named.iter().map(|(name, listed)| (name.as_str(), *listed)));
        self.store.write(&path, list::write(&kernels).as_bytes())?;
        self.list = List::read(&path)?;
        Ok(())
    }

    /// Reads a kernel; None when the store has lost it.
    pub fn read(&self, listed: Listed) -> Result<Option<StoredBtf>, Error> {
        let digest = listed.digest;
        let Some((btf, now)) = self.open_blob(listed)? else {
            let unpacked = self.unpack(listed)?;
            return Ok(unpacked.map(|btf| StoredBtf { btf: btf.into(), digest, sidecar: None }));
        };
        let path = self.path(listed, "index");
        let sidecar = FileBytes::open(&path, MAX_FILE).ok();
        if sidecar.as_deref().and_then(stamp::split).is_some_and(|(_, then)| then == now) {
            return Ok(Some(StoredBtf { btf, digest, sidecar }));
        }
        // Another file than the one that was checked.
        if Digest::of(&btf) != digest {
            let blob = self.store.blob_path(&digest);
            fs::remove_file(&blob).map_err(|cause| Error::io("remove the broken", &blob, cause))?;
            let unpacked = self.unpack(listed)?;
            return Ok(unpacked.map(|btf| StoredBtf { btf: btf.into(), digest, sidecar: None }));
        }
        self.write_sidecar(listed, &btf)?;
        let sidecar = FileBytes::open(&path, MAX_FILE).ok();
        Ok(Some(StoredBtf { btf, digest, sidecar }))
    }

    /// Makes the index of a kernel again, whatever is there. A packed one has none.
    pub fn renew(&self, listed: Listed, btf: &[u8]) -> Result<(), Error> {
        match self.store.contains(&listed.digest) && Digest::of(btf) == listed.digest {
            true => self.write_sidecar(listed, btf),
            false => Ok(()),
        }
    }

    /// How a kernel is kept.
    pub fn kept(&self, listed: Listed) -> Kept {
        let size = |path: PathBuf| fs::metadata(path).map(|metadata| metadata.len()).ok();
        match (size(self.store.blob_path(&listed.digest)), size(self.path(listed, "packed"))) {
            (Some(_), _) => Kept::Open { index: size(self.path(listed, "index")).unwrap_or(0) },
            (None, Some(size)) => Kept::Packed { size },
            (None, None) => Kept::Lost,
        }
    }

    /// Reads every byte again: whether the kernel is there and what it was. A wrong index is made again.
    pub fn verify(&self, listed: Listed) -> Result<Kept, Error> {
        if self.store.path_of(&listed.digest).is_some() {
            let Some(stored) = self.read(listed)? else { return Ok(Kept::Lost) };
            let made =
                Btf::parse(&stored.btf[..]).ok().and_then(|btf| Index::write(&btf, listed.digest.bytes()));
            let is = stored.sidecar.as_deref().and_then(stamp::split).map(|(index, _)| index);
            if is.unwrap_or_default() != made.as_deref().unwrap_or_default() {
                // A damaged blob may have been thrown away, with the packed one in its place.
                self.renew(listed, &stored.btf)?;
            }
            return Ok(self.kept(listed));
        }
        match self.unpack(listed)? {
            Some(_) => Ok(self.kept(listed)),
            None => Ok(Kept::Lost),
        }
    }

    /// Packs a kernel: beside the reference where that makes it much smaller, else alone, as the reference for others.
    ///
    /// What was packed is unpacked and compared before blob and index are given up. None when the store has lost it.
    pub fn pack(&self, listed: Listed, beside: Option<&Reference>) -> Result<Option<Reference>, Error> {
        let Some(stored) = self.read(listed)? else { return Ok(None) };
        let own = Reference { digest: listed.digest, btf: stored.btf };
        let wrong = |cause| Error::io("pack", &self.store.blob_path(&listed.digest), cause);
        let alone = packed::pack(&own.btf, None).map_err(wrong)?;
        let with = beside.filter(|beside| beside.digest != own.digest).map(|beside| {
            packed::pack(&own.btf, Some((&beside.digest, &beside.btf))).map(|packed| (packed, beside.clone()))
        });
        let (bytes, reference) = match with.transpose().map_err(wrong)? {
            Some((with, beside)) if with.len() * 10 < alone.len() * 8 => (with, beside),
            Some(_) | None => (alone, own),
        };
        self.store.write(&self.path(listed, "packed"), &bytes)?;
        if self.unpack(listed)?.is_some() {
            for path in [self.store.blob_path(&listed.digest), self.path(listed, "index")] {
                match fs::remove_file(&path) {
                    Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                        return Err(Error::io("remove the unpacked", &path, cause));
                    }
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(Some(reference))
    }

    /// The BTF out of the packed file; None when there is none, or none that gives the same bytes.
    fn unpack(&self, listed: Listed) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(listed, "packed");
        let bytes = match FileBytes::open(&path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(Error::io("read", &path, cause)),
        };
        let reference = match packed::reference(&bytes) {
            None => None,
            Some(digest) => {
                let listed = Listed { digest, size: 0 };
                let blob = self.open_blob(listed)?.map(|(btf, _)| btf.into_vec());
                match blob.filter(|btf| Digest::of(btf) == digest) {
                    Some(btf) => Some(btf),
                    // A reference is packed alone, so this goes no deeper.
                    None => match FileBytes::open(&self.path(listed, "packed"), MAX_FILE) {
                        Ok(bytes) => packed::unpack(&bytes, None).ok(),
                        Err(_) => None,
                    },
                }
            }
        };
        let btf = packed::unpack(&bytes, reference.as_deref()).ok();
        Ok(btf.filter(|btf| Digest::of(btf) == listed.digest))
    }

    fn open_blob(&self, listed: Listed) -> Result<Option<(FileBytes, Stamp)>, Error> {
        let path = self.store.blob_path(&listed.digest);
        let open = || {
            let file = File::open(&path)?;
            let stamp = Stamp::of(&file.metadata()?);
            // With its index, a program reads few of a kernel's thousand pages.
            Ok((FileBytes::sparse(file, MAX_FILE)?, stamp))
        };
        match open() {
            Ok(opened) => Ok(Some(opened)),
            Err(cause) if io::Error::kind(&cause) == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(Error::io("read", &path, cause)),
        }
    }

    /// The index of a blob whose content was just checked; what can't be indexed has none.
    fn write_sidecar(&self, listed: Listed, btf: &[u8]) -> Result<(), Error> {
        let index = Btf::parse(btf).ok().and_then(|btf| Index::write(&btf, listed.digest.bytes()));
        let blob = self.store.blob_path(&listed.digest);
        let metadata = fs::metadata(&blob).map_err(|cause| Error::io("read", &blob, cause))?;
        let sidecar = stamp::join(index.unwrap_or_default(), Stamp::of(&metadata));
        self.store.write(&self.path(listed, "index"), &sidecar)
    }

    fn path(&self, listed: Listed, what: &str) -> PathBuf {
        let name = listed.digest.to_string();
        self.store.root().join("corpus").join(&name[..2]).join(format!("{name}.{what}"))
    }
}

#[cfg(test)]
mod tests;
