//! A delta pack: what takes a holder of one bundle to the next, byte for byte.
//!
//! A header that names both bundles by their digests, and one zstd frame that refers to the old archive, as
//! `zstd --patch-from` makes it. `docs/bundle-format.md` has the bytes.

use std::collections::BTreeSet;
use std::io::{BufRead, Read, Write};

use sha2::{Digest as _, Sha256};
use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

use crate::archive::{self, END, check_limit};
use crate::digest::Digest;
use crate::error::{DeltaFault, Error};
use crate::frame::{self, WINDOW_LOG, check_level};
use crate::index::BlobRef;
use crate::reader::{Bundle, Limits};

pub(crate) const MAGIC: &[u8; 8] = b"BTFDELT1";
const HEADER: usize = 168;
const USUAL_LEVEL: i32 = 19;
/// Where the digest of all other bytes is.
const DIGEST: usize = 136;
/// Memory taken before a frame has shown that it holds more.
const FIRST_ALLOCATION: u64 = 16 << 20;

/// A delta pack, its own digest checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The level at which the new bundle is compressed.
    pub level: i32,
    /// The version of the zstd that compressed it, as `ZSTD_versionNumber` has it: 10507 is 1.5.7.
    pub zstd: u32,
    /// The archive of the bundle that it is applied to.
    pub old: BlobRef,
    /// The archive of the new bundle.
    pub new: BlobRef,
    /// The new bundle's file.
    pub file: BlobRef,
    frame: Vec<u8>,
}

impl Delta {
    /// What takes a holder of `old` to the bundle that the bytes `new` are.
    pub fn between(old: &Bundle, new: &[u8]) -> Result<Delta, Error> {
        let bundle = Bundle::open(new)?;
        let file = blob(new);
        let level = level_of(&bundle, &file)?;
        let frame = patch(old.tar(), bundle.tar(), level)?;
        let (old, new) = (blob(old.tar()), blob(bundle.tar()));
        Ok(Delta { level, zstd: zstd::zstd_safe::version_number(), old, new, file, frame })
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        bytes.extend(self.digest().as_bytes());
        bytes.extend(&self.frame);
        bytes
    }

    /// Reads a delta pack, and checks all that can be checked without the old bundle.
    pub fn parse(bytes: &[u8]) -> Result<Delta, Error> {
        let bad = |fault| Err(Error::Delta(fault));
        if !bytes.starts_with(MAGIC) {
            return bad(DeltaFault::NotADelta);
        }
        let Some((header, frame)) = bytes.split_at_checked(HEADER) else {
            return bad(DeltaFault::Damaged);
        };
        let [old, new, file] = [16, 56, 96].map(|at| blob_at(header, at));
        let level = u32_at(header, 8).cast_signed();
        let delta = Delta { level, zstd: u32_at(header, 12), old, new, file, frame: frame.to_vec() };
        if delta.digest().as_bytes() != &header[DIGEST..] {
            return bad(DeltaFault::Damaged);
        }
        check_level(level)?;
        let limits = Limits::default();
        check_limit("size of the old archive", old.size, limits.archive)?;
        check_limit("size of the new archive", new.size, limits.archive)?;
        check_limit("size of the new bundle", file.size, limits.compressed)?;
        Ok(delta)
    }

    /// The new bundle, of the old one: its archive is the one that was meant, to the byte.
    pub fn apply(&self, old: &Bundle) -> Result<Bundle, Error> {
        let found = Digest::of(old.tar());
        if found != self.old.sha256 {
            return Err(Error::Delta(DeltaFault::OtherBase { want: self.old.sha256, found }));
        }
        let tar = unpatch(old.tar(), &self.frame, self.new.size)?;
        if blob(&tar) != self.new {
            return Err(Error::Delta(DeltaFault::OtherResult("archive")));
        }
        Bundle::of_tar(tar, &Limits::default())
    }

    /// The file of the new bundle that [`apply`](Self::apply) gave: it is compressed again, and must be the one that was
    /// meant, to the byte. Another version of zstd may not come to it.
    pub fn file(&self, new: &Bundle, threads: u32) -> Result<Vec<u8>, Error> {
        let bytes = frame::compress(new.tar(), self.level, threads)?;
        match Digest::of(&bytes) == self.file.sha256 {
            true => Ok(bytes),
            false if self.zstd == zstd::zstd_safe::version_number() => {
                Err(Error::Delta(DeltaFault::OtherResult("file")))
            }
            false => Err(Error::Delta(DeltaFault::OtherZstd(self.zstd))),
        }
    }

    /// All before the digest.
    fn header(&self) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        header.extend(self.level.to_le_bytes());
        header.extend(self.zstd.to_le_bytes());
        for BlobRef { sha256, size } in [&self.old, &self.new, &self.file] {
            header.extend(size.to_le_bytes());
            header.extend(sha256.as_bytes());
        }
        header
    }

    fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        hasher.update(self.header());
        hasher.update(&self.frame);
        Digest::finish(hasher)
    }
}

/// The files that the old bundle lacks, compressed as a bundle is: what a delta would cost that knows files only.
pub fn new_files(old: &Bundle, new: &Bundle, level: i32) -> Result<Vec<u8>, Error> {
    let held: BTreeSet<&str> = old.files().map(|(path, _)| path).collect();
    let mut tar = Vec::new();
    // The index has one name in every bundle, and another content.
    for (path, size) in new.files().filter(|(path, _)| !held.contains(path) || *path == "index.json") {
        let content = new.file(path).ok_or_else(|| Error::Missing(path.to_owned()))?;
        tar.extend(archive::header(path, size, new.source_date_epoch())?);
        tar.extend(content);
        tar.resize(tar.len() + archive::padding(size), 0);
    }
    tar.resize(tar.len() + END, 0);
    frame::compress(&tar, level, 1)
}

/// The level at which the file is made of the bundle's archive, as who applies a delta makes it again.
fn level_of(bundle: &Bundle, file: &BlobRef) -> Result<i32, Error> {
    // The one of pipelines that name none goes first: the others are a search.
    for level in std::iter::once(USUAL_LEVEL).chain((1..=22).filter(|level| *level != USUAL_LEVEL)) {
        if blob(&frame::compress(bundle.tar(), level, 1)?) == *file {
            return Ok(level);
        }
    }
    Err(Error::Delta(DeltaFault::NotOurs))
}

fn patch(old: &[u8], new: &[u8], level: i32) -> Result<Vec<u8>, Error> {
    let make = || {
        let mut encoder = Encoder::with_ref_prefix(Vec::new(), level, old)?;
        encoder.long_distance_matching(true)?;
        encoder.window_log(WINDOW_LOG)?;
        encoder.include_checksum(true)?;
        encoder.set_pledged_src_size(Some(new.len() as u64))?;
        encoder.write_all(new)?;
        encoder.finish()
    };
    make().map_err(Error::Compress)
}

/// What the frame makes of the old archive. It must say how much that is, and be nothing but one frame.
fn unpatch(old: &[u8], frame: &[u8], size: u64) -> Result<Vec<u8>, Error> {
    let stated = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten();
    if stated != Some(size) || !frame.starts_with(&zstd::zstd_safe::MAGICNUMBER.to_le_bytes()) {
        return Err(Error::Delta(DeltaFault::Frame));
    }
    let decode = || {
        let mut decoder = Decoder::with_ref_prefix(frame, old)?.single_frame();
        decoder.window_log_max(WINDOW_LOG)?;
        let mut tar = Vec::with_capacity(size.min(FIRST_ALLOCATION) as usize);
        decoder.by_ref().take(size + 1).read_to_end(&mut tar)?;
        Ok((tar, decoder.finish().fill_buf()?.len()))
    };
    match decode().map_err(Error::Decompress)? {
        (tar, 0) => Ok(tar),
        (_, rest) => Err(Error::AfterFrame(rest)),
    }
}

fn blob(bytes: &[u8]) -> BlobRef {
    BlobRef { sha256: Digest::of(bytes), size: bytes.len() as u64 }
}

/// The size and digest at `at`, which the caller knows to be inside.
fn blob_at(header: &[u8], at: usize) -> BlobRef {
    let size = header[at..].first_chunk().copied().map_or(0, u64::from_le_bytes);
    let sha256 = header[at + 8..].first_chunk().copied().unwrap_or_default();
    BlobRef { sha256: Digest::from_bytes(sha256), size }
}

fn u32_at(header: &[u8], at: usize) -> u32 {
    header[at..].first_chunk().copied().map_or(0, u32::from_le_bytes)
}
