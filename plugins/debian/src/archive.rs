//! An archive that the pipeline names: that of another distribution, or one with debug packages.

use std::collections::BTreeMap;

use plugin::Problem;
use serde::{Deserialize, Serialize};

/// Where an apt archive is, and what its kernels are called. It goes into the lock as it is: with the lock alone a
/// package is found again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// ID of os-release.
    pub distro: String,
    /// VERSION_ID of os-release, by codename.
    pub suites: BTreeMap<String, String>,
    /// Where `dists/` is.
    pub url: String,
    /// Where `dists/` of the pocket `-security` is, if not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_url: Option<String>,
    /// The file with the keys that sign its Release files.
    pub keyring: String,
    /// What follows a suite's name in `dists/`.
    #[serde(default = "pockets")]
    pub pockets: Vec<String>,
    /// E.g. `main`.
    #[serde(default = "components")]
    pub components: Vec<String>,
    /// What the names of packages with a kernel image begin with.
    #[serde(default = "image")]
    pub image: String,
    /// Kinds of kernels: what follows the version in a package's name.
    pub flavours: Vec<String>,
    /// Debian's names of the architectures.
    #[serde(default = "arches")]
    pub arches: Vec<String>,
}

fn pockets() -> Vec<String> {
    ["", "-updates", "-security"].map(str::to_owned).into()
}

fn components() -> Vec<String> {
    vec!["main".to_owned()]
}

fn image() -> String {
    "linux-image-".to_owned()
}

fn arches() -> Vec<String> {
    vec!["amd64".to_owned()]
}

impl Archive {
    /// What apt can't be told: it all ends up in a file for apt, and in names of folders.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |path: &str, text: &str, allowed: fn(char) -> bool| {
            if text.is_empty() || !text.chars().all(allowed) {
                problems.push(Problem {
                    path: format!("/archive{path}"),
                    message: format!("{text:?} is empty or has characters that apt can't take here"),
                    help: Some("write it as sources.list would have it".to_owned()),
                });
            }
        };
        let word = |c: char| c.is_ascii_alphanumeric() || "-._+".contains(c);
        let place = |c: char| c.is_ascii_graphic() && !"\"'[]<>#\\".contains(c);
        check("/distro", &self.distro, word);
        check("/url", &self.url, place);
        check("/security_url", self.security_url.as_deref().unwrap_or("none"), place);
        check("/keyring", &self.keyring, place);
        check("/image", &self.image, word);
        for (name, version) in &self.suites {
            check(&format!("/suites/{name}"), name, word);
            check(&format!("/suites/{name}"), version, word);
        }
        let lists =
            [("pockets", &self.pockets), ("components", &self.components), ("flavours", &self.flavours)];
        for (key, list) in lists.into_iter().chain([("arches", &self.arches)]) {
            for (at, text) in list.iter().enumerate().filter(|(_, text)| key != "pockets" || !text.is_empty())
            {
                check(&format!("/{key}/{at}"), text, word);
            }
        }
        for (key, is_empty) in [
            ("suites", self.suites.is_empty()),
            ("pockets", self.pockets.is_empty()),
            ("components", self.components.is_empty()),
            ("flavours", self.flavours.is_empty()),
            ("arches", self.arches.is_empty()),
        ] {
            if is_empty {
                let (path, message) = (format!("/archive/{key}"), format!("no {key}"));
                problems.push(Problem { path, message, help: Some("name at least one".to_owned()) });
            }
        }
        problems
    }

    /// A name for a folder: other places are other folders.
    pub fn folder(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        format!("{}-{}", self.distro, self.url.chars().map(plain).collect::<String>())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;

    /// What a pipeline says of Ubuntu.
    pub fn ubuntu() -> Archive {
        let archive = json!({
            "distro": "ubuntu", "suites": {"jammy": "22.04", "noble": "24.04"},
            "url": "http://archive.ubuntu.com/ubuntu", "image": "linux-image-unsigned-",
            "keyring": "/usr/share/keyrings/ubuntu-archive-keyring.gpg", "flavours": ["generic", "aws"],
        });
        serde_json::from_value(archive).unwrap()
    }

    #[test]
    fn what_apt_can_t_take() {
        assert_eq!(ubuntu().problems(), []);
        let check = |change: fn(&mut Archive), path: &str| {
            let mut archive = ubuntu();
            change(&mut archive);
            let found: Vec<String> = archive.problems().into_iter().map(|problem| problem.path).collect();
            assert_eq!(found, [path]);
        };
        check(|archive| archive.url = "http://x\nTrusted: yes".into(), "/archive/url");
        check(|archive| archive.keyring.clear(), "/archive/keyring");
        check(|archive| archive.distro = "../x".into(), "/archive/distro");
        check(|archive| archive.flavours.clear(), "/archive/flavours");
        check(|archive| archive.pockets = vec!["".into(), "-x y".into()], "/archive/pockets/1");
        check(|archive| archive.suites = [("a b".into(), "1".into())].into(), "/archive/suites/a b");
    }

    #[test]
    fn folders_are_words() {
        assert_eq!(ubuntu().folder(), "ubuntu-http___archive_ubuntu_com_ubuntu");
    }
}
