//! YAML to plan to run: steps, events, plugin host, reports.
#![forbid(unsafe_code)]

pub mod built_in;
mod busy;
pub mod clang;
pub mod commands;
pub mod conform;
pub mod content;
mod dist;
pub mod engine;
pub mod events;
mod export;
pub mod file;
pub mod glob;
pub mod host;
mod json;
pub mod lock_changes;
pub mod locking;
pub mod outcome;
pub mod packaging;
pub mod plan;
pub mod plugins;
pub mod problem;
pub mod programs;
pub mod progress;
pub mod project;
pub mod records;
mod relock;
mod report;
pub mod run;
pub mod schemas;
pub mod selection;
pub mod sources;
pub mod steps;
pub mod store;
pub mod summary;
pub mod tools;
pub mod verifying;
pub mod vm;
pub mod works;
pub mod yaml;

pub use export::Exported;
pub use relock::{Checked, Relocked, lock};
