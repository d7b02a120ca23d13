//! docs/machines.md: parts that tasks of their own write, each in its place.

use std::fs;
use std::io;
use std::path::Path;

const DOCUMENT: &str = "docs/machines.md";

/// In the order in which they stand.
#[derive(Clone, Copy)]
pub enum Part {
    Times,
    Attached,
    Soak,
}

/// The line that each begins with.
const HEADINGS: [&str; 3] =
    ["# Machines: how long they take", "## Attached, and provoked", "## One boot after the other"];

/// Puts a part's new text below its heading; the other parts stay.
pub fn write(root: &Path, part: Part, text: &str) -> io::Result<()> {
    let document = root.join(DOCUMENT);
    let before = match fs::read_to_string(&document) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    fs::write(document, replace(&before, part, text))
}

fn replace(before: &str, part: Part, text: &str) -> String {
    let mut parts: [Option<String>; HEADINGS.len()] = Default::default();
    let mut current = 0;
    for line in before.lines() {
        match HEADINGS.iter().position(|heading| *heading == line) {
            Some(next) => (current, parts[next]) = (next, Some(String::new())),
            None => parts[current].get_or_insert_default().push_str(&format!("{line}\n")),
        }
    }
    parts[part as usize] = Some(text.to_owned());
    let parts = HEADINGS.iter().zip(parts).filter_map(|(heading, text)| {
        let text = text?;
        Some(format!("{heading}\n\n{}\n", text.trim()))
    });
    parts.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stay_in_their_order() {
        let [times, attached, soak] = HEADINGS;
        let both = replace(&replace("", Part::Soak, "s\n"), Part::Times, "\nt\n");
        assert_eq!(both, format!("{times}\n\nt\n\n{soak}\n\ns\n"));
        let all = replace(&both, Part::Attached, "a\n\n| b |");
        assert_eq!(all, format!("{times}\n\nt\n\n{attached}\n\na\n\n| b |\n\n{soak}\n\ns\n"));
        assert_eq!(replace(&all, Part::Attached, "a\n\n| b |"), all);
        assert_eq!(replace(&all, Part::Soak, "n"), all.replace("\ns\n", "\nn\n"));
    }
}
