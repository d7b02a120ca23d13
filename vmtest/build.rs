//! Puts the guest program where the library includes it; an empty file when there is none.

use std::path::PathBuf;
use std::{env, fs};

const GUEST: &str = "BTFPIPE_GUEST_X86_64";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={GUEST}");
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        return;
    };
    let program = match env::var_os(GUEST).map(PathBuf::from) {
        Some(path) => {
            println!("cargo:rerun-if-changed={}", path.display());
            fs::read(&path).unwrap_or_else(|error| panic!("{GUEST}: {}: {error}", path.display()))
        }
        None => Vec::new(),
    };
    fs::write(out.join("guest-x86_64"), program).expect("write into OUT_DIR");
}
