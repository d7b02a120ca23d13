//! The text of a BTF, type after type, as `bpftool btf dump … format raw` prints it.

mod raw;
mod text;

use std::fmt;

use crate::{Btf, Error, TypeId};

use raw::Raw;
pub(crate) use text::{Budget, Text};

/// What can keep a BTF from becoming text. What was written before the error is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The BTF is wrong.
    #[error(transparent)]
    Format(#[from] Error),
    /// The writer refused the text.
    #[error("the text could not be written")]
    Write(#[from] fmt::Error),
    /// A struct or union has itself as a member, by value.
    #[error("type [{0}] contains itself")]
    ContainsItself(TypeId),
    /// Types nested deeper than any compiler writes them, or a cycle that no struct breaks.
    #[error("the types around [{0}] are nested too deep, or without end")]
    TooDeep(TypeId),
    /// Types or names that repeat each other until the text is absurdly longer than the BTF.
    #[error("the text would be absurdly longer than the BTF")]
    TooLong,
}

impl Btf<'_> {
    /// Writes all own types as `bpftool btf dump file F format raw` does, byte for byte.
    ///
    /// The base's types are left out, as with `bpftool -B`. A string that does not exist is printed as `(invalid)`;
    /// a name that is not UTF-8 gets U+FFFD in place of what is not.
    ///
    /// ```
    /// use btf::{Btf, Builder, ByteOrder, IntEncoding};
    ///
    /// let mut builder = Builder::new(ByteOrder::Little);
    /// builder.int("int", 4, IntEncoding::SIGNED)?;
    /// let bytes = builder.finish()?;
    ///
    /// let mut text = String::new();
    /// Btf::parse(&bytes)?.dump_raw(&mut text)?;
    /// assert_eq!(text, "[1] INT 'int' size=4 bits_offset=0 nr_bits=32 encoding=SIGNED\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dump_raw(&self, out: &mut impl fmt::Write) -> Result<(), DumpError> {
        self.dump_raw_types(self.own_ids(), out)
    }

    /// Writes only the types of these ids, in this order (bpftool: `root_id`).
    pub fn dump_raw_types(
        &self,
        ids: impl IntoIterator<Item = TypeId>,
        out: &mut impl fmt::Write,
    ) -> Result<(), DumpError> {
        let mut raw = Raw::new(self, Text::new(out, Budget::of(self)));
        for id in ids {
            raw.write_type(&self.resolve(id)?)?;
        }
        raw.finish()
    }
}
