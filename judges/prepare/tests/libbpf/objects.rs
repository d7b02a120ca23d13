//! Real objects for real kernels: with `BTFPIPE_VM_OBJECTS`, a folder of objects, and `BTFPIPE_VM_BTFS`, one of BTFs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use btf::Btf;
use relo_core::{BpfObject, Environment, OpenObject, Target, Wanted, prepare};

use crate::case::{Tally, compare};

fn files(variable: &str) -> Option<Vec<PathBuf>> {
    let Some(folder) = env::var_os(variable) else {
        println!("real_objects_on_real_kernels skipped: {variable} is not set");
        return None;
    };
    let entries = fs::read_dir(Path::new(&folder)).expect("a folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    Some(files)
}

#[test]
fn real_objects_on_real_kernels() {
    let (Some(objects), Some(kernels)) = (files("BTFPIPE_VM_OBJECTS"), files("BTFPIPE_VM_BTFS")) else {
        return;
    };
    let mut all = Tally::default();
    for kernel in &kernels {
        let bytes = fs::read(kernel).expect("a BTF");
        let btf = Btf::parse(&*bytes).expect("a BTF");
        for object in &objects {
            let data = fs::read(object).expect("an object");
            let parsed = BpfObject::parse(object.display().to_string(), &data).expect("an object");
            let open = OpenObject::open(&parsed, &data).expect("an object that opens");
            let wanted = Wanted::new([&parsed]);
            let target = Target::new(&btf, &[], &wanted).expect("a target");
            let environment = Environment::default();
            let prepared = prepare(&open, &target, &environment);
            let tally = compare(&data, &bytes, &open, &prepared, &environment);
            all.equal += tally.equal;
            all.insns += tally.insns;
            all.refused += tally.refused;
            all.unknown += tally.unknown;
        }
        println!("{}: so far {all:?}", kernel.display());
    }
    assert!(all.equal > 0);
}
