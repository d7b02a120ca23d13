//! A kernel's BTF on its way from a file to the engine, in one pass over its bytes.

use std::path::Path;

use btf::{Btf, PointerSize};
use kernels::Input;
use relo_core::{Candidates, Wanted};

use crate::tools::ToolError;

/// A kernel's BTF that has been read, and not yet parsed.
#[derive(Debug)]
pub struct Kernel(Input);

impl Kernel {
    /// Reads any file that has BTF.
    pub fn read(path: &Path) -> Result<Kernel, ToolError> {
        Ok(Kernel(kernels::input::read(path)?))
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Size of the BTF in bytes.
    pub fn size(&self) -> usize {
        self.0.btf.len()
    }

    /// Whether it goes on where another BTF ends: a module's, which can't be parsed alone.
    pub fn is_split(&self) -> bool {
        self.0.is_split()
    }

    /// Parses it and finds the types with the wanted names.
    pub fn parse(&self, wanted: &Wanted) -> Result<(Btf<'_>, Candidates), ToolError> {
        let parsed = wanted.parse(&self.0.btf[..]);
        let (btf, candidates) = parsed.map_err(|error| ToolError::btf(&self.0.name, error))?;
        // What an ELF header says of a 32-bit kernel counts; elsewhere its `long` tells the same.
        match self.0.pointer_size {
            Some(PointerSize::Four) => Ok((btf.with_pointer_size(PointerSize::Four), candidates)),
            Some(PointerSize::Eight) | None => Ok((btf, candidates)),
        }
    }
}
