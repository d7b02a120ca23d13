//! The tar inside a bundle: plain ustar, regular files only, one way to write each byte.
//!
//! The reader rebuilds every header from the path, size and time that it found and compares all 512 bytes. So links,
//! extensions, owners and other spellings of a number are refused without a rule for each.

use std::ops::Range;

use crate::error::{Error, TarFault};

pub(crate) const BLOCK: usize = 512;
/// Two blocks of zeros end the archive; no padding to a record follows.
pub(crate) const END: usize = 2 * BLOCK;
/// One less than the name field holds: some readers want the NUL.
const MAX_PATH: usize = 99;
const MAX_OCTAL: u64 = 0o777_7777_7777;

/// A field of the header: where it is and what it is called.
struct Field(&'static str, Range<usize>);

const NAME: Field = Field("name", 0..100);
const MODE: Field = Field("mode", 100..108);
const UID: Field = Field("uid", 108..116);
const GID: Field = Field("gid", 116..124);
const SIZE: Field = Field("size", 124..136);
const MTIME: Field = Field("mtime", 136..148);
const CHKSUM: Field = Field("chksum", 148..156);
const TYPEFLAG: Field = Field("typeflag", 156..157);
const LINKNAME: Field = Field("linkname", 157..257);
const MAGIC: Field = Field("magic and version", 257..265);
const OWNERS: Field = Field("uname and gname", 265..329);
const DEVMAJOR: Field = Field("devmajor", 329..337);
const DEVMINOR: Field = Field("devminor", 337..345);
const REST: Field = Field("prefix", 345..512);

/// All fields, in order: together they cover the header.
const FIELDS: [&Field; 14] = [
    &NAME, &MODE, &UID, &GID, &SIZE, &MTIME, &CHKSUM, &TYPEFLAG, &LINKNAME, &MAGIC, &OWNERS, &DEVMAJOR,
    &DEVMINOR, &REST,
];

/// What the archives of others want otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    mode: &'static str,
    owner: &'static str,
}

impl Style {
    /// As bundles have it: mode 0644, no names of owners.
    pub const PLAIN: Style = Style { mode: "0000644\0", owner: "" };
    /// As `tar --mode=a=r --owner=root:0 --group=root:0` writes it, which checks of BTFHub archives ask for.
    pub const READ_ONLY: Style = Style { mode: "0000444\0", owner: "root" };
}

/// The header of a regular file of a bundle.
pub(crate) fn header(path: &str, size: u64, mtime: u64) -> Result<[u8; BLOCK], Error> {
    styled_header(path, size, mtime, Style::PLAIN)
}

/// The header of a regular file.
pub(crate) fn styled_header(path: &str, size: u64, mtime: u64, style: Style) -> Result<[u8; BLOCK], Error> {
    if path.is_empty() || path.len() > MAX_PATH || !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::Path(path.to_owned()));
    }
    for (field, value) in [("size", size), ("mtime", mtime)] {
        if value > MAX_OCTAL {
            return Err(Error::Octal { field, value, max: MAX_OCTAL });
        }
    }
    let mut block = [0; BLOCK];
    block[..path.len()].copy_from_slice(path.as_bytes());
    put(&mut block, &MODE, style.mode);
    for field in OWNERS.1.step_by(32) {
        block[field..field + style.owner.len()].copy_from_slice(style.owner.as_bytes());
    }
    for zero in [&UID, &GID, &DEVMAJOR, &DEVMINOR] {
        put(&mut block, zero, "0000000\0");
    }
    put(&mut block, &SIZE, &format!("{size:011o}\0"));
    put(&mut block, &MTIME, &format!("{mtime:011o}\0"));
    put(&mut block, &TYPEFLAG, "0");
    put(&mut block, &MAGIC, "ustar\x0000");
    let sum = checksum(&block);
    put(&mut block, &CHKSUM, &format!("{sum:06o}\0 "));
    Ok(block)
}

fn put(block: &mut [u8; BLOCK], field: &Field, text: &str) {
    block[field.1.clone()].copy_from_slice(text.as_bytes());
}

/// The sum of the header's bytes, its own field counted as spaces.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let own = block[CHKSUM.1.clone()].iter().map(|&b| u32::from(b)).sum::<u32>();
    block.iter().map(|&b| u32::from(b)).sum::<u32>() - own + 8 * u32::from(b' ')
}

/// How many zero bytes follow a file of `size` bytes.
pub(crate) fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK as u64) as usize
}

/// One file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub path: String,
    pub offset: usize,
    pub content: Range<usize>,
}

/// The files of `tar`, sorted by path. Refuses every archive that [`header`] could not have made.
///
/// With the time that all of them have; 0 where there is none.
pub(crate) fn parse_archive(tar: &[u8], max_entries: u64, max_size: u64) -> Result<(Vec<Entry>, u64), Error> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut first_mtime = None;
    let mut offset = 0;
    loop {
        let at = |fault| Error::Tar { offset, fault };
        let block: &[u8; BLOCK] = tar[offset..].first_chunk().ok_or_else(|| at(TarFault::Truncated))?;
        if block.iter().all(|&b| b == 0) {
            parse_end(&tar[offset..]).map_err(at)?;
            return Ok((entries, first_mtime.unwrap_or_default()));
        }
        let found = parse_header(block).map_err(at)?;
        check_limit("size of one file", found.size, max_size)?;
        check_limit("number of files", entries.len() as u64 + 1, max_entries)?;
        if *first_mtime.get_or_insert(found.mtime) != found.mtime {
            return Err(at(TarFault::Mtime(found.path)));
        }
        if entries.last().is_some_and(|last| last.path >= found.path) {
            return Err(at(TarFault::Order(found.path)));
        }
        let content = parse_content(tar, offset + BLOCK, found.size).map_err(at)?;
        let next = content.end + padding(found.size);
        entries.push(Entry { path: found.path, offset, content });
        offset = next;
    }
}

pub(crate) fn check_limit(what: &'static str, found: u64, limit: u64) -> Result<(), Error> {
    if found > limit { Err(Error::Limit { what, found, limit }) } else { Ok(()) }
}

struct Header {
    path: String,
    size: u64,
    mtime: u64,
}

fn parse_header(block: &[u8; BLOCK]) -> Result<Header, TarFault> {
    let sum = format!("{:06o}\0 ", checksum(block));
    if block[CHKSUM.1.clone()] != *sum.as_bytes() {
        return Err(TarFault::Checksum);
    }
    let name = &block[NAME.1.clone()];
    let name = &name[..name.iter().position(|&b| b == 0).unwrap_or(name.len())];
    let path = String::from_utf8_lossy(name).into_owned();
    if let Some(kind) = other_type(block[TYPEFLAG.1.start]) {
        return Err(TarFault::EntryType(kind, path));
    }
    let size = parse_octal(block, &SIZE)?;
    let mtime = parse_octal(block, &MTIME)?;
    let want = header(&path, size, mtime).map_err(|_| TarFault::UnexpectedPath(path.clone()))?;
    // The checksum fits its block, so it differs only where another field does.
    let differs = |f: &&&Field| f.0 != CHKSUM.0 && block[f.1.clone()] != want[f.1.clone()];
    match FIELDS.iter().find(differs) {
        Some(field) => Err(TarFault::Field(field.0)),
        None => Ok(Header { path, size, mtime }),
    }
}

/// What an entry is that is no regular file.
fn other_type(typeflag: u8) -> Option<&'static str> {
    match typeflag {
        b'0' => None,
        b'1' => Some("a hard link"),
        b'2' => Some("a symbolic link"),
        b'3' | b'4' => Some("a device"),
        b'5' => Some("a directory"),
        b'6' => Some("a FIFO"),
        b'x' | b'g' => Some("a pax header"),
        b'L' | b'K' => Some("a GNU long name"),
        b'S' => Some("a sparse file"),
        _ => Some("of an unknown type"),
    }
}

fn parse_octal(block: &[u8; BLOCK], field: &Field) -> Result<u64, TarFault> {
    let digits = &block[field.1.start..field.1.end - 1];
    digits.iter().try_fold(0, |value, &digit| match digit {
        b'0'..=b'7' => Ok(value * 8 + u64::from(digit - b'0')),
        _ => Err(TarFault::Field(field.0)),
    })
}

/// Where a file's bytes are, its padding checked.
fn parse_content(tar: &[u8], start: usize, size: u64) -> Result<Range<usize>, TarFault> {
    let rest = (tar.len() - start) as u64;
    if size + padding(size) as u64 > rest {
        return Err(TarFault::Truncated);
    }
    let end = start + size as usize;
    if tar[end..end + padding(size)].iter().any(|&b| b != 0) {
        return Err(TarFault::Padding);
    }
    Ok(start..end)
}

fn parse_end(rest: &[u8]) -> Result<(), TarFault> {
    match rest.len() {
        END if rest.iter().all(|&b| b == 0) => Ok(()),
        len if len < END => Err(TarFault::Truncated),
        _ => Err(TarFault::AfterEnd),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = Vec::new();
        for (path, content) in files {
            tar.extend(header(path, content.len() as u64, 7).unwrap());
            tar.extend(*content);
            tar.extend(vec![0; padding(content.len() as u64)]);
        }
        tar.extend([0; END]);
        tar
    }

    fn parse(tar: &[u8]) -> Result<Vec<Entry>, Error> {
        parse_archive(tar, 9, 4096).map(|(entries, _)| entries)
    }

    #[test]
    fn fields_cover_the_header() {
        let mut next = 0;
        for Field(name, range) in FIELDS {
            assert_eq!(range.start, next, "{name}");
            next = range.end;
        }
        assert_eq!(next, BLOCK);
    }

    #[test]
    fn round_trip_at_block_borders() {
        for len in [0, 1, 511, 512, 513, 1024] {
            let content = vec![b'x'; len];
            let tar = archive(&[("a", &content), ("b", b"second")]);
            let entries = parse(&tar).unwrap();
            assert_eq!(entries.len(), 2);
            assert_eq!(tar[entries[0].content.clone()], content, "{len}");
            assert_eq!(&tar[entries[1].content.clone()], b"second", "{len}");
        }
        assert_eq!(parse(&archive(&[])).unwrap(), []);
    }

    #[test]
    fn what_a_header_cannot_hold() {
        let bad = |path: &str| assert!(matches!(header(path, 0, 0), Err(Error::Path(_))), "{path:?}");
        bad("");
        bad("a b");
        bad("a\0b");
        bad("é");
        bad(&"a".repeat(100));
        assert!(header(&"a".repeat(99), MAX_OCTAL, MAX_OCTAL).is_ok());
        assert!(matches!(header("a", MAX_OCTAL + 1, 0), Err(Error::Octal { field: "size", .. })));
        assert!(matches!(header("a", 0, u64::MAX), Err(Error::Octal { field: "mtime", .. })));
    }

    #[test]
    fn order_and_limits() {
        let order = |files: &[(&str, &[u8])]| {
            let result = parse(&archive(files));
            assert!(matches!(result, Err(Error::Tar { fault: TarFault::Order(_), .. })), "{result:?}");
        };
        order(&[("a", b""), ("a", b"")]);
        order(&[("b", b""), ("a", b"")]);
        let tar = archive(&[("a", b"12345"), ("b", b"")]);
        assert!(matches!(parse_archive(&tar, 1, 9), Err(Error::Limit { found: 2, limit: 1, .. })));
        assert!(matches!(parse_archive(&tar, 9, 4), Err(Error::Limit { found: 5, limit: 4, .. })));
    }

    #[test]
    fn every_cut_is_an_error() {
        let tar = archive(&[("a", b"12345"), ("b", b"")]);
        for len in 0..tar.len() {
            let fault = |error| matches!(error, Error::Tar { fault: TarFault::Truncated, .. });
            assert!(parse(&tar[..len]).is_err_and(fault), "{len}");
        }
        let mut longer = tar.clone();
        longer.push(0);
        assert!(matches!(parse(&longer), Err(Error::Tar { fault: TarFault::AfterEnd, .. })));
    }

    #[test]
    fn every_flipped_byte_outside_the_content_is_an_error() {
        let tar = archive(&[("a", b"12345"), ("b", b"x")]);
        let contents: Vec<_> = parse(&tar).unwrap().into_iter().map(|entry| entry.content).collect();
        for at in (0..tar.len()).filter(|at| !contents.iter().any(|content| content.contains(at))) {
            let mut bad = tar.clone();
            bad[at] ^= 1;
            assert!(parse(&bad).is_err(), "{at}");
        }
    }
}
