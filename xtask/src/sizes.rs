//! `cargo xtask sizes`: what kernels cost as a bundle and in the layouts of others. `cargo xtask lookup`: what finding
//! one kernel among 4,000 costs.

use std::process::ExitCode;

use xshell::{Shell, cmd};

use crate::packages::{self, RUN, TEST};
use crate::{Outcome, run};

const PIPELINE: &str = "pipelines/release.yaml";
const DOCUMENT: &str = "docs/sizes.md";
const HEAD: &str = "# Sizes

Written by `cargo xtask sizes FOLDER…`: the minimized BTF of real kernels for all objects of Debian's libbpf-tools, proven,
in every form that btfpipe ships. The folders had BTFs of Debian's kernels, as `btfpipe extract` writes them, and archives of
other vendors in the layout of BTFHub.

";

/// The task. Arguments are files and folders with BTF, packed or not; the release pipeline's kernels where there are none.
pub fn sizes(shell: &Shell, arguments: &[String]) -> Outcome {
    packages::install(shell, &[RUN, TEST])?;
    let program = run::build(shell)?;
    let temp = shell.create_temp_dir()?;
    let (extracted, minimized) = (temp.path().join("kernels"), temp.path().join("minimized"));
    let mut inputs = arguments.to_vec();
    if inputs.is_empty() {
        cmd!(shell, "{program} extract {PIPELINE} {extracted}").ignore_stdout().run()?;
        inputs.push(extracted.join("btf").display().to_string());
    }
    let inputs: Vec<&str> = inputs.iter().flat_map(|input| ["--btf", input.as_str()]).collect();
    let tools = tools(shell)?;
    // What can't be minimized is said, and is no kernel of the table.
    let all = &tools;
    cmd!(shell, "{program} minimize {inputs...} --out {minimized} --records {all...}")
        .ignore_stdout()
        .ignore_status()
        .run()?;
    let table = cmd!(
        shell,
        "cargo run --quiet --release --locked --package bundle --example sizes -- {minimized} {tools...}"
    )
    .read()?;
    let text = format!("{HEAD}{table}\n");
    print!("{text}");
    shell.write_file(DOCUMENT, text)?;
    Ok(ExitCode::SUCCESS)
}

/// The task that fails when a lookup takes more than a millisecond or 2 MB. Says what memory the layouts of so many kernels
/// take as well.
pub fn lookup(shell: &Shell, arguments: &[String]) -> Outcome {
    let [btf] = arguments else {
        return Err("which minimized BTF? e.g. one that btfpipe min-core-btf wrote".into());
    };
    let temp = shell.create_temp_dir()?;
    let pack = temp.path().join("many.btfpack");
    let cargo = ["run", "--quiet", "--release", "--locked", "--package", "bundle"];
    cmd!(shell, "cargo {cargo...} --example many_kernels -- {btf} 4000 {pack}").run()?;
    cmd!(shell, "cargo {cargo...} --no-default-features --example lookup_cost -- {pack} 5.13.0-1989-generic")
        .run()?;
    Ok(ExitCode::SUCCESS)
}

/// Debian's BPF programs.
fn tools(shell: &Shell) -> Result<Vec<String>, crate::Error> {
    let listed = cmd!(shell, "dpkg -L libbpf-tools").read()?;
    let programs = listed.lines().filter(|line| line.starts_with("/usr/sbin/"));
    Ok(programs.filter(|path| !std::path::Path::new(path).is_symlink()).map(str::to_owned).collect())
}
