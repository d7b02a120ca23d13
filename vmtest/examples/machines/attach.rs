//! Our own programs attached on every kernel: what they report of what is done in the machine, and what with a BTF in
//! which members moved.
//!
//! A moved member is of use only to a program that loads all the same, and then reports something else than was done. So
//! what is found by its event stands apart from what the kernel or libbpf refuses already.

mod table;

use std::fs;
use std::path::{Path, PathBuf};

use vmtest::{Check, ObjectVerdict, Outcome, ProgramVerdict, Ran, VmReport, VmSpec};

use crate::subject::{Object, Subject, Subjects};
use crate::{Error, mutate};

/// Where each program reads what it reports; the first that it uses is moved.
const MOVED: [&str; 4] = ["request", "sk_buff", "module", "task_struct"];
const MOVED_BYTES: u32 = 8;

/// What came of one object on one kernel.
pub struct Finding {
    pub object: String,
    /// In the order of the kernels.
    pub kernel: usize,
    /// With a good BTF.
    pub programs: Vec<Seen>,
    /// The object's verdict is a failure.
    pub fails: Option<String>,
    /// With the other one.
    pub damaged: Damaged,
}

/// What one program did.
pub struct Seen {
    pub name: String,
    pub word: &'static str,
    pub why: String,
}

/// How a damaged BTF was found, by the programs that report what was done with a good one.
#[derive(Default)]
pub struct Damaged {
    /// They load, and do not report that any more; with what they say instead.
    pub by_event: Vec<Seen>,
    /// They do not load.
    pub by_load: Vec<Seen>,
    /// They are as if nothing were damaged.
    pub missed: Vec<Seen>,
}

/// True when nothing is wrong with a good BTF, and all with a damaged one. `objects` has a folder for each architecture.
pub fn attach(objects: &Path, kernels: &Path, more: &[&str]) -> Result<bool, Error> {
    let work = tempfile::tempdir()?;
    let subjects = Subjects::read(kernels, more, work.path())?.listed;
    let mut findings = Vec::new();
    let mut flakes = Vec::new();
    for (kernel, subject) in subjects.iter().enumerate() {
        let objects = objects_of(&objects.join(subject.arch.to_string()))?;
        let pairs = objects.iter().map(|object| checks_of(subject, object)).collect::<Result<Vec<_>, _>>()?;
        let spec = VmSpec { attach: true, memory_mib: 512, ..subject.spec(work.path()) };
        let report = vmtest::run(&spec, &pairs.concat(), &mut |_| ());
        let found = verdicts(&report)?.chunks(2).map(|pair| finding(kernel, pair));
        findings.extend(found.collect::<Result<Vec<_>, _>>()?);
        let failed = report.attempts.iter().filter_map(|attempt| attempt.failure.as_deref());
        flakes.extend(failed.map(|failure| format!("{}: {failure}", subject.name)));
        eprintln!("{}: {:.1} s for {} objects", subject.name, report.seconds, objects.len());
    }
    print!("{}", table::write(&findings, &subjects, &flakes));
    Ok(!findings.iter().any(Finding::is_wrong))
}

impl Finding {
    pub fn is_wrong(&self) -> bool {
        self.fails.is_some()
            || !self.damaged.missed.is_empty()
            || self.programs.iter().any(|seen| seen.word == word(Some(Ran::Wrong)))
    }
}

fn objects_of(folder: &Path) -> Result<Vec<Object>, Error> {
    let mut paths =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.sort();
    let object = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Object { name: name.trim_end_matches(".bpf.o").to_owned(), elf: fs::read(path)? })
    };
    paths.iter().map(object).collect()
}

/// With a good BTF, and with a damaged one.
fn checks_of(subject: &Subject, object: &Object) -> Result<[Check; 2], Error> {
    let good = subject.minimized(std::slice::from_ref(object))?;
    let damaged = mutate::Btf::parse(good.clone());
    let structs = damaged.structs();
    let moved = MOVED.iter().find_map(|moved| structs.iter().find(|(_, name)| name == moved));
    let (index, name) = moved.ok_or_else(|| format!("{} reads none of {MOVED:?}", object.name))?;
    let damaged = damaged.moved(*index, MOVED_BYTES);
    Ok([object.check(&good, "good"), object.check(&damaged, &format!("{name} moved"))])
}

fn verdicts(report: &VmReport) -> Result<&[ObjectVerdict], Error> {
    match &report.outcome {
        Outcome::Done(verdicts) => Ok(verdicts),
        other => {
            let console = report.attempts.last().map(|attempt| attempt.console.join("\n"));
            Err(format!("{other:?}\n{}", console.unwrap_or_default()).into())
        }
    }
}

fn finding(kernel: usize, pair: &[ObjectVerdict]) -> Result<Finding, Error> {
    let [good, bad] = pair else { return Err("verdicts come in pairs".into()) };
    let programs: Vec<Seen> = good.programs.iter().map(seen).collect();
    let mut damaged = Damaged::default();
    // What says nothing with a good BTF has nothing to say of a damaged one.
    for reports in programs.iter().filter(|seen| seen.word == word(Some(Ran::Reported))) {
        let with_bad = bad.programs.iter().find(|program| program.program == reports.name);
        let with_bad = with_bad.ok_or_else(|| format!("{} is gone with {}", reports.name, bad.label))?;
        let found = match with_bad.attached.as_ref().map(|attached| attached.ran) {
            None => &mut damaged.by_load,
            Some(Ran::Wrong) => &mut damaged.by_event,
            Some(Ran::Reported | Ran::NotProvoked | Ran::NotAttached | Ran::Silent) => &mut damaged.missed,
        };
        found.push(seen(with_bad));
    }
    let fails = good
        .verdict
        .is_failure()
        .then(|| format!("{}: {}", good.verdict, good.detail.as_deref().unwrap_or("see its programs")));
    Ok(Finding { object: good.object.clone(), kernel, programs, fails, damaged })
}

fn seen(program: &ProgramVerdict) -> Seen {
    let attached = program.attached.as_ref();
    let why = attached.map_or(&program.detail, |attached| &attached.detail).clone().unwrap_or_default();
    Seen { name: program.program.clone(), word: word(attached.map(|attached| attached.ran)), why }
}

fn word(ran: Option<Ran>) -> &'static str {
    match ran {
        Some(Ran::Reported) => "reported",
        Some(Ran::NotProvoked) => "not provoked",
        Some(Ran::NotAttached) => "not attached",
        Some(Ran::Silent) => "silent",
        Some(Ran::Wrong) => "WRONG",
        None => "does not load",
    }
}
