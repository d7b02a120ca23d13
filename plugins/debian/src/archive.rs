//! An archive that the pipeline names: that of another distribution, or one with debug packages.

use std::collections::BTreeMap;

use plugin::{Problem, SourceKernel};
use serde::Deserialize;

/// Where an apt archive is, and what its kernels are called.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// ID of os-release.
    pub distro: String,
    /// VERSION_ID of os-release, by codename.
    pub suites: BTreeMap<String, String>,
    /// Where `dists/` is.
    pub url: String,
    /// Where `dists/` of the pocket `-security` is, if not there.
    #[serde(default)]
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
    /// What a lock says of the archive: enough to find a package again. Lists are words with a comma after each.
    pub fn to_lock(&self) -> BTreeMap<String, String> {
        let list = |words: &[String]| words.iter().map(|word| format!("{word},")).collect();
        let mut lock = BTreeMap::from([
            ("url".to_owned(), self.url.clone()),
            ("keyring".to_owned(), self.keyring.clone()),
            ("pockets".to_owned(), list(&self.pockets)),
            ("components".to_owned(), list(&self.components)),
        ]);
        lock.extend(self.security_url.clone().map(|url| ("security_url".to_owned(), url)));
        lock
    }

    /// The archive of a locked kernel, with that kernel's suite; None for one of the machine's Debian.
    pub fn from_lock(kernel: &SourceKernel) -> Option<Archive> {
        let with = |key: &str| kernel.with.get(key).cloned();
        let list = |key| {
            with(key).unwrap_or_default().split_terminator(',').map(str::to_owned).collect::<Vec<String>>()
        };
        let mut id = kernel.id.split('/').map(str::to_owned);
        let mut part = || id.next().unwrap_or_default();
        let (distro, version) = (part(), part());
        Some(Archive {
            distro,
            suites: BTreeMap::from([(with("suite").unwrap_or_default(), version)]),
            url: with("url")?,
            security_url: with("security_url"),
            keyring: with("keyring").unwrap_or_default(),
            pockets: list("pockets"),
            components: list("components"),
            image: image(),
            flavours: Vec::new(),
            arches: Vec::new(),
        })
    }

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
        problems
    }

    /// Lists that have nothing in them.
    pub fn gaps(&self) -> Vec<Problem> {
        let lists = [
            ("suites", self.suites.is_empty()),
            ("pockets", self.pockets.is_empty()),
            ("components", self.components.is_empty()),
            ("flavours", self.flavours.is_empty()),
            ("arches", self.arches.is_empty()),
        ];
        let problem = |key: &str| Problem {
            path: format!("/archive/{key}"),
            message: format!("no {key}"),
            help: Some("name at least one".to_owned()),
        };
        lists.iter().filter(|(_, is_empty)| *is_empty).map(|(key, _)| problem(key)).collect()
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
        serde_json::from_value(written()).unwrap()
    }

    pub fn written() -> serde_json::Value {
        json!({
            "distro": "ubuntu", "suites": {"jammy": "22.04", "noble": "24.04"},
            "url": "http://archive.ubuntu.com/ubuntu", "image": "linux-image-unsigned-",
            "keyring": "/usr/share/keyrings/ubuntu-archive-keyring.gpg", "flavours": ["generic", "aws"],
        })
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
        check(|archive| archive.pockets = vec!["".into(), "-x y".into()], "/archive/pockets/1");
        check(|archive| archive.suites = [("a b".into(), "1".into())].into(), "/archive/suites/a b");
    }

    #[test]
    fn nothing_to_look_for() {
        assert_eq!(ubuntu().gaps(), []);
        let archive = Archive { flavours: Vec::new(), ..ubuntu() };
        assert_eq!(archive.gaps()[0].path, "/archive/flavours");
    }

    #[test]
    fn a_lock_finds_it_again() {
        let archive = Archive { security_url: Some("http://s".into()), ..ubuntu() };
        let mut with = archive.to_lock();
        with.insert("suite".into(), "jammy".into());
        let mut kernel =
            SourceKernel { id: "ubuntu/22.04/x86_64/5.15.0-91-generic".into(), packages: vec![], with };
        let found = Archive::from_lock(&kernel).unwrap();
        assert_eq!(found.suites, BTreeMap::from([("jammy".into(), "22.04".into())]));
        assert_eq!((&found.url, &found.keyring), (&archive.url, &archive.keyring));
        assert_eq!((&found.pockets, &found.components), (&archive.pockets, &archive.components));
        assert_eq!((found.security_url.as_deref(), found.folder()), (Some("http://s"), archive.folder()));
        assert_eq!(found.problems(), []);
        kernel.with.remove("url");
        assert_eq!(Archive::from_lock(&kernel), None);
    }

    #[test]
    fn folders_are_words() {
        assert_eq!(ubuntu().folder(), "ubuntu-http___archive_ubuntu_com_ubuntu");
    }
}
