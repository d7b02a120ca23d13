//! The output folder: every file appears whole, and one run at a time writes there.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bundle::PackageEntry;

use crate::busy::Busy;
use crate::events::Events;
use crate::outcome::Error;

/// Where half-made things are; emptied when a run begins and ends.
const PARTIAL: &str = ".partial";
/// The file that makes the packages a release; it is there only when all it names are.
const SUMS: &str = "SHA256SUMS";
const MANIFEST: &str = "manifest.json";

/// The folder, held until dropped.
#[derive(Debug)]
pub struct Dist {
    folder: PathBuf,
    _busy: Busy,
}

impl Dist {
    /// Makes and takes the folder, and clears what a killed run left.
    pub fn open(folder: &Path, events: Events<'_>) -> Result<Dist, Error> {
        let open = || {
            fs::create_dir_all(folder)?;
            let busy = Busy::take(folder, |holder| {
                events.warn(format!("{}: waiting for {holder}", folder.display()));
            })?;
            let partial = folder.join(PARTIAL);
            match fs::remove_dir_all(&partial) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => fs::create_dir(&partial)?,
            }
            Ok(busy)
        };
        let busy = open().map_err(|error| Error::Output { path: folder.to_owned(), error })?;
        Ok(Dist { folder: folder.to_owned(), _busy: busy })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn partial(&self) -> PathBuf {
        self.folder.join(PARTIAL)
    }

    /// Writes a file so that it is there whole or not at all.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        let path = self.folder.join(name);
        let write = || -> io::Result<()> {
            use std::os::unix::fs::PermissionsExt;
            let mut temp = tempfile::Builder::new()
                .permissions(fs::Permissions::from_mode(0o644))
                .tempfile_in(self.partial())?;
            temp.write_all(bytes)?;
            temp.as_file().sync_all()?;
            temp.persist(&path)?;
            Ok(())
        };
        write().map_err(|error| Error::Output { path: path.clone(), error })?;
        Ok(path)
    }

    /// Says that no release is here now, before its packages change one by one.
    pub fn retract(&self, keep: &[String]) -> Result<(), Error> {
        let stale = self.packages().into_iter().filter(|name| !keep.contains(name));
        for name in [SUMS.to_owned(), MANIFEST.to_owned()].into_iter().chain(stale) {
            let path = self.folder.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::Output { path, error });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the packages that were written a release.
    pub fn release(&self, packages: &[PackageEntry]) -> Result<(), Error> {
        let (manifest, sums) = papers(packages)?;
        self.write(MANIFEST, manifest.as_bytes())?;
        self.write(SUMS, sums.as_bytes())?;
        Ok(())
    }

    /// Whether exactly this release is here, as far as its papers say.
    pub fn is_released(&self, packages: &[PackageEntry]) -> Result<bool, Error> {
        let (manifest, sums) = papers(packages)?;
        Ok(self.is(MANIFEST, manifest.as_bytes()) && self.is(SUMS, sums.as_bytes()))
    }

    /// Whether a package is here, byte for byte.
    pub fn has(&self, package: &PackageEntry) -> bool {
        let found = kernels::Digest::of_file(&self.folder.join(&package.file));
        found.is_ok_and(|(digest, _)| digest.to_string() == package.zst.sha256.to_string())
    }

    /// Writes a file unless it is here as it should be.
    pub fn renew(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        if !self.is(name, bytes) {
            self.write(name, bytes)?;
        }
        Ok(())
    }

    fn is(&self, name: &str, bytes: &[u8]) -> bool {
        fs::read(self.folder.join(name)).is_ok_and(|found| found == bytes)
    }

    /// The packages of the release that is here.
    fn packages(&self) -> Vec<String> {
        let text = fs::read(self.folder.join(MANIFEST)).unwrap_or_default();
        let manifest = bundle::Manifest::parse(&text);
        let files = manifest.into_iter().flat_map(|manifest| manifest.packages).map(|package| package.file);
        // A manifest is only text: nothing outside of the folder is removed on its word.
        files.filter(|name| name.ends_with(".tar.zst") && !name.contains('/')).collect()
    }
}

/// The texts of the manifest and of the sums.
fn papers(packages: &[PackageEntry]) -> Result<(String, String), Error> {
    let manifest = bundle::Manifest::new(packages.iter().cloned()).to_json();
    let mut sums = bundle::Checksums::new();
    for package in packages {
        sums.add(package.file.clone(), package.zst.sha256)?;
    }
    sums.add(MANIFEST, bundle::Digest::of(manifest.as_bytes()))?;
    Ok((manifest, sums.to_string()))
}

impl Drop for Dist {
    fn drop(&mut self) {
        // What stays is cleared by the next run.
        let _ = fs::remove_dir_all(self.partial());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Deaf;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn package(name: &str) -> bundle::Package {
        let meta = bundle::BundleMeta {
            name: name.into(),
            arch: bundle::Arch::X86_64,
            engine: "test".into(),
            source_date_epoch: 0,
        };
        bundle::BundleBuilder::new(meta).unwrap().finish(1).unwrap()
    }

    #[test]
    fn a_release_appears_last_and_goes_first() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("dist");
        let events = Events::new(&Deaf);
        let dist = Dist::open(&folder, events).unwrap();
        let (old, new) = (package("old"), package("new"));
        for package in [&old, &new] {
            dist.write(&package.file, &package.tar_zst).unwrap();
        }
        let entries = [&old, &new].map(PackageEntry::of);
        dist.release(&entries).unwrap();
        assert!(dist.is_released(&entries).unwrap() && !dist.is_released(&entries[..1]).unwrap());
        assert!(entries.iter().all(|entry| dist.has(entry)));
        assert_eq!(
            names(&folder),
            [
                ".btfpipe.lock",
                ".partial",
                "SHA256SUMS",
                "manifest.json",
                "new-x86_64.tar.zst",
                "old-x86_64.tar.zst"
            ]
        );
        dist.retract(&[new.file]).unwrap();
        assert_eq!(names(&folder), [".btfpipe.lock", ".partial", "new-x86_64.tar.zst"]);
        drop(dist);
        assert_eq!(names(&folder), [".btfpipe.lock", "new-x86_64.tar.zst"]);
    }

    #[test]
    fn what_a_killed_run_left_is_cleared() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(".partial/vm")).unwrap();
        fs::write(root.path().join(".partial/half"), "x").unwrap();
        let dist = Dist::open(root.path(), Events::new(&Deaf)).unwrap();
        assert_eq!(names(&dist.partial()), [""; 0]);
    }
}
