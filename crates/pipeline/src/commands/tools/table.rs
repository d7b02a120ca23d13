//! Columns for people: as wide as their widest cell, the last one free.

use std::fmt::Write;

/// Lines of cells under a head.
pub fn columns<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut wide = head.map(|cell| cell.chars().count());
    for row in rows {
        for (wide, cell) in wide.iter_mut().zip(row) {
            *wide = (*wide).max(cell.chars().count());
        }
    }
    let mut out = line(head.map(str::to_owned).as_slice(), &wide);
    for row in rows {
        out.push_str(&line(row, &wide));
    }
    out
}

fn line(cells: &[String], wide: &[usize]) -> String {
    let mut line = String::new();
    for (index, (cell, wide)) in cells.iter().zip(wide).enumerate() {
        let gap = if index == 0 { "" } else { "  " };
        // Writing into a string can't fail.
        let _ = write!(line, "{gap}{cell:<wide$}");
    }
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_each_other() {
        let rows = [["a".to_owned(), "b".to_owned()], ["ccc".to_owned(), String::new()]];
        assert_eq!(columns(["x", "y"], &rows), "x    y\na    b\nccc\n");
    }
}
