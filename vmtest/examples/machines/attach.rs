//! Our own programs attached on every kernel: what they report of what is done in the machine, and what with a BTF in
//! which members moved.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use vmtest::{Arch, Check, ObjectVerdict, Outcome, ProgramVerdict, Ran, VmReport, VmSpec};

use crate::subject::{Object, Subject, Subjects};
use crate::{Error, mutate};

/// Where each program reads what it reports; the first that it uses is moved.
const MOVED: [&str; 3] = ["request", "sk_buff", "task_struct"];
const GOOD: &str = "good";
const BAD: &str = "moved";

/// By program, then by kernel.
type Table = BTreeMap<String, BTreeMap<String, String>>;

/// True when nothing is wrong with a good BTF, and all with a damaged one. `objects` has a folder for each architecture.
pub fn attach(objects: &Path, kernels: &Path, more: &[&str]) -> Result<bool, Error> {
    let work = tempfile::tempdir()?;
    let subjects = Subjects::read(kernels, more, work.path())?.listed;
    let mut table = Table::new();
    let mut right = true;
    for subject in &subjects {
        let objects = objects_of(&objects.join(subject.arch.to_string()))?;
        let mut checks = Vec::new();
        for object in &objects {
            checks.extend(checks_of(subject, object)?);
        }
        let spec = VmSpec { attach: true, memory_mib: 512, ..subject.spec(work.path()) };
        let report = vmtest::run(&spec, &checks, &mut |_| ());
        for verdict in verdicts(&report)? {
            right &= judge(verdict, &subject.name, &mut table);
        }
        eprintln!("{}: {:.1} s for {} checks", subject.name, report.seconds, checks.len());
    }
    println!("{}", shown(&table, &subjects));
    Ok(right)
}

fn objects_of(folder: &Path) -> Result<Vec<Object>, Error> {
    let mut paths =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.sort();
    let object = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Object { name: name.trim_end_matches(".bpf.o").to_owned(), elf: fs::read(path)? })
    };
    paths.iter().map(object).collect()
}

fn checks_of(subject: &Subject, object: &Object) -> Result<[Check; 2], Error> {
    let good = subject.minimized(std::slice::from_ref(object))?;
    let damaged = mutate::Btf::parse(good.clone());
    let structs = damaged.structs();
    let moved = MOVED.iter().find_map(|moved| structs.iter().find(|(_, name)| name == moved));
    let (moved, _) = moved.ok_or_else(|| format!("{} reads none of {MOVED:?}", object.name))?;
    Ok([object.check(&good, GOOD), object.check(&damaged.moved(*moved, 8), BAD)])
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

/// Whether what was found is what must be found.
fn judge(verdict: &ObjectVerdict, kernel: &str, table: &mut Table) -> bool {
    let ran = |program: &ProgramVerdict| program.attached.as_ref().map(|attached| attached.ran);
    if verdict.label == BAD {
        // A program that is silent with the kernel's own BTF too has nothing to say of a damaged one.
        let reports = table.iter().any(|(name, cells)| {
            name.starts_with(&format!("{}/", verdict.object))
                && cells.get(kernel).is_some_and(|cell| cell == "reported")
        });
        let found =
            verdict.programs.iter().any(|program| ran(program) == Some(Ran::Wrong) || ran(program).is_none());
        if reports && !found {
            println!("NOT FOUND, {kernel}: {} with the {BAD} BTF: {:#?}", verdict.object, verdict.programs);
        }
        return found || !reports;
    }
    let mut right = !verdict.verdict.is_failure();
    for program in &verdict.programs {
        let (word, detail) = match &program.attached {
            Some(attached) => (word(attached.ran), attached.detail.clone().unwrap_or_default()),
            None => ("does not load", program.detail.clone().unwrap_or_default()),
        };
        if word != "reported" {
            println!("{kernel}: {}/{}: {word}: {}", verdict.object, program.program, detail.trim_end());
        }
        right &= program.attached.as_ref().is_none_or(|attached| attached.ran != Ran::Wrong);
        let row = table.entry(format!("{}/{}", verdict.object, program.program)).or_default();
        row.insert(kernel.to_owned(), word.to_owned());
    }
    right
}

fn word(ran: Ran) -> &'static str {
    match ran {
        Ran::Reported => "reported",
        Ran::NotProvoked => "not provoked",
        Ran::NotAttached => "not attached",
        Ran::Silent => "silent",
        Ran::Wrong => "WRONG",
    }
}

fn shown(table: &Table, subjects: &[Subject]) -> String {
    let short = |subject: &Subject| {
        let arch = if subject.arch == Arch::Arm64 { "arm64" } else { "x86_64" };
        let release = subject.name.rsplit(' ').next().unwrap_or_default();
        let flavour = if release.contains("cloud") { "cloud" } else { "full" };
        let version = release.split(['-', '+']).next().unwrap_or_default();
        format!("{version} {flavour} {arch}")
    };
    let mut text = String::from("\n| program |");
    subjects.iter().for_each(|subject| text.push_str(&format!(" {} |", short(subject))));
    text.push_str(&format!("\n|---|{}\n", "---|".repeat(subjects.len())));
    for (program, cells) in table {
        text.push_str(&format!("| {program} |"));
        for subject in subjects {
            text.push_str(&format!(" {} |", cells.get(&subject.name).map_or("·", String::as_str)));
        }
        text.push('\n');
    }
    text
}
