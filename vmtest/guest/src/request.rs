//! What PID 1 asks the program with the older libbpf: its only argument, as JSON. The answer is its standard output.

use serde::{Deserialize, Serialize};

use crate::pass::Pass;

/// One question.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request<'a> {
    /// libbpf's version string.
    Version,
    /// An [`Outcome`](crate::pass::Outcome), as [`write_outcome`](crate::pass::write_outcome) writes it.
    #[serde(borrow)]
    Load(Pass<'a>),
    /// Its log of every relocation.
    Explain(Pass<'a>),
}
