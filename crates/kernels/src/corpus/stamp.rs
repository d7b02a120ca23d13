//! By what a file is known to be the one that was checked, without reading it again.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

const LEN: usize = 40;

/// Size, times and place of a file. Files of a store are only ever replaced, which gives them other ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp([u8; LEN]);

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Stamp {
        let nanos = |seconds: i64, nanos: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos) as u64;
        let modified = nanos(metadata.mtime(), metadata.mtime_nsec());
        let changed = nanos(metadata.ctime(), metadata.ctime_nsec());
        let mut bytes = [0; LEN];
        let fields = [metadata.len(), modified, changed, metadata.ino(), metadata.dev()];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        Stamp(bytes)
    }
}

/// An index with the stamp of its BTF behind it.
pub(super) fn join(mut index: Vec<u8>, stamp: Stamp) -> Vec<u8> {
    index.extend(stamp.0);
    index
}

/// The same, taken apart. A damaged stamp is that of no file.
pub(super) fn split(sidecar: &[u8]) -> Option<(&[u8], Stamp)> {
    let (index, stamp) = sidecar.split_last_chunk::<LEN>()?;
    Some((index, Stamp(*stamp)))
}
