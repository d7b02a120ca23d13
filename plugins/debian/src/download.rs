//! Packages from the mirror.

use std::fs;
use std::path::Path;

use plugin::{Failure, SourcePackage};

use crate::program::{finish, lines, spawn};
use crate::state::{Guard, State};
use crate::trouble::{self, Trouble};

impl State<'_> {
    /// Whether the mirror really has what it lists: starts the download, and stops it when it gets going.
    pub fn is_served(&self, guard: &Guard, package: &SourcePackage, tmpdir: &Path) -> Result<bool, Failure> {
        let folder = tempfile::tempdir_in(tmpdir)
            .map_err(|error| Failure::tool(format!("{}: {error}", tmpdir.display())))?;
        let mut apt = self.apt_get(&["download", &argument(package)]);
        guard.give_to(&mut apt);
        let (mut child, collector) = spawn(apt.current_dir(&folder))?;
        let started = lines(child.stdout.take()).any(|line| line.starts_with("Get:"));
        if started {
            let _ = child.kill();
        }
        let ended = finish(child, collector)?;
        if started || ended.success {
            return Ok(true);
        }
        let said = trouble::messages(&ended.stderr);
        match trouble::worst(&said) {
            Trouble::NotFound => Ok(false),
            trouble => Err(trouble.failure(&format!("{} can't be downloaded", argument(package)), &said)),
        }
    }

    /// Downloads what is not in `folder` yet, checked by apt, named as the packages say. What the mirror doesn't
    /// have comes back, and doesn't keep the others from arriving. `progress` hears percents.
    pub fn download<'p>(
        &self,
        guard: &Guard,
        packages: &'p [SourcePackage],
        folder: &Path,
        mut progress: impl FnMut(f64),
    ) -> Result<Vec<&'p SourcePackage>, Failure> {
        let todo: Vec<_> = packages.iter().filter(|package| !folder.join(&package.file).exists()).collect();
        if todo.is_empty() {
            return Ok(todo);
        }
        let staging = tempfile::tempdir_in(folder)
            .map_err(|error| Failure::tool(format!("{}: {error}", folder.display())))?;
        let mut apt = self.apt_get(&["-o", "APT::Status-Fd=1", "download"]);
        apt.args(todo.iter().map(|package| argument(package)));
        guard.give_to(&mut apt);
        let (mut child, collector) = spawn(apt.current_dir(&staging))?;
        lines(child.stdout.take()).filter_map(|line| parse_percent(&line)).for_each(&mut progress);
        let ended = finish(child, collector)?;
        let mut missing = Vec::new();
        for package in todo {
            let arrived = staging.path().join(apt_file_name(package));
            if arrived.exists() {
                fs::rename(&arrived, folder.join(&package.file))
                    .map_err(|error| Failure::tool(format!("{}: {error}", arrived.display())))?;
                continue;
            }
            let said = trouble::messages(&ended.stderr);
            let about: Vec<&str> = said.iter().copied().filter(|line| line.contains(&package.name)).collect();
            let about = if about.is_empty() { said } else { about };
            match trouble::worst(&about) {
                Trouble::NotFound => missing.push(package),
                trouble => {
                    return Err(
                        trouble.failure(&format!("{} can't be downloaded", argument(package)), &about)
                    );
                }
            }
        }
        Ok(missing)
    }
}

/// `NAME:ARCH=VERSION`
fn argument(package: &SourcePackage) -> String {
    format!("{}:{}={}", package.name, package.arch, package.version)
}

/// The name that `apt-get download` gives a file.
fn apt_file_name(package: &SourcePackage) -> String {
    format!("{}_{}_{}.deb", package.name, package.version.replace(':', "%3a"), package.arch)
}

/// `dlstatus:1:12.34:Retrieving file 1 of 2`
fn parse_percent(line: &str) -> Option<f64> {
    let mut fields = line.strip_prefix("dlstatus:")?.split(':');
    fields.nth(1)?.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents() {
        assert_eq!(parse_percent("dlstatus:1:12.5:Retrieving file 1 of 2"), Some(12.5));
        for line in ["dlstatus:1", "dlstatus:1:x:", "pmstatus:1:1:", "", "dlstatus:1:-1:", "dlstatus:1:NaN:"]
        {
            assert_eq!(parse_percent(line), None, "{line}");
        }
    }

    #[test]
    fn names_for_apt() {
        let package = SourcePackage {
            name: "linux-a".into(),
            version: "1:2-3".into(),
            arch: "arm64".into(),
            file: "linux-a_2-3_arm64.deb".into(),
            sha256: String::new(),
            size: 0,
        };
        assert_eq!(argument(&package), "linux-a:arm64=1:2-3");
        assert_eq!(apt_file_name(&package), "linux-a_1%3a2-3_arm64.deb");
    }
}
