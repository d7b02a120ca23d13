//! The installed bpftool on the same input.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use btf::ByteOrder;

use crate::case::tool::{find, run};

/// How bpftool ended.
#[derive(Debug)]
pub enum Ended {
    /// With status 0, and this BTF.
    Wrote(Vec<u8>),
    /// With another status or a signal, and these words.
    Failed(String),
}

/// bpftool and a folder for its files.
pub struct Bpftool {
    program: PathBuf,
    folder: PathBuf,
}

impl Bpftool {
    /// None, said aloud, where it is not installed, or where the host's byte order is not that of the cases.
    pub fn find(test: &str) -> Option<Bpftool> {
        let program = find(&["bpftool"], test)?;
        if ByteOrder::NATIVE != ByteOrder::Little {
            println!("{test}: bpftool is not asked, since it writes the host's byte order");
            return None;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("defects").join(test);
        fs::create_dir_all(&folder).expect("a folder");
        Some(Bpftool { program, folder })
    }

    /// Major and minor version, such as 7 and 1.
    pub fn version(&self) -> (u32, u32) {
        let mut command = Command::new(&self.program);
        command.arg("version");
        let text = run(command);
        let numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
        let [major, minor] = numbers.take(2).collect::<Vec<u32>>()[..] else { panic!("no version: {text}") };
        (major, minor)
    }

    /// `bpftool gen min_core_btf` of a kernel and some objects; on a module's split BTF with `--base-btf`.
    pub fn min_core_btf(&self, base: Option<&[u8]>, kernel: &[u8], objects: &[Vec<u8>]) -> Ended {
        let output = self.folder.join("min.btf");
        let _ = fs::remove_file(&output);
        // Two seconds of the processor are enough for anything but an endless loop, and a crash needs no core file.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -t 2; ulimit -c 0; exec \"$0\" \"$@\""]).arg(&self.program);
        if let Some(base) = base {
            command.arg("--base-btf").arg(self.file("base.btf", base));
        }
        command.args(["gen", "min_core_btf"]).arg(self.file("kernel.btf", kernel)).arg(&output);
        for (index, object) in objects.iter().enumerate() {
            command.arg(self.file(&format!("{index}.bpf.o"), object));
        }
        let ended = command.output().expect("a shell");
        match ended.status.success() {
            true => Ended::Wrote(fs::read(output).expect("what bpftool wrote")),
            false => Ended::Failed(words(&ended)),
        }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, content).expect("written");
        path
    }
}

fn words(ended: &Output) -> String {
    let said = String::from_utf8_lossy(&ended.stderr);
    match ended.status.signal() {
        Some(signal) => format!("signal {signal}: {said}"),
        None => format!("status {}: {said}", ended.status.code().unwrap_or_default()),
    }
}
