//! Debian's suites, and the pockets that a suite's packages are spread over.

/// A suite that kernels can come from. To add one, add it here and to schema.json.
pub struct Suite {
    /// Codename.
    pub name: &'static str,
    /// VERSION_ID of os-release; `sid` has none.
    pub version: &'static str,
    /// Whether it has been released, and so has the pockets -updates and -security.
    released: bool,
}

const SUITES: &[Suite] = &[
    Suite { name: "bullseye", version: "11", released: true },
    Suite { name: "bookworm", version: "12", released: true },
    Suite { name: "trixie", version: "13", released: true },
    Suite { name: "sid", version: "sid", released: false },
];

/// A part of a suite with a Release file of its own.
pub struct Pocket {
    /// As in sources.list, e.g. `bookworm-security`.
    pub name: String,
    /// Whether it is on the security archive.
    pub security: bool,
}

impl Suite {
    /// The suite of a codename.
    pub fn find(name: &str) -> Option<&'static Suite> {
        SUITES.iter().find(|suite| suite.name == name)
    }

    /// All codenames.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SUITES.iter().map(|suite| suite.name)
    }

    /// Where its packages are.
    pub fn pockets(&self) -> Vec<Pocket> {
        let pocket = |suffix: &str, security| Pocket { name: format!("{}{suffix}", self.name), security };
        let mut pockets = vec![pocket("", false)];
        if self.released {
            pockets.extend([pocket("-updates", false), pocket("-security", true)]);
        }
        pockets
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
            let pockets = Suite::find(suite).unwrap().pockets();
            assert_eq!(pockets.iter().map(|pocket| &pocket.name).collect::<Vec<_>>(), expected);
            assert!(pockets.iter().all(|pocket| pocket.security == pocket.name.ends_with("-security")));
        };
        check("bookworm", &["bookworm", "bookworm-updates", "bookworm-security"]);
        check("sid", &["sid"]);
        assert!(Suite::find("noble").is_none());
    }
}
