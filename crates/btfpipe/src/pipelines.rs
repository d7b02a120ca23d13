//! The commands on a pipeline: what they say at the end.

use std::io::{IsTerminal, Write};

use pipeline::commands;
use pipeline::commands::schemas;
use pipeline::events::Listener;
use pipeline::events::chronicle::{All, Chronicle, Recorded};
use pipeline::events::profile;
use pipeline::events::progress::{self, View};
use pipeline::outcome::{Code, Error};
use pipeline::project::Options;
use pipeline::run::Finished;
use pipeline::summary;
use pipeline::summary::Summary;
use pipeline::work::stop::Stop;

use crate::arguments::{
    ExplainArguments, ExtractArguments, LockArguments, PipelineArguments, PlanArguments, PlanFormat,
    ReportArguments, ReportFormat, RetryArguments, RunArguments, SchemaArguments, UpdateArguments,
};

pub fn run(arguments: &RunArguments) -> Result<Code, Error> {
    let options = stoppable(arguments.options())?;
    let finished =
        watched(arguments, &options, |listener| commands::run(&options, listener), |done| Some(done))?;
    tell(&finished);
    Ok(finished.code)
}

pub fn retry(arguments: &RetryArguments) -> Result<Code, Error> {
    let options = stoppable(arguments.run.options())?;
    let work = |listener: &dyn Listener| commands::retry(&options, listener);
    let finished = watched(&arguments.run, &options, work, Option::as_ref)?;
    let Some(finished) = finished else {
        say(&format!("nothing failed in the last run of {}\n", options.file.display()));
        return Ok(Code::Ok);
    };
    tell(&finished);
    Ok(finished.code)
}

pub fn nightly(arguments: &RunArguments) -> Result<Code, Error> {
    let options = stoppable(arguments.options())?;
    let options =
        Options { dist: options.dist.clone().or_else(|| Some(nightly_folder(&options))), ..options };
    let morning = watched(arguments, &options, |listener| commands::nightly(&options, listener), |_| None)?;
    say(&morning.to_string());
    Ok(morning.code())
}

fn nightly_folder(options: &Options) -> std::path::PathBuf {
    pipeline::file::root_of(&options.file).join("dist/nightly")
}

/// The first Ctrl-C stops cleanly, the second at once.
fn stoppable(mut options: Options) -> Result<Options, Error> {
    let stop = Stop::on_signals();
    options.patience.stop = stop.map_err(|error| Error::Output { path: "signals".into(), error })?;
    Ok(options)
}

/// Does the work with a view of it, and its events written where they are asked for.
fn watched<T>(
    arguments: &RunArguments,
    options: &Options,
    work: impl FnOnce(&dyn Listener) -> Result<T, Error>,
    finished: impl FnOnce(&T) -> Option<&Finished>,
) -> Result<T, Error> {
    let view = View::choose(options.jobs(), &options.patience.stop);
    let Some(path) = &arguments.events else {
        return work(&view);
    };
    let output = |error| Error::Output { path: path.clone(), error };
    let chronicle = Chronicle::create(path, &options.file).map_err(output)?;
    let result = work(&All(vec![&view, &chronicle]));
    drop(view);
    let (summary, code, said): (Option<&Summary>, Code, String) = match &result {
        Ok(value) => match finished(value) {
            Some(finished) => (Some(&finished.summary), finished.code, finished.said()),
            None => (None, Code::Ok, String::new()),
        },
        Err(error) => (None, error.code(), error.to_string()),
    };
    chronicle.end(summary, code, &said).map_err(output)?;
    result
}

fn tell(finished: &Finished) {
    say(&summary::to_terminal(&finished.summary, progress::width(), color()));
    say(&format!("\n{} (exit code {})\n", finished.said(), finished.code.number()));
}

/// Colours for a terminal, unless somebody wants none.
fn color() -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && !plain && !dumb
}

pub fn lock(arguments: &LockArguments) -> Result<Code, Error> {
    let options = stoppable(arguments.options())?;
    let view = View::choose(options.jobs(), &options.patience.stop);
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
    let options = stoppable(arguments.options())?;
    let view = View::choose(options.jobs(), &options.patience.stop);
    let relocked = commands::update(&options, arguments.pattern.as_ref(), &view)?;
    drop(view);
    say(&relocked.to_string());
    Ok(relocked.code())
}

pub fn extract(arguments: &ExtractArguments) -> Result<Code, Error> {
    let options = stoppable(arguments.run.options())?;
    let view = View::choose(options.jobs(), &options.patience.stop);
    let exported = commands::extract(&options, &arguments.folder, &view)?;
    drop(view);
    let files = exported.files.iter().map(|path| format!("{}\n", path.display()));
    let failures = exported.failures.iter().map(|(id, failure)| format!("FAILED {id}: {failure}\n"));
    say(&files.chain(failures).collect::<String>());
    Ok(exported.code())
}

pub fn plan(arguments: &PlanArguments) -> Result<Code, Error> {
    let plan = commands::plan(&arguments.options())?;
    say(&match arguments.format() {
        PlanFormat::Table => plan.to_string(),
        PlanFormat::Json => plan.to_json(),
        PlanFormat::Dot => plan.to_dot(),
    });
    Ok(Code::Ok)
}

pub fn explain(arguments: &ExplainArguments) -> Result<Code, Error> {
    say(&commands::explain(&arguments.pipeline.options(), &arguments.what)?);
    Ok(Code::Ok)
}

pub fn report(arguments: &ReportArguments) -> Result<Code, Error> {
    let recorded = commands::recorded(&arguments.events)?;
    let text = match arguments.format {
        ReportFormat::Profile => profile::profile(&recorded),
        ReportFormat::Log => recorded.log,
        other => match &recorded.summary {
            Some(summary) => summarized(summary, other, &recorded),
            None => {
                eprintln!("btfpipe: {}: the run ended before its summary", arguments.events.display());
                return Ok(Code::Failed);
            }
        },
    };
    say(&text);
    Ok(Code::Ok)
}

fn summarized(summary: &Summary, format: ReportFormat, recorded: &Recorded) -> String {
    match format {
        ReportFormat::Markdown => summary::to_markdown(summary),
        ReportFormat::Junit => summary::to_junit(summary, &profile::kernels(recorded)),
        ReportFormat::Json => summary::to_json(summary),
        ReportFormat::Table | ReportFormat::Profile | ReportFormat::Log => {
            summary::to_terminal(summary, progress::width(), color())
        }
    }
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
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
