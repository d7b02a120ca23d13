//! Which packages of an index are kernels of a flavour.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use plugin::SourcePackage;

use crate::config::Flavour;
use crate::index::{Index, Package};
use crate::suite::Suite;
use crate::version;

/// A kernel that the index lists completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// `uname -r`.
    pub release: String,
    /// Its image package's version.
    pub version: String,
    /// What holds its image, configuration and modules; by name.
    pub packages: Vec<SourcePackage>,
    /// The pocket that lists the image package.
    pub pocket: String,
}

/// The kernels of a flavour, newest first.
///
/// In Debian those of the suite's own series, that is: built from the source package `linux`. Newer series that a suite
/// carries beside its own come from sources such as `linux-6.12`.
pub fn candidates(index: &Index, suite: &Suite, flavour: &Flavour) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = index
        .packages()
        .filter_map(|image| Some((image, find_release(image, suite, flavour)?)))
        .filter_map(|(image, release)| candidate(index, image, release))
        .collect();
    found.sort_by(|a, b| version::compare(&b.version, &a.version).then_with(|| b.release.cmp(&a.release)));
    found
}

/// The flavours that an index has kernels of, by how many.
pub fn flavours(index: &Index, suite: &Suite) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for release in index.packages().filter_map(|image| image.package.name.strip_prefix(&suite.image)) {
        if let Some(flavour) = split_release(release).map(|(_, flavour)| flavour) {
            *counts.entry(flavour).or_default() += 1;
        }
    }
    let mut flavours: Vec<_> = counts.into_iter().collect();
    flavours.sort_by_key(|(flavour, count)| (Reverse(*count), *flavour));
    flavours.into_iter().map(|(flavour, _)| flavour.to_owned()).collect()
}

/// The release of an image package of the flavour. Left out by their names: `linux-image-RELEASE-dbg`,
/// `…-unsigned`, `linux-image-amd64-signed-template`, `linux-image-cloud-amd64` (which only depends on the newest).
fn find_release<'a>(image: &'a Package, suite: &Suite, flavour: &Flavour) -> Option<&'a str> {
    let release = image.package.name.strip_prefix(&suite.image)?;
    let (_, found) = split_release(release)?;
    let own_series = !suite.own_series
        || image.source == "linux"
        || image.source == format!("linux-signed-{}", flavour.arch.debian());
    (found == flavour.name && own_series && !is_meta(image)).then_some(release)
}

/// `6.1.0-50-cloud-amd64` to `6.1.0-50` and `cloud-amd64`; `7.2-rc4-amd64` to `7.2-rc4` and `amd64`.
fn split_release(release: &str) -> Option<(&str, &str)> {
    let is_number = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_digit())
            || word.strip_prefix("rc").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
    };
    let numbers: usize =
        release.split('-').take_while(|word| is_number(word)).map(|word| word.len() + 1).sum();
    let version = release.get(..numbers.checked_sub(1)?)?;
    Some((version, release.get(numbers..)?))
}

/// `linux-image-6.12-cloud-amd64` and the like: nothing in them, and a dependency on a real one.
fn is_meta(image: &Package) -> bool {
    image.depends.iter().any(|name| name.starts_with("linux-image-"))
}

/// Follows the dependencies on packages of the same release. Since 7.x, Debian's linux-image is empty, and
/// linux-binary has vmlinuz, linux-modules the modules, linux-base the configuration.
fn candidate(index: &Index, image: &Package, release: &str) -> Option<Candidate> {
    let suffix = format!("-{release}");
    let mut names = BTreeSet::new();
    let mut todo = vec![image];
    while let Some(package) = todo.pop() {
        for name in
            package.depends.iter().filter(|name| name.starts_with("linux-") && name.ends_with(&suffix))
        {
            if names.insert(name.clone()) {
                todo.push(index.find(name, &image.package.version)?);
            }
        }
    }
    if !names.contains(&format!("linux-binary{suffix}")) {
        names.insert(image.package.name.clone());
    }
    let packages = names
        .iter()
        .map(|name| Some(index.find(name, &image.package.version)?.package.clone()))
        .collect::<Option<_>>()?;
    Some(Candidate {
        release: release.to_owned(),
        version: image.package.version.clone(),
        packages,
        pocket: image.pocket.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Arch;
    use crate::index::tests::{index, stanza};

    /// Candidates as `RELEASE VERSION: PACKAGES`.
    fn check(flavour: &str, packages: &[String], expected: &[&str]) {
        let flavour = Flavour { name: flavour.to_owned(), arch: Arch::Amd64 };
        check_of(&Suite::find("bookworm").unwrap(), &flavour, packages, expected);
    }

    fn check_of(suite: &Suite, flavour: &Flavour, packages: &[String], expected: &[&str]) {
        let found: Vec<String> = candidates(&index(&packages.concat()), suite, flavour)
            .iter()
            .map(|candidate| {
                let names: Vec<&str> = candidate.packages.iter().map(|p| p.name.as_str()).collect();
                format!("{} {}: {}", candidate.release, candidate.version, names.join(" "))
            })
            .collect();
        assert_eq!(found, expected);
    }

    fn image(release: &str, version: &str) -> String {
        stanza(&format!("linux-image-{release}"), version, "linux-signed-amd64", "kmod, linux-base (>= 4.3~)")
    }

    #[test]
    fn newest_first() {
        check(
            "cloud-amd64",
            &[
                image("6.1.0-9-cloud-amd64", "6.1.27-1"),
                image("6.1.0-50-cloud-amd64", "6.1.176-1"),
                image("6.1.0-50-cloud-amd64", "6.1.175-1"),
                image("6.1.0-50-amd64", "6.1.176-1"),
                image("6.1.0-50-rt-amd64", "6.1.176-1"),
                image("6.12.107+deb13-cloud-amd64", "6.12.107-1"),
            ],
            &[
                "6.12.107+deb13-cloud-amd64 6.12.107-1: linux-image-6.12.107+deb13-cloud-amd64",
                "6.1.0-50-cloud-amd64 6.1.176-1: linux-image-6.1.0-50-cloud-amd64",
                "6.1.0-50-cloud-amd64 6.1.175-1: linux-image-6.1.0-50-cloud-amd64",
                "6.1.0-9-cloud-amd64 6.1.27-1: linux-image-6.1.0-9-cloud-amd64",
            ],
        );
        check(
            "amd64",
            &[image("7.2-rc4-amd64", "7.2~rc4-1~exp1"), image("6.1.0-50-cloud-amd64", "6.1.176-1")],
            &["7.2-rc4-amd64 7.2~rc4-1~exp1: linux-image-7.2-rc4-amd64"],
        );
    }

    #[test]
    fn names_that_look_like_kernels() {
        check(
            "cloud-amd64",
            &[
                image("6.1.0-50-cloud-amd64-dbg", "6.1.176-1"),
                image("6.1.0-50-cloud-amd64-unsigned", "6.1.176-1"),
                image("amd64-signed-template", "6.1.176-1"),
                image("cloud-amd64", "6.1.176-1"),
                image("cloud-amd64-dbg", "6.1.176-1"),
                stanza("linux-headers-6.1.0-50-cloud-amd64", "6.1.176-1", "linux", ""),
            ],
            &[],
        );
    }

    #[test]
    fn other_series_and_their_meta_packages() {
        check(
            "cloud-amd64",
            &[
                stanza(
                    "linux-image-6.12.107+deb12-cloud-amd64",
                    "6.12.107-1~deb12u1",
                    "linux-signed-6.12-amd64",
                    "",
                ),
                stanza("linux-image-6.12-cloud-amd64", "6.12.107-1", "linux-6.12", ""),
                stanza(
                    "linux-image-6.1-cloud-amd64",
                    "6.1.176-1",
                    "linux",
                    "linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1)",
                ),
            ],
            &[],
        );
    }

    fn split(release: &str, without: &str) -> Vec<String> {
        let depends = |names: &[&str]| {
            names
                .iter()
                .map(|name| format!("linux-{name}-{release} (= 7.2.13-1)"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        [
            ("image", format!("dracut | initramfs-tools, {}", depends(&["binary", "modules"]))),
            ("binary", depends(&["base"])),
            ("modules", format!("kmod, {}", depends(&["base"]))),
            ("base", String::new()),
        ]
        .iter()
        .filter(|(name, _)| *name != without)
        .map(|(name, depends)| stanza(&format!("linux-{name}-{release}"), "7.2.13-1", "linux", depends))
        .collect()
    }

    #[test]
    fn split_packages() {
        check(
            "cloud-amd64",
            &split("7.2.13+deb14-cloud-amd64", "nothing"),
            &["7.2.13+deb14-cloud-amd64 7.2.13-1: linux-base-7.2.13+deb14-cloud-amd64 \
               linux-binary-7.2.13+deb14-cloud-amd64 linux-modules-7.2.13+deb14-cloud-amd64"],
        );
        // Half uploaded: the part that is missing may come any minute, and until then it is no kernel.
        check("cloud-amd64", &split("7.2.13+deb14-cloud-amd64", "base"), &[]);
        check("cloud-amd64", &split("7.2.13+deb14-cloud-amd64", "binary"), &[]);
    }

    #[test]
    fn releases() {
        let check = |release, expected| assert_eq!(split_release(release), expected, "{release}");
        check("6.1.0-50-cloud-amd64", Some(("6.1.0-50", "cloud-amd64")));
        check("6.1.0-0.deb11.48-amd64", Some(("6.1.0-0.deb11.48", "amd64")));
        check("6.12.74+deb13+1-rt-arm64", Some(("6.12.74+deb13+1", "rt-arm64")));
        check("cloud-amd64", None);
        check("6.1", None);
        check("", None);
    }

    #[test]
    fn flavours_by_number() {
        let packages = [image("6.1-a", "1"), image("6.2-a", "1"), image("6.1-b", "1"), image("amd64", "1")];
        assert_eq!(flavours(&index(&packages.concat()), &Suite::find("sid").unwrap()), ["a", "b"]);
    }

    /// As Ubuntu lists them: the image unsigned, signed and as a dependency, modules and configuration beside it.
    #[test]
    fn kernels_of_ubuntu() {
        let release = "5.15.0-91-generic";
        let modules = format!("kmod, linux-base (>= 4.5ubuntu1~16.04.1), linux-modules-{release}");
        let packages = [
            stanza(&format!("linux-image-unsigned-{release}"), "5.15.0-91.101", "linux", &modules),
            stanza(&format!("linux-image-{release}"), "5.15.0-91.101", "linux-signed", &modules),
            stanza(&format!("linux-modules-{release}"), "5.15.0-91.101", "linux", ""),
            stanza("linux-image-generic", "5.15.0.91.88", "linux-meta", &format!("linux-image-{release}")),
            stanza("linux-image-unsigned-5.15.0-1050-aws", "5.15.0-1050.55", "linux-aws", ""),
        ];
        let suite = Suite::of(&crate::archive::tests::ubuntu(), "jammy").unwrap();
        let of = |name: &str| Flavour { name: name.to_owned(), arch: Arch::Amd64 };
        check_of(
            &suite,
            &of("generic"),
            &packages,
            &["5.15.0-91-generic 5.15.0-91.101: linux-image-unsigned-5.15.0-91-generic \
               linux-modules-5.15.0-91-generic"],
        );
        check_of(
            &suite,
            &of("aws"),
            &packages,
            &["5.15.0-1050-aws 5.15.0-1050.55: linux-image-unsigned-5.15.0-1050-aws"],
        );
    }
}
