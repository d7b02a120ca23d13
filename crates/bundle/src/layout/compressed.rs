//! The compressions of others, the same bytes every time.

use std::io::Write;

use flate2::{Compression, GzBuilder};
use liblzma::stream::{Check, Stream};
use liblzma::write::XzEncoder;

use crate::error::Error;

/// One member, without name or time: `gzip -n -9`, but for the compressor.
pub(super) fn gzip(content: &[u8]) -> Result<Vec<u8>, Error> {
    // 255 is "unknown": the header must not tell on which system it was made.
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    encoder.write_all(content).map_err(Error::Compress)?;
    encoder.finish().map_err(Error::Compress)
}

/// One block, preset 6 and CRC64 as `xz` has them. Always one thread: several make other bytes.
pub(super) fn xz(content: &[u8]) -> Result<Vec<u8>, Error> {
    let stream = Stream::new_easy_encoder(6, Check::Crc64).map_err(|error| Error::Compress(error.into()))?;
    let mut encoder = XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(content).map_err(Error::Compress)?;
    encoder.finish().map_err(Error::Compress)
}
