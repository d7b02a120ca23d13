//! BTF by pahole from debug information, for kernels that have none of their own.
//!
//! | file | noun |
//! |--|--|
//! | `config.rs` | the pipeline's `with:` |
//! | `origin.rs` | where a file is: a path, or a package that apt knows |
//! | `vmlinux.rs` | the vmlinux in a debug package, and whether it is the right one |
//! | `pahole.rs` | pahole: its version, its flags, its output |
//! | `made.rs` | a BTF that was made, kept with what it was made of |
//! | `impossible.rs` | kernels that are known to give no BTF |
//! | `program.rs` | programs that are run |
#![forbid(unsafe_code)]

mod config;
mod impossible;
mod made;
mod origin;
mod pahole;
mod program;
mod vmlinux;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use plugin::{Failure, Job, Level, Output, Problem, Source, SourceKernel, SourcePackage, serve_source};
use serde_json::Value;

use crate::config::{Config, Wanted};
use crate::made::Made;
use crate::origin::Origin;

struct Dwarf;

impl Source for Dwarf {
    fn validate(&self, config: &Value) -> Vec<Problem> {
        Config::parse(config).err().into_iter().collect()
    }

    fn resolve(&self, job: &Job<'_>, config: &Value) -> Result<Vec<SourceKernel>, Failure> {
        let config = Config::parse(config)
            .map_err(|problem| Failure::user(problem.message.clone()).at(problem.path))?;
        let mut kernels = Vec::new();
        for (index, wanted) in config.kernels.iter().enumerate() {
            job.progress(index as u64, Some(config.kernels.len() as u64), "kernels", &wanted.id);
            if let Some(reason) = impossible::find(&wanted.id, &config.impossible) {
                job.log(
                    Level::Warn,
                    format!("{} is left out, since no BTF can be made: {reason}", wanted.id),
                );
                continue;
            }
            kernels.push(resolve(job, wanted, &config.flags)?);
        }
        Ok(kernels)
    }

    fn fetch(&self, job: &Job<'_>, kernel: &SourceKernel) -> Result<Vec<Output>, Failure> {
        let field = |name: &str| kernel.with.get(name).map(String::as_str).unwrap_or_default();
        let wanted = Wanted {
            id: kernel.id.clone(),
            debug: Origin::parse(field("debug"))?,
            boot: Some(field("boot")).filter(|boot| !boot.is_empty()).map(Origin::parse).transpose()?,
        };
        let flags: Vec<String> = field("flags").split_whitespace().map(str::to_owned).collect();
        let here = pahole::version()?;
        if here != field("pahole") {
            return Err(Failure::user(format!(
                "{}: kernels.lock has BTF by pahole {}, and {here} is installed, which makes another",
                kernel.id,
                field("pahole")
            ))
            .help(format!("install that pahole, or run \"btfpipe update {}\"", kernel.id)));
        }
        let made = made::of(job, &wanted, &flags, &here)?;
        let outdir = &job.run().outdir;
        let mut outputs = vec![copy(&made.btf, outdir, &btf_name(wanted.release()))?];
        if let Some(boot) = &wanted.boot {
            let file = boot.bring(job)?;
            outputs.push(copy(&file.path, outdir, &file.name)?);
        }
        Ok(outputs)
    }
}

fn resolve(job: &Job<'_>, wanted: &Wanted, flags: &[String]) -> Result<SourceKernel, Failure> {
    let pahole = pahole::version()?;
    let made = made::of(job, wanted, flags, &pahole)?;
    let arch = wanted.id.split('/').nth(2).unwrap_or_default();
    let package = |name: &str, version: &str, file: &str, path: &Path| -> Result<SourcePackage, Failure> {
        let (sha256, size) = origin::digest(path)?;
        let (name, version, arch, file) = (name.into(), version.into(), arch.into(), file.into());
        Ok(SourcePackage { name, version, arch, file, sha256, size })
    };
    let Made { btf, debug_sha256, debug } = &made;
    let mut packages = vec![package("BTF by pahole", &pahole, &btf_name(wanted.release()), btf)?];
    let mut with = BTreeMap::from([
        ("debug".to_owned(), debug.to_string()),
        ("debug-sha256".to_owned(), debug_sha256.clone()),
        ("flags".to_owned(), flags.join(" ")),
        ("pahole".to_owned(), pahole.clone()),
    ]);
    if let Some(boot) = &wanted.boot {
        let file = boot.bring(job)?;
        packages.push(package(&file.name, "", &file.name, &file.path)?);
        with.insert("boot".to_owned(), file.origin.to_string());
    }
    Ok(SourceKernel { id: wanted.id.clone(), packages, with })
}

fn btf_name(release: &str) -> String {
    format!("{release}.btf")
}

fn copy(from: &Path, outdir: &Path, name: &str) -> Result<Output, Failure> {
    let path = outdir.join(name);
    let copy = || {
        std::fs::create_dir_all(outdir)?;
        std::fs::copy(from, &path)
    };
    copy().map_err(|error| Failure::tool(format!("{}: {error}", path.display())))?;
    Ok(Output { name: name.to_owned(), path })
}

fn main() -> ExitCode {
    serve_source("dwarf", env!("CARGO_PKG_VERSION"), &Dwarf)
}
