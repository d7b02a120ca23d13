//! Verifying all kernels of all packages: on the host, then in machines, one after the other.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use kernels::Store;

use crate::engine::ProgramSet;
use crate::events::{Events, Phase};
use crate::ledger::End;
use crate::made::{Cells, Made};
use crate::outcome::{Error, Failure};
use crate::project::Project;
use crate::publishing::Published;
use crate::report::Report;
use crate::stop::Stop;
use crate::summary::Checked;
use crate::verifier::Verifier;
use crate::verifying::{self, Booting, Subject, Verified};
use crate::works::{Ready, Worked, Works};

/// What verification needs.
pub(crate) struct Machines<'a> {
    verifier: &'a Verifier<'a>,
    store: &'a Store,
    work: &'a Path,
    works: &'a Works<'a>,
    project: &'a Project,
    /// A folder for each kernel's evidence.
    evidence: &'a Path,
    events: Events<'a>,
    /// What was said of the accelerator: the same isn't said for every kernel.
    told: RefCell<BTreeSet<String>>,
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

impl<'a> Machines<'a> {
    pub fn new(
        verifier: &'a Verifier<'a>,
        store: &'a Store,
        work: &'a Path,
        works: &'a Works<'a>,
        project: &'a Project,
        evidence: &'a Path,
        events: Events<'a>,
    ) -> Machines<'a> {
        Machines { verifier, store, work, works, project, evidence, events, told: RefCell::default() }
    }

    /// One kernel after the other: two boots at once starve each other.
    pub fn verify_all(
        &self,
        done: &[Worked],
        packages: &[Published],
        stop: &Stop,
        report: &mut Report,
    ) -> Result<(), Error> {
        for worked in done {
            for published in packages.iter().filter(|one| one.arch == worked.chosen.id.arch()) {
                if stop.is_told() {
                    return Ok(());
                }
                if let Some(case) = self.case(worked, published) {
                    self.verify_one(case, report)?;
                }
            }
        }
        Ok(())
    }

    fn case<'b>(&'b self, worked: &'b Worked, published: &'b Published) -> Option<Case<'b>> {
        let ready = worked.result.as_ref().ok()?;
        let made = ready.made.get(published.package)?.as_ref()?;
        let set = self.works.set(published.package, published.arch)?;
        Some(Case { worked, ready, made, published, set })
    }

    fn subject(&self, case: Case<'_>) -> String {
        self.works.subject(&case.worked.chosen.id, &self.project.file.packages[case.published.package])
    }

    fn verify_one(&self, case: Case<'_>, report: &mut Report) -> Result<(), Error> {
        let (id, name) = (&case.worked.chosen.id, self.subject(case));
        if let Err(failure) = self.compare(case, &name)? {
            report.fail(id, &failure);
        }
        if let Some(why) = self.verifier.why_not_booted(id.arch()) {
            self.events.kept(Phase::Verify, name, format!("compared on the host only: {why}"));
            report.on_host(id, &why);
            return Ok(());
        }
        if let Some(lacks) = &self.verifier.lacks {
            self.events.begin(Phase::Verify, name).failed(lacks);
            report.verified(id, without_machine(lacks));
            return Ok(());
        }
        let key = self.verifier.key(&case.ready.known, case.made, case.set);
        if let Some(verified) = self.verifier.find(self.store, &key) {
            self.events.kept(Phase::Verify, &name, "booted before, with the same answer");
            self.works.ledger().add(Phase::Verify.name(), name, key, End::Kept, None);
            report.verified(id, verified);
            return Ok(());
        }
        let verified = self.boot(case)?;
        let failed = match &verified {
            Ok(verified) => verified.no_verdict.clone(),
            Err(failure) => Some(failure.message.clone()),
        };
        let end = if failed.is_none() { End::Done } else { End::Failed };
        match verified {
            Ok(verified) => {
                self.verifier.keep(self.store, &key, &verified)?;
                verified.notes.iter().for_each(|note| self.events.warn(note.clone()));
                report.verified(id, verified);
            }
            Err(failure) => report.fail(id, &failure),
        }
        self.works.ledger().add(Phase::Verify.name(), name, key, end, failed);
        Ok(())
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
            if self.told.borrow_mut().insert(text.clone()) {
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
