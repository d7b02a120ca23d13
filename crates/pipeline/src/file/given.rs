//! What a pipeline is given from outside: profiles, `--set`, and the environment that it declares.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::yaml::problem::{At, Text, Texts};

/// What the command line and the environment say.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Profiles that are on, in the order of the command line.
    pub profiles: Vec<String>,
    /// `NAME=VALUE` of each `--set`.
    pub set: Vec<String>,
    /// Where variables that the file declares are looked up.
    pub environment: Environment,
}

/// Where variables are looked up.
#[derive(Debug, Clone, Default)]
pub enum Environment {
    /// Nothing is set.
    #[default]
    Empty,
    /// The process's own.
    Process,
    /// These, for tests.
    Of(BTreeMap<String, String>),
}

/// Why a variable can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoVariable {
    Unset,
    NotUtf8,
}

impl Environment {
    pub(crate) fn find(&self, name: &str) -> Result<String, NoVariable> {
        match self {
            Environment::Empty => Err(NoVariable::Unset),
            Environment::Of(variables) => variables.get(name).cloned().ok_or(NoVariable::Unset),
            Environment::Process => {
                let value: Option<OsString> = std::env::var_os(name);
                value.ok_or(NoVariable::Unset)?.into_string().map_err(|_| NoVariable::NotUtf8)
            }
        }
    }
}

/// A word of the command line as a text that problems can be in.
pub(super) fn argument(texts: &mut Texts, option: &str, word: &str) -> At {
    let number = u16::try_from(texts.len()).unwrap_or(u16::MAX);
    texts.push(Text { name: format!("{option} {word}"), text: String::new(), included: None });
    At { text: number, ..At::START }
}
