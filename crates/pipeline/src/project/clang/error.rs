//! Why clang didn't compile, and what to install.

use std::path::PathBuf;

/// Why a program could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No clang in `PATH`.
    #[error(
        "clang is not installed, and BPF programs are compiled with it: install the Debian package clang-19"
    )]
    Missing,
    /// It would not start, or a file could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// Which file or program.
        what: String,
        /// The reason.
        source: std::io::Error,
    },
    /// `--version` printed something else.
    #[error("{} does not say that it is clang", path.display())]
    NotClang {
        /// What was run.
        path: PathBuf,
    },
    /// The source has no file name.
    #[error("{} is not the path of a file", .0.display())]
    NoFile(PathBuf),
    /// The program is wrong, or a header is not there.
    #[error("{version} can't compile {}:\n{}{}", source_file.display(), stderr.trim_end(), hint_line(*hint))]
    Failed {
        /// The program.
        source_file: PathBuf,
        /// Which clang.
        version: String,
        /// What it said.
        stderr: String,
        /// What to do, where that is known.
        hint: Option<&'static str>,
    },
}

fn hint_line(hint: Option<&'static str>) -> String {
    hint.map(|hint| format!("\n{hint}")).unwrap_or_default()
}

/// What to install, for a header that isn't there.
pub(super) fn hint(stderr: &str) -> Option<&'static str> {
    let missing = |header: &str| stderr.contains(&format!("'{header}")) && stderr.contains("file not found");
    if missing("bpf/") {
        return Some("help: install the Debian package libbpf-dev");
    }
    if missing("linux/") || missing("asm/") {
        return Some("help: install the Debian package linux-libc-dev");
    }
    let old = stderr.contains("Incorrect flag for llvm.bpf.preserve.type.info")
        || stderr.contains("clang 15 or newer");
    old.then_some("help: install the Debian package clang-19; it is found beside an older clang")
}

pub(super) fn io(what: &str, source: std::io::Error) -> Error {
    Error::Io { what: what.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        let check = |stderr: &str, expected: &str| match hint(stderr) {
            Some(hint) => assert!(!expected.is_empty() && hint.contains(expected), "{stderr:?}: {hint}"),
            None => assert!(expected.is_empty(), "{stderr:?}"),
        };
        check("a.c:1:10: fatal error: 'bpf/bpf_helpers.h' file not found", "libbpf-dev");
        check("a.c:1:10: fatal error: 'linux/bpf.h' file not found", "linux-libc-dev");
        check("/usr/include/linux/types.h:5:10: fatal error: 'asm/types.h' file not found", "linux-libc-dev");
        check(
            "fatal error: error in backend: Incorrect flag for llvm.bpf.preserve.type.info intrinsic",
            "clang-19",
        );
        check("a.c:1:10: fatal error: 'mine.h' file not found", "");
        check("a.c:1:1: error: unknown type name 'foo'", "");
    }
}
