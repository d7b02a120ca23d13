//! Integers of either byte order, and strings.

use std::ffi::CStr;

use crate::{Error, ErrorKind};

/// The byte order of a BTF or an ELF object; never the host's by assumption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first (x86_64, arm64).
    Little,
    /// Most significant byte first (s390x).
    Big,
}

impl ByteOrder {
    /// The byte order of the machine that runs this.
    pub const NATIVE: ByteOrder =
        if cfg!(target_endian = "big") { ByteOrder::Big } else { ByteOrder::Little };

    /// Reads 16 bits at an offset; `what` names the field in the error.
    #[inline]
    pub fn u16(self, data: &[u8], offset: usize, what: &'static str) -> Result<u16, Error> {
        let bytes = array::<2>(data, offset, what)?;
        Ok(match self {
            ByteOrder::Little => u16::from_le_bytes(bytes),
            ByteOrder::Big => u16::from_be_bytes(bytes),
        })
    }

    /// Reads 32 bits at an offset; `what` names the field in the error.
    #[inline]
    pub fn u32(self, data: &[u8], offset: usize, what: &'static str) -> Result<u32, Error> {
        Ok(self.decode(array::<4>(data, offset, what)?))
    }

    /// The 32 bits of four bytes.
    #[inline]
    pub fn decode(self, bytes: [u8; 4]) -> u32 {
        match self {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        }
    }

    /// The four bytes of 32 bits.
    #[inline]
    pub fn encode(self, value: u32) -> [u8; 4] {
        match self {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        }
    }
}

#[inline]
fn array<const N: usize>(data: &[u8], offset: usize, what: &'static str) -> Result<[u8; N], Error> {
    match data.get(offset..).and_then(|rest| rest.first_chunk::<N>()) {
        Some(bytes) => Ok(*bytes),
        None => Err(ErrorKind::TooShort(what).at(offset)),
    }
}

/// The bytes up to the NUL; the section ends with one, which parsing has made sure of.
#[inline]
pub(crate) fn string_at(strings: &[u8], offset: usize) -> Option<&[u8]> {
    let text = CStr::from_bytes_until_nul(strings.get(offset..)?).ok()?;
    Some(text.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders() {
        let data = [1, 2, 3, 4, 5];
        assert_eq!(ByteOrder::Little.u32(&data, 1, "x"), Ok(0x05040302));
        assert_eq!(ByteOrder::Big.u32(&data, 1, "x"), Ok(0x02030405));
        assert_eq!(ByteOrder::Big.u16(&data, 3, "x"), Ok(0x0405));
        assert_eq!(ByteOrder::Big.u32(&data, 2, "x"), Err(ErrorKind::TooShort("x").at(2)));
        assert_eq!(ByteOrder::Big.u32(&data, usize::MAX, "x"), Err(ErrorKind::TooShort("x").at(usize::MAX)));
        assert_eq!(ByteOrder::Big.decode(ByteOrder::Big.encode(77)), 77);
    }
}
