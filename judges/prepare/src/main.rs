//! `judge-prepare [--kernel BTF] [--custom BTF] [--kconfig FILE] [--kallsyms FILE] [--only PROGRAM] OBJECT`
//!
//! libbpf opens, prepares and loads the object into a kernel that takes everything. Lines say how far it came:
//! `map NAME FD`, `program NAME INSTRUCTIONS`, and `opened`, `prepared`, `loaded` or `failed ERROR`. libbpf's own
//! words are on stderr. No system call of BPF is made, and no privilege needed.
#![deny(unsafe_code)]

mod kernel;
mod object;

use std::ffi::CString;
use std::process::ExitCode;

use kernel::Kernel;
use object::{Object, Options};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("judge-prepare: {problem}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let (mut kernel, mut options, mut only, mut path) = (Kernel::default(), Options::default(), None, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || {
            let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
            CString::new(value).map_err(|error| error.to_string())
        };
        match arg.as_str() {
            "--kernel" => kernel.btf = Some(value()?),
            "--custom" => options.custom_btf = Some(value()?),
            "--kconfig" => kernel.kconfig = Some(value()?),
            "--kallsyms" => kernel.kallsyms = Some(value()?),
            "--only" => only = Some(value()?),
            _object => path = Some(CString::new(arg).map_err(|error| error.to_string())?),
        }
    }
    let path = path.ok_or("give an object")?;
    kernel::boot(kernel);
    if let Err(error) = report(&path, &options, only.as_ref()) {
        println!("failed {}", kernel::errno_text(error));
    }
    Ok(())
}

/// Prints each step that succeeds; the first error ends it.
fn report(path: &CString, options: &Options, only: Option<&CString>) -> Result<(), i32> {
    let mut object = Object::open(path, options)?;
    println!("opened");
    if let Some(only) = only {
        object.load_only(only);
    }
    object.prepare()?;
    for (name, fd) in object.maps() {
        println!("map {name} {fd}");
    }
    for (name, insns) in object.programs() {
        let hex: String = insns.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("program {name} {hex}");
    }
    println!("prepared");
    object.load()?;
    println!("loaded");
    Ok(())
}
