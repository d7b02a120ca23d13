//! Compilers, and objects that were compiled before from the same sources.

use std::path::{Path, PathBuf};

use kernels::{Arch, Digest, LockedBlob, Store};
use serde::{Deserialize, Serialize};

use crate::project::clang::{self, Clang};
use crate::work::key::Key;

/// What makes objects of sources. Called from several threads; errors are for people.
pub trait Compiler: Sync {
    /// What decides about the objects of an architecture besides the sources: the compiler and its settings.
    fn identity(&self, arch: Arch) -> Result<String, String>;

    /// Whether it makes the same of the same, so that objects may be kept.
    fn is_pure(&self) -> bool {
        true
    }

    /// Compiles a source for the kernels of an architecture.
    fn compile(&self, source: &Path, arch: Arch) -> Result<Object, String>;
}

/// What a compiler gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The ELF file.
    pub bytes: Vec<u8>,
    /// Every file that was read, the source among them.
    pub deps: Vec<PathBuf>,
    /// What the compiler says, may be empty.
    pub warnings: String,
}

/// A function that compiles one file that includes no other.
impl<F: Fn(&Path, Arch) -> Result<Vec<u8>, String> + Sync> Compiler for F {
    fn identity(&self, _: Arch) -> Result<String, String> {
        Ok("a function".to_owned())
    }

    fn compile(&self, source: &Path, arch: Arch) -> Result<Object, String> {
        let bytes = self(source, arch)?;
        Ok(Object { bytes, deps: vec![source.to_owned()], warnings: String::new() })
    }
}

/// The clang of this machine, looked for when it is needed first.
#[derive(Debug, Default)]
pub struct SystemClang {
    found: std::sync::OnceLock<Result<Clang, String>>,
}

impl SystemClang {
    fn find(&self) -> Result<&Clang, String> {
        let found = self.found.get_or_init(|| Clang::find().map_err(|error| error.to_string()));
        found.as_ref().map_err(Clone::clone)
    }
}

impl Compiler for SystemClang {
    fn identity(&self, _: Arch) -> Result<String, String> {
        let clang = self.find()?;
        let program = Digest::of_file(clang.path()).map_err(|error| error.to_string())?.0;
        Ok(format!("{} {program}", clang.version()))
    }

    fn compile(&self, source: &Path, arch: Arch) -> Result<Object, String> {
        let compiled = self.find()?.compile(source, arch, &clang::Options::default());
        let compiled = compiled.map_err(|error| error.to_string())?;
        Ok(Object { bytes: compiled.bytes, deps: compiled.deps, warnings: compiled.warnings })
    }
}

/// What the store has of a source that was compiled.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Compiled {
    object: LockedBlob,
    /// Every file that was read and its digest; below the source's folder by its path from there.
    deps: Vec<(PathBuf, Digest)>,
    warnings: String,
}

/// The key of compiling a source; what it includes is compared when the result is found.
fn key(source: &Path, arch: Arch, identity: &str) -> Option<Key> {
    let (digest, _) = Digest::of_file(source).ok()?;
    // clang sees the bare name, and it is in the debug information.
    let name = source.file_name()?.to_string_lossy().into_owned();
    Some(
        Key::of("compile/1")
            .with("compiler", identity)
            .with("arch", arch)
            .with("name", name)
            .with("source", digest),
    )
}

/// The object that was compiled before of the same files; None when a file changed or the store has nothing.
pub fn find(store: &Store, source: &Path, arch: Arch, identity: &str) -> Option<Object> {
    let key = key(source, arch, identity)?;
    let Compiled { object, deps, warnings } = serde_json::from_value(store.link(&key.text())?).ok()?;
    let folder = source.parent()?;
    let is_same = |(path, wanted): &(PathBuf, Digest)| {
        Digest::of_file(&folder.join(path)).is_ok_and(|(found, _)| found == *wanted)
    };
    if !deps.iter().all(is_same) {
        return None;
    }
    let bytes = store.read(&object.sha256)?;
    Some(Object { bytes, deps: deps.into_iter().map(|(path, _)| folder.join(path)).collect(), warnings })
}

/// Keeps an object. What can't be kept is compiled again the next time.
pub fn keep(store: &Store, source: &Path, arch: Arch, identity: &str, object: &Object) {
    let keep = || {
        let key = key(source, arch, identity)?;
        let folder = source.parent()?;
        let dep = |path: &PathBuf| {
            let digest = Digest::of_file(path).ok()?.0;
            Some((path.strip_prefix(folder).unwrap_or(path).to_owned(), digest))
        };
        let deps: Option<Vec<_>> = object.deps.iter().map(dep).collect();
        store.put(&object.bytes).ok()?;
        let compiled = Compiled {
            object: LockedBlob::of(&object.bytes),
            deps: deps?,
            warnings: object.warnings.clone(),
        };
        store.set_link(&key.text(), serde_json::to_value(compiled).ok()?).ok()
    };
    let _: Option<()> = keep();
}
