//! `cargo xtask bench`: btfpipe beside bpftool, in turn, on the same inputs, in one run.
//!
//! Every figure is the median of several rounds; processor time is that of the whole process, start and end included.

mod cost;
mod document;
mod growth;
mod inputs;
mod parts;
mod plot;
mod rows;

use std::fs;
use std::process::ExitCode;

use xshell::Shell;

use crate::Outcome;
use inputs::Inputs;

pub use cost::measure;
pub use inputs::{embedded, files};

const DOCUMENT: &str = "docs/benchmarks.md";
const PLOT: &str = "docs/growth.svg";

/// The task. Arguments are files with raw BTF, or folders of them, beyond the kernels of the pipeline `bench`.
pub fn bench(shell: &Shell, arguments: &[String]) -> Outcome {
    let inputs = Inputs::prepare(shell, arguments)?;
    let rows = inputs.rows()?;
    let (parts, growth) = (inputs.parts()?, inputs.growth()?);
    shell.remove_path(inputs.outputs().spent)?;
    let root = shell.current_dir();
    let document = root.join(DOCUMENT);
    // What people wrote there stays.
    let written = fs::read_to_string(&document).unwrap_or_default();
    let text = document::write(&inputs, &rows, &parts, &growth, document::by_hand(&written))?;
    print!("{text}");
    fs::write(document, text)?;
    fs::write(root.join(PLOT), plot::svg(&growth))?;
    Ok(ExitCode::SUCCESS)
}
