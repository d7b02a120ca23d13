//! Decompressing one chunk of a pack.

use std::io::Read;

use ruzstd::decoding::StreamingDecoder;

use crate::pack::error::PackError;
use crate::pack::layout::Method;

/// Memory taken before a chunk has shown that it holds more.
const FIRST_ALLOCATION: usize = 1 << 20;

/// The `size` bytes that `bytes` decompress to; none where they don't.
pub(crate) fn decompress(bytes: Vec<u8>, method: Method, size: u32) -> Result<Option<Vec<u8>>, PackError> {
    let size = size as usize;
    match method {
        Method::Stored => Ok(Some(bytes).filter(|bytes| bytes.len() == size)),
        Method::Zstd => Ok(unzstd(&bytes, size)),
        Method::Deflate => inflate(&bytes, size),
    }
}

fn unzstd(mut bytes: &[u8], size: usize) -> Option<Vec<u8>> {
    // A chunk is one segment: no window is larger than what it holds, save zstd's least one of 1 KiB.
    let window = (size as u64).max(1 << 10);
    let decoder = StreamingDecoder::new_with_max_window_size(&mut bytes, window).ok()?;
    exactly(decoder, size)
}

/// What a decoder gives, if it is exactly that much.
fn exactly(decoder: impl Read, size: usize) -> Option<Vec<u8>> {
    let mut content = Vec::with_capacity(size.min(FIRST_ALLOCATION));
    decoder.take(size as u64 + 1).read_to_end(&mut content).ok()?;
    (content.len() == size).then_some(content)
}

#[cfg(feature = "full")]
fn inflate(bytes: &[u8], size: usize) -> Result<Option<Vec<u8>>, PackError> {
    Ok(exactly(flate2::read::DeflateDecoder::new(bytes), size))
}

#[cfg(not(feature = "full"))]
fn inflate(_: &[u8], _: usize) -> Result<Option<Vec<u8>>, PackError> {
    Err(PackError::Method("deflate (for readers without zstd)"))
}
