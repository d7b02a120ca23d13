//! A release: bundles and layouts, what they were made of, and the folder in which they appear.

pub(crate) mod busy;
pub(crate) mod concluding;
pub(crate) mod dist;
pub(crate) mod laying_out;
pub mod packaging;
pub(crate) mod publishing;
pub(crate) mod releasing;
