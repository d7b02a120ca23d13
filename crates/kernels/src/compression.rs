//! Compressed bytes, undone within limits.

use std::io::{self, Read};

use crate::FormatError;

/// No xz or lzma stream of a kernel or package needs more; it bounds what a hostile header can make us allocate.
const XZ_MEMORY: u64 = 512 << 20;
/// With one block a thread, a parallel decoder stays below this and uses fewer threads instead.
const XZ_MEMORY_THREADS: u64 = 256 << 20;
/// The legacy lz4 frame's blocks are of this size, the last one shorter.
const LZ4_BLOCK: usize = 8 << 20;
const LZ4_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];

/// A way of compressing that kernels, modules or packages use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Zstd,
    Xz,
    Lz4Legacy,
    Gzip,
    Lzma,
}

/// How many bytes there are after decompression.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// As many as the format around it states.
    Exactly(usize),
    /// Not more than a sound input has.
    AtMost { what: &'static str, limit: usize },
}

impl Compression {
    /// Looks at the magic number.
    pub(crate) fn find(bytes: &[u8]) -> Option<Compression> {
        match bytes {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => Some(Compression::Xz),
            [0x02, 0x21, 0x4c, 0x18, ..] => Some(Compression::Lz4Legacy),
            [0x1f, 0x8b, ..] => Some(Compression::Gzip),
            [0x5d, 0x00, 0x00, ..] => Some(Compression::Lzma),
            _ => None,
        }
    }

    /// As [`Compression::find`], and an error that names what else it is.
    pub(crate) fn resolve(bytes: &[u8], expected: &'static str) -> Result<Compression, FormatError> {
        match (Compression::find(bytes), bytes) {
            (Some(compression), _) => Ok(compression),
            (None, [0x89, b'L', b'Z', b'O', ..]) => Err(FormatError::Unsupported("lzo".into())),
            (None, [b'B', b'Z', b'h', ..]) => Err(FormatError::Unsupported("bzip2".into())),
            (None, _) => Err(FormatError::Unknown { expected, start: bytes[..bytes.len().min(6)].to_vec() }),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Compression::Zstd => "zstd",
            Compression::Xz => "xz",
            Compression::Lz4Legacy => "lz4",
            Compression::Gzip => "gzip",
            Compression::Lzma => "lzma",
        }
    }

    /// Undoes the compression.
    pub(crate) fn decode(self, bytes: &[u8], bound: Bound) -> Result<Vec<u8>, FormatError> {
        match self {
            Compression::Lz4Legacy => decode_lz4_legacy(bytes, bound),
            Compression::Zstd | Compression::Xz | Compression::Gzip | Compression::Lzma => {
                let reader = self.reader(bytes, 1).map_err(|cause| self.fault(cause))?;
                self.read_bounded(reader, bound)
            }
        }
    }

    /// A reader that undoes the compression; xz in blocks is decoded by up to `threads` threads.
    pub(crate) fn reader<'r>(
        self,
        input: impl io::BufRead + 'r,
        threads: u32,
    ) -> io::Result<Box<dyn Read + 'r>> {
        use liblzma::bufread::XzDecoder;
        use liblzma::stream::{MtStreamBuilder, Stream};
        Ok(match self {
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
            Compression::Gzip => Box::new(flate2::bufread::GzDecoder::new(input)),
            Compression::Lzma => Box::new(XzDecoder::new_stream(input, Stream::new_lzma_decoder(XZ_MEMORY)?)),
            Compression::Xz if threads > 1 => {
                let mut builder = MtStreamBuilder::new();
                builder.threads(threads).memlimit_threading(XZ_MEMORY_THREADS).memlimit_stop(XZ_MEMORY);
                Box::new(XzDecoder::new_stream(input, builder.decoder()?))
            }
            Compression::Xz => {
                Box::new(XzDecoder::new_stream(input, Stream::new_stream_decoder(XZ_MEMORY, 0)?))
            }
            Compression::Lz4Legacy => return Err(io::Error::other("lz4 is not read as a stream")),
        })
    }

    fn read_bounded(self, reader: impl Read, bound: Bound) -> Result<Vec<u8>, FormatError> {
        let (limit, capacity) = match bound {
            Bound::Exactly(size) => (size, size),
            Bound::AtMost { limit, .. } => (limit, 0),
        };
        let mut out = Vec::with_capacity(capacity);
        // One byte more than allowed tells "ends here" from "goes on".
        reader.take(limit as u64 + 1).read_to_end(&mut out).map_err(|cause| self.fault(cause))?;
        bound.check(out.len())?;
        Ok(out)
    }

    fn fault(self, cause: io::Error) -> FormatError {
        FormatError::Decompress { format: self.name(), cause }
    }
}

impl Bound {
    fn check(self, found: usize) -> Result<(), FormatError> {
        match self {
            Bound::Exactly(stated) if found != stated => {
                Err(FormatError::Size { stated: stated as u64, found: found as u64 })
            }
            Bound::AtMost { what, limit } if found > limit => {
                Err(FormatError::TooLarge { what, limit: limit as u64 })
            }
            Bound::Exactly(_) | Bound::AtMost { .. } => Ok(()),
        }
    }
}

/// The legacy lz4 frame: the magic number, then blocks, each after its compressed size (u32, little endian).
///
/// Concatenated frames repeat the magic number in place of a size, as lz4's own decoder accepts.
fn decode_lz4_legacy(bytes: &[u8], bound: Bound) -> Result<Vec<u8>, FormatError> {
    let limit = match bound {
        Bound::Exactly(size) => size,
        Bound::AtMost { limit, .. } => limit,
    };
    let fault = |cause: &str| Compression::Lz4Legacy.fault(io::Error::other(cause.to_owned()));
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let size = bytes[at..].first_chunk::<4>().ok_or_else(|| fault("half a block size at the end"))?;
        at += 4;
        if *size == LZ4_MAGIC {
            continue;
        }
        let end = at.saturating_add(u32::from_le_bytes(*size) as usize);
        let block = bytes.get(at..end).ok_or_else(|| fault("a block reaches behind the end"))?;
        at = end;
        let start = out.len();
        out.resize(start + LZ4_BLOCK.min(limit - start), 0);
        let len = lz4_flex::block::decompress_into(block, &mut out[start..])
            .map_err(|cause| fault(&format!("{cause} in the block at byte {}", end - block.len())))?;
        out.truncate(start + len);
    }
    bound.check(out.len())?;
    Ok(out)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write;

    /// Compresses as the kernel's build does.
    pub(crate) fn encode(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        use liblzma::stream::{LzmaOptions, Stream};
        use liblzma::write::XzEncoder;
        match compression {
            Compression::Zstd => zstd::stream::encode_all(bytes, 3).unwrap(),
            Compression::Xz => liblzma::encode_all(bytes, 1).unwrap(),
            Compression::Lzma => {
                let options = LzmaOptions::new_preset(6).unwrap();
                let stream = Stream::new_lzma_encoder(&options).unwrap();
                let mut encoder = XzEncoder::new_stream(Vec::new(), stream);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Lz4Legacy => {
                let mut out = LZ4_MAGIC.to_vec();
                for block in bytes.chunks(LZ4_BLOCK) {
                    let block = lz4_flex::block::compress(block);
                    out.extend((block.len() as u32).to_le_bytes());
                    out.extend(block);
                }
                out
            }
        }
    }

    pub(crate) const ALL: [Compression; 5] =
        [Compression::Zstd, Compression::Xz, Compression::Lz4Legacy, Compression::Gzip, Compression::Lzma];

    /// Bytes that compress, but not to nothing.
    pub(crate) fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8 ^ (i / 4096) as u8).collect()
    }

    #[test]
    fn round_trip() {
        // More than one lz4 block.
        for bytes in [sample(0), sample(1), sample(100_000), sample(LZ4_BLOCK + 12345)] {
            for compression in ALL {
                let encoded = encode(compression, &bytes);
                assert_eq!(Compression::find(&encoded), Some(compression), "{compression:?}");
                let decoded = compression.decode(&encoded, Bound::Exactly(bytes.len())).unwrap();
                assert!(decoded == bytes, "{compression:?}");
                let decoded =
                    compression.decode(&encoded, Bound::AtMost { what: "x", limit: 9 << 20 }).unwrap();
                assert!(decoded == bytes, "{compression:?}");
            }
        }
    }

    #[test]
    fn a_size_that_is_not_the_stated_one() {
        let bytes = sample(50_000);
        for compression in ALL {
            let encoded = encode(compression, &bytes);
            for stated in [0, 1, bytes.len() - 1, bytes.len() + 1] {
                let error = compression.decode(&encoded, Bound::Exactly(stated)).unwrap_err();
                let known = matches!(error, FormatError::Size { .. })
                    // lz4 notices that its output buffer is too small.
                    || compression == Compression::Lz4Legacy && matches!(error, FormatError::Decompress { .. });
                assert!(known, "{compression:?}: {error}");
            }
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let zeros = vec![0; 10 << 20];
        for compression in ALL {
            let encoded = encode(compression, &zeros);
            assert!(compression.decode(&encoded, Bound::AtMost { what: "x", limit: 1 << 20 }).is_err());
        }
    }

    #[test]
    fn broken_data_is_an_error() {
        let bytes = sample(50_000);
        for compression in ALL {
            let encoded = encode(compression, &bytes);
            for len in [0, 1, 3, 4, 5, 20, encoded.len() / 2, encoded.len() - 1] {
                assert!(
                    compression.decode(&encoded[..len], Bound::Exactly(bytes.len())).is_err(),
                    "{compression:?} {len}"
                );
            }
        }
        for start in [&b"\x89LZO"[..], b"BZh9", b"abc", b""] {
            assert!(Compression::resolve(start, "x").is_err());
        }
    }

    #[test]
    fn xz_in_threads() {
        let bytes = sample(3 << 20);
        let mut builder = liblzma::stream::MtStreamBuilder::new();
        builder.threads(2).block_size(1 << 20).preset(1);
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), builder.encoder().unwrap());
        encoder.write_all(&bytes).unwrap();
        let encoded = encoder.finish().unwrap();
        let mut decoded = Vec::new();
        Compression::Xz.reader(&encoded[..], 4).unwrap().read_to_end(&mut decoded).unwrap();
        assert!(decoded == bytes);
        let half = &encoded[..encoded.len() / 2];
        assert!(Compression::Xz.reader(half, 4).unwrap().read_to_end(&mut decoded).is_err());
    }
}
