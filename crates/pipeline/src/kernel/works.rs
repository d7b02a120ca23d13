//! Kernels at work: each through fetch, extract and engine, several at a time; one that fails costs the others nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use kernels::{Arch, KernelId, Store};
use plugin::SourceKernel;

use crate::events::{Events, Phase};
use crate::file::Package;
use crate::kernel::content::{self, Content, Known, NoContent, Supply};
use crate::kernel::engine::{self, Minimized, ProgramSet};
use crate::kernel::made::{self, CellReader, Cells, Made};
use crate::kernel::transforming::Subject;
use crate::lock::locking::{self, Chosen};
use crate::lock::sources::Sources;
use crate::outcome::{Code, Failure};
use crate::project::acting::{Stage, cache_in};
use crate::project::building::{AtWork, LockedBtfs};
use crate::project::compiling::Compiler;
use crate::project::programs::{self, Making, Opened, Told};
use crate::project::{Kernels, Options, Project};
use crate::verify::verifier::Verifier;
use crate::work::ledger::{End, Ledger};
use crate::work::threads::{locked, through};

/// What running needs from outside.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// Where kernels come from.
    pub sources: &'a dyn Sources,
    /// Makes objects of sources.
    pub compiler: &'a dyn Compiler,
    /// Who hears of it.
    pub events: Events<'a>,
}

/// What kernels are worked on for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal<'a> {
    /// Their content, for `btfpipe lock` and `extract`.
    Content,
    /// Minimized BTF.
    Minimized,
    /// The same, and the boot image where this verifier will boot it.
    Verified(&'a Verifier<'a>),
}

/// What became of a kernel.
#[derive(Debug)]
pub struct Worked {
    /// The kernel; another than the planned one where that is gone.
    pub chosen: Chosen,
    /// Which requests (by index) it answers.
    pub requests: Vec<usize>,
    /// What it came to.
    pub result: Result<Ready, Failure>,
}

/// A kernel with all that was asked for.
#[derive(Debug)]
pub struct Ready {
    /// Its digests.
    pub known: Known,
    /// Its content, where somebody needs it.
    pub content: Option<Content>,
    /// What it was minimized to, by package; None for packages that it isn't in.
    pub made: Vec<Option<Made>>,
    /// What the engine says of the programs of all its packages.
    pub cells: Cells,
}

/// Works on kernels, `jobs` at a time.
pub(crate) struct Works<'a> {
    project: &'a Project,
    options: &'a Options,
    tools: Tools<'a>,
    store: &'a Store,
    work: &'a Path,
    sets: BTreeMap<Arch, OnceLock<Sets>>,
    /// Answers of sources that had to be asked again, by request.
    answers: Mutex<BTreeMap<usize, Result<Vec<SourceKernel>, String>>>,
    /// Ids that are worked on.
    taken: Mutex<BTreeSet<KernelId>>,
    cells: CellReader,
    ledger: Ledger,
}

/// The files of a BTF and its records.
pub(crate) type Files = (PathBuf, PathBuf);

/// The programs of an architecture, by package.
struct Sets {
    all: ProgramSet,
    of: Vec<ProgramSet>,
}

impl<'a> Works<'a> {
    pub(crate) fn new(
        project: &'a Project,
        options: &'a Options,
        tools: Tools<'a>,
        store: &'a Store,
        work: &'a Path,
        kernels: &Kernels,
    ) -> Works<'a> {
        let sets = kernels.chosen.keys().map(|id| (id.arch(), OnceLock::new())).collect();
        let taken = Mutex::new(kernels.chosen.keys().cloned().collect());
        let (answers, cells, ledger) = (Mutex::default(), CellReader::default(), Ledger::default());
        Works { project, options, tools, store, work, sets, answers, taken, cells, ledger }
    }

    /// What was fetched and made.
    pub(crate) fn store(&self) -> &Store {
        self.store
    }

    /// What was done so far.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The same, for good.
    pub(crate) fn into_ledger(self) -> Ledger {
        self.ledger
    }

    /// All kernels, without those that were not begun because somebody said stop, or because one failed and that is
    /// enough.
    pub(crate) fn all(&self, kernels: Kernels, goal: Goal<'_>) -> Vec<Worked> {
        let queue: Vec<(Chosen, Vec<usize>)> = kernels.chosen.into_values().collect();
        let enough = AtomicBool::new(false);
        let go_on = || !enough.load(Ordering::Relaxed) && !self.options.patience.stop.is_told();
        let work = |(chosen, requests): &(Chosen, Vec<usize>)| {
            let worked = self.one(chosen.clone(), requests.clone(), goal);
            if worked.result.is_err() && self.options.fail_fast {
                enough.store(true, Ordering::Relaxed);
            }
            worked
        };
        let done = through(&queue, self.options.jobs(), go_on, work);
        let mut done: Vec<Worked> = done.into_iter().flatten().collect();
        // A kernel that is gone may have been replaced by one with another id.
        done.sort_by(|a, b| a.chosen.id.cmp(&b.chosen.id));
        done
    }

    /// The programs of an architecture: whoever asks first opens them, the others wait.
    fn sets_of(&self, arch: Arch) -> Option<&Sets> {
        Some(self.sets.get(&arch)?.get_or_init(|| self.open(arch)))
    }

    fn open(&self, arch: Arch) -> Sets {
        let task = self.tools.events.begin(Phase::Compile, format!("programs for {arch}"));
        let events = self.tools.events;
        let told = |told: Told<'_>| match told {
            Told::Compiles(path) => task.moved(0, None, path.display().to_string()),
            Told::Warns(path, text) => {
                events.warn(format!("{} for {arch}: the compiler says:\n{text}", path.display()));
            }
        };
        let store = Some(self.store).filter(|_| !self.options.rerun);
        let fetch = |chosen: &Chosen| self.content(&mut chosen.clone(), &[]).map_err(|error| error.message);
        let btfs = LockedBtfs { project: self.project, store: Some(self.store), btfs: Some(&fetch) };
        let cache = cache_in(self.store.root());
        let stage = Stage { work: self.work, cache: &cache, events, patience: &self.options.patience };
        let built: Vec<AtWork<'_>> = self
            .project
            .builders
            .iter()
            .map(|builder| AtWork { builder, btfs: &btfs, stage: Some((stage, &task)) })
            .collect();
        let builders: Vec<&dyn Compiler> = built.iter().map(|one| one as &dyn Compiler).collect();
        let making = Making { store, compiler: self.tools.compiler, builders: &builders, told: &told };
        let opened = programs::open(&self.project.programs, arch, making);
        for (bad, _) in &opened.unusable {
            events.warn(format!("{} for {arch}: {}", bad.what, bad.reason));
        }
        let relos: usize = opened.programs.iter().map(|program| program.object.relos().len()).sum();
        let said = format!("{} objects, {relos} relocations", opened.programs.len());
        match opened.compiled {
            0 => task.kept(said),
            compiled => task.done(format!("{said}, {compiled} compiled")),
        }
        sets_by_package(&self.project.file.packages, arch, &opened)
    }

    /// The programs of a package, opened.
    pub(crate) fn set(&self, package: usize, arch: Arch) -> Option<&ProgramSet> {
        self.sets_of(arch)?.of.get(package)
    }

    /// Every architecture's programs that were opened.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &ProgramSet> {
        self.sets.values().filter_map(OnceLock::get).map(|sets| &sets.all)
    }

    fn one(&self, mut chosen: Chosen, requests: Vec<usize>, goal: Goal<'_>) -> Worked {
        // A panic is a bug of ours; it must not take the other kernels with it.
        let result = catch_unwind(AssertUnwindSafe(|| self.work_on(&mut chosen, &requests, goal)));
        let result = result.unwrap_or_else(|panic| Err(bug(&*panic)));
        Worked { chosen, requests, result }
    }

    /// Only what somebody needs is brought here: with all results known, not a byte of the kernel.
    fn work_on(&self, chosen: &mut Chosen, requests: &[usize], goal: Goal<'_>) -> Result<Ready, Failure> {
        let before = chosen.locked.as_ref().filter(|_| !matches!(goal, Goal::Content));
        let known = before.and_then(|_| content::known(Some(self.store), chosen));
        if let Some(known) = known
            && let Some(ready) = self.ready(chosen, known, goal)?
        {
            return Ok(ready);
        }
        let content = self.content(chosen, requests)?;
        let known = content::known_of(chosen, &content).map_err(Failure::new)?;
        let mut ready = Ready { known, content: Some(content), made: Vec::new(), cells: Cells::new() };
        if !matches!(goal, Goal::Content) {
            self.make_all(chosen, &mut ready)?;
        }
        Ok(ready)
    }

    /// The kernel as earlier runs left it; None when something is missing.
    fn ready(&self, chosen: &Chosen, known: Known, goal: Goal<'_>) -> Result<Option<Ready>, Failure> {
        let mut ready = Ready { known, content: None, made: Vec::new(), cells: Cells::new() };
        for (package, set) in self.packages_of(&chosen.id)? {
            let Some(set) = set else {
                ready.made.push(None);
                continue;
            };
            let key = made::key(&ready.known.btf.sha256, set);
            let Some((made, cells)) = self.find(&key)? else {
                return Ok(None);
            };
            if let Goal::Verified(verifier) = goal
                && verifier.will_boot(chosen.id.arch())
                && verifier.find(self.store, &verifier.key(&ready.known, &made, set)).is_none()
            {
                return Ok(None);
            }
            let Some(made) = self.transformed_before(&chosen.id, package, set, &ready.known, made)? else {
                return Ok(None);
            };
            self.kept(&chosen.id, package, key);
            add_cells(&mut ready.cells, &cells);
            ready.made.push(Some(made));
        }
        Ok(Some(ready))
    }

    fn kept(&self, id: &KernelId, package: &Package, key: crate::work::key::Key) {
        let subject = self.subject(id, package);
        for phase in [Phase::Fetch, Phase::Extract] {
            self.tools.events.kept(phase, id.to_string(), "nobody needs it");
        }
        self.tools.events.kept(Phase::Minimize, &subject, "in the store");
        self.ledger.add(Phase::Minimize.name(), subject, key, End::Kept, None);
    }

    /// A kernel, and the package where there are several.
    pub(crate) fn subject(&self, id: &KernelId, package: &Package) -> String {
        subject(&self.project.file.packages, id, package)
    }

    /// Every package, with its programs if the kernel is in it.
    fn packages_of(&self, id: &KernelId) -> Result<Vec<(&Package, Option<&ProgramSet>)>, Failure> {
        let sets = self.sets_of(id.arch()).ok_or_else(|| Failure::new("no programs for its architecture"))?;
        let packages = self.project.file.packages.iter().zip(&sets.of);
        Ok(packages.map(|(package, set)| (package, Some(set).filter(|_| package.has(id)))).collect())
    }

    fn find(&self, key: &crate::work::key::Key) -> Result<Option<(Made, std::sync::Arc<Cells>)>, Failure> {
        if self.options.rerun {
            return Ok(None);
        }
        let Some(made) = Made::find(self.store, key) else {
            return Ok(None);
        };
        Ok(self.cells.read(self.store, &made)?.map(|cells| (made, cells)))
    }

    fn make_all(&self, chosen: &Chosen, ready: &mut Ready) -> Result<(), Failure> {
        let mut fresh: BTreeMap<&BTreeSet<String>, Made> = BTreeMap::new();
        for (package, set) in self.packages_of(&chosen.id)? {
            let Some(set) = set else {
                ready.made.push(None);
                continue;
            };
            let made = match fresh.get(&package.programs) {
                Some(made) => made.clone(),
                None => self.make(chosen, package, set, &ready.known)?,
            };
            if let Some(cells) = self.cells.read(self.store, &made)? {
                add_cells(&mut ready.cells, &cells);
            }
            fresh.insert(&package.programs, made.clone());
            ready.made.push(Some(self.transform(&chosen.id, package, set, &ready.known, made)?));
        }
        Ok(())
    }

    /// Minimizes, or finds that it was done before.
    fn make(
        &self,
        chosen: &Chosen,
        package: &Package,
        set: &ProgramSet,
        known: &Known,
    ) -> Result<Made, Failure> {
        let key = made::key(&known.btf.sha256, set);
        let subject = self.subject(&chosen.id, package);
        let step = Phase::Minimize.name();
        if let Some((made, _)) = self.find(&key)? {
            self.tools.events.kept(Phase::Minimize, &subject, "in the store");
            self.ledger.add(step, subject, key, End::Kept, None);
            return Ok(made);
        }
        let task = self.tools.events.begin(Phase::Minimize, subject.as_str());
        let made = self.minimize(known, set).and_then(|minimized| {
            let bytes = minimized.btf.len();
            Ok((Made::keep(self.store, &key, &minimized)?, bytes))
        });
        let made = task.finish(made, |(made, bytes)| {
            format!("{} -> {bytes} bytes, {} records, proven", known.btf.size, made.count)
        });
        let reason = made.as_ref().err().map(|failure| failure.message.clone());
        let end = if made.is_ok() { End::Done } else { End::Failed };
        self.ledger.add(step, subject, key, end, reason);
        made.map(|(made, _)| made)
    }

    /// What plugins make of what was minimized, one step after the other.
    fn transform(
        &self,
        id: &KernelId,
        package: &Package,
        set: &ProgramSet,
        known: &Known,
        mut made: Made,
    ) -> Result<Made, Failure> {
        let (subject, cache) = (Subject { id, known, set, store: self.store }, cache_in(self.store.root()));
        for step in self.project.transforms(package) {
            let key = subject.key(step, &made)?;
            let name = format!("{} by {}", self.subject(id, package), step.name);
            if let Some(found) = subject.find(step, &key).filter(|_| !self.options.rerun) {
                self.tools.events.kept(Phase::Transform, &name, "in the store");
                self.ledger.add(Phase::Transform.name(), name, key, End::Kept, None);
                made = found;
                continue;
            }
            let (events, patience) = (self.tools.events, &self.options.patience);
            let stage = Stage { work: self.work, cache: &cache, events, patience };
            let task = events.begin(Phase::Transform, name.as_str());
            let bytes = made.btf.size;
            let next = subject.make(step, &key, &made, stage, &task);
            let next = task.finish(next, |next| format!("{bytes} -> {} bytes, proven", next.btf.size));
            let reason = next.as_ref().err().map(|failure| failure.message.clone());
            let end = if next.is_ok() { End::Done } else { End::Failed };
            self.ledger.add(Phase::Transform.name(), name, key, end, reason);
            made = next?;
        }
        Ok(made)
    }

    /// The same, where all of it was made before; None otherwise.
    fn transformed_before(
        &self,
        id: &KernelId,
        package: &Package,
        set: &ProgramSet,
        known: &Known,
        made: Made,
    ) -> Result<Option<Made>, Failure> {
        let subject = Subject { id, known, set, store: self.store };
        let mut last = made.clone();
        for step in self.project.transforms(package) {
            match subject.find(step, &subject.key(step, &last)?) {
                Some(next) => last = next,
                None => return Ok(None),
            }
        }
        self.transform(id, package, set, known, made).map(Some)
    }

    fn minimize(&self, known: &Known, set: &ProgramSet) -> Result<Minimized, Failure> {
        let btf = self.store.get(&known.btf.sha256)?;
        btf.ok_or_else(|| Failure::new("the store lost its BTF; run again"))
            .and_then(|btf| engine::minimize(&btf, set))
    }

    /// The files of a result: BTF and records. What the store lost is made again.
    pub(crate) fn files(&self, worked: &Worked, package: usize) -> Result<Option<Files>, Failure> {
        let Ok(Ready { made, known, .. }) = &worked.result else {
            return Ok(None);
        };
        let Some(made) = made.get(package).and_then(Option::as_ref) else {
            return Ok(None);
        };
        let find =
            |made: &Made| self.store.path_of(&made.btf.sha256).zip(self.store.path_of(&made.records.sha256));
        if let Some(files) = find(made) {
            return Ok(Some(files));
        }
        let id = &worked.chosen.id;
        self.tools.events.warn(format!("{id}: the store lost what was made of it; making it again"));
        let mut chosen = worked.chosen.clone();
        self.content(&mut chosen, &[])?;
        let set = self.set(package, id.arch()).ok_or_else(|| Failure::new("no programs"))?;
        let one = &self.project.file.packages[package];
        let made = self.make(&worked.chosen, one, set, known)?;
        let made = self.transform(id, one, set, known, made)?;
        Ok(find(&made))
    }

    /// A kernel's content for its machine: there since it was worked on, or brought now.
    pub(crate) fn content_of(&self, worked: &Worked) -> Result<Content, Failure> {
        match &worked.result {
            Ok(Ready { content: Some(content), .. }) => Ok(content.clone()),
            Ok(Ready { content: None, .. }) => self.content(&mut worked.chosen.clone(), &[]),
            Err(failure) => Err(failure.clone()),
        }
    }

    /// The content; of another kernel in its place when the source no longer has it.
    fn content(&self, chosen: &mut Chosen, requests: &[usize]) -> Result<Content, Failure> {
        let supply = Supply {
            store: self.store,
            sources: self.tools.sources,
            work: self.work,
            offline: self.options.offline,
            patience: &self.options.patience,
        };
        let reason = match content::obtain(supply, chosen, self.tools.events) {
            Ok(content) => return Ok(content),
            Err(NoContent::Failed(failure)) => return Err(failure),
            Err(NoContent::Gone(reason)) => reason,
        };
        *chosen = self.replace(chosen, requests, &reason)?;
        match content::obtain(supply, chosen, self.tools.events) {
            Ok(content) => Ok(content),
            Err(NoContent::Failed(failure)) => Err(failure),
            Err(NoContent::Gone(reason)) => Err(Failure::new(format!("also gone: {reason}"))),
        }
    }

    fn replace(&self, lost: &Chosen, requests: &[usize], reason: &str) -> Result<Chosen, Failure> {
        let (id, lock) = (&lost.id, self.project.lock_path.display());
        if self.options.locked {
            return Err(Failure::digest(format!(
                "{lock} pins {id}, which is gone ({reason}), and --locked forbids another; run without --locked, or \
                 \"btfpipe lock {}\", and commit {lock}",
                self.project.file.path.display()
            )));
        }
        // One at a time, so that each answer is asked for once and no kernel is taken twice.
        let mut answers = locked(&self.answers);
        for index in requests {
            let (request, _) = &self.project.requests[*index];
            let answer = answers.entry(*index).or_insert_with(|| {
                let patience = &self.options.patience;
                let ask =
                    self.project.ask(*index, self.tools.sources, self.work, self.tools.events, patience);
                ask.map_err(|error| error.to_string())
            });
            let answer =
                answer.as_ref().map_err(|error| Failure::new(format!("gone ({reason}), and {error}")))?;
            let mut taken = locked(&self.taken);
            let found = locking::replacement(lost, &taken, request, answer).map_err(Failure::new)?;
            if let Some(found) = found {
                taken.insert(found.id.clone());
                self.tools.events.warn(format!("{id} is gone ({reason}); taking {} instead", found.id));
                return Ok(found);
            }
        }
        Err(Failure::new(format!("gone ({reason}), and the source has nothing in its place")))
    }
}

/// A kernel, and the package where there are several.
pub(crate) fn subject(packages: &[Package], id: &KernelId, package: &Package) -> String {
    if packages.len() == 1 { id.to_string() } else { format!("{id} for {}", package.name) }
}

/// The programs of each package out of all of an architecture.
pub(crate) fn set_of(package: &Package, arch: Arch, opened: &Opened) -> ProgramSet {
    let is_in = |sets: &BTreeSet<String>| !package.programs.is_disjoint(sets);
    let programs = opened.programs.iter().filter(|program| is_in(&program.sets)).cloned().collect();
    let unusable =
        opened.unusable.iter().filter(|(_, sets)| is_in(sets)).map(|(bad, _)| bad.clone()).collect();
    ProgramSet { arch, programs, unusable }
}

fn sets_by_package(packages: &[Package], arch: Arch, opened: &Opened) -> Sets {
    let all = ProgramSet {
        arch,
        programs: opened.programs.clone(),
        unusable: opened.unusable.iter().map(|(bad, _)| bad.clone()).collect(),
    };
    Sets { all, of: packages.iter().map(|package| set_of(package, arch, opened)).collect() }
}

/// Of two packages' words about one program the worse counts.
pub(crate) fn add_cells(all: &mut Cells, more: &Cells) {
    for (name, cell) in more {
        match all.get(name) {
            Some(known) if known.state >= cell.state => {}
            _ => drop(all.insert(name.clone(), cell.clone())),
        }
    }
}

/// What a panic is to those who hear of it.
pub(crate) fn bug(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Failure {
        code: Code::Bug,
        message: format!("a bug in btfpipe, please report it: {}", text.unwrap_or("panic")),
    }
}
