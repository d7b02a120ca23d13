//! `btfpipe minimize`: many BTFs, or archives of them, for the same programs: opened once, one kernel a thread.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use relo_core::{
    BpfObject, MinimizeOptions, Mode, Target, Wanted, minimize_each, minimize_target, relocate_all,
};

use crate::commands::tools::{Kernel, Objects, ToolError, Voice, corpus, put_file};
use crate::kernel::records::LocalHalves;
use crate::outcome::Code;

/// What to minimize.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Files with BTF, and folders of them.
    pub inputs: Vec<PathBuf>,
    /// Where the results go, under the names of the inputs.
    pub out: PathBuf,
    /// The programs.
    pub programs: Vec<PathBuf>,
    /// A BTF for each object instead of one for all: `NAME/OBJECT.btf`.
    pub each: bool,
    /// Write `NAME.jsonl` as well: what each relocation resolves to.
    pub records: bool,
    /// Write no BTF, only records.
    pub only_records: bool,
    /// Threads; 0 for as many as there are processors.
    pub jobs: usize,
}

/// A kernel's BTF and the name of its results.
pub(super) struct Named {
    pub path: PathBuf,
    pub name: PathBuf,
}

/// Minimizes all of them. One that can't be read costs the others nothing, and the exit code says so.
pub fn run(options: &Options, voice: &mut Voice<'_>) -> Result<Code, ToolError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.jobs)
        .build()
        .map_err(|error| ToolError::engine("threads", error))?;
    let objects = pool.install(|| Objects::open_in_parallel(&options.programs));
    objects.report(voice)?;
    // The program ends after this: giving all of it back piece by piece would serve nobody.
    let objects = ManuallyDrop::new(objects);
    let kernels = find(&options.inputs)?;
    std::fs::create_dir_all(&options.out).map_err(|error| ToolError::write(&options.out, error))?;
    let (refs, wanted) = (objects.refs(), Wanted::new(&objects.good));
    let halves = match options.records || options.only_records {
        true => LocalHalves::of(&refs),
        false => LocalHalves::default(),
    };
    let work = Work { options, objects: &refs, wanted: &wanted, halves: &halves };
    let (full, small) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let one = |kernel: &Named| {
        let sizes = work.one(kernel)?;
        full.fetch_add(sizes.0, Ordering::Relaxed);
        small.fetch_add(sizes.1, Ordering::Relaxed);
        Ok(())
    };
    let ended: Vec<Result<(), ToolError>> =
        pool.install(|| kernels.par_iter().with_max_len(1).map(one).collect());
    let failed: Vec<&ToolError> = ended.iter().filter_map(|ended| ended.as_ref().err()).collect();
    failed.iter().for_each(|error| voice.note(error));
    voice.note(format_args!(
        "{} kernels, {} objects: {} -> {} bytes in {}{}",
        ended.len() - failed.len(),
        refs.len(),
        full.into_inner(),
        small.into_inner(),
        options.out.display(),
        if failed.is_empty() { String::new() } else { format!("; {} failed", failed.len()) },
    ));
    Ok(if failed.is_empty() && objects.bad.is_empty() { Code::Ok } else { Code::Failed })
}

struct Work<'w> {
    options: &'w Options,
    objects: &'w [&'w BpfObject],
    wanted: &'w Wanted,
    halves: &'w LocalHalves,
}

impl Work<'_> {
    /// One kernel from its file to its results; gives the sizes before and after.
    fn one(&self, kernel: &Named) -> Result<(usize, usize), ToolError> {
        let input = Kernel::read(&kernel.path)?;
        if input.is_split() {
            return Err(ToolError::engine(input.name(), "split BTF: a module's can't be minimized alone"));
        }
        let (btf, candidates) = input.parse(self.wanted)?;
        let target = Target::with_candidates(&btf, candidates, &[], self.wanted)
            .map_err(|error| ToolError::engine(input.name(), error))?;
        let mut small = 0;
        if self.options.each {
            let made = minimize_each(&target, self.objects, MinimizeOptions::default());
            for (object, made) in self.objects.iter().zip(made) {
                let made = made.map_err(|error| ToolError::engine(input.name(), error))?;
                let path = Path::new(&kernel.name).join(object.name()).with_extension("btf");
                small += self.write(&path, &made.bytes)?;
            }
        } else if !self.options.only_records {
            let made = minimize_target(&target, self.objects, MinimizeOptions::default())
                .map_err(|error| ToolError::engine(input.name(), error))?;
            small = self.write(&with_suffix(&kernel.name, "btf"), &made.bytes)?;
        }
        if self.options.records || self.options.only_records {
            let all = relocate_all(self.objects, &target, Mode::default());
            let lines = self.halves.lines(self.objects, &target, &all);
            self.write(&with_suffix(&kernel.name, "jsonl"), &lines)?;
        }
        Ok((input.size(), small))
    }

    fn write(&self, name: &Path, bytes: &[u8]) -> Result<usize, ToolError> {
        let path = self.options.out.join(name);
        let write = || match put_file(&path, bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::create_dir_all(path.parent().unwrap_or(&self.options.out))?;
                put_file(&path, bytes)
            }
            written => written,
        };
        write().map_err(|error| ToolError::write(&path, error))?;
        Ok(bytes.len())
    }
}

/// The files of all inputs, sorted, and what their results are called: the path below the folder that was named.
pub(super) fn find(inputs: &[PathBuf]) -> Result<Vec<Named>, ToolError> {
    let mut kernels = Vec::new();
    for input in inputs {
        if let Some(pattern) = corpus::pattern(input) {
            kernels.extend(
                corpus::names(pattern)?
                    .into_iter()
                    .map(|name| Named { path: format!("store:{name}").into(), name: name.into() }),
            );
        } else if input.is_dir() {
            walk(input, Path::new(""), &mut kernels)
                .map_err(|error| ToolError::Read { path: input.clone(), error })?;
        } else {
            let name = PathBuf::from(stem(&input.file_name().unwrap_or_default().to_string_lossy()));
            kernels.push(Named { path: input.clone(), name });
        }
    }
    kernels.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.path.cmp(&b.path)));
    if let Some(pair) = kernels.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let (a, b) = (pair[0].path.display(), pair[1].path.display());
        return Err(ToolError::Usage(format!("{a} and {b} would have results of the same name")));
    }
    match kernels.is_empty() {
        true => Err(ToolError::Usage("no file with BTF: the folders are empty".to_owned())),
        false => Ok(kernels),
    }
}

fn walk(root: &Path, under: &Path, kernels: &mut Vec<Named>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(root.join(under))? {
        let entry = entry?;
        let name = under.join(entry.file_name());
        let kind = entry.file_type()?;
        // A link to a folder could lead back here.
        if kind.is_dir() {
            walk(root, &name, kernels)?;
        } else if entry.path().is_file() {
            let file = stem(&entry.file_name().to_string_lossy());
            kernels.push(Named { path: entry.path(), name: under.join(file) });
        }
    }
    Ok(())
}

/// The name without what says how it is packed: a release has dots of its own.
fn stem(file: &str) -> String {
    let mut stem = file;
    for suffix in [".xz", ".zst", ".gz", ".tgz", ".txz", ".tar", ".btf"] {
        stem = stem.strip_suffix(suffix).unwrap_or(stem);
    }
    stem.to_owned()
}

fn with_suffix(name: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}.{suffix}", name.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_results() {
        let check = |file: &str, name: &str| assert_eq!(stem(file), name);
        check("5.4.0-91-generic.btf.tar.xz", "5.4.0-91-generic");
        check("vmlinux", "vmlinux");
        check("6.1.0.btf.zst", "6.1.0");
        check("vmlinuz-6.1.0-50-cloud-amd64", "vmlinuz-6.1.0-50-cloud-amd64");
    }

    #[test]
    fn folders_are_walked_and_names_must_differ() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/1.btf", "b/1.btf.xz", "2.btf"] {
            std::fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        let found = find(&[folder.path().to_owned()]).unwrap();
        let names: Vec<String> = found.iter().map(|kernel| kernel.name.display().to_string()).collect();
        assert_eq!(names, ["2", "a/1", "b/1"]);
        let twice = [folder.path().join("a/1.btf"), folder.path().join("b/1.btf.xz")];
        assert!(find(&twice).is_err_and(|error| error.to_string().contains("same name")));
    }
}
