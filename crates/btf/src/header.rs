//! The header: where types, layout and strings stand.

use crate::{ByteOrder, Error, ErrorKind};

const MAGIC: u16 = 0xeb9f;
const FIXED_LEN: usize = 24;
const LEN_WITH_LAYOUT: usize = 32;

/// Which header to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderLen {
    /// 24 bytes, which every loader reads.
    #[default]
    Short,
    /// 32 bytes with an empty layout section, as libbpf 1.8 writes.
    Long,
}

/// The header, with sections as ranges of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Byte order of everything that follows.
    pub order: ByteOrder,
    /// Types, in bytes from the start of the data.
    pub types: std::ops::Range<usize>,
    /// Kind layout, four bytes a kind; empty when there is none.
    pub layout: std::ops::Range<usize>,
    /// Strings, in bytes from the start of the data.
    pub strings: std::ops::Range<usize>,
}

impl Header {
    /// Reads a header with the checks of libbpf's `btf_parse_hdr`, the layout section included.
    pub fn parse(data: &[u8]) -> Result<Header, Error> {
        let order = parse_magic(data)?;
        match data.get(2) {
            Some(1) => {}
            Some(&version) => return Err(ErrorKind::Version(version).at(2)),
            None => return Err(ErrorKind::TooShort("the header").at(2)),
        }
        let hdr_len = order.u32(data, 4, "the header")?;
        let len = hdr_len as usize;
        if len < FIXED_LEN || len > data.len() {
            return Err(ErrorKind::HeaderLen(hdr_len).at(4));
        }
        let field = |at: usize| order.u32(data, at, "the header").map(u64::from);
        let layout = if len >= LEN_WITH_LAYOUT { (field(24)?, field(28)?) } else { (0, 0) };
        let places = Places { types: (field(8)?, field(12)?), strings: (field(16)?, field(20)?), layout };
        places.check(len as u64, data.len() as u64)?;
        let range = |(off, size): (u64, u64)| {
            let start = len + off as usize;
            start..start + size as usize
        };
        let layout = if layout.1 == 0 { 0..0 } else { range(places.layout) };
        Ok(Header { order, types: range(places.types), layout, strings: range(places.strings) })
    }

    /// Writes a header for types that are followed directly by strings.
    pub(crate) fn write(out: &mut Vec<u8>, order: ByteOrder, len: HeaderLen, types: u32, strings: u32) {
        let hdr_len = match len {
            HeaderLen::Short => FIXED_LEN,
            HeaderLen::Long => LEN_WITH_LAYOUT,
        };
        match order {
            ByteOrder::Little => out.extend(MAGIC.to_le_bytes()),
            ByteOrder::Big => out.extend(MAGIC.to_be_bytes()),
        }
        out.extend([1, 0]);
        for field in [hdr_len as u32, 0, types, types, strings] {
            out.extend(order.encode(field));
        }
        out.resize(out.len() + hdr_len - FIXED_LEN, 0);
    }
}

/// Section offsets and lengths in bytes, counted from the end of the header.
struct Places {
    types: (u64, u64),
    layout: (u64, u64),
    strings: (u64, u64),
}

impl Places {
    fn check(&self, header: u64, found: u64) -> Result<(), Error> {
        let types_end = self.types.0 + self.types.1;
        let needed = header + self.strings.0 + self.strings.1;
        if needed > found {
            return Err(ErrorKind::Cut { needed, found }.at(16));
        }
        if types_end > self.strings.0 || !self.types.0.is_multiple_of(4) {
            return Err(ErrorKind::Section("type").at(8));
        }
        let (off, len) = self.layout;
        if len != 0 && (off % 4 != 0 || len % 4 != 0 || off < types_end || off + len > self.strings.0) {
            return Err(ErrorKind::Section("layout").at(24));
        }
        Ok(())
    }
}

/// The byte order that makes the first two bytes the magic number.
pub(crate) fn parse_magic(data: &[u8]) -> Result<ByteOrder, Error> {
    let little = ByteOrder::Little.u16(data, 0, "the header")?;
    if little == MAGIC {
        Ok(ByteOrder::Little)
    } else if little == MAGIC.swap_bytes() {
        Ok(ByteOrder::Big)
    } else {
        Err(ErrorKind::Magic(little).at(0))
    }
}
