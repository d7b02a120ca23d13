//! .BTF.ext: the records that belong to instructions. Only the CO-RE relocations are read.

use crate::header::parse_magic;
use crate::{ByteOrder, Error, ErrorKind, StrOff, TypeId};

/// A CO-RE relocation as it stands in .BTF.ext (`struct bpf_core_relo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoreRelo {
    /// Offset in bytes of the instruction within its ELF section.
    pub insn_off: u32,
    /// The root: a type of the object's own BTF.
    pub type_id: TypeId,
    /// The access string, in the strings of the object's own BTF.
    pub access: StrOff,
    /// The kind, 0 to 12.
    pub kind: u32,
}

/// The relocations of one ELF section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtSection {
    /// The section's name, in the strings of the object's own BTF.
    pub name: StrOff,
    /// In file order, which matters: each can narrow the candidates of the next.
    pub relos: Vec<CoreRelo>,
}

/// The part of .BTF.ext that CO-RE needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BtfExt {
    /// In file order.
    pub sections: Vec<ExtSection>,
}

const RELO_LEN: usize = 16;
/// Header up to and including line_info_len, and up to and including core_relo_len.
const MIN_HDR_LEN: usize = 24;
const HDR_LEN_WITH_RELOS: usize = 32;

impl BtfExt {
    /// Reads the relocations with the checks of libbpf's `btf_ext_parse` and `btf_ext_parse_sec_info`.
    ///
    /// No relocations are no error: the header may be too short to name any, or name none.
    pub fn parse(data: &[u8]) -> Result<BtfExt, Error> {
        let order = parse_magic(data)?;
        match (data.get(2), data.get(3)) {
            (Some(1), Some(0)) => {}
            (Some(&version), _) => return Err(ErrorKind::Version(version).at(2)),
            (None, _) => return Err(ErrorKind::TooShort("the header").at(2)),
        }
        let hdr_len = order.u32(data, 4, "the header")?;
        let len = hdr_len as usize;
        if len < MIN_HDR_LEN || len >= data.len() {
            return Err(ErrorKind::HeaderLen(hdr_len).at(4));
        }
        if len < HDR_LEN_WITH_RELOS {
            return Ok(BtfExt { sections: Vec::new() });
        }
        let part_off = order.u32(data, 24, "the header")?;
        let part_len = order.u32(data, 28, "the header")?;
        if part_len == 0 {
            return Ok(BtfExt { sections: Vec::new() });
        }
        let start = len as u64 + u64::from(part_off);
        let end = start + u64::from(part_len);
        if part_off % 4 != 0 || end > data.len() as u64 {
            return Err(ErrorKind::Section("core_relo").at(24));
        }
        Reader { data: &data[..end as usize], order, at: start as usize }.sections()
    }

    /// The number of relocations.
    pub fn len(&self) -> usize {
        self.sections.iter().map(|section| section.relos.len()).sum()
    }

    /// Whether there are no relocations.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

struct Reader<'r> {
    data: &'r [u8],
    order: ByteOrder,
    at: usize,
}

impl Reader<'_> {
    fn sections(mut self) -> Result<BtfExt, Error> {
        let record_size = self.word("the record size")?;
        // libbpf refuses longer records in a file of the other byte order, because it can't swap what it doesn't
        // know. Nothing is swapped here, and the answer must not depend on the host.
        if (record_size as usize) < RELO_LEN || record_size % 4 != 0 {
            return Err(ErrorKind::RecordSize(record_size).at(self.at - 4));
        }
        if self.at == self.data.len() {
            return Err(ErrorKind::NoRecords.at(self.at));
        }
        let mut sections = Vec::new();
        while self.at < self.data.len() {
            sections.push(self.section(record_size as usize)?);
        }
        Ok(BtfExt { sections })
    }

    fn section(&mut self, record_size: usize) -> Result<ExtSection, Error> {
        let name = StrOff(self.word("a section header")?);
        let count = self.word("a section header")? as usize;
        if count == 0 {
            return Err(ErrorKind::NoRecords.at(self.at - 4));
        }
        let left = self.data.len() - self.at;
        // The count is compared with what is there before anything is allocated for it.
        let len = count.checked_mul(record_size).filter(|&len| len <= left);
        let Some(len) = len else {
            return Err(ErrorKind::TooShort("the records of a section").at(self.at));
        };
        let records = &self.data[self.at..self.at + len];
        self.at += len;
        let relos =
            records.chunks_exact(record_size).map(|record| self.relo(record)).collect::<Result<_, _>>()?;
        Ok(ExtSection { name, relos })
    }

    fn relo(&self, record: &[u8]) -> Result<CoreRelo, Error> {
        let word = |at| self.order.u32(record, at, "a record");
        Ok(CoreRelo {
            insn_off: word(0)?,
            type_id: TypeId(word(4)?),
            access: StrOff(word(8)?),
            kind: word(12)?,
        })
    }

    fn word(&mut self, what: &'static str) -> Result<u32, Error> {
        let word = self.order.u32(self.data, self.at, what)?;
        self.at += 4;
        Ok(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ext(order: ByteOrder, part: &[u32]) -> Vec<u8> {
        let magic = if order == ByteOrder::Big { [0xeb, 0x9f] } else { [0x9f, 0xeb] };
        let mut out = vec![magic[0], magic[1], 1, 0];
        for word in [32, 0, 0, 0, 0, 0, 4 * part.len() as u32].iter().chain(part) {
            out.extend(order.encode(*word));
        }
        out
    }

    fn check(part: &[u32], want: Result<usize, ErrorKind>) {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let got = BtfExt::parse(&ext(order, part)).map(|ext| ext.len()).map_err(|error| error.kind);
            assert_eq!(got, want, "{order:?} {part:?}");
        }
    }

    #[test]
    fn containers() {
        check(&[16, 9, 1, 8, 2, 3, 4], Ok(1));
        check(&[16, 9, 1, 8, 2, 3, 4, 10, 2, 0, 1, 2, 3, 8, 1, 2, 3], Ok(3));
        check(&[16], Err(ErrorKind::NoRecords));
        check(&[12, 9, 1, 8, 2, 3], Err(ErrorKind::RecordSize(12)));
        check(&[16, 9, 0], Err(ErrorKind::NoRecords));
        check(&[16, 9], Err(ErrorKind::TooShort("a section header")));
        check(&[16, 9, 2, 8, 2, 3, 4], Err(ErrorKind::TooShort("the records of a section")));
        check(&[16, 9, u32::MAX, 8, 2, 3, 4], Err(ErrorKind::TooShort("the records of a section")));
    }

    #[test]
    fn longer_records_are_stepped_over() {
        check(&[20, 9, 2, 8, 2, 3, 4, 77, 16, 2, 3, 4, 77], Ok(2));
    }

    #[test]
    fn absent_parts_are_no_error() {
        let mut short = ext(ByteOrder::Little, &[16, 9, 1, 8, 2, 3, 4]);
        short[4] = 24;
        assert_eq!(BtfExt::parse(&short).map(|ext| ext.len()), Ok(0));
        let none = ext(ByteOrder::Little, &[]);
        assert!(BtfExt::parse(&none).is_err(), "libbpf refuses a .BTF.ext that ends with its header");
    }
}
