//! Other words for the version of a distribution: its machines say `8.1` where the kernels are filed under `8`.

use std::collections::BTreeMap;

use kernels::KernelId;

use crate::file::selection::Selection;
use crate::yaml::problem::{At, Problem, Problems};
use crate::yaml::{Key, Node, Value, shortened};

/// By `distro/version`, with the place where it is declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionAliases(BTreeMap<String, (At, Vec<String>)>);

const WRITTEN: &str = "write it as in kernels.lock: { rhel/8: [\"8.0\", \"8.1\"] }";

impl VersionAliases {
    /// Reads `aliases:`, a mapping such as `{ rhel/8: ["8.0", "8.1"] }`.
    pub fn decode(node: &Node, problems: &mut Problems) -> VersionAliases {
        let mut aliases = VersionAliases::default();
        let Value::Map(entries) = &node.value else {
            problems.add(node.wrong("`aliases`", "a mapping").help(WRITTEN));
            return aliases;
        };
        for (key, words) in entries {
            check_key(key, problems);
            let words = words.list(&format!("`{}`", shortened(&key.text)), problems).unwrap_or_default();
            let mut words: Vec<String> =
                words.iter().filter_map(|word| decode_word(word, problems)).collect();
            words.sort();
            words.dedup();
            aliases.0.insert(key.text.clone(), (key.at, words));
        }
        aliases
    }

    /// The other words for a version.
    pub fn of(&self, distro: &str, version: &str) -> &[String] {
        self.0.get(&format!("{distro}/{version}")).map_or(&[][..], |(_, words)| words)
    }

    /// A problem for each version that none of the kernels has.
    pub fn idle<'a>(&self, kernels: impl Iterator<Item = &'a KernelId> + Clone) -> Vec<Problem> {
        let versions = self.0.iter().filter_map(|(key, (at, _))| Some((*at, Selection::new(key).ok()?)));
        versions.filter_map(|(at, version)| version.nothing(at, kernels.clone())).collect()
    }
}

fn check_key(key: &Key, problems: &mut Problems) {
    let parts: Vec<&str> = key.text.split('/').collect();
    let is_exact = |part: &&str| !part.is_empty() && !part.contains(['*', '?']);
    if parts.len() != 2 || !parts.iter().all(is_exact) {
        let message = format!("`{}` is not one distribution and version", shortened(&key.text));
        problems.add(Problem::new(key.at, message).help(WRITTEN));
    }
}

/// It becomes a folder's name in layouts, so it is one plain path component.
fn decode_word(node: &Node, problems: &mut Problems) -> Option<String> {
    let word = node.text("an alias", problems)?;
    let is_plain = |word: &str| word.len() <= 255 && !word.contains(|c: char| c == '/' || c.is_control());
    if !matches!(word, "" | "." | "..") && is_plain(word) {
        return Some(word.to_owned());
    }
    problems.add(
        node.problem(format!("`{}` can't be a version", shortened(word)))
            .help("an alias is what a machine has as VERSION_ID in /etc/os-release"),
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_no_kernel_has_is_told() {
        let aliases = VersionAliases(BTreeMap::from([
            ("debian/12".to_owned(), (At::new(3, 4), vec!["12.1".to_owned()])),
            ("debian/13".to_owned(), (At::new(4, 4), Vec::new())),
        ]));
        assert_eq!(aliases.of("debian", "12"), ["12.1"]);
        assert!(aliases.of("debian", "1").is_empty());
        let kernel: KernelId = "debian/12/x86_64/6.1.0-50-cloud-amd64".parse().unwrap();
        let idle = aliases.idle([&kernel].into_iter());
        let told: Vec<(At, &str)> = idle.iter().map(|one| (one.at, one.message.as_str())).collect();
        let wanted = "`debian/13` selects no kernel: none of debian has the version `13`";
        assert_eq!(told, [(At::new(4, 4), wanted)]);
    }
}
