//! The output folder: every file appears whole, and one run at a time writes there.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bundle::attestation::{self, Build, PROVENANCE, SBOM};
use bundle::{LayoutEntry, PackageEntry};
use tempfile::NamedTempFile;

use crate::events::Events;
use crate::outcome::Error;
use crate::package::busy::Busy;

/// Where half-made things are; emptied when a run begins and ends.
const PARTIAL: &str = ".partial";
/// The file that makes the packages a release; it is there only when all it names are.
pub(crate) const SUMS: &str = "SHA256SUMS";
const MANIFEST: &str = "manifest.json";
/// How the files of packages end.
const ENDS: [&str; 4] = [".tar.zst", ".tar.gz", ".tar.xz", ".btfpack"];

/// A file of a release, by what the manifest says of it.
pub trait Shipped {
    /// Its name.
    fn file(&self) -> &str;
    /// The digest of its bytes.
    fn sha256(&self) -> bundle::Digest;
}

impl Shipped for PackageEntry {
    fn file(&self) -> &str {
        &self.file
    }

    fn sha256(&self) -> bundle::Digest {
        self.zst.sha256
    }
}

impl Shipped for LayoutEntry {
    fn file(&self) -> &str {
        &self.file
    }

    fn sha256(&self) -> bundle::Digest {
        self.content.sha256
    }
}

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

    /// A file that is gone unless it is put.
    pub fn begin(&self) -> Result<NamedTempFile, Error> {
        use std::os::unix::fs::PermissionsExt;
        let folder = self.partial();
        let mut named = tempfile::Builder::new();
        let begun = named.permissions(fs::Permissions::from_mode(0o644)).tempfile_in(&folder);
        begun.map_err(|error| Error::Output { path: folder, error })
    }

    /// Gives a file its name, so that it is there whole or not at all.
    pub fn put(&self, name: &str, file: NamedTempFile) -> Result<PathBuf, Error> {
        let path = self.folder.join(name);
        let put = || -> io::Result<()> {
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        put().map_err(|error| Error::Output { path: path.clone(), error })?;
        Ok(path)
    }

    /// Writes a file so that it is there whole or not at all.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        let mut file = self.begin()?;
        let written = file.write_all(bytes);
        written.map_err(|error| Error::Output { path: self.folder.join(name), error })?;
        self.put(name, file)
    }

    /// Says that no release is here now, before its packages change one by one.
    pub fn retract(&self, keep: &[String]) -> Result<(), Error> {
        let stale = self.packages().into_iter().filter(|name| !keep.contains(name));
        let told = [SUMS, MANIFEST, SBOM, PROVENANCE].map(str::to_owned);
        let told: Vec<String> = told.into_iter().chain(stale).collect();
        for name in self.attached(&told)?.into_iter().chain(told) {
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

    /// What publishers and people put beside files of the release, which is called after them, as `SHA256SUMS.minisig`. One
    /// of the release before says nothing of this one.
    fn attached(&self, told: &[String]) -> Result<Vec<String>, Error> {
        let failed = |error| Error::Output { path: self.folder.clone(), error };
        let packages = self.packages();
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
            let belongs =
                |file: &String| name.strip_prefix(file.as_str()).is_some_and(|end| end.starts_with('.'));
            if told.iter().chain(&packages).any(belongs) && !told.contains(&name) && !packages.contains(&name)
            {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// Adds what a step made: beside the release, or as all that is in a folder.
    pub fn add(&self, folder: Option<&str>, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
        let Some(name) = folder else {
            return files.iter().try_for_each(|(file, bytes)| self.renew(file, bytes));
        };
        let path = self.folder.join(name);
        let list = || -> io::Result<Vec<std::ffi::OsString>> {
            fs::create_dir_all(&path)?;
            fs::read_dir(&path)?.map(|entry| Ok(entry?.file_name())).collect()
        };
        let failed = |error| Error::Output { path: path.clone(), error };
        let before = list().map_err(failed)?;
        for (file, bytes) in files {
            self.renew(&format!("{name}/{file}"), bytes)?;
        }
        for stale in
            before.iter().filter(|stale| files.iter().all(|(file, _)| stale.as_os_str() != file.as_str()))
        {
            let stale = path.join(stale);
            if stale.is_file() {
                fs::remove_file(&stale).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Makes the packages that were written a release.
    pub fn release(
        &self,
        packages: &[PackageEntry],
        layouts: &[LayoutEntry],
        build: &Build,
    ) -> Result<(), Error> {
        for (name, text) in papers(packages, layouts, build)? {
            self.write(name, text.as_bytes())?;
        }
        Ok(())
    }

    /// Whether exactly this release is here, as far as its papers say.
    pub fn is_released(
        &self,
        packages: &[PackageEntry],
        layouts: &[LayoutEntry],
        build: &Build,
    ) -> Result<bool, Error> {
        let papers = papers(packages, layouts, build)?;
        Ok(papers.iter().all(|(name, text)| self.is(name, text.as_bytes())))
    }

    /// Whether a file of a release is here, byte for byte.
    pub fn has(&self, shipped: &impl Shipped) -> bool {
        let found = kernels::Digest::of_file(&self.folder.join(shipped.file()));
        found.is_ok_and(|(digest, _)| digest.to_string() == shipped.sha256().to_string())
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

    /// The packages of the release that is here, in all their layouts.
    fn packages(&self) -> Vec<String> {
        let text = fs::read(self.folder.join(MANIFEST)).unwrap_or_default();
        let Ok(manifest) = bundle::Manifest::parse(&text) else {
            return Vec::new();
        };
        let stems: Vec<String> =
            manifest.packages.iter().map(|package| format!("{}-{}-", package.name, package.arch)).collect();
        let layouts = manifest.layouts.into_iter().map(|layout| layout.file);
        let files = manifest.packages.into_iter().map(|package| package.file).chain(layouts);
        // A manifest is only text: nothing outside of the folder is removed on its word, nor what isn't called after a
        // package. Plugins choose the endings of their layouts.
        let is_called_so = |name: &String| {
            ENDS.iter().any(|end| name.ends_with(end)) || stems.iter().any(|stem| name.starts_with(stem))
        };
        files.filter(|name| is_called_so(name) && !name.contains('/')).collect()
    }
}

/// What is said of a release, by file; the sums, over all the rest, come last.
fn papers(
    packages: &[PackageEntry],
    layouts: &[LayoutEntry],
    build: &Build,
) -> Result<[(&'static str, String); 4], Error> {
    let manifest = bundle::Manifest::new(packages.iter().cloned()).with_layouts(layouts.iter().cloned());
    let mut sums = bundle::Checksums::new();
    for package in &manifest.packages {
        sums.add(package.file(), package.sha256())?;
    }
    for layout in &manifest.layouts {
        sums.add(layout.file(), layout.sha256())?;
    }
    let [sbom, provenance, manifest] = [
        (SBOM, attestation::sbom(&manifest, build)),
        (PROVENANCE, attestation::provenance(&manifest, build)),
        (MANIFEST, manifest.to_json()),
    ];
    for (name, text) in [&sbom, &provenance, &manifest] {
        sums.add(*name, bundle::Digest::of(text.as_bytes()))?;
    }
    Ok([sbom, provenance, manifest, (SUMS, sums.to_string())])
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
        let (layouts, given, materials) = (vec![], vec![], vec![]);
        let (pipeline, engine, environment) = ("p".into(), "e".into(), vec![]);
        let build = Build { pipeline, engine, layouts, given, environment, materials };
        let pack = bundle::Layout::Pack;
        let pack = pack.deliver(&bundle::Bundle::open(&old.tar_zst).unwrap(), 1, 1).unwrap();
        dist.write(&pack.file, &pack.bytes).unwrap();
        let packs = [LayoutEntry::of(&pack, bundle::Arch::X86_64)];
        let entries = [&old, &new].map(PackageEntry::of);
        dist.release(&entries, &packs, &build).unwrap();
        assert!(dist.is_released(&entries, &packs, &build).unwrap());
        assert!(!dist.is_released(&entries[..1], &packs, &build).unwrap());
        assert!(!dist.is_released(&entries, &[], &build).unwrap());
        assert!(entries.iter().all(|entry| dist.has(entry)) && dist.has(&packs[0]));
        assert_eq!(
            names(&folder),
            [
                ".btfpipe.lock",
                ".partial",
                "SHA256SUMS",
                "manifest.json",
                "new-x86_64.tar.zst",
                "old-x86_64.btfpack",
                "old-x86_64.tar.zst",
                "provenance.intoto.json",
                "sbom.cdx.json"
            ]
        );
        dist.write("SHA256SUMS.minisig", b"of the vendor").unwrap();
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
