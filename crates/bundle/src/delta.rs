//! What takes a holder of one bundle to the next: tried, and measured by `btfpipe bundle diff --deltas`.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

use crate::archive::{self, END};
use crate::error::Error;
use crate::frame::{WINDOW_LOG, check_level};
use crate::reader::Bundle;

/// The new archive as one zstd frame that refers to the old archive, as `zstd --patch-from` makes it.
pub fn make(old: &Bundle, new: &Bundle, level: i32) -> Result<Vec<u8>, Error> {
    check_level(level)?;
    let make = || {
        let mut encoder = Encoder::with_ref_prefix(Vec::new(), level, old.tar())?;
        encoder.long_distance_matching(true)?;
        encoder.window_log(WINDOW_LOG)?;
        encoder.include_checksum(true)?;
        encoder.set_pledged_src_size(Some(new.tar().len() as u64))?;
        encoder.write_all(new.tar())?;
        encoder.finish()
    };
    make().map_err(Error::Compress)
}

/// The new archive, of the old bundle and what [`make`] made.
pub fn apply(old: &Bundle, delta: &[u8]) -> Result<Vec<u8>, Error> {
    let read = || {
        let mut decoder = Decoder::with_ref_prefix(delta, old.tar())?;
        decoder.window_log_max(WINDOW_LOG)?;
        let mut tar = Vec::new();
        decoder.take(crate::reader::Limits::default().archive).read_to_end(&mut tar)?;
        Ok(tar)
    };
    read().map_err(Error::Decompress)
}

/// The files that the old bundle lacks, compressed as a bundle is.
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
    crate::frame::compress(&tar, level, 1)
}
