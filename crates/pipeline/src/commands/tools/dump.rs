//! `btfpipe dump`: a BTF as text.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use btf::{DumpError, Roots};

use crate::commands::tools::{ToolError, Voice};
use crate::outcome::Code;

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `bpftool btf dump … format raw`.
    Raw,
    /// `bpftool btf dump … format c`: a header to compile programs with.
    C {
        /// In an order that changes little from kernel to kernel.
        sorted: bool,
    },
}

/// What to dump.
#[derive(Debug, Clone)]
pub struct Options {
    /// Any file with BTF.
    pub file: PathBuf,
    /// Its base, if it is split BTF.
    pub base: Option<PathBuf>,
    /// How.
    pub format: Format,
}

/// Writes the text.
pub fn run(options: &Options, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    let base = match &options.base {
        Some(path) => Some(Arc::new(kernels::input::read(path)?.parse(None)?)),
        None => None,
    };
    let btf = kernels::input::read(&options.file)?.parse(base)?;
    let mut out = Out { voice, pending: String::new(), closed: false };
    let ended = match options.format {
        Format::Raw => btf.dump_raw(&mut out),
        Format::C { sorted: true } => btf.dump_c(&mut out, Roots::Sorted),
        Format::C { sorted: false } => btf.dump_c(&mut out, Roots::ById),
    };
    out.flush();
    match ended {
        // The reader of the text has gone: it has read enough.
        Err(DumpError::Write(_)) if out.closed => Ok(Code::Ok),
        Err(error) => Err(ToolError::engine(&options.file.display().to_string(), error)),
        Ok(()) => Ok(Code::Ok),
    }
}

/// Text on its way out, in pieces that are worth a system call.
struct Out<'o, 'v> {
    voice: &'o mut Voice<'v>,
    pending: String,
    closed: bool,
}

impl Out<'_, '_> {
    fn flush(&mut self) {
        self.closed |= self.voice.answer(&self.pending).is_err();
        self.pending.clear();
    }
}

impl fmt::Write for Out<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.pending.push_str(text);
        if self.pending.len() >= 64 << 10 {
            self.flush();
        }
        if self.closed { Err(fmt::Error) } else { Ok(()) }
    }
}
