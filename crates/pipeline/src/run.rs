//! Running a pipeline: kernels, then packages, then machines, then the summary.

pub(crate) mod relock;
pub(crate) mod report;

use std::collections::BTreeMap;
use std::sync::Mutex;

use kernels::{Digest, Store};

use crate::kernel::works::{Goal, Tools, Worked, Works};
use crate::outcome::{Code, Error};
use crate::package::concluding::Concluding;
use crate::package::dist::Dist;
use crate::package::packaging;
use crate::package::publishing::Publishing;
use crate::project::{Options, Project};
use crate::run::report::Report;
use crate::summary::{self, Summary};
use crate::verify::machines::Machines;
use crate::verify::verifier::{self, Verifier};
use crate::work::key::Key;
use crate::work::ledger::{End, LastRun};

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// What works where.
    pub summary: Summary,
    /// The exit code.
    pub code: Code,
    /// Where the packages are.
    pub dist: std::path::PathBuf,
    /// What ran, and what was there.
    pub actions: LastRun,
    /// The records of each kernel, and package where there are several; the bytes are in the store.
    pub records: BTreeMap<String, Digest>,
}

impl Finished {
    /// The run in one line.
    pub fn said(&self) -> String {
        let what = match self.code {
            Code::Ok => "all is well",
            Code::Environment => "NOT VERIFIED: the machines did not run",
            Code::Transient => "something failed that may work when tried again",
            Code::Failed | Code::Usage | Code::Lock => "something FAILED",
            Code::Bug => "a BUG in btfpipe showed itself; please report it",
            Code::Interrupted => "INTERRUPTED",
        };
        let packages = match self.summary.packages.len() {
            1 => "1 package".to_owned(),
            count => format!("{count} packages"),
        };
        let dist = self.dist.display();
        format!("{what}; {}; {packages}, summary.md and summary.json in {dist}", self.actions.in_short())
    }
}

/// Runs a pipeline.
pub fn run(options: &Options, tools: Tools<'_>) -> Result<Finished, Error> {
    let epoch = packaging::source_date_epoch(std::env::var_os("SOURCE_DATE_EPOCH"))?;
    let project = Project::load(options)?;
    let store = options.open_store()?;
    let dist = Dist::open(&project.dist, tools.events)?;
    // Cleared by whoever opens the store next, should this run be killed.
    let work = store.root().join("tmp");
    let kernels = project.resolve_missing(options, tools.sources, &work, tools.events)?;
    let known = kernels.chosen.len();
    project.check_packages(&kernels)?;
    project.idle_aliases(&kernels).into_iter().for_each(|idle| tools.events.warn(idle));
    let kernels = project.selected(kernels)?;
    let verifier = verifier(&project, options, &store, tools);
    let begun = kernels.chosen.len();
    tools.events.plan(count(&project, begun));
    let works = Works::new(&project, options, tools, &store, &work, &kernels);
    let done = works.all(kernels, goal(&project, verifier.as_ref()));
    relock::keep(&project, options, &done, known, tools.events)?;
    let mut report = Report::new(&project.file.name, &done, works.sets());
    let left = begun - done.len();
    if left > 0 && !options.patience.stop.is_told() {
        let text = format!(
            "{left} kernels were not begun, since one failed and --fail-fast was given; no package was made"
        );
        report.note_failure(text, Code::Failed);
    } else if let Some(step) = project.file.steps.package.as_ref().filter(|_| left == 0) {
        let (project, works, dist, store, work) = (&project, &works, &dist, &store, work.as_path());
        let publishing = Publishing { project, works, dist, work, events: tools.events, options };
        let packages = publishing.make_all(&done, step, epoch, &mut report)?;
        if let Some(verifier) = &verifier {
            let evidence = dist.folder().join("evidence");
            let machines = Machines {
                verifier,
                store,
                work,
                works,
                project,
                evidence: &evidence,
                events: tools.events,
                jobs: options.jobs(),
                told: Mutex::default(),
            };
            machines.verify_all(&done, &packages, &options.patience.stop, &mut report)?;
        }
        if !options.patience.stop.is_told() {
            let (ledger, events) = (works.ledger(), tools.events);
            Concluding { project, options, store, ledger, dist, work, events, epoch }.all(&mut report);
        }
    }
    for worked in &done {
        if let Err(failure) = &worked.result {
            let (id, reason) = (worked.chosen.id.to_string(), Some(failure.message.clone()));
            works.ledger().add("kernel", id, Key::of("kernel/1"), End::Failed, reason);
        }
    }
    let records = records(&project, &works, &done);
    let actions = works.into_ledger().finish();
    if !options.unremembered {
        actions.write(&store, &project.file.path)?;
    }
    if options.patience.stop.is_told() {
        return Err(interrupted(&project, &actions, &done, left));
    }
    let (summary, code) = report.finish();
    dist.renew("summary.json", summary::to_json(&summary).as_bytes())?;
    dist.renew("summary.md", summary::to_markdown(&summary).as_bytes())?;
    dist.renew("junit.xml", summary::to_junit(&summary, &BTreeMap::new()).as_bytes())?;
    Ok(Finished { summary, code, dist: dist.folder().to_owned(), actions, records })
}

/// The verifier, when packages are verified; what it lacks is said once.
fn verifier<'a>(
    project: &'a Project,
    options: &Options,
    store: &Store,
    tools: Tools<'_>,
) -> Option<Verifier<'a>> {
    let settings = project.file.steps.verify.as_ref()?;
    verifier::remember_machine(store);
    let verifier = Verifier::new(settings, Some(store), options.rerun || options.boot_anew, options.no_vm);
    if let Some(lacks) = &verifier.lacks {
        tools.events.warn(format!("no kernel will be booted: {lacks}"));
    }
    Some(verifier)
}

fn goal<'a>(project: &Project, verifier: Option<&'a Verifier<'a>>) -> Goal<'a> {
    match verifier {
        Some(verifier) => Goal::Verified(verifier),
        None if project.file.steps.minimize => Goal::Minimized,
        None => Goal::Content,
    }
}

/// How many actions there are, those included that have nothing to do.
fn count(project: &Project, kernels: usize) -> u64 {
    let steps = &project.file.steps;
    let packages = project.file.packages.len() as u64;
    let each = 2 + packages * (u64::from(steps.minimize) + u64::from(steps.verify.is_some()));
    let files = steps.package.as_ref().map_or(0, |step| 1 + step.layouts.len() as u64);
    let of_kernels = |package| project.transforms(package).count() as u64 * kernels as u64;
    let transforms: u64 = project.file.packages.iter().map(of_kernels).sum();
    let layouts: usize =
        project.file.packages.iter().map(|package| project.layouts(&package.name).count()).sum();
    let after = project.steps.iter().filter(|step| step.role.is_conclusion()).count() as u64;
    kernels as u64 * each + packages * files + transforms + layouts as u64 + after + 1
}

fn records(project: &Project, works: &Works<'_>, done: &[Worked]) -> BTreeMap<String, Digest> {
    let mut records = BTreeMap::new();
    for worked in done {
        let Ok(ready) = &worked.result else { continue };
        for (package, made) in project.file.packages.iter().zip(&ready.made) {
            if let Some(made) = made {
                records.insert(works.subject(&worked.chosen.id, package), made.records.sha256);
            }
        }
    }
    records
}

/// What was done, and what remains.
fn interrupted(project: &Project, actions: &LastRun, done: &[Worked], left: usize) -> Error {
    let good = done.iter().filter(|worked| worked.result.is_ok()).count();
    let steps = &project.file.steps;
    let mut words = Vec::new();
    if left > 0 {
        words.push(format!("{left} kernels"));
    }
    if steps.package.is_some() && actions.count("package") == 0 {
        words.push("all packages".to_owned());
    }
    if steps.verify.is_some() {
        let wanted = (good + left) * project.file.packages.len();
        words.push(format!("{} verifications", wanted.saturating_sub(actions.count("verify"))));
    }
    let left =
        if words.is_empty() { "the summary is".to_owned() } else { format!("{} are", words.join(", ")) };
    Error::Interrupted { done: format!("{good} kernels are done"), left }
}
