//! The newest kernels of each suite and flavour.

use std::collections::{BTreeMap, BTreeSet};

use plugin::{Failure, Job, Level, SourceKernel};

use crate::archive::Archive;
use crate::candidate::{Candidate, candidates, flavours};
use crate::config::{Arch, Config, Flavour};
use crate::index::Index;
use crate::machine::Machine;
use crate::state::{Guard, State};
use crate::suite::Suite;

/// What `config` asks for, sorted by id.
pub fn resolve(job: &Job<'_>, config: &Config) -> Result<Vec<SourceKernel>, Failure> {
    let machine = Machine::read(config.archive.as_ref())?;
    let cache = job.cachedir();
    let archs: BTreeSet<Arch> = config.flavours.iter().map(|flavour| flavour.arch).collect();
    let total = (config.suites.len() * archs.len()) as u64;
    let mut kernels = Vec::new();
    let mut done = 0;
    for suite in &config.suites {
        for arch in &archs {
            let state = State::open(&cache, &machine, config.archive.as_ref(), suite, *arch)?;
            job.progress(done, Some(total), "suites", state.name());
            kernels.extend(resolve_suite(job, config, &state, suite, *arch)?);
            done += 1;
        }
    }
    job.progress(done, Some(total), "suites", "");
    kernels.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(kernels)
}

fn resolve_suite(
    job: &Job<'_>,
    config: &Config,
    state: &State<'_>,
    suite: &Suite,
    arch: Arch,
) -> Result<Vec<SourceKernel>, Failure> {
    let guard = state.own(job)?;
    let pockets = state.update(job, &guard)?;
    job.log(Level::Debug, format!("{}: {}", state.name(), pockets.join(", ")));
    let index = state.index(&pockets)?;
    let mut kernels = Vec::new();
    for flavour in config.flavours.iter().filter(|flavour| flavour.arch == arch) {
        let listed = candidates(&index, suite, flavour);
        if listed.is_empty() {
            return Err(no_kernel(suite, flavour, &index));
        }
        let found = newest(&listed, config.newest, |candidate| is_served(job, state, &guard, candidate))?;
        if found.is_empty() {
            let message = format!(
                "the mirror lists {} kernels {} of {}, and has none of them",
                listed.len(),
                flavour.name,
                suite.name
            );
            return Err(Failure::transient(message)
                .help("try again when the mirror has caught up, or use another one"));
        }
        kernels.extend(found.into_iter().map(|candidate| kernel(config, suite, arch, candidate)));
    }
    Ok(kernels)
}

/// The first `count` that are served; of the versions of one release the first that is.
fn newest(
    listed: &[Candidate],
    count: usize,
    mut is_served: impl FnMut(&Candidate) -> Result<bool, Failure>,
) -> Result<Vec<&Candidate>, Failure> {
    let mut found: Vec<&Candidate> = Vec::new();
    for candidate in listed {
        if found.len() == count {
            break;
        }
        if !found.iter().any(|known| known.release == candidate.release) && is_served(candidate)? {
            found.push(candidate);
        }
    }
    Ok(found)
}

fn is_served(
    job: &Job<'_>,
    state: &State<'_>,
    guard: &Guard,
    candidate: &Candidate,
) -> Result<bool, Failure> {
    for package in &candidate.packages {
        if !state.is_served(guard, package, &job.run().tmpdir)? {
            job.log(
                Level::Warn,
                format!(
                    "{} lists {} {}, but the mirror answers 404; taking the next older kernel",
                    candidate.pocket, package.name, package.version
                ),
            );
            return Ok(false);
        }
    }
    Ok(true)
}

fn kernel(config: &Config, suite: &Suite, arch: Arch, candidate: &Candidate) -> SourceKernel {
    let mut with = BTreeMap::from([("suite".to_owned(), suite.name.clone())]);
    with.extend(config.archive.iter().flat_map(Archive::to_lock));
    SourceKernel {
        id: format!("{}/{}/{}/{}", suite.distro, suite.version, arch.id(), candidate.release),
        packages: candidate.packages.clone(),
        with,
    }
}

fn no_kernel(suite: &Suite, flavour: &Flavour, index: &Index) -> Failure {
    let others: Vec<String> = flavours(index, suite)
        .into_iter()
        .filter(|name| *name != flavour.name && (!suite.own_series || name.ends_with(flavour.arch.debian())))
        .collect();
    let failure = Failure::user(format!("suite {} has no kernel of flavour {}", suite.name, flavour.name))
        .at("/flavours");
    if others.is_empty() { failure } else { failure.help(format!("it has {}", others.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(release: &str, version: &str) -> Candidate {
        Candidate {
            release: release.into(),
            version: version.into(),
            packages: Vec::new(),
            pocket: "sid".into(),
        }
    }

    #[test]
    fn the_newest_that_are_served() {
        let listed = [
            candidate("d", "4"),
            candidate("c", "3"),
            candidate("c", "2"),
            candidate("b", "1"),
            candidate("a", "0"),
        ];
        let check = |count, missing: &[&str], expected: &[&str]| {
            let found =
                newest(&listed, count, |candidate| Ok(!missing.contains(&candidate.version.as_str())))
                    .unwrap();
            assert!(
                found.iter().map(|candidate| candidate.version.as_str()).eq(expected.iter().copied()),
                "{count} {missing:?}"
            );
        };
        check(1, &[], &["4"]);
        check(2, &[], &["4", "3"]);
        check(3, &[], &["4", "3", "1"]);
        check(9, &[], &["4", "3", "1", "0"]);
        check(1, &["4"], &["3"]);
        check(2, &["3"], &["4", "2"]);
        check(1, &["4", "3", "2"], &["1"]);
        check(1, &["4", "3", "2", "1", "0"], &[]);
        assert!(newest(&listed, 1, |_| Err(Failure::transient("no network"))).is_err());
    }

    #[test]
    fn a_flavour_that_is_not_there() {
        use crate::index::tests::{index, stanza};
        let flavour = Flavour { name: "clod-amd64".into(), arch: Arch::Amd64 };
        let names = ["linux-image-6.1.0-50-cloud-amd64", "linux-image-6.1.0-50-arm64"];
        let index = index(&names.map(|name| stanza(name, "6.1-1", "linux", "")).concat());
        let failure = no_kernel(&Suite::find("sid").unwrap(), &flavour, &index);
        assert_eq!(failure.message, "suite sid has no kernel of flavour clod-amd64");
        assert_eq!(failure.help.unwrap(), "it has cloud-amd64");
    }
}
