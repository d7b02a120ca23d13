//! clang and pahole: programs and kernels of other byte orders and widths.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::case::tool::{find, run};

/// A place for the files of one test.
pub struct Tools {
    clang: PathBuf,
    pahole: PathBuf,
    pub bpftool: PathBuf,
    folder: PathBuf,
}

impl Tools {
    pub fn find(test: &str) -> Option<Tools> {
        let clang = find(&["clang-19", "clang-20", "clang-21", "clang-18", "clang-17", "clang"], test)?;
        let (pahole, bpftool) = (find(&["pahole"], test)?, find(&["bpftool"], test)?);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        fs::create_dir_all(&folder).expect("a folder");
        Some(Tools { clang, pahole, bpftool, folder })
    }

    /// program.c for `bpfel` or `bpfeb`.
    pub fn program(&self, target: &str) -> Vec<u8> {
        self.compile("program.c", target, &["-O2"]).1
    }

    /// The BTF of kernel.c for a machine.
    pub fn kernel(&self, target: &str) -> Vec<u8> {
        let (object, _) = self.compile("kernel.c", target, &["-gdwarf-4"]);
        let btf = object.with_extension("btf");
        let mut pahole = Command::new(&self.pahole);
        pahole.arg("-J").arg(format!("--btf_encode_detached={}", btf.display())).arg(&object);
        run(pahole);
        fs::read(btf).expect("pahole's BTF")
    }

    /// What bpftool reads of a BTF.
    pub fn dump(&self, name: &str, btf: &[u8]) -> String {
        let mut bpftool = Command::new(&self.bpftool);
        bpftool.args(["btf", "dump", "file"]).arg(self.file(name, btf));
        run(bpftool)
    }

    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, content).expect("written");
        path
    }

    fn compile(&self, source: &str, target: &str, more: &[&str]) -> (PathBuf, Vec<u8>) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(source);
        let object = self.folder.join(format!("{target}.o"));
        let mut clang = Command::new(&self.clang);
        clang.args(["-target", target, "-g", "-c"]).args(more).arg(source).arg("-o").arg(&object);
        run(clang);
        let bytes = fs::read(&object).expect("clang's object");
        (object, bytes)
    }
}
