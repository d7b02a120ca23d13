//! `btfpipe vm`: a locked kernel for a person, with a command or a shell in it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kernels::{KernelId, Store};
use vmtest::session::{self, SessionFile};
use vmtest::{VmEvent, VmSpec};

use crate::events::Listener;
use crate::file::glob;
use crate::kernel::content::Content;
use crate::kernel::works::{Goal, Tools, Works};
use crate::outcome::{Code, Error, Failure};
use crate::project::{Kernels, Options, Project};
use crate::verify::verifying;

/// Where a static shell is, if the machine has one.
const SHELLS: [&str; 3] = ["/bin/busybox", "/usr/bin/busybox", "/usr/lib/busybox/busybox"];

/// Which kernel, and what is done with it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// A kernel id, or a pattern that only one has.
    pub kernel: String,
    /// Files for the machine: `HOST` (it gets the same name in `/`) or `HOST:/PATH`.
    pub files: Vec<String>,
    /// Program and arguments; a shell when empty.
    pub command: Vec<String>,
}

/// Why there was no session.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The pipeline.
    #[error(transparent)]
    Pipeline(#[from] Error),
    /// No kernel, or several.
    #[error("{pattern:?} stands for {}; these are locked:\n{}", count(found), list(known))]
    Kernel {
        /// What was asked for.
        pattern: String,
        /// What it stands for.
        found: Vec<KernelId>,
        /// What there is.
        known: Vec<KernelId>,
    },
    /// The kernel's files.
    #[error("{0}")]
    Content(Failure),
    /// A file for the machine.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// There is nothing to run.
    #[error("no static shell is here: install busybox-static, or name a static program after \"--\"")]
    NoShell,
    /// The machine.
    #[error(transparent)]
    Session(#[from] session::SessionError),
    /// Nothing is left of an earlier run.
    #[error("{0} is not there: the kernel was not booted by a run with this output folder")]
    NoEvidence(PathBuf),
}

impl VmError {
    /// The exit code.
    pub fn code(&self) -> Code {
        match self {
            VmError::Pipeline(error) => error.code(),
            VmError::Kernel { .. } | VmError::File { .. } | VmError::NoEvidence(_) => Code::Usage,
            VmError::Content(failure) => failure.code,
            VmError::NoShell | VmError::Session(_) => Code::Environment,
        }
    }
}

/// Boots a kernel, runs the command in it, and gives its exit code; each line that it writes goes to `out`.
pub fn run(
    options: &Options,
    wanted: &Wanted,
    listener: &dyn Listener,
    out: &mut dyn FnMut(&str),
) -> Result<i32, VmError> {
    with_machine(options, wanted, listener, |spec, files, command| {
        let mut events = |event| {
            if let VmEvent::Output { line } = event {
                out(&line);
            }
        };
        Ok(session::run(spec, files, command, &mut events)?)
    })
}

/// Boots a kernel with a shell, or the command, on this terminal.
pub fn shell(options: &Options, wanted: &Wanted, listener: &dyn Listener) -> Result<(), VmError> {
    with_machine(options, wanted, listener, |spec, files, command| Ok(session::attach(spec, files, command)?))
}

/// The evidence of a kernel's last boots: each file with its content.
pub fn log(options: &Options, pattern: &str) -> Result<Vec<(PathBuf, String)>, VmError> {
    let project = Project::load(options)?;
    let id = find(pattern, project.locked_kernels().chosen.into_keys().collect())?;
    let folder = verifying::evidence_of(&project.dist.join("evidence"), &id);
    let mut boots = entries(&folder).map_err(|_| VmError::NoEvidence(folder.clone()))?;
    boots.retain(|path| path.is_dir());
    let mut files = Vec::new();
    for boot in boots {
        for path in entries(&boot).map_err(|error| VmError::File { path: boot.clone(), error })? {
            let bytes = std::fs::read(&path).map_err(|error| VmError::File { path: path.clone(), error })?;
            files.push((path, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(files)
}

fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn with_machine<T>(
    options: &Options,
    wanted: &Wanted,
    listener: &dyn Listener,
    work: impl FnOnce(&VmSpec, &[SessionFile], &[String]) -> Result<T, VmError>,
) -> Result<T, VmError> {
    let mut files = wanted.files.iter().map(|text| file(text)).collect::<Result<Vec<_>, _>>()?;
    let mut command = wanted.command.clone();
    if command.is_empty() {
        let shell = SHELLS.iter().map(Path::new).find(|path| path.is_file()).ok_or(VmError::NoShell)?;
        files.push(file(&format!("{}:/bin/busybox", shell.display()))?);
        command = ["/bin/busybox", "sh"].map(str::to_owned).to_vec();
    }
    let (id, content, store) = obtain(options, &wanted.kernel, listener)?;
    let temp = tempfile::Builder::new().prefix("vm-").tempdir_in(store.root().join("tmp"));
    let folder = temp.map_err(|error| VmError::File { path: store.root().join("tmp"), error })?;
    let mut spec = verifying::machine(&id, &content, &store, folder.path()).map_err(VmError::Content)?;
    spec.memory_mib = 512;
    work(&spec, &files, &command)
}

/// The kernel's parts, fetched where they are not in the store.
fn obtain(
    options: &Options,
    pattern: &str,
    listener: &dyn Listener,
) -> Result<(KernelId, Content, Store), VmError> {
    let store = options.open_store()?;
    let work = |tools: Tools<'_>| {
        let project = Project::load(options)?;
        let mut kernels: Kernels = project.locked_kernels();
        let id = match find(pattern, kernels.chosen.keys().cloned().collect()) {
            Ok(id) => id,
            Err(error) => return Ok(Err(error)),
        };
        kernels.chosen.retain(|known, _| *known == id);
        let folder = store.root().join("tmp");
        let works = Works::new(&project, options, tools, &store, &folder, &kernels);
        let done = works.all(kernels, Goal::Content);
        Ok(Ok((id, done.first().map(|worked| works.content_of(worked)))))
    };
    let (id, found) = crate::commands::with_tools(options, listener, work)??;
    match found {
        Some(Ok(content)) => Ok((id, content, store)),
        Some(Err(failure)) => Err(VmError::Content(failure)),
        None => Err(VmError::Kernel { pattern: pattern.to_owned(), found: Vec::new(), known: vec![id] }),
    }
}

/// The one kernel that is meant.
fn find(pattern: &str, known: Vec<KernelId>) -> Result<KernelId, VmError> {
    let of = |id: &&KernelId| {
        let name = id.to_string();
        name == pattern || glob::matches(pattern, &name) || name.contains(pattern)
    };
    let mut found: Vec<KernelId> = known.iter().filter(of).cloned().collect();
    match (found.pop(), found.is_empty()) {
        (Some(id), true) => Ok(id),
        (last, _) => {
            found.extend(last);
            Err(VmError::Kernel { pattern: pattern.to_owned(), found, known })
        }
    }
}

/// `HOST` or `HOST:/PATH`.
fn file(text: &str) -> Result<SessionFile, VmError> {
    let (host, path) = match text.rsplit_once(":/") {
        Some((host, path)) => (Path::new(host), format!("/{path}")),
        None => {
            let name = Path::new(text).file_name().unwrap_or_default();
            (Path::new(text), format!("/{}", name.to_string_lossy()))
        }
    };
    let read = || {
        let mode = std::fs::metadata(host)?.permissions().mode();
        Ok(SessionFile { path, content: std::fs::read(host)?, program: mode & 0o111 != 0 })
    };
    read().map_err(|error| VmError::File { path: host.to_owned(), error })
}

fn count(found: &[KernelId]) -> String {
    match found.len() {
        0 => "no kernel".to_owned(),
        many => format!("{many} kernels"),
    }
}

fn list(ids: &[KernelId]) -> String {
    ids.iter().map(|id| format!("  {id}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Vec<KernelId> {
        ["debian/12/x86_64/6.1.0-56-cloud-amd64", "debian/13/x86_64/6.12.117+deb13-cloud-amd64"]
            .map(|id| id.parse().unwrap())
            .to_vec()
    }

    #[test]
    fn one_kernel_is_meant() {
        for pattern in ["debian/12/x86_64/6.1.0-56-cloud-amd64", "debian/12/*", "6.1.0"] {
            assert_eq!(find(pattern, ids()).unwrap(), ids()[0], "{pattern}");
        }
        for (pattern, expect) in [("debian", "2 kernels"), ("5.10", "no kernel")] {
            let error = find(pattern, ids()).unwrap_err().to_string();
            assert!(error.contains(expect) && error.contains("debian/13/x86_64"), "{error}");
        }
    }

    #[test]
    fn files_for_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let tool = folder.path().join("tool");
        std::fs::write(&tool, b"x").unwrap();
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
        let text = tool.display().to_string();
        let expect = |path: &str| SessionFile { path: path.into(), content: b"x".to_vec(), program: true };
        assert_eq!(file(&text).unwrap(), expect("/tool"));
        assert_eq!(file(&format!("{text}:/bin/other")).unwrap(), expect("/bin/other"));
        assert!(file("/nowhere/file").unwrap_err().to_string().contains("/nowhere/file"));
    }
}
