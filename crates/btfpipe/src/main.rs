//! Minimal kernel BTF for CO-RE programs, proven on real kernels.
//!
//! Arguments in, messages and exit code out; what is done is in the crate `pipeline`.
#![forbid(unsafe_code)]

mod arguments;
mod pipelines;

use std::process::ExitCode;

use arguments::Command;
use clap::Parser;

fn main() -> ExitCode {
    let arguments::Arguments { command } = arguments::Arguments::parse();
    let ended = match command {
        Command::Run(arguments) => pipelines::run(&arguments),
        Command::Lock(arguments) => pipelines::lock(&arguments),
        Command::Extract(arguments) => pipelines::extract(&arguments),
        Command::Plan(arguments) => pipelines::plan(&arguments),
        Command::Check(arguments) => pipelines::check(&arguments),
    };
    match ended {
        Ok(code) => ExitCode::from(code.number()),
        Err(error) => {
            eprintln!("btfpipe: {error}");
            ExitCode::from(error.code().number())
        }
    }
}
