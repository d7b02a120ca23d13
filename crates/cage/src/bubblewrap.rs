//! Bubblewrap (bwrap): namespaces in place of what a kernel's Landlock or seccomp doesn't hold.
//!
//! Nobody in a Landlock cage may mount, so that the two exclude each other: bubblewrap is for kernels whose Landlock is older
//! than 6, or off, and for those without seccomp. What a process isn't allowed to read isn't there for it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::process::geteuid;

use crate::{Cage, Level, rights};

/// The program, if it is on PATH and this machine lets it do its work: it needs a user namespace, or root's rights.
pub fn find() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let look = || {
        let path = env::var_os("PATH").unwrap_or_default();
        let program =
            env::split_paths(&path).map(|folder| folder.join("bwrap")).find(|path| path.is_file())?;
        works(&program).then_some(program)
    };
    FOUND.get_or_init(look).as_deref()
}

/// Tries all that [`arguments`] asks of it.
fn works(program: &Path) -> bool {
    let cage = Cage { read: vec!["/".into(), "/proc".into()], ..Cage::default() };
    let mut command = Command::new(program);
    command.args(arguments(&cage, Path::new("/"), false)).args(["--", "true"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let level = Level { landlock: 0, seccomp: false, bubblewrap: true };
    cage.confine(&mut command, level).and_then(|()| command.status()).is_ok_and(|status| status.success())
}

/// What comes before `--` and the command. Where `seccomp` refuses sockets, another network is not needed, and can't be made.
pub(crate) fn arguments(cage: &Cage, folder: &Path, seccomp: bool) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    let mut add = |some: &[&str]| words.extend(some.iter().map(OsString::from));
    add(&["--die-with-parent", "--unshare-pid", "--unshare-ipc"]);
    if !cage.network && !seccomp {
        add(&["--unshare-net"]);
    }
    if geteuid().is_root() {
        add(&["--cap-drop", "ALL"]);
        rights::KEPT_NAMES.iter().for_each(|name| add(&["--cap-add", name]));
    }
    let mut paths: Vec<(&Path, bool)> = cage.read.iter().map(|path| (path.as_path(), false)).collect();
    paths.extend(cage.write.iter().map(|path| (path.as_path(), true)));
    // A folder before what is in it; what is written after the same to be read.
    paths.sort();
    paths.dedup();
    for (path, is_written) in paths {
        let option = match (path.starts_with("/dev"), is_written) {
            _ if path == Path::new("/proc") => {
                words.extend(["--proc", "/proc"].map(OsString::from));
                continue;
            }
            (true, _) => "--dev-bind-try",
            (false, true) => "--bind-try",
            (false, false) => "--ro-bind-try",
        };
        words.extend([option.into(), path.into(), path.into()]);
    }
    // The folders above all these, which would else take what is written to them, until it ends.
    words.extend(["--remount-ro", "/", "--chdir"].map(OsString::from));
    words.push(folder.into());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_is_told() {
        let path = PathBuf::from;
        let cage = Cage {
            read: vec![path("/usr"), path("/proc"), path("/srv/in/x")],
            write: vec![path("/srv"), path("/dev/null"), path("/usr")],
            ..Cage::default()
        };
        let said = |cage: &Cage, seccomp| {
            let words = arguments(cage, Path::new("/srv"), seccomp);
            words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        let text = said(&cage, true);
        let binds = "--dev-bind-try /dev/null /dev/null --proc /proc --bind-try /srv /srv --ro-bind-try /srv/in/x /srv/in/x \
                     --ro-bind-try /usr /usr --bind-try /usr /usr --remount-ro / --chdir /srv";
        assert!(text.ends_with(binds) && !text.contains("net"), "{text}");
        assert!(said(&cage, false).contains("--unshare-net"));
        assert!(!said(&Cage { network: true, ..cage }, false).contains("--unshare-net"));
    }
}
