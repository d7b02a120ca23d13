//! What a machine said of a kernel, kept in the store: a nightly run boots only what changed.

use kernels::{Digest, Store};
use vmtest::{Outcome, VmReport};

use super::{Subject, arch, packaged_btf};
use crate::outcome::Failure;
use crate::packaging;
use crate::steps::Verify;

/// Everything that the machine's words depend on, in one line: kernel and configuration, guest program, objects, BTF.
pub fn key(subject: Subject<'_>, settings: &Verify) -> Result<String, Failure> {
    let Subject { id, content, set, .. } = subject;
    let (btf, _) = packaged_btf(subject)?;
    let guest = vmtest::guest(arch(id)).unwrap_or_default();
    let digest = |blob: &Option<kernels::LockedBlob>| blob.as_ref().map(|blob| blob.sha256.to_string());
    let (boot, config) = (digest(&content.boot), digest(&content.config));
    let programs: String =
        set.programs.iter().map(|program| format!("{} {}\n", program.name, program.sha256)).collect();
    Ok(format!(
        "vm report 1: {} {} boot {} config {} guest {} btf {} programs {} accel {:?}",
        packaging::arch(id.arch()),
        id.release(),
        boot.unwrap_or_default(),
        config.unwrap_or_default(),
        Digest::of(guest),
        Digest::of(btf),
        Digest::of(programs.as_bytes()),
        settings.accel,
    ))
}

/// What was said before.
pub fn find(store: &Store, key: &str) -> Option<VmReport> {
    serde_json::from_value(store.link(key)?).ok()
}

/// Keeps verdicts that no one will want to see again: where there is anything to complain of, the kernel is booted
/// every time.
pub fn keep(store: &Store, key: &str, report: &VmReport) -> Result<(), Failure> {
    let good = match &report.outcome {
        Outcome::Done(verdicts) => verdicts.iter().all(|verdict| !verdict.verdict.is_failure()),
        Outcome::Infra { .. } | Outcome::Unsupported { .. } => false,
    };
    if !good {
        return Ok(());
    }
    // The flakes were told when they happened.
    let report = VmReport { attempts: Vec::new(), ..report.clone() };
    Ok(store.set_link(key, serde_json::to_value(report).map_err(Failure::new)?)?)
}
