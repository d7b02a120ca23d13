//! Verifying all kernels of all packages: on the host, then in machines, several at a time.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use kernels::Store;

use crate::events::{Events, Phase};
use crate::kernel::engine::ProgramSet;
use crate::kernel::made::{Cells, Made};
use crate::kernel::works::{self, Ready, Worked, Works};
use crate::outcome::{Error, Failure};
use crate::package::publishing::Published;
use crate::project::Project;
use crate::run::report::Report;
use crate::summary::Checked;
use crate::verify::verifier::Verifier;
use crate::verify::verifying::{self, Booting, Subject, Verified};
use crate::work::ledger::End;
use crate::work::stop::Stop;
use crate::work::threads::{locked, through};

/// What verification needs.
pub(crate) struct Machines<'a> {
    pub verifier: &'a Verifier<'a>,
    pub store: &'a Store,
    pub work: &'a Path,
    pub works: &'a Works<'a>,
    pub project: &'a Project,
    /// A folder for each kernel's evidence.
    pub evidence: &'a Path,
    pub events: Events<'a>,
    /// How many kernels are verified at a time; vmtest has fewer machines run where memory or processors are short.
    pub jobs: usize,
    /// What was said of the accelerator: the same isn't said for every kernel.
    pub told: Mutex<BTreeSet<String>>,
}

/// A kernel in a package.
#[derive(Clone, Copy)]
struct Case<'a> {
    worked: &'a Worked,
    ready: &'a Ready,
    made: &'a Made,
    published: &'a Published,
    set: &'a ProgramSet,
}

/// What became of a case.
struct Ended {
    compared: Result<(), Failure>,
    machine: Machine,
}

/// What a machine said, or why there was none.
enum Machine {
    None { why: String },
    Ran(Verified),
    Failed(Failure),
}

impl<'a> Machines<'a> {
    /// Verifies all kernels that were made, up to somebody saying stop.
    pub fn verify_all(
        &self,
        done: &[Worked],
        packages: &[Published],
        stop: &Stop,
        report: &mut Report,
    ) -> Result<(), Error> {
        let of = |worked| packages.iter().filter_map(move |published| self.case(worked, published));
        let cases: Vec<Case<'_>> = done.iter().flat_map(of).collect();
        let verify = |case: &Case<'_>| {
            // One that shows a bug of ours costs the others nothing.
            let verified = catch_unwind(AssertUnwindSafe(|| self.verify(*case)));
            verified.unwrap_or_else(|panic| {
                Ok(Ended { compared: Ok(()), machine: Machine::Failed(works::bug(&*panic)) })
            })
        };
        let ended = through(&cases, self.jobs, || !stop.is_told(), verify);
        // The report says the same whichever kernel is done first.
        for (case, ended) in cases.iter().zip(ended) {
            let Some(ended) = ended else { continue };
            tell(report, case, ended?);
        }
        Ok(())
    }

    fn case<'b>(&'b self, worked: &'b Worked, published: &'b Published) -> Option<Case<'b>> {
        if published.arch != worked.chosen.id.arch() {
            return None;
        }
        let ready = worked.result.as_ref().ok()?;
        let made = ready.made.get(published.package)?.as_ref()?;
        let set = self.works.set(published.package, published.arch)?;
        Some(Case { worked, ready, made, published, set })
    }

    fn subject(&self, case: Case<'_>) -> String {
        self.works.subject(&case.worked.chosen.id, &self.project.file.packages[case.published.package])
    }

    fn verify(&self, case: Case<'_>) -> Result<Ended, Error> {
        let name = self.subject(case);
        Ok(Ended { compared: self.compare(case, &name)?, machine: self.machine(case, name)? })
    }

    fn machine(&self, case: Case<'_>, name: String) -> Result<Machine, Error> {
        if let Some(why) = self.verifier.why_not_booted(case.worked.chosen.id.arch()) {
            self.events.kept(Phase::Verify, name, format!("compared on the host only: {why}"));
            return Ok(Machine::None { why });
        }
        if let Some(lacks) = &self.verifier.lacks {
            self.events.begin(Phase::Verify, name).failed(lacks);
            return Ok(Machine::Ran(without_machine(lacks)));
        }
        let key = self.verifier.key(&case.ready.known, case.made, case.set);
        if let Some(verified) = self.verifier.find(self.store, &key) {
            self.events.kept(Phase::Verify, &name, "booted before, with the same answer");
            self.works.ledger().add(Phase::Verify.name(), name, key, End::Kept, None);
            return Ok(Machine::Ran(verified));
        }
        let verified = self.boot(case)?;
        let failed = match &verified {
            Ok(verified) => verified.no_verdict.clone(),
            Err(failure) => Some(failure.message.clone()),
        };
        let end = if failed.is_none() { End::Done } else { End::Failed };
        if let Ok(verified) = &verified {
            self.verifier.keep(self.store, &key, verified)?;
            verified.notes.iter().for_each(|note| self.events.warn(note.clone()));
        }
        self.works.ledger().add(Phase::Verify.name(), name, key, end, failed);
        Ok(verified.map_or_else(Machine::Failed, Machine::Ran))
    }

    /// Makes every decision again with the packaged BTF, unless that was done with the same bytes. A package that was
    /// made now is looked into in any case: the kernel must be found, and its BTF must be the one that was made.
    fn compare(&self, case: Case<'_>, name: &str) -> Result<Result<(), Failure>, Error> {
        let key = self.verifier.compare_key(case.made, case.set);
        let is_compared = self.verifier.is_compared(self.store, &key);
        if is_compared && !case.published.is_new {
            self.works.ledger().add("compare", name, key, End::Kept, None);
            return Ok(Ok(()));
        }
        let subject = self.looked_up(case)?;
        let found = verifying::is_packaged(subject, &case.made.btf.sha256);
        if is_compared && found.is_ok() {
            self.works.ledger().add("compare", name, key, End::Kept, None);
            return Ok(Ok(()));
        }
        let compared = found.and_then(|()| verifying::on_host(subject));
        let reason = compared.as_ref().err().map(|failure| failure.message.clone());
        let end = if compared.is_ok() { End::Done } else { End::Failed };
        if compared.is_ok() {
            self.verifier.compared(self.store, &key)?;
        }
        self.works.ledger().add("compare", name, key, end, reason);
        Ok(compared)
    }

    fn looked_up<'b>(&self, case: Case<'b>) -> Result<Subject<'b>, Error> {
        Ok(Subject {
            id: &case.worked.chosen.id,
            build_id: case.ready.known.build_id.as_deref(),
            bundle: case.published.bundle()?,
            set: case.set,
        })
    }

    fn boot(&self, case: Case<'_>) -> Result<Result<Verified, Failure>, Error> {
        let content = match self.works.content_of(case.worked) {
            Ok(content) => content,
            Err(failure) => return Ok(Err(failure)),
        };
        if content.boot.is_none() {
            return Ok(Ok(on_host("no boot image is at hand for it")));
        }
        let fell_back = |accel: vmtest::Accel, reason: &str| {
            let text = format!("the machines run on {accel}: {reason}");
            if locked(&self.told).insert(text.clone()) {
                self.events.warn(text);
            }
        };
        let booting = Booting {
            settings: self.verifier.settings,
            store: self.store,
            work: self.work,
            evidence: self.evidence,
            anew: self.verifier.again,
            events: self.events,
        };
        Ok(verifying::in_machine(self.looked_up(case)?, &content, booting, &fell_back))
    }
}

fn tell(report: &mut Report, case: &Case<'_>, ended: Ended) {
    let id = &case.worked.chosen.id;
    if let Err(failure) = ended.compared {
        report.fail(id, &failure);
    }
    match ended.machine {
        Machine::None { why } => report.on_host(id, &why),
        Machine::Ran(verified) => report.verified(id, verified),
        Machine::Failed(failure) => report.fail(id, &failure),
    }
}

fn on_host(why: &str) -> Verified {
    let checked = Checked::Host(why.to_owned());
    Verified { checked, cells: Cells::new(), notes: Vec::new(), no_verdict: None }
}

fn without_machine(why: &str) -> Verified {
    Verified {
        checked: Checked::No,
        cells: Cells::new(),
        notes: Vec::new(),
        no_verdict: Some(why.to_owned()),
    }
}
