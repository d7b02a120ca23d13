//! The commands on bundles: what is in one, which BTF a kernel gets, whether all of it is true.

pub mod delta;
pub mod diff;
pub mod extract;
pub mod find;
pub mod list;
pub mod reproduce;
pub mod sizes;
pub mod verify;

use std::path::{Path, PathBuf};

pub use bundle::{Arch, Layout};
use bundle::{Bundle, IndexedKernel, KernelKey};
use serde::Serialize;

use crate::commands::tools::{ToolError, Voice};
use crate::outcome::Code;

/// For people or machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text.
    Terminal,
    /// One JSON value.
    Json,
}

/// Opens a bundle, all its digests checked.
fn open(path: &Path) -> Result<Bundle, ToolError> {
    Bundle::open_file(path).map_err(|error| broken(path, &error))
}

/// What is wrong with a file, with what the system says of it.
fn broken(path: &Path, error: &(dyn std::error::Error + 'static)) -> ToolError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // An error of JSON is in its text already.
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    ToolError::engine(&path.display().to_string(), text)
}

/// A kernel of a bundle by its key.
fn kernel<'b>(bundle: &'b Bundle, path: &Path, key: &str) -> Result<&'b IndexedKernel, ToolError> {
    let key: KernelKey = key.parse().map_err(|error: bundle::Error| ToolError::Usage(error.to_string()))?;
    let found: Vec<_> = bundle.index().find(&key).collect();
    match found[..] {
        [kernel] => Ok(kernel),
        [] => Err(ToolError::engine(
            &path.display().to_string(),
            format!("no kernel {key}; \"btfpipe bundle ls\" lists them"),
        )),
        _ => Err(ToolError::engine(
            &path.display().to_string(),
            format!(
                "{} kernels are {key}; \"btfpipe bundle lookup --build-id\" tells them apart",
                found.len()
            ),
        )),
    }
}

/// One JSON value, or text.
fn answer(voice: &mut Voice<'_>, form: Form, json: &impl Serialize, text: impl FnOnce() -> String) -> Code {
    let text = match form {
        Form::Terminal => text(),
        Form::Json => serde_json::to_string_pretty(json).unwrap_or_default() + "\n",
    };
    // Whoever closes the pipe has read enough.
    let _ = voice.answer(&text);
    Code::Ok
}

/// A path as JSON and messages have it.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Files of a folder whose names end so, sorted.
fn files_with_end(folder: &Path, end: &str) -> Result<Vec<PathBuf>, ToolError> {
    let failed = |error| ToolError::Read { path: folder.to_owned(), error };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.to_string_lossy().ends_with(end) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
