//! Debian packages of another architecture, unpacked into a folder of the build: no architecture is added to the
//! machine, nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};

use xshell::{Shell, cmd};

use crate::Error;
use crate::guest::target_folder;

/// Static libelf and zlib, and the standard library for Debian's compiler.
const PACKAGES: [&str; 3] = ["libelf-dev", "zlib1g-dev", "libstd-rust-web-dev"];
/// Written last: the folder is whole.
const DONE: &str = "unpacked";

/// The folder with the packages' files, made when it is not there.
pub fn unpack(shell: &Shell) -> Result<PathBuf, Error> {
    let folder = target_folder(shell).join("debian-arm64");
    let root = folder.join("root");
    let stamp = folder.join(DONE);
    let wanted = rustc_version(shell)?;
    if fs::read_to_string(&stamp).is_ok_and(|version| version == wanted) {
        return Ok(root);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    for place in ["lists/partial", "cache/archives/partial", "debs", "root"] {
        fs::create_dir_all(folder.join(place))?;
    }
    eprintln!("fetching {} for arm64 into {}", PACKAGES.join(", "), folder.display());
    download(shell, &folder)?;
    for deb in shell.read_dir(folder.join("debs"))? {
        cmd!(shell, "dpkg-deb -x {deb} {root}").quiet().run()?;
    }
    for place in ["lists", "cache", "debs"] {
        fs::remove_dir_all(folder.join(place))?;
    }
    fs::write(&stamp, wanted)?;
    Ok(root)
}

/// The machine's own sources, with package lists of our own: needs no root.
fn download(shell: &Shell, folder: &Path) -> Result<(), Error> {
    let settings = [
        "APT::Architecture=arm64".to_owned(),
        "APT::Architectures=arm64".to_owned(),
        "Acquire::Languages=none".to_owned(),
        format!("Dir::State::lists={}", folder.join("lists").display()),
        "Dir::State::status=/dev/null".to_owned(),
        format!("Dir::Cache={}", folder.join("cache").display()),
    ];
    let options: Vec<&str> = settings.iter().flat_map(|setting| ["-o", setting]).collect();
    let options = &options;
    cmd!(shell, "apt-get -qq {options...} update").quiet().run()?;
    let _in = shell.push_dir(folder.join("debs"));
    // It says something about its sandbox on standard error when it runs as root.
    let packages = PACKAGES;
    let debs = cmd!(shell, "apt-get -qq {options...} download {packages...}").quiet().output()?;
    if debs.status.success() {
        return Ok(());
    }
    Err(format!("apt-get download: {}", String::from_utf8_lossy(&debs.stderr).trim()).into())
}

/// The standard library's files have hashes in their names that change with the compiler.
fn rustc_version(shell: &Shell) -> Result<String, Error> {
    let rustc = crate::packages::DEBIAN_RUSTC;
    Ok(cmd!(shell, "{rustc} --version --verbose").quiet().read()?)
}
