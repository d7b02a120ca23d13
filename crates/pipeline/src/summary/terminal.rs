//! The table for a terminal.

use std::fmt::Write;

use super::columns::Column;
use super::{State, Summary};

const GAP: usize = 2;

/// The table, legend and reasons; `width` columns wide where that can be, with colours if `color`.
pub fn to_terminal(summary: &Summary, width: usize, color: bool) -> String {
    let mut out = String::new();
    // Writing into a string can't fail.
    let _ = write(summary, width, color, &mut out);
    out
}

fn write(summary: &Summary, width: usize, color: bool, out: &mut String) -> std::fmt::Result {
    let objects = objects(summary);
    let (kernels, programs) = (summary.kernels.len(), summary.rows.len());
    writeln!(out, "{}: {objects} objects, {programs} programs × {kernels} kernels", summary.name)?;
    let first = summary.rows.iter().map(|row| row.program.chars().count() + 2).max().unwrap_or(0);
    let first = first.max(summary.rows.iter().map(|row| row.object.chars().count()).max().unwrap_or(0));
    for columns in chunks(summary, first, width) {
        write_table(summary, &columns, first, color, out)?;
    }
    write_legend(summary, out)?;
    write_reasons(summary, out)?;
    write_kernels(summary, out)?;
    write_packages(summary, out)
}

fn objects(summary: &Summary) -> usize {
    let mut names: Vec<&str> = summary.rows.iter().map(|row| row.object.as_str()).collect();
    names.dedup();
    names.len()
}

/// As many columns side by side as fit, each with its width; at least one.
fn chunks(summary: &Summary, first: usize, width: usize) -> Vec<Vec<(Column, usize)>> {
    let mut chunks: Vec<Vec<(Column, usize)>> = Vec::new();
    let mut used = usize::MAX;
    for column in summary.columns() {
        let head = column.head.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let body = summary.rows.iter().map(|row| column.cell(row).1.chars().count()).max().unwrap_or(0);
        let wide = head.max(body);
        match chunks.last_mut() {
            Some(chunk) if used.saturating_add(GAP + wide) <= width => {
                chunk.push((column, wide));
                used += GAP + wide;
            }
            _ => {
                chunks.push(vec![(column, wide)]);
                used = first + GAP + wide;
            }
        }
    }
    chunks
}

fn write_table(
    summary: &Summary,
    columns: &[(Column, usize)],
    first: usize,
    color: bool,
    out: &mut String,
) -> std::fmt::Result {
    out.push('\n');
    for line in 0..3 {
        let mut text = " ".repeat(first);
        for (column, wide) in columns {
            text.push_str(&format!("{:GAP$}{:<wide$}", "", column.head[line]));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    let mut object = "";
    for row in &summary.rows {
        if row.object != object {
            object = &row.object;
            if !row.program.is_empty() {
                writeln!(out, "{object}")?;
            }
        }
        let name = if row.program.is_empty() { row.object.clone() } else { format!("  {}", row.program) };
        let mut text = format!("{name:<first$}");
        for (column, wide) in columns {
            let (state, word) = column.cell(row);
            let pad = wide - word.chars().count();
            text.push_str(&format!("{:GAP$}{}{:pad$}", "", painted(state, word, color), ""));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

fn painted(state: State, word: String, color: bool) -> String {
    let code = match state {
        _ if !color => return word,
        State::Ok | State::Reported => 32,
        State::Host | State::Absent => 36,
        State::NeedsKernelBtf | State::Poisoned | State::LoadFailBoth | State::Skipped | State::TypeId => 33,
        State::NoVerdict
        | State::Refused
        | State::LoadFailMinOnly
        | State::WrongEvent
        | State::Mismatch
        | State::Crash
        | State::Failed => 31,
    };
    format!("\x1b[{code}m{word}\x1b[0m")
}

fn write_legend(summary: &Summary, out: &mut String) -> std::fmt::Result {
    let states = summary.states();
    let wide = states.iter().map(|state| state.word().chars().count()).max().unwrap_or(0);
    out.push('\n');
    for state in states {
        writeln!(out, "{:<wide$}  {}", state.word(), state.legend())?;
    }
    Ok(())
}

fn write_reasons(summary: &Summary, out: &mut String) -> std::fmt::Result {
    let notes = summary.footnotes();
    if !notes.is_empty() {
        writeln!(out, "\nwhy")?;
    }
    for note in notes {
        writeln!(out, "  {} · {} · {}", note.subject, note.state.word(), summary.named(&note.kernels))?;
        for line in note.reason.lines() {
            writeln!(out, "    {line}")?;
        }
    }
    for failure in &summary.failures {
        writeln!(out, "  {failure}")?;
    }
    Ok(())
}

fn write_kernels(summary: &Summary, out: &mut String) -> std::fmt::Result {
    writeln!(out, "\nkernels")?;
    let lines = summary.kernel_lines();
    let wide = lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0);
    for line in lines {
        let sizes = line.bytes.map(|(full, ours)| format!("{full:>9} -> {ours} bytes  ")).unwrap_or_default();
        writeln!(out, "  {:<wide$}  {sizes}{}", line.name, line.how)?;
    }
    Ok(())
}

fn write_packages(summary: &Summary, out: &mut String) -> std::fmt::Result {
    if !summary.packages.is_empty() {
        writeln!(out, "\npackages")?;
    }
    for package in &summary.packages {
        let (file, bytes, kernels, blobs) = (&package.file, package.bytes, package.kernels, package.blobs);
        writeln!(out, "  {file}  {bytes} bytes, {kernels} kernels, {blobs} distinct BTFs")?;
        writeln!(out, "    sha256 {}", package.sha256)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn the_table() {
        let text = to_terminal(&example(), 100, false);
        let wanted = "\
release: 2 objects, 4 programs × 2 kernels

               debian 12  debian 12
               arm64      x86_64
               6.1.0-50   6.1.0-50
opens
  enter        host       ok
  exit_fentry  needs-btf  needs-btf
  exit_fexit   needs-btf  needs-btf
tcp
  connect      host       MISMATCH

ok         booted:";
        assert!(text.starts_with(wanted), "{text}");
        assert!(
            text.contains("  tcp: connect · MISMATCH · debian 12 x86_64 6.1.0-50\n    instruction 12"),
            "{text}"
        );
        assert!(text.contains("4111222 -> 2048 bytes  booted: libbpf 1.7.0, tcg\n"), "{text}");
    }

    #[test]
    fn a_narrow_terminal_gets_two_tables() {
        let text = to_terminal(&example(), 30, false);
        assert_eq!(text.matches("  connect").count(), 2, "{text}");
        let table = text.split("\nwhy").next().unwrap_or_default();
        let rows = table
            .lines()
            .skip(1)
            .filter(|line| line.starts_with("  "))
            .all(|line| line.chars().count() <= 30);
        assert!(rows, "{text}");
    }

    #[test]
    fn colours_don_t_move_columns() {
        let plain = to_terminal(&example(), 100, false);
        let mut painted = to_terminal(&example(), 100, true);
        assert!(painted.contains("\x1b[31mMISMATCH\x1b[0m"));
        for code in ["\x1b[0m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m"] {
            painted = painted.replace(code, "");
        }
        assert_eq!(plain, painted);
    }
}
