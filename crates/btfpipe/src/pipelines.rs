//! The commands on a pipeline: what they say at the end.

use std::io::{IsTerminal, Write};

use pipeline::commands;
use pipeline::outcome::{Code, Error};
use pipeline::progress::{self, View};
use pipeline::{schemas, summary};

use crate::arguments::{
    ExtractArguments, LockArguments, PipelineArguments, RunArguments, SchemaArguments, UpdateArguments,
};

pub fn run(arguments: &RunArguments) -> Result<Code, Error> {
    let options = arguments.options();
    let view = View::choose(options.jobs());
    let finished = commands::run(&options, &view)?;
    drop(view);
    let stdout = std::io::stdout();
    let color = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    say(&summary::to_terminal(&finished.summary, progress::width(), color));
    say(&format!("\n{} (exit code {})\n", finished.said(), finished.code.number()));
    Ok(finished.code)
}

pub fn lock(arguments: &LockArguments) -> Result<Code, Error> {
    let options = arguments.options();
    let view = View::choose(options.jobs());
    if arguments.check {
        let checked = commands::check_lock(&options, &view)?;
        drop(view);
        say(&checked.to_string());
        return Ok(checked.code());
    }
    let relocked = commands::lock(&options, &view)?;
    drop(view);
    say(&format!("{relocked}"));
    Ok(relocked.code())
}

pub fn update(arguments: &UpdateArguments) -> Result<Code, Error> {
    let options = arguments.options();
    let view = View::choose(options.jobs());
    let relocked = commands::update(&options, arguments.pattern.as_ref(), &view)?;
    drop(view);
    say(&relocked.to_string());
    Ok(relocked.code())
}

pub fn extract(arguments: &ExtractArguments) -> Result<Code, Error> {
    let options = arguments.run.options();
    let view = View::choose(options.jobs());
    let exported = commands::extract(&options, &arguments.folder, &view)?;
    drop(view);
    let files = exported.files.iter().map(|path| format!("{}\n", path.display()));
    let failures = exported.failures.iter().map(|(id, failure)| format!("FAILED {id}: {failure}\n"));
    say(&files.chain(failures).collect::<String>());
    Ok(exported.code())
}

pub fn plan(arguments: &PipelineArguments) -> Result<Code, Error> {
    say(&commands::plan(&arguments.options())?.to_string());
    Ok(Code::Ok)
}

pub fn check(arguments: &PipelineArguments) -> Result<Code, Error> {
    say(&format!("{}\n", commands::check(&arguments.options())?));
    Ok(Code::Ok)
}

pub fn schema(arguments: &SchemaArguments) -> Result<Code, Error> {
    say(schemas::find(&arguments.what).unwrap_or_default());
    Ok(Code::Ok)
}

/// Whoever closes the pipe has read enough.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
