//! A plan being made, step by step.

use std::collections::BTreeMap;

use bundle::{Layout, LayoutEntry, PackageEntry};
use kernels::{Arch, KernelId, Store};
use serde::de::DeserializeOwned;

use super::{Action, Runs, action};
use crate::events::Phase;
use crate::file::Package;
use crate::file::steps;
use crate::kernel::content::{self, Held, Known};
use crate::kernel::engine::ProgramSet;
use crate::kernel::made::{self, Made};
use crate::kernel::transforming::Subject;
use crate::kernel::works::{set_of, subject};
use crate::lock::locking::{Chosen, Why};
use crate::package::concluding;
use crate::package::dist::Shipped;
use crate::package::laying_out;
use crate::package::packaging::{self, Packed, Settings};
use crate::project::Project;
use crate::project::building::{AtWork, LockedBtfs};
use crate::project::compiling::Compiler;
use crate::project::plugin_step::Step;
use crate::project::programs;
use crate::verify::verifier::Verifier;
use crate::verify::verifying;
use crate::work::key::Key;
use crate::work::ledger::LastRun;

pub(super) struct Making<'a> {
    project: &'a Project,
    store: Option<&'a Store>,
    last: LastRun,
    actions: Vec<Action>,
    arches: BTreeMap<Arch, Programs>,
    kernels: Vec<Kernel>,
    /// Which action makes a package, by package and architecture.
    packages: BTreeMap<(usize, Arch), usize>,
}

/// The programs of an architecture.
struct Programs {
    /// Of each package; without the sources that must be compiled.
    sets: Vec<ProgramSet>,
    /// The action that opens them.
    compile: usize,
    /// A source must be compiled: no key is known.
    is_new: bool,
}

/// A kernel in a package.
struct Kernel {
    id: KernelId,
    package: usize,
    known: Option<Known>,
    /// What it was minimized to.
    made: Option<Made>,
    minimize: usize,
}

impl<'a> Making<'a> {
    pub fn new(project: &'a Project, store: Option<&'a Store>, last: LastRun) -> Making<'a> {
        Making {
            project,
            store,
            last,
            actions: Vec::new(),
            arches: BTreeMap::new(),
            kernels: Vec::new(),
            packages: BTreeMap::new(),
        }
    }

    pub fn finish(self) -> Vec<Action> {
        self.actions
    }

    /// Adds an action; the answer is its index.
    pub fn add(&mut self, action: Action) -> usize {
        self.actions.push(action);
        self.actions.len() - 1
    }

    pub fn compile(&mut self, arch: Arch, compiler: &dyn Compiler) {
        let btfs = LockedBtfs { project: self.project, store: self.store, btfs: None };
        let built: Vec<AtWork<'_>> = self
            .project
            .builders
            .iter()
            .map(|builder| AtWork { builder, btfs: &btfs, stage: None })
            .collect();
        let builders: Vec<&dyn Compiler> = built.iter().map(|one| one as &dyn Compiler).collect();
        let making = programs::Making { store: self.store, compiler, builders: &builders, told: &|_| () };
        let (opened, missing) = programs::look(&self.project.programs, arch, making);
        let names: Vec<String> = missing.iter().map(|path| path.display().to_string()).collect();
        let (runs, reason) = match names.len() {
            0 => (Runs::No, format!("{} objects of the same files as before", opened.programs.len())),
            _ => (Runs::Yes, format!("new or changed: {}", few(&names))),
        };
        let inputs = self.project.programs.iter().map(|file| file.path.display().to_string()).collect();
        let compile = self
            .add(Action { inputs, ..action(Phase::Compile, format!("programs for {arch}"), runs, reason) });
        let sets = self.project.file.packages.iter().map(|package| set_of(package, arch, &opened)).collect();
        self.arches.insert(arch, Programs { sets, compile, is_new: !missing.is_empty() });
    }

    /// Fetch, extract and minimize. The first two run only when somebody needs what they bring.
    pub fn kernel(&mut self, chosen: &Chosen) {
        let held = self.store.map_or(Held::Nothing, |store| content::held(store, chosen));
        let known = content::known(self.store, chosen);
        let fetch = self.add(fetch(chosen, held));
        let extract = self.add(Action { needs: vec![fetch], ..extract(chosen, held) });
        let mut is_needed = chosen.locked.is_none();
        if self.project.file.steps.minimize {
            let packages: Vec<usize> = (0..self.project.file.packages.len())
                .filter(|index| self.project.file.packages[*index].has(&chosen.id))
                .collect();
            for package in packages {
                let (minimize, made) = self.minimize(chosen, known.as_ref(), package, extract);
                is_needed |= self.actions[minimize].runs != Runs::No
                    || self.boots(&chosen.id, known.as_ref(), made.as_ref(), package);
                let (id, known) = (chosen.id.clone(), known.clone());
                self.kernels.push(Kernel { id, package, known, made, minimize });
            }
        } else {
            is_needed = true;
        }
        if !is_needed {
            for index in [fetch, extract] {
                self.actions[index].runs = Runs::No;
                self.actions[index].reason = "nobody needs it: what is made of it is there".to_owned();
            }
        }
    }

    fn package(&self, index: usize) -> &'a Package {
        &self.project.file.packages[index]
    }

    fn minimize(
        &mut self,
        chosen: &Chosen,
        known: Option<&Known>,
        package: usize,
        extract: usize,
    ) -> (usize, Option<Made>) {
        let Programs { sets, compile, is_new } = &self.arches[&chosen.id.arch()];
        let name = subject(&self.project.file.packages, &chosen.id, self.package(package));
        let key = known.filter(|_| !is_new).map(|known| made::key(&known.btf.sha256, &sets[package]));
        let made = key.as_ref().and_then(|key| Made::find(self.store?, key));
        let (runs, reason) = match (&key, &made) {
            (Some(_), Some(_)) => (Runs::No, "in the store".to_owned()),
            (Some(key), None) => (Runs::Yes, self.last.why("minimize", &name, key)),
            (None, _) if known.is_none() => (Runs::Yes, "its BTF isn't known yet".to_owned()),
            (None, _) => (Runs::Perhaps, "if the programs come out otherwise than before".to_owned()),
        };
        let inputs = vec![format!("{} BTF", chosen.id), format!("programs for {}", chosen.id.arch())];
        let needs = vec![*compile, extract];
        let minimize = Action { inputs, needs, key, ..action(Phase::Minimize, name, runs, reason) };
        let minimize = self.add(minimize);
        self.transforms(chosen, known, package, minimize, made)
    }

    /// What plugins make of it, each of what the one before made; the last counts.
    fn transforms(
        &mut self,
        chosen: &Chosen,
        known: Option<&Known>,
        package: usize,
        mut last: usize,
        mut made: Option<Made>,
    ) -> (usize, Option<Made>) {
        let (project, one) = (self.project, self.package(package));
        for step in project.transforms(one) {
            let name = format!("{} by {}", subject(&project.file.packages, &chosen.id, one), step.name);
            let set = &self.arches[&chosen.id.arch()].sets[package];
            let of =
                self.store.zip(known).map(|(store, known)| Subject { id: &chosen.id, known, set, store });
            let key = of.zip(made.as_ref()).and_then(|(of, made)| of.key(step, made).ok());
            made = of.zip(key.as_ref()).and_then(|(of, key)| of.find(step, key));
            let (runs, reason) = match (&key, &made) {
                (Some(_), Some(_)) => (Runs::No, "in the store".to_owned()),
                (Some(key), None) => (Runs::Yes, self.last.why("transform", &name, key)),
                (None, _) => (self.actions[last].runs, "its minimized BTF isn't known yet".to_owned()),
            };
            let (inputs, needs) = (vec![self.actions[last].subject.clone()], vec![last]);
            let action = Action { inputs, needs, key, ..action(Phase::Transform, name, runs, reason) };
            last = self.add(action);
        }
        (last, made)
    }

    /// What plugins do with the release.
    pub fn conclusions(&mut self) {
        let project = self.project;
        let packages: Vec<usize> = self.packages.values().copied().collect();
        let is_new = packages.iter().map(|index| self.actions[*index].runs).max().unwrap_or(Runs::Yes);
        let epoch = packaging::source_date_epoch(std::env::var_os("SOURCE_DATE_EPOCH")).unwrap_or_default();
        let (mut before, mut more) = (None, concluding::Released::new());
        for step in project.steps.iter().filter(|step| step.role.is_conclusion()) {
            let phase = concluding::phase(step.role);
            let files =
                concluding::released(&project.dist).filter(|_| is_new == Runs::No && before.is_none());
            let files = files.map(|files| files.into_iter().chain(more.clone()).collect());
            let key = files.and_then(|files| concluding::key(step, &files, epoch).ok());
            let found = self.store.zip(key.as_ref());
            let found = found.and_then(|(store, key)| concluding::find(step, key, store, &project.dist));
            let (runs, reason) = match (&key, &found) {
                (Some(_), Some(_)) => (Runs::No, "the release is the same".to_owned()),
                (Some(key), None) => (Runs::Yes, self.last.why(phase.name(), &step.name, key)),
                (None, _) if before.is_some() => {
                    (Runs::Perhaps, "if the steps before make something else".to_owned())
                }
                (None, _) => (is_new, "its release is made first".to_owned()),
            };
            let inputs = packages.iter().map(|index| self.actions[*index].subject.clone()).collect();
            let needs = packages.iter().copied().chain(before).collect();
            let made = self.add(Action { inputs, needs, key, ..action(phase, &*step.name, runs, reason) });
            // What it leaves is read by those behind it.
            match found {
                Some(left) => more.extend(left.into_iter().map(concluding::Left::named)),
                None => before = Some(made),
            }
        }
    }

    fn verifier(&self) -> Option<Verifier<'a>> {
        let settings = self.project.file.steps.verify.as_ref()?;
        Some(Verifier::new(settings, self.store, false, false))
    }

    /// Whether a kernel is booted, as far as is known.
    fn boots(&self, id: &KernelId, known: Option<&Known>, made: Option<&Made>, package: usize) -> bool {
        let Some(verifier) = self.verifier().filter(|verifier| verifier.will_boot(id.arch())) else {
            return false;
        };
        let set = &self.arches[&id.arch()].sets[package];
        let key = known.zip(made).map(|(known, made)| verifier.key(known, made, set));
        key.zip(self.store).is_none_or(|(key, store)| verifier.find(store, &key).is_none())
    }

    pub fn packages(&mut self) {
        let Some(step) = &self.project.file.steps.package else {
            return;
        };
        for index in 0..self.project.file.packages.len() {
            let package = self.package(index);
            for arch in package
                .arches
                .iter()
                .filter(|arch| self.arches.contains_key(arch))
                .copied()
                .collect::<Vec<_>>()
            {
                if let Some(action) = self.one_package(index, arch, step) {
                    let made = self.add(action);
                    self.packages.insert((index, arch), made);
                    for layout in &step.layouts {
                        let action = self.layout(index, arch, *layout, made);
                        self.add(action);
                    }
                    for step in self.project.layouts(&package.name) {
                        let action = self.layout_of_plugin(index, arch, step, made);
                        self.add(action);
                    }
                }
            }
        }
    }

    fn one_package(&self, index: usize, arch: Arch, step: &steps::Package) -> Option<Action> {
        let name = &self.package(index).name;
        let kernels: Vec<&Kernel> = self
            .kernels
            .iter()
            .filter(|kernel| kernel.package == index && kernel.id.arch() == arch)
            .collect();
        if kernels.is_empty() {
            return None;
        }
        let file = format!("{}/{name}-{arch}.tar.zst", self.project.dist.display());
        let needs = kernels.iter().map(|kernel| kernel.minimize).collect();
        let inputs = kernels.iter().map(|kernel| format!("{} minimized", kernel.id)).collect();
        let made: Option<Vec<(&Kernel, &Made)>> =
            kernels.iter().map(|kernel| Some((*kernel, kernel.made.as_ref()?))).collect();
        let Some(made) = made else {
            let new: Vec<&&Kernel> = kernels.iter().filter(|kernel| kernel.made.is_none()).collect();
            let surely = new.iter().any(|kernel| self.actions[kernel.minimize].runs == Runs::Yes);
            let runs = if surely { Runs::Yes } else { Runs::Perhaps };
            let reason = format!("{} of {} kernels are minimized first", new.len(), kernels.len());
            return Some(Action { inputs, needs, ..action(Phase::Package, file, runs, reason) });
        };
        let epoch = packaging::source_date_epoch(std::env::var_os("SOURCE_DATE_EPOCH")).unwrap_or_default();
        let settings = Settings { name, step, epoch, threads: 1 };
        let packed: Vec<Packed<'_>> = made
            .iter()
            .map(|(kernel, made)| Packed {
                id: &kernel.id,
                build_id: kernel.known.as_ref().and_then(|known| known.build_id.as_deref()),
                made,
            })
            .collect();
        let key = packaging::key(settings, &packed, &self.arches[&arch].sets[index]);
        let (runs, reason) = self.is_there::<PackageEntry>(&format!("{name}-{arch}.tar.zst"), &key);
        Some(Action { inputs, needs, key: Some(key), ..action(Phase::Package, file, runs, reason) })
    }

    /// A package in a layout of others.
    fn layout(&self, index: usize, arch: Arch, layout: Layout, package: usize) -> Action {
        let name = layout.file(&self.package(index).name, packaging::arch(arch));
        let key = self.actions[package].key.as_ref().map(|key| packaging::layout_key(key, layout));
        self.of_package(package, name, key)
    }

    /// The same in one of a plugin's, which chooses the file's ending when it makes it.
    fn layout_of_plugin(&self, index: usize, arch: Arch, step: &Step, package: usize) -> Action {
        let name = laying_out::subject(step, &self.package(index).name, arch);
        let key = self.actions[package].key.as_ref().and_then(|key| laying_out::key(step, key).ok());
        let action = self.of_package(package, name, key);
        if step.actor.is_pure() {
            return action;
        }
        Action { runs: Runs::Yes, reason: "the plugin makes something else each time".to_owned(), ..action }
    }

    /// A file that is made of a package.
    fn of_package(&self, package: usize, name: String, key: Option<Key>) -> Action {
        let Action { subject, runs, .. } = &self.actions[package];
        let (runs, reason) = match &key {
            Some(key) => self.is_there::<LayoutEntry>(&name, key),
            None => (*runs, "its package is made first".to_owned()),
        };
        let file = format!("{}/{name}", self.project.dist.display());
        let (inputs, needs) = (vec![subject.clone()], vec![package]);
        Action { inputs, needs, key, ..action(Phase::Package, file, runs, reason) }
    }

    fn is_there<T: Shipped + DeserializeOwned>(&self, file: &str, key: &Key) -> (Runs, String) {
        let entry = self.store.and_then(|store| store.link(&key.text()));
        let Some(entry) = entry.and_then(|entry| serde_json::from_value::<T>(entry).ok()) else {
            return (Runs::Yes, self.last.why("package", file, key));
        };
        match kernels::Digest::of_file(&self.project.dist.join(entry.file())) {
            Ok((found, _)) if found.to_string() == entry.sha256().to_string() => {
                (Runs::No, "there, byte for byte".to_owned())
            }
            Ok(_) => (Runs::Yes, "the file is there, with other bytes".to_owned()),
            Err(_) => (Runs::Yes, "the file is gone".to_owned()),
        }
    }

    pub fn verifications(&mut self) {
        let Some(verifier) = self.verifier() else {
            return;
        };
        for kernel in std::mem::take(&mut self.kernels) {
            let Some(package) = self.packages.get(&(kernel.package, kernel.id.arch())).copied() else {
                continue;
            };
            let name = subject(&self.project.file.packages, &kernel.id, self.package(kernel.package));
            let (runs, reason, key) = self.verification(&verifier, &kernel, &name);
            let inputs = vec![self.actions[package].subject.clone(), format!("{} boot image", kernel.id)];
            self.add(Action {
                inputs,
                needs: vec![package],
                key,
                ..action(Phase::Verify, name, runs, reason)
            });
        }
    }

    fn verification(
        &self,
        verifier: &Verifier<'_>,
        kernel: &Kernel,
        name: &str,
    ) -> (Runs, String, Option<Key>) {
        if let Some(why) = verifying::why_not_booted(kernel.id.arch()) {
            return (Runs::No, format!("compared on the host only: {why}"), None);
        }
        if let Some(lacks) = &verifier.lacks {
            return (Runs::Yes, format!("will fail: {lacks}"), None);
        }
        let set = &self.arches[&kernel.id.arch()].sets[kernel.package];
        let Some((known, made)) = kernel.known.as_ref().zip(kernel.made.as_ref()) else {
            return (
                self.actions[kernel.minimize].runs,
                "its minimized BTF isn't known yet".to_owned(),
                None,
            );
        };
        let key = verifier.key(known, made, set);
        match self.store.and_then(|store| verifier.find(store, &key)) {
            Some(_) => (Runs::No, "booted before, with the same answer".to_owned(), Some(key)),
            None => (Runs::Yes, self.last.why("verify", name, &key), Some(key)),
        }
    }
}

fn fetch(chosen: &Chosen, held: Held) -> Action {
    let inputs = chosen.source.packages.iter().map(|package| package.file.clone()).collect();
    let size: u64 = chosen.source.packages.iter().map(|package| package.size).sum();
    let why = match &chosen.why {
        Why::Locked => "locked".to_owned(),
        Why::New => "not in the lock yet".to_owned(),
        Why::Replaces(lost) => format!("in place of {lost}"),
    };
    let (runs, reason) = match held {
        Held::Nothing => (Runs::Yes, format!("{why}, not in the store ({:.1} MB)", size as f64 / 1e6)),
        Held::Fetched | Held::Extracted => (Runs::No, "in the store".to_owned()),
    };
    Action { inputs, ..action(Phase::Fetch, chosen.id.to_string(), runs, reason) }
}

fn extract(chosen: &Chosen, held: Held) -> Action {
    let inputs = chosen.source.packages.iter().map(|package| package.file.clone()).collect();
    let (runs, reason) = match held {
        Held::Extracted => (Runs::No, "in the store"),
        Held::Nothing | Held::Fetched => (Runs::Yes, "BTF and boot image are not in the store"),
    };
    Action { inputs, ..action(Phase::Extract, chosen.id.to_string(), runs, reason) }
}

/// A few of them by name.
pub(super) fn few(names: &[String]) -> String {
    const MOST: usize = 3;
    let named = names.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        few if few <= MOST => named,
        many => format!("{named} and {} more", many - MOST),
    }
}
