//! YAML to plan to run: steps, events, plugin host, reports.
#![forbid(unsafe_code)]

mod busy;
pub mod clang;
pub mod events;
pub mod file;
pub mod glob;
pub mod problem;
pub mod progress;
pub mod steps;
pub mod summary;
pub mod yaml;
