//! What a run would do, action by action, and why: complete before anything runs.

use std::collections::BTreeSet;
use std::fmt;

use kernels::{Arch, Store};

use crate::content::{self, Held};
use crate::events::Phase;
use crate::locking::{Chosen, Why};
use crate::programs::ProgramKind;
use crate::project::{Kernels, Project, shown};
use crate::verifying;

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
    /// False when its result is there.
    pub runs: bool,
    /// Why it runs, or doesn't.
    pub reason: String,
}

/// The plan for these kernels.
pub fn plan(project: &Project, kernels: &Kernels, store: Option<&Store>) -> Plan {
    let mut actions = Vec::new();
    for index in &kernels.unresolved {
        let (request, place) = &project.requests[*index];
        let reason = format!(
            "{} has no answer to it; its kernels follow when they are known",
            project.lock_path.display()
        );
        actions.push(action(Phase::Resolve, shown(request), vec![place.clone()], Some(reason)));
    }
    let arches: BTreeSet<Arch> = kernels.chosen.keys().map(|id| id.arch()).collect();
    actions.extend(arches.iter().map(|arch| compile(project, *arch)));
    for (chosen, _) in kernels.chosen.values() {
        let held = store.map_or(Held::Nothing, |store| content::held(store, chosen));
        actions.push(fetch(chosen, held));
        actions.push(extract(chosen, held));
        if project.file.steps.minimize {
            let inputs = vec![format!("{} BTF", chosen.id), format!("programs for {}", chosen.id.arch())];
            actions.push(action(
                Phase::Minimize,
                chosen.id.to_string(),
                inputs,
                Some("made in every run".into()),
            ));
        }
    }
    if project.file.steps.package.is_some() {
        actions.extend(arches.iter().map(|arch| package(project, kernels, *arch)));
    }
    if project.file.steps.verify.is_some() {
        actions.extend(kernels.chosen.values().map(|(chosen, _)| verify(project, chosen)));
    }
    Plan { name: project.file.name.clone(), actions }
}

/// An action that runs because of `why`.
fn action(phase: Phase, subject: String, inputs: Vec<String>, why: Option<String>) -> Action {
    Action {
        phase,
        subject,
        inputs,
        runs: why.is_some(),
        reason: why.unwrap_or_else(|| "in the store".to_owned()),
    }
}

fn compile(project: &Project, arch: Arch) -> Action {
    let inputs: Vec<String> = project.programs.iter().map(|file| file.path.display().to_string()).collect();
    let sources = project.programs.iter().filter(|file| file.kind == ProgramKind::Source).count();
    let reason = match sources {
        0 => "objects are opened in every run".to_owned(),
        _ => format!("{sources} sources, compiled in every run"),
    };
    action(Phase::Compile, format!("programs for {arch}"), inputs, Some(reason))
}

fn fetch(chosen: &Chosen, held: Held) -> Action {
    let inputs = chosen.source.packages.iter().map(|package| package.file.clone()).collect();
    let size: u64 = chosen.source.packages.iter().map(|package| package.size).sum();
    let why = match &chosen.why {
        Why::Locked => "locked".to_owned(),
        Why::New => "not in the lock yet".to_owned(),
        Why::Replaces(lost) => format!("in place of {lost}"),
    };
    let reason =
        (held == Held::Nothing).then(|| format!("{why}, not in the store ({:.1} MB)", size as f64 / 1e6));
    action(Phase::Fetch, chosen.id.to_string(), inputs, reason)
}

fn extract(chosen: &Chosen, held: Held) -> Action {
    let inputs = chosen.source.packages.iter().map(|package| package.file.clone()).collect();
    let reason = (held != Held::Extracted).then(|| "BTF and boot image are not in the store".to_owned());
    action(Phase::Extract, chosen.id.to_string(), inputs, reason)
}

fn package(project: &Project, kernels: &Kernels, arch: Arch) -> Action {
    let ids = kernels.chosen.keys().filter(|id| id.arch() == arch);
    let inputs = ids.map(|id| format!("{id} minimized")).collect();
    let subject = format!("{}/{}-{arch}.tar.zst", project.dist.display(), project.file.name);
    action(Phase::Package, subject, inputs, Some("made in every run".to_owned()))
}

fn verify(project: &Project, chosen: &Chosen) -> Action {
    let arch = chosen.id.arch();
    let inputs = vec![format!("{}-{arch}.tar.zst", project.file.name), format!("{} boot image", chosen.id)];
    let reason = match verifying::why_not_booted(arch) {
        None => "booted, compared in the machine and on the host".to_owned(),
        Some(why) => format!("compared on the host only: {why}"),
    };
    action(Phase::Verify, chosen.id.to_string(), inputs, Some(reason))
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let runs = self.actions.iter().filter(|action| action.runs).count();
        writeln!(out, "{}: {} actions, {runs} to run", self.name, self.actions.len())?;
        let wide =
            self.actions.iter().map(|action| action.subject.chars().count()).max().unwrap_or(0).min(64);
        for Action { phase, subject, inputs, runs, reason } in &self.actions {
            let verb = if *runs { "run " } else { "keep" };
            writeln!(out, "  {verb} {phase:<8} {subject:<wide$}  {reason}")?;
            if let Some(inputs) = shown_inputs(inputs) {
                writeln!(out, "                reads {inputs}")?;
            }
        }
        Ok(())
    }
}

/// A few of them by name.
fn shown_inputs(inputs: &[String]) -> Option<String> {
    const MOST: usize = 3;
    let named = inputs.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
    match inputs.len() {
        0 => None,
        few if few <= MOST => Some(named),
        many => Some(format!("{named} and {} more", many - MOST)),
    }
}
