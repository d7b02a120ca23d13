//! BPF objects from files that people name: `.o` files, and executables that carry them.

use std::fs::File;
use std::path::{Path, PathBuf};

use kernels::FileBytes;
use rayon::prelude::*;
use relo_core::BpfObject;

use crate::commands::tools::{ToolError, Voice};
use crate::project::programs::Unusable;

/// Larger than any program; an executable of a vendor can have a few hundred megabytes.
const MAX_FILE: u64 = 1 << 30;

/// Objects that could be opened, and the files that can't be used.
///
/// The files stay in memory to the end of the program: copies of what is needed of them would take longer to make than
/// all that is done with them, and the commands that open objects end with them.
#[derive(Debug, Default)]
pub struct Objects {
    /// In the order of the files.
    pub good: Vec<BpfObject>,
    /// The ELF file of each: a whole file, or its place in an executable.
    pub bytes: Vec<&'static [u8]>,
    /// What can't be used, and why.
    pub bad: Vec<Unusable>,
}

/// What came of one file: objects with their bytes, and why there are not more.
type Opened = (Vec<(BpfObject, &'static [u8])>, Option<Unusable>);

impl Objects {
    /// Opens all files; one that can't be used costs the others nothing.
    pub fn open(paths: &[PathBuf]) -> Objects {
        paths.iter().map(|path| open_one(path)).collect()
    }

    /// The same on the threads of the pool that this is called in.
    pub fn open_in_parallel(paths: &[PathBuf]) -> Objects {
        let opened: Vec<Opened> = paths.par_iter().map(|path| open_one(path)).collect();
        opened.into_iter().collect()
    }

    /// All objects with their ELF files.
    pub fn with_bytes(&self) -> impl Iterator<Item = (&BpfObject, &'static [u8])> {
        self.good.iter().zip(self.bytes.iter().copied())
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

impl FromIterator<Opened> for Objects {
    fn from_iter<I: IntoIterator<Item = Opened>>(all: I) -> Objects {
        let mut objects = Objects::default();
        for (opened, unusable) in all {
            for (object, bytes) in opened {
                objects.good.push(object);
                objects.bytes.push(bytes);
            }
            objects.bad.extend(unusable);
        }
        objects
    }
}

fn open_one(path: &Path) -> Opened {
    let mut good = Vec::new();
    let ended = objects_of(path, &mut good);
    (good, ended.err().map(|reason| Unusable { what: path.display().to_string(), reason }))
}

/// The objects of a file: itself, or those that it carries.
fn objects_of(path: &Path, good: &mut Vec<(BpfObject, &'static [u8])>) -> Result<(), String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let bytes = FileBytes::forever(file, MAX_FILE).map_err(|error| error.to_string())?;
    match machine(bytes).ok_or("neither a BPF object (.o) nor an executable that carries one")? {
        BPF | NONE => good.push((parse(name, bytes)?, bytes)),
        _other => {
            let embedded = relo_core::embedded_objects(bytes);
            if embedded.is_empty() {
                return Err("the executable carries no BPF object".to_owned());
            }
            let several = embedded.len() > 1;
            for (index, object) in embedded.iter().enumerate() {
                let number = if several { format!(".{}", index + 1) } else { String::new() };
                good.push((parse(format!("{name}{number}.bpf.o"), object.bytes)?, object.bytes));
            }
        }
    }
    Ok(())
}

fn parse(name: String, bytes: &'static [u8]) -> Result<BpfObject, String> {
    BpfObject::parse_static(name, bytes).map_err(|error| error.to_string())
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
