//! Packages: made when what they hold changed, or when they are no longer where they were put.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bundle::attestation::Build;
use bundle::{Bundle, Layout, LayoutEntry, PackageEntry};
use kernels::Arch;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use crate::events::{Events, Phase};
use crate::file::steps;
use crate::kernel::works::{Worked, Works};
use crate::outcome::{Code, Error, Failure};
use crate::package::dist::{Dist, Shipped};
use crate::package::laying_out;
use crate::package::packaging::{self, Packed, Settings};
use crate::package::releasing;
use crate::project::acting::{Stage, cache_in};
use crate::project::plugin_step::Step;
use crate::project::{Options, Project};
use crate::run::report::Report;
use crate::work::key::Key;
use crate::work::ledger::End;

/// What making packages needs.
pub(crate) struct Publishing<'a> {
    pub project: &'a Project,
    pub works: &'a Works<'a>,
    pub dist: &'a Dist,
    /// Where plugins work.
    pub work: &'a Path,
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
    whole: Whole,
}

/// A package as a file, opened when it is first looked into.
struct Whole {
    path: PathBuf,
    opened: OnceLock<Bundle>,
}

/// A package that layouts are made of.
struct Original<'o> {
    whole: Whole,
    key: &'o Key,
    arch: Arch,
    settings: Settings<'o>,
}

/// A package with its layouts, not yet published.
struct Item {
    package: usize,
    arch: Arch,
    bundle: File<PackageEntry>,
    layouts: Vec<File<LayoutEntry>>,
}

/// A file that was made, or was there.
struct File<T> {
    /// What plans and ledgers call it.
    subject: String,
    key: Key,
    entry: T,
    /// What waits to be put in its place; none when it is there. Not bytes: a release has many such files.
    made: Option<NamedTempFile>,
}

impl Published {
    /// The package, opened from its file as a user would.
    pub fn bundle(&self) -> Result<&Bundle, Error> {
        self.whole.bundle()
    }
}

impl Whole {
    fn at(path: PathBuf) -> Whole {
        Whole { path, opened: OnceLock::new() }
    }

    fn bundle(&self) -> Result<&Bundle, Error> {
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
        step: &steps::Package,
        epoch: u64,
        report: &mut Report,
    ) -> Result<Vec<Published>, Error> {
        let mut items = Vec::new();
        for (number, package) in self.project.file.packages.iter().enumerate() {
            for arch in &package.arches {
                let settings = Settings { name: &package.name, step, epoch, threads: self.options.jobs() };
                let Some(bundle) = self.package(number, *arch, settings, done, report)? else {
                    continue;
                };
                let layouts = self.layouts(&bundle, *arch, settings, report)?;
                items.push(Item { package: number, arch: *arch, bundle, layouts });
            }
        }
        let build = releasing::build(self.project, step, done, self.works.sets());
        self.publish(items, &build, report)
    }

    /// A package, if there is a kernel for it.
    fn package(
        &self,
        package: usize,
        arch: Arch,
        settings: Settings<'_>,
        done: &[Worked],
        report: &mut Report,
    ) -> Result<Option<File<PackageEntry>>, Error> {
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
        let subject = format!("{}-{arch}.tar.zst", settings.name);
        if let Some(entry) = self.find(&key) {
            return Ok(Some(File { subject, key, entry, made: None }));
        }
        let task = self.events.begin(Phase::Package, subject.as_str());
        let mut contents = Vec::new();
        for (worked, packed) in kernels {
            match self.works.files(worked, package) {
                Ok(Some((btf, records))) => contents.push((packed, btf, records)),
                Ok(None) => {}
                Err(failure) => report.fail(packed.id, &failure),
            }
        }
        let count = contents.len();
        let mut file = self.dist.begin()?;
        let made = packaging::package(settings, contents, set, &mut file);
        let made = task.finish(made, |made| format!("{count} kernels, {} bytes", made.zst_size))?;
        let entry = PackageEntry::of(&made);
        Ok(Some(File { subject, key, entry, made: Some(file) }))
    }

    /// A package in the layouts of others, and in those of plugins. One that can't be made costs the others nothing.
    fn layouts(
        &self,
        package: &File<PackageEntry>,
        arch: Arch,
        settings: Settings<'_>,
        report: &mut Report,
    ) -> Result<Vec<File<LayoutEntry>>, Error> {
        let path = match &package.made {
            Some(file) => file.path().to_owned(),
            None => self.dist.folder().join(&package.entry.file),
        };
        let original = Original { whole: Whole::at(path), key: &package.key, arch, settings };
        let mut files = Vec::new();
        for layout in &settings.step.layouts {
            files.extend(self.layout(*layout, &original, report)?);
        }
        for step in self.project.layouts(settings.name) {
            files.extend(self.layout_of_plugin(step, &original, report)?);
        }
        Ok(files)
    }

    fn layout(
        &self,
        layout: Layout,
        original: &Original<'_>,
        report: &mut Report,
    ) -> Result<Option<File<LayoutEntry>>, Error> {
        let settings = original.settings;
        let arch = packaging::arch(original.arch);
        let (subject, key) = (layout.file(settings.name, arch), packaging::layout_key(original.key, layout));
        if let Some(entry) = self.find(&key) {
            return Ok(Some(File { subject, key, entry, made: None }));
        }
        let bundle = original.whole.bundle()?;
        let task = self.events.begin(Phase::Package, subject.as_str());
        let made = layout.deliver(bundle, settings.step.level, settings.workers()).map_err(Failure::new);
        let made = task.finish(made, |made| format!("{} bytes", made.bytes.len()));
        let made = made.map(|made| (LayoutEntry::of(&made, arch), made.bytes));
        self.layout_made(made, subject, key, report)
    }

    fn layout_of_plugin(
        &self,
        step: &Step,
        original: &Original<'_>,
        report: &mut Report,
    ) -> Result<Option<File<LayoutEntry>>, Error> {
        let subject = laying_out::subject(step, original.settings.name, original.arch);
        let key = match laying_out::key(step, original.key) {
            Ok(key) => key,
            Err(reason) => {
                report.note_failure(format!("{subject}: {reason}"), Code::Failed);
                return Ok(None);
            }
        };
        if let Some(entry) = step.actor.is_pure().then(|| self.find(&key)).flatten() {
            return Ok(Some(File { subject, key, entry, made: None }));
        }
        let (cache, patience) = (cache_in(self.works.store().root()), &self.options.patience);
        let stage = Stage { work: self.work, cache: &cache, events: self.events, patience };
        let whole = &original.whole;
        let bundle = whole.bundle()?;
        let task = self.events.begin(Phase::Package, subject.as_str());
        let made = laying_out::make(step, bundle, &whole.path, stage, &task);
        let made = task.finish(made, |(entry, _)| format!("{} bytes", entry.content.size));
        self.layout_made(made, subject, key, report)
    }

    /// What came of making a layout. One that can't be made costs the others nothing.
    fn layout_made(
        &self,
        made: Result<(LayoutEntry, Vec<u8>), Failure>,
        subject: String,
        key: Key,
        report: &mut Report,
    ) -> Result<Option<File<LayoutEntry>>, Error> {
        let (entry, bytes) = match made {
            Ok(made) => made,
            Err(failure) => {
                report.note_failure(format!("{subject}: {failure}"), failure.code);
                let why = Some(failure.message);
                self.works.ledger().add(Phase::Package.name(), subject, key, End::Failed, why);
                return Ok(None);
            }
        };
        let mut temp = self.dist.begin()?;
        let written = temp.write_all(&bytes);
        written.map_err(|error| Error::Output { path: temp.path().to_owned(), error })?;
        Ok(Some(File { subject, key, entry, made: Some(temp) }))
    }

    /// What the output folder has of a key, looked at byte for byte.
    fn find<T: Shipped + DeserializeOwned>(&self, key: &Key) -> Option<T> {
        let value = self.works.store().link(&key.text()).filter(|_| !self.options.rerun)?;
        let entry: T = serde_json::from_value(value).ok().filter(|entry: &T| self.dist.has(entry))?;
        let file = entry.file();
        self.events.kept(Phase::Package, file, format!("{file} is there"));
        Some(entry)
    }

    fn publish(&self, items: Vec<Item>, build: &Build, report: &mut Report) -> Result<Vec<Published>, Error> {
        let packages: Vec<PackageEntry> = items.iter().map(|item| item.bundle.entry.clone()).collect();
        let layouts: Vec<LayoutEntry> =
            items.iter().flat_map(|item| &item.layouts).map(|file| file.entry.clone()).collect();
        let is_new = |item: &Item| {
            item.bundle.made.is_some() || item.layouts.iter().any(|layout| layout.made.is_some())
        };
        let is_there = !items.iter().any(is_new) && self.dist.is_released(&packages, &layouts, build)?;
        if !is_there {
            let files = packages.iter().map(Shipped::file).chain(layouts.iter().map(Shipped::file));
            self.dist.retract(&files.map(str::to_owned).collect::<Vec<_>>())?;
        }
        let mut published = Vec::new();
        for Item { package, arch, bundle, layouts } in items {
            report.package(&bundle.entry);
            let whole = Whole::at(self.dist.folder().join(&bundle.entry.file));
            let is_new = bundle.made.is_some();
            self.put(bundle)?;
            layouts.into_iter().try_for_each(|layout| self.put(layout))?;
            published.push(Published { package, arch, is_new, whole });
        }
        if !is_there {
            self.dist.release(&packages, &layouts, build)?;
        }
        Ok(published)
    }

    /// Writes a file that is new, and remembers what became of it.
    fn put<T: Shipped + Serialize>(&self, File { subject, key, entry, made }: File<T>) -> Result<(), Error> {
        let end = if made.is_some() { End::Done } else { End::Kept };
        if let Some(made) = made {
            self.dist.put(entry.file(), made)?;
            let value = serde_json::to_value(&entry).unwrap_or_default();
            self.works.store().set_link(&key.text(), value)?;
        }
        self.works.ledger().add(Phase::Package.name(), subject, key, end, None);
        Ok(())
    }
}

fn packed(worked: &Worked, package: usize) -> Option<(&Worked, Packed<'_>)> {
    let ready = worked.result.as_ref().ok()?;
    let made = ready.made.get(package)?.as_ref()?;
    Some((worked, Packed { id: &worked.chosen.id, build_id: ready.known.build_id.as_deref(), made }))
}
