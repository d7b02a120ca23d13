//! Suites, the pockets that a suite's packages are spread over, and how its kernels are called.

use crate::archive::Archive;

/// A suite that kernels can come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// Codename.
    pub name: String,
    /// ID of os-release.
    pub distro: String,
    /// VERSION_ID of os-release; `sid` has none.
    pub version: String,
    /// Where its packages are.
    pub pockets: Vec<Pocket>,
    /// What the names of packages with a kernel image begin with, the release follows.
    pub image: String,
    /// Whether kernels count only when they are of the suite's own series.
    pub own_series: bool,
}

/// A part of a suite with a Release file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pocket {
    /// As in sources.list, e.g. `bookworm-security`.
    pub name: String,
    /// Whether it is on the security archive.
    pub security: bool,
}

/// Debian's suites: codename, VERSION_ID, and whether it has been released, and so has the pockets -updates and
/// -security. To add one, add it here and to schema.json.
const SUITES: &[(&str, &str, bool)] =
    &[("bullseye", "11", true), ("bookworm", "12", true), ("trixie", "13", true), ("sid", "sid", false)];

impl Suite {
    /// Debian's suite of a codename.
    pub fn find(name: &str) -> Option<Suite> {
        let (name, version, released) = SUITES.iter().find(|(known, _, _)| *known == name)?;
        let pocket =
            |suffix: &str| Pocket { name: format!("{name}{suffix}"), security: suffix == "-security" };
        let pockets: &[&str] = if *released { &["", "-updates", "-security"] } else { &[""] };
        Some(Suite {
            name: (*name).to_owned(),
            distro: "debian".to_owned(),
            version: (*version).to_owned(),
            pockets: pockets.iter().map(|suffix| pocket(suffix)).collect(),
            image: "linux-image-".to_owned(),
            own_series: true,
        })
    }

    /// A suite of another archive.
    pub fn of(archive: &Archive, name: &str) -> Option<Suite> {
        let pocket = |suffix: &String| Pocket {
            name: format!("{name}{suffix}"),
            security: suffix == "-security" && archive.security_url.is_some(),
        };
        Some(Suite {
            name: name.to_owned(),
            distro: archive.distro.clone(),
            version: archive.suites.get(name)?.clone(),
            pockets: archive.pockets.iter().map(pocket).collect(),
            image: archive.image.clone(),
            // A flavour may be built from a source package of its own: linux-aws.
            own_series: false,
        })
    }

    /// Debian's codenames.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SUITES.iter().map(|(name, _, _)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_the_same_suites() {
        let schema: serde_json::Value = serde_json::from_str(include_str!("../schema.json")).unwrap();
        let listed = schema["properties"]["suites"]["items"]["enum"].as_array().unwrap();
        assert!(listed.iter().filter_map(|name| name.as_str()).eq(Suite::names()));
    }

    #[test]
    fn pockets() {
        let check = |suite, expected: &[&str]| {
            let pockets = Suite::find(suite).unwrap().pockets;
            assert_eq!(pockets.iter().map(|pocket| &pocket.name).collect::<Vec<_>>(), expected);
            assert!(pockets.iter().all(|pocket| pocket.security == pocket.name.ends_with("-security")));
        };
        check("bookworm", &["bookworm", "bookworm-updates", "bookworm-security"]);
        check("sid", &["sid"]);
        assert!(Suite::find("noble").is_none());
    }

    #[test]
    fn suites_of_other_archives() {
        let archive = crate::archive::tests::ubuntu();
        let suite = Suite::of(&archive, "jammy").unwrap();
        let pockets: Vec<&str> = suite.pockets.iter().map(|pocket| pocket.name.as_str()).collect();
        assert_eq!(pockets, ["jammy", "jammy-updates", "jammy-security"]);
        assert!(suite.pockets.iter().all(|pocket| !pocket.security), "there is no archive of its own for it");
        assert_eq!((suite.version.as_str(), suite.image.as_str()), ("22.04", "linux-image-unsigned-"));
        assert!(Suite::of(&archive, "sid").is_none());
    }
}
