//! A summary as people read it: a kernel is a column and a line, and where there are many, a distribution is.

use std::ops::Range;

use super::{Checked, KernelColumn, Row, State, Summary, label};

/// With more kernels than this, those of one distribution, version and architecture stand together.
const MOST: usize = 40;

/// Kernels that are named where one line is about several.
const NAMED: usize = 8;

/// Failed kernels that have lines of their own; the JSON has all.
const FAILED: usize = 40;

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    /// `debian 12`, `x86_64`, then `6.1.0-50` or `120 kernels`.
    pub(super) head: [String; 3],
    kernels: Range<usize>,
}

/// A line of the list of kernels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// One kernel's id, or how many there are of which distribution.
    pub(super) name: String,
    /// Sizes of all their BTFs, and of ours.
    pub(super) bytes: Option<(u64, u64)>,
    /// How they were checked, or what failed.
    pub(super) how: String,
}

impl Column {
    /// The worst state of a row here, and in words; where they differ, with the number of the cells that have it.
    pub(super) fn cell(&self, row: &Row) -> (State, String) {
        let cells = &row.cells[self.kernels.clone()];
        let worst = cells.iter().map(|cell| cell.state).max().unwrap_or(State::Absent);
        let count = cells.iter().filter(|cell| cell.state == worst).count();
        let word = worst.word();
        (
            worst,
            if count == cells.len() { word.to_owned() } else { format!("{word} {count}/{}", cells.len()) },
        )
    }
}

impl Line {
    fn of(kernel: &KernelColumn) -> Line {
        Line { name: kernel.id.clone(), bytes: kernel.bytes, how: how(kernel) }
    }
}

impl Summary {
    /// The columns of the table.
    pub(super) fn columns(&self) -> Vec<Column> {
        let single = self.kernels.len() <= MOST;
        let mut columns: Vec<Column> = Vec::new();
        for (index, kernel) in self.kernels.iter().enumerate() {
            let head = label(&kernel.id);
            match columns.last_mut() {
                Some(column) if !single && column.head[..2] == head[..2] => column.kernels.end = index + 1,
                _ => columns.push(Column { head, kernels: index..index + 1 }),
            }
        }
        for column in columns.iter_mut().filter(|column| column.kernels.len() > 1) {
            column.head[2] = format!("{} kernels", column.kernels.len());
        }
        columns
    }

    /// The list of kernels: a line for each column, and for each that failed and shares its column.
    pub(super) fn kernel_lines(&self) -> Vec<Line> {
        let (mut lines, mut failed) = (Vec::new(), Vec::new());
        for column in self.columns() {
            match &self.kernels[column.kernels.clone()] {
                [one] => lines.push(Line::of(one)),
                several => {
                    lines.push(together(&column, several));
                    failed.extend(several.iter().filter(|kernel| kernel.failure.is_some()));
                }
            }
        }
        lines.extend(failed.iter().take(FAILED).map(|kernel| Line::of(kernel)));
        if let Some(more) = failed.len().checked_sub(FAILED).filter(|more| *more > 0) {
            let how = "FAILED, too; summary.json has their reasons".to_owned();
            lines.push(Line { name: format!("{more} more"), bytes: None, how });
        }
        lines
    }

    /// The kernels that a reason is about.
    pub(super) fn named(&self, kernels: &[String]) -> String {
        match kernels.len() {
            all if all == self.kernels.len() => "all kernels".to_owned(),
            few if few <= NAMED + 1 => kernels.join(", "),
            many => format!("{} and {} more", kernels[..NAMED].join(", "), many - NAMED),
        }
    }
}

fn together(column: &Column, kernels: &[KernelColumn]) -> Line {
    let bytes: Vec<(u64, u64)> = kernels.iter().filter_map(|kernel| kernel.bytes).collect();
    let sum = bytes.iter().fold((0, 0), |(full, ours), (more, less)| (full + more, ours + less));
    let count = |wanted: fn(&KernelColumn) -> bool| kernels.iter().filter(|kernel| wanted(kernel)).count();
    let counts = [
        ("FAILED", count(|kernel| kernel.failure.is_some())),
        ("booted", count(|kernel| kernel.failure.is_none() && matches!(kernel.checked, Checked::Booted(_)))),
        ("host only", count(|kernel| kernel.failure.is_none() && matches!(kernel.checked, Checked::Host(_)))),
        ("not verified", count(|kernel| kernel.failure.is_none() && kernel.checked == Checked::No)),
    ];
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    Line {
        name: column.head.join(" "),
        bytes: (!bytes.is_empty()).then_some(sum),
        how: counts.map(|(word, count)| format!("{word} {count}")).collect::<Vec<_>>().join(", "),
    }
}

fn how(kernel: &KernelColumn) -> String {
    match (&kernel.failure, &kernel.checked) {
        (Some(reason), _) => format!("FAILED: {}", reason.lines().collect::<Vec<_>>().join("; ")),
        (None, Checked::Booted(how)) => format!("booted: {how}"),
        (None, Checked::Host(why)) => format!("host only: {why}"),
        (None, Checked::No) => "not verified".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cell;
    use super::super::tests::example;
    use super::*;

    /// The example with so many more kernels, of which the last has failed.
    fn many(more: usize) -> Summary {
        let mut summary = example();
        for number in 0..more {
            let id = format!("debian/12/x86_64/6.1.0-{}-cloud-amd64", 51 + number);
            let failure = (number + 1 == more).then(|| "gone\nfor good".to_owned());
            let (checked, bytes) = (Checked::Host("no machine".into()), Some((100, 1)));
            summary.kernels.push(KernelColumn { id, checked, failure, bytes });
            for row in &mut summary.rows {
                row.cells.push(Cell::of(State::Ok));
            }
        }
        summary
    }

    #[test]
    fn few_kernels_have_a_column_each() {
        let summary = many(MOST - 2);
        assert_eq!((summary.columns().len(), summary.kernel_lines().len()), (MOST, MOST));
        assert_eq!(summary.columns()[1].head, ["debian 12", "x86_64", "6.1.0-50"]);
    }

    #[test]
    fn many_kernels_stand_together() {
        let summary = many(4999);
        let columns = summary.columns();
        assert_eq!(columns.len(), 2);
        assert_eq!(columns[1].head, ["debian 12", "x86_64", "5000 kernels"]);
        let words: Vec<String> = summary.rows.iter().map(|row| columns[1].cell(row).1).collect();
        assert_eq!(words, ["ok", "needs-btf 1/5000", "needs-btf 1/5000", "MISMATCH 1/5000"]);
        let lines = summary.kernel_lines();
        assert_eq!(lines[0].name, "debian/12/arm64/6.1.0-50-cloud-arm64");
        assert_eq!(lines[1].name, "debian 12 x86_64 5000 kernels");
        assert_eq!(lines[1].how, "FAILED 1, booted 1, host only 4998");
        assert_eq!(lines[1].bytes, Some((4_111_222 + 499_900, 2_048 + 4_999)));
        assert_eq!((lines.len(), lines[2].how.as_str()), (3, "FAILED: gone; for good"));
    }

    #[test]
    fn failures_without_end_end() {
        let mut summary = many(100);
        for kernel in &mut summary.kernels {
            kernel.failure = Some("gone".into());
        }
        let lines = summary.kernel_lines();
        // The first one has a column of its own, and is told there.
        assert_eq!(lines.len(), 2 + FAILED + 1);
        assert_eq!(lines.last().unwrap().name, "61 more");
        assert_eq!(lines.iter().filter(|line| line.name == summary.kernels[0].id).count(), 1);
        let names: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        assert_eq!(summary.named(&names), "0, 1, 2, 3, 4, 5, 6, 7 and 92 more");
        assert_eq!(summary.named(&names[..9]), "0, 1, 2, 3, 4, 5, 6, 7, 8");
    }
}
