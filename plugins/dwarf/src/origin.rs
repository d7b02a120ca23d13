//! Where a file is: a path, or a package that this machine's apt knows.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use plugin::{Failure, Job};
use sha2::{Digest, Sha256};

use crate::program::{command, read};

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Path(PathBuf),
    Apt { name: String, version: Option<String> },
}

/// A file that is at hand now.
pub struct Brought {
    /// Its name without folders.
    pub name: String,
    pub path: PathBuf,
    /// Where it came from, with the version where there is one.
    pub origin: Origin,
}

impl Origin {
    pub fn parse(text: &str) -> Result<Origin, Failure> {
        let Some(package) = text.strip_prefix("apt:") else {
            return match text {
                "" => Err(Failure::user("no path and no package is named")),
                path => Ok(Origin::Path(path.into())),
            };
        };
        let (name, version) = package.split_once('=').map_or((package, None), |(name, v)| (name, Some(v)));
        let is_good = |text: &str, more: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !is_good(name, "+-.") || version.is_some_and(|version| !is_good(version, "+-.~:")) {
            return Err(Failure::user(format!("{package:?} is no package, or NAME=VERSION")));
        }
        Ok(Origin::Apt { name: name.to_owned(), version: version.map(str::to_owned) })
    }

    /// What it is called: the file's or the package's name.
    pub fn name(&self) -> &str {
        match self {
            Origin::Path(path) => path.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
            Origin::Apt { name, .. } => name,
        }
    }

    /// Brings the file; packages are kept in the cache.
    pub fn bring(&self, job: &Job<'_>) -> Result<Brought, Failure> {
        match self {
            Origin::Path(path) if path.is_file() => {
                Ok(Brought { name: self.name().to_owned(), path: path.clone(), origin: self.clone() })
            }
            Origin::Path(path) => {
                let failure = Failure::gone(format!("{} is not there", path.display()));
                Err(if path.is_absolute() { failure } else { failure.help("give its whole path") })
            }
            Origin::Apt { name, version } => {
                let version = match version {
                    Some(version) => version.clone(),
                    None => newest(name)?,
                };
                let origin = Origin::Apt { name: name.clone(), version: Some(version.clone()) };
                let path = download(job, name, &version)?;
                let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
                Ok(Brought { name: file, path, origin })
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Path(path) => write!(f, "{}", path.display()),
            Origin::Apt { name, version: None } => write!(f, "apt:{name}"),
            Origin::Apt { name, version: Some(version) } => write!(f, "apt:{name}={version}"),
        }
    }
}

/// The version that apt would install.
fn newest(name: &str) -> Result<String, Failure> {
    let shown = read(command("apt-cache").args(["show", "--no-all-versions", name]))
        .map_err(|_| Failure::gone(format!("apt knows no package {name}")).help("run \"apt-get update\""))?;
    let version = shown.lines().find_map(|line| line.strip_prefix("Version: "));
    version.map(str::to_owned).ok_or_else(|| Failure::tool(format!("apt-cache show {name}: no version")))
}

/// The package's file, downloaded and checked by apt, whole or not there.
fn download(job: &Job<'_>, name: &str, version: &str) -> Result<PathBuf, Failure> {
    let cache = job.cachedir().join("packages");
    let folder = cache.join(format!("{name}={}", version.replace(':', "%3a")));
    if let Some(found) = only_file(&folder) {
        return Ok(found);
    }
    let at = |error: io::Error| Failure::tool(format!("{}: {error}", cache.display()));
    fs::create_dir_all(&cache).map_err(at)?;
    let staging = tempfile::tempdir_in(&cache).map_err(at)?;
    job.progress(0, None, "packages", format!("downloading {name} {version}"));
    let argument = format!("{name}={version}");
    let mut apt = command("apt-get");
    apt.args(["-qq", "-o", "APT::Sandbox::User=root", "download", &argument]).current_dir(&staging);
    read(&mut apt).map_err(|failure| {
        match failure.message.contains("404") || failure.message.contains("not found") {
            true => Failure::gone(format!("apt no longer has {argument}: {}", failure.message)),
            false => Failure::transient(failure.message),
        }
    })?;
    if only_file(staging.path()).is_none() {
        return Err(Failure::tool(format!("apt-get download {argument} brought nothing")));
    }
    match fs::rename(staging.keep(), &folder) {
        // Another process was faster.
        Err(_) if only_file(&folder).is_some() => {}
        renamed => renamed.map_err(at)?,
    }
    only_file(&folder).ok_or_else(|| Failure::tool(format!("{}: nothing there", folder.display())))
}

fn only_file(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.find_map(|entry| Some(entry.ok()?.path()).filter(|path| path.is_file()))
}

/// sha256 in hex digits, and size in bytes.
pub fn digest(path: &Path) -> Result<(String, u64), Failure> {
    let read = || {
        let (mut file, mut hasher, mut size) = (File::open(path)?, Sha256::new(), 0);
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((hasher.finalize().iter().map(|b| format!("{b:02x}")).collect(), size)),
                got => {
                    hasher.update(&buffer[..got]);
                    size += got as u64;
                }
            }
        }
    };
    read().map_err(|error: io::Error| Failure::tool(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for text in ["/a/vmlinux", "apt:linux-image-6.1-dbg", "apt:linux-image=1:6.1.0-2~bpo+1"] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), text);
        }
        for wrong in ["", "apt:", "apt:-o", "apt:a b", "apt:a=", "apt:a=-x"] {
            assert!(Origin::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Origin::parse("/a/vmlinux").unwrap().name(), "vmlinux");
    }
}
