//! Packages: made when what they hold changed, or when they are no longer where they were put.

use std::path::PathBuf;
use std::sync::OnceLock;

use bundle::{Bundle, PackageEntry};
use kernels::Arch;

use crate::dist::Dist;
use crate::events::{Events, Phase};
use crate::key::Key;
use crate::ledger::End;
use crate::outcome::Error;
use crate::packaging::{self, Packed, Settings};
use crate::project::{Options, Project};
use crate::report::Report;
use crate::works::{Worked, Works};

/// What making packages needs.
pub(crate) struct Publishing<'a> {
    pub project: &'a Project,
    pub works: &'a Works<'a>,
    pub dist: &'a Dist,
    pub events: Events<'a>,
    pub options: &'a Options,
}

/// A package that is in the output folder.
pub(crate) struct Published {
    /// Which of the pipeline's packages.
    pub package: usize,
    /// For which architecture.
    pub arch: Arch,
    /// Whether it was made now.
    pub is_new: bool,
    path: PathBuf,
    opened: OnceLock<Bundle>,
}

/// A package that was made, or was there, and is not yet published.
struct Item {
    package: usize,
    arch: Arch,
    key: Key,
    entry: PackageEntry,
    /// None when it is there.
    bytes: Option<Vec<u8>>,
}

impl Published {
    /// The package, opened from its file as a user would.
    pub fn bundle(&self) -> Result<&Bundle, Error> {
        if let Some(bundle) = self.opened.get() {
            return Ok(bundle);
        }
        let bundle = Bundle::open_file(&self.path)?;
        Ok(self.opened.get_or_init(|| bundle))
    }
}

impl Publishing<'_> {
    /// Makes what is missing, and publishes all: one package an architecture for each of the pipeline's.
    pub fn make_all(
        &self,
        done: &[Worked],
        level: i32,
        epoch: u64,
        report: &mut Report,
    ) -> Result<Vec<Published>, Error> {
        let mut items = Vec::new();
        for (number, package) in self.project.file.packages.iter().enumerate() {
            for arch in &package.arches {
                let settings = Settings { name: &package.name, level, epoch, threads: self.options.jobs() };
                items.extend(self.item(number, *arch, settings, done, report)?);
            }
        }
        self.publish(items, report)
    }

    /// A package, if there is a kernel for it.
    fn item(
        &self,
        package: usize,
        arch: Arch,
        settings: Settings<'_>,
        done: &[Worked],
        report: &mut Report,
    ) -> Result<Option<Item>, Error> {
        let kernels: Vec<(&Worked, Packed<'_>)> = done
            .iter()
            .filter(|one| one.chosen.id.arch() == arch)
            .filter_map(|one| packed(one, package))
            .collect();
        if kernels.is_empty() {
            return Ok(None);
        }
        let Some(set) = self.works.set(package, arch) else {
            return Ok(None);
        };
        let all: Vec<Packed<'_>> = kernels.iter().map(|(_, packed)| *packed).collect();
        let key = packaging::key(settings, &all, set);
        if let Some(entry) = self.find(&key) {
            let what = format!("{} is there", entry.file);
            self.events.kept(Phase::Package, entry.file.clone(), what);
            return Ok(Some(Item { package, arch, key, entry, bytes: None }));
        }
        let task = self.events.begin(Phase::Package, format!("{}-{arch}.tar.zst", settings.name));
        let mut contents = Vec::new();
        for (worked, packed) in kernels {
            match self.works.bytes(worked, package) {
                Ok(Some((btf, records))) => contents.push((packed, btf, records)),
                Ok(None) => {}
                Err(failure) => report.fail(packed.id, &failure),
            }
        }
        let count = contents.len();
        let made = packaging::package(settings, contents, set);
        let made = task.finish(made, |made| format!("{count} kernels, {} bytes", made.zst_size))?;
        let entry = PackageEntry::of(&made);
        Ok(Some(Item { package, arch, key, entry, bytes: Some(made.tar_zst) }))
    }

    /// What the output folder has of a key, looked at byte for byte.
    fn find(&self, key: &Key) -> Option<PackageEntry> {
        let value = self.works.store().link(&key.text()).filter(|_| !self.options.rerun)?;
        let entry: PackageEntry = serde_json::from_value(value).ok()?;
        self.dist.has(&entry).then_some(entry)
    }

    fn publish(&self, items: Vec<Item>, report: &mut Report) -> Result<Vec<Published>, Error> {
        let entries: Vec<PackageEntry> = items.iter().map(|item| item.entry.clone()).collect();
        let is_there = items.iter().all(|item| item.bytes.is_none()) && self.dist.is_released(&entries)?;
        if !is_there {
            let files: Vec<String> = entries.iter().map(|entry| entry.file.clone()).collect();
            self.dist.retract(&files)?;
        }
        let mut published = Vec::new();
        for Item { package, arch, key, entry, bytes } in items {
            if let Some(bytes) = &bytes {
                self.dist.write(&entry.file, bytes)?;
                let value = serde_json::to_value(&entry).unwrap_or_default();
                self.works.store().set_link(&key.text(), value)?;
            }
            let end = if bytes.is_some() { End::Done } else { End::Kept };
            self.works.ledger().add(Phase::Package.name(), entry.file.clone(), key, end, None);
            report.package(&entry);
            let path = self.dist.folder().join(&entry.file);
            published.push(Published {
                package,
                arch,
                is_new: bytes.is_some(),
                path,
                opened: OnceLock::new(),
            });
        }
        if !is_there {
            self.dist.release(&entries)?;
        }
        Ok(published)
    }
}

fn packed(worked: &Worked, package: usize) -> Option<(&Worked, Packed<'_>)> {
    let ready = worked.result.as_ref().ok()?;
    let made = ready.made.get(package)?.as_ref()?;
    Some((worked, Packed { id: &worked.chosen.id, build_id: ready.known.build_id.as_deref(), made }))
}
