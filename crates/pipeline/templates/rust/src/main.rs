//! Kernels whose BTF lies in files: change what you like.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use plugin::{Failure, Job, Output, Problem, Source, SourceKernel, SourcePackage, serve_source};
use serde_json::Value;
use sha2::{Digest, Sha256};

struct Files;

impl Source for Files {
    fn validate(&self, config: &Value) -> Vec<Problem> {
        match wanted(config) {
            Ok(_) => Vec::new(),
            Err(failure) => vec![Problem { path: "/kernels".into(), message: failure.message, help: failure.help }],
        }
    }

    fn resolve(&self, job: &Job<'_>, config: &Value) -> Result<Vec<SourceKernel>, Failure> {
        let wanted = wanted(config)?;
        let total = Some(wanted.len() as u64);
        let kernels = wanted.into_iter().enumerate().map(|(done, (id, path))| {
            job.progress(done as u64, total, "kernels", &id);
            let bytes = fs::read(&path).map_err(|error| Failure::user(format!("{path}: {error}")))?;
            let package = SourcePackage {
                name: "btf".into(),
                version: String::new(),
                arch: String::new(),
                file: "kernel.btf".into(),
                sha256: Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
                size: bytes.len() as u64,
            };
            Ok(SourceKernel { id, packages: vec![package], with: BTreeMap::from([("path".into(), path)]) })
        });
        kernels.collect()
    }

    fn fetch(&self, job: &Job<'_>, kernel: &SourceKernel) -> Result<Vec<Output>, Failure> {
        let path = kernel.with.get("path").ok_or_else(|| Failure::user("the kernel has no path"))?;
        let output = job.run().outdir.join("kernel.btf");
        fs::copy(path, &output).map_err(|error| Failure::gone(format!("{path}: {error}")))?;
        Ok(vec![Output { name: "btf".into(), path: output }])
    }
}

/// The kernels of a configuration, by name, with the paths of their BTFs.
fn wanted(config: &Value) -> Result<BTreeMap<String, String>, Failure> {
    let wanted: BTreeMap<String, String> = serde_json::from_value(config["kernels"].clone())
        .map_err(|error| Failure::user(format!("kernels: {error}")).at("/kernels"))?;
    match wanted.keys().find(|id| id.split('/').count() != 4) {
        Some(id) => Err(Failure::user(format!("{id} is not DISTRO/VERSION/ARCH/RELEASE")).at("/kernels")),
        None => Ok(wanted),
    }
}

fn main() -> ExitCode {
    serve_source("NAME", env!("CARGO_PKG_VERSION"), &Files)
}
