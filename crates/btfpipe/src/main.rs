//! Minimal kernel BTF for CO-RE programs, proven on real kernels.
//!
//! Arguments in, messages and exit code out; what is done is in the crate `pipeline`.
#![forbid(unsafe_code)]

mod arguments;
mod bundles;
mod help;
mod pipelines;
mod plugin;
mod store;
mod tools;
mod vm;

use std::process::ExitCode;

use arguments::Command;
use pipeline::commands::tools::ToolError;
use pipeline::outcome::{Code, Error};

fn main() -> ExitCode {
    let ended = match arguments::Arguments::of_this_process().command {
        Command::Run(arguments) => pipelines::run(&arguments),
        Command::Lock(arguments) => pipelines::lock(&arguments),
        Command::Update(arguments) => pipelines::update(&arguments),
        Command::Store(command) => store::run(&command),
        Command::Extract(arguments) => pipelines::extract(&arguments),
        Command::Retry(arguments) => pipelines::retry(&arguments),
        Command::Nightly(arguments) => pipelines::nightly(&arguments),
        Command::Plan(arguments) => pipelines::plan(&arguments),
        Command::Explain(arguments) => pipelines::explain(&arguments),
        Command::Report(arguments) => pipelines::report(&arguments),
        Command::Doctor => Ok(help::doctor()),
        Command::Completions(arguments) => Ok(help::completions(&arguments)),
        Command::Man(arguments) => help::man(&arguments),
        Command::Plugin(command) => plugin::run(&command),
        Command::Check(arguments) => pipelines::check(&arguments),
        Command::Schema(arguments) => pipelines::schema(&arguments),
        Command::Vm(command) => return end_with(vm::vm(&command), |error| error.code()),
        Command::Bundle(arguments) => return end(bundles::run(&arguments), ToolError::code),
        Command::Record(arguments) => return end(tools::record(&arguments), ToolError::code),
        Command::Prepare(arguments) => return end(tools::prepare(&arguments), ToolError::code),
        Command::MinCoreBtf(arguments) => return end(tools::min_core_btf(&arguments), ToolError::code),
        Command::Minimize(arguments) => return end(tools::minimize(&arguments), ToolError::code),
        Command::Corpus(arguments) => return end(tools::corpus(&arguments), ToolError::code),
        Command::Dump(arguments) => return end(tools::dump(&arguments), ToolError::code),
        Command::Diff(arguments) => return end(tools::diff(&arguments), ToolError::code),
    };
    end(ended, Error::code)
}

fn end<E: std::fmt::Display>(ended: Result<Code, E>, code_of: impl Fn(&E) -> Code) -> ExitCode {
    end_with(ended.map(Code::number), code_of)
}

fn end_with<E: std::fmt::Display>(ended: Result<u8, E>, code_of: impl Fn(&E) -> Code) -> ExitCode {
    let code = ended.unwrap_or_else(|error| {
        eprintln!("btfpipe: {error}");
        code_of(&error).number()
    });
    ExitCode::from(code)
}
