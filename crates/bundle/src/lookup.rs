//! Which kernel of a bundle is the one that runs.
//!
//! The release (`uname -r`) must be equal, always: a kernel with a similar release has other offsets. What differs
//! between the rules is how well the distribution must fit. Where both sides know a build-id, it decides: another
//! build-id is another kernel, the same one is the same.

use std::fmt;

use crate::arch::Arch;
use crate::index::{Index, IndexedKernel};
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
pub struct Hit<'a> {
    /// The kernel.
    pub kernel: &'a IndexedKernel,
    /// The rule that found it.
    pub rule: Rule,
    /// Whether its build-id was compared.
    pub build_id: BuildIdCheck,
}

/// Why no kernel was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Miss {
    /// The bundle is for another architecture.
    #[error("the bundle is for {bundle}, the kernel is {query}: open the bundle of that architecture")]
    Arch {
        /// The bundle's.
        bundle: Arch,
        /// The kernel's.
        query: Arch,
    },
    /// No kernel has the release.
    #[error("no kernel {0} in the bundle: add it to the pipeline's kernels")]
    Release(String),
    /// Kernels with the release were built apart from the one that runs.
    #[error("{} has the release but another build-id: the running kernel is another build", .0.join(", "))]
    BuildId(Vec<String>),
    /// Several kernels fit equally well and have different BTFs.
    #[error("{} fit equally well: give the os-release of the host (in a container, mount /etc/os-release) or a build-id", .0.join(", "))]
    Ambiguous(Vec<String>),
    /// The only kernel with the release is of another distribution, and a plain release proves nothing.
    #[error(
        "{0} has the release, but a release of digits only is used by many builds: give a build-id or the distribution"
    )]
    PlainRelease(String),
}

impl Index {
    /// The kernel that `query` describes, or why there is none.
    pub fn resolve(&self, query: &Query) -> Result<Hit<'_>, Miss> {
        if query.arch != self.arch {
            return Err(Miss::Arch { bundle: self.arch, query: query.arch });
        }
        let same_release: Vec<_> = self.kernels.iter().filter(|k| k.entry.release == query.release).collect();
        if same_release.is_empty() {
            return Err(Miss::Release(query.release.clone()));
        }
        let (build_id, pool) = compare_build_ids(&same_release, query.build_id.as_deref());
        if pool.is_empty() {
            return Err(Miss::BuildId(names(&same_release)));
        }
        for rule in [Rule::Exact, Rule::VersionAlias, Rule::MajorVersion] {
            let fitting: Vec<_> = pool.iter().copied().filter(|k| fits(rule, k, query)).collect();
            if !fitting.is_empty() {
                return one_btf(&fitting, rule, build_id).ok_or_else(|| Miss::Ambiguous(names(&fitting)));
            }
        }
        resolve_by_release(&pool, &query.release, build_id)
    }
}

/// The kernels that the build-id leaves over: those that it confirms, else those that it cannot judge.
fn compare_build_ids<'a>(
    kernels: &[&'a IndexedKernel],
    build_id: Option<&str>,
) -> (BuildIdCheck, Vec<&'a IndexedKernel>) {
    let with = |confirmed: bool| -> Vec<_> {
        let judge = |kernel: &IndexedKernel| match (&kernel.entry.build_id, build_id) {
            (Some(a), Some(b)) => a == b,
            _ => !confirmed,
        };
        kernels.iter().copied().filter(|kernel| judge(kernel)).collect()
    };
    match with(true) {
        confirmed if confirmed.is_empty() => (BuildIdCheck::Unchecked, with(false)),
        confirmed => (BuildIdCheck::Verified, confirmed),
    }
}

fn fits(rule: Rule, kernel: &IndexedKernel, query: &Query) -> bool {
    let (Some(distro), Some(version)) = (&query.distro, &query.version) else {
        return false;
    };
    let entry = &kernel.entry;
    if distro_name(&entry.distro) != distro_name(distro) {
        return false;
    }
    match rule {
        Rule::Exact => entry.version == *version,
        Rule::VersionAlias => entry.version_aliases.contains(version),
        Rule::MajorVersion => has_version(kernel, major(version)),
        Rule::UniqueRelease | Rule::ReleasePattern => false,
    }
}

/// The rules that don't need to know the distribution.
fn resolve_by_release<'a>(
    pool: &[&'a IndexedKernel],
    release: &str,
    build_id: BuildIdCheck,
) -> Result<Hit<'a>, Miss> {
    if let Some(hit) = one_btf(pool, Rule::UniqueRelease, build_id) {
        // 5.15.128 is Bottlerocket's, and that of everybody who builds the sources.
        let plain = release.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        return match build_id {
            BuildIdCheck::Unchecked if plain => Err(Miss::PlainRelease(hit.kernel.entry.key().to_string())),
            _ => Ok(hit),
        };
    }
    let named = release_pattern(release).map_or(vec![], |(distro, version)| {
        let fits = |k: &IndexedKernel| {
            distro_name(&k.entry.distro) == distro
                && (has_version(k, &version) || major(&k.entry.version) == version || version.is_empty())
        };
        pool.iter().copied().filter(|k| fits(k)).collect()
    });
    one_btf(&named, Rule::ReleasePattern, build_id).ok_or_else(|| Miss::Ambiguous(names(pool)))
}

/// A hit where all of `kernels` have the same BTF: then it doesn't matter which one runs.
fn one_btf<'a>(kernels: &[&'a IndexedKernel], rule: Rule, build_id: BuildIdCheck) -> Option<Hit<'a>> {
    let (&kernel, others) = kernels.split_first()?;
    let same = others.iter().all(|other| other.btf == kernel.btf);
    same.then_some(Hit { kernel, rule, build_id })
}

fn names(kernels: &[&IndexedKernel]) -> Vec<String> {
    kernels.iter().map(|kernel| kernel.entry.key().to_string()).collect()
}

fn has_version(kernel: &IndexedKernel, version: &str) -> bool {
    kernel.entry.version == version || kernel.entry.version_aliases.iter().any(|alias| alias == version)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::index::BlobRef;
    use crate::key::{KernelEntry, KernelKey};

    /// `key [=blob] [aka alias]… [#build-id]`, a line a kernel; the blob defaults to one of its own.
    fn index(lines: &str) -> Index {
        let mut index = Index::new("n".into(), Arch::X86_64, "e".into());
        index.kernels = lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(kernel).collect();
        index.kernels.sort_by(|a, b| a.entry.order().cmp(&b.entry.order()));
        index.check().unwrap();
        index
    }

    fn kernel(line: &str) -> IndexedKernel {
        let mut words = line.split_whitespace();
        let KernelKey { distro, version, arch, release } = words.next().unwrap().parse().unwrap();
        let mut entry =
            KernelEntry { distro, version, version_aliases: vec![], arch, release, build_id: None };
        let mut blob = line;
        for word in words {
            match word.split_at(1) {
                ("=", name) => blob = name,
                ("#", id) => entry.build_id = Some(id.into()),
                _ => entry.version_aliases.push(word.into()),
            }
        }
        let blob = BlobRef { sha256: Digest::of(blob.as_bytes()), size: 0 };
        IndexedKernel { entry, btf: blob, records: blob }
    }

    /// `distro version release [#build-id]`, `-` for what isn't known.
    fn query(text: &str) -> Query {
        let words: Vec<&str> = text.split_whitespace().collect();
        let known = |word: &str| (word != "-").then(|| word.to_owned());
        Query {
            distro: known(words[0]),
            version: known(words[1]),
            build_id: words.get(3).map(|id| id[1..].to_owned()),
            ..Query::new(Arch::X86_64, words[2])
        }
    }

    #[track_caller]
    fn check(index: &Index, text: &str, want: &str) {
        let found = match index.resolve(&query(text)) {
            Ok(Hit { kernel, rule, build_id }) => {
                let verified = if build_id == BuildIdCheck::Verified { " verified" } else { "" };
                format!("{rule} {}{verified}", kernel.entry.key())
            }
            Err(Miss::Arch { .. }) => "arch".into(),
            Err(Miss::Release(_)) => "no such release".into(),
            Err(Miss::BuildId(_)) => "other build-id".into(),
            Err(Miss::Ambiguous(names)) => format!("ambiguous {}", names.len()),
            Err(Miss::PlainRelease(_)) => "plain release".into(),
        };
        assert_eq!(found, want, "{text}");
    }

    #[test]
    fn ladder() {
        let index = index(
            "debian/12/x86_64/6.1.0-50-cloud-amd64
             rhel/8/x86_64/4.18.0-80.el8.x86_64
             centos/8/x86_64/4.18.0-80.el8.x86_64
             ol/7/x86_64/5.4.17-2011.el7uek.x86_64 7.8 7.9
             ubuntu/18.04/x86_64/5.4.0-42-generic
             ubuntu/20.04/x86_64/5.4.0-42-generic",
        );
        let check = |text, want| check(&index, text, want);
        check("debian 12 6.1.0-50-cloud-amd64", "exact debian/12/x86_64/6.1.0-50-cloud-amd64");
        check("ol 7.9 5.4.17-2011.el7uek.x86_64", "version-alias ol/7/x86_64/5.4.17-2011.el7uek.x86_64");
        check("oracle 7.9 5.4.17-2011.el7uek.x86_64", "version-alias ol/7/x86_64/5.4.17-2011.el7uek.x86_64");
        check("rhel 8.1 4.18.0-80.el8.x86_64", "major-version rhel/8/x86_64/4.18.0-80.el8.x86_64");
        check("redhat 8.1 4.18.0-80.el8.x86_64", "major-version rhel/8/x86_64/4.18.0-80.el8.x86_64");
        check("ol 7.7 5.4.17-2011.el7uek.x86_64", "major-version ol/7/x86_64/5.4.17-2011.el7uek.x86_64");
        check("alpine 3.20 6.1.0-50-cloud-amd64", "unique-release debian/12/x86_64/6.1.0-50-cloud-amd64");
        check("debian - 6.1.0-50-cloud-amd64", "unique-release debian/12/x86_64/6.1.0-50-cloud-amd64");
        check("alpine 3.20 4.18.0-80.el8.x86_64", "ambiguous 2");
        check("ubuntu 22.04 5.4.0-42-generic", "ambiguous 2");
        check("ubuntu 20.04 5.4.0-42-generic", "exact ubuntu/20.04/x86_64/5.4.0-42-generic");
        check("ubuntu 18.04 5.4.0-42-generic", "exact ubuntu/18.04/x86_64/5.4.0-42-generic");
    }

    #[test]
    fn never_the_nearest() {
        let index = index("debian/12/x86_64/6.1.0-50-cloud-amd64");
        for release in
            ["6.1.0-50-cloud-amd", "6.1.0-50-cloud-amd64x", "6.1.0-51-cloud-amd64", "6.1.0-50-amd64", ""]
        {
            let found = index.resolve(&Query::new(Arch::X86_64, release).os("debian", "12"));
            assert_eq!(found, Err(Miss::Release(release.to_owned())));
        }
        let found = index.resolve(&Query::new(Arch::Arm64, "6.1.0-50-cloud-amd64").os("debian", "12"));
        assert_eq!(found, Err(Miss::Arch { bundle: Arch::X86_64, query: Arch::Arm64 }));
    }

    #[test]
    fn the_version_comes_before_its_alias() {
        let index = index("rhel/8/x86_64/r-1 8.1\nrhel/8.1/x86_64/r-1");
        check(&index, "rhel 8.1 r-1", "exact rhel/8.1/x86_64/r-1");
        check(&index, "rhel 8.2 r-1", "major-version rhel/8/x86_64/r-1");
    }

    #[test]
    fn build_ids_decide() {
        let index = index(
            "debian/10/x86_64/4.19.0-17-amd64 #aa
             debian/10/x86_64/4.19.0-17-amd64 #bb
             rhel/8/x86_64/r-1 #cc
             centos/8/x86_64/r-1 #dd
             fedora/38/x86_64/r-2
             ol/8/x86_64/r-2 #ee",
        );
        let check = |text, want| check(&index, text, want);
        check("debian 10 4.19.0-17-amd64 #aa", "exact debian/10/x86_64/4.19.0-17-amd64 verified");
        check("debian 10 4.19.0-17-amd64", "ambiguous 2");
        check("debian 10 4.19.0-17-amd64 #cc", "other build-id");
        // A container says centos, the host is rhel: the build-id knows.
        check("centos 8 r-1 #cc", "unique-release rhel/8/x86_64/r-1 verified");
        check("centos 8 r-1", "exact centos/8/x86_64/r-1");
        // One side without a build-id cannot be judged; one that contradicts is out.
        check("fedora 38 r-2 #ff", "exact fedora/38/x86_64/r-2");
        check("ol 8 r-2 #ff", "unique-release fedora/38/x86_64/r-2");
        check("fedora 38 r-2 #ee", "unique-release ol/8/x86_64/r-2 verified");
    }

    #[test]
    fn the_same_btf_is_never_ambiguous() {
        let index = index("ubuntu/18.04/x86_64/r-1 =same\nubuntu/20.04/x86_64/r-1 =same");
        check(&index, "alpine 3 r-1", "unique-release ubuntu/18.04/x86_64/r-1");
    }

    #[test]
    fn a_plain_release_proves_nothing() {
        let index = index("bottlerocket/1.15.1/x86_64/5.15.128 #aa");
        check(&index, "gentoo 2 5.15.128", "plain release");
        check(&index, "gentoo 2 5.15.128 #aa", "unique-release bottlerocket/1.15.1/x86_64/5.15.128 verified");
        check(&index, "bottlerocket 1.15.1 5.15.128", "exact bottlerocket/1.15.1/x86_64/5.15.128");
    }

    #[test]
    fn patterns_choose_among_namesakes() {
        let index = index(
            "fedora/31/x86_64/5.3.7-301.fc31.x86_64
             other/1/x86_64/5.3.7-301.fc31.x86_64
             amzn/2018.03/x86_64/4.14.1-1.amzn1.x86_64
             other/1/x86_64/4.14.1-1.amzn1.x86_64",
        );
        check(&index, "- - 5.3.7-301.fc31.x86_64", "release-pattern fedora/31/x86_64/5.3.7-301.fc31.x86_64");
        check(
            &index,
            "- - 4.14.1-1.amzn1.x86_64",
            "release-pattern amzn/2018.03/x86_64/4.14.1-1.amzn1.x86_64",
        );
    }
}
