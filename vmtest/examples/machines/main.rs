//! Boots real kernels over and over, for two questions: is it ever wrong, and how long does it take?
//!
//! `machines soak COUNT KERNELS MORE…` boots so often, KERNELS and those of MORE that are of a full flavour in turn, each
//! with a good BTF and one in which a struct's members moved; ends with 1 when a verdict was wrong or a machine stayed
//! behind. `machines times KERNELS MORE…` prints a table of the same kernels, and how long twenty of all take together.
//! `machines attach OBJECTS KERNELS MORE…` attaches the objects of OBJECTS/x86_64 and OBJECTS/arm64 on the same kernels.
//! KERNELS and MORE are what `btfpipe extract` wrote. `machines i386 KERNEL GUEST BTF OBJECT` boots a kernel that has no
//! BTF. `cargo xtask soak`, `cargo xtask times` and `cargo xtask i386` call it.

mod attach;
mod i386;
#[path = "../../tests/real/mutate.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod mutate;
mod processor;
mod soak;
mod subject;
mod times;

use std::process::ExitCode;

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match words[..] {
        ["soak", count, kernels, ref more @ ..] => soak::soak(count, kernels.as_ref(), more),
        ["attach", objects, kernels, ref more @ ..] => {
            attach::attach(objects.as_ref(), kernels.as_ref(), more)
        }
        ["times", kernels, ref more @ ..] => times::times(kernels.as_ref(), more).map(|()| true),
        ["i386", kernel, guest, btf, object] => i386::i386(kernel, guest, btf.as_ref(), object.as_ref()),
        _ => Err("machines attach OBJECTS KERNELS MORE… | machines i386 KERNEL GUEST BTF OBJECT | machines soak COUNT KERNELS MORE… | machines times KERNELS MORE…".into()),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("machines: {error}");
            ExitCode::from(2)
        }
    }
}
