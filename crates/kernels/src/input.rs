//! A BTF out of any file that people have one in: what it is shows its content, never its name.
//!
//! Read here: raw BTF, ELF files with a .BTF section (vmlinux, modules, BPF objects), boot images, each of them also
//! compressed and as a member of a tar archive.

mod archive;
mod error;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use btf::{Btf, PointerSize};
use object::{Object, ObjectSection};

use crate::compression::{Bound, Compression};
use crate::{FileBytes, FormatError, elf, image};

pub use error::{InputError, InputProblem};

/// Raw BTF has up to 30 MB, boot images 20 MB, unpacked kernels 70 MB; debug ones have more than a gigabyte.
const MAX_FILE: u64 = 8 << 30;
/// What decompression may give.
const MAX_UNPACKED: usize = 512 << 20;
/// A boot image in a tar archive in xz, and one to spare.
const MAX_LAYERS: usize = 4;

/// A BTF and what its file says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What messages call it: the path, and the member of an archive.
    pub name: String,
    /// The BTF, not yet parsed.
    pub btf: FileBytes,
    /// The distilled base of a module that was built outside of the kernel's tree (`.BTF.base`).
    pub distilled: Option<Vec<u8>>,
    /// The size of a pointer, where an ELF header tells it.
    pub pointer_size: Option<PointerSize>,
    /// What was found, outermost first: `tar`, `xz`, `vmlinuz`, `ELF`, `BTF`.
    pub layers: Vec<&'static str>,
}

/// Which file, and which member of it where it is an archive: `-` is the standard input, `FILE:MEMBER` a member.
pub fn read(what: &Path) -> Result<Input, InputError> {
    let mut place = Place::of(what);
    let name = what.display().to_string();
    let wrong = |problem: InputProblem| InputError { name: name.clone(), problem: Box::new(problem) };
    let mut layers = Vec::new();
    let content =
        place.open().and_then(|bytes| find(bytes, &mut place.member, &mut layers)).map_err(wrong)?;
    if let Some(member) = place.member {
        return Err(wrong(InputProblem::NoArchive { member, layers }));
    }
    let Content { btf, distilled, pointer_size } = content;
    Ok(Input { name, btf, distilled, pointer_size, layers })
}

/// The same for bytes that are at hand.
pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Input, InputError> {
    let (name, mut layers) = (name.into(), Vec::new());
    match find(bytes.into(), &mut None, &mut layers) {
        Ok(Content { btf, distilled, pointer_size }) => {
            Ok(Input { name, btf, distilled, pointer_size, layers })
        }
        Err(problem) => Err(InputError { name, problem: Box::new(problem) }),
    }
}

impl Input {
    /// Whether it goes on where another BTF ends: a module's.
    ///
    /// Split BTF has no empty string of its own, so it can't stand alone.
    pub fn is_split(&self) -> bool {
        self.distilled.is_some() || Btf::is_split(&self.btf)
    }

    /// Parses it; split BTF needs the base, and with a distilled base of its own is put on the one given.
    ///
    /// Split BTF that brings a distilled base stands on that where no other is given, as with libbpf.
    pub fn parse(self, base: Option<Arc<Btf<'static>>>) -> Result<Btf<'static>, InputError> {
        let wrong =
            |problem: InputProblem| InputError { name: self.name.clone(), problem: Box::new(problem) };
        let btf = match (self.distilled, base) {
            (None, None) => match Btf::parse(self.btf.into_vec()) {
                Err(error) if is_split(&error) => return Err(wrong(InputProblem::NeedsBase)),
                parsed => parsed,
            },
            (None, Some(base)) => match Btf::parse(&self.btf[..]) {
                // Not split: a base changes nothing, as with bpftool.
                Ok(whole) if whole.check().is_ok() => Ok(whole.into_owned()),
                Ok(_) | Err(_) => Btf::parse_split(self.btf.into_vec(), base),
            },
            (Some(distilled), base) => {
                let distilled = Btf::parse(distilled)
                    .map_err(|error| wrong(InputProblem::Broken { section: ".BTF.base", error }))?;
                let split = Btf::parse_split(self.btf.into_vec(), Arc::new(distilled))
                    .map_err(|error| wrong(InputProblem::Broken { section: ".BTF", error }))?;
                match base {
                    None => Ok(split),
                    Some(base) => {
                        let bytes =
                            split.relocate_base(&base).map_err(|error| wrong(InputProblem::Base(error)))?;
                        Btf::parse_split(bytes, base)
                    }
                }
            }
        };
        let btf = btf.map_err(|error| wrong(InputProblem::Broken { section: "the BTF", error }))?;
        Ok(match self.pointer_size {
            Some(size) if btf.base().is_none() => btf.with_pointer_size(size),
            _told_by_its_long => btf,
        })
    }
}

fn is_split(error: &btf::Error) -> bool {
    matches!(error.kind, btf::ErrorKind::Strings { split: false })
}

/// What a file turned out to hold.
struct Content {
    btf: FileBytes,
    distilled: Option<Vec<u8>>,
    pointer_size: Option<PointerSize>,
}

/// A file, and the member of it that is asked for.
struct Place {
    path: Option<PathBuf>,
    member: Option<String>,
}

impl Place {
    /// A path that exists is taken as it is; otherwise what follows the first colon behind a file is its member.
    fn of(what: &Path) -> Place {
        if what == Path::new("-") {
            return Place { path: None, member: None };
        }
        let whole = Place { path: Some(what.to_owned()), member: None };
        let Some(text) = what.to_str().filter(|_| !what.exists()) else {
            return whole;
        };
        let split = |(at, _): (usize, &str)| {
            let (path, member) = (Path::new(&text[..at]), &text[at + 1..]);
            (path.is_file() && !member.is_empty())
                .then(|| Place { path: Some(path.to_owned()), member: Some(member.to_owned()) })
        };
        text.match_indices(':').find_map(split).unwrap_or(whole)
    }

    fn open(&self) -> Result<FileBytes, InputProblem> {
        let Some(path) = &self.path else {
            let stdin = BufReader::new(std::io::stdin().lock());
            return FileBytes::read(stdin, 0, MAX_FILE).map_err(InputProblem::Read);
        };
        let file = File::open(path).map_err(InputProblem::Read)?;
        if file.metadata().map_err(InputProblem::Read)?.is_dir() {
            return Err(InputProblem::Folder);
        }
        FileBytes::of(file, MAX_FILE).map_err(InputProblem::Read)
    }
}

/// Undoes one layer after the other until there is BTF.
fn find(
    mut bytes: FileBytes,
    member: &mut Option<String>,
    layers: &mut Vec<&'static str>,
) -> Result<Content, InputProblem> {
    for _ in 0..MAX_LAYERS {
        if matches!(bytes[..], [0x9f, 0xeb, ..] | [0xeb, 0x9f, ..]) {
            layers.push("BTF");
            return Ok(Content { btf: bytes, distilled: None, pointer_size: None });
        }
        if elf::is_elf(&bytes) {
            layers.push("ELF");
            return of_elf(&bytes);
        }
        let unpacked = if archive::is_tar(&bytes) {
            layers.push("tar");
            archive::take(&bytes, member.take(), MAX_UNPACKED)?
        } else if image::is_boot_image(&bytes) {
            layers.push("boot image");
            return of_image(&bytes);
        } else if let Some(compression) = Compression::find(&bytes) {
            layers.push(compression.name());
            compression.decode(&bytes, Bound::AtMost { what: "what it unpacks to", limit: MAX_UNPACKED })?
        } else {
            return Err(error::unknown(&bytes, layers));
        };
        bytes = unpacked.into();
    }
    Err(InputProblem::TooManyLayers(layers.clone()))
}

fn of_elf(data: &[u8]) -> Result<Content, InputProblem> {
    let file = object::File::parse(data).map_err(FormatError::from)?;
    let section = |name: &str| match file.section_by_name(name) {
        Some(section) if section.size() as usize > MAX_UNPACKED => {
            Err(FormatError::TooLarge { what: "the section", limit: MAX_UNPACKED as u64 })
        }
        Some(section) => Ok(Some(section.data()?.to_vec()).filter(|bytes| !bytes.is_empty())),
        None => Ok(None),
    };
    let Some(btf) = section(".BTF")? else {
        let is_kernel_object = file.section_by_name(".modinfo").is_some();
        return Err(InputProblem::NoSection { is_module: is_kernel_object });
    };
    let pointer_size = match (file.architecture(), file.is_64()) {
        (object::Architecture::Bpf, _) | (_, true) => PointerSize::Eight,
        (_, false) => PointerSize::Four,
    };
    Ok(Content { btf: btf.into(), distilled: section(".BTF.base")?, pointer_size: Some(pointer_size) })
}

fn of_image(bytes: &[u8]) -> Result<Content, InputProblem> {
    let kernel = image::unpack(bytes)?;
    let btf = image::btf(&kernel)?.to_vec().into();
    Ok(Content { btf, distilled: None, pointer_size: None })
}

#[cfg(test)]
mod tests;
