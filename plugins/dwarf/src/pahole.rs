//! pahole: its version, its flags, its output.

use std::path::Path;

use plugin::Failure;

use crate::program::{command, read};

/// E.g. `1.24`.
pub fn version() -> Result<String, Failure> {
    let said = read(command("pahole").arg("--version"))?;
    let version = said.trim().trim_start_matches('v').to_owned();
    match version.bytes().all(|b| b.is_ascii_graphic()) && !version.is_empty() {
        true => Ok(version),
        false => Err(Failure::tool(format!("pahole --version says {said:?}"))),
    }
}

/// Writes the BTF of a vmlinux. One thread, so that the same input gives the same bytes.
pub fn encode(vmlinux: &Path, flags: &[String], output: &Path) -> Result<(), Failure> {
    let mut pahole = command("pahole");
    let mut detached = std::ffi::OsString::from("--btf_encode_detached=");
    detached.push(output);
    read(pahole.args(flags).arg(detached).arg(vmlinux))?;
    match output.metadata() {
        Ok(metadata) if metadata.len() > 24 => Ok(()),
        _ => Err(Failure::tool("pahole made no BTF; the vmlinux may have no debug information".to_owned())),
    }
}
