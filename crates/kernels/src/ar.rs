//! The `ar` archive that a Debian package is (deb(5)).

use std::io::{self, Read};

use crate::FormatError;

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER_LEN: usize = 60;

/// The member of an archive that was looked for; its content comes next in the reader.
pub(crate) struct Member {
    /// What follows in its name after the part that was looked for.
    pub(crate) suffix: String,
    /// Its size in bytes.
    pub(crate) size: u64,
}

/// Reads an archive up to the content of the first member whose name starts with `prefix`; `what` is for the message.
pub(crate) fn seek_member(
    ar: &mut impl Read,
    prefix: &str,
    what: &'static str,
) -> Result<Member, FormatError> {
    let start = read_up_to(ar, MAGIC.len())?;
    if start != MAGIC {
        return Err(FormatError::Unknown { expected: "a Debian package", start });
    }
    let mut offset = MAGIC.len() as u64;
    while let Some((name, size)) = read_header(ar, offset)? {
        if let Some(suffix) = name.strip_prefix(prefix) {
            return Ok(Member { suffix: suffix.to_owned(), size });
        }
        let padded = size.next_multiple_of(2);
        skip(ar, padded)?;
        offset += HEADER_LEN as u64 + padded;
    }
    Err(FormatError::Truncated { what, offset })
}

/// A member's name and size in bytes; None at the end.
fn read_header(ar: &mut impl Read, offset: u64) -> Result<Option<(String, u64)>, FormatError> {
    let header = read_up_to(ar, HEADER_LEN)?;
    if header.is_empty() {
        return Ok(None);
    }
    let invalid = || FormatError::Invalid { what: "the ar header", offset };
    if header.len() < HEADER_LEN || !header.ends_with(b"`\n") {
        return Err(invalid());
    }
    let text = |range| std::str::from_utf8(&header[range]).map_err(|_| invalid()).map(str::trim_end);
    // System V writers end a name with a slash.
    let name = text(0..16)?.trim_end_matches('/').to_owned();
    let size = text(48..58)?.parse().map_err(|_| invalid())?;
    Ok(Some((name, size)))
}

fn read_up_to(reader: &mut impl Read, len: usize) -> Result<Vec<u8>, FormatError> {
    let mut bytes = Vec::with_capacity(len);
    reader.take(len as u64).read_to_end(&mut bytes).map_err(FormatError::Read)?;
    Ok(bytes)
}

fn skip(reader: &mut impl Read, len: u64) -> Result<(), FormatError> {
    let skipped = io::copy(&mut reader.take(len), &mut io::sink()).map_err(FormatError::Read)?;
    if skipped == len { Ok(()) } else { Err(FormatError::Read(io::ErrorKind::UnexpectedEof.into())) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An archive with these members.
    pub(crate) fn make_ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut ar = MAGIC.to_vec();
        for (name, content) in members {
            ar.extend(
                format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, content.len()).bytes(),
            );
            ar.extend(*content);
            ar.resize(ar.len().next_multiple_of(2), b'\n');
        }
        ar
    }

    #[test]
    fn members() {
        let ar = make_ar(&[
            ("debian-binary", b"2.0\n"),
            ("odd", b"123"),
            ("data.tar.xz", b"content"),
            ("data.tar", b""),
        ]);
        let mut rest = &ar[..];
        let member = seek_member(&mut rest, "data.tar", "x").unwrap();
        assert_eq!((member.suffix.as_str(), member.size), (".xz", 7));
        assert!(rest.starts_with(b"content"));
        assert!(seek_member(&mut &ar[..], "control", "x").is_err());
        for broken in [&ar[..7], &ar[..20], &ar[..8 + 60 + 2], b"", &[&ar[..8], &ar[9..]].concat()] {
            assert!(seek_member(&mut &*broken, "data.tar", "x").is_err());
        }
    }
}
