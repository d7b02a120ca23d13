//! Kernel packages of Debian, and of other apt distributions, through apt: the newest of each suite and flavour, and exactly those that are locked.
#![forbid(unsafe_code)]

mod archive;
mod candidate;
mod config;
mod download;
mod fetch;
mod index;
mod machine;
mod program;
mod resolve;
mod settings;
mod sources;
mod state;
mod suite;
mod trouble;
mod version;

use std::process::ExitCode;

use plugin::{Failure, Job, Output, Problem, Source, SourceKernel, serve_source};
use serde_json::Value;

use crate::config::Config;

struct Debian;

impl Source for Debian {
    fn validate(&self, config: &Value) -> Vec<Problem> {
        Config::parse(config).err().unwrap_or_default()
    }

    fn resolve(&self, job: &Job<'_>, config: &Value) -> Result<Vec<SourceKernel>, Failure> {
        let config = Config::parse(config).map_err(|problems| first(&problems))?;
        resolve::resolve(job, &config)
    }

    fn fetch(&self, job: &Job<'_>, kernel: &SourceKernel) -> Result<Vec<Output>, Failure> {
        fetch::fetch(job, kernel)
    }
}

fn first(problems: &[Problem]) -> Failure {
    let Some(problem) = problems.first() else {
        return Failure::tool("a configuration is wrong, but nothing about it");
    };
    let failure = Failure::user(problem.message.clone()).at(problem.path.clone());
    match &problem.help {
        Some(help) => failure.help(help.clone()),
        None => failure,
    }
}

fn main() -> ExitCode {
    serve_source("debian", env!("CARGO_PKG_VERSION"), &Debian)
}
