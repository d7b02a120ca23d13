//! Checks for a machine that is up already: the content of the memory that it shares with the host.
//!
//! `btfpipe1`, CRC-32 of all that follows, length of the list, length of the files (all little-endian, 4, 4 and 8
//! bytes), the list as JSON, the files one after the other. The host writes it, then sends [`crate::wire::GO`] over the
//! results' serial line. This file is compiled into both programs: each uses its half.
#![allow(dead_code, reason = "the host encodes, the guest decodes")]

use serde::{Deserialize, Serialize};

use crate::wire::Manifest;

const MAGIC: &[u8; 8] = b"btfpipe1";
const HEADER: usize = 24;

/// What to check, and what the kernel command line says of a machine that is not yet up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// The number that the guest must repeat from here on.
    pub nonce: String,
    /// What one pass of a check may take.
    pub seconds: u32,
    pub manifest: Manifest,
    /// Path and size of each file, in the order of their contents.
    pub files: Vec<(String, u64)>,
}

/// Why the memory holds no work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotWork {
    /// It does not start as it should, or is shorter than it says.
    Foreign,
    /// The checksum does not fit.
    Damaged,
}

/// The memory's content.
pub fn encode(work: &Work, contents: &[&[u8]]) -> serde_json::Result<Vec<u8>> {
    let list = serde_json::to_vec(work)?;
    let files: usize = contents.iter().map(|content| content.len()).sum();
    let mut bytes = Vec::with_capacity(HEADER + list.len() + files);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(list.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(files as u64).to_le_bytes());
    bytes.extend_from_slice(&list);
    contents.iter().for_each(|content| bytes.extend_from_slice(content));
    let crc = crc32fast::hash(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

/// The work, and its files' contents; the memory may be longer.
pub fn decode(memory: &[u8]) -> Result<(Work, Vec<&[u8]>), NotWork> {
    let (header, rest) = memory.split_at_checked(HEADER).ok_or(NotWork::Foreign)?;
    if !header.starts_with(MAGIC) {
        return Err(NotWork::Foreign);
    }
    let list = number(&header[12..16]) as usize;
    let files = usize::try_from(number(&header[16..24])).map_err(|_| NotWork::Foreign)?;
    let end = list.checked_add(files).filter(|end| *end <= rest.len()).ok_or(NotWork::Foreign)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[12..]);
    crc.update(&rest[..end]);
    if u64::from(crc.finalize()) != number(&header[8..12]) {
        return Err(NotWork::Damaged);
    }
    let work: Work = serde_json::from_slice(&rest[..list]).map_err(|_| NotWork::Damaged)?;
    let mut left = &rest[list..end];
    let mut contents = Vec::with_capacity(work.files.len());
    for (_, size) in &work.files {
        let size = usize::try_from(*size).map_err(|_| NotWork::Damaged)?;
        let (content, after) = left.split_at_checked(size).ok_or(NotWork::Damaged)?;
        contents.push(content);
        left = after;
    }
    Ok((work, contents))
}

/// Up to eight bytes, little-endian.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() -> Work {
        Work {
            nonce: "7".into(),
            seconds: 5,
            manifest: Manifest { checks: Vec::new(), attach: false },
            files: vec![("/a".into(), 3), ("/b".into(), 0), ("/c".into(), 2)],
        }
    }

    #[test]
    fn decodes_what_it_encodes_in_a_larger_memory() {
        let mut memory = encode(&work(), &[b"one", b"", b"in"]).unwrap();
        memory.resize(memory.len() + 4096, 0xee);
        let (decoded, contents) = decode(&memory).unwrap();
        assert_eq!((decoded, contents), (work(), vec![&b"one"[..], b"", b"in"]));
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_refused() {
        let memory = encode(&work(), &[b"one", b"", b"in"]).unwrap();
        for at in 0..memory.len() {
            assert!(decode(&memory[..at]).is_err(), "cut at {at}");
            let mut changed = memory.clone();
            changed[at] ^= 0x40;
            assert!(decode(&changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let short = Work { files: vec![("/a".into(), u64::MAX)], ..work() };
        assert_eq!(decode(&encode(&short, &[b"one"]).unwrap()), Err(NotWork::Damaged));
        assert_eq!(
            decode(b"btfpipe1\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            Err(NotWork::Foreign)
        );
    }
}
