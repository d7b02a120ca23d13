//! The rules of `kernels.lock`: what is kept, what is resolved again, and what is written afterwards.
//!
//! The lock remembers, next to the kernels, which request of which pipeline they answer. A request that is there, with
//! all its kernels, is kept as it is: no source is asked. Any other is resolved, and of its answer those kernels that
//! are locked already keep their lock, so that adding a suite doesn't move the others.

use std::collections::{BTreeMap, BTreeSet};

use kernels::{KernelId, Lock, LockedKernel, LockedPackage, LockedRequest};
use plugin::{SourceKernel, SourcePackage};
use serde_json::Value;

/// What a pipeline asks of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The plugin's name.
    pub plugin: String,
    /// What it is told.
    pub with: Value,
}

/// A kernel that a run works on.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Which.
    pub id: KernelId,
    /// Who fetches it.
    pub plugin: String,
    /// What the plugin needs to fetch it.
    pub source: SourceKernel,
    /// What the lock says of its content.
    pub locked: Option<LockedKernel>,
    /// Why it is worked on.
    pub why: Why,
}

/// Why a kernel is worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// kernels.lock has it.
    Locked,
    /// It answers a request that kernels.lock doesn't know.
    New,
    /// It stands for a kernel that can no longer be fetched.
    Replaces(KernelId),
}

/// What a source answered can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{id}: {reason}")]
pub struct BadAnswer {
    /// The kernel as the source named it.
    pub id: String,
    /// What is wrong.
    pub reason: String,
}

/// A request as the lock knows it, of whatever pipeline.
pub fn find_request<'l>(lock: &'l Lock, request: &Request) -> Option<&'l LockedRequest> {
    lock.requests.iter().find(|known| known.plugin == request.plugin && known.with == request.with)
}

/// The kernels that the lock has for a request; None when it doesn't know the request, or lost a kernel of it.
pub fn kept(lock: &Lock, request: &Request) -> Option<Vec<Chosen>> {
    let known = find_request(lock, request)?;
    let kernels: Option<Vec<&LockedKernel>> = known.kernels.iter().map(|id| lock.find(id)).collect();
    kernels.map(|kernels| kernels.into_iter().map(Chosen::locked).collect())
}

/// The kernels for a request that a source has answered.
///
/// Where the lock has as many kernels of a series as the source names, they stay, whatever is newer.
pub fn answered(lock: &Lock, request: &Request, answer: &[SourceKernel]) -> Result<Vec<Chosen>, BadAnswer> {
    let mut chosen = Vec::new();
    for (series, kernels) in by_series(request, answer)? {
        let locked: Vec<&LockedKernel> =
            lock.kernels.iter().filter(|kernel| Series::of_locked(kernel) == series).collect();
        if locked.len() == kernels.len() {
            chosen.extend(locked.into_iter().map(Chosen::locked));
        } else {
            chosen.extend(
                kernels.into_iter().map(|(id, kernel)| Chosen::resolved(request, id, kernel, Why::New)),
            );
        }
    }
    Ok(chosen)
}

/// The kernels of an answer, with nothing kept: for `btfpipe lock`. Equal ones keep what the lock says of them.
pub fn refreshed(lock: &Lock, request: &Request, answer: &[SourceKernel]) -> Result<Vec<Chosen>, BadAnswer> {
    let kernels = by_series(request, answer)?.into_values().flatten();
    let chosen = kernels.map(|(id, kernel)| match lock.find(&id) {
        Some(locked) if is_same(locked, kernel) => Chosen::locked(locked),
        _ => Chosen::resolved(request, id, kernel, Why::New),
    });
    Ok(chosen.collect())
}

/// The kernel that stands for a lost one: of the same series, not worked on already, and not the lost one itself.
pub fn replacement(
    lost: &Chosen,
    taken: &BTreeSet<KernelId>,
    request: &Request,
    answer: &[SourceKernel],
) -> Result<Option<Chosen>, BadAnswer> {
    let series = Series::of(&lost.plugin, &lost.source.with, &lost.id);
    let same = by_series(request, answer)?.remove(&series).unwrap_or_default();
    let found = same.into_iter().find(|(id, kernel)| match *id == lost.id {
        true => kernel.packages != lost.source.packages,
        false => !taken.contains(id),
    });
    Ok(found.map(|(id, kernel)| Chosen::resolved(request, id, kernel, Why::Replaces(lost.id.clone()))))
}

/// The lock after a run or `btfpipe lock`.
///
/// `declared` are all requests of the pipeline's file: those that it no longer has are forgotten. `answers` are those
/// that were worked on, with their kernels as they are locked now. Kernels of no request are dropped.
pub fn updated(
    lock: &Lock,
    pipeline: &str,
    declared: &[Request],
    answers: &[(Request, Vec<LockedKernel>)],
) -> Lock {
    let is_declared = |known: &LockedRequest| {
        declared.iter().any(|request| request.plugin == known.plugin && request.with == known.with)
    };
    let is_answered = |known: &LockedRequest| {
        answers.iter().any(|(request, _)| request.plugin == known.plugin && request.with == known.with)
    };
    let mut next = Lock::default();
    for known in &lock.requests {
        // What another pipeline asks in the same words has the same answer.
        if (known.pipeline != pipeline || is_declared(known)) && !is_answered(known) {
            next.requests.push(known.clone());
        } else if known.pipeline != pipeline {
            next.requests.extend(
                answers
                    .iter()
                    .find(|(request, _)| request.plugin == known.plugin && request.with == known.with)
                    .map(|answer| locked_request(&known.pipeline, answer)),
            );
        }
    }
    next.requests.extend(answers.iter().map(|answer| locked_request(pipeline, answer)));
    let wanted: BTreeSet<&KernelId> = next.requests.iter().flat_map(|request| &request.kernels).collect();
    let mut kernels: BTreeMap<KernelId, LockedKernel> = lock
        .kernels
        .iter()
        .filter(|kernel| wanted.contains(&kernel.id))
        .map(|kernel| (kernel.id.clone(), kernel.clone()))
        .collect();
    for kernel in answers.iter().flat_map(|(_, kernels)| kernels) {
        kernels.insert(kernel.id.clone(), kernel.clone());
    }
    next.kernels = kernels.into_values().collect();
    next
}

fn locked_request(pipeline: &str, (request, kernels): &(Request, Vec<LockedKernel>)) -> LockedRequest {
    let mut ids: Vec<KernelId> = kernels.iter().map(|kernel| kernel.id.clone()).collect();
    ids.sort();
    LockedRequest {
        pipeline: pipeline.to_owned(),
        plugin: request.plugin.clone(),
        with: request.with.clone(),
        kernels: ids,
    }
}

impl Chosen {
    fn locked(kernel: &LockedKernel) -> Chosen {
        Chosen {
            id: kernel.id.clone(),
            plugin: kernel.source.plugin.clone(),
            source: source_of(kernel),
            locked: Some(kernel.clone()),
            why: Why::Locked,
        }
    }

    fn resolved(request: &Request, id: KernelId, kernel: &SourceKernel, why: Why) -> Chosen {
        Chosen { id, plugin: request.plugin.clone(), source: kernel.clone(), locked: None, why }
    }
}

/// What a plugin fetches a locked kernel by.
pub fn source_of(kernel: &LockedKernel) -> SourceKernel {
    let packages = kernel.packages.iter().map(|package| SourcePackage {
        name: package.name.clone(),
        version: package.version.clone(),
        arch: package.arch.clone(),
        file: package.file.clone(),
        sha256: package.sha256.to_string(),
        size: package.size,
    });
    SourceKernel { id: kernel.id.to_string(), packages: packages.collect(), with: kernel.source.with.clone() }
}

/// A source's packages as they stand in a lock.
pub fn locked_packages(kernel: &SourceKernel) -> Result<Vec<LockedPackage>, BadAnswer> {
    let bad = |reason: String| BadAnswer { id: kernel.id.clone(), reason };
    let mut packages = Vec::new();
    for package in &kernel.packages {
        packages.push(LockedPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            arch: package.arch.clone(),
            file: plain_name(&package.file)
                .ok_or_else(|| bad(format!("{:?} is no plain file name", package.file)))?,
            sha256: package.sha256.parse().map_err(|error| bad(format!("{}: {error}", package.file)))?,
            size: package.size,
        });
    }
    packages.sort();
    Ok(packages)
}

fn plain_name(name: &str) -> Option<String> {
    let good = !matches!(name, "" | "." | "..") && !name.contains(|c: char| c == '/' || c.is_control());
    good.then(|| name.to_owned())
}

fn is_same(locked: &LockedKernel, kernel: &SourceKernel) -> bool {
    locked.source.with == kernel.with
        && locked_packages(kernel).is_ok_and(|packages| packages == locked.packages)
}

/// Kernels of which a newer one may stand for an older one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    plugin: String,
    with: BTreeMap<String, String>,
    /// The identity with only the words of the release: `debian/12/x86_64/-cloud-amd64`.
    kind: String,
}

impl Series {
    fn of(plugin: &str, with: &BTreeMap<String, String>, id: &KernelId) -> Series {
        let release = id.release();
        let words =
            release.find(|c: char| !(c.is_ascii_digit() || ".-".contains(c))).unwrap_or(release.len());
        let kind = format!("{}/{}/{}/{}", id.distro(), id.version(), id.arch(), &release[words..]);
        Series { plugin: plugin.to_owned(), with: with.clone(), kind }
    }

    fn of_locked(kernel: &LockedKernel) -> Series {
        Series::of(&kernel.source.plugin, &kernel.source.with, &kernel.id)
    }
}

type BySeries<'a> = BTreeMap<Series, Vec<(KernelId, &'a SourceKernel)>>;

/// An answer, checked: ids that are ids, each once, with packages.
fn by_series<'a>(request: &Request, answer: &'a [SourceKernel]) -> Result<BySeries<'a>, BadAnswer> {
    let mut series = BySeries::new();
    let mut seen = BTreeSet::new();
    for kernel in answer {
        let bad = |reason: String| BadAnswer { id: kernel.id.clone(), reason };
        let id: KernelId = kernel.id.parse().map_err(|error: kernels::Error| bad(error.to_string()))?;
        if kernel.packages.is_empty() {
            return Err(bad("the source names no package".to_owned()));
        }
        locked_packages(kernel)?;
        if !seen.insert(id.clone()) {
            return Err(bad("the source names it twice".to_owned()));
        }
        series.entry(Series::of(&request.plugin, &kernel.with, &id)).or_default().push((id, kernel));
    }
    Ok(series)
}

#[cfg(test)]
mod tests {
    use kernels::{Digest, LockedBlob, LockedSource};
    use serde_json::json;

    use super::*;

    const OLD: &str = "debian/12/x86_64/6.1.0-49-cloud-amd64";
    const NEW: &str = "debian/12/x86_64/6.1.0-50-cloud-amd64";
    const ARM: &str = "debian/12/arm64/6.1.0-50-cloud-arm64";
    const SID: &str = "debian/sid/x86_64/7.2.13+deb14-cloud-amd64";

    fn source(id: &str, content: &str) -> SourceKernel {
        let suite = if id.contains("/sid/") { "sid" } else { "bookworm" };
        SourceKernel {
            id: id.into(),
            packages: vec![SourcePackage {
                name: "linux-image".into(),
                version: "1".into(),
                arch: "amd64".into(),
                file: "linux.deb".into(),
                sha256: Digest::of(content.as_bytes()).to_string(),
                size: 1,
            }],
            with: BTreeMap::from([("suite".into(), suite.into())]),
        }
    }

    fn locked(id: &str) -> LockedKernel {
        let source = source(id, id);
        LockedKernel {
            id: id.parse().unwrap(),
            build_id: None,
            source: LockedSource { plugin: "debian".into(), with: source.with.clone() },
            packages: locked_packages(&source).unwrap(),
            btf: LockedBlob::of(id.as_bytes()),
            modules: None,
            boot: None,
            own_btf: true,
        }
    }

    fn request(suites: &[&str]) -> Request {
        Request { plugin: "debian".into(), with: json!({"suites": suites}) }
    }

    fn lock_of(answers: &[(Request, Vec<LockedKernel>)]) -> Lock {
        let declared: Vec<Request> = answers.iter().map(|(request, _)| request.clone()).collect();
        updated(&Lock::default(), "release", &declared, answers)
    }

    fn ids(chosen: &[Chosen]) -> Vec<(String, bool)> {
        chosen.iter().map(|chosen| (chosen.id.to_string(), chosen.locked.is_some())).collect()
    }

    #[test]
    fn what_is_locked_is_kept() {
        let lock = lock_of(&[(request(&["bookworm"]), vec![locked(OLD)])]);
        assert_eq!(ids(&kept(&lock, &request(&["bookworm"])).unwrap()), [(OLD.to_owned(), true)]);
        assert_eq!(kept(&lock, &request(&["sid"])), None);
        assert_eq!(kept(&lock, &Request { plugin: "other".into(), ..request(&["bookworm"]) }), None);
        let lost = Lock { kernels: vec![], ..lock };
        assert_eq!(kept(&lost, &request(&["bookworm"])), None);
    }

    #[test]
    fn the_order_of_keys_is_no_difference() {
        let with =
            |text: &str| Request { plugin: "debian".into(), with: serde_json::from_str(text).unwrap() };
        let lock = lock_of(&[(with(r#"{"a":1,"b":2}"#), vec![locked(OLD)])]);
        assert!(kept(&lock, &with(r#"{"b":2,"a":1}"#)).is_some());
    }

    #[test]
    fn a_new_suite_does_not_move_the_others() {
        let lock = lock_of(&[(request(&["bookworm"]), vec![locked(OLD)])]);
        let answer = [source(NEW, "new"), source(SID, "sid")];
        let chosen = answered(&lock, &request(&["bookworm", "sid"]), &answer).unwrap();
        assert_eq!(ids(&chosen), [(OLD.to_owned(), true), (SID.to_owned(), false)]);
    }

    #[test]
    fn more_of_a_series_is_taken_as_it_comes() {
        let lock = lock_of(&[(request(&["bookworm"]), vec![locked(OLD)])]);
        let chosen = answered(&lock, &request(&["newest 2"]), &[source(NEW, "n"), source(OLD, "o")]).unwrap();
        assert_eq!(ids(&chosen), [(NEW.to_owned(), false), (OLD.to_owned(), false)]);
    }

    #[test]
    fn refreshing_keeps_only_what_is_equal() {
        let lock = lock_of(&[(request(&["bookworm"]), vec![locked(OLD), locked(ARM)])]);
        let answer = [source(NEW, NEW), source(ARM, ARM)];
        let chosen = refreshed(&lock, &request(&["bookworm"]), &answer).unwrap();
        assert_eq!(ids(&chosen), [(ARM.to_owned(), true), (NEW.to_owned(), false)]);
        let rebuilt = refreshed(&lock, &request(&["bookworm"]), &[source(ARM, "other bytes")]).unwrap();
        assert_eq!(ids(&rebuilt), [(ARM.to_owned(), false)]);
    }

    #[test]
    fn what_is_gone_is_replaced_within_its_series() {
        let lock = lock_of(&[(request(&["bookworm"]), vec![locked(OLD)])]);
        let lost = kept(&lock, &request(&["bookworm"])).unwrap().remove(0);
        let check = |answer: &[SourceKernel], taken: &[&str], wanted: Option<&str>| {
            let taken = taken.iter().map(|id| id.parse().unwrap()).collect();
            let found = replacement(&lost, &taken, &request(&["bookworm"]), answer).unwrap();
            assert_eq!(found.as_ref().map(|chosen| chosen.id.to_string()).as_deref(), wanted);
            if let Some(chosen) = found {
                assert_eq!(chosen.why, Why::Replaces(OLD.parse().unwrap()));
            }
        };
        check(&[source(ARM, "a"), source(SID, "s"), source(NEW, "n")], &[OLD], Some(NEW));
        check(&[source(NEW, "n")], &[OLD, NEW], None);
        check(&[source(OLD, OLD)], &[OLD], None);
        check(&[source(OLD, "rebuilt under the same name")], &[OLD], Some(OLD));
        check(&[], &[OLD], None);
    }

    #[test]
    fn the_lock_forgets_what_nobody_asks_for() {
        let lock =
            lock_of(&[(request(&["bookworm"]), vec![locked(OLD)]), (request(&["sid"]), vec![locked(SID)])]);
        let next = updated(
            &lock,
            "release",
            &[request(&["bookworm"])],
            &[(request(&["bookworm"]), vec![locked(NEW)])],
        );
        let left: Vec<String> = next.kernels.iter().map(|kernel| kernel.id.to_string()).collect();
        assert_eq!(left, [NEW]);
        assert_eq!(next.requests.len(), 1);
    }

    #[test]
    fn other_pipelines_and_unused_profiles_stay() {
        let lock = lock_of(&[(request(&["bookworm"]), vec![locked(OLD)])]);
        let nightly = [(request(&["sid"]), vec![locked(SID)])];
        let both = updated(&lock, "nightly", &[request(&["sid"]), request(&["full"])], &nightly);
        assert_eq!((both.kernels.len(), both.requests.len()), (2, 2));
        // The same words in two pipelines have one answer.
        let shared = updated(
            &both,
            "nightly",
            &[request(&["bookworm"])],
            &[(request(&["bookworm"]), vec![locked(NEW)])],
        );
        let ids: Vec<String> = shared.requests.iter().map(|request| request.kernels[0].to_string()).collect();
        assert_eq!(ids, [NEW, NEW]);
        assert_eq!(shared.kernels.len(), 1);
        // Declared but not asked this time.
        let again = updated(&both, "nightly", &[request(&["sid"]), request(&["full"])], &[]);
        assert_eq!(again.requests, both.requests);
    }

    #[test]
    fn answers_are_checked() {
        let check = |kernels: &[SourceKernel], wanted: &str| {
            let error = answered(&Lock::default(), &request(&["x"]), kernels).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        };
        check(&[source("debian/../x86_64/1", "a")], "debian/../x86_64/1");
        check(&[source(OLD, "a"), source(OLD, "b")], "names it twice");
        check(&[SourceKernel { packages: vec![], ..source(OLD, "a") }], "names no package");
        let mut outside = source(OLD, "a");
        outside.packages[0].file = "../x.deb".into();
        check(&[outside], "is no plain file name");
        let mut short = source(OLD, "a");
        short.packages[0].sha256 = "abc".into();
        check(&[short], "linux.deb");
    }
}
