//! `cargo xtask fuzz`: every fuzz target, seeded with real objects and real BTF.
//!
//! The stable toolchain is enough: what `cargo fuzz` asks of a nightly one is the address sanitizer, and this code has
//! no `unsafe`. Coverage comes from the compiler's own pass.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use xshell::{Shell, cmd};

use crate::packages::{self, RUN, TEST};
use crate::{Error, Outcome, guest, run};

const TARGETS: [&str; 9] =
    ["btf", "btf_ext", "elf", "index", "relocate", "minimize", "prepare", "bundle", "pack"];

/// What `cargo fuzz` compiles with, less the sanitizer.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// `fuzz SECONDS BTF [TARGET…]`: what a person calls.
pub fn fuzz(shell: &Shell, arguments: &[String]) -> Outcome {
    let [seconds, btf, targets @ ..] = arguments else {
        return Err(
            "which BTF to start from, and how long? e.g. cargo xtask fuzz 600 vmlinux.btf minimize".into()
        );
    };
    let seconds = seconds.parse().map_err(|_| format!("{seconds} is no number of seconds"))?;
    if let Some(unknown) = targets.iter().find(|target| !TARGETS.contains(&target.as_str())) {
        return Err(format!("no target {unknown}; there are {}", TARGETS.join(", ")).into());
    }
    packages::install(shell, &[RUN, TEST])?;
    let chosen =
        TARGETS.into_iter().filter(|target| targets.is_empty() || targets.iter().any(|name| name == target));
    run(shell, Path::new(btf), seconds, chosen)?;
    Ok(ExitCode::SUCCESS)
}

/// A short run of every target: what worked yesterday still does.
pub fn smoke(shell: &Shell, btf: &Path) -> Result<(), Error> {
    run(shell, btf, 10, TARGETS.into_iter())
}

fn run(
    shell: &Shell,
    btf: &Path,
    seconds: u32,
    targets: impl Iterator<Item = &'static str>,
) -> Result<(), Error> {
    let programs = build(shell)?;
    let seconds = seconds.to_string();
    let folder = guest::target_folder(shell).join("fuzz");
    seeds(shell, &folder.join("seeds"), btf)?;
    for target in targets {
        let (found, seeds) = (folder.join("found").join(target), folder.join("seeds").join(target));
        let (program, artifacts) = (programs.join(target), folder.join(format!("{target}-")));
        shell.create_dir(&found)?;
        eprintln!("fuzzing {target} for {seconds} s");
        let limits =
            ["-timeout=10", "-rss_limit_mb=2048", "-max_len=100000", "-verbosity=0", "-print_final_stats=1"];
        let ran = cmd!(
            shell,
            "{program} {found} {seeds} -max_total_time={seconds} {limits...} -artifact_prefix={artifacts}"
        )
        .quiet()
        .ignore_status()
        .output()?;
        let log = String::from_utf8_lossy(&ran.stderr);
        if !ran.status.success() {
            return Err(
                format!("{target}: {}\n{log}\nthe input is {}*", ran.status, artifacts.display()).into()
            );
        }
        // libFuzzer tells much more; only its figures matter while nothing is found.
        let figure = |name: &str| {
            let line = log.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
            line.map(|rest| format!("{name}{rest}")).ok_or("libFuzzer printed no figures")
        };
        let figures = ["number_of_executed_units", "slowest_unit_time_sec", "peak_rss_mb"];
        let figures = figures.into_iter().map(figure).collect::<Result<Vec<_>, _>>()?;
        // In one line: others speak meanwhile.
        eprintln!("  {target}: {}", figures.join(", "));
    }
    Ok(())
}

/// Builds the targets; where they are then.
pub fn build(shell: &Shell) -> Result<PathBuf, Error> {
    let target_dir = guest::target_folder(shell).join("fuzz/build");
    // Named, so that build scripts, which the fuzzer is not linked to, are compiled without coverage.
    let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    cmd!(
        shell,
        "cargo build --quiet --locked --release --manifest-path fuzz/Cargo.toml --target {machine} --target-dir {target_dir}"
    )
    .env("RUSTFLAGS", FLAGS)
    .run()?;
    Ok(target_dir.join(machine).join("release"))
}

/// Debian's BPF tools, and an object with what these have too little of, in both byte orders.
fn seeds(shell: &Shell, folder: &Path, btf: &Path) -> Result<(), Error> {
    shell.create_dir(folder)?;
    let mut objects = vec![
        PathBuf::from("/usr/sbin/opensnoop"),
        "/usr/sbin/tcpconnect".into(),
        "/usr/sbin/biosnoop".into(),
    ];
    for machine in ["bpfel", "bpfeb"] {
        let object = folder.join(format!("everything.{machine}.o"));
        cmd!(shell, "clang-19 -g -O2 -target {machine} -c fuzz/seeds/everything.bpf.c -o {object}")
            .quiet()
            .run()?;
        objects.push(object);
    }
    let (seeds, bundle_seeds) = (run::example(shell, "seeds")?, run::example(shell, "bundle_seeds")?);
    cmd!(shell, "{seeds} {folder} {btf} {objects...}").quiet().run()?;
    cmd!(shell, "{bundle_seeds} {folder}").quiet().run()?;
    Ok(())
}
