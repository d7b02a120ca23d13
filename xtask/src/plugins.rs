//! `cargo xtask plugins`: what it costs that sources and builders are plugins, over many kernels.
//!
//! The same pipeline twice: with btfpipe's own source and compiler, and with a source in Python and the plugin clang. Both
//! do the same work and must make the same packages, so that the difference is the protocol: processes, messages, cages,
//! and digests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use xshell::{Shell, cmd};

use crate::packages::{self, RUN, TEST};
use crate::{Error, Outcome, run};

const KERNELS: usize = 1000;
/// The share of the run that the protocol may take, in percent.
const LIMIT: f64 = 5.0;
const ROUNDS: usize = 2;
const SEED: &str = "3";

/// A way to run the pipeline.
struct Way {
    name: &'static str,
    file: PathBuf,
    /// The folder that holds `plugins/`.
    root: PathBuf,
    best: Duration,
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
    let mut ways = ways(shell, &program, temp.path(), &made)?;
    let mut packages: Vec<Vec<String>> = Vec::new();
    for _ in 0..ROUNDS {
        for way in &mut ways {
            let store = way.root.join("store");
            let _ = fs::remove_dir_all(&store);
            let _ = fs::remove_dir_all(way.root.join("dist"));
            let (file, log) = (&way.file, way.root.join("run.log"));
            let begin = Instant::now();
            let done = cmd!(shell, "{program} run {file} --store {store}")
                .env("BTFPIPE_PLUGIN_PATH", shell.current_dir().join("plugins"))
                .quiet()
                .ignore_status()
                .output()?;
            way.best = way.best.min(begin.elapsed());
            if !done.status.success() {
                fs::write(&log, &done.stderr)?;
                return Err(format!("{}: {}", way.name, String::from_utf8_lossy(&done.stderr)).into());
            }
            packages.push(digests(&way.root.join("dist"))?);
        }
    }
    if packages.iter().any(|digests| *digests != packages[0]) {
        return Err("the packages are not the same".into());
    }
    report(count, &ways, &packages[0])
}

/// Prints the table; too much is a failure.
fn report(count: usize, ways: &[Way], packages: &[String]) -> Outcome {
    let [inside, worker, ..] = ways else { return Err("no ways".into()) };
    println!(
        "{count} made kernels, all programs of pipelines/programs; an empty store, the best of {ROUNDS} runs\n"
    );
    println!("| way | run | more than inside | of the run |\n|--|--|--|--|");
    let share = |way: &Way| {
        let more = way.best.saturating_sub(inside.best).as_secs_f64();
        (more, 100.0 * more / way.best.as_secs_f64())
    };
    for way in ways {
        let (more, percent) = share(way);
        println!("| {} | {:.2} s | {more:.2} s | {percent:.1} % |", way.name, way.best.as_secs_f64());
    }
    println!("\nthe packages are the same in each run:\n{}", packages.join("\n"));
    let (_, percent) = share(worker);
    if percent < LIMIT {
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!("plugins take {percent:.1} % of the run, and {LIMIT} % are the limit").into())
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
        best: Duration::MAX,
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
