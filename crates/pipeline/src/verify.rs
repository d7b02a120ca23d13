//! Verification of what was packaged: on the host, and in machines.

pub(crate) mod machines;
pub mod verifier;
pub mod verifying;
