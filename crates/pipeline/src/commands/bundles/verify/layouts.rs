//! Layouts, each made again of its bundle.

use std::path::Path;

use bundle::{Bundle, Digest, Layout, LayoutEntry, LayoutPlugin, Manifest, PackageEntry};

use super::{Grade, Report, check_pack};
use crate::events::{Deaf, Events, Phase};
use crate::outcome::Failure;
use crate::package::laying_out;
use crate::project::Project;
use crate::project::acting::Stage;
use crate::project::plugin_step::Step;
use crate::work::patience::Patience;

/// The layouts of a release, and what they are made of.
pub(super) struct Layouts<'a> {
    pub folder: &'a Path,
    pub manifest: &'a Manifest,
    /// By their files.
    pub bundles: &'a [(String, Bundle)],
    /// The pipeline whose plugins are asked.
    pub project: Option<Project>,
}

impl Layouts<'_> {
    pub fn check(&self, report: &mut Report) {
        for entry in &self.manifest.layouts {
            match &entry.plugin {
                Some(plugin) => {
                    let (grade, said) = self.of_plugin(entry, plugin);
                    report.add(&entry.file, grade, said);
                }
                None => self.own(entry, report),
            }
        }
    }

    /// The bundle with this entry, if it is here.
    fn find(&self, is_it: impl Fn(&PackageEntry) -> bool) -> Option<(&Bundle, &PackageEntry)> {
        let package = self.manifest.packages.iter().find(|one| is_it(one))?;
        let (_, bundle) = self.bundles.iter().find(|(name, _)| *name == package.file)?;
        Some((bundle, package))
    }

    fn own(&self, entry: &LayoutEntry, report: &mut Report) {
        let Ok(layout) = entry.layout.parse::<Layout>() else {
            return report.add(
                &entry.file,
                Grade::Bad,
                format!("is of the unknown layout {:?}", entry.layout),
            );
        };
        let Some((bundle, package)) = self.find(|one| layout.file(&one.name, one.arch) == entry.file) else {
            return report.add(&entry.file, Grade::Bad, "is of no bundle here");
        };
        match layout.deliver(bundle, package.level, 1) {
            Ok(again) => {
                let same = Digest::of(&again.bytes) == entry.content.sha256;
                match same || package.zstd == bundle::zstd_version() {
                    true => report.judge(&entry.file, same, SAME, NOT_SAME),
                    false => report.add(
                        &entry.file,
                        Grade::Unchecked,
                        format!("made with zstd {}, this is {}", package.zstd, bundle::zstd_version()),
                    ),
                }
            }
            Err(error) => report.add(&entry.file, Grade::Bad, error.to_string()),
        }
        if matches!(layout, Layout::Pack | Layout::PackDeflate) {
            let path = self.folder.join(Path::new(&entry.file).file_name().unwrap_or_default());
            check_pack(&entry.file, &path, report);
        }
    }

    /// Nothing runs on a manifest's word: which plugin, and what it is told, is the pipeline's to say.
    fn of_plugin(&self, entry: &LayoutEntry, plugin: &LayoutPlugin) -> (Grade, String) {
        let Some(project) = &self.project else {
            let name = &plugin.name;
            return (
                Grade::Unchecked,
                format!("the plugin {name} made it; give --pipeline to make it again"),
            );
        };
        let stem = |one: &PackageEntry| format!("{}-{}-{}.", one.name, one.arch, entry.layout);
        let Some((bundle, package)) = self.find(|one| entry.file.starts_with(&stem(one))) else {
            return (Grade::Bad, "is of no bundle here".to_owned());
        };
        let Some(step) = project.layouts(&package.name).find(|step| step.name == entry.layout) else {
            return (Grade::Bad, format!("the pipeline has no layout {}", entry.layout));
        };
        match laying_out::plugin(step) {
            Ok(now) if now == *plugin => {}
            Ok(_) => {
                let name = &plugin.name;
                return (Grade::Unchecked, format!("the plugin {name} was another one when it made it"));
            }
            Err(failure) => return (Grade::Unchecked, failure.message),
        }
        let path = self.folder.join(Path::new(&package.file).file_name().unwrap_or_default());
        match again(step, bundle, &path) {
            Ok(again) if again == *entry => (Grade::Good, SAME.to_owned()),
            Ok(_) => (Grade::Bad, NOT_SAME.to_owned()),
            Err(failure) => (Grade::Bad, failure.message),
        }
    }
}

const SAME: &str = "is what its bundle makes";
const NOT_SAME: &str = "is not what its bundle makes";

fn again(step: &Step, bundle: &Bundle, path: &Path) -> Result<LayoutEntry, Failure> {
    let work = tempfile::tempdir().map_err(Failure::new)?;
    let (events, patience) = (Events::new(&Deaf), Patience::default());
    let cache = work.path().join("cache");
    let stage = Stage { work: work.path(), cache: &cache, events, patience: &patience };
    let task = events.begin(Phase::Package, &*step.name);
    let made = laying_out::make(step, bundle, path, stage, &task);
    Ok(task.finish(made, |_| String::new())?.0)
}
