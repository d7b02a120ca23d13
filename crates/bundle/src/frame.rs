//! The zstd frame around a bundle's tar.

use std::io::{Read, Write};

use zstd::stream::{read::Decoder, write::Encoder};
use zstd::zstd_safe::CParameter;

use crate::archive::check_limit;
use crate::error::Error;

/// The greatest window that plain `zstd -d` accepts: 128 MiB.
pub(crate) const WINDOW_LOG: u32 = 27;
/// How many bytes one worker compresses at a time.
///
/// zstd is not quite reproducible where the content is a whole number of jobs: whether the last job ends the frame, or
/// an empty block behind it does, depends on how fast the workers were (seen with 1.5.7: 3 bytes more or less, even
/// with one worker). A tar is a multiple of 512, this is odd: they meet at 512 jobs, 16 GiB, which no bundle has.
const JOB_SIZE: u32 = (32 << 20) + 1;
/// At levels above 19 jobs overlap by up to a window, and zstd rounds a shorter job up to the overlap.
const ULTRA_JOB_SIZE: u32 = (128 << 20) + 1;
/// Memory taken before a frame has shown that it holds more.
const FIRST_ALLOCATION: u64 = 16 << 20;

/// The version of the zstd that compresses: another one may make other bytes of the same tar.
pub fn zstd_version() -> &'static str {
    zstd::zstd_safe::version_string()
}

/// An encoder of exactly `size` bytes.
///
/// Always with at least one worker: none makes other bytes, one or many make the same.
pub(crate) fn encoder<W: Write>(
    out: W,
    level: i32,
    threads: u32,
    size: u64,
) -> Result<Encoder<'static, W>, Error> {
    check_level(level)?;
    let make = || {
        let mut encoder = Encoder::new(out, level)?;
        encoder.multithread(threads.max(1))?;
        encoder.set_parameter(CParameter::JobSize(job_size(level)))?;
        encoder.long_distance_matching(true)?;
        encoder.window_log(WINDOW_LOG)?;
        encoder.include_checksum(true)?;
        encoder.include_contentsize(true)?;
        encoder.set_pledged_src_size(Some(size))?;
        Ok(encoder)
    };
    make().map_err(Error::Compress)
}

pub(crate) fn check_level(level: i32) -> Result<(), Error> {
    if (1..=22).contains(&level) { Ok(()) } else { Err(Error::Level(level)) }
}

/// One frame of `content`.
pub(crate) fn compress(content: &[u8], level: i32, threads: u32) -> Result<Vec<u8>, Error> {
    let mut encoder = encoder(Vec::new(), level, threads, content.len() as u64)?;
    encoder.write_all(content).map_err(Error::Compress)?;
    encoder.finish().map_err(Error::Compress)
}

fn job_size(level: i32) -> u32 {
    if level > 19 { ULTRA_JOB_SIZE } else { JOB_SIZE }
}

/// The content of the one frame that `bytes` are.
pub(crate) fn decompress(bytes: &[u8], limit: u64) -> Result<Vec<u8>, Error> {
    // A skippable frame has a content size of 0 for zstd, so the magic is asked first.
    if bytes.starts_with(crate::delta::MAGIC) {
        return Err(Error::IsDelta);
    }
    if !bytes.starts_with(&zstd::zstd_safe::MAGICNUMBER.to_le_bytes()) {
        return Err(Error::NotZstd);
    }
    let size = zstd::zstd_safe::get_frame_content_size(bytes).ok().flatten().ok_or(Error::NotZstd)?;
    check_limit("size of the decompressed archive", size, limit)?;
    let mut decoder = Decoder::with_buffer(bytes).map_err(Error::Decompress)?.single_frame();
    decoder.window_log_max(WINDOW_LOG).map_err(Error::Decompress)?;
    let mut content = Vec::with_capacity(size.min(FIRST_ALLOCATION) as usize);
    // zstd itself refuses a frame with more or less than the size that it states; the cap makes it not our trust.
    decoder.by_ref().take(size + 1).read_to_end(&mut content).map_err(Error::Decompress)?;
    match decoder.finish() {
        [] => Ok(content),
        rest => Err(Error::AfterFrame(rest.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Limits};

    fn compress(content: &[u8], level: i32, threads: u32) -> Vec<u8> {
        super::compress(content, level, threads).unwrap()
    }

    #[test]
    fn the_frame_states_its_size_and_a_checksum() {
        let frame = compress(b"content", 19, 1);
        assert_eq!(frame[4] & 0b100, 0b100, "content checksum flag");
        assert_eq!(zstd::zstd_safe::get_frame_content_size(&frame).unwrap(), Some(7));
        assert_eq!(decompress(&frame, 7).unwrap(), b"content");
    }

    #[test]
    fn damage() {
        let frame = compress(&b"content ".repeat(99), 19, 1);
        for len in 0..frame.len() {
            assert!(decompress(&frame[..len], 999).is_err(), "cut at {len}");
        }
        for at in 5..frame.len() {
            let mut bad = frame.clone();
            bad[at] ^= 0x10;
            assert!(decompress(&bad, 999).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn refused() {
        let frame = compress(b"content", 3, 1);
        assert!(matches!(decompress(&frame, 6), Err(Error::Limit { found: 7, limit: 6, .. })));
        let two = [&frame[..], &frame[..]].concat();
        assert!(matches!(decompress(&two, 99), Err(Error::AfterFrame(n)) if n == frame.len()));
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], &frame[..]].concat();
        assert!(matches!(decompress(&skippable, 99), Err(Error::NotZstd)));
        let mut no_size = Encoder::new(Vec::new(), 3).unwrap();
        no_size.write_all(b"content").unwrap();
        no_size.flush().unwrap();
        assert!(matches!(decompress(&no_size.finish().unwrap(), 99), Err(Error::NotZstd)));
        assert!(matches!(decompress(b"", 99), Err(Error::NotZstd)));
        for level in [0, -1, 23] {
            assert!(matches!(encoder(Vec::new(), level, 1, 0), Err(Error::Level(l)) if l == level));
        }
    }

    #[test]
    fn no_bundle_is_a_whole_number_of_jobs() {
        for level in 1..=22 {
            assert_eq!(job_size(level) % 2, 1);
            assert!(u64::from(job_size(level)) * 512 > Limits::default().archive);
            assert!(u64::from(job_size(level)) < 1 << 30, "zstd's limit");
        }
    }

    /// Several jobs for zstd, so that the workers have something to share out. No worker would make other bytes.
    #[test]
    fn same_bytes_for_any_number_of_threads() {
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 & 0x1f
        };
        let content: Vec<u8> = (0..72 << 20).map(|_| noise()).collect();
        let one = Digest::of(&compress(&content, 1, 1));
        for threads in [0, 1, 2, 3, 4] {
            assert_eq!(Digest::of(&compress(&content, 1, threads)), one, "{threads}");
        }
    }
}
