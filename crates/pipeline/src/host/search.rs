//! Where a plugin is, and its program.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use ::cage::Level;
use plugin::{Cache, Capabilities, Manifest, PROTOCOL, RunCommand};

use super::confinement::{BOUNDS, Bounds, CONFIG};
use super::{Found, LIMITS, Plugin, PluginError, TIMEOUT};

/// Where to look.
pub(super) struct Search {
    /// `plugins/` of the repository, the folders of `$BTFPIPE_PLUGIN_PATH`, and where an installed btfpipe has its own.
    pub folders: Vec<PathBuf>,
    /// Where the running program is.
    pub beside: Option<PathBuf>,
    /// The folders of `PATH`.
    pub path: Vec<PathBuf>,
}

const MANIFEST: &str = "plugin.yaml";
/// What the name of a program begins with that is a plugin without plugin.yaml.
const PROGRAM: &str = "btfpipe-plugin-";
const LARGEST_MANIFEST: u64 = 1 << 20;

impl Search {
    pub fn of_this_process(repo_root: &Path) -> Search {
        let split =
            |name| env::var_os(name).map(|value| env::split_paths(&value).collect()).unwrap_or_default();
        let is_set = |path: &PathBuf| !path.as_os_str().is_empty();
        let mut folders = vec![repo_root.join("plugins")];
        folders.extend(Vec::<PathBuf>::into_iter(split("BTFPIPE_PLUGIN_PATH")).filter(is_set));
        let beside = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
        folders.extend(beside.as_ref().and_then(|bin| Some(bin.parent()?.join("share/btfpipe/plugins"))));
        Search { folders, beside, path: Vec::<PathBuf>::into_iter(split("PATH")).filter(is_set).collect() }
    }

    pub fn find(&self, name: &str) -> Result<Plugin, PluginError> {
        if !is_name(name) {
            return Err(PluginError::Name(name.to_owned()));
        }
        let mut looked = Vec::new();
        for folder in &self.folders {
            let folder = folder.join(name);
            let path = folder.join(MANIFEST);
            match read(&path) {
                Ok(bytes) => return self.load(name, &folder, &path, bytes),
                Err(error) if is_absent(&error) => looked.push(path.display().to_string()),
                Err(error) => {
                    return Err(PluginError::Manifest { path, problem: error.to_string() });
                }
            }
        }
        let program = format!("{PROGRAM}{name}");
        match self.beside.iter().chain(&self.path).find_map(|folder| find_executable(&folder.join(&program)))
        {
            Some(program) => Ok(bare(name, program)),
            None => {
                looked.push(format!("{program} beside btfpipe or on PATH"));
                Err(PluginError::NotFound { name: name.to_owned(), looked })
            }
        }
    }

    pub fn open(&self, folder: &Path) -> Result<Plugin, PluginError> {
        let path = folder.join(MANIFEST);
        let wrong = |problem: String| PluginError::Manifest { path: path.clone(), problem };
        let whole = folder.canonicalize().map_err(|error| wrong(error.to_string()))?;
        let name = whole.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !is_name(name) {
            return Err(PluginError::Name(name.to_owned()));
        }
        let bytes = read(&path).map_err(|error| wrong(error.to_string()))?;
        self.load(name, &whole, &path, bytes)
    }

    /// Each name once, as [`Search::find`] finds it.
    pub fn all(&self) -> Vec<Found> {
        let mut places = BTreeMap::new();
        for folder in &self.folders {
            for name in names(folder).filter(|name| folder.join(name).join(MANIFEST).is_file()) {
                let place = folder.join(&name).join(MANIFEST);
                places.entry(name).or_insert(place);
            }
        }
        for folder in self.beside.iter().chain(&self.path) {
            for program in names(folder) {
                let name = program.strip_prefix(PROGRAM).filter(|name| is_name(name));
                if let (Some(name), Some(place)) = (name, find_executable(&folder.join(&program))) {
                    places.entry(name.to_owned()).or_insert(place);
                }
            }
        }
        places.into_iter().map(|(name, place)| Found { plugin: self.find(&name), name, place }).collect()
    }

    fn load(&self, name: &str, folder: &Path, path: &Path, bytes: Vec<u8>) -> Result<Plugin, PluginError> {
        let wrong = |problem: String| PluginError::Manifest { path: path.to_owned(), problem };
        let manifest = parse(&bytes).map_err(wrong)?;
        check(&manifest, name).map_err(wrong)?;
        let timeout = manifest
            .parse_timeout()
            .map_err(|text| wrong(format!("timeout: \"{text}\" is no time such as 90s, 5m or 1h")))?;
        let bounds = bounds(&manifest).map_err(wrong)?;
        let platform = format!("{}-{}", env::consts::OS, env::consts::ARCH);
        let command = manifest
            .run
            .find_for(&platform)
            .ok_or_else(|| wrong(format!("run: no command for {platform}")))?;
        let Some((program, arguments)) = command.split_first().filter(|(program, _)| !program.is_empty())
        else {
            return Err(wrong("run: the command is empty; write [PROGRAM, ARGUMENT…]".to_owned()));
        };
        let folder = std::path::absolute(folder).map_err(|error| wrong(error.to_string()))?;
        Ok(Plugin {
            program: self.find_program(name, program, &folder)?,
            arguments: arguments.iter().map(|argument| resolve_argument(argument, &folder)).collect(),
            timeout: timeout.unwrap_or(TIMEOUT),
            limits: LIMITS,
            bounds,
            level: Level::of_this_machine(),
            manifest_bytes: bytes,
            folder: Some(folder),
            manifest,
        })
    }

    /// A word is looked up in the plugin's folder, beside the running program, then on `PATH`; a path is relative to
    /// the plugin's folder.
    fn find_program(&self, plugin: &str, program: &str, folder: &Path) -> Result<PathBuf, PluginError> {
        let own = [folder.to_owned()];
        let is_path = program.contains('/');
        let near: Vec<&PathBuf> = own.iter().chain(self.beside.as_ref().filter(|_| !is_path)).collect();
        let path = self.path.iter().filter(|_| !is_path);
        near.iter().copied().chain(path).find_map(|folder| find_executable(&folder.join(program))).ok_or_else(
            || PluginError::Program {
                plugin: plugin.to_owned(),
                program: program.to_owned(),
                looked: near.into_iter().cloned().collect(),
            },
        )
    }
}

/// The current folder of a plugin is its work folder, so that files of its own need their whole path.
fn resolve_argument(argument: &str, folder: &Path) -> String {
    let path = folder.join(argument);
    let is_file = is_inside(argument) && path.is_file();
    path.to_str().filter(|_| is_file).unwrap_or(argument).to_owned()
}

/// Whether a relative path stays where it is.
pub(super) fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// The names in a folder that are text.
fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

fn find_executable(path: &Path) -> Option<PathBuf> {
    let metadata = fs::metadata(path).ok()?;
    let executable = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    executable.then(|| std::path::absolute(path).ok()).flatten()
}

/// A program without plugin.yaml.
fn bare(name: &str, program: PathBuf) -> Plugin {
    Plugin {
        manifest: Manifest {
            api: PROTOCOL,
            name: name.to_owned(),
            version: "unknown".to_owned(),
            run: RunCommand::Everywhere(vec![format!("{PROGRAM}{name}")]),
            runtime: Vec::new(),
            config_schema: None,
            provides: Vec::new(),
            capabilities: Capabilities::default(),
            cache: Cache::default(),
            timeout: None,
            limits: plugin::Limits::default(),
        },
        manifest_bytes: Vec::new(),
        folder: None,
        program,
        arguments: Vec::new(),
        timeout: TIMEOUT,
        limits: LIMITS,
        bounds: BOUNDS,
        level: Level::of_this_machine(),
    }
}

/// Whether a plugin can be called that.
pub fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 64
        && name.bytes().next().is_some_and(is_letter)
        && name.bytes().all(|byte| is_letter(byte) || byte == b'-')
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LARGEST_MANIFEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_MANIFEST {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    Ok(bytes)
}

/// With line, column and snippet in the error.
fn parse(bytes: &[u8]) -> Result<Manifest, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: 20_000, max_depth: 64, max_aliases: 1_000, max_documents: 1 },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

fn bounds(manifest: &Manifest) -> Result<Bounds, String> {
    let wrong =
        |what: &'static str| move |text| format!("limits: {what}: \"{text}\" is no size such as 512M or 16G");
    let limits = &manifest.limits;
    Ok(Bounds {
        memory: limits.parse_memory().map_err(wrong("memory"))?.unwrap_or(BOUNDS.memory),
        disk: limits.parse_disk().map_err(wrong("disk"))?.unwrap_or(BOUNDS.disk),
        tasks: limits.tasks.unwrap_or(BOUNDS.tasks),
    })
}

fn check(manifest: &Manifest, name: &str) -> Result<(), String> {
    if manifest.api != PROTOCOL {
        return Err(format!("api: {} is unknown, this btfpipe knows {PROTOCOL}", manifest.api));
    }
    if manifest.name != name {
        return Err(format!("name: \"{}\" is not the folder's name \"{name}\"", manifest.name));
    }
    let capabilities = &manifest.capabilities;
    if let Some(other) =
        capabilities.write.as_ref().filter(|word| !["out-only", "cache"].contains(&word.as_str()))
    {
        return Err(format!("capabilities: write: \"{other}\" is neither \"out-only\" nor \"cache\""));
    }
    if let Some(path) = capabilities.read.iter().find(|path| *path != CONFIG && !path.starts_with('/')) {
        return Err(format!("capabilities: read: \"{path}\" is neither \"{CONFIG}\" nor an absolute path"));
    }
    let outside = |path: &&String| !is_inside(path);
    match manifest.runtime.iter().chain(&manifest.config_schema).find(outside) {
        Some(path) => Err(format!("\"{path}\" is not inside the plugin's folder")),
        None => Ok(()),
    }
}
