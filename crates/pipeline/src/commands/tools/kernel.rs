//! A kernel's BTF on its way from a file or the store to the engine: by its index, or in one pass over its bytes.

use std::path::Path;

use btf::{Btf, PointerSize};
use kernels::Input;
use kernels::corpus::{Listed, StoredBtf};
use relo_core::{Candidates, Wanted};

use crate::commands::tools::{ToolError, corpus};

/// A kernel's BTF that has been read, and not yet parsed.
#[derive(Debug)]
pub enum Kernel {
    /// Any file that has BTF.
    File(Input),
    /// One of the store's corpus.
    Stored {
        /// What messages call it.
        name: String,
        /// What the corpus says of it.
        listed: Listed,
        /// Its BTF and index.
        stored: StoredBtf,
    },
}

impl Kernel {
    /// Reads any file that has BTF; `store:NAME` is one of the store's.
    pub fn read(path: &Path) -> Result<Kernel, ToolError> {
        if let Some(pattern) = corpus::pattern(path) {
            let (listed, stored) = corpus::read(pattern)?;
            return Ok(Kernel::Stored { name: path.display().to_string(), listed, stored });
        }
        Ok(Kernel::File(kernels::input::read(path)?))
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        match self {
            Kernel::File(input) => &input.name,
            Kernel::Stored { name, .. } => name,
        }
    }

    /// Size of the BTF in bytes.
    pub fn size(&self) -> usize {
        match self {
            Kernel::File(input) => input.btf.len(),
            Kernel::Stored { stored, .. } => stored.btf.len(),
        }
    }

    /// Whether it goes on where another BTF ends: a module's, which can't be parsed alone.
    pub fn is_split(&self) -> bool {
        match self {
            Kernel::File(input) => input.is_split(),
            Kernel::Stored { stored, .. } => Btf::is_split(&stored.btf),
        }
    }

    /// Parses it and finds the types with the wanted names.
    pub fn parse(&self, wanted: &Wanted) -> Result<(Btf<'_>, Candidates), ToolError> {
        let wrong = |error| ToolError::btf(self.name(), error);
        let input = match self {
            Kernel::File(input) => input,
            Kernel::Stored { listed, stored, .. } => {
                if let Some(index) = stored.index() {
                    let btf = index.btf(&stored.btf).map_err(wrong)?;
                    if let Some(candidates) = wanted.look_up(&btf, &index).map_err(wrong)? {
                        return Ok((btf, candidates));
                    }
                } else {
                    corpus::renew(*listed, &stored.btf)?;
                }
                return wanted.parse(&stored.btf[..]).map_err(wrong);
            }
        };
        let (btf, candidates) = wanted.parse(&input.btf[..]).map_err(wrong)?;
        // What an ELF header says of a 32-bit kernel counts; elsewhere its `long` tells the same.
        match input.pointer_size {
            Some(PointerSize::Four) => Ok((btf.with_pointer_size(PointerSize::Four), candidates)),
            Some(PointerSize::Eight) | None => Ok((btf, candidates)),
        }
    }
}
