//! Real kernels with their modules, and real objects.

use std::path::{Path, PathBuf};
use std::process::Command;

use kernels::{Arch, Lock, LockedKernel, Store};
use pipeline::project::clang::{Clang, Options};

/// A kernel's BTFs.
pub struct Kernel {
    pub name: String,
    pub arch: Arch,
    pub vmlinux: Vec<u8>,
    /// Sorted by name.
    pub modules: Vec<Vec<u8>>,
}

/// An object as it stands in a file.
pub struct Named {
    pub name: String,
    pub elf: Vec<u8>,
}

/// The kernels of kernels.lock, out of the packages that running the release pipeline has left in the store.
pub fn kernels() -> Vec<Kernel> {
    let lock = Lock::read(&root().join("kernels.lock")).expect("kernels.lock");
    let store = match std::env::var_os("BTFPIPE_STORE") {
        Some(path) => PathBuf::from(path),
        None => Store::default_path().expect("a place for the store"),
    };
    let store = Store::open(&store).expect("the store");
    lock.kernels.iter().map(|kernel| extract(&store, kernel)).collect()
}

fn extract(store: &Store, kernel: &LockedKernel) -> Kernel {
    let place = |package: &kernels::LockedPackage| {
        store.path_of(&package.sha256).unwrap_or_else(|| {
            panic!("{} is not in the store; \"btfpipe run pipelines/release.yaml\" fetches it", package.file)
        })
    };
    let packages: Vec<PathBuf> = kernel.packages.iter().map(place).collect();
    let extracted = kernels::extract::from_packages(&packages, kernel.id.release()).expect("sound packages");
    Kernel {
        name: kernel.id.to_string(),
        arch: kernel.id.arch(),
        vmlinux: extracted.btf,
        modules: extracted.modules.into_iter().map(|module| module.btf).collect(),
    }
}

/// The objects inside of the programs of Debian's libbpf-tools, and the programs of the release pipeline.
pub fn objects(arch: Arch) -> Vec<Named> {
    let listed = Command::new("dpkg").args(["-L", "libbpf-tools"]).output().expect("dpkg").stdout;
    let listed = String::from_utf8(listed).expect("names in UTF-8");
    let mut objects = Vec::new();
    for path in listed.lines().map(Path::new).filter(|path| path.is_file() && !path.is_symlink()) {
        if !path.parent().is_some_and(|folder| folder.ends_with("sbin")) {
            continue;
        }
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let program = std::fs::read(path).expect("readable");
        for object in relo_core::embedded_objects(&program) {
            objects.push(Named { name: name.clone(), elf: object.bytes.to_vec() });
        }
    }
    assert!(objects.len() >= 50, "libbpf-tools is not installed");
    let clang = Clang::find().expect("a clang");
    let mut sources: Vec<PathBuf> = std::fs::read_dir(root().join("pipelines/programs"))
        .expect("the programs")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".bpf.c"))
        .collect();
    sources.sort();
    for source in sources {
        let compiled = clang.compile(&source, arch, &Options::default()).expect("it compiles");
        objects.push(Named { name: source.display().to_string(), elf: compiled.bytes });
    }
    objects
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
