//! Names that mean the same: the one table of distributions' ids, versions and releases.

/// What others write for a distribution's os-release ID.
const DISTROS: &[(&str, &str)] = &[
    ("amazon", "amzn"),
    ("amazonlinux", "amzn"),
    ("oracle", "ol"),
    ("oraclelinux", "ol"),
    ("redhat", "rhel"),
    ("suse", "sles"),
    ("openeuler", "openEuler"),
    ("opensuse", "opensuse-leap"),
];

/// Distribution, what others write for a version, and the version that identities have.
///
/// Archives name folders by codename or by major version; where os-release has more, identities have what the archives
/// have, since one kernel serves all minor versions.
const VERSIONS: &[(&str, &str, &str)] = &[
    ("debian", "stretch", "9"),
    ("debian", "buster", "10"),
    ("debian", "bullseye", "11"),
    ("debian", "bookworm", "12"),
    ("debian", "trixie", "13"),
    ("ubuntu", "xenial", "16.04"),
    ("ubuntu", "bionic", "18.04"),
    ("ubuntu", "focal", "20.04"),
    ("ubuntu", "jammy", "22.04"),
    ("ubuntu", "noble", "24.04"),
    ("amzn", "2018", "1"),
    ("amzn", "2018.03", "1"),
    ("amzn", "2017.09", "1"),
];

/// Distributions whose kernels serve all minor versions: rhel 8.1 is rhel 8.
const BY_MAJOR: &[&str] = &["rhel", "centos", "ol", "almalinux", "rocky"];

/// Distributions that keep a release over several builds, so that only the build-id tells kernels apart.
const SAME_RELEASE_AGAIN: &[&str] = &["debian", "bottlerocket"];

/// The os-release ID that identities have.
pub fn distro(name: &str) -> &str {
    DISTROS.iter().find(|(other, _)| *other == name).map_or(name, |(_, id)| id)
}

/// The version that identities have.
pub fn version<'v>(distro: &str, version: &'v str) -> &'v str {
    let known = VERSIONS.iter().find(|(of, other, _)| *of == distro && *other == version);
    match known {
        Some((_, _, version)) => version,
        None if BY_MAJOR.contains(&distro) => version.split('.').next().unwrap_or(version),
        None => version,
    }
}

/// `uname -r` of what a package or archive is named after.
///
/// SUSE's packages count rebuilds in a last number that `uname -r` does not have: 5.14.21-150400.24.11.1-default is
/// 5.14.21-150400.24.11-default.
pub fn release(distro: &str, release: &str) -> String {
    let is_suse = distro == "sles" || distro.starts_with("opensuse");
    is_suse.then(|| without_counter(release)).flatten().unwrap_or_else(|| release.to_owned())
}

fn without_counter(release: &str) -> Option<String> {
    let (version, rest) = release.split_once('-')?;
    let (build, flavour) =
        rest.split_once('-').map_or((rest, None), |(build, flavour)| (build, Some(flavour)));
    let numbers: Vec<u64> = build.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    // Since 15.3 the first number is that of the service pack, 150300.
    let most = if *numbers.first()? >= 100_000 { 3 } else { 2 };
    if numbers.len() != most + 1 {
        return None;
    }
    let (build, _counter) = build.rsplit_once('.')?;
    Some(flavour.map_or(format!("{version}-{build}"), |flavour| format!("{version}-{build}-{flavour}")))
}

/// Whether a release names one build only.
pub fn is_release_unique(distro: &str) -> bool {
    !SAME_RELEASE_AGAIN.contains(&distro)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distros_and_versions() {
        let check = |given: &str, wanted: &str| {
            let (name, number) = given.split_once('/').unwrap();
            let id = distro(name);
            assert_eq!(format!("{id}/{}", version(id, number)), wanted, "{given}");
        };
        check("rhel/8", "rhel/8");
        check("rhel/8.1", "rhel/8");
        check("redhat/8.10", "rhel/8");
        check("ol/7.9", "ol/7");
        check("oracle/7", "ol/7");
        check("centos/7", "centos/7");
        check("amzn/2018.03", "amzn/1");
        check("amzn/2018", "amzn/1");
        check("amzn/1", "amzn/1");
        check("amzn/2", "amzn/2");
        check("amazon/2023", "amzn/2023");
        check("debian/bullseye", "debian/11");
        check("debian/11", "debian/11");
        check("debian/sid", "debian/sid");
        check("ubuntu/focal", "ubuntu/20.04");
        check("ubuntu/20.04", "ubuntu/20.04");
        check("fedora/31", "fedora/31");
        check("sles/15.3", "sles/15.3");
        check("kylin/V10", "kylin/V10");
        check("openEuler/22.03", "openEuler/22.03");
        // A codename counts for its own distribution only.
        check("mint/focal", "mint/focal");
    }

    #[test]
    fn releases() {
        let check = |distro: &str, given: &str, wanted: &str| assert_eq!(release(distro, given), wanted);
        check("sles", "5.14.21-150400.24.11.1-default", "5.14.21-150400.24.11-default");
        check("sles", "5.14.21-150400.24.11-default", "5.14.21-150400.24.11-default");
        check("sles", "4.12.14-122.37.1-azure", "4.12.14-122.37-azure");
        check("sles", "4.12.14-122.37-default", "4.12.14-122.37-default");
        check("opensuse-leap", "5.3.18-150300.59.93.1-default", "5.3.18-150300.59.93-default");
        check("sles", "5.3.18-default", "5.3.18-default");
        check("debian", "4.19.0-17-amd64", "4.19.0-17-amd64");
        check("rhel", "4.18.0-147.5.1.el8_1.x86_64", "4.18.0-147.5.1.el8_1.x86_64");
        assert!(is_release_unique("rhel") && !is_release_unique("debian"));
    }
}
