//! `cargo xtask bench`: btfpipe beside bpftool, in turn, on the same inputs, in one run.
//!
//! Every figure is the median of several rounds; processor time is that of the whole process, start and end included.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use xshell::{Shell, cmd};

use crate::{Error, Outcome, packages, run};

const ROUNDS: usize = 5;
const PIPELINE: &str = "pipelines/release.yaml";
const DOCUMENT: &str = "docs/benchmarks.md";

/// What one command cost.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    /// In KiB.
    peak: u64,
}

/// A line of the table: what is compared, and what came out.
struct Row {
    work: String,
    ours: Cost,
    theirs: Option<Cost>,
    /// By which figure the ratio goes, and the ratio to be reached.
    by: By,
    wanted: f64,
}

enum By {
    Cpu,
    Wall,
}

/// The inputs.
struct Bench<'b> {
    shell: &'b Shell,
    program: PathBuf,
    bpftool: PathBuf,
    kernels: Vec<PathBuf>,
    objects: Vec<PathBuf>,
    work: PathBuf,
}

/// The task. Arguments are files with raw BTF, or folders of them, beyond the kernels of the release pipeline.
pub fn bench(shell: &Shell, arguments: &[String]) -> Outcome {
    packages::install(shell, &[packages::RUN, packages::TEST])?;
    let program = run::build(shell)?;
    let temp = shell.create_temp_dir()?;
    let extracted = temp.path().join("kernels");
    cmd!(shell, "{program} extract {PIPELINE} {extracted}").ignore_stdout().run()?;
    let mut kernels = files(&extracted.join("btf"))?;
    for argument in arguments {
        let path = PathBuf::from(argument);
        kernels.extend(if path.is_dir() { files(&path)? } else { vec![path] });
    }
    let bpftool = packages::find_command("bpftool").ok_or("bpftool is not installed")?;
    let bench = Bench {
        shell,
        program,
        bpftool,
        kernels,
        objects: embedded(shell, &temp.path().join("objects"))?,
        work: temp.path().to_owned(),
    };
    let rows = bench.rows()?;
    let text = bench.document(&rows)?;
    print!("{text}");
    fs::write(shell.current_dir().join(DOCUMENT), text)?;
    Ok(ExitCode::SUCCESS)
}

/// `xtask measure COMMAND…`: runs it and prints wall and processor time in microseconds, and the peak memory in KiB.
///
/// A process of its own, so that the usage of its children is that of this command alone.
pub fn measure(_: &Shell, arguments: &[String]) -> Outcome {
    let (program, arguments) = arguments.split_first().ok_or("measure what?")?;
    let start = Instant::now();
    let status =
        Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let wall = start.elapsed();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = [usage.user_time(), usage.system_time()];
    let cpu: i64 = cpu.iter().map(|time| time.tv_sec() * 1_000_000 + time.tv_usec()).sum();
    println!("{} {cpu} {}", wall.as_micros(), usage.max_rss());
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Bench<'_> {
    fn rows(&self) -> Result<Vec<Row>, Error> {
        let size = |path: &&PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let mut by_size: Vec<&PathBuf> = self.kernels.iter().collect();
        by_size.sort_by_key(size);
        let (middle, largest) = (by_size[by_size.len() / 2], by_size[by_size.len() - 1]);
        let all = self.kernels.len();
        let objects = self.objects.len();
        let mut rows = Vec::new();
        for (name, kernel) in [("one kernel", middle), ("the largest kernel", largest)] {
            let work = format!("{name} ({} bytes) × {objects} objects", size(&kernel));
            rows.push(self.row(
                work,
                By::Cpu,
                50.0,
                &self.ours(kernel),
                Some(&self.theirs(kernel, &self.objects)),
            )?);
        }
        let each: Vec<String> =
            self.objects.iter().map(|object| self.theirs(middle, std::slice::from_ref(object))).collect();
        let work = format!("one kernel, a BTF for each of {objects} objects");
        rows.push(self.row(
            work,
            By::Cpu,
            300.0,
            &self.batch(&[middle], 1, "--each"),
            Some(&each.join("; ")),
        )?);
        let loops: Vec<String> =
            self.kernels.iter().map(|kernel| self.theirs(kernel, &self.objects)).collect();
        let every: Vec<&PathBuf> = self.kernels.iter().collect();
        let work = format!("{all} kernels × {objects} objects, two threads");
        rows.push(self.row(work, By::Wall, 100.0, &self.batch(&every, 2, ""), Some(&loops.join("; ")))?);
        let work = format!("{all} kernels, two threads beside one");
        rows.push(self.row(
            work,
            By::Wall,
            1.8,
            &self.batch(&every, 2, ""),
            Some(&self.batch(&every, 1, "")),
        )?);
        rows.push(self.records(&every)?);
        Ok(rows)
    }

    /// Records of all kernels beside copying the files that come out.
    fn records(&self, kernels: &[&PathBuf]) -> Result<Row, Error> {
        let ours = self.batch(kernels, 1, "--only-records");
        self.once(&ours)?;
        let (from, to) = (self.work.join("out"), self.work.join("copy"));
        let copy = format!("rm -rf {to}; cp -r {from} {to}", from = from.display(), to = to.display());
        let work = format!("records of {} kernels as JSON Lines, beside copying these files", kernels.len());
        self.row(work, By::Cpu, 1.0 / 3.0, &ours, Some(&copy))
    }

    /// Both in turn, so that what disturbs the machine disturbs both.
    fn row(&self, work: String, by: By, wanted: f64, ours: &str, theirs: Option<&str>) -> Result<Row, Error> {
        eprintln!("{work}");
        let (mut our_costs, mut their_costs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            our_costs.push(self.once(ours)?);
            if let Some(theirs) = theirs {
                their_costs.push(self.once(theirs)?);
            }
        }
        let theirs = (!their_costs.is_empty()).then(|| median(&their_costs));
        Ok(Row { work, ours: median(&our_costs), theirs, by, wanted })
    }

    fn once(&self, script: &str) -> Result<Cost, Error> {
        let xtask = std::env::current_exe()?;
        // One command needs no shell around it.
        let said = match script.contains(';') {
            true => cmd!(self.shell, "{xtask} measure sh -c {script}").quiet().read()?,
            false => {
                let words = script.split(' ').filter(|word| !word.is_empty());
                cmd!(self.shell, "{xtask} measure {words...}").quiet().read()?
            }
        };
        let mut numbers = said.split(' ').map(str::parse::<u64>);
        let mut next = || numbers.next().ok_or("no figure")?.map_err(Error::from);
        let (wall, cpu) = (Duration::from_micros(next()?), Duration::from_micros(next()?));
        Ok(Cost { wall, cpu, peak: next()? })
    }

    fn ours(&self, kernel: &Path) -> String {
        let output = self.work.join("ours.btf");
        let (program, kernel, output) = (self.program.display(), kernel.display(), output.display());
        format!("{program} min-core-btf {kernel} {output} {}", join(&self.objects))
    }

    fn theirs(&self, kernel: &Path, objects: &[PathBuf]) -> String {
        let output = self.work.join("theirs.btf");
        let (program, kernel, output) = (self.bpftool.display(), kernel.display(), output.display());
        format!("{program} gen min_core_btf {kernel} {output} {}", join(objects))
    }

    fn batch(&self, kernels: &[&PathBuf], threads: usize, more: &str) -> String {
        let inputs: String = kernels.iter().map(|kernel| format!(" --btf {}", kernel.display())).collect();
        let (program, out) = (self.program.display(), self.work.join("out"));
        format!(
            "{program} minimize --jobs {threads} --out {}{inputs} {more} {}",
            out.display(),
            join(&self.objects)
        )
    }

    fn document(&self, rows: &[Row]) -> Result<String, Error> {
        let bpftool = &self.bpftool;
        let version = cmd!(self.shell, "{bpftool} version").read()?;
        let mut text = String::from(HEAD);
        writeln!(
            text,
            "{}; {} kernels; {ROUNDS} rounds.\n",
            version.lines().next().unwrap_or_default(),
            self.kernels.len()
        )?;
        writeln!(
            text,
            "| work | btfpipe | beside | ratio | wanted | peak memory |\n|---|---|---|---|---|---|"
        )?;
        for row in rows {
            let (by, time): (_, fn(&Cost) -> Duration) = match row.by {
                By::Cpu => ("CPU", |cost: &Cost| cost.cpu),
                By::Wall => ("wall", |cost: &Cost| cost.wall),
            };
            let ours = time(&row.ours);
            let (theirs, ratio) = match row.theirs.as_ref().map(time) {
                Some(theirs) => (milliseconds(theirs), theirs.as_secs_f64() / ours.as_secs_f64()),
                None => ("–".to_owned(), 0.0),
            };
            let verdict = if ratio >= row.wanted { "" } else { ": not reached" };
            writeln!(
                text,
                "| {} | {} {by} | {theirs} | {ratio:.1} | {:.1}{verdict} | {} MB |",
                row.work,
                milliseconds(ours),
                row.wanted,
                row.ours.peak.div_ceil(1024)
            )?;
        }
        Ok(text)
    }
}

const HEAD: &str = "# Benchmarks

Written by `cargo xtask bench`: whole processes, in turn with what they are held against, on the same inputs in one run;
medians. Inputs are raw BTF in the page cache and the objects inside of Debian's libbpf-tools. What is beside is bpftool,
called once for each output, unless the line says otherwise. A ratio of 50 means a fiftieth of the time.

";

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn median(costs: &[Cost]) -> Cost {
    let middle = |mut values: Vec<u64>| {
        values.sort_unstable();
        values[values.len() / 2]
    };
    let of = |field: fn(&Cost) -> u64| middle(costs.iter().map(field).collect());
    Cost {
        wall: Duration::from_micros(of(|cost| cost.wall.as_micros() as u64)),
        cpu: Duration::from_micros(of(|cost| cost.cpu.as_micros() as u64)),
        peak: of(|cost| cost.peak),
    }
}

fn join(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

/// The objects inside of Debian's libbpf-tools, cut out by the example of the engine.
pub fn embedded(shell: &Shell, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    fs::create_dir_all(folder)?;
    let listed = cmd!(shell, "dpkg -L libbpf-tools").read()?;
    let programs = listed.lines().map(Path::new).filter(|path| {
        path.parent().is_some_and(|parent| parent.ends_with("sbin")) && path.is_file() && !path.is_symlink()
    });
    let programs: Vec<&Path> = programs.collect();
    cmd!(shell, "cargo run --quiet --release --locked --package relo-core --example embedded -- {folder} {programs...}")
        .run()?;
    files(folder)
}
