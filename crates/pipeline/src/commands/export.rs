//! `btfpipe extract`: the BTFs and boot images of a pipeline's kernels as plain files, for other tools.

use std::path::{Path, PathBuf};

use kernels::{KernelId, Store};

use crate::kernel::content::Content;
use crate::kernel::works::{Goal, Tools, Works};
use crate::outcome::{Code, Error, Failure};
use crate::project::{Options, Project};
use crate::run::relock;

/// What `btfpipe extract` did.
#[derive(Debug)]
pub struct Exported {
    /// The files that were written.
    pub files: Vec<PathBuf>,
    /// Kernels without files, and why.
    pub failures: Vec<(KernelId, Failure)>,
}

impl Exported {
    /// The exit code.
    pub fn code(&self) -> Code {
        self.failures.iter().map(|(_, failure)| failure.code).max().unwrap_or(Code::Ok)
    }
}

/// Writes `btf/NAME.btf`, `kernels/NAME` and `configs/NAME` for every kernel, NAME being its id with `_` for `/`.
pub fn export(options: &Options, folder: &Path, tools: Tools<'_>) -> Result<Exported, Error> {
    let project = Project::load(options)?;
    let store = options.open_store()?;
    let work = store.root().join("tmp");
    let kernels = project.resolve_missing(options, tools.sources, &work, tools.events)?;
    let known = kernels.chosen.len();
    let kernels = project.selected(kernels)?;
    tools.events.plan(kernels.chosen.len() as u64 * 2);
    let done = Works::new(&project, options, tools, &store, &work, &kernels).all(kernels, Goal::Content);
    relock::keep(&project, options, &done, known, tools.events)?;
    let mut exported = Exported { files: Vec::new(), failures: Vec::new() };
    for worked in done {
        let id = worked.chosen.id;
        let content =
            worked.result.and_then(|ready| ready.content.ok_or_else(|| Failure::new("not extracted")));
        match content.and_then(|content| write(&store, &content, &id, folder)) {
            Ok(files) => exported.files.extend(files),
            Err(failure) => exported.failures.push((id, failure)),
        }
    }
    Ok(exported)
}

fn write(store: &Store, content: &Content, id: &KernelId, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let name = id.to_string().replace('/', "_");
    let blobs = [
        (Some(content.btf), format!("btf/{name}.btf")),
        (content.boot, format!("kernels/{name}")),
        (content.config, format!("configs/{name}")),
    ];
    let mut files = Vec::new();
    for (blob, file) in blobs {
        let Some(blob) = blob else { continue };
        let bytes =
            store.get(&blob.sha256)?.ok_or_else(|| Failure::new("the store lost a part of it; run again"))?;
        let path = folder.join(file);
        put(&path, &bytes).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        files.push(path);
    }
    Ok(files)
}

/// Whole or not at all.
fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut temp = tempfile::NamedTempFile::new_in(folder)?;
    temp.write_all(bytes)?;
    temp.persist(path)?;
    Ok(())
}
