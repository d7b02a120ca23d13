//! Which kernel of a bundle is the one that runs.
//!
//! The release (`uname -r`) must be equal, always: a kernel with a similar release has other offsets. What differs
//! between the rules is how well the distribution must fit. Where both sides know a build-id, it decides: another
//! build-id is another kernel, the same one is the same.

use std::fmt;

use crate::arch::Arch;
use crate::query::Query;
use crate::release_pattern::release_pattern;

/// The rule by which a kernel was found: the first that fits, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Distribution and version are equal.
    Exact,
    /// The version is one of the kernel's other words for its version.
    VersionAlias,
    /// The part of the version before the first dot is the kernel's version: `8.1` finds `8`.
    MajorVersion,
    /// The release is that of one kernel only, over all distributions.
    UniqueRelease,
    /// Several kernels have the release; the release itself names the distribution (`.amzn2.`, `.fc31.` …).
    ReleasePattern,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Exact => "exact",
            Rule::VersionAlias => "version-alias",
            Rule::MajorVersion => "major-version",
            Rule::UniqueRelease => "unique-release",
            Rule::ReleasePattern => "release-pattern",
        })
    }
}

/// Whether the build-id confirms a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildIdCheck {
    /// Both sides have one, and they are equal.
    Verified,
    /// One side has none.
    Unchecked,
}

/// A kernel that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit<K> {
    /// The kernel.
    pub kernel: K,
    /// The rule that found it.
    pub rule: Rule,
    /// Whether its build-id was compared.
    pub build_id: BuildIdCheck,
}

/// Why no kernel was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// The bundle is for another architecture.
    Arch {
        /// The bundle's.
        bundle: Arch,
        /// The kernel's.
        query: Arch,
    },
    /// No kernel has the release.
    Release(String),
    /// Kernels with the release were built apart from the one that runs.
    BuildId(Vec<String>),
    /// Several kernels fit equally well and have different BTFs.
    Ambiguous(Vec<String>),
    /// The only kernel with the release is of another distribution, and a plain release proves nothing.
    PlainRelease(String),
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Miss::Arch { bundle, query } => write!(
                f,
                "the bundle is for {bundle}, the kernel is {query}: open the bundle of that architecture"
            ),
            Miss::Release(release) => {
                write!(f, "no kernel {release} in the bundle: add it to the pipeline's kernels")
            }
            Miss::BuildId(names) => write!(
                f,
                "{} has the release but another build-id: the running kernel is another build",
                names.join(", ")
            ),
            Miss::Ambiguous(names) => write!(
                f,
                "{} fit equally well: give the os-release of the host (in a container, mount /etc/os-release) or a \
                 build-id",
                names.join(", ")
            ),
            Miss::PlainRelease(name) => write!(
                f,
                "{name} has the release, but a release of digits only is used by many builds: give a build-id or the \
                 distribution"
            ),
        }
    }
}

impl std::error::Error for Miss {}

/// What the rules ask of a kernel that a bundle has.
pub(crate) trait Known: Clone {
    fn distro(&self) -> &str;
    fn version(&self) -> &str;
    /// Other words for its version.
    fn has_alias(&self, version: &str) -> bool;
    fn build_id(&self) -> Option<&str>;
    fn same_btf(&self, other: &Self) -> bool;
    /// `distro/version/arch/release`.
    fn id(&self) -> String;
}

/// The kernel among `same_release` that `query` describes. All of them have the query's architecture and release.
pub(crate) fn resolve<K: Known>(query: &Query, same_release: &[K]) -> Result<Hit<K>, Miss> {
    if same_release.is_empty() {
        return Err(Miss::Release(query.release.clone()));
    }
    let (build_id, pool) = compare_build_ids(same_release, query.build_id.as_deref());
    if pool.is_empty() {
        return Err(Miss::BuildId(names(same_release)));
    }
    for rule in [Rule::Exact, Rule::VersionAlias, Rule::MajorVersion] {
        let fitting: Vec<K> = pool.iter().filter(|kernel| fits(rule, *kernel, query)).cloned().collect();
        if !fitting.is_empty() {
            return one_btf(&fitting, rule, build_id).ok_or_else(|| Miss::Ambiguous(names(&fitting)));
        }
    }
    resolve_by_release(&pool, &query.release, build_id)
}

/// The kernels that the build-id leaves over: those that it confirms, else those that it cannot judge.
fn compare_build_ids<K: Known>(kernels: &[K], build_id: Option<&str>) -> (BuildIdCheck, Vec<K>) {
    let with = |confirmed: bool| -> Vec<K> {
        let judge = |kernel: &K| match (kernel.build_id(), build_id) {
            (Some(a), Some(b)) => a == b,
            _ => !confirmed,
        };
        kernels.iter().filter(|kernel| judge(kernel)).cloned().collect()
    };
    match with(true) {
        confirmed if confirmed.is_empty() => (BuildIdCheck::Unchecked, with(false)),
        confirmed => (BuildIdCheck::Verified, confirmed),
    }
}

fn fits(rule: Rule, kernel: &impl Known, query: &Query) -> bool {
    let (Some(distro), Some(version)) = (&query.distro, &query.version) else {
        return false;
    };
    if distro_name(kernel.distro()) != distro_name(distro) {
        return false;
    }
    match rule {
        Rule::Exact => kernel.version() == version,
        Rule::VersionAlias => kernel.has_alias(version),
        Rule::MajorVersion => has_version(kernel, major(version)),
        Rule::UniqueRelease | Rule::ReleasePattern => false,
    }
}

/// The rules that don't need to know the distribution.
fn resolve_by_release<K: Known>(pool: &[K], release: &str, build_id: BuildIdCheck) -> Result<Hit<K>, Miss> {
    if let Some(hit) = one_btf(pool, Rule::UniqueRelease, build_id) {
        // 5.15.128 is Bottlerocket's, and that of everybody who builds the sources.
        let plain = release.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        return match build_id {
            BuildIdCheck::Unchecked if plain => Err(Miss::PlainRelease(hit.kernel.id())),
            _ => Ok(hit),
        };
    }
    let named = release_pattern(release).map_or(vec![], |(distro, version)| {
        let fits = |kernel: &K| {
            distro_name(kernel.distro()) == distro
                && (has_version(kernel, &version) || major(kernel.version()) == version || version.is_empty())
        };
        pool.iter().filter(|kernel| fits(kernel)).cloned().collect()
    });
    one_btf(&named, Rule::ReleasePattern, build_id).ok_or_else(|| Miss::Ambiguous(names(pool)))
}

/// A hit where all of `kernels` have the same BTF: then it doesn't matter which one runs.
fn one_btf<K: Known>(kernels: &[K], rule: Rule, build_id: BuildIdCheck) -> Option<Hit<K>> {
    let (kernel, others) = kernels.split_first()?;
    let same = others.iter().all(|other| other.same_btf(kernel));
    same.then(|| Hit { kernel: kernel.clone(), rule, build_id })
}

fn names<K: Known>(kernels: &[K]) -> Vec<String> {
    kernels.iter().map(Known::id).collect()
}

fn has_version(kernel: &impl Known, version: &str) -> bool {
    kernel.version() == version || kernel.has_alias(version)
}

fn major(version: &str) -> &str {
    version.split_once('.').map_or(version, |(major, _)| major)
}

/// The ID that os-release uses for a distribution that has other names.
fn distro_name(distro: &str) -> &str {
    match distro {
        "amazon" => "amzn",
        "suse" => "sles",
        "opensuse" => "opensuse-leap",
        "redhat" => "rhel",
        "oracle" => "ol",
        other => other,
    }
}
