//! docs/benchmarks.md: the tables are written by the task, what stands below them by people.

use std::fmt::Write as _;

use xshell::cmd;

use super::cost::ROUNDS;
use super::growth::Growth;
use super::inputs::Inputs;
use super::parts::Part;
use super::rows::{By, Row, Wanted};
use crate::Error;

/// From here on the task leaves the text alone.
const BY_HAND: &str = "## What was tried";

const HEAD: &str = "# Benchmarks

The tables are written by `cargo xtask bench`: whole processes, in turn with what they are held against, on the same
inputs in one run; medians. What a round wrote is put aside before the next. Inputs are BTFs in the page cache and the objects
inside of Debian's libbpf-tools. Real kernels are those of `pipelines/bench.yaml` and what the task was given besides; made
ones are real ones with their types in another order, under other ids, and with structs that have grown, so that no two are
alike (`crates/relo-core/examples/vary`).

";

/// The part of the document that people wrote.
pub fn by_hand(written: &str) -> &str {
    written.find(BY_HAND).map_or("", |at| &written[at..])
}

/// The whole document.
pub fn write(
    inputs: &Inputs<'_>,
    rows: &[Row],
    parts: &[Part],
    growth: &[Growth],
    by_hand: &str,
) -> Result<String, Error> {
    let bpftool = &inputs.bpftool;
    let version = cmd!(inputs.shell, "{bpftool} version").quiet().read()?;
    let mut text = String::from(HEAD);
    writeln!(
        text,
        "{}; {} real kernels; {} made ones; {ROUNDS} rounds; CPU is user and system time of all threads.\n",
        version.lines().next().unwrap_or_default().rsplit('/').next().unwrap_or_default(),
        inputs.kernels.len(),
        inputs.stored.len()
    )?;
    table(&mut text, rows)?;
    costs(&mut text, parts)?;
    grown(&mut text, growth)?;
    text.push_str(by_hand);
    Ok(text)
}

fn table(text: &mut String, rows: &[Row]) -> Result<(), Error> {
    writeln!(
        text,
        "| work | wall | CPU | peak memory | beside it | wall | CPU | ratio | wanted |\n|---|---|---|---|---|---|---|---|---|"
    )?;
    for row in rows {
        let by = match row.by {
            By::Cpu => "CPU",
            By::Wall => "wall",
        };
        let wanted = match row.wanted {
            Wanted::Times(times) => format!("≥ {times} × {by}"),
            Wanted::AtMost(times) => format!("≤ {times} × {by}"),
        };
        writeln!(
            text,
            "| {} | {} | {} | {} MB | {} | {} | {} | {:.2} | {wanted}{} |",
            row.work,
            milliseconds(row.ours.wall.as_secs_f64()),
            milliseconds(row.ours.cpu.as_secs_f64()),
            row.ours.peak.div_ceil(1024),
            row.beside,
            milliseconds(row.theirs.wall.as_secs_f64()),
            milliseconds(row.theirs.cpu.as_secs_f64()),
            row.ratio(),
            if row.is_reached() { "" } else { ": not reached" }
        )?;
    }
    let peak = rows.iter().map(|row| row.ours.peak).max().unwrap_or(0).div_ceil(1024);
    writeln!(text, "\nThe most memory that any of them had at once: {peak} MB; wanted are 150 at most.\n")?;
    Ok(())
}

fn costs(text: &mut String, parts: &[Part]) -> Result<(), Error> {
    writeln!(text, "## Where one process spends its time\n\n| work | wall | CPU |\n|---|---|---|")?;
    for Part { work, cost } in parts {
        let (wall, cpu) = (milliseconds(cost.wall.as_secs_f64()), milliseconds(cost.cpu.as_secs_f64()));
        writeln!(text, "| {work} | {wall} | {cpu} |")?;
    }
    text.push('\n');
    Ok(())
}

fn grown(text: &mut String, growth: &[Growth]) -> Result<(), Error> {
    writeln!(
        text,
        "## How cost grows\n\n![Processor time over kernels, objects and size of a BTF](growth.svg)\n"
    )?;
    for growth in growth {
        let last = growth.points.len().saturating_sub(1);
        writeln!(
            text,
            "{}:\n\n| {} | wall | CPU | CPU for each | peak memory |\n|---|---|---|---|---|",
            growth.what, growth.of
        )?;
        for (index, (amount, cost)) in growth.points.iter().enumerate() {
            // What one more costs, from the first point: a start that all share is left out.
            let (first, base) = growth.points[0];
            let each = (cost.cpu.as_secs_f64() - base.cpu.as_secs_f64()) / (amount - first);
            let each = if index == 0 { "–".to_owned() } else { format!("{:.3} ms", each * 1e3) };
            writeln!(
                text,
                "| {amount:.0} | {} | {} | {each} | {} MB |",
                milliseconds(cost.wall.as_secs_f64()),
                milliseconds(cost.cpu.as_secs_f64()),
                cost.peak.div_ceil(1024)
            )?;
            if index == last {
                text.push('\n');
            }
        }
    }
    Ok(())
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}
