//! A kernel, its files, and objects to check on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use relo_core::{BpfObject, MinimizeOptions, Target, Wanted, minimize_target};
use vmtest::{Accel, Arch, Check, Libbpf, VmSpec};

use crate::Error;

/// A kernel that `btfpipe extract` wrote.
pub struct Subject {
    /// Its file's name without the underscores.
    pub name: String,
    pub arch: Arch,
    image: PathBuf,
    vmlinux: Option<PathBuf>,
    btf: Vec<u8>,
}

/// One object file.
pub struct Object {
    pub name: String,
    pub elf: Vec<u8>,
}

/// The kernels of the document, and others.
pub struct Subjects {
    pub listed: Vec<Subject>,
    pub rest: Vec<Subject>,
}

impl Subjects {
    /// Those of the folder, and of the folders `more` those of a full flavour; `work` is for their unpacked images.
    pub fn read(kernels: &Path, more: &[&str], work: &Path) -> Result<Self, Error> {
        let mut listed = subjects(kernels, work)?;
        let mut rest = Vec::new();
        for folder in more {
            let known = |subject: &Subject| {
                listed.iter().chain(&rest).any(|other: &Subject| other.name == subject.name)
            };
            let mut new = subjects(folder.as_ref(), work)?;
            new.retain(|subject| !known(subject));
            rest.extend(new);
        }
        listed.extend(rest.extract_if(.., |subject| subject.is_full()));
        Ok(Subjects { listed, rest })
    }
}

fn subjects(folder: &Path, work: &Path) -> Result<Vec<Subject>, Error> {
    let mut images: Vec<PathBuf> = fs::read_dir(folder.join("kernels"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    images.sort();
    images.into_iter().map(|image| subject(folder, image, work)).collect()
}

fn subject(folder: &Path, image: PathBuf, work: &Path) -> Result<Subject, Error> {
    let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arch = if name.contains("_arm64_") { Arch::Arm64 } else { Arch::X86_64 };
    let vmlinux = match arch {
        Arch::Arm64 => None,
        Arch::X86_64 => {
            let path = work.join(format!("{name}.vmlinux"));
            fs::write(&path, kernels::image::unpack(&fs::read(&image)?)?.bytes)?;
            Some(path)
        }
    };
    let btf = fs::read(folder.join("btf").join(format!("{name}.btf")))?;
    Ok(Subject { name: name.replace('_', " "), arch, image, vmlinux, btf })
}

impl Subject {
    /// Not for clouds: with all its drivers.
    fn is_full(&self) -> bool {
        self.arch == Arch::X86_64 && !self.name.contains("-cloud-")
    }

    /// A machine for it, emulated, as the step `verify` makes it.
    pub fn spec(&self, work: &Path) -> VmSpec {
        let mut spec = VmSpec::new(self.arch, self.vmlinux.as_ref().unwrap_or(&self.image), work);
        spec.fallback_kernel = self.vmlinux.as_ref().map(|_| self.image.clone());
        spec.accel = Accel::Tcg;
        spec
    }

    /// The kernel's BTF, minimized for these objects.
    pub fn minimized(&self, objects: &[Object]) -> Result<Vec<u8>, Error> {
        minimized(&self.btf, objects)
    }
}

/// A BTF, minimized for these objects.
pub fn minimized(btf: &[u8], objects: &[Object]) -> Result<Vec<u8>, Error> {
    let objects = objects
        .iter()
        .map(|object| BpfObject::parse(object.name.clone(), &object.elf))
        .collect::<Result<Vec<_>, _>>()?;
    let objects: Vec<&BpfObject> = objects.iter().collect();
    let wanted = Wanted::new(objects.iter().copied());
    let (btf, candidates) = wanted.parse(btf)?;
    let target = Target::with_candidates(&btf, candidates, &[], &wanted)?;
    Ok(minimize_target(&target, &objects, MinimizeOptions::default())?.bytes)
}

impl Object {
    /// To be checked with this BTF.
    pub fn check(&self, btf: &[u8], label: &str) -> Check {
        Check {
            object: self.name.clone(),
            elf: self.elf.clone(),
            btf: btf.to_vec(),
            label: label.to_owned(),
            libbpf: Libbpf::Current,
            type_id_insns: Vec::new(),
        }
    }
}

/// The first objects inside of Debian's libbpf-tools that have relocations.
pub fn objects(count: usize) -> Result<Vec<Object>, Error> {
    let listed = Command::new("dpkg").args(["-L", "libbpf-tools"]).output()?.stdout;
    let listed = String::from_utf8(listed)?;
    let mut programs: Vec<&Path> = listed
        .lines()
        .map(Path::new)
        .filter(|path| path.parent().is_some_and(|p| p.ends_with("sbin")))
        .collect();
    programs.sort();
    let mut objects = Vec::new();
    for program in programs.into_iter().filter(|path| !path.is_symlink()) {
        let bytes = fs::read(program)?;
        for object in relo_core::embedded_objects(&bytes) {
            let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let relocated =
                BpfObject::parse(name.clone(), object.bytes).is_ok_and(|object| !object.relos().is_empty());
            if relocated && objects.len() < count {
                objects.push(Object { name, elf: object.bytes.to_vec() });
            }
        }
    }
    if objects.len() < count {
        return Err("install the Debian package libbpf-tools: its programs are what is checked".into());
    }
    Ok(objects)
}
