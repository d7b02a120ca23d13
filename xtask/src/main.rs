//! Every developer task in one table; CI runs nothing else.
//!
//! `cargo xtask` lists the tasks. The tasks know no code of ours: they install what is missing, call cargo, and run
//! the program that was built.
#![forbid(unsafe_code)]

mod bench;
mod foreign;
mod fuzz;
mod guest;
mod i386;
mod instructions;
mod machines;
mod packages;
mod plugins;
mod real;
mod run;
mod sizes;
mod sources;
mod test;

use std::process::ExitCode;

use xshell::Shell;

/// What a task answers: the exit code, or the error that stopped it.
type Outcome = Result<ExitCode, Error>;
type Error = Box<dyn std::error::Error>;

struct Task {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&Shell, &[String]) -> Outcome,
}

const TASKS: &[Task] = &[
    Task {
        name: "run",
        arguments: "FILE [ARG…]",
        about: "install what is missing, build, and run a pipeline: all of `btfpipe run`'s arguments",
        run: run::run,
    },
    Task {
        name: "test",
        arguments: "[--quick]",
        about: "format, lints, tests, then the parts with real kernels and boots (--quick leaves these out)",
        run: test::test,
    },
    Task {
        name: "test-update",
        arguments: "",
        about: "write the expected messages of the wrong pipelines anew; read each before it is committed",
        run: test::update,
    },
    Task {
        name: "endurance",
        arguments: "",
        about: "a pipeline killed 200 times, each followed by a run; a run over 1,000 kernels with nothing to do, timed",
        run: test::endurance,
    },
    Task {
        name: "tidy",
        arguments: "",
        about: "check the layout: who may depend on whom, names, file sizes",
        run: test::tidy,
    },
    Task {
        name: "guest",
        arguments: "",
        about: "build the static programs that run as PID 1 of the virtual machines; prints their paths",
        run: guest::guest,
    },
    Task {
        name: "bench",
        arguments: "[BTF…]",
        about: "measure btfpipe beside bpftool, and write docs/benchmarks.md; more raw BTFs, or folders of them",
        run: bench::bench,
    },
    Task {
        name: "measure",
        arguments: "COMMAND…",
        about: "run a command; print its wall and processor time in microseconds, and its peak memory in KiB",
        run: bench::measure,
    },
    Task {
        name: "instructions",
        arguments: "[--update]",
        about: "count the instructions of the main path; fails where they grew (--update: write them down anew)",
        run: instructions::instructions,
    },
    Task {
        name: "soak",
        arguments: "[COUNT]",
        about: "boot the kernels of docs/machines.md so often (300), in turn; writes there what was wrong, and the flakes",
        run: machines::soak,
    },
    Task {
        name: "attach",
        arguments: "",
        about: "attach our programs on the kernels of docs/machines.md; writes there what they reported of what was done",
        run: machines::attach,
    },
    Task {
        name: "times",
        arguments: "",
        about: "measure cold and warm starts of the release's kernels, and write docs/machines.md",
        run: machines::times,
    },
    Task {
        name: "i386",
        arguments: "",
        about: "boot a kernel that has no BTF, with what the plugin dwarf makes of its debug package (0.8 GB)",
        run: i386::i386,
    },
    Task {
        name: "sizes",
        arguments: "[BTF…]",
        about: "measure bundles beside the layouts of others, and write docs/sizes.md; files or folders with BTF",
        run: sizes::sizes,
    },
    Task {
        name: "lookup",
        arguments: "BTF",
        about: "measure what finding one kernel among 4,000 with BTFs of this size costs; fails above 1 ms or 2 MB",
        run: sizes::lookup,
    },
    Task {
        name: "fuzz",
        arguments: "SECONDS BTF [TARGET…]",
        about: "run the fuzz targets, all or those named, each so long, seeded with real objects and this kernel's BTF",
        run: fuzz::fuzz,
    },
    Task {
        name: "kills",
        arguments: "[N]",
        about: "kill downloads and store writes 200 times, or N, at random points: the store must be whole each time",
        run: sources::kills,
    },
    Task {
        name: "archive",
        arguments: "COUNT [REAL…]",
        about: "make a BTFHub-shaped archive, serve it on loopback, list, lock and fetch it; prints how long that took",
        run: sources::archive,
    },
    Task {
        name: "dwarf",
        arguments: "[RELEASE]",
        about: "BTF of a Debian kernel's debug package (280 MB): every decision must equal that on the kernel's own",
        run: sources::dwarf,
    },
    Task {
        name: "plugins",
        arguments: "[--program PATH] [COUNT] [BTF…]",
        about: "measure what it costs that source and builder are plugins, over 1,000 made kernels; above 5 % fails",
        run: plugins::plugins,
    },
    Task {
        name: "packages",
        arguments: "",
        about: "say which Debian packages the other tasks need and which are missing; installs nothing",
        run: packages::list,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(task) = arguments.first().and_then(|name| TASKS.iter().find(|task| task.name == name)) else {
        return usage(arguments.first());
    };
    match in_workspace().and_then(|shell| (task.run)(&shell, &arguments[1..])) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask {}: {error}", task.name);
            ExitCode::FAILURE
        }
    }
}

/// A shell at the root of the workspace, wherever the task was called from.
fn in_workspace() -> Result<Shell, Error> {
    let shell = Shell::new()?;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no workspace")?;
    shell.change_dir(root);
    Ok(shell)
}

fn usage(asked: Option<&String>) -> ExitCode {
    let wide = TASKS.iter().map(|task| task.name.len() + task.arguments.chars().count()).max().unwrap_or(0);
    let mut text = String::from("cargo xtask TASK\n\n");
    for Task { name, arguments, about, .. } in TASKS {
        let pad = wide - name.len() - arguments.chars().count();
        text.push_str(&format!("  {name} {arguments}{:pad$}  {about}\n", ""));
    }
    match asked.map(String::as_str) {
        None | Some("help" | "--help" | "-h") => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Some(name) => {
            eprint!("no task \"{name}\"\n\n{text}");
            ExitCode::from(2)
        }
    }
}
