//! The digests of the sources that decide what a step gives: they are in the keys, so that a changed engine makes its
//! results anew, and a changed progress bar doesn't.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// A variable, and the folders and files that decide.
const SOURCES: [(&str, &[&str]); 3] = [
    ("BTFPIPE_ENGINE", &["../btf/src", "../relo-core/src", "src/kernel/engine.rs", "src/kernel/records.rs"]),
    ("BTFPIPE_WRITER", &["../bundle/src", "src/package/packaging.rs"]),
    ("BTFPIPE_VERIFIER", &["../../vmtest/src", "src/verify/verifying.rs", "src/kernel/engine.rs"]),
];

fn main() {
    for (variable, places) in SOURCES {
        let mut files = Vec::new();
        for place in places {
            println!("cargo::rerun-if-changed={place}");
            let ours = !place.starts_with("..");
            assert!(!ours || Path::new(place).exists(), "{place} is not there: say where it is now");
            collect(Path::new(place), &mut files);
        }
        files.sort();
        let mut hash = Sha256::new();
        for file in files {
            let text = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            hash.update(format!("{} {}\n", file.display(), text.len()));
            hash.update(text);
        }
        let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        println!("cargo::rustc-env={variable}={}+{digest}", env!("CARGO_PKG_VERSION"));
    }
    println!("cargo::rerun-if-changed=build.rs");
}

/// All sources below a place; a crate from a registry has none of its neighbours', and then the version says it all.
fn collect(place: &Path, files: &mut Vec<PathBuf>) {
    if place.is_file() {
        return files.push(place.to_owned());
    }
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() || path.extension().is_some_and(|end| end == "rs") {
            collect(&path, files);
        }
    }
}
