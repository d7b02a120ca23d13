//! Text on its way out, and what it may cost.

use std::fmt;

use crate::{Btf, DumpError};

/// Bytes that are collected before they are written.
const CHUNK: usize = 64 << 10;
/// What any BTF may cost, and what it may cost more for each of its bytes. Kernels need about 5 a byte.
const FREE: u64 = 64 << 20;
const PER_BYTE: u64 = 64;
/// A step costs as much time as so many bytes of text.
const STEP: u64 = 16;

/// What is left to spend on text and on steps, so that types which refer to each other often can't take forever.
pub(crate) struct Budget {
    left: u64,
}

impl Budget {
    /// In proportion to the bytes of a BTF and its bases.
    pub(crate) fn of(btf: &Btf<'_>) -> Budget {
        let mut bytes = 0;
        let mut next = Some(btf);
        while let Some(part) = next {
            bytes += part.data().len() as u64;
            next = part.base();
        }
        Budget { left: FREE + PER_BYTE * bytes }
    }

    /// One step along a reference.
    #[inline]
    pub(crate) fn step(&mut self) -> Result<(), DumpError> {
        self.spend(STEP)
    }

    /// Bytes that are written, hashed or compared.
    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), DumpError> {
        self.spend(bytes.len() as u64)
    }

    #[inline]
    fn spend(&mut self, cost: u64) -> Result<(), DumpError> {
        self.left = self.left.checked_sub(cost).ok_or(DumpError::TooLong)?;
        Ok(())
    }
}

/// Text that is collected and written in large pieces.
///
/// Names are bytes: what is not UTF-8 is replaced only when a piece is written.
pub(crate) struct Text<'w> {
    out: &'w mut dyn fmt::Write,
    buffer: Vec<u8>,
    budget: Budget,
}

impl<'w> Text<'w> {
    pub(crate) fn new(out: &'w mut dyn fmt::Write, budget: Budget) -> Text<'w> {
        Text { out, buffer: Vec::with_capacity(2 * CHUNK), budget }
    }

    pub(crate) fn budget(&mut self) -> &mut Budget {
        &mut self.budget
    }

    #[inline]
    pub(crate) fn push(&mut self, text: &str) -> Result<(), DumpError> {
        self.push_bytes(text.as_bytes())
    }

    #[inline]
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), DumpError> {
        self.budget.bytes(bytes)?;
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// A number in decimal.
    #[inline]
    pub(crate) fn push_number(&mut self, number: impl Into<i128>) -> Result<(), DumpError> {
        let number = number.into();
        if number < 0 {
            self.push("-")?;
        }
        // 64 bits and a sign are all that BTF has.
        let mut rest = number.unsigned_abs() as u64;
        let mut digits = [0; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.push_bytes(&digits[start..])
    }

    /// Ends a piece between two names: the place where collected text may be written.
    #[inline]
    pub(crate) fn end(&mut self) -> Result<(), DumpError> {
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what was collected.
    pub(crate) fn flush(&mut self) -> Result<(), DumpError> {
        self.out.write_str(&String::from_utf8_lossy(&self.buffer))?;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(
        budget: u64,
        write: impl Fn(&mut Text<'_>) -> Result<(), DumpError>,
    ) -> Result<String, DumpError> {
        let mut out = String::new();
        let mut text = Text::new(&mut out, Budget { left: budget });
        write(&mut text)?;
        text.flush()?;
        Ok(out)
    }

    #[test]
    fn numbers() {
        let check = |number: i128, want: &str| {
            assert_eq!(written(99, |text| text.push_number(number)).as_deref(), Ok(want));
        };
        check(0, "0");
        check(7, "7");
        check(-10, "-10");
        check(u64::MAX.into(), "18446744073709551615");
        check(i64::MIN.into(), "-9223372036854775808");
    }

    #[test]
    fn names_that_are_no_text() {
        let got = written(99, |text| text.push_bytes(b"a\xffb"));
        assert_eq!(got.as_deref(), Ok("a\u{fffd}b"));
    }

    #[test]
    fn nothing_is_written_on_credit() {
        assert_eq!(written(3, |text| text.push("abc")).as_deref(), Ok("abc"));
        assert_eq!(written(3, |text| text.push("abcd")), Err(DumpError::TooLong));
        assert_eq!(written(15, |text| text.budget().step()), Err(DumpError::TooLong));
    }
}
