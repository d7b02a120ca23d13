//! Puts the guest programs where the library includes them; an empty file where there is none.

use std::path::{Path, PathBuf};
use std::{env, fs};

const GUESTS: [(&str, &str); 4] = [
    ("BTFPIPE_GUEST_X86_64", "guest-x86_64"),
    ("BTFPIPE_GUEST_ARM64", "guest-arm64"),
    ("BTFPIPE_OLD_LIBBPF_X86_64", "old-libbpf-x86_64"),
    ("BTFPIPE_OLD_LIBBPF_ARM64", "old-libbpf-arm64"),
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        return;
    };
    for (variable, file) in GUESTS {
        println!("cargo:rerun-if-env-changed={variable}");
        fs::write(out.join(file), program(variable)).expect("write into OUT_DIR");
    }
}

fn program(variable: &str) -> Vec<u8> {
    let Some(path) = env::var_os(variable) else {
        return Vec::new();
    };
    let path = Path::new(&path);
    println!("cargo:rerun-if-changed={}", path.display());
    fs::read(path).unwrap_or_else(|error| panic!("{variable}: {}: {error}", path.display()))
}
