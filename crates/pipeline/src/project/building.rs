//! Programs that plugins make: each source becomes an object by one action, kept as long as nothing that it read changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kernels::{Arch, Digest, KernelId, Store};
use plugin::{BUILD, Input, Provides};

use crate::events::Task;
use crate::file::glob::Glob;
use crate::file::selection::Selection;
use crate::file::{PipelineFile, ProgramBuilder};
use crate::host;
use crate::kernel::content::{self, Content};
use crate::lock::locking::Chosen;
use crate::project::Project;
use crate::project::acting::{Acted, Actor, Asked, Stage, unusable};
use crate::project::compiling::{Compiler, Object};
use crate::yaml::problem::{At, Invalid, Problem};

/// A plugin that makes objects, with all files that it may read.
#[derive(Debug)]
pub struct Builder {
    actor: Actor,
    /// Sorted; the sources among them.
    files: Vec<PathBuf>,
    /// The paths in a pipeline begin here.
    root: PathBuf,
    kernel: Option<Selection>,
}

/// The BTFs of locked kernels, for builders that want one.
pub trait Btfs: Sync {
    /// The digest of the BTF of the one kernel of this architecture that is meant.
    fn digest(&self, kernel: &Selection, arch: Arch) -> Result<Digest, String>;

    /// Where it is.
    fn path(&self, kernel: &Selection, arch: Arch) -> Result<PathBuf, String>;
}

/// What fetches a kernel, and takes its BTF out.
pub(crate) type Fetch<'a> = &'a (dyn Fn(&Chosen) -> Result<Content, String> + Sync);

/// The kernels that a project's lock has.
pub(crate) struct LockedBtfs<'a> {
    pub project: &'a Project,
    pub store: Option<&'a Store>,
    /// None where nothing may be fetched.
    pub btfs: Option<Fetch<'a>>,
}

impl LockedBtfs<'_> {
    /// The one kernel that is meant.
    fn find(&self, kernel: &Selection, arch: Arch) -> Result<Chosen, String> {
        let all = self.project.locked_kernels().chosen;
        let is_meant = |id: &&KernelId| id.arch() == arch && kernel.matches(id);
        let meant: Vec<&KernelId> = all.keys().filter(is_meant).collect();
        match meant.as_slice() {
            [one] => Ok(all[*one].0.clone()),
            [] => Err(format!(
                "`{kernel}` is no kernel for {arch} that the lock has; run \"btfpipe lock\" first"
            )),
            [one, other, ..] => Err(format!(
                "`{kernel}` is more than one kernel for {arch}: {one}, {other}; name one of them"
            )),
        }
    }
}

impl Btfs for LockedBtfs<'_> {
    fn digest(&self, kernel: &Selection, arch: Arch) -> Result<Digest, String> {
        let chosen = self.find(kernel, arch)?;
        match (content::known(self.store, &chosen), self.btfs) {
            (Some(known), _) => Ok(known.btf.sha256),
            (None, Some(fetch)) => Ok(fetch(&chosen)?.btf.sha256),
            (None, None) => Err(format!("the BTF of {} isn't known yet", chosen.id)),
        }
    }

    fn path(&self, kernel: &Selection, arch: Arch) -> Result<PathBuf, String> {
        let chosen = self.find(kernel, arch)?;
        let fetch = self.btfs.ok_or("nothing is fetched now")?;
        let digest = fetch(&chosen)?.btf.sha256;
        let path = self.store.and_then(|store| store.path_of(&digest));
        path.ok_or_else(|| format!("the store lost the BTF of {}; run again", chosen.id))
    }
}

/// A builder at work, as the compiler that it is.
pub struct AtWork<'a> {
    /// Which.
    pub builder: &'a Builder,
    /// Where kernels' BTFs are.
    pub btfs: &'a dyn Btfs,
    /// Where it works, and the task that hears of it; None where nothing is made.
    pub stage: Option<(Stage<'a>, &'a Task<'a>)>,
}

impl Builder {
    /// Finds the plugin and all files of an entry, the sources first; what isn't there is told at its place.
    pub fn find(file: &PipelineFile, entry: &ProgramBuilder) -> Result<(Builder, Vec<PathBuf>), Invalid> {
        let root = file.root();
        let actor = Actor::find(&entry.uses, &root, entry.with.to_json(), &[Provides::Build]);
        let actor =
            actor.map_err(|error| file.invalid(unusable(entry.uses_at, &entry.uses, &root, error, &[])))?;
        let all = |globs: &[(At, String)]| -> Result<BTreeSet<PathBuf>, Problem> {
            let mut paths = BTreeSet::new();
            for (at, glob) in globs {
                paths.extend(matching(*at, glob, &root)?);
            }
            Ok(paths)
        };
        let sources = all(&entry.files).map_err(|problem| file.invalid(problem))?;
        let others = all(&entry.reads).map_err(|problem| file.invalid(problem))?;
        let files = sources.union(&others).cloned().collect();
        let kernel = entry.kernel.as_ref().map(|(_, selection)| selection.clone());
        Ok((Builder { actor, files, root, kernel }, sources.into_iter().collect()))
    }

    /// The plugin and what it is told.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }
}

fn matching(at: At, glob: &str, root: &Path) -> Result<Vec<PathBuf>, Problem> {
    let problem = |reason: String| Problem::new(at, format!("`{glob}`: {reason}"));
    let found = Glob::new(glob).map_err(|reason| problem(reason.to_owned()))?.files(root);
    match found.map_err(|error| problem(error.to_string()))? {
        none if none.is_empty() => {
            Err(problem("no file matches".to_owned()).help(format!("paths begin at {}", root.display())))
        }
        paths => Ok(paths),
    }
}

impl Compiler for AtWork<'_> {
    /// The names of all files are in it: a new header can hide another.
    fn identity(&self, arch: Arch) -> Result<String, String> {
        let Builder { actor, files, root, kernel } = self.builder;
        let mut key = actor.key(BUILD)?;
        for path in files {
            key = key.with("may read", path.strip_prefix(root).unwrap_or(path).display());
        }
        if let Some(kernel) = kernel {
            key = key.with("kernel's BTF", self.btfs.digest(kernel, arch)?);
        }
        Ok(key.text())
    }

    fn is_pure(&self) -> bool {
        self.builder.actor.is_pure()
    }

    fn compile(&self, source: &Path, arch: Arch) -> Result<Object, String> {
        let Builder { actor, kernel, .. } = self.builder;
        let (stage, task) = self.stage.ok_or_else(|| format!("{} is not made now", source.display()))?;
        let mut inputs = self.inputs(source)?;
        if let Some(kernel) = kernel {
            inputs.push(as_input("btf", &self.btfs.path(kernel, arch)?)?);
        }
        let (subject, arch) = (format!("{} for {arch}", source.display()), arch.to_string());
        let asked = Asked { step: BUILD, subject: &subject, arch: Some(&arch), inputs, ..Asked::default() };
        let acted = actor.act(stage, task, &asked).map_err(|error| error.to_string())?;
        let inputs = asked.inputs;
        let [object] = acted.result.outputs.as_slice() else {
            let count = acted.result.outputs.len();
            return Err(format!(
                "the plugin {} made {count} outputs, and one object is wanted",
                actor.name()
            ));
        };
        let bytes = object.read().map_err(|error| error.to_string())?;
        let deps = deps(source, &inputs, &acted);
        Ok(Object { bytes, deps, warnings: String::new() })
    }
}

impl AtWork<'_> {
    /// The source, and all other files.
    fn inputs(&self, source: &Path) -> Result<Vec<Input>, String> {
        let others = self.builder.files.iter().filter(|path| path.as_path() != source);
        let named = others.map(|path| ("file", path.as_path()));
        std::iter::once(("source", source)).chain(named).map(|(name, path)| as_input(name, path)).collect()
    }
}

fn as_input(name: &str, path: &Path) -> Result<Input, String> {
    host::input(name, path).map_err(|error| error.to_string())
}

/// What the object depends on: what the plugin says, without what it made itself, or else all that it could read. The
/// kernel's BTF is in the key.
fn deps(source: &Path, inputs: &[Input], acted: &Acted) -> Vec<PathBuf> {
    let mut deps: BTreeSet<PathBuf> = match &acted.result.reads {
        Some(reads) => reads.iter().filter(|path| !acted.is_own(path)).cloned().collect(),
        None => inputs.iter().filter(|input| input.name != "btf").map(|input| input.path.clone()).collect(),
    };
    for input in inputs.iter().filter(|input| ["source", "btf"].contains(&input.name.as_str())) {
        deps.remove(&input.path);
    }
    // As the store finds it again: below its own folder.
    deps.insert(source.to_owned());
    deps.into_iter().collect()
}
