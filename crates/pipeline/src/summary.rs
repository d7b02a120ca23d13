//! What works where: programs × kernels, and a reason for every cell that isn't plainly good.
//!
//! The model is here; `terminal.rs`, `markdown.rs`, `json.rs` and `junit.rs` show it.

mod columns;
mod json;
mod junit;
mod markdown;
mod terminal;

use std::collections::{BTreeMap, HashMap};

pub use json::{from_value, to_json, to_value};
pub use junit::to_junit;
pub use markdown::to_markdown;
pub use terminal::to_terminal;

/// A run's result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The pipeline's name.
    pub name: String,
    /// One column a kernel, sorted by id.
    pub kernels: Vec<KernelColumn>,
    /// One row a program, by object.
    pub rows: Vec<Row>,
    /// The packages that were written.
    pub packages: Vec<PackageLine>,
    /// What concerns no kernel and no program alone, e.g. an object that can't be opened.
    pub failures: Vec<String>,
}

/// A kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelColumn {
    /// `distro/version/arch/release`.
    pub id: String,
    /// How it was checked.
    pub checked: Checked,
    /// Why it has no result, or not the one that was asked for.
    pub failure: Option<String>,
    /// Sizes of the kernel's BTF and of ours, where there are any.
    pub bytes: Option<(u64, u64)>,
}

/// How a kernel's BTF was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// The kernel was booted; how, in words.
    Booted(String),
    /// Every decision was made again on the host; why no more than that.
    Host(String),
    /// Not at all.
    No,
}

/// A program of an object on all kernels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The object's name.
    pub object: String,
    /// The program's function; empty for an object as a whole.
    pub program: String,
    /// One cell a kernel, in the order of the columns.
    pub cells: Vec<Cell>,
}

/// A program on a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// In one word.
    pub state: State,
    /// Why, unless the word says it all.
    pub reason: Option<String>,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageLine {
    /// Its file's name.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its sha256.
    pub sha256: String,
    /// Number of kernels in it.
    pub kernels: usize,
    /// Number of distinct BTFs in it.
    pub blobs: u64,
}

/// A cell in one word; the later ones are worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// No such program for this kernel.
    Absent,
    /// Booted, identical, loaded.
    Ok,
    /// The same, and attached it reported what was done.
    Reported,
    /// Decided alike on the host; not booted.
    Host,
    /// Attaches by the kernel's own BTF.
    NeedsKernelBtf,
    /// A relocation became the poison call; fatal only if that instruction is reached.
    Poisoned,
    /// The kernel refuses it with its own BTF, too.
    LoadFailBoth,
    /// There is nothing to compare with.
    Skipped,
    /// Uses a type id, which minimizing changes by design.
    TypeId,
    /// No verdict, since no machine could be run.
    NoVerdict,
    /// libbpf refuses the object on this kernel, whatever the BTF.
    Refused,
    /// Loads with the kernel's BTF but not with ours.
    LoadFailMinOnly,
    /// Reports what was done with the kernel's BTF but not with ours.
    WrongEvent,
    /// Other instructions than with the kernel's BTF.
    Mismatch,
    /// libbpf crashed or hung.
    Crash,
    /// An earlier step failed.
    Failed,
}

impl State {
    /// All, good ones first.
    pub const ALL: [State; 16] = [
        State::Ok,
        State::Reported,
        State::Host,
        State::NeedsKernelBtf,
        State::Poisoned,
        State::LoadFailBoth,
        State::Skipped,
        State::TypeId,
        State::NoVerdict,
        State::Refused,
        State::LoadFailMinOnly,
        State::WrongEvent,
        State::Mismatch,
        State::Crash,
        State::Failed,
        State::Absent,
    ];

    /// The word in the table.
    pub fn word(self) -> &'static str {
        match self {
            State::Absent => "·",
            State::Ok => "ok",
            State::Reported => "reports",
            State::Host => "host",
            State::NeedsKernelBtf => "needs-btf",
            State::Poisoned => "poison",
            State::LoadFailBoth => "kernel",
            State::Skipped => "skipped",
            State::TypeId => "type-id",
            State::NoVerdict => "no-vm",
            State::Refused => "refused",
            State::LoadFailMinOnly => "FAILS",
            State::WrongEvent => "WRONG-EVENT",
            State::Mismatch => "MISMATCH",
            State::Crash => "CRASH",
            State::Failed => "FAILED",
        }
    }

    /// The word in JSON, which never changes its meaning.
    pub fn code(self) -> &'static str {
        match self {
            State::Absent => "absent",
            State::Ok => "ok",
            State::Reported => "reported",
            State::Host => "host",
            State::NeedsKernelBtf => "needs-kernel-btf",
            State::Poisoned => "poisoned",
            State::LoadFailBoth => "load-fail-both",
            State::Skipped => "skipped",
            State::TypeId => "type-id-reloc",
            State::NoVerdict => "no-verdict",
            State::Refused => "refused",
            State::LoadFailMinOnly => "load-fail-min-only",
            State::WrongEvent => "wrong-event",
            State::Mismatch => "mismatch",
            State::Crash => "crash",
            State::Failed => "failed",
        }
    }

    /// The state of a [`code`](State::code).
    pub fn of_code(code: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.code() == code)
    }

    /// The line in the legend.
    pub fn legend(self) -> &'static str {
        match self {
            State::Absent => "there is no such program for this kernel: it is for another architecture",
            State::Ok => {
                "booted: with our BTF libbpf makes the same instructions as with the kernel's own, and it loads"
            }
            State::Reported => "booted: as ok, and attached it reported what was then done in the machine",
            State::Host => {
                "not booted: our engine decides every relocation alike on the full and on the minimized BTF"
            }
            State::NeedsKernelBtf => {
                "same instructions, but it attaches by the kernel's own BTF: no external BTF can help it"
            }
            State::Poisoned => {
                "a field or type that it reads is not in this kernel; fatal only where that code is reached"
            }
            State::LoadFailBoth => "same instructions, but this kernel refuses it with its own BTF, too",
            State::Skipped => "there is nothing to compare with",
            State::TypeId => "it uses the id of a type, which no minimized BTF can keep",
            State::NoVerdict => "no verdict: the virtual machine did not run",
            State::Refused => "libbpf refuses the object on this kernel, with the full BTF as well",
            State::LoadFailMinOnly => "loads with the kernel's own BTF, fails with ours",
            State::WrongEvent => {
                "attached, it does not report what was done, and does so with the kernel's own BTF"
            }
            State::Mismatch => "with our BTF libbpf makes other instructions: it would read wrong memory",
            State::Crash => "libbpf crashed or hung on our BTF",
            State::Failed => "an earlier step failed for this kernel or object",
        }
    }

    /// Whether something of ours is to blame, or nothing can be said.
    pub fn is_failure(self) -> bool {
        match self {
            State::Absent
            | State::Ok
            | State::Reported
            | State::Host
            | State::NeedsKernelBtf
            | State::Poisoned
            | State::LoadFailBoth
            | State::Skipped => false,
            State::TypeId
            | State::NoVerdict
            | State::Refused
            | State::LoadFailMinOnly
            | State::WrongEvent
            | State::Mismatch
            | State::Crash
            | State::Failed => true,
        }
    }
}

/// A reason and where it holds, for the list below the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Footnote {
    /// The object, and the program where it is about one.
    pub subject: String,
    /// The cells' state.
    pub state: State,
    /// Why.
    pub reason: String,
    /// Labels of the kernels, in their order.
    pub kernels: Vec<String>,
}

impl Cell {
    /// A cell without a reason.
    pub fn of(state: State) -> Cell {
        Cell { state, reason: None }
    }

    /// A cell with a reason.
    pub fn because(state: State, reason: impl Into<String>) -> Cell {
        Cell { state, reason: Some(reason.into()) }
    }
}

impl Summary {
    /// Whether nothing of ours is to blame anywhere.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty()
            && self.kernels.iter().all(|kernel| kernel.failure.is_none())
            && self.cells().all(|cell| !cell.state.is_failure())
    }

    /// Whether all that is wrong is that machines didn't run.
    pub fn only_machines_missing(&self) -> bool {
        self.failures.is_empty()
            && self.cells().all(|cell| !cell.state.is_failure() || cell.state == State::NoVerdict)
            && self.cells().any(|cell| cell.state == State::NoVerdict)
    }

    /// How often each state occurs.
    pub fn counts(&self) -> BTreeMap<State, usize> {
        let mut counts = BTreeMap::new();
        for cell in self.cells() {
            *counts.entry(cell.state).or_default() += 1;
        }
        counts
    }

    /// The states that occur, in the order of the legend.
    pub fn states(&self) -> Vec<State> {
        let counts = self.counts();
        State::ALL.into_iter().filter(|state| counts.contains_key(state)).collect()
    }

    /// The reasons of all cells; one that holds for several programs on the same kernels is told once.
    pub fn footnotes(&self) -> Vec<Footnote> {
        let labels: Vec<String> = self.kernels.iter().map(|kernel| label(&kernel.id).join(" ")).collect();
        let mut notes: Vec<(Footnote, Vec<&Row>)> = Vec::new();
        let mut known: HashMap<Footnote, usize> = HashMap::new();
        for row in &self.rows {
            for note in row.footnotes(&labels) {
                match known.get(&note) {
                    Some(index) => notes[*index].1.push(row),
                    None => {
                        known.insert(note.clone(), notes.len());
                        notes.push((note, vec![row]));
                    }
                }
            }
        }
        notes.into_iter().map(|(note, rows)| Footnote { subject: subject(&rows), ..note }).collect()
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.rows.iter().flat_map(|row| &row.cells)
    }
}

impl Row {
    /// The row's reasons, each with the kernels where it holds; without subject.
    fn footnotes(&self, labels: &[String]) -> Vec<Footnote> {
        let mut notes: Vec<Footnote> = Vec::new();
        let mut known: HashMap<(State, &str), usize> = HashMap::new();
        for (cell, label) in self.cells.iter().zip(labels) {
            let Some(reason) = &cell.reason else { continue };
            let note = *known.entry((cell.state, reason)).or_insert(notes.len());
            if note == notes.len() {
                notes.push(Footnote {
                    subject: String::new(),
                    state: cell.state,
                    reason: reason.clone(),
                    kernels: Vec::new(),
                });
            }
            notes[note].kernels.push(label.clone());
        }
        notes
    }
}

/// `a.bpf.o: x, y; b.bpf.o: z`
fn subject(rows: &[&Row]) -> String {
    let mut objects: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in rows {
        match objects.last_mut() {
            Some((object, programs)) if *object == row.object => programs.push(&row.program),
            _ => objects.push((&row.object, vec![&row.program])),
        }
    }
    let named = objects.into_iter().map(|(object, programs)| match programs.as_slice() {
        [""] => object.to_owned(),
        programs => format!("{object}: {}", programs.join(", ")),
    });
    named.collect::<Vec<_>>().join("; ")
}

/// A kernel in three short words for a column's head: `debian 12`, `x86_64`, `6.1.0-50`.
pub fn label(id: &str) -> [String; 3] {
    let mut parts = id.splitn(4, '/');
    let mut part = || parts.next().unwrap_or_default();
    let (distro, version, arch, release) = (part(), part(), part(), part());
    [format!("{distro} {version}"), arch.to_owned(), short_release(release)]
}

/// The release up to the first word: `6.1.0-50-cloud-amd64` is `6.1.0-50`.
fn short_release(release: &str) -> String {
    let end = release
        .char_indices()
        .find(|(_, c)| !(c.is_ascii_digit() || ".-".contains(*c)))
        .map_or(release.len(), |(index, _)| index);
    let short = release[..end].trim_end_matches(['-', '.']);
    if short.is_empty() { release.to_owned() } else { short.to_owned() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two kernels, two objects, some trouble.
    pub(crate) fn example() -> Summary {
        let kernel = |id: &str, checked| KernelColumn {
            id: id.into(),
            checked,
            failure: None,
            bytes: Some((4_111_222, 2_048)),
        };
        let row = |object: &str, program: &str, cells: [Cell; 2]| Row {
            object: object.into(),
            program: program.into(),
            cells: cells.into(),
        };
        let needs = || Cell::because(State::NeedsKernelBtf, "fentry attaches by BTF");
        Summary {
            name: "release".into(),
            kernels: vec![
                kernel(
                    "debian/12/arm64/6.1.0-50-cloud-arm64",
                    Checked::Host("arm64 is not booted here".into()),
                ),
                kernel("debian/12/x86_64/6.1.0-50-cloud-amd64", Checked::Booted("libbpf 1.7.0, tcg".into())),
            ],
            rows: vec![
                row("opens", "enter", [Cell::of(State::Host), Cell::of(State::Ok)]),
                row("opens", "exit_fentry", [needs(), needs()]),
                row("opens", "exit_fexit", [needs(), needs()]),
                row(
                    "tcp",
                    "connect",
                    [
                        Cell::of(State::Host),
                        Cell::because(State::Mismatch, "instruction 12: byte_off 8, not 16"),
                    ],
                ),
            ],
            packages: vec![PackageLine {
                file: "release-x86_64.tar.zst".into(),
                bytes: 12_345,
                sha256: "ab".repeat(32),
                kernels: 1,
                blobs: 1,
            }],
            failures: vec![],
        }
    }

    #[test]
    fn labels_are_short() {
        let check = |id, wanted: [&str; 3]| assert_eq!(label(id), wanted.map(str::to_owned), "{id}");
        check("debian/12/x86_64/6.1.0-50-cloud-amd64", ["debian 12", "x86_64", "6.1.0-50"]);
        check("debian/13/arm64/6.12.107+deb13-cloud-arm64", ["debian 13", "arm64", "6.12.107"]);
        check("android/12/arm64/generic", ["android 12", "arm64", "generic"]);
    }

    #[test]
    fn equal_reasons_are_told_once() {
        let notes = example().footnotes();
        assert_eq!(notes.len(), 2, "{notes:#?}");
        assert_eq!(notes[0].subject, "opens: exit_fentry, exit_fexit");
        let mut more = example();
        more.rows[3].cells[1] = more.rows[1].cells[1].clone();
        more.rows[3].cells[0] = more.rows[1].cells[0].clone();
        let notes = more.footnotes();
        assert_eq!(notes.len(), 1, "{notes:#?}");
        assert_eq!(notes[0].subject, "opens: exit_fentry, exit_fexit; tcp: connect");
        assert_eq!(notes[0].kernels, ["debian 12 arm64 6.1.0-50", "debian 12 x86_64 6.1.0-50"]);
    }

    #[test]
    fn good_is_good_everywhere() {
        let mut summary = example();
        assert!(!summary.is_good());
        summary.rows.pop();
        assert!(summary.is_good());
        summary.rows[0].cells[1] = Cell::because(State::NoVerdict, "no QEMU");
        assert!(!summary.is_good() && summary.only_machines_missing());
        summary.rows[0].cells[0] = Cell::of(State::Failed);
        assert!(!summary.only_machines_missing());
    }
}
