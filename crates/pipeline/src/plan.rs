//! What a run would do, action by action, and why: complete before anything runs.

pub mod explain;
mod making;
mod show;

use std::collections::BTreeMap;

use kernels::{Arch, KernelId, Store};

use crate::events::Phase;
use crate::project::compiling::Compiler;
use crate::project::{Kernels, Project, shown};
use crate::work::key::Key;
use crate::work::ledger::LastRun;

/// The actions in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The pipeline's name.
    pub name: String,
    /// All actions, also those that have nothing to do.
    pub actions: Vec<Action>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// What is done.
    pub phase: Phase,
    /// With what: a kernel, an architecture, a request.
    pub subject: String,
    /// What it reads.
    pub inputs: Vec<String>,
    /// Actions (by index) whose results it reads.
    pub needs: Vec<usize>,
    /// Whether it runs.
    pub runs: Runs,
    /// Why it runs, or doesn't.
    pub reason: String,
    /// What its result depends on; None when that is known only later.
    pub key: Option<Key>,
}

/// Whether an action runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Runs {
    /// Its result is there.
    No,
    /// If what it needs comes out otherwise than before.
    Perhaps,
    /// It does.
    Yes,
}

impl Runs {
    /// The word for JSON.
    pub fn word(self) -> &'static str {
        match self {
            Runs::No => "no",
            Runs::Perhaps => "perhaps",
            Runs::Yes => "yes",
        }
    }
}

/// The plan for these kernels. Reads the store and the output folder, writes nowhere.
pub fn plan(project: &Project, kernels: &Kernels, store: Option<&Store>, compiler: &dyn Compiler) -> Plan {
    let last = store.map(|store| LastRun::read(store, &project.file.path)).unwrap_or_default();
    let mut making = making::Making::new(project, store, last);
    for index in &kernels.unresolved {
        let (request, place) = &project.requests[*index];
        let lock = project.lock_path.display();
        making.add(Action {
            inputs: vec![place.clone()],
            ..action(
                Phase::Resolve,
                shown(request),
                Runs::Yes,
                format!("{lock} has no answer to it; its kernels follow when they are known"),
            )
        });
    }
    let mut arches: BTreeMap<Arch, Vec<&KernelId>> = BTreeMap::new();
    for id in kernels.chosen.keys() {
        arches.entry(id.arch()).or_default().push(id);
    }
    for arch in arches.keys() {
        making.compile(*arch, compiler);
    }
    for (chosen, _) in kernels.chosen.values() {
        making.kernel(chosen);
    }
    making.packages();
    making.verifications();
    making.conclusions();
    Plan { name: project.file.name.clone(), actions: making.finish() }
}

/// An action that reads nothing so far.
fn action(phase: Phase, subject: impl Into<String>, runs: Runs, reason: impl Into<String>) -> Action {
    let (subject, reason) = (subject.into(), reason.into());
    Action { phase, subject, inputs: Vec::new(), needs: Vec::new(), runs, reason, key: None }
}
