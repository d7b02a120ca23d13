//! `btfpipe vm`: a kernel for a person.

use std::io::Write;

use clap::{Args, Subcommand};
use pipeline::commands::vm::{self, VmError, Wanted};
use pipeline::events::Deaf;
use pipeline::events::progress::View;
use pipeline::outcome::Code;

use crate::arguments::PipelineArguments;

/// `btfpipe vm`.
#[derive(Debug, Subcommand)]
pub enum VmCommand {
    /// Boot a locked kernel, run a static program in it, and end with its exit code
    #[command(
        after_help = "Example: btfpipe vm run pipelines/release.yaml 6.12.117 --file ./loader -- /loader"
    )]
    Run(SessionArguments),
    /// Boot a locked kernel with a shell (busybox), or a program, on this terminal
    Shell(SessionArguments),
    /// Print what the last boots of a kernel left: commands, consoles, results
    Log(LogArguments),
}

/// What `run` and `shell` take.
#[derive(Debug, Args)]
pub struct SessionArguments {
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// A kernel id, or a part or pattern that only one has
    #[arg(value_name = "KERNEL")]
    pub kernel: String,
    /// A file for the machine: HOST, which is then /NAME there, or HOST:/PATH
    #[arg(long = "file", value_name = "FILE")]
    pub files: Vec<String>,
    /// The program in the machine, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `btfpipe vm log`.
#[derive(Debug, Args)]
pub struct LogArguments {
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// A kernel id, or a part or pattern that only one has
    #[arg(value_name = "KERNEL")]
    pub kernel: String,
}

/// The exit code is that of the command in the machine.
pub fn vm(command: &VmCommand) -> Result<u8, VmError> {
    match command {
        VmCommand::Run(arguments) => run(arguments),
        VmCommand::Shell(arguments) => {
            vm::shell(&arguments.pipeline.options(), &arguments.wanted(), &Deaf)?;
            Ok(Code::Ok.number())
        }
        VmCommand::Log(arguments) => {
            for (path, text) in vm::log(&arguments.pipeline.options(), &arguments.kernel)? {
                say(&format!("== {}\n{}\n", path.display(), text.trim_end()));
            }
            Ok(Code::Ok.number())
        }
    }
}

fn run(arguments: &SessionArguments) -> Result<u8, VmError> {
    let options = arguments.pipeline.options();
    let view = View::choose(options.jobs(), &options.patience.stop);
    let code = vm::run(&options, &arguments.wanted(), &view, &mut |line| say(&format!("{line}\n")))?;
    Ok(u8::try_from(code).unwrap_or(Code::Failed.number()))
}

impl SessionArguments {
    fn wanted(&self) -> Wanted {
        Wanted { kernel: self.kernel.clone(), files: self.files.clone(), command: self.command.clone() }
    }
}

/// Whoever closes the pipe has read enough.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
