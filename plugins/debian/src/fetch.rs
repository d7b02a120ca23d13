//! Exactly the packages that a lock names.

use std::fs;

use plugin::{Failure, Job, Output, SourceKernel, SourcePackage};

use crate::archive::Archive;
use crate::config::Arch;
use crate::index::{self, Index};
use crate::machine::Machine;
use crate::state::State;
use crate::suite::Suite;

/// Brings `kernel`'s packages into the output folder.
///
/// The lists of an earlier process do if they have the packages; a package can move between pockets, so that they
/// are renewed before a package counts as gone.
pub fn fetch(job: &Job<'_>, kernel: &SourceKernel) -> Result<Vec<Output>, Failure> {
    let Locked { archive, suite, arch } = parse(kernel)?;
    let machine = Machine::read(archive.as_ref())?;
    let state = State::open(&job.cachedir(), &machine, archive.as_ref(), &suite, arch)?;
    let mut gone = attempt(job, &state, kernel)?;
    if gone.is_some() {
        let guard = state.own(job)?;
        state.update(job, &guard)?;
        drop(guard);
        gone = attempt(job, &state, kernel)?;
    }
    if let Some(reason) = gone {
        return Err(Failure::gone(reason).help(format!("run \"btfpipe update {}\"", kernel.id)));
    }
    let outdir = &job.run().outdir;
    let output =
        |package: &SourcePackage| Output { name: package.name.clone(), path: outdir.join(&package.file) };
    Ok(kernel.packages.iter().map(output).collect())
}

/// Downloads what can be had; says why the first of the rest can't.
fn attempt(job: &Job<'_>, state: &State<'_>, kernel: &SourceKernel) -> Result<Option<String>, Failure> {
    let guard = state.share(job)?;
    let index = state.index(&[])?;
    for package in &kernel.packages {
        if let Some(reason) = why_gone(&index, package) {
            return Ok(Some(format!("{}: {reason}", state.name())));
        }
    }
    let outdir = &job.run().outdir;
    fs::create_dir_all(outdir).map_err(|error| Failure::tool(format!("{}: {error}", outdir.display())))?;
    let total: u64 = kernel.packages.iter().map(|package| package.size).sum();
    let missing = state.download(&guard, &kernel.packages, outdir, |percent| {
        job.progress((total as f64 * percent / 100.0) as u64, Some(total), "bytes", &kernel.id);
    })?;
    Ok(missing.first().map(|package| {
        format!("{}: the mirror no longer has {} {}", state.name(), package.name, package.version)
    }))
}

/// Why the lists can't give this very package.
fn why_gone(index: &Index, package: &SourcePackage) -> Option<String> {
    let listed = index.find(&package.name, &package.version);
    match listed {
        None => Some(format!("no pocket lists {} {} any more", package.name, package.version)),
        Some(listed) if listed.package.sha256 != package.sha256 => Some(format!(
            "{} {} has sha256 {} now, and was locked as {}",
            package.name, package.version, listed.package.sha256, package.sha256
        )),
        Some(_) => None,
    }
}

/// What a lock says of where a kernel is.
#[derive(Debug)]
struct Locked {
    archive: Option<Archive>,
    suite: Suite,
    arch: Arch,
}

/// The lock is a file that people edit, and the names become arguments.
fn parse(kernel: &SourceKernel) -> Result<Locked, Failure> {
    let archive = Archive::from_lock(kernel);
    if let Some(problem) = archive.as_ref().and_then(|archive| archive.problems().into_iter().next()) {
        return Err(Failure::user(format!("{}: {}: {}", kernel.id, problem.path, problem.message))
            .at("/kernel/with")
            .help(format!("run \"btfpipe update {}\"", kernel.id)));
    }
    let name = kernel.with.get("suite").map(String::as_str).unwrap_or_default();
    let suite = match &archive {
        Some(archive) => Suite::of(archive, name),
        None => Suite::find(name),
    };
    let suite = suite.ok_or_else(|| {
        let known: Vec<&str> = match &archive {
            Some(archive) => archive.suites.keys().map(String::as_str).collect(),
            None => Suite::names().collect(),
        };
        Failure::user(format!("{}: unknown suite \"{name}\"", kernel.id))
            .at("/kernel/with/suite")
            .help(format!("known: {}", known.join(", ")))
    })?;
    let arch = kernel.id.split('/').nth(2).and_then(Arch::find).ok_or_else(|| {
        Failure::user(format!("{}: no kernel id with x86_64 or arm64 in it", kernel.id)).at("/kernel/id")
    })?;
    if kernel.packages.is_empty() {
        return Err(Failure::user(format!("{}: no packages", kernel.id)).at("/kernel/packages"));
    }
    for (at, package) in kernel.packages.iter().enumerate() {
        if !index::is_usable(package) || package.arch != arch.debian() {
            return Err(Failure::user(format!(
                "{}: not a package of its architecture: {package:?}",
                kernel.id
            ))
            .at(format!("/kernel/packages/{at}")));
        }
    }
    Ok(Locked { archive, suite, arch })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::tests::{index, stanza};
    use std::collections::BTreeMap;

    fn kernel() -> SourceKernel {
        let index = index(&stanza("linux-image-6-amd64", "6.1-1", "linux", ""));
        SourceKernel {
            id: "debian/sid/x86_64/6-amd64".into(),
            packages: index.packages().map(|found| found.package.clone()).collect(),
            with: BTreeMap::from([("suite".into(), "sid".into())]),
        }
    }

    #[test]
    fn locked_kernels() {
        let locked = parse(&kernel()).unwrap();
        assert_eq!((locked.archive, locked.suite.name.as_str(), locked.arch), (None, "sid", Arch::Amd64));
        let check = |change: fn(&mut SourceKernel), at: &str| {
            let mut kernel = kernel();
            change(&mut kernel);
            assert_eq!(parse(&kernel).err().unwrap().at.unwrap().path, at, "{kernel:?}");
        };
        check(|kernel| kernel.with.clear(), "/kernel/with/suite");
        // An archive without its keys.
        check(|kernel| _ = kernel.with.insert("url".into(), "http://x".into()), "/kernel/with");
        check(|kernel| kernel.id = "debian".into(), "/kernel/id");
        check(|kernel| kernel.id = "debian/sid/i386/6".into(), "/kernel/id");
        check(|kernel| kernel.packages.clear(), "/kernel/packages");
        check(|kernel| kernel.packages[0].name = "--option".into(), "/kernel/packages/0");
        check(|kernel| kernel.packages[0].file = "../x".into(), "/kernel/packages/0");
        check(|kernel| kernel.packages[0].arch = "arm64".into(), "/kernel/packages/0");
    }

    #[test]
    fn what_the_lists_no_longer_have() {
        let locked = &kernel().packages[0];
        let check = |listed: &str, expected: Option<&str>| {
            let reason = why_gone(&index(listed), locked);
            assert_eq!(reason.as_deref().map(|reason| &reason[..expected.unwrap_or("").len()]), expected);
        };
        let same = stanza("linux-image-6-amd64", "6.1-1", "linux", "");
        check(&same, None);
        check(&same.replace("SHA256: 0", "SHA256: 1"), Some("linux-image-6-amd64 6.1-1 has sha256 1"));
        check(&same.replace("6.1-1", "6.1-2"), Some("no pocket lists linux-image-6-amd64 6.1-1"));
        check("", Some("no pocket lists"));
    }
}
