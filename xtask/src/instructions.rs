//! `cargo xtask instructions`: how many instructions the main path takes, compared with those that are written down.
//!
//! Times differ from run to run here, instructions hardly: callgrind counts those of one process that minimizes one
//! kernel, once in a pass and once by its index in a store. The kernel is made: the types that our own programs know,
//! many times over, grown and renumbered from a fixed seed. Counts depend on the compilers, and on what the processor
//! knows, by which memory is copied and searched; so the baseline names them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use xshell::{Shell, cmd};

use crate::bench::files;
use crate::packages::{self, RUN, TEST};
use crate::{Error, Outcome, run};

/// What the main path took when somebody last looked at it.
pub const BASELINE: &str = "xtask/instructions.baseline";
/// In percent. Less is noise: another address, another length of a path.
const TOLERATED: u64 = 5;
/// Functions that the baseline names: with these it can be said where instructions were added.
const NAMED: usize = 40;
/// With so many copies the kernel has about as many types as a real one.
const COPIES: &str = "200";

/// Instructions by function, those of callees left out.
type Functions = BTreeMap<String, u64>;

/// What was counted: by the path that was taken.
struct Counts {
    /// Compilers and processor.
    made_with: String,
    paths: BTreeMap<String, Functions>,
}

/// What a comparison came to.
pub enum Verdict {
    /// Nothing takes more than it may.
    Good(String),
    /// Something does; where.
    Worse(String),
    /// Counted with other compilers, or on another processor: there is nothing to compare with.
    NotAlike(String),
}

/// The task: compares, or with `--update` writes the baseline.
pub fn instructions(shell: &Shell, arguments: &[String]) -> Outcome {
    packages::install(shell, &[RUN, TEST])?;
    match arguments {
        [] => match compare(shell)? {
            Verdict::Good(text) => {
                println!("{text}");
                Ok(ExitCode::SUCCESS)
            }
            Verdict::Worse(text) | Verdict::NotAlike(text) => Err(text.into()),
        },
        [flag] if flag == "--update" => {
            let text = write(&count(shell)?);
            fs::write(shell.current_dir().join(BASELINE), &text)?;
            print!("{text}");
            Ok(ExitCode::SUCCESS)
        }
        other => Err(format!("instructions takes --update or nothing, not {other:?}").into()),
    }
}

/// Counts and compares with the baseline.
pub fn compare(shell: &Shell) -> Result<Verdict, Error> {
    let path = shell.current_dir().join(BASELINE);
    let baseline = read(&fs::read_to_string(&path).map_err(|error| format!("{BASELINE}: {error}"))?)?;
    let made_with = made_with(shell)?;
    if made_with != baseline.made_with {
        return Ok(Verdict::NotAlike(format!(
            "{BASELINE} is of {}, this is {made_with}; write it anew with \"cargo xtask instructions --update\" and \
             say what changed",
            baseline.made_with
        )));
    }
    Ok(judge(&baseline, &count(shell)?))
}

fn judge(baseline: &Counts, now: &Counts) -> Verdict {
    let (mut good, mut worse) = (String::new(), String::new());
    for (path, functions) in &now.paths {
        let before = baseline.paths.get(path).map_or(0, total);
        let after = total(functions);
        let percent = (after as f64 / before.max(1) as f64 - 1.0) * 100.0;
        let line = format!("{path}: {after} instructions, {percent:+.1} % beside the baseline\n");
        if after * 100 > before * (100 + TOLERATED) {
            worse.push_str(&line);
            worse.push_str(&where_it_grew(baseline.paths.get(path), functions));
        } else {
            good.push_str(&line);
        }
    }
    if worse.is_empty() { Verdict::Good(good.trim_end().to_owned()) } else { Verdict::Worse(worse) }
}

/// The functions that added most.
fn where_it_grew(before: Option<&Functions>, after: &Functions) -> String {
    let was = |name: &String| before.and_then(|before| before.get(name)).copied().unwrap_or(0);
    let mut grown: Vec<(u64, &String)> = after
        .iter()
        .filter(|(name, _)| *name != REST)
        .map(|(name, &count)| (count.saturating_sub(was(name)), name))
        .filter(|(more, _)| *more > 0)
        .collect();
    grown.sort_by(|a, b| b.cmp(a));
    grown.iter().take(8).fold(String::new(), |mut text, (more, name)| {
        // Writing to a string can't fail.
        let _ = writeln!(text, "  {more:>12} more in {name}, which took {}", was(name));
        text
    })
}

fn total(functions: &Functions) -> u64 {
    functions.values().sum()
}

/// Makes the inputs and counts both paths.
fn count(shell: &Shell) -> Result<Counts, Error> {
    let program = run::build(shell)?;
    let temp = shell.create_temp_dir()?;
    let objects = &compile(shell, temp.path())?;
    let kernel = make_kernel(shell, temp.path(), objects)?;
    let (store, output) = (temp.path().join("store"), temp.path().join("min.btf"));
    cmd!(shell, "{program} corpus add {kernel}")
        .env("BTFPIPE_STORE", &store)
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()?;
    let mut paths = BTreeMap::new();
    for (path, input) in [("pass", kernel), ("index", "store:kernel".into())] {
        let counted = temp.path().join(path);
        let out_file = format!("--callgrind-out-file={}", counted.display());
        cmd!(shell, "valgrind --quiet --tool=callgrind {out_file} {program} min-core-btf {input} {output} {objects...}")
            .env("BTFPIPE_STORE", &store)
            .quiet()
            .ignore_stdout()
            .ignore_stderr()
            .run()?;
        paths.insert(path.to_owned(), most(functions(&fs::read_to_string(&counted)?)?));
    }
    Ok(Counts { made_with: made_with(shell)?, paths })
}

fn made_with(shell: &Shell) -> Result<String, Error> {
    let rustc = cmd!(shell, "rustc --version").quiet().read()?;
    let clang = cmd!(shell, "clang-19 --version").quiet().read()?;
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let processor = processor.map_or(std::env::consts::ARCH, |(_, name)| name);
    Ok(format!("{rustc}, {}, {processor}", clang.lines().next().unwrap_or_default()))
}

/// Our own programs as objects, under names that do not depend on where they are.
fn compile(shell: &Shell, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut objects = Vec::new();
    // Where Debian keeps asm/types.h.
    let headers = format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    for source in files(&shell.current_dir().join("pipelines/programs"))? {
        let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(".c").filter(|name| name.ends_with(".bpf")) {
            let object = folder.join(name).with_extension("bpf.o");
            cmd!(
                shell,
                "clang-19 -g -O2 -target bpfel -mcpu=v2 -D__TARGET_ARCH_x86 -idirafter {headers} -c {source} -o {object}"
            )
            .quiet()
            .run()?;
            objects.push(object);
        }
    }
    Ok(objects)
}

fn make_kernel(shell: &Shell, folder: &Path, objects: &[PathBuf]) -> Result<PathBuf, Error> {
    let (joined, made, kernel) = (folder.join("joined.btf"), folder.join("made"), folder.join("kernel.btf"));
    // Not optimized as what is measured, which is another program.
    let (join, vary) = (run::example(shell, "join")?, run::example(shell, "vary")?);
    cmd!(shell, "{join} {joined} {objects...}").quiet().run()?;
    cmd!(shell, "{vary} 1 1 {COPIES} {made} {joined}").quiet().run()?;
    let [one] = &files(&made)?[..] else { return Err("the generator made no kernel".into()) };
    fs::rename(one, &kernel)?;
    Ok(kernel)
}

/// Instructions by function out of callgrind's file.
///
/// After `fn=` come lines of a place and a count; a line after `calls=` counts what was called, which has its own.
fn functions(profile: &str) -> Result<Functions, Error> {
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    let mut counts = Functions::new();
    let (mut current, mut skip) = (String::new(), false);
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("fn=").or_else(|| line.strip_prefix("cfn=")) {
            let (id, text) = name.split_once(' ').unwrap_or((name, ""));
            if !text.is_empty() {
                names.insert(id, plain(text));
            }
            if line.starts_with("fn=") {
                current = names.get(id).cloned().unwrap_or_default();
            }
        } else if line.starts_with("calls=") {
            skip = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
            && !std::mem::take(&mut skip)
        {
            let count = line.split(' ').nth(1).ok_or("callgrind wrote a line without a count")?;
            *counts.entry(current.clone()).or_default() += count.parse::<u64>()?;
        }
    }
    if counts.is_empty() { Err("callgrind counted nothing".into()) } else { Ok(counts) }
}

/// The name without the hash that differs from build to build, and without what a recursion adds.
fn plain(name: &str) -> String {
    let name = name.split('\'').next().unwrap_or(name);
    match name.rsplit_once("::h") {
        Some((plain, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => plain,
        Some(_) | None => name,
    }
    .to_owned()
}

const REST: &str = "(all others)";

/// The functions that take most; the others together.
fn most(functions: Functions) -> Functions {
    let mut sorted: Vec<(u64, String)> = functions.into_iter().map(|(name, count)| (count, name)).collect();
    sorted.sort_by(|a, b| b.cmp(a));
    let rest: u64 = sorted.iter().skip(NAMED).map(|(count, _)| count).sum();
    let named = sorted.into_iter().take(NAMED).map(|(count, name)| (name, count));
    named.chain([(REST.to_owned(), rest)]).collect()
}

fn write(counts: &Counts) -> String {
    let mut text =
        String::from("# Written by \"cargo xtask instructions --update\": path, instructions, function.\n");
    let _ = writeln!(text, "with {}", counts.made_with);
    for (path, functions) in &counts.paths {
        for (name, count) in functions {
            let _ = writeln!(text, "{path} {count} {name}");
        }
    }
    text
}

fn read(text: &str) -> Result<Counts, Error> {
    let mut counts = Counts { made_with: String::new(), paths: BTreeMap::new() };
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (path, rest) = line.split_once(' ').ok_or("a line without a count")?;
        if path == "with" {
            counts.made_with = rest.to_owned();
            continue;
        }
        let (count, name) = rest.split_once(' ').ok_or("a line without a function")?;
        counts.paths.entry(path.to_owned()).or_default().insert(name.to_owned(), count.parse()?);
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "events: Ir\nfl=(1) a.rs\nfn=(1) main::h0123456789abcdef\n10 5\n+1 7\ncfn=(2) walk'2\n\
                           calls=3 4\n* 900\nfn=(2)\n3 100\n+2 800\nfn=(3) rest\n1 1\n";

    #[test]
    fn what_callgrind_writes() {
        let counted = functions(PROFILE).unwrap();
        assert_eq!(counted, Functions::from([("main".into(), 12), ("walk".into(), 900), ("rest".into(), 1)]));
        assert!(functions("events: Ir\n").is_err());
    }

    #[test]
    fn more_than_five_percent_is_said_with_its_place() {
        let counts = |walk: u64| Counts {
            made_with: "rustc 1".into(),
            paths: BTreeMap::from([(
                "pass".into(),
                Functions::from([("main".into(), 100), ("walk".into(), walk)]),
            )]),
        };
        let baseline = read(&write(&counts(900))).unwrap();
        assert_eq!(baseline.made_with, "rustc 1");
        assert!(matches!(judge(&baseline, &counts(950)), Verdict::Good(text) if text.contains("+5.0 %")));
        assert!(matches!(judge(&baseline, &counts(100)), Verdict::Good(_)));
        match judge(&baseline, &counts(951)) {
            Verdict::Worse(text) => assert!(text.contains("51 more in walk, which took 900"), "{text}"),
            Verdict::Good(_) | Verdict::NotAlike(_) => panic!("5.1 % more"),
        }
    }
}
