//! YAML to plan to run: steps, events, plugin host, reports.
#![forbid(unsafe_code)]

pub mod commands;
pub mod events;
pub mod file;
pub mod host;
pub mod kernel;
pub mod lock;
pub mod outcome;
pub mod package;
pub mod plan;
pub mod project;
pub mod run;
pub mod summary;
pub mod verify;
pub mod work;
pub mod yaml;

pub use commands::export::Exported;
pub use run::relock::{Checked, Relocked, lock};
