//! `index.json`: which kernel has which blob.

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::digest::Digest;
use crate::error::Error;
use crate::key::{KernelEntry, KernelKey, check_name};
use crate::lookup::{self, Hit, Known, Miss};
use crate::outcomes::Outcomes;
use crate::query::Query;

/// The version of the bundle format that is written and read here.
pub const INDEX_VERSION: u32 = 1;
const FORMAT: &str = "btfpipe-bundle";
pub(crate) const INDEX_PATH: &str = "index.json";

/// The table of contents of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    format: String,
    version: u32,
    /// The name that the vendor gave to the bundle.
    pub name: String,
    /// The architecture of all its kernels.
    pub arch: Arch,
    /// The program and version that minimized the BTF.
    pub engine: String,
    /// The kernels, sorted by distro, version, arch, release and build-id.
    pub kernels: Vec<IndexedKernel>,
    /// The programs whose relocations the BTF serves, sorted by name.
    pub programs: Vec<ProgramEntry>,
    /// What became of the programs' relocations: each distinct answer once, in the order of the kernels that have it.
    #[serde(default)]
    pub outcomes: Vec<Outcomes>,
}

/// A kernel and its blobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedKernel {
    /// Which kernel.
    #[serde(flatten)]
    pub entry: KernelEntry,
    /// Its minimized BTF, `blobs/<sha256>.btf`.
    pub btf: BlobRef,
    /// What the relocations resolved to, `records/<sha256>.jsonl`.
    pub records: BlobRef,
    /// Which of the index's outcomes is its own; none in bundles of before there were any.
    #[serde(default)]
    pub outcomes: Option<u32>,
}

impl Known for &IndexedKernel {
    fn distro(&self) -> &str {
        &self.entry.distro
    }

    fn version(&self) -> &str {
        &self.entry.version
    }

    fn has_alias(&self, version: &str) -> bool {
        self.entry.version_aliases.iter().any(|alias| alias == version)
    }

    fn build_id(&self) -> Option<&str> {
        self.entry.build_id.as_deref()
    }

    fn same_btf(&self, other: &&IndexedKernel) -> bool {
        self.btf == other.btf
    }

    fn id(&self) -> String {
        self.entry.key().to_string()
    }
}

/// A file of the archive, named by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    /// The sha256 of its content.
    pub sha256: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl BlobRef {
    pub(crate) fn btf_path(&self) -> String {
        format!("blobs/{}.btf", self.sha256)
    }

    pub(crate) fn records_path(&self) -> String {
        format!("records/{}.jsonl", self.sha256)
    }
}

/// A program that the bundle's BTF was minimized for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProgramEntry {
    /// Its name, e.g. `opensnoop.bpf.o`.
    pub name: String,
    /// The sha256 of its object file.
    pub sha256: Digest,
}

/// The part of an index that every version has.
#[derive(Deserialize)]
struct Stamp {
    format: String,
    version: u64,
}

impl Index {
    pub(crate) fn new(name: String, arch: Arch, engine: String) -> Index {
        let (kernels, programs, outcomes) = (Vec::new(), Vec::new(), Vec::new());
        Index {
            format: FORMAT.into(),
            version: INDEX_VERSION,
            name,
            arch,
            engine,
            kernels,
            programs,
            outcomes,
        }
    }

    /// The version of the format.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The text of `index.json`.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("an index is plain JSON");
        text.push('\n');
        text
    }

    /// Reads `index.json` and checks that it says nothing twice, out of order or impossible.
    pub fn parse(json: &[u8]) -> Result<Index, Error> {
        let stamp: Stamp = serde_json::from_slice(json).map_err(Error::Json)?;
        check_stamp("the bundle format", (&stamp.format, stamp.version), (FORMAT, INDEX_VERSION))?;
        let index: Index = serde_json::from_slice(json).map_err(Error::Json)?;
        index.check()?;
        Ok(index)
    }

    /// The kernel that `query` describes, or why there is none.
    pub fn resolve(&self, query: &Query) -> Result<Hit<&IndexedKernel>, Miss> {
        if query.arch != self.arch {
            return Err(Miss::Arch { bundle: self.arch, query: query.arch });
        }
        let same_release: Vec<_> = self.kernels.iter().filter(|k| k.entry.release == query.release).collect();
        lookup::resolve(query, &same_release)
    }

    /// What became of each program's relocations on a kernel of this index, by the program's name.
    pub fn outcomes_of(&self, kernel: &IndexedKernel) -> Option<&Outcomes> {
        self.outcomes.get(kernel.outcomes? as usize)
    }

    /// The digest of the set of programs: of the lines `sha256`, two spaces, name, sorted by name, as `sha256sum` has
    /// them. Bundles with the same digest serve the same programs.
    pub fn program_set(&self) -> Digest {
        let line = |program: &ProgramEntry| format!("{}  {}\n", program.sha256, program.name);
        Digest::of(self.programs.iter().map(line).collect::<String>().as_bytes())
    }

    /// The kernels filed under exactly `key`: more than one only where build-ids tell them apart.
    pub fn find<'a>(&'a self, key: &KernelKey) -> impl Iterator<Item = &'a IndexedKernel> {
        self.kernels.iter().filter(move |kernel| {
            let entry = &kernel.entry;
            (&entry.distro, &entry.version, entry.arch, &entry.release)
                == (&key.distro, &key.version, key.arch, &key.release)
        })
    }

    /// What a writer must not write and a reader must not believe.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_name("bundle name", &self.name)?;
        check_name("engine", &self.engine)?;
        for kernel in &self.kernels {
            kernel.entry.check()?;
            if kernel.entry.arch != self.arch {
                return Err(Error::OtherArch { kernel: kernel.entry.key().to_string(), bundle: self.arch });
            }
            if kernel.outcomes.is_some_and(|row| row as usize >= self.outcomes.len()) {
                return Err(Error::NoOutcomes(kernel.entry.key().to_string()));
            }
        }
        self.programs.iter().try_for_each(|program| check_name("program", &program.name))?;
        self.check_kernel_order()?;
        self.check_program_order()
    }

    fn check_kernel_order(&self) -> Result<(), Error> {
        for pair in self.kernels.windows(2) {
            let (a, b) = (&pair[0].entry, &pair[1].entry);
            if a.order() > b.order() {
                return Err(Error::IndexOrder(b.key().to_string()));
            }
            // None sorts first, so a kernel without a build-id would stand right before its namesake.
            if a.key() == b.key() && (a.build_id.is_none() || a.build_id == b.build_id) {
                return Err(Error::DuplicateKernel(b.key().to_string()));
            }
        }
        Ok(())
    }

    fn check_program_order(&self) -> Result<(), Error> {
        for pair in self.programs.windows(2) {
            match pair[0].name.cmp(&pair[1].name) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Err(Error::DuplicateProgram(pair[1].name.clone())),
                std::cmp::Ordering::Greater => return Err(Error::IndexOrder(pair[1].name.clone())),
            }
        }
        Ok(())
    }
}

/// Refuses another format, or a version that may mean something else.
pub(crate) fn check_stamp(
    what: &'static str,
    found: (&str, u64),
    want: (&'static str, u32),
) -> Result<(), Error> {
    if found == (want.0, u64::from(want.1)) {
        return Ok(());
    }
    let text = |format: &str, version: u64| format!("{format} {version}");
    Err(Error::Version { what, found: text(found.0, found.1), want: text(want.0, want.1.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(key: &str, build_id: Option<&str>) -> IndexedKernel {
        let KernelKey { distro, version, arch, release } = key.parse().unwrap();
        let blob = BlobRef { sha256: Digest::of(b""), size: 0 };
        let build_id = build_id.map(str::to_owned);
        let entry = KernelEntry { distro, version, version_aliases: vec![], arch, release, build_id };
        IndexedKernel { entry, btf: blob, records: blob, outcomes: None }
    }

    fn index(kernels: &[(&str, Option<&str>)], programs: &[&str]) -> Index {
        let mut index = Index::new("n".into(), Arch::X86_64, "e".into());
        index.kernels = kernels.iter().map(|(key, id)| kernel(key, *id)).collect();
        let program = |name: &&str| ProgramEntry { name: (*name).into(), sha256: Digest::of(b"") };
        index.programs = programs.iter().map(program).collect();
        index
    }

    #[test]
    fn round_trip() {
        let index = index(&[("a/1/x86_64/r", None), ("a/2/x86_64/r", Some("00"))], &["p", "q"]);
        assert_eq!(Index::parse(index.to_json().as_bytes()).unwrap(), index);
    }

    #[test]
    fn refused() {
        let check = |kernels: &[(&str, Option<&str>)], programs: &[&str], want: &str| {
            let error = Index::parse(index(kernels, programs).to_json().as_bytes()).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        };
        check(&[("a/1/x86_64/r", None), ("a/1/x86_64/r", None)], &[], "twice");
        check(&[("a/1/x86_64/r", None), ("a/1/x86_64/r", Some("00"))], &[], "twice");
        check(&[("a/1/x86_64/r", Some("00")), ("a/1/x86_64/r", Some("00"))], &[], "twice");
        check(&[("a/2/x86_64/r", None), ("a/1/x86_64/r", None)], &[], "out of order");
        check(&[("a/1/arm64/r", None)], &[], "one bundle per architecture");
        check(&[("a/1/x86_64/r", Some("0G"))], &[], "build id");
        check(&[], &["p", "p"], "twice");
        check(&[], &["q", "p"], "out of order");
        check(&[], &["a/b"], "slash");
    }

    #[test]
    fn another_architecture_is_a_miss() {
        let index = index(&[("debian/12/x86_64/r", None)], &[]);
        let found = index.resolve(&Query::new(Arch::Arm64, "r").os("debian", "12"));
        assert_eq!(found, Err(Miss::Arch { bundle: Arch::X86_64, query: Arch::Arm64 }));
    }

    #[test]
    fn the_set_of_programs() {
        let set = |names: &[&str]| index(&[], names).program_set();
        assert_eq!(set(&[]), Digest::of(b""));
        assert_eq!(set(&["p"]), Digest::of(format!("{}  p\n", Digest::of(b"")).as_bytes()));
        assert_ne!(set(&["p"]), set(&["p", "q"]));
    }

    #[test]
    fn two_build_ids_may_share_a_key() {
        let index = index(&[("a/1/x86_64/r", Some("00")), ("a/1/x86_64/r", Some("01"))], &[]);
        let index = Index::parse(index.to_json().as_bytes()).unwrap();
        assert_eq!(index.find(&"a/1/x86_64/r".parse().unwrap()).count(), 2);
    }

    #[test]
    fn versions_and_shapes() {
        let check = |json: &str, want: &str| {
            let error = Index::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(want), "{json}: {error}");
        };
        check(r#"{"format":"btfpipe-bundle","version":2,"anything":[]}"#, "\"btfpipe-bundle 2\"");
        check(r#"{"format":"other","version":1}"#, "\"other 1\"");
        check(r#"{"format":"btfpipe-bundle","version":1}"#, "missing field");
        check("", "EOF");
        check("[]", "index.json");
        let deep = format!(r#"{{"format":"btfpipe-bundle","version":1,"name":{}"#, "[".repeat(9999));
        assert!(Index::parse(deep.as_bytes()).is_err());
        let unknown = index(&[], &[]).to_json().replacen('{', r#"{"later":1,"#, 1);
        assert!(Index::parse(unknown.as_bytes()).is_ok(), "an unknown key is for later versions");
        let twice = index(&[], &[]).to_json().replacen('{', r#"{"name":"n","#, 1);
        check(&twice, "duplicate field");
    }
}
