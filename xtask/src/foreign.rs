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
    eprintln!("fetching {} for arm64 into {}", PACKAGES.join(", "), folder.display());
    Archive::open(shell, "arm64", &folder)?.download(&PACKAGES)?;
    fs::create_dir_all(&root)?;
    for deb in shell.read_dir(folder.join("debs"))? {
        cmd!(shell, "dpkg-deb -x {deb} {root}").quiet().run()?;
    }
    for place in ["lists", "cache", "debs"] {
        fs::remove_dir_all(folder.join(place))?;
    }
    fs::write(&stamp, wanted)?;
    Ok(root)
}

/// The machine's own sources for another architecture, with package lists of our own: needs no root.
pub struct Archive<'s> {
    shell: &'s Shell,
    debs: PathBuf,
    settings: Vec<String>,
}

impl<'s> Archive<'s> {
    /// Fetches the lists; they and the packages are in the folder.
    pub fn open(shell: &'s Shell, arch: &str, folder: &Path) -> Result<Self, Error> {
        for place in ["lists/partial", "cache/archives/partial", "debs"] {
            fs::create_dir_all(folder.join(place))?;
        }
        let settings = [
            format!("APT::Architecture={arch}"),
            format!("APT::Architectures={arch}"),
            "Acquire::Languages=none".to_owned(),
            format!("Dir::State::lists={}", folder.join("lists").display()),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={}", folder.join("cache").display()),
        ];
        let archive = Archive { shell, debs: folder.join("debs"), settings: settings.to_vec() };
        let options = &archive.options();
        // A mirror that is being updated lacks one list of several; what is missing then is told by name.
        if let Err(error) = cmd!(shell, "apt-get -qq {options...} update").quiet().run() {
            eprintln!("{error}");
        }
        Ok(archive)
    }

    /// Gives the folder with them.
    pub fn download(&self, packages: &[&str]) -> Result<&Path, Error> {
        let options = &self.options();
        let _in = self.shell.push_dir(&self.debs);
        // It says something about its sandbox on standard error when it runs as root.
        let debs = cmd!(self.shell, "apt-get -qq {options...} download {packages...}").quiet().output()?;
        if debs.status.success() {
            return Ok(&self.debs);
        }
        Err(format!("apt-get download: {}", String::from_utf8_lossy(&debs.stderr).trim()).into())
    }

    /// The newest package that a package without content stands for.
    pub fn find_newest(&self, meta: &str) -> Result<String, Error> {
        let options = &self.options();
        let shown =
            cmd!(self.shell, "apt-cache {options...} show --no-all-versions {meta}").quiet().read()?;
        let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: "));
        let name = depends.and_then(|rest| rest.split([' ', ',']).next());
        Ok(name.ok_or_else(|| format!("apt knows no {meta}"))?.to_owned())
    }

    fn options(&self) -> Vec<&str> {
        self.settings.iter().flat_map(|setting| ["-o", setting.as_str()]).collect()
    }
}

/// The standard library's files have hashes in their names that change with the compiler.
fn rustc_version(shell: &Shell) -> Result<String, Error> {
    let rustc = crate::packages::DEBIAN_RUSTC;
    Ok(cmd!(shell, "{rustc} --version --verbose").quiet().read()?)
}
