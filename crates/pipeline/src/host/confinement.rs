//! What a plugin may do: what every plugin may, and what its plugin.yaml declares.

use std::env;
use std::path::{Path, PathBuf};
use std::thread;

use ::cage::{Cage, Limits};
use plugin::Input;
use serde_json::Value;

use super::{Dirs, Plugin};

/// The system, for everybody to read and to run.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/proc",
    "/sys",
    "/dev/random",
    "/dev/urandom",
];

/// For everybody to write.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full"];

/// What `/etc/resolv.conf` may lead to.
const RESOLVERS: &[&str] = &["/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager"];

/// The word of `read` that stands for what the configuration names.
pub(super) const CONFIG: &str = "config";

/// All that an action may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Bytes of address space of each process.
    pub memory: u64,
    /// Bytes in its folders.
    pub disk: u64,
    /// Processes and threads.
    pub tasks: usize,
}

pub(super) const BOUNDS: Bounds = Bounds { memory: 16 << 30, disk: 16 << 30, tasks: 1024 };

/// The cage of an action, whose folders are there.
pub(super) fn cage(plugin: &Plugin, dirs: &Dirs, config: &Value, inputs: &[Input]) -> Cage {
    let declared = &plugin.manifest.capabilities;
    let mut read: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    read.extend(plugin.folder.clone());
    read.extend(linked(plugin));
    read.extend(installation(&plugin.program));
    read.extend(path_folders());
    read.extend(
        declared.exec.iter().filter_map(|name| find_on_path(name)).flat_map(|path| installation(&path)),
    );
    read.extend(inputs.iter().map(|input| dirs.workdir.join(&input.path)));
    for path in &declared.read {
        if path == CONFIG { add_paths(config, &mut read) } else { read.push(path.into()) }
    }
    if declared.network {
        read.extend(RESOLVERS.iter().map(PathBuf::from));
        read.extend(env::var_os("APT_CONFIG").map(PathBuf::from));
    }
    let mut write = vec![dirs.workdir.clone(), dirs.outdir.clone(), dirs.tmpdir.clone()];
    write.extend(DEVICES.iter().map(PathBuf::from));
    write.extend(dirs.cachedir.clone().filter(|_| keeps_cache(plugin)));
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let limits = Limits {
        memory: Some(plugin.bounds.memory),
        file: Some(plugin.bounds.disk),
        tasks: Some(plugin.bounds.tasks),
        // Nobody needs more who ends in time; it ends what is left when we are gone.
        cpu: Some(plugin.timeout.saturating_mul(u32::try_from(cpus).unwrap_or(u32::MAX))),
    };
    Cage { read, write, network: declared.network, limits }
}

/// The runtime files that are links: what is hashed is what they lead to.
fn linked(plugin: &Plugin) -> impl Iterator<Item = PathBuf> {
    let paths =
        plugin.folder.iter().flat_map(|folder| plugin.manifest.runtime.iter().map(|name| folder.join(name)));
    paths.filter(|path| path.is_symlink()).filter_map(|path| path.canonicalize().ok())
}

/// Whether it writes to a folder that later actions see.
pub(super) fn keeps_cache(plugin: &Plugin) -> bool {
    plugin.manifest.capabilities.write.as_deref() == Some("cache")
}

/// A program, and for an interpreter that is installed by itself all that belongs to it: the folder above its `bin`,
/// unless that is somebody's home.
fn installation(program: &Path) -> Vec<PathBuf> {
    let mut paths = vec![program.to_owned()];
    paths.extend(program.canonicalize().ok());
    let prefixes: Vec<PathBuf> =
        paths.iter().filter_map(|program| prefix(program)).map(Path::to_owned).collect();
    paths.extend(prefixes);
    paths
}

fn prefix(program: &Path) -> Option<&Path> {
    let bin = program.parent()?;
    let is_bin = ["bin", "sbin", "shims"].iter().any(|name| bin.ends_with(name));
    bin.parent().filter(|prefix| is_bin && !prefix.ends_with(".local") && !holds_home(prefix))
}

/// The folders of `PATH`: programs, and nothing else.
fn path_folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).filter(|folder| folder.is_absolute() && !holds_home(folder)).collect()
}

pub(super) fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn holds_home(folder: &Path) -> bool {
    env::var_os("HOME").is_some_and(|home| Path::new(&home).starts_with(folder)) || folder == Path::new("/")
}

/// The absolute paths among a configuration's texts, `file:` before them or not.
fn add_paths(config: &Value, paths: &mut Vec<PathBuf>) {
    match config {
        Value::String(text) => {
            let path = text.strip_prefix("file://").or(text.strip_prefix("file:")).unwrap_or(text);
            paths.extend(Path::new(path).is_absolute().then(|| path.into()));
        }
        Value::Array(values) => values.iter().for_each(|value| add_paths(value, paths)),
        Value::Object(values) => values.values().for_each(|value| add_paths(value, paths)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_a_configuration() {
        let mut paths = Vec::new();
        add_paths(
            &json!({"a": ["/x/y", "b", 1, null], "c": {"d": "/z", "e": "file:///m"}, "/k": true}),
            &mut paths,
        );
        assert_eq!(paths, ["/x/y", "/z", "/m"].map(PathBuf::from));
    }

    #[test]
    fn what_belongs_to_an_interpreter() {
        let check = |program, expected: Option<&str>| {
            assert_eq!(prefix(Path::new(program)), expected.map(Path::new), "{program}");
        };
        check("/srv/python/bin/python3", Some("/srv/python"));
        check("/srv/pyenv/shims/python3", Some("/srv/pyenv"));
        check("/srv/tools/python3", None);
        check("/srv/me/.local/bin/tool", None);
        check("/bin/sh", None);
    }
}
