//! `load-with-libbpf-rs PACK OBJECT`: finds the BTF of the kernel that runs, and loads a BPF object with it.
//!
//! As a program of yours would do it: the pack may be a file, as here, or the bytes of `include_bytes!`.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use bundle::{BuildIdCheck, Pack, Query};
use libbpf_rs::ObjectBuilder;
// Linked for libbpf-rs, which must not build another one.
use libbpf_sys as _;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [pack, object] = &arguments[..] else {
        eprintln!("usage: load-with-libbpf-rs PACK OBJECT");
        return ExitCode::from(2);
    };
    match load(pack, object) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn load(pack: &str, object: &str) -> Result<(), Box<dyn Error>> {
    let pack = Pack::open(pack)?;
    let hit = pack.find(&Query::host()?)?;
    let verified = if hit.build_id == BuildIdCheck::Verified { ", verified" } else { "" };
    println!("found by rule {}{verified}", hit.rule);
    // libbpf takes the path of a file; this one is gone when the programs are loaded.
    let mut btf = tempfile::NamedTempFile::new()?;
    btf.write_all(&pack.btf(&hit.kernel)?)?;
    let mut builder = ObjectBuilder::default();
    builder.btf_custom_path(btf.path())?;
    let loaded = builder.open_file(object)?.load()?;
    println!("loaded {} programs", loaded.progs().count());
    Ok(())
}
