//! Programs that tests run where they are installed.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// The first tool of these names, or None after saying aloud that the test is skipped.
pub fn find(names: &[&str], test: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian keeps bpftool where root's PATH looks.
    let folders = || env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = names.iter().find_map(|name| folders().map(|folder| folder.join(name)).find(|f| f.is_file()));
    if found.is_none() {
        for variable in ["BTFPIPE_REAL", "BTFPIPE_NO_SKIPS"] {
            assert!(env::var_os(variable).is_none_or(|value| value != "1"), "{test} needs one of {names:?}");
        }
        println!("{test} skipped: none of {names:?} is installed");
    }
    found
}

/// What a command prints; it must succeed.
pub fn run(mut command: Command) -> String {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
