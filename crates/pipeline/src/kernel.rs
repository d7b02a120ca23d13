//! A kernel at work: fetched, taken apart, recorded and minimized, each with what was kept of earlier runs.

pub mod content;
pub mod engine;
pub(crate) mod json;
pub mod made;
pub mod records;
pub(crate) mod transforming;
pub mod works;
