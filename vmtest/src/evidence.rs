//! What a boot leaves behind for a person who doubts its verdict.

use std::fs;
use std::io;
use std::path::Path;

use crate::report::{Attempt, VmReport};

/// `boot-N`: the command line, the whole console, everything that came over the results' line, QEMU's last words.
pub fn of_boot(
    folder: &Path,
    number: usize,
    attempt: &Attempt,
    console: &Path,
    results: &Path,
) -> io::Result<()> {
    let boot = folder.join(format!("boot-{number}"));
    fs::create_dir_all(&boot)?;
    fs::write(boot.join("command.txt"), quoted(&attempt.command))?;
    for (from, to) in [(console, "console.log"), (results, "results.jsonl")] {
        // A boot that was never started has none.
        if from.is_file() {
            fs::copy(from, boot.join(to))?;
        }
    }
    let words: String = attempt.qemu_stderr.iter().map(|line| format!("{line}\n")).collect();
    fs::write(boot.join("qemu.log"), words)
}

/// `report.json`: what was concluded.
pub fn of_report(folder: &Path, report: &VmReport) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("report.json"), serde_json::to_vec_pretty(report)?)
}

/// A line for a shell.
fn quoted(command: &[String]) -> String {
    let plain = |word: &&String| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=,:+".contains(c))
    };
    let words = command.iter().map(|word| match Some(word).filter(plain) {
        Some(word) => word.clone(),
        None => format!("'{}'", word.replace('\'', r"'\''")),
    });
    words.collect::<Vec<_>>().join(" ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_command_as_it_was() {
        let words = ["qemu", "-append", "panic=-1 x", "it's", "", "a,b=c"].map(str::to_owned);
        assert_eq!(quoted(&words), "qemu -append 'panic=-1 x' 'it'\\''s' '' a,b=c\n");
    }
}
