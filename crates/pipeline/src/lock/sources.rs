//! What a run wants of source plugins; `plugins.rs` starts real ones, tests bring their own.

use std::path::{Path, PathBuf};

use plugin::{Class, SourceKernel};
use serde_json::Value;

use crate::events::Task;

/// The sources of kernels. Called from several threads.
pub trait Sources: Sync {
    /// The JSON Schema of a plugin's configuration, if it has one. Starts nothing.
    fn config_schema(&self, _plugin: &str) -> Result<Option<Value>, SourceError> {
        Ok(None)
    }

    /// The plugins that there are, as far as folders say, for "did you mean".
    fn known(&self) -> Vec<String> {
        Vec::new()
    }

    /// What is wrong with a plugin's configuration, by its own word.
    fn validate(&self, plugin: &str, with: &Value) -> Result<Vec<plugin::Problem>, SourceError>;

    /// Which kernels a configuration asks for; `folder` is empty and for what nobody needs afterwards.
    fn resolve(
        &self,
        plugin: &str,
        with: &Value,
        folder: &Path,
        task: &Task<'_>,
    ) -> Result<Vec<SourceKernel>, SourceError>;

    /// Brings a kernel's packages somewhere below `folder`; the paths come in the order of the kernel's packages.
    fn fetch(
        &self,
        plugin: &str,
        kernel: &SourceKernel,
        folder: &Path,
        task: &Task<'_>,
    ) -> Result<Vec<PathBuf>, SourceError>;
}

/// Why a source gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", help.as_ref().map(|help| format!("; {help}")).unwrap_or_default())]
pub struct SourceError {
    /// Whose turn it is.
    pub class: Class,
    /// What happened.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Where in the configuration, as a JSON pointer.
    pub at: Option<String>,
}
