//! What is measured with: kernels out of packages, kernels that never were, and the objects inside of libbpf-tools.

use std::fs;
use std::path::{Path, PathBuf};

use xshell::{Shell, cmd};

use crate::{Error, packages, run};

const PIPELINE: &str = "pipelines/bench.yaml";
/// Kernels that are made.
pub const MADE: usize = 1000;
/// Of these so many stay as files, for bpftool and as archives.
pub const FILES: usize = 40;
const SEED: &str = "1";
/// One kernel so many times over, for how cost grows with the size of a BTF.
pub const COPIES: [usize; 5] = [1, 2, 3, 4, 6];

/// Programs and inputs, all under one folder, which the store is in as well.
pub struct Inputs<'b> {
    pub shell: &'b Shell,
    pub program: PathBuf,
    pub bpftool: PathBuf,
    pub folder: PathBuf,
    /// Raw BTFs of real kernels.
    pub kernels: Vec<PathBuf>,
    pub objects: Vec<PathBuf>,
    /// Names of the made kernels in the store.
    pub stored: Vec<String>,
    /// Raw BTFs of some of them.
    pub made: Vec<PathBuf>,
    /// The same as `.btf.tar.xz`.
    pub archives: Vec<PathBuf>,
    /// Raw BTFs of growing size.
    pub sizes: Vec<PathBuf>,
}

impl<'b> Inputs<'b> {
    /// Fetches, extracts and makes what is missing; `more` are files with raw BTF, or folders of them.
    pub fn prepare(shell: &'b Shell, more: &[String]) -> Result<Inputs<'b>, Error> {
        packages::install(shell, &[packages::RUN, packages::TEST])?;
        let program = run::build(shell)?;
        let folder = shell.current_dir().join("target/bench");
        fs::create_dir_all(&folder)?;
        shell.set_var("BTFPIPE_STORE", folder.join("store"));
        let (extracted, lock) = (folder.join("kernels"), folder.join("kernels.lock"));
        eprintln!("kernels of {PIPELINE}");
        cmd!(shell, "{program} extract {PIPELINE} {extracted} --lock {lock}").ignore_stdout().run()?;
        let mut kernels = files(&extracted.join("btf"))?;
        for argument in more {
            let path = PathBuf::from(argument);
            kernels.extend(if path.is_dir() { files(&path)? } else { vec![path] });
        }
        let bpftool = packages::find_command("bpftool").ok_or("bpftool is not installed")?;
        let objects = embedded(shell, &folder.join("objects"))?;
        let mut inputs = Inputs {
            shell,
            program,
            bpftool,
            folder,
            kernels,
            objects,
            stored: Vec::new(),
            made: Vec::new(),
            archives: Vec::new(),
            sizes: Vec::new(),
        };
        inputs.make()?;
        Ok(inputs)
    }

    /// The real kernel whose BTF is of middle size, and the one with the largest.
    pub fn middle_and_largest(&self) -> (&Path, &Path) {
        let mut by_size: Vec<&PathBuf> = self.kernels.iter().collect();
        by_size.sort_by_key(|path| size(path));
        (by_size[by_size.len() / 2], by_size[by_size.len() - 1])
    }

    fn make(&mut self) -> Result<(), Error> {
        let (shell, program) = (self.shell, &self.program);
        let made = self.folder.join("made");
        // Beside the files, and read like them: the store's pages are in memory when measuring begins.
        let listed =
            cmd!(shell, "{program} corpus ls made-*").quiet().ignore_status().ignore_stderr().read()?;
        if listed.lines().count() < MADE {
            eprintln!("making {MADE} kernels");
            vary(shell, MADE, 1, &made, &self.kernels)?;
            let named = self.folder.join("made-kernels");
            fs::create_dir_all(&named)?;
            for file in files(&made)? {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                fs::rename(&file, named.join(format!("made-{name}")))?;
            }
            cmd!(shell, "{program} corpus add {named}").ignore_stdout().run()?;
            for file in files(&named)?.split_off(FILES) {
                fs::remove_file(file)?;
            }
        }
        let named = self.folder.join("made-kernels");
        self.made = files(&named)?;
        self.stored =
            self.made_names(&cmd!(shell, "{program} corpus ls made-*").quiet().ignore_stderr().read()?);
        self.archives = self.pack_archives()?;
        let (_, largest) = self.middle_and_largest();
        let largest = largest.to_owned();
        // Those that are real may be in the store too: the one of middle size is measured with its index.
        let real = self.folder.join("kernels/btf");
        cmd!(shell, "{program} corpus add {real}").quiet().ignore_stdout().ignore_stderr().run()?;
        for copies in COPIES {
            let folder = self.folder.join(format!("copies-{copies}"));
            vary(shell, 1, copies, &folder, std::slice::from_ref(&largest))?;
            self.sizes.extend(files(&folder)?);
        }
        Ok(())
    }

    fn made_names(&self, listed: &str) -> Vec<String> {
        let name = |line: &str| Some(line.split_once("  ")?.1.split_once(": ")?.0.to_owned());
        listed.lines().filter_map(name).collect()
    }

    /// As BTFHub serves them.
    fn pack_archives(&self) -> Result<Vec<PathBuf>, Error> {
        let folder = self.folder.join("archives");
        fs::create_dir_all(&folder)?;
        let mut archives = Vec::new();
        for file in &self.made {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let archive = folder.join(format!("{name}.tar.xz"));
            if !archive.exists() {
                let from = file.parent().unwrap_or(Path::new("."));
                let half = folder.join("half");
                cmd!(self.shell, "tar -C {from} -cJf {half} {name}").quiet().run()?;
                fs::rename(half, &archive)?;
            }
            archives.push(archive);
        }
        Ok(archives)
    }
}

fn vary(shell: &Shell, count: usize, copies: usize, folder: &Path, from: &[PathBuf]) -> Result<(), Error> {
    let (count, copies) = (count.to_string(), copies.to_string());
    cmd!(
        shell,
        "cargo run --quiet --release --locked --package relo-core --example vary -- {SEED} {count} {copies} {folder} {from...}"
    )
    .quiet()
    .run()?;
    Ok(())
}

/// Size of a file in bytes.
pub fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The files of a folder, sorted.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

/// The objects inside of Debian's libbpf-tools, cut out by the example of the engine.
pub fn embedded(shell: &Shell, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    fs::create_dir_all(folder)?;
    let listed = cmd!(shell, "dpkg -L libbpf-tools").quiet().read()?;
    let programs = listed.lines().map(Path::new).filter(|path| {
        path.parent().is_some_and(|parent| parent.ends_with("sbin")) && path.is_file() && !path.is_symlink()
    });
    let programs: Vec<&Path> = programs.collect();
    cmd!(shell, "cargo run --quiet --release --locked --package relo-core --example embedded -- {folder} {programs...}")
        .quiet()
        .run()?;
    files(folder)
}
