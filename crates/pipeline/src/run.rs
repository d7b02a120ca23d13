//! Running a pipeline: kernels, then packages, then machines, then the summary.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use bundle::{Bundle, Package};
use kernels::Arch;

use crate::content::Content;
use crate::dist::Dist;
use crate::engine::Minimized;
use crate::events::{Events, Phase};
use crate::outcome::{Code, Error};
use crate::packaging::{self, Packed};
use crate::plan;
use crate::project::{Options, Project};
use crate::relock;
use crate::report::Report;
use crate::summary::{self, Checked, Summary};
use crate::verifying::{self, Booting, Subject, Verified};
use crate::works::{Tools, Worked, Works};

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// What works where.
    pub summary: Summary,
    /// The exit code.
    pub code: Code,
    /// Where the packages are.
    pub dist: std::path::PathBuf,
}

impl Finished {
    /// The run in one line.
    pub fn said(&self) -> String {
        let Summary { packages, .. } = &self.summary;
        let what = match self.code {
            Code::Ok => "all is well",
            Code::Environment => "NOT VERIFIED: the machines did not run",
            Code::Transient => "something failed that may work when tried again",
            Code::Failed | Code::Usage | Code::Lock => "something FAILED",
            Code::Bug => "a BUG in btfpipe showed itself; please report it",
        };
        format!("{what}; {} packages, summary.md and summary.json in {}", packages.len(), self.dist.display())
    }
}

/// Runs a pipeline.
pub fn run(options: &Options, tools: Tools<'_>) -> Result<Finished, Error> {
    let epoch = packaging::source_date_epoch(std::env::var_os("SOURCE_DATE_EPOCH"))?;
    let project = Project::load(options)?;
    let store = options.open_store()?;
    let dist = Dist::open(&project.dist, tools.events)?;
    let steps = &project.file.steps;
    // Cleared by whoever opens the store next, should this run be killed.
    let work = store.root().join("tmp");
    let kernels = project.resolve_missing(options, tools.sources, &work, tools.events)?;
    tools.events.plan(plan::plan(&project, &kernels, Some(&store)).actions.len() as u64);
    let lacks = steps.verify.as_ref().filter(|_| !options.no_vm).and_then(|_| verifying::lacks());
    if let Some(lacks) = &lacks {
        tools.events.warn(format!("no kernel will be booted: {lacks}"));
    }
    let works = Works::new(&project, options, tools, &store, &work, &kernels);
    let done = works.all(kernels, steps.minimize);
    relock::keep(&project, options, &done, tools.events)?;
    let mut report = Report::new(&project.file.name, &done, works.sets());
    if let Some(step) = &steps.package {
        let settings =
            Settings { name: &project.file.name, level: step.level, epoch, threads: options.jobs() };
        let bundles = make_packages(settings, &works, &dist, &done, tools.events, &mut report)?;
        if let Some(verify) = &steps.verify {
            let evidence = dist.folder().join("evidence");
            let events = tools.events;
            let booting = Booting {
                settings: verify,
                store: &store,
                work: &work,
                evidence: &evidence,
                anew: options.boot_anew,
                events,
            };
            let machines = Machines { booting, no_vm: options.no_vm, lacks, told: Mutex::default() };
            machines.verify_all(&done, &bundles, &works, &mut report);
        }
    }
    let (summary, code) = report.finish();
    dist.write("summary.json", summary::to_json(&summary).as_bytes())?;
    dist.write("summary.md", summary::to_markdown(&summary).as_bytes())?;
    Ok(Finished { summary, code, dist: dist.folder().to_owned() })
}

/// What packages are made with.
#[derive(Clone, Copy)]
struct Settings<'a> {
    name: &'a str,
    level: i32,
    epoch: u64,
    threads: usize,
}

/// Makes and writes one package an architecture, and opens each from its file as a user would.
fn make_packages(
    settings: Settings<'_>,
    works: &Works<'_>,
    dist: &Dist,
    done: &[Worked],
    events: Events<'_>,
    report: &mut Report,
) -> Result<BTreeMap<Arch, Bundle>, Error> {
    let mut packages: Vec<(Arch, Package)> = Vec::new();
    for set in works.sets() {
        let good: Vec<Packed<'_>> =
            done.iter().filter_map(packed).filter(|one| one.id.arch() == set.arch).collect();
        if good.is_empty() {
            continue;
        }
        let task = events.begin(Phase::Package, format!("{}-{}.tar.zst", settings.name, set.arch));
        let Settings { name, level, epoch, threads } = settings;
        let package = packaging::package(name, level, epoch, &good, set, threads);
        let package =
            task.finish(package, |package| format!("{} kernels, {} bytes", good.len(), package.zst_size))?;
        packages.push((set.arch, package));
    }
    publish(dist, &packages, report)
}

fn publish(
    dist: &Dist,
    packages: &[(Arch, Package)],
    report: &mut Report,
) -> Result<BTreeMap<Arch, Bundle>, Error> {
    let files: Vec<String> = packages.iter().map(|(_, package)| package.file.clone()).collect();
    dist.retract(&files)?;
    let mut bundles = BTreeMap::new();
    for (arch, package) in packages {
        let path = dist.write(&package.file, &package.tar_zst)?;
        report.package(package);
        bundles.insert(*arch, Bundle::open_file(path)?);
    }
    let all: Vec<&Package> = packages.iter().map(|(_, package)| package).collect();
    dist.release(&all)?;
    Ok(bundles)
}

/// The parts of a kernel that was minimized.
fn made(worked: &Worked) -> Option<(&Content, &Minimized)> {
    let (content, minimized) = worked.result.as_ref().ok()?;
    Some((content, minimized.as_ref()?))
}

fn packed(worked: &Worked) -> Option<Packed<'_>> {
    let (content, minimized) = made(worked)?;
    Some(Packed { id: &worked.chosen.id, build_id: content.build_id.as_deref(), minimized })
}

/// What verification needs.
struct Machines<'a> {
    booting: Booting<'a>,
    /// Compare on the host only.
    no_vm: bool,
    /// Why no machine can run.
    lacks: Option<String>,
    /// What was said of the accelerator: the same isn't said for every kernel.
    told: Mutex<BTreeSet<String>>,
}

impl Machines<'_> {
    /// Several kernels at a time; which machines may run beside each other, vmtest says.
    fn verify_all(
        &self,
        done: &[Worked],
        bundles: &BTreeMap<Arch, Bundle>,
        works: &Works<'_>,
        report: &mut Report,
    ) {
        let next = AtomicUsize::new(0);
        let report = Mutex::new(report);
        let work = || {
            while let Some(worked) = done.get(next.fetch_add(1, Ordering::Relaxed)) {
                let arch = worked.chosen.id.arch();
                if let (Some((content, _)), Some(bundle), Some(set)) =
                    (made(worked), bundles.get(&arch), works.set(arch))
                {
                    let subject = Subject { id: &worked.chosen.id, content, bundle, set };
                    let tell = self.verify_one(subject);
                    tell(&mut report.lock().unwrap_or_else(PoisonError::into_inner));
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads.min(done.len()) {
                scope.spawn(work);
            }
        });
    }

    /// What is to be written into the report.
    fn verify_one<'a>(&self, subject: Subject<'a>) -> impl FnOnce(&mut Report) + use<'a> {
        let on_host = verifying::on_host(subject);
        let booted = self.boot_one(subject);
        move |report| {
            if let Err(failure) = on_host {
                report.fail(subject.id, &failure);
            }
            match booted {
                Booted::Not(why) => report.on_host(subject.id, &why),
                Booted::Verified(verified) => report.verified(subject.id, verified),
                Booted::Failed(failure) => report.fail(subject.id, &failure),
            }
        }
    }

    fn boot_one(&self, subject: Subject<'_>) -> Booted {
        let events = self.booting.events;
        let asked = self.no_vm.then(|| "--no-vm".to_owned());
        let no_image =
            || subject.content.boot.is_none().then(|| "no boot image is at hand for it".to_owned());
        let why_not = asked.or_else(|| verifying::why_not_booted(subject.id.arch())).or_else(no_image);
        if let Some(why) = why_not {
            let task = events.begin(Phase::Verify, subject.id.to_string());
            task.done(format!("compared on the host only: {why}"));
            return Booted::Not(why);
        }
        if let Some(lacks) = &self.lacks {
            events.begin(Phase::Verify, subject.id.to_string()).failed(lacks);
            return Booted::Verified(without_machine(lacks));
        }
        let fell_back = |accel: vmtest::Accel, reason: &str| {
            let text = format!("the machines run on {accel}: {reason}");
            if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone()) {
                events.warn(text);
            }
        };
        match verifying::in_machine(subject, self.booting, &fell_back) {
            Ok(verified) => {
                verified.notes.iter().for_each(|note| events.warn(note.clone()));
                Booted::Verified(verified)
            }
            Err(failure) => Booted::Failed(failure),
        }
    }
}

/// What became of a kernel's boot.
enum Booted {
    /// It was not to be, for this reason.
    Not(String),
    Verified(Verified),
    Failed(crate::outcome::Failure),
}

fn without_machine(why: &str) -> Verified {
    Verified {
        checked: Checked::No,
        cells: BTreeMap::new(),
        notes: Vec::new(),
        no_verdict: Some(why.to_owned()),
    }
}
