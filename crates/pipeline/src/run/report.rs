//! Collects what became of each kernel, and makes the summary of it.

use std::collections::{BTreeMap, BTreeSet};

use bundle::PackageEntry;
use kernels::{Arch, KernelId};

use crate::kernel::engine::ProgramSet;
use crate::kernel::made::Cells;
use crate::kernel::works::{Worked, add_cells};
use crate::outcome::{Code, Failure};
use crate::summary::{Cell, Checked, KernelColumn, PackageLine, Row, State, Summary};
use crate::verify::verifying::Verified;

/// The summary in the making.
#[derive(Debug)]
pub struct Report {
    name: String,
    columns: BTreeMap<KernelId, Column>,
    /// The objects of each architecture.
    objects: BTreeMap<Arch, BTreeSet<String>>,
    packages: Vec<PackageLine>,
    failures: Vec<String>,
    code: Code,
}

#[derive(Debug)]
struct Column {
    checked: Checked,
    failure: Option<String>,
    bytes: Option<(u64, u64)>,
    cells: Cells,
    /// What machines said, of several packages the worst.
    verdicts: Cells,
}

impl Report {
    /// With what fetching, extracting and the engine gave.
    pub fn new<'a>(name: &str, done: &[Worked], sets: impl Iterator<Item = &'a ProgramSet>) -> Report {
        let mut report = Report {
            name: name.to_owned(),
            columns: BTreeMap::new(),
            objects: BTreeMap::new(),
            packages: Vec::new(),
            failures: Vec::new(),
            code: Code::Ok,
        };
        for set in sets {
            let names = set.programs.iter().map(|program| program.name.clone());
            report.objects.insert(set.arch, names.collect());
            for bad in &set.unusable {
                report.note_failure(format!("{} for {}: {}", bad.what, set.arch, bad.reason), Code::Failed);
            }
        }
        for worked in done {
            report.add(worked);
        }
        report
    }

    fn add(&mut self, worked: &Worked) {
        let mut column = Column {
            checked: Checked::No,
            failure: None,
            bytes: None,
            cells: Cells::new(),
            verdicts: Cells::new(),
        };
        match &worked.result {
            Ok(ready) => {
                let sizes = ready.made.iter().flatten().map(|made| made.btf.size);
                column.bytes = sizes.max().map(|ours| (ready.known.btf.size, ours));
                column.cells = ready.cells.clone();
            }
            Err(failure) => {
                column.failure = Some(failure.message.clone());
                self.code = self.code.max(failure.code);
            }
        }
        self.columns.insert(worked.chosen.id.clone(), column);
    }

    /// Something that concerns no kernel alone.
    pub fn note_failure(&mut self, text: String, code: Code) {
        self.failures.push(text);
        self.code = self.code.max(code);
    }

    /// How bad it is so far.
    pub fn code(&self) -> Code {
        self.code
    }

    /// A package was written.
    pub fn package(&mut self, package: &PackageEntry) {
        self.packages.push(PackageLine {
            file: package.file.clone(),
            bytes: package.zst.size,
            sha256: package.zst.sha256.to_string(),
            kernels: package.kernels.len(),
            blobs: package.blobs,
        });
    }

    /// A kernel failed where it should not.
    pub fn fail(&mut self, id: &KernelId, failure: &Failure) {
        self.code = self.code.max(failure.code);
        if let Some(column) = self.columns.get_mut(id) {
            column.failure.get_or_insert_with(|| failure.message.clone());
        }
    }

    /// A kernel was compared on the host only.
    pub fn on_host(&mut self, id: &KernelId, why: &str) {
        if let Some(column) = self.columns.get_mut(id) {
            column.checked = Checked::Host(why.to_owned());
        }
    }

    /// A machine ran, or should have.
    pub fn verified(&mut self, id: &KernelId, verified: Verified) {
        let Some(column) = self.columns.get_mut(id) else {
            return;
        };
        column.checked = verified.checked;
        add_cells(&mut column.verdicts, &verified.cells);
        column.cells.extend(column.verdicts.clone());
        if let Some(reason) = verified.no_verdict {
            self.code = self.code.max(Code::Environment);
            column.cells.values_mut().for_each(|cell| *cell = Cell::of(State::NoVerdict));
            column.failure.get_or_insert(format!("no verdict: {reason}"));
        }
    }

    /// The summary, and the exit code that goes with it.
    pub fn finish(self) -> (Summary, Code) {
        let keys: BTreeSet<&(String, String)> =
            self.columns.values().flat_map(|column| column.cells.keys()).collect();
        let row = |key: &(String, String)| Row {
            object: key.0.clone(),
            program: key.1.clone(),
            cells: self.columns.iter().map(|(id, column)| self.cell(id, column, key)).collect(),
        };
        let rows: Vec<Row> = keys.into_iter().map(row).collect();
        let failing = rows.iter().flat_map(|row| &row.cells).map(|cell| code_of(cell.state));
        let code = failing.fold(self.code, Code::max);
        let kernels = self.columns.into_iter().map(|(id, column)| KernelColumn {
            id: id.to_string(),
            checked: column.checked,
            failure: column.failure,
            bytes: column.bytes,
        });
        let kernels = kernels.collect();
        (Summary { name: self.name, kernels, rows, packages: self.packages, failures: self.failures }, code)
    }

    fn cell(&self, id: &KernelId, column: &Column, key: &(String, String)) -> Cell {
        if let Some(cell) = column.cells.get(key) {
            return cell.clone();
        }
        // An architecture whose kernels all failed never got to its programs.
        let is_ours = self.objects.get(&id.arch()).is_none_or(|objects| objects.contains(&key.0));
        match is_ours && column.failure.is_some() {
            true => Cell::of(State::Failed),
            false => Cell::of(State::Absent),
        }
    }
}

fn code_of(state: State) -> Code {
    match state {
        State::NoVerdict => Code::Environment,
        // What failed before has a code of its own: trouble that may pass stays that.
        State::Failed => Code::Ok,
        state if state.is_failure() => Code::Failed,
        _ => Code::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "debian/12/x86_64/6.1.0-50-cloud-amd64";
    const TWO: &str = "debian/13/x86_64/6.12.107-cloud-amd64";

    fn report(cells: &[(&str, &[(&str, State)])]) -> Report {
        let mut report = Report::new("release", &[], std::iter::empty());
        report.objects.insert(Arch::X86_64, BTreeSet::from(["o".to_owned()]));
        for (id, cells) in cells {
            let cells = cells
                .iter()
                .map(|(program, state)| (("o".to_owned(), (*program).to_owned()), Cell::of(*state)));
            let cells = cells.collect();
            let (checked, verdicts) = (Checked::No, Cells::new());
            let column = Column { checked, failure: None, bytes: None, cells, verdicts };
            report.columns.insert(id.parse().unwrap(), column);
        }
        report
    }

    fn verified(no_verdict: Option<&str>) -> Verified {
        Verified {
            checked: Checked::Booted("tcg".into()),
            cells: BTreeMap::from([(("o".to_owned(), "p".to_owned()), Cell::of(State::Ok))]),
            notes: vec![],
            no_verdict: no_verdict.map(str::to_owned),
        }
    }

    fn states(summary: &Summary) -> Vec<Vec<State>> {
        summary.rows.iter().map(|row| row.cells.iter().map(|cell| cell.state).collect()).collect()
    }

    #[test]
    fn what_a_machine_says_counts_more() {
        let mut report = report(&[(ONE, &[("p", State::Host)]), (TWO, &[("p", State::Host)])]);
        report.verified(&ONE.parse().unwrap(), verified(None));
        let (summary, code) = report.finish();
        assert_eq!(states(&summary), [[State::Ok, State::Host]]);
        assert_eq!((code, summary.is_good()), (Code::Ok, true));
    }

    #[test]
    fn a_kernel_that_failed_is_failed_in_every_row() {
        let mut report = report(&[(ONE, &[("p", State::Host)]), (TWO, &[])]);
        report.fail(&TWO.parse().unwrap(), &Failure::digest("other bytes"));
        let (summary, code) = report.finish();
        assert_eq!(states(&summary), [[State::Host, State::Failed]]);
        assert_eq!((code, summary.is_good()), (Code::Lock, false));
        assert_eq!(summary.kernels[1].failure.as_deref(), Some("other bytes"));
    }

    #[test]
    fn no_machine_is_no_verdict() {
        let mut report = report(&[(ONE, &[("p", State::Host)])]);
        report.verified(&ONE.parse().unwrap(), verified(Some("QEMU is missing")));
        let (summary, code) = report.finish();
        assert_eq!(states(&summary), [[State::NoVerdict]]);
        assert_eq!((code, summary.only_machines_missing()), (Code::Environment, true));
    }

    #[test]
    fn a_mismatch_is_a_failure() {
        let (_, code) = report(&[(ONE, &[("p", State::Mismatch), ("q", State::Ok)])]).finish();
        assert_eq!(code, Code::Failed);
    }
}
