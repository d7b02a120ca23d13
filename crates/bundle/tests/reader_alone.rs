//! The crate without its default features: the small reader for programs that carry a pack.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const MOST: usize = 15;

/// What cargo would build for it, build scripts included.
#[test]
fn it_needs_few_crates() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", "bundle", "--no-default-features"])
        .args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let crates: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains("bundle") && crates.contains("ruzstd"), "{crates:?}");
    assert!(crates.len() - 1 <= MOST, "{} crates: {crates:?}", crates.len() - 1);
    for writer in ["zstd", "zstd-sys", "tar", "serde_json"] {
        assert!(!crates.contains(writer), "{writer}");
    }
}
