//! An index of a BTF: where its types start, and which have a name, so that candidates are found without a pass.
//!
//! ```text
//!  0  "btfindex", then the version of this format (u32)
//! 12  types, void left out (u32); id of the INT that tells the size of a pointer, or 0 (u32); named types (u32)
//! 24  length of the BTF in bytes (u64); its digest (32 bytes, of the caller's choosing)
//! 64  for each first byte of a hash: how many named types have that or a lower one (256 × u32)
//!     the named types, by hash and id: hash of the essential name (u32), id (u32)
//!     the places of every eighth type (u32 each)
//!     xxHash64 of all before it (u64)
//! ```
//! Everything is little endian, whatever the BTF is. A damaged index is refused, never trusted; that nobody forged it
//! is for those to know who keep it. What it says of a type is looked up in the BTF before it counts.

use btf::{Btf, Kind, Places, Search, TypeId};

use crate::checksum::xxh64;
use crate::{Candidates, Wanted, essential_name};

const MAGIC: [u8; 8] = *b"btfindex";
/// Another number for every change of the format, of the hash, or of what is indexed.
const VERSION: u32 = 1;
const HEADER: usize = 64;
const STARTS: usize = 256 * 4;
const ENTRY: usize = 8;
const CHECKSUM: usize = 8;

/// The kinds that a program's root usually has. Others are searched for in a pass.
const KINDS: [Kind; 8] =
    [Kind::Int, Kind::Struct, Kind::Union, Kind::Enum, Kind::Fwd, Kind::Typedef, Kind::Float, Kind::Enum64];

/// An index that is what it was when it was written.
#[derive(Debug, Clone, Copy)]
pub struct Index<'i> {
    starts: &'i [u8],
    entries: &'i [u8],
    places: &'i [u8],
    count: u32,
    long: Option<TypeId>,
    btf_len: u64,
}

/// Why bytes are no index of a BTF: make it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Not written as one, or cut short.
    #[error("no index of a BTF")]
    NoIndex,
    /// Written by another version.
    #[error("an index of format {0}; this program reads format {VERSION}")]
    Version(u32),
    /// Something changed in it.
    #[error("the index is damaged")]
    Damaged,
    /// Good, but of another BTF.
    #[error("an index of another BTF")]
    Other,
}

impl<'i> Index<'i> {
    /// The index of a BTF; `digest` names the BTF. None where a pass can't be replaced: split BTF, kinds that are not
    /// known, names that can't be read.
    pub fn write(btf: &Btf<'_>, digest: &[u8; 32]) -> Option<Vec<u8>> {
        let places = Places::of(btf)?;
        let mut entries = Vec::new();
        for id in btf.own_ids() {
            let ty = btf.resolve(id).ok()?;
            let name = ty.name().ok()?;
            if KINDS.contains(&ty.kind()) && !name.is_empty() {
                entries.push((hash(essential_name(name)), id.0));
            }
        }
        entries.sort_unstable();
        let mut out =
            Vec::with_capacity(HEADER + STARTS + entries.len() * ENTRY + places.bytes().len() + CHECKSUM);
        out.extend(MAGIC);
        let long = places.long().map_or(0, |id| id.0);
        for number in [VERSION, places.count(), long, entries.len() as u32] {
            out.extend(number.to_le_bytes());
        }
        out.extend((btf.data().len() as u64).to_le_bytes());
        out.extend(digest);
        for first in 0..=255u8 {
            let until = entries.partition_point(|(hash, _)| (hash >> 24) as u8 <= first);
            out.extend((until as u32).to_le_bytes());
        }
        for (hash, id) in entries {
            out.extend(hash.to_le_bytes());
            out.extend(id.to_le_bytes());
        }
        out.extend(places.bytes());
        seal(&mut out);
        Some(out)
    }

    /// Reads an index of the BTF that is named by `digest`.
    pub fn parse(bytes: &'i [u8], digest: &[u8; 32]) -> Result<Index<'i>, IndexError> {
        if bytes.len() < HEADER + STARTS + CHECKSUM || bytes[..8] != MAGIC {
            return Err(IndexError::NoIndex);
        }
        let version = word(bytes, 8);
        if version != VERSION {
            return Err(IndexError::Version(version));
        }
        let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
        if xxh64(content).to_le_bytes() != checksum {
            return Err(IndexError::Damaged);
        }
        let (count, named) = (word(bytes, 12), word(bytes, 20) as usize);
        let parts = (named.checked_mul(ENTRY), Places::bytes_for(count));
        let (Some(entries), Some(places)) = parts else {
            return Err(IndexError::Damaged);
        };
        let whole = entries.checked_add(places).and_then(|len| len.checked_add(HEADER + STARTS));
        if whole != Some(content.len()) || word(content, HEADER + STARTS - 4) as usize != named {
            return Err(IndexError::Damaged);
        }
        if bytes[32..HEADER] != digest[..] {
            return Err(IndexError::Other);
        }
        let (entries, places) = content[HEADER + STARTS..].split_at(entries);
        Ok(Index {
            starts: &content[HEADER..HEADER + STARTS],
            entries,
            places,
            count,
            long: Some(TypeId(word(bytes, 16))).filter(|id| *id != TypeId::VOID),
            btf_len: u64::from(word(bytes, 24)) | u64::from(word(bytes, 28)) << 32,
        })
    }

    /// The BTF that this is the index of, read without a pass.
    pub fn btf<'d>(&self, data: &'d [u8]) -> Result<Btf<'d>, btf::Error>
    where
        'i: 'd,
    {
        match Places::new(self.places, self.count, self.long) {
            Some(places) if self.btf_len == data.len() as u64 => Btf::with_places(data, places),
            // The caller sees to it that index and BTF belong together; where they don't, a pass tells.
            Some(_) | None => Btf::parse(data),
        }
    }

    /// The ids under a hash, ascending.
    fn ids(&self, hash: u32) -> impl Iterator<Item = TypeId> + use<'i> {
        let first = (hash >> 24) as usize;
        let start = if first == 0 { 0 } else { word(self.starts, 4 * (first - 1)) as usize };
        let end = word(self.starts, 4 * first) as usize;
        let range = start.saturating_mul(ENTRY)..end.saturating_mul(ENTRY);
        let (bucket, _) = self.entries.get(range).unwrap_or_default().as_chunks::<ENTRY>();
        let from = bucket.partition_point(|entry| word(entry, 0) < hash);
        bucket[from..]
            .iter()
            .take_while(move |entry| word(&entry[..], 0) == hash)
            .map(|entry| TypeId(word(entry, 4)))
    }
}

impl Wanted {
    /// Finds the wanted types of a BTF by its index, the same as a pass would; None if a root is of a kind that is not
    /// indexed.
    pub fn look_up(&self, btf: &Btf<'_>, index: &Index<'_>) -> Result<Option<Candidates>, btf::Error> {
        let indexed = KINDS.iter().fold(0, |mask, kind| mask | 1 << kind.number());
        if self.kinds() & !indexed != 0 {
            return Ok(None);
        }
        let mut candidates = Candidates::new(self);
        for (slot, name) in self.names() {
            for id in index.ids(hash(name)) {
                let ty = btf.resolve(id)?;
                let kind = ty.kind();
                if self.kinds() >> kind.number() & 1 == 1 && essential_name(ty.name()?) == name {
                    candidates.push(slot, kind, id);
                }
            }
        }
        Ok(Some(candidates))
    }
}

/// Appends the checksum that makes bytes an index; for the fuzzer, which forges.
#[doc(hidden)]
pub fn seal(bytes: &mut Vec<u8>) {
    let checksum = xxh64(bytes);
    bytes.extend(checksum.to_le_bytes());
}

fn hash(name: &[u8]) -> u32 {
    (xxh64(name) >> 32) as u32
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use btf::{Builder, ByteOrder, IntEncoding};

    use super::*;

    const NAMES: [&str; 8] = ["sock", "sock___old", "task_struct", "a___b___c", "a___b", "___s", "x", ""];

    fn kernel(order: ByteOrder) -> Vec<u8> {
        let mut builder = Builder::new(order);
        builder.int("long", 8, IntEncoding::SIGNED).unwrap();
        for round in 0..3 {
            for name in NAMES {
                builder.composite(Kind::Struct, name, 8 + round).unwrap();
                builder.member("m", TypeId(1), 0, None).unwrap();
                builder.composite(Kind::Union, name, 8).unwrap();
                builder.enumeration(Kind::Enum64, name, 8, false).unwrap();
                builder.enumeration(Kind::Enum, name, 4, false).unwrap();
                builder.reference(Kind::Ptr, "", TypeId(1)).unwrap();
                builder.reference(Kind::Typedef, name, TypeId(1)).unwrap();
            }
        }
        builder.finish().unwrap()
    }

    fn wanted(kinds: &[Kind]) -> Wanted {
        let names = NAMES.iter().filter(|name| !name.is_empty());
        Wanted::of_names(
            names.flat_map(|name| kinds.iter().map(|&kind| (kind, essential_name(name.as_bytes())))),
        )
    }

    #[test]
    fn the_same_candidates_as_a_pass() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let bytes = kernel(order);
            let index = Index::write(&Btf::parse(&bytes).unwrap(), &[7; 32]).unwrap();
            let index = Index::parse(&index, &[7; 32]).unwrap();
            let placed = index.btf(&bytes).unwrap();
            for kinds in [&[Kind::Struct][..], &[Kind::Enum, Kind::Typedef], &[Kind::Union, Kind::Int]] {
                let wanted = wanted(kinds);
                let (_, passed) = wanted.parse(&bytes).unwrap();
                let found = wanted.look_up(&placed, &index).unwrap().unwrap();
                assert_eq!(found, passed, "{kinds:?}");
            }
            // Functions are not indexed, and that is said.
            assert_eq!(wanted(&[Kind::Func]).look_up(&placed, &index), Ok(None));
        }
    }

    #[test]
    fn every_damage_is_found() {
        let bytes = kernel(ByteOrder::Little);
        let index = Index::write(&Btf::parse(&bytes).unwrap(), &[7; 32]).unwrap();
        for at in 0..index.len() {
            let mut damaged = index.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(Index::parse(&damaged, &[7; 32]).is_err(), "byte {at}");
            assert!(Index::parse(&index[..at], &[7; 32]).is_err(), "cut at {at}");
        }
        let refused = |bytes: &[u8], digest| Index::parse(bytes, &[digest; 32]).unwrap_err();
        assert_eq!(refused(&index, 8), IndexError::Other);
        assert_eq!(refused(b"", 7), IndexError::NoIndex);
        let mut newer = index.clone();
        newer[8] = 2;
        assert_eq!(refused(&newer, 7), IndexError::Version(2));
    }

    #[test]
    fn what_can_have_no_index() {
        let base = kernel(ByteOrder::Little);
        let base = std::sync::Arc::new(Btf::parse(base).unwrap());
        let mut split = Builder::split(&base);
        split.composite(Kind::Struct, "of_module", 8).unwrap();
        let split = Btf::parse_split(split.finish().unwrap(), base).unwrap();
        assert_eq!(Index::write(&split, &[0; 32]), None);
    }

    /// A forged index makes wrong candidates or errors, no panic.
    #[test]
    fn forged() {
        let bytes = kernel(ByteOrder::Little);
        let index = Index::write(&Btf::parse(&bytes).unwrap(), &[7; 32]).unwrap();
        let all = wanted(&[Kind::Struct, Kind::Typedef]);
        for at in (12..index.len() - CHECKSUM).step_by(3) {
            let mut forged = index[..index.len() - CHECKSUM].to_vec();
            forged[at] ^= 0x81;
            seal(&mut forged);
            if let Ok(index) = Index::parse(&forged, &[7; 32])
                && let Ok(btf) = index.btf(&bytes)
            {
                let _ = all.look_up(&btf, &index);
            }
        }
    }
}
