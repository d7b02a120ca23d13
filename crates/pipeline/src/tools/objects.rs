//! BPF objects from files that people name: `.o` files, and executables that carry them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kernels::FileBytes;
use relo_core::BpfObject;

use crate::programs::Unusable;
use crate::tools::{ToolError, Voice};

/// Larger than any program; an executable of a vendor can have a few hundred megabytes.
const MAX_FILE: u64 = 1 << 30;

/// Objects that could be opened, with their files' bytes, and the others.
#[derive(Debug, Default)]
pub struct Objects {
    /// In the order of the files.
    pub good: Vec<BpfObject>,
    /// The ELF file of each, for those who need more of it than relocations.
    pub bytes: Option<Vec<ObjectBytes>>,
    /// What can't be used, and why.
    pub bad: Vec<Unusable>,
}

/// An object's own file, or its place in an executable.
#[derive(Debug)]
pub enum ObjectBytes {
    /// The whole file.
    File(FileBytes),
    /// Cut out of an executable.
    Part(Vec<u8>),
}

impl std::ops::Deref for ObjectBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            ObjectBytes::File(bytes) => bytes,
            ObjectBytes::Part(bytes) => bytes,
        }
    }
}

impl Objects {
    /// Opens all files; one that can't be used costs the others nothing.
    pub fn open(paths: &[PathBuf]) -> Objects {
        Objects::default().open_all(paths)
    }

    /// The same, and keeps the files' bytes.
    pub fn open_and_keep(paths: &[PathBuf]) -> Objects {
        Objects { bytes: Some(Vec::new()), ..Objects::default() }.open_all(paths)
    }

    /// All objects with their files, where these were kept.
    pub fn with_bytes(&self) -> impl Iterator<Item = (&BpfObject, &ObjectBytes)> {
        self.good.iter().zip(self.bytes.iter().flatten())
    }

    fn open_all(mut self, paths: &[PathBuf]) -> Objects {
        let mut buffer = Buffer::default();
        for path in paths {
            if let Err(reason) = self.add(path, &mut buffer) {
                self.bad.push(Unusable { what: path.display().to_string(), reason });
            }
        }
        self
    }

    fn add(&mut self, path: &Path, buffer: &mut Buffer) -> Result<(), String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = File::open(path).map_err(|error| error.to_string())?;
        let large = match self.bytes {
            None => buffer.read(file),
            Some(_) => FileBytes::of(file, MAX_FILE).map(Some),
        };
        let large = large.map_err(|error| error.to_string())?;
        let bytes: &[u8] = large.as_deref().unwrap_or(buffer.bytes());
        match machine(bytes).ok_or("neither a BPF object (.o) nor an executable that carries one")? {
            BPF | NONE => {
                self.parse(name, bytes)?;
                if let (Some(kept), Some(bytes)) = (&mut self.bytes, large) {
                    kept.push(ObjectBytes::File(bytes));
                }
                Ok(())
            }
            _other => {
                let embedded = relo_core::embedded_objects(bytes);
                if embedded.is_empty() {
                    return Err("the executable carries no BPF object".to_owned());
                }
                let several = embedded.len() > 1;
                for (index, object) in embedded.iter().enumerate() {
                    let number = if several { format!(".{}", index + 1) } else { String::new() };
                    self.parse(format!("{name}{number}.bpf.o"), object.bytes)?;
                    if let Some(kept) = &mut self.bytes {
                        kept.push(ObjectBytes::Part(object.bytes.to_vec()));
                    }
                }
                Ok(())
            }
        }
    }

    fn parse(&mut self, name: String, bytes: &[u8]) -> Result<(), String> {
        self.good.push(BpfObject::parse(name, bytes).map_err(|error| error.to_string())?);
        Ok(())
    }

    /// All of them as the engine takes them.
    pub fn refs(&self) -> Vec<&BpfObject> {
        self.good.iter().collect()
    }

    /// Says which can't be used; an error when none is left.
    pub fn report(&self, voice: &mut Voice<'_>) -> Result<(), ToolError> {
        for Unusable { what, reason } in &self.bad {
            voice.note(format_args!("{what}: {reason}"));
        }
        match self.good.is_empty() {
            true => Err(ToolError::NoObjects("name .o files or executables that carry skeletons")),
            false => Ok(()),
        }
    }
}

/// One place that small files are read to in turn: what is not kept needs no memory of its own, nor a mapping.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
}

impl Buffer {
    /// Most objects are far smaller.
    const LEN: usize = 512 << 10;

    /// Reads a file to its end; gives the bytes of one that does not fit.
    fn read(&mut self, mut file: File) -> io::Result<Option<FileBytes>> {
        if self.bytes.is_empty() {
            // Zeros from the system: pages that no file reaches are never touched.
            self.bytes = vec![0; Self::LEN];
        }
        self.filled = 0;
        while self.filled < Self::LEN {
            match file.read(&mut self.bytes[self.filled..]) {
                Ok(0) => return Ok(None),
                Ok(more) => self.filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if file.metadata()?.is_file() {
            return FileBytes::of(file, MAX_FILE).map(Some);
        }
        FileBytes::read(self.bytes().chain(file), 2 * Self::LEN, MAX_FILE).map(Some)
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

/// `EM_BPF`, and what early compilers wrote.
const BPF: u16 = 247;
const NONE: u16 = 0;

/// e_machine of an ELF file of either byte order.
fn machine(bytes: &[u8]) -> Option<u16> {
    let header = bytes.first_chunk::<20>()?;
    let field = [header[18], header[19]];
    match (header.starts_with(b"\x7fELF"), header[5]) {
        (true, 1) => Some(u16::from_le_bytes(field)),
        (true, 2) => Some(u16::from_be_bytes(field)),
        _ => None,
    }
}
