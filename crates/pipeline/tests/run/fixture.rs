//! A source of kernels, kernels and programs, all made here: a pipeline without network, clang and QEMU.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use btf::{Builder, ByteOrder, IntEncoding, Kind};
use kernels::{Arch, Digest, Lock, Store};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};
use pipeline::events::{Event, Events, Level, Listener, Task};
use pipeline::kernel::works::Tools;
use pipeline::lock::sources::{SourceError, Sources};
use pipeline::outcome::Error;
use pipeline::plan::{Plan, Runs, plan};
use pipeline::project::{Options, Project};
use pipeline::run::{Finished, run};
use pipeline::work::patience::Patience;
use plugin::{Class, SourceKernel, SourcePackage};
use serde_json::Value;

pub const OLD: &str = "debian/12/x86_64/6.1.0-49-cloud-amd64";
pub const NEW: &str = "debian/12/x86_64/6.1.0-50-cloud-amd64";
pub const ARM: &str = "debian/12/arm64/6.1.0-50-cloud-arm64";
pub const SID: &str = "debian/sid/x86_64/7.2.13-cloud-amd64";

/// A folder with a pipeline, and what its source would say.
pub struct World {
    pub root: PathBuf,
    _folder: Option<tempfile::TempDir>,
    pub source: Source,
    pub heard: Heard,
    pub options: Options,
}

/// A source of kernels.
#[derive(Default)]
pub struct Source {
    /// What it names, by suite.
    pub named: Mutex<BTreeMap<String, Vec<SourceKernel>>>,
    /// The packages that can be had.
    pub packages: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Every question.
    pub asked: Mutex<Vec<String>>,
    /// How many of the next fetches fail in a way that may pass.
    pub troubles: Mutex<u32>,
}

/// All notes.
#[derive(Default)]
pub struct Heard(pub Mutex<Vec<String>>);

impl Listener for Heard {
    fn hear(&self, event: Event) {
        if let Event::Note { level, text } = event {
            let word = if level == Level::Warning { "warning: " } else { "" };
            self.0.lock().unwrap().push(format!("{word}{text}"));
        }
    }
}

impl World {
    /// One program, the suite `bookworm` with [`OLD`] and [`ARM`].
    pub fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::at(folder.path());
        world._folder = Some(folder);
        world
    }

    /// The same in a folder that stays.
    pub fn at(root: &Path) -> World {
        let options = Options {
            file: root.join("pipelines/test.yaml"),
            store: Some(root.join("store")),
            jobs: 2,
            patience: Patience { pause: std::time::Duration::ZERO, ..Patience::default() },
            ..Options::default()
        };
        std::fs::create_dir_all(root.join("pipelines/programs")).unwrap();
        let world = World {
            root: root.to_owned(),
            _folder: None,
            source: Source::default(),
            heard: Heard::default(),
            options,
        };
        world.write("pipelines/test.yaml", pipeline(&["bookworm"]).as_bytes());
        world.write("pipelines/programs/a.bpf.o", &program(&["pid"]));
        world.offer("bookworm", OLD, 8);
        world.offer("bookworm", ARM, 16);
        world
    }

    pub fn write(&self, path: &str, bytes: &[u8]) {
        std::fs::write(self.root.join(path), bytes).unwrap();
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    pub fn lock(&self) -> Vec<String> {
        let lock = Lock::read(&self.root.join("kernels.lock")).unwrap();
        lock.kernels.iter().map(|kernel| kernel.id.to_string()).collect()
    }

    /// The source names a kernel, and has it; `offset` is where its `struct task` has `pid`.
    pub fn offer(&self, suite: &str, id: &str, offset: u32) {
        self.offer_package(suite, id, deb(id, &kernel_btf(offset)));
    }

    pub fn offer_package(&self, suite: &str, id: &str, deb: Vec<u8>) {
        let release = id.rsplit('/').next().unwrap();
        let package = SourcePackage {
            name: format!("linux-image-{release}"),
            version: "1".into(),
            arch: "all".into(),
            file: format!("linux-image-{release}_1_all.deb"),
            sha256: Digest::of(&deb).to_string(),
            size: deb.len() as u64,
        };
        self.source.packages.lock().unwrap().insert(package.file.clone(), deb);
        let kernel = SourceKernel {
            id: id.into(),
            packages: vec![package],
            with: BTreeMap::from([("suite".to_owned(), suite.to_owned())]),
        };
        self.source.named.lock().unwrap().entry(suite.to_owned()).or_default().push(kernel);
    }

    /// The source no longer names a kernel, and can't bring it.
    pub fn withdraw(&self, id: &str) {
        for kernels in self.source.named.lock().unwrap().values_mut() {
            for gone in kernels.extract_if(.., |kernel| kernel.id == id) {
                self.source.packages.lock().unwrap().remove(&gone.packages[0].file);
            }
        }
    }

    pub fn run(&self) -> Result<Finished, Error> {
        self.run_compiling(&|_: &Path, _: Arch| Err("no compiler here".to_owned()))
    }

    pub fn run_compiling(
        &self,
        compiler: &dyn pipeline::project::compiling::Compiler,
    ) -> Result<Finished, Error> {
        let events = Events::new(&self.heard);
        run(&self.options, Tools { sources: &self.source, compiler, events })
    }

    /// The plan, as `btfpipe plan` makes it.
    pub fn plan(&self) -> Plan {
        let project = Project::load(&self.options).unwrap();
        let store = Store::peek(self.options.store.as_ref().unwrap());
        let compiler = |_: &Path, _: Arch| Err("a plan compiles nothing".to_owned());
        let kernels = project.selected(project.locked_kernels()).unwrap();
        plan(&project, &kernels, store.as_ref(), &compiler)
    }

    /// What the plan says of actions of a step: whether they run, and why.
    pub fn planned(&self, step: &str) -> Vec<(Runs, String)> {
        let actions = self.plan().actions.into_iter().filter(|action| action.phase.name() == step);
        actions.map(|action| (action.runs, action.reason)).collect()
    }

    /// Questions since the last call.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.source.asked.lock().unwrap());
        asked.sort();
        asked
    }

    /// Whether a note contains this.
    pub fn heard(&self, text: &str) -> bool {
        self.heard.0.lock().unwrap().iter().any(|note| note.contains(text))
    }

    pub fn forget_store(&self) {
        std::fs::remove_dir_all(self.root.join("store")).unwrap();
    }
}

impl Sources for Source {
    fn validate(&self, _: &str, _: &Value) -> Result<Vec<plugin::Problem>, SourceError> {
        Ok(Vec::new())
    }

    fn resolve(
        &self,
        _: &str,
        with: &Value,
        _: &Path,
        _: &Task<'_>,
    ) -> Result<Vec<SourceKernel>, SourceError> {
        self.asked.lock().unwrap().push(format!("resolve {with}"));
        let named = self.named.lock().unwrap();
        let suites: BTreeSet<&str> =
            with["suites"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
        Ok(suites.into_iter().flat_map(|suite| named.get(suite).cloned().unwrap_or_default()).collect())
    }

    fn fetch(
        &self,
        _: &str,
        kernel: &SourceKernel,
        folder: &Path,
        _: &Task<'_>,
    ) -> Result<Vec<PathBuf>, SourceError> {
        self.asked.lock().unwrap().push(format!("fetch {}", kernel.id));
        let file = &kernel.packages[0].file;
        let mut troubles = self.troubles.lock().unwrap();
        if *troubles > 0 {
            *troubles -= 1;
            let message = "the mirror is busy".to_owned();
            return Err(SourceError { class: Class::Transient, message, help: None, at: None });
        }
        let path = folder.join(file);
        match self.packages.lock().unwrap().get(file) {
            Some(deb) => std::fs::write(&path, deb).unwrap(),
            None => {
                let message = format!("the mirror has no {file}");
                return Err(SourceError { class: Class::Gone, message, help: None, at: None });
            }
        }
        Ok(vec![path])
    }
}

pub fn pipeline(suites: &[&str]) -> String {
    format!(
        "version: 1\nname: test\nkernels:\n  - uses: fake\n    with: {{ suites: [{}] }}\nprograms:\n  - \
         pipelines/programs/*.bpf.*\nsteps:\n  - uses: record\n  - uses: minimize\n  - uses: package\n    with: {{ \
         level: 3 }}\n",
        suites.join(", ")
    )
}

/// A kernel's BTF with more than a program needs.
pub fn kernel_btf(offset: u32) -> Vec<u8> {
    let mut builder = Builder::new(ByteOrder::Little);
    let int = builder.int("int", 4, IntEncoding::SIGNED).unwrap();
    builder.composite(Kind::Struct, "task", offset + 4).unwrap();
    builder.member("flags", int, 0, None).unwrap();
    builder.member("pid", int, offset * 8, None).unwrap();
    builder.composite(Kind::Struct, "unused", 4).unwrap();
    builder.member("nobody", int, 0, None).unwrap();
    builder.finish().unwrap()
}

/// A package whose kernel is an ELF file with this BTF.
pub fn deb(id: &str, btf: &[u8]) -> Vec<u8> {
    let arch = match id.split('/').nth(2).unwrap().parse().unwrap() {
        Arch::X86_64 => Architecture::X86_64,
        Arch::Arm64 => Architecture::Aarch64,
    };
    let mut file = Object::new(BinaryFormat::Elf, arch, Endianness::Little);
    let section = file.add_section(Vec::new(), b".BTF".to_vec(), SectionKind::Other);
    file.set_section_data(section, btf.to_vec(), 4);
    let vmlinux = file.write().unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(vmlinux.len() as u64);
    header.set_mode(0o644);
    let path = format!("./boot/vmlinuz-{}", id.rsplit('/').next().unwrap());
    tar.append_data(&mut header, path, vmlinux.as_slice()).unwrap();
    ar(&[("debian-binary", b"2.0\n"), ("data.tar", &tar.into_inner().unwrap())])
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        out.extend(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, bytes.len()).as_bytes(),
        );
        out.extend(*bytes);
        if bytes.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

/// An object with one program that reads these members of `struct task`.
pub fn program(members: &[&str]) -> Vec<u8> {
    let builder = RefCell::new(Builder::new(ByteOrder::Little));
    let string = |text: &str| builder.borrow_mut().string(text.as_bytes()).unwrap().0;
    let int = builder.borrow_mut().int("int", 4, IntEncoding::SIGNED).unwrap();
    let task = builder.borrow_mut().composite(Kind::Struct, "task", 4 * members.len() as u32).unwrap();
    for (index, name) in members.iter().enumerate() {
        builder.borrow_mut().member(name, int, 32 * index as u32, None).unwrap();
    }
    let mut part = vec![16, string("kprobe/x"), members.len() as u32];
    let mut code = Vec::new();
    for index in 0..members.len() as u32 {
        // byte_off; r1 = the local offset
        part.extend([code.len() as u32, task.0, string(&format!("0:{index}")), 0]);
        code.extend([0xb7, 1, 0, 0]);
        code.extend((4 * index).to_le_bytes());
    }
    let btf = builder.into_inner().finish().unwrap();
    let mut ext = vec![0x9f, 0xeb, 1, 0];
    for word in [32, 0, 0, 0, 0, 0, 4 * part.len() as u32].iter().chain(&part) {
        ext.extend(word.to_le_bytes());
    }
    let mut file = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    for (name, data) in [(".BTF", btf), (".BTF.ext", ext)] {
        let section = file.add_section(Vec::new(), name.into(), SectionKind::Other);
        file.set_section_data(section, data, 4);
    }
    let section = file.add_section(Vec::new(), b"kprobe/x".to_vec(), SectionKind::Text);
    file.set_section_data(section, code.clone(), 8);
    file.add_symbol(Symbol {
        name: b"prog".to_vec(),
        value: 0,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    file.write().unwrap()
}
