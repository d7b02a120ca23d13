//! How actions go: by keys, several at a time, tried again, stopped, and remembered.

pub mod key;
pub mod ledger;
pub mod patience;
pub mod stop;
pub(crate) mod threads;
