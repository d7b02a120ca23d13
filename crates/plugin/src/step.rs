//! What a plugin written in Rust implements that is no source: a builder, a transform, a layout, a check, a publisher.

use serde_json::Value;

use crate::{BUILD, Failure, Job, Output, PACKAGE, PUBLISH, Problem, Run, Success, TRANSFORM, VERIFY};

/// A plugin that does one step or several. Each has a job, with its inputs, and the pipeline's `with:`; each gives its
/// outputs, see [`Job::output`]. What it doesn't have is refused.
pub trait Step {
    /// What is wrong with the configuration, beyond what the JSON Schema can say. Nothing is done with a wrong one.
    fn validate(&self, _config: &Value) -> Vec<Problem> {
        Vec::new()
    }

    /// Makes one object of the input `source`, for [`Job::arch`]; [`Job::reads`] says what it depends on.
    fn build(&self, _job: &Job<'_>, _config: &Value) -> Result<Vec<Output>, Failure> {
        Err(unknown(BUILD))
    }

    /// Makes one BTF of the input `minimized`; the kernel's own is `btf`, and each program an `object`.
    fn transform(&self, _job: &Job<'_>, _config: &Value) -> Result<Vec<Output>, Failure> {
        Err(unknown(TRANSFORM))
    }

    /// Makes one file of the input `package`, which is there without its compression as `tar`.
    fn package(&self, _job: &Job<'_>, _config: &Value) -> Result<Vec<Output>, Failure> {
        Err(unknown(PACKAGE))
    }

    /// Looks at the files of a release; an error fails the run.
    fn verify(&self, _job: &Job<'_>, _config: &Value) -> Result<Vec<Output>, Failure> {
        Err(unknown(VERIFY))
    }

    /// Makes files that are called after one of the release, or brings the release to its users.
    fn publish(&self, _job: &Job<'_>, _config: &Value) -> Result<Vec<Output>, Failure> {
        Err(unknown(PUBLISH))
    }
}

/// Does what is asked.
pub(crate) fn act(step: &impl Step, job: &Job<'_>, run: &Run) -> Result<Success, Failure> {
    let config = &run.config;
    let act = match run.step.as_str() {
        BUILD => Step::build,
        TRANSFORM => Step::transform,
        PACKAGE => Step::package,
        VERIFY => Step::verify,
        PUBLISH => Step::publish,
        other => return Err(unknown(other)),
    };
    if let Some(Problem { path, message, help }) = step.validate(config).into_iter().next() {
        return Err(Failure { help, ..Failure::user(message).at(path) });
    }
    let outputs = act(step, job, config)?;
    Ok(Success { outputs, reads: job.take_reads(), ..Success::default() })
}

fn unknown(step: &str) -> Failure {
    Failure::user(format!("no step \"{step}\""))
        .help("\"provides\" in plugin.yaml says what this plugin does")
}
