//! Writing a pack of a bundle.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use flate2::Compression;

use crate::digest::Digest;
use crate::error::Error;
use crate::frame;
use crate::index::{Index, IndexedKernel};
use crate::pack::layout::{CHUNK, DIGEST, HEADER, Layout, MAX_CHUNK, Method, NONE};
use crate::reader::Bundle;

/// How a pack is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackOptions {
    /// How chunks are compressed.
    pub method: Method,
    /// zstd's level, 1 to 22. DEFLATE has its highest.
    pub level: i32,
    /// A chunk takes BTFs until it has so many bytes: more of them compress better, and cost a lookup more.
    pub chunk_size: u32,
}

impl Default for PackOptions {
    fn default() -> PackOptions {
        PackOptions { method: Method::Zstd, level: 19, chunk_size: 64 << 10 }
    }
}

/// The pack with what `bundle` has, records aside.
pub fn write_pack(bundle: &Bundle, options: PackOptions) -> Result<Vec<u8>, Error> {
    let index = bundle.index();
    let strings = Strings::of(index);
    let blobs = Blobs::of(bundle, options)?;
    let mut kernels: Vec<&IndexedKernel> = index.kernels.iter().collect();
    kernels.sort_by(|a, b| order(a).cmp(&order(b)));

    let (mut kernel_table, mut alias_table) = (Vec::new(), Vec::new());
    for kernel in &kernels {
        let entry = &kernel.entry;
        let build_id = entry.build_id.as_deref().map_or(NONE, |id| strings.offset(id));
        let aliases = &entry.version_aliases;
        let words = [
            strings.offset(&entry.release),
            strings.offset(&entry.distro),
            strings.offset(&entry.version),
            build_id,
            (alias_table.len() / 4) as u32,
            aliases.len() as u32,
            blobs.number(&kernel.btf.sha256),
            kernel.outcomes.unwrap_or(index.outcomes.len() as u32),
        ];
        words.iter().for_each(|word| put(&mut kernel_table, *word));
        aliases.iter().for_each(|alias| put(&mut alias_table, strings.offset(alias)));
    }
    let layout = Layout {
        arch: index.arch,
        kernels: kernels.len() as u32,
        aliases: (alias_table.len() / 4) as u32,
        blobs: blobs.places.len() as u32,
        chunks: blobs.chunks.len() as u32,
        programs: index.programs.len() as u32,
        outcomes: outcome_rows(index),
        strings: strings.bytes.len() as u32,
        file_size: 0,
        name: strings.offset(&index.name),
        engine: strings.offset(&index.engine),
    };
    let mut directory = kernel_table;
    directory.extend(alias_table);
    blobs.put_table(&mut directory);
    blobs.put_chunk_table(&mut directory, layout.data() as u64);
    for program in &index.programs {
        put(&mut directory, strings.offset(&program.name));
        directory.extend(program.sha256.as_bytes());
    }
    put_outcomes(&mut directory, index);
    directory.extend(&strings.bytes);

    let data: usize = blobs.chunks.iter().map(|chunk| chunk.packed.len()).sum();
    let layout = Layout { file_size: (HEADER + directory.len() + data) as u64, ..layout };
    let mut pack = layout.header().to_vec();
    let digest = Digest::of(&[&pack[..DIGEST], &directory].concat());
    pack[DIGEST..].copy_from_slice(digest.as_bytes());
    pack.extend(directory);
    blobs.chunks.iter().for_each(|chunk| pack.extend(&chunk.packed));
    Ok(pack)
}

fn put(out: &mut Vec<u8>, word: u32) {
    out.extend(word.to_le_bytes());
}

fn order(kernel: &IndexedKernel) -> (&str, &str, &str, Option<&str>) {
    let entry = &kernel.entry;
    (&entry.release, &entry.distro, &entry.version, entry.build_id.as_deref())
}

/// A row for each list of outcomes, and one of "resolved" for kernels of whom nothing is known.
fn outcome_rows(index: &Index) -> u32 {
    let unknown = index.kernels.iter().any(|kernel| kernel.outcomes.is_none());
    index.outcomes.len() as u32 + u32::from(unknown)
}

fn put_outcomes(directory: &mut Vec<u8>, index: &Index) {
    for row in 0..outcome_rows(index) as usize {
        for program in &index.programs {
            let outcome = index.outcomes.get(row).and_then(|row| row.get(&program.name));
            directory.push(outcome.map_or(0, crate::outcomes::Outcome::verdict_number));
        }
    }
}

/// Every string once, sorted, each behind a byte with its length.
struct Strings<'i> {
    bytes: Vec<u8>,
    offsets: BTreeMap<&'i str, u32>,
}

impl<'i> Strings<'i> {
    fn of(index: &'i Index) -> Strings<'i> {
        let mut all: BTreeSet<&str> = BTreeSet::from([index.name.as_str(), index.engine.as_str()]);
        all.extend(index.programs.iter().map(|program| program.name.as_str()));
        for IndexedKernel { entry, .. } in &index.kernels {
            all.extend([entry.release.as_str(), entry.distro.as_str(), entry.version.as_str()]);
            all.extend(entry.build_id.as_deref());
            all.extend(entry.version_aliases.iter().map(String::as_str));
        }
        let (mut bytes, mut offsets) = (Vec::new(), BTreeMap::new());
        for text in all {
            offsets.insert(text, bytes.len() as u32);
            // An index has no text of more than 255 bytes; a build-id has at most 128.
            bytes.push(text.len() as u8);
            bytes.extend(text.as_bytes());
        }
        Strings { bytes, offsets }
    }

    fn offset(&self, text: &str) -> u32 {
        self.offsets[text]
    }
}

struct Chunk {
    method: Method,
    size: u32,
    packed: Vec<u8>,
}

struct Place {
    sha256: Digest,
    chunk: u32,
    offset: u32,
    size: u32,
}

/// Every BTF once, in the order of the kernels, so that neighbours are alike.
struct Blobs {
    places: Vec<Place>,
    numbers: BTreeMap<Digest, u32>,
    chunks: Vec<Chunk>,
}

impl Blobs {
    fn of(bundle: &Bundle, options: PackOptions) -> Result<Blobs, Error> {
        let mut blobs = Blobs { places: Vec::new(), numbers: BTreeMap::new(), chunks: Vec::new() };
        let mut content: Vec<u8> = Vec::new();
        for kernel in &bundle.index().kernels {
            if blobs.numbers.contains_key(&kernel.btf.sha256) {
                continue;
            }
            let btf = bundle.btf_of(kernel).ok_or_else(|| Error::Missing(kernel.btf.btf_path()))?;
            // A reader's file limit is the chunk's: the sum stays below 2 * 256 MiB.
            if !content.is_empty() && content.len() + btf.len() > options.chunk_size as usize {
                blobs.close(&mut content, options)?;
            }
            blobs.numbers.insert(kernel.btf.sha256, blobs.places.len() as u32);
            blobs.places.push(Place {
                sha256: kernel.btf.sha256,
                chunk: blobs.chunks.len() as u32,
                offset: content.len() as u32,
                size: btf.len() as u32,
            });
            content.extend(btf);
        }
        if !content.is_empty() {
            blobs.close(&mut content, options)?;
        }
        Ok(blobs)
    }

    fn close(&mut self, content: &mut Vec<u8>, options: PackOptions) -> Result<(), Error> {
        crate::archive::check_limit("size of a chunk", content.len() as u64, MAX_CHUNK.into())?;
        let packed = compress(content, options)?;
        // What does not shrink is stored.
        let (method, packed) = if packed.len() < content.len() {
            (options.method, packed)
        } else {
            (Method::Stored, content.clone())
        };
        self.chunks.push(Chunk { method, size: content.len() as u32, packed });
        content.clear();
        Ok(())
    }

    fn number(&self, sha256: &Digest) -> u32 {
        self.numbers[sha256]
    }

    fn put_table(&self, out: &mut Vec<u8>) {
        for place in &self.places {
            out.extend(place.sha256.as_bytes());
            [place.chunk, place.offset, place.size, 0].iter().for_each(|word| put(out, *word));
        }
    }

    fn put_chunk_table(&self, out: &mut Vec<u8>, data: u64) {
        let mut offset = data;
        for Chunk { method, size, packed } in &self.chunks {
            let start = out.len();
            out.extend(offset.to_le_bytes());
            [packed.len() as u32, *size, method.number(), 0].iter().for_each(|word| put(out, *word));
            debug_assert_eq!(out.len() - start, CHUNK);
            offset += packed.len() as u64;
        }
    }
}

fn compress(content: &[u8], options: PackOptions) -> Result<Vec<u8>, Error> {
    match options.method {
        Method::Stored => Ok(content.to_vec()),
        Method::Zstd => frame::compress(content, options.level, 1),
        Method::Deflate => {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(content).map_err(Error::Compress)?;
            encoder.finish().map_err(Error::Compress)
        }
    }
}
