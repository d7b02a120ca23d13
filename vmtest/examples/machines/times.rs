//! Cold and warm, kernel by kernel; and many kernels at once.

use std::path::Path;
use std::sync::Mutex;

use vmtest::{Arch, Check, Outcome, StateFolder, VmReport, VmSpec};

use crate::Error;
use crate::processor::{Stretch, Took};
use crate::subject::{Object, Subject, Subjects, objects};

const ROUNDS: usize = 3;
/// What many kernels are checked with.
const OBJECTS: usize = 10;
const KERNELS: usize = 20;

/// Prints the tables. `more` has further kernels: each full flavour gets a row, the rest make the many.
pub fn times(kernels: &Path, more: &[&str]) -> Result<(), Error> {
    let work = tempfile::tempdir()?;
    let Subjects { mut listed, rest } = Subjects::read(kernels, more, work.path())?;
    let objects = objects(OBJECTS)?;
    let states = StateFolder { folder: work.path().join("states"), limit: 1 << 40 };
    println!(
        "| kernel | cold, s | kept, MB | restored, s | restored, 1 object, s | restored, {OBJECTS} objects, s |"
    );
    println!("|---|---|---|---|---|---|");
    for subject in &listed {
        println!("{}", row(subject, &objects, &states, work.path())?);
    }
    listed.extend(rest);
    many(&listed, &objects, work.path())
}

/// Many different kernels one after the other, and beside each other.
fn many(subjects: &[Subject], objects: &[Object], work: &Path) -> Result<(), Error> {
    let states = StateFolder { folder: work.join("many"), limit: 1 << 40 };
    let many: Vec<&Subject> =
        subjects.iter().filter(|subject| subject.arch == Arch::X86_64).take(KERNELS).collect();
    if many.len() < KERNELS {
        return Err(format!("only {} kernels for x86_64 are here, not {KERNELS}", many.len()).into());
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!();
    // The first boots leave what the others are restored from.
    let rounds =
        [("booted and kept", threads)].into_iter().chain((1..=threads).map(|count| ("restored", count)));
    for (how, count) in rounds {
        let took = together(&many, objects, &states, work, count)?;
        println!(
            "- {KERNELS} different kernels with {OBJECTS} objects each, {how}, {count} at a time: {:.1} s ({:.1} s of \
             processor time, and others took {:.1} s meanwhile)",
            took.wall, took.processor, took.others
        );
    }
    Ok(())
}

fn row(subject: &Subject, objects: &[Object], states: &StateFolder, work: &Path) -> Result<String, Error> {
    let btf = subject.minimized(objects)?;
    let checks: Vec<Check> = objects.iter().map(|object| object.check(&btf, "min")).collect();
    let cold = subject.spec(work);
    let warm = VmSpec { states: Some(states.clone()), ..cold.clone() };
    let cold = median(|| ready(&done(&cold, &checks[..1])?, false))?;
    let before = size(states)?;
    done(&warm, &checks[..1])?;
    let kept = size(states)? - before;
    let restored = median(|| ready(&done(&warm, &checks[..1])?, true))?;
    let one = median(|| Ok(done(&warm, &checks[..1])?.attempts[0].seconds))?;
    let all = median(|| Ok(done(&warm, &checks)?.attempts[0].seconds))?;
    let kept = kept as f64 / 1e6;
    Ok(format!("| {} | {cold:.2} | {kept:.0} | {restored:.2} | {one:.2} | {all:.2} |", subject.name))
}

/// Runs, and wants verdicts at the first try.
fn done(spec: &VmSpec, checks: &[Check]) -> Result<VmReport, Error> {
    for _ in 0..ROUNDS {
        let report = vmtest::run(spec, checks, &mut |_| ());
        let Outcome::Done(verdicts) = &report.outcome else {
            return Err(format!("{:?}", report.outcome).into());
        };
        if let Some(bad) = verdicts.iter().find(|verdict| verdict.verdict.is_failure()) {
            return Err(format!("{}: {}", bad.object, bad.verdict).into());
        }
        if report.attempts.len() == 1 {
            return Ok(report);
        }
        eprintln!("a flake: {:?}", report.attempts[0].failure);
    }
    Err("one flake after the other".into())
}

/// From QEMU's start to the guest's first word.
fn ready(report: &VmReport, restored: bool) -> Result<f64, Error> {
    let attempt = &report.attempts[0];
    if attempt.restored != restored {
        return Err(format!("restored is {}, not {restored}", attempt.restored).into());
    }
    Ok(attempt.ready_seconds.ok_or("it never was ready")?)
}

fn median(mut measure: impl FnMut() -> Result<f64, Error>) -> Result<f64, Error> {
    let mut all = (0..ROUNDS).map(|_| measure()).collect::<Result<Vec<_>, _>>()?;
    all.sort_by(f64::total_cmp);
    Ok(all[ROUNDS / 2])
}

fn size(states: &StateFolder) -> Result<u64, Error> {
    let Ok(entries) = std::fs::read_dir(&states.folder) else { return Ok(0) };
    let mut total = 0;
    for entry in entries {
        total += entry?.metadata()?.len();
    }
    Ok(total)
}

/// All kernels, so many at a time.
fn together(
    subjects: &[&Subject],
    objects: &[Object],
    states: &StateFolder,
    work: &Path,
    threads: usize,
) -> Result<Took, Error> {
    let jobs = subjects.iter().map(|subject| {
        let btf = subject.minimized(objects)?;
        let checks: Vec<Check> = objects.iter().map(|object| object.check(&btf, "min")).collect();
        let folder = tempfile::tempdir_in(work)?;
        let spec = VmSpec { states: Some(states.clone()), ..subject.spec(folder.path()) };
        Ok((spec, checks, folder))
    });
    let jobs = Mutex::new(jobs.collect::<Result<Vec<_>, Error>>()?);
    let failed = Mutex::new(None);
    let stretch = Stretch::begin()?;
    let work = || {
        while let Some((spec, checks, _folder)) = jobs.lock().ok().and_then(|mut jobs| jobs.pop()) {
            if let Err(error) = done(&spec, &checks).map_err(|error| error.to_string())
                && let Ok(mut failed) = failed.lock()
            {
                *failed = Some(error);
            }
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    match failed.into_inner().ok().flatten() {
        Some(error) => Err(error.into()),
        None => stretch.end(),
    }
}
