//! Looking a kernel up in a pack, by reading a few hundred bytes and one chunk.

use std::cmp::Ordering;
use std::fs::File;
use std::path::Path;

use crate::arch::Arch;
use crate::digest::Digest;
use crate::lookup::{self, Hit, Known, Miss};
use crate::pack::chunk;
use crate::pack::error::{Damage, PackError};
use crate::pack::layout::{
    ALIAS, BLOB, CHUNK, DIGEST, HEADER, KERNEL, Layout, MAX_CHUNK, Method, NONE, PROGRAM, u32_at, u64_at,
};
use crate::pack::source::ReadAt;
use crate::query::Query;

/// A pack: the seekable form of a bundle.
///
/// Opening reads the header only. Every offset is checked where it is used, every BTF against its digest.
#[derive(Debug)]
pub struct Pack<S> {
    source: S,
    layout: Layout,
    directory: Digest,
}

/// A kernel of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedKernel {
    /// The ID of os-release.
    pub distro: String,
    /// The VERSION_ID of os-release.
    pub version: String,
    /// Other words for the version.
    pub version_aliases: Vec<String>,
    /// The architecture.
    pub arch: Arch,
    /// `uname -r`.
    pub release: String,
    /// The GNU build-id in lowercase hexadecimal, where it is known.
    pub build_id: Option<String>,
    blob: u32,
    outcomes: u32,
}

/// What became of the relocations of one program on one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// All were decided, or it has none.
    Resolved,
    /// Some instruction was poisoned: the verifier refuses the program if it is reached.
    Poisoned,
    /// libbpf refuses the object.
    Refused,
}

impl Verdict {
    pub(crate) fn of(number: u8) -> Option<Verdict> {
        match number {
            0 => Some(Verdict::Resolved),
            1 => Some(Verdict::Poisoned),
            2 => Some(Verdict::Refused),
            _ => None,
        }
    }
}

/// A program of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedProgram {
    /// Its name, e.g. `opensnoop.bpf.o`.
    pub name: String,
    /// The sha256 of its object file.
    pub sha256: Digest,
}

/// Where a BTF is.
#[derive(Clone, Copy, Debug)]
struct Blob {
    sha256: Digest,
    chunk: u32,
    offset: u32,
    size: u32,
}

impl Known for PackedKernel {
    fn distro(&self) -> &str {
        &self.distro
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn has_alias(&self, version: &str) -> bool {
        self.version_aliases.iter().any(|alias| alias == version)
    }

    fn build_id(&self) -> Option<&str> {
        self.build_id.as_deref()
    }

    fn same_btf(&self, other: &PackedKernel) -> bool {
        self.blob == other.blob
    }

    fn id(&self) -> String {
        format!("{}/{}/{}/{}", self.distro, self.version, self.arch, self.release)
    }
}

impl Pack<File> {
    /// Opens the pack in the file at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Pack<File>, PackError> {
        let path = path.as_ref();
        let file = File::open(path);
        Pack::new(file.map_err(|source| PackError::Open { path: path.to_owned(), source })?)
    }
}

impl<S: ReadAt> Pack<S> {
    /// The pack that `source` holds, e.g. a `&[u8]` of `include_bytes!`.
    pub fn new(source: S) -> Result<Pack<S>, PackError> {
        let size = source.size().map_err(PackError::Read)?;
        if size < HEADER as u64 {
            return Err(PackError::NotAPack);
        }
        let mut header = [0; HEADER];
        source.read_exact_at(&mut header, 0).map_err(PackError::Read)?;
        let layout = Layout::parse(&header)?;
        if layout.file_size != size {
            return Err(Damage::at(40, "another size than the file has").into());
        }
        if layout.data() > u128::from(size) {
            return Err(Damage::at(12, "tables that end behind the file").into());
        }
        let mut directory = [0; 32];
        directory.copy_from_slice(&header[DIGEST..]);
        Ok(Pack { source, layout, directory: Digest::from_bytes(directory) })
    }

    /// The architecture of all its kernels.
    pub fn arch(&self) -> Arch {
        self.layout.arch
    }

    /// How many kernels it has.
    pub fn kernel_count(&self) -> u32 {
        self.layout.kernels
    }

    /// The name that the vendor gave to it.
    pub fn name(&self) -> Result<String, PackError> {
        self.string(self.layout.name)
    }

    /// The program and version that minimized the BTF.
    pub fn engine(&self) -> Result<String, PackError> {
        self.string(self.layout.engine)
    }

    /// The kernel that `query` describes, and the rule that found it.
    pub fn find(&self, query: &Query) -> Result<Hit<PackedKernel>, PackError> {
        if query.arch != self.layout.arch {
            return Err(Miss::Arch { bundle: self.layout.arch, query: query.arch }.into());
        }
        let mut same_release = Vec::new();
        for index in self.first_of(&query.release)?..self.layout.kernels {
            let kernel = self.kernel(index)?;
            if kernel.release != query.release {
                break;
            }
            same_release.push(kernel);
        }
        Ok(lookup::resolve(query, &same_release)?)
    }

    /// The kernel at `index`; they are sorted by release, distro, version and build-id.
    pub fn kernel(&self, index: u32) -> Result<PackedKernel, PackError> {
        let (at, entry) = self.entry::<KERNEL>(HEADER as u128, index, self.layout.kernels)?;
        let (first, count) = (u32_at(&entry, 16), u32_at(&entry, 20));
        if u64::from(first) + u64::from(count) > u64::from(self.layout.aliases) {
            return Err(Damage::at(at + 16, "aliases behind their table").into());
        }
        // Nothing has so many words for one version; a pack that says so wants our memory.
        if count > 4096 {
            return Err(Damage::at(at + 20, "more than 4096 aliases").into());
        }
        let alias = |index| {
            let (_, entry) = self.entry::<ALIAS>(self.layout.alias_table(), index, self.layout.aliases)?;
            self.string(u32_at(&entry, 0))
        };
        let build_id = u32_at(&entry, 12);
        Ok(PackedKernel {
            release: self.string(u32_at(&entry, 0))?,
            distro: self.string(u32_at(&entry, 4))?,
            version: self.string(u32_at(&entry, 8))?,
            build_id: if build_id == NONE { None } else { Some(self.string(build_id)?) },
            version_aliases: (first..first + count).map(alias).collect::<Result<_, PackError>>()?,
            arch: self.layout.arch,
            blob: u32_at(&entry, 24),
            outcomes: u32_at(&entry, 28),
        })
    }

    /// The minimized BTF of a kernel of this pack.
    pub fn btf(&self, kernel: &PackedKernel) -> Result<Vec<u8>, PackError> {
        let blob = self.blob(kernel.blob)?;
        let chunk = self.chunk(blob.chunk)?;
        self.cut(&chunk, &blob)
    }

    /// The sha256 that the pack promises for the BTF of a kernel.
    pub fn btf_sha256(&self, kernel: &PackedKernel) -> Result<Digest, PackError> {
        Ok(self.blob(kernel.blob)?.sha256)
    }

    /// The programs that the BTF was minimized for, sorted by name.
    pub fn programs(&self) -> Result<Vec<PackedProgram>, PackError> {
        (0..self.layout.programs).map(|index| self.program(index)).collect()
    }

    /// What became of each program's relocations on a kernel of this pack, in the order of the programs.
    pub fn verdicts(&self, kernel: &PackedKernel) -> Result<Vec<Verdict>, PackError> {
        let programs = self.layout.programs;
        if kernel.outcomes >= self.layout.outcomes {
            return Err(Damage::at(HEADER as u64, "a kernel whose outcomes are behind their table").into());
        }
        let row = self.layout.outcome_table() + u128::from(kernel.outcomes) * u128::from(programs);
        let at = row as u64;
        let mut bytes = vec![0; programs as usize];
        self.source.read_exact_at(&mut bytes, at).map_err(PackError::Read)?;
        let verdict = |&byte: &u8| Verdict::of(byte).ok_or(Damage::at(at, "an unknown outcome").into());
        bytes.iter().map(verdict).collect()
    }

    /// Reads all of it: the digest of the directory, every kernel, every chunk, every BTF.
    pub fn verify(&self) -> Result<(), PackError> {
        self.verify_directory()?;
        let mut before: Option<PackedKernel> = None;
        for index in 0..self.layout.kernels {
            let kernel = self.kernel(index)?;
            if before.is_some_and(|before| order(&before) >= order(&kernel)) {
                return Err(Damage::at(HEADER as u64, "kernels that are out of order").into());
            }
            self.blob(kernel.blob)?;
            self.verdicts(&kernel)?;
            before = Some(kernel);
        }
        self.programs()?;
        self.verify_blobs()
    }

    fn verify_directory(&self) -> Result<(), PackError> {
        // Not larger than the file, as `new` has seen.
        let mut directory = vec![0; self.layout.data() as usize];
        self.source.read_exact_at(&mut directory, 0).map_err(PackError::Read)?;
        directory.drain(DIGEST..HEADER);
        let found = Digest::of(&directory);
        if found != self.directory {
            return Err(PackError::Digest { want: self.directory, found });
        }
        Ok(())
    }

    fn verify_blobs(&self) -> Result<(), PackError> {
        let mut held: Option<(u32, Vec<u8>)> = None;
        for index in 0..self.layout.blobs {
            let blob = self.blob(index)?;
            let (_, chunk) = match held.take() {
                Some(same) if same.0 == blob.chunk => held.insert(same),
                _ => held.insert((blob.chunk, self.chunk(blob.chunk)?)),
            };
            self.cut(chunk, &blob)?;
        }
        Ok(())
    }

    /// The first kernel whose release is not less than `release`.
    fn first_of(&self, release: &str) -> Result<u32, PackError> {
        let (mut low, mut high) = (0, self.layout.kernels);
        while low < high {
            let middle = low + (high - low) / 2;
            let (_, entry) = self.entry::<KERNEL>(HEADER as u128, middle, self.layout.kernels)?;
            match self.string(u32_at(&entry, 0))?.as_str().cmp(release) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal | Ordering::Greater => high = middle,
            }
        }
        Ok(low)
    }

    fn program(&self, index: u32) -> Result<PackedProgram, PackError> {
        let (_, entry) = self.entry::<PROGRAM>(self.layout.program_table(), index, self.layout.programs)?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(&entry[4..]);
        Ok(PackedProgram { name: self.string(u32_at(&entry, 0))?, sha256: Digest::from_bytes(sha256) })
    }

    fn blob(&self, index: u32) -> Result<Blob, PackError> {
        let (at, entry) = self.entry::<BLOB>(self.layout.blob_table(), index, self.layout.blobs)?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(&entry[..32]);
        if u32_at(&entry, 44) != 0 {
            return Err(Damage::at(at + 44, "a reserved field that is not zero").into());
        }
        Ok(Blob {
            sha256: Digest::from_bytes(sha256),
            chunk: u32_at(&entry, 32),
            offset: u32_at(&entry, 36),
            size: u32_at(&entry, 40),
        })
    }

    /// A chunk, decompressed.
    fn chunk(&self, index: u32) -> Result<Vec<u8>, PackError> {
        let (at, entry) = self.entry::<CHUNK>(self.layout.chunk_table(), index, self.layout.chunks)?;
        let (offset, packed, size) = (u64_at(&entry, 0), u32_at(&entry, 8), u32_at(&entry, 12));
        let method = Method::of(u32_at(&entry, 16)).ok_or(Damage::at(at + 16, "an unknown method"))?;
        let inside = u128::from(offset) >= self.layout.data()
            && u128::from(offset) + u128::from(packed) <= u128::from(self.layout.file_size);
        if !inside || size > MAX_CHUNK || u32_at(&entry, 20) != 0 {
            return Err(Damage::at(at, "a chunk outside of the file, or too large").into());
        }
        let mut bytes = vec![0; packed as usize];
        self.source.read_exact_at(&mut bytes, offset).map_err(PackError::Read)?;
        let content = chunk::decompress(bytes, method, size)?;
        content.ok_or_else(|| Damage::at(offset, "a chunk that does not decompress to its size").into())
    }

    fn cut(&self, chunk: &[u8], blob: &Blob) -> Result<Vec<u8>, PackError> {
        let range = blob.offset as usize..(blob.offset as usize).saturating_add(blob.size as usize);
        let bytes = chunk.get(range).ok_or(Damage::at(0, "a BTF that ends behind its chunk"))?;
        let found = Digest::of(bytes);
        if found != blob.sha256 {
            return Err(PackError::Digest { want: blob.sha256, found });
        }
        Ok(bytes.to_vec())
    }

    /// An entry of a table that begins at `table`, and where it is in the file.
    fn entry<const N: usize>(
        &self,
        table: u128,
        index: u32,
        count: u32,
    ) -> Result<(u64, [u8; N]), PackError> {
        let at = (table + u128::from(index) * N as u128) as u64;
        if index >= count {
            return Err(Damage::at(at, "a number behind the end of its table").into());
        }
        let mut entry = [0; N];
        self.source.read_exact_at(&mut entry, at).map_err(PackError::Read)?;
        Ok((at, entry))
    }

    /// A string: a byte of length, and as many bytes of UTF-8.
    fn string(&self, offset: u32) -> Result<String, PackError> {
        let damaged = |what| -> PackError {
            Damage::at(self.layout.string_table() as u64 + u64::from(offset), what).into()
        };
        if offset >= self.layout.strings {
            return Err(damaged("a string behind the strings"));
        }
        let at = self.layout.string_table() as u64 + u64::from(offset);
        let left = (self.layout.strings - offset - 1) as usize;
        // Read together: most strings are short, and a call costs more than a few bytes.
        let mut bytes = [0; 256];
        let read = left.min(255) + 1;
        self.source.read_exact_at(&mut bytes[..read], at).map_err(PackError::Read)?;
        let len = usize::from(bytes[0]);
        if len > left {
            return Err(damaged("a string that ends behind the strings"));
        }
        let text = std::str::from_utf8(&bytes[1..=len]);
        Ok(text.map_err(|_| damaged("a string that is not UTF-8"))?.to_owned())
    }
}

fn order(kernel: &PackedKernel) -> (&str, &str, &str, Option<&str>) {
    (&kernel.release, &kernel.distro, &kernel.version, kernel.build_id.as_deref())
}
