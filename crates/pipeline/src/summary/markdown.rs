//! The same for a web page: Markdown.

use std::fmt::Write;

use super::Summary;

/// Title, table, legend, reasons, kernels and packages.
pub fn to_markdown(summary: &Summary) -> String {
    let mut out = String::new();
    // Writing into a string can't fail.
    let _ = write(summary, &mut out);
    out
}

fn write(summary: &Summary, out: &mut String) -> std::fmt::Result {
    writeln!(out, "# {}: {}\n", summary.name, if summary.is_good() { "good" } else { "NOT good" })?;
    write!(out, "| program |")?;
    let columns = summary.columns();
    for column in &columns {
        write!(out, " {} |", escaped(&column.head.join("<br>")))?;
    }
    writeln!(out, "\n|--|{}", "--|".repeat(columns.len()))?;
    for row in &summary.rows {
        let name = if row.program.is_empty() {
            row.object.clone()
        } else {
            format!("{}: {}", row.object, row.program)
        };
        write!(out, "| {} |", escaped(&name))?;
        for column in &columns {
            write!(out, " {} |", column.cell(row).1)?;
        }
        out.push('\n');
    }
    out.push('\n');
    for state in summary.states() {
        writeln!(out, "- `{}`: {}", state.word(), state.legend())?;
    }
    write_reasons(summary, out)?;
    write_kernels(summary, out)?;
    if !summary.packages.is_empty() {
        writeln!(
            out,
            "\n## Packages\n\n| file | bytes | kernels | distinct BTFs | sha256 |\n|--|--|--|--|--|"
        )?;
    }
    for package in &summary.packages {
        let (file, bytes, kernels, blobs) = (&package.file, package.bytes, package.kernels, package.blobs);
        writeln!(out, "| {} | {bytes} | {kernels} | {blobs} | `{}` |", escaped(file), package.sha256)?;
    }
    Ok(())
}

fn write_reasons(summary: &Summary, out: &mut String) -> std::fmt::Result {
    let notes = summary.footnotes();
    if !notes.is_empty() || !summary.failures.is_empty() {
        writeln!(out, "\n## Why\n")?;
    }
    for failure in &summary.failures {
        writeln!(out, "- {}", escaped(failure))?;
    }
    for note in notes {
        let kernels = summary.named(&note.kernels);
        writeln!(out, "- {}, `{}` on {}:", escaped(&note.subject), note.state.word(), escaped(&kernels))?;
        for line in note.reason.lines() {
            writeln!(out, "  {}  ", escaped(line))?;
        }
    }
    Ok(())
}

fn write_kernels(summary: &Summary, out: &mut String) -> std::fmt::Result {
    writeln!(out, "\n## Kernels\n\n| kernel | its BTF | ours | verified |\n|--|--|--|--|")?;
    for line in summary.kernel_lines() {
        let (full, ours) =
            line.bytes.map(|(full, ours)| (full.to_string(), ours.to_string())).unwrap_or_default();
        writeln!(out, "| {} | {full} | {ours} | {} |", escaped(&line.name), escaped(&line.how))?;
    }
    Ok(())
}

/// What a kernel, a verifier or a plugin said must not become markup.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.replace("<br>", "\n").chars() {
        match c {
            '\n' => out.push_str("<br>"),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '|' | '*' | '`' | '[' | ']' | '\\' | '_' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn tables_have_equal_columns() {
        let text = to_markdown(&example());
        let table: Vec<&str> = text.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
        assert_eq!(table.len(), 6, "{text}");
        assert!(table.iter().all(|line| line.matches('|').count() == 4), "{text}");
        assert!(text.starts_with("# release: NOT good\n"), "{text}");
        assert!(text.contains("- tcp: connect, `MISMATCH` on debian 12 x86\\_64 6.1.0-50:\n"), "{text}");
    }

    #[test]
    fn markup_from_outside_is_text() {
        assert_eq!(escaped("a|b <script> `x`\u{7}"), "a\\|b &lt;script> \\`x\\` ");
    }
}
