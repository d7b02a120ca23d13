//! A BTF compressed by zstd, alone or with another one as the text that precedes it.
//!
//! ```text
//!  0  digest of the BTF that precedes it, or zeros
//! 32  a zstd frame
//! ```
//! What kernels of one series have in common is then stored once. docs/benchmarks.md has what else was tried.

use std::io::{self, Read, Write};

use zstd::stream::{read::Decoder, write::Encoder};

use crate::Digest;

/// Where more work stops paying.
const LEVEL: i32 = 9;
/// 128 MiB: two BTFs of the largest debug kernels fit.
const WINDOW: u32 = 27;
/// No BTF is larger.
const MAX_BTF: u64 = 512 << 20;
const HEADER: usize = 32;

/// Packs a BTF, beside another one if that is given.
pub(super) fn pack(btf: &[u8], beside: Option<(&Digest, &[u8])>) -> io::Result<Vec<u8>> {
    let (digest, before) = match beside {
        Some((digest, before)) => (*digest.bytes(), before),
        None => ([0; HEADER], &[][..]),
    };
    let mut encoder = Encoder::with_ref_prefix(digest.to_vec(), LEVEL, before)?;
    let window = (before.len() + btf.len()).next_power_of_two().ilog2();
    encoder.window_log(window.clamp(10, WINDOW))?;
    encoder.long_distance_matching(!before.is_empty())?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(btf.len() as u64))?;
    encoder.write_all(btf)?;
    encoder.finish()
}

/// The BTF that a packed one needs beside it.
pub(super) fn reference(packed: &[u8]) -> Option<Digest> {
    let digest = *packed.first_chunk::<HEADER>()?;
    (digest != [0; HEADER]).then(|| Digest::from_bytes(digest))
}

/// Unpacks a BTF.
pub(super) fn unpack(packed: &[u8], beside: Option<&[u8]>) -> io::Result<Vec<u8>> {
    let frame = packed.get(HEADER..).unwrap_or_default();
    let mut decoder = Decoder::with_ref_prefix(frame, beside.unwrap_or_default())?;
    decoder.window_log_max(WINDOW)?;
    let mut btf = Vec::new();
    decoder.take(MAX_BTF).read_to_end(&mut btf)?;
    Ok(btf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn related_ones_share() {
        let base: Vec<u8> =
            (0..200_000u32).flat_map(|number| (number.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        let mut other = base.clone();
        other.splice(1000..1000, *b"something new");
        let digest = Digest::of(&base);
        let alone = pack(&other, None).unwrap();
        let beside = pack(&other, Some((&digest, &base))).unwrap();
        assert!(beside.len() * 20 < alone.len(), "{} of {}", beside.len(), alone.len());
        assert_eq!((reference(&alone), reference(&beside)), (None, Some(digest)));
        assert_eq!(unpack(&alone, None).unwrap(), other);
        assert_eq!(unpack(&beside, Some(&base)).unwrap(), other);
        // Without it, or beside another one: an error or other bytes, which the digest tells.
        assert!(unpack(&beside, None).is_err());
        assert!(unpack(&beside, Some(&other)).map_or(true, |found| found != other));
        assert!(unpack(b"short", None).is_err());
    }
}
