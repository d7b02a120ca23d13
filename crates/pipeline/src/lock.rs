//! `kernels.lock`: where kernels come from, what is kept, and how it is written.

pub mod built_in;
pub mod changes;
pub mod locking;
pub mod plugins;
pub mod sources;
