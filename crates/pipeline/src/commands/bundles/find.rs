//! `btfpipe bundle lookup`: which BTF a kernel gets, and by which rule.

use std::path::{Path, PathBuf};

use bundle::pack::PackedKernel;
use bundle::{Arch, BuildIdCheck, Bundle, Digest, Hit, IndexedKernel, Miss, Pack, PackError, Query};
use serde::Serialize;

use crate::commands::bundles::{Form, answer, broken, shown};
use crate::commands::tools::{ToolError, Voice};
use crate::outcome::Code;

/// What is looked for; what is not given is taken from the machine.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Another folder than `/` to look for os-release, the release and the build-id in.
    pub root: Option<PathBuf>,
    /// The architecture.
    pub arch: Option<Arch>,
    /// `uname -r`; with it nothing is taken from the machine.
    pub release: Option<String>,
    /// The ID of os-release.
    pub distro: Option<String>,
    /// Its VERSION_ID.
    pub version: Option<String>,
    /// The GNU build-id.
    pub build_id: Option<String>,
}

impl Wanted {
    fn query(&self) -> Result<Query, ToolError> {
        let usage = |error: &dyn std::fmt::Display| ToolError::Usage(error.to_string());
        let mut query = match &self.release {
            Some(release) => {
                let arch = self.arch.map_or_else(|| std::env::consts::ARCH.parse(), Ok);
                Query::new(arch.map_err(|error| usage(&error))?, release.clone())
            }
            None => {
                let root = self.root.as_deref().unwrap_or(Path::new("/"));
                Query::host_at(root).map_err(|error| broken(root, &error))?
            }
        };
        query.arch = self.arch.unwrap_or(query.arch);
        query.distro = self.distro.clone().or(query.distro);
        query.version = self.version.clone().or(query.version);
        query.build_id = self.build_id.clone().or(query.build_id);
        Ok(query)
    }
}

/// What was found, of a bundle or a pack.
struct Found {
    kernel: String,
    rule: bundle::Rule,
    verified: bool,
    btf: Vec<u8>,
}

#[derive(Serialize)]
struct Answer<'q> {
    release: &'q str,
    arch: &'static str,
    distro: Option<&'q str>,
    version: Option<&'q str>,
    build_id: Option<&'q str>,
    found: Option<FoundJson>,
    miss: Option<String>,
}

#[derive(Serialize)]
struct FoundJson {
    kernel: String,
    rule: String,
    build_id_verified: bool,
    btf: Digest,
    bytes: usize,
}

/// Looks a kernel up, and writes its BTF to `out`; fails when there is none.
pub fn lookup(
    path: &Path,
    wanted: &Wanted,
    out: Option<&Path>,
    form: Form,
    voice: &mut Voice<'_>,
) -> Result<Code, ToolError> {
    let query = wanted.query()?;
    let found = find(path, &query)?;
    if let (Ok(found), Some(out)) = (&found, out) {
        crate::commands::tools::put(out, &found.btf, voice)?;
    }
    let json = Answer {
        release: &query.release,
        arch: query.arch.as_str(),
        distro: query.distro.as_deref(),
        version: query.version.as_deref(),
        build_id: query.build_id.as_deref(),
        found: found.as_ref().ok().map(|found| FoundJson {
            kernel: found.kernel.clone(),
            rule: found.rule.to_string(),
            build_id_verified: found.verified,
            btf: Digest::of(&found.btf),
            bytes: found.btf.len(),
        }),
        miss: found.as_ref().err().map(ToString::to_string),
    };
    // The BTF itself is the answer where it goes to standard output.
    if out != Some(Path::new("-")) {
        answer(voice, form, &json, || said(&query, &found));
    }
    Ok(if found.is_ok() { Code::Ok } else { Code::Failed })
}

fn said(query: &Query, found: &Result<Found, Miss>) -> String {
    let unknown = || "?".to_owned();
    let (distro, version) = (&query.distro, &query.version);
    let asked = format!(
        "{}/{}/{}/{}",
        distro.clone().unwrap_or_else(unknown),
        version.clone().unwrap_or_else(unknown),
        query.arch,
        query.release
    );
    match found {
        Ok(found) => {
            let checked = if found.verified { "build-id verified" } else { "build-id not compared" };
            format!(
                "{asked}\n  is {}\n  by rule {}, {checked}\n  {} bytes, sha256 {}\n",
                found.kernel,
                found.rule,
                found.btf.len(),
                Digest::of(&found.btf)
            )
        }
        Err(miss) => format!("{asked}\n  {miss}\n"),
    }
}

fn find(path: &Path, query: &Query) -> Result<Result<Found, Miss>, ToolError> {
    match Pack::open(path) {
        Ok(pack) => in_pack(&pack, path, query),
        Err(PackError::NotAPack) => in_bundle(&super::open(path)?, path, query),
        Err(error) => Err(broken(path, &error)),
    }
}

fn in_bundle(bundle: &Bundle, path: &Path, query: &Query) -> Result<Result<Found, Miss>, ToolError> {
    let hit: Hit<&IndexedKernel> = match bundle.index().resolve(query) {
        Ok(hit) => hit,
        Err(miss) => return Ok(Err(miss)),
    };
    let btf = bundle.btf_of(hit.kernel);
    let btf =
        btf.ok_or_else(|| ToolError::engine(&shown(path), "the index names a BTF that is not there"))?;
    Ok(Ok(Found {
        kernel: hit.kernel.entry.key().to_string(),
        rule: hit.rule,
        verified: hit.build_id == BuildIdCheck::Verified,
        btf: btf.to_vec(),
    }))
}

fn in_pack(pack: &Pack<std::fs::File>, path: &Path, query: &Query) -> Result<Result<Found, Miss>, ToolError> {
    let hit: Hit<PackedKernel> = match pack.find(query) {
        Ok(hit) => hit,
        Err(PackError::Miss(miss)) => return Ok(Err(miss)),
        Err(error) => return Err(broken(path, &error)),
    };
    let kernel = &hit.kernel;
    Ok(Ok(Found {
        kernel: format!("{}/{}/{}/{}", kernel.distro, kernel.version, kernel.arch, kernel.release),
        rule: hit.rule,
        verified: hit.build_id == BuildIdCheck::Verified,
        btf: pack.btf(kernel).map_err(|error| broken(path, &error))?,
    }))
}
