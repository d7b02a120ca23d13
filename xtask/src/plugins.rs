//! `cargo xtask plugins`: what it costs that sources and builders are plugins, over many kernels.
//!
//! The same pipeline twice: with btfpipe's own source and compiler, and with a source in Python and the plugin clang. Both
//! do the same work and must make the same packages. What the protocol takes is what each action takes from the wish to the
//! checked result, without the time that the plugin itself works: processes, messages, cages, folders, and checks. The runs'
//! whole times stand beside it; in them is also what Python does more slowly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use xshell::{Shell, cmd};

use crate::packages::{self, RUN, TEST};
use crate::{Error, Outcome, run};

const KERNELS: usize = 1000;
/// The share of the run that the protocol may take, in percent.
const LIMIT: f64 = 5.0;
const SEED: &str = "3";

/// A way to run the pipeline.
struct Way {
    name: &'static str,
    file: PathBuf,
    /// The folder that holds `plugins/`.
    root: PathBuf,
}

/// What a run took.
#[derive(Clone, Copy)]
struct Run {
    wall: Duration,
    /// Of the processors, by btfpipe and all that it started.
    cpu: Duration,
    acted: Acted,
}

/// What plugins took in a run, over all threads.
#[derive(Clone, Copy, Default)]
struct Acted {
    actions: usize,
    took: Duration,
    busy: Duration,
}

impl Run {
    /// The time of all threads of the run.
    fn threads(&self) -> f64 {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        self.wall.as_secs_f64() * threads as f64
    }
}

/// The task. Arguments are how many kernels, and BTFs to make them of; the release pipeline's where there are none.
/// `--program PATH` in front measures a btfpipe that was built before.
pub fn plugins(shell: &Shell, arguments: &[String]) -> Outcome {
    packages::install(shell, &[RUN, TEST])?;
    let (program, arguments) = match arguments {
        [option, path, rest @ ..] if option == "--program" => (PathBuf::from(path).canonicalize()?, rest),
        rest => (run::build(shell)?, rest),
    };
    let (count, inputs) = match arguments.split_first() {
        Some((first, rest)) if first.parse::<usize>().is_ok() => (first.parse()?, rest),
        _ => (KERNELS, arguments),
    };
    let temp = shell.create_temp_dir()?;
    let made = temp.path().join("made");
    make(shell, &program, count, inputs, &made)?;
    let ways = ways(shell, &program, temp.path(), &made)?;
    let (mut runs, mut packages): (Vec<Run>, Vec<Vec<String>>) = (Vec::new(), Vec::new());
    for way in &ways {
        runs.push(way.run(shell, &program)?);
        packages.push(digests(&way.root.join("dist"))?);
    }
    if packages.iter().any(|digests| *digests != packages[0]) {
        return Err("the packages are not the same".into());
    }
    report(count, &ways, &runs, &packages[0])
}

impl Way {
    /// Runs it with nothing in the store.
    fn run(&self, shell: &Shell, program: &Path) -> Result<Run, Error> {
        let (file, store) = (&self.file, self.root.join("store"));
        for made in ["store", "dist"] {
            let _ = fs::remove_dir_all(self.root.join(made));
        }
        let _ = fs::remove_file(self.root.join("kernels.lock"));
        let events = self.root.join("events.jsonl");
        // The system's Python: version managers put scripts in its place, which take ten times as long to start.
        let path = format!("/usr/bin:/bin:{}", std::env::var("PATH").unwrap_or_default());
        let (begin, before) = (Instant::now(), children()?);
        let done = cmd!(shell, "{program} run {file} --store {store} --events {events}")
            .env("BTFPIPE_PLUGIN_PATH", shell.current_dir().join("plugins"))
            .env("PATH", path)
            .quiet()
            .ignore_status()
            .output()?;
        let (wall, cpu) = (begin.elapsed(), children()?.saturating_sub(before));
        if !done.status.success() {
            return Err(format!("{}: {}", self.name, String::from_utf8_lossy(&done.stderr)).into());
        }
        Ok(Run { wall, cpu, acted: acted(&fs::read_to_string(events)?)? })
    }
}

/// The processor time of all children so far.
fn children() -> Result<Duration, Error> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = |time: TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    Ok(Duration::from_micros(u64::try_from(micros(usage.user_time()) + micros(usage.system_time()))?))
}

/// What the events of a run say of plugins.
fn acted(events: &str) -> Result<Acted, Error> {
    let mut acted = Acted::default();
    for line in events.lines().filter(|line| line.contains(r#""event":"acted""#)) {
        let micros = |name: &str| -> Result<Duration, Error> {
            let (_, rest) = line.split_once(&format!("\"{name}\":")).ok_or("an event without its times")?;
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            Ok(Duration::from_micros(digits.parse().map_err(|_| format!("no {name}: {line}"))?))
        };
        acted.actions += 1;
        acted.took += micros("took_us")?;
        acted.busy += micros("busy_us")?;
    }
    Ok(acted)
}

/// Prints the tables; too much is a failure.
fn report(count: usize, ways: &[Way], runs: &[Run], packages: &[String]) -> Outcome {
    let [inside, worker, ..] = runs else { return Err("no runs".into()) };
    println!("{count} made kernels, all programs of pipelines/programs; an empty store, one run each\n");
    println!(
        "| way | run | processors | more than inside | actions of plugins | protocol an action | protocol of the run |"
    );
    println!("|--|--|--|--|--|--|--|");
    for (way, run) in ways.iter().zip(runs) {
        let more = run.wall.as_secs_f64() - inside.wall.as_secs_f64();
        let Acted { actions, .. } = run.acted;
        let protocol = protocol(run);
        let each = 1000.0 * protocol / actions.max(1) as f64;
        let share = 100.0 * protocol / run.threads();
        println!(
            "| {} | {:.1} s | {:.1} s | {more:.1} s | {actions} | {each:.1} ms | {share:.1} % |",
            way.name,
            run.wall.as_secs_f64(),
            run.cpu.as_secs_f64(),
        );
    }
    println!("\nthe packages are the same in each run:\n{}", packages.join("\n"));
    let share = 100.0 * protocol(worker) / worker.threads();
    if share < LIMIT {
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!("the protocol takes {share:.1} % of the run, and {LIMIT} % are the limit").into())
}

/// What plugins took without their own work, in seconds of a thread.
fn protocol(run: &Run) -> f64 {
    run.acted.took.saturating_sub(run.acted.busy).as_secs_f64()
}

/// Made kernels as `FOLDER/ARCH/RELEASE.btf`.
fn make(shell: &Shell, program: &Path, count: usize, inputs: &[String], made: &Path) -> Result<(), Error> {
    let extracted = made.with_extension("real");
    let mut inputs: Vec<PathBuf> = inputs.iter().map(PathBuf::from).collect();
    if inputs.is_empty() {
        cmd!(shell, "{program} extract pipelines/release.yaml {extracted}").ignore_stdout().run()?;
        inputs = files(&extracted.join("btf"))?;
    }
    let (all, count) = (made.join("all"), count.to_string());
    cmd!(
        shell,
        "cargo run --quiet --release --locked --package relo-core --example vary -- {SEED} {count} 1 {all} {inputs...}"
    )
    .quiet()
    .run()?;
    for path in files(&all)? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder = made.join(if name.contains("arm64") { "arm64" } else { "x86_64" });
        fs::create_dir_all(&folder)?;
        fs::rename(&path, folder.join(format!("{name}.btf")))?;
    }
    Ok(())
}

/// Three projects with the same kernels and programs.
fn ways(shell: &Shell, program: &Path, temp: &Path, made: &Path) -> Result<Vec<Way>, Error> {
    let way = |name, folder: &str| Way {
        name,
        file: temp.join(folder).join("pipeline.yaml"),
        root: temp.join(folder),
    };
    let ways = vec![
        way("inside", "inside"),
        way("plugins that are workers", "worker"),
        way("plugins, a process an action", "single"),
    ];
    for way in &ways {
        let programs = way.root.join("programs");
        fs::create_dir_all(&programs)?;
        for file in files(&shell.current_dir().join("pipelines/programs"))? {
            fs::copy(&file, programs.join(file.file_name().unwrap_or_default()))?;
        }
        let is_plugin = way.root.ends_with("worker") || way.root.ends_with("single");
        let text = if is_plugin { outside(made)? } else { inside(made) };
        fs::write(&way.file, text)?;
        if is_plugin {
            source(shell, program, &way.root, made, way.root.ends_with("worker"))?;
        }
    }
    Ok(ways)
}

const STEPS: &str =
    "steps:\n  - uses: record\n  - uses: minimize\n  - uses: package\n    with: { level: 19 }\n";

fn inside(made: &Path) -> String {
    let path = made.display();
    format!(
        "version: 1\nname: many\nkernels:\n  - uses: files\n    with: {{ paths: \"{path}/{{arch}}/{{release}}.btf\", distro: made, version: \"1\" }}\nprograms:\n  - programs/*.bpf.c\n{STEPS}"
    )
}

fn outside(made: &Path) -> Result<String, Error> {
    let mut text = "version: 1\nname: many\nkernels:\n  - uses: made\n    with:\n      kernels:\n".to_owned();
    for arch in ["arm64", "x86_64"] {
        for path in files(&made.join(arch))? {
            let release = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            text.push_str(&format!("        \"made/1/{arch}/{release}\": \"{}\"\n", path.display()));
        }
    }
    text.push_str("programs:\n  - uses: clang\n    files: [programs/*.bpf.c]\n    reads: [programs/*.h]\n");
    Ok(text + STEPS)
}

/// The plugin that `btfpipe plugin new` makes, which may read the kernels.
fn source(shell: &Shell, program: &Path, root: &Path, made: &Path, worker: bool) -> Result<(), Error> {
    cmd!(shell, "{program} plugin new made --lang python --root {root}").quiet().ignore_stdout().run()?;
    let path = root.join("plugins/made/plugin.yaml");
    let read = format!("  worker: {worker}\n  read: [{:?}]", made.display().to_string());
    let text: Vec<String> = fs::read_to_string(&path)?
        .lines()
        .map(|line| if line.starts_with("  read:") { read.clone() } else { line.to_owned() })
        .collect();
    fs::write(&path, text.join("\n") + "\n")?;
    if !worker {
        single(shell, root)?;
    }
    Ok(())
}

/// The plugin clang with a process for each object.
fn single(shell: &Shell, root: &Path) -> Result<(), Error> {
    let (from, to) = (shell.current_dir().join("plugins/clang"), root.join("plugins/clang"));
    fs::create_dir_all(&to)?;
    for file in files(&from)? {
        fs::copy(&file, to.join(file.file_name().unwrap_or_default()))?;
    }
    let path = to.join("plugin.yaml");
    fs::write(&path, fs::read_to_string(&path)?.replace("worker: true", "worker: false"))?;
    Ok(())
}

/// The packages' lines of SHA256SUMS.
fn digests(dist: &Path) -> Result<Vec<String>, Error> {
    let text = fs::read_to_string(dist.join("SHA256SUMS"))?;
    Ok(text.lines().filter(|line| line.ends_with(".tar.zst")).map(str::to_owned).collect())
}

/// The files of a folder, sorted; none where it isn't there.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
