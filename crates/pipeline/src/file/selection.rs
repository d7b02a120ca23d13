//! Which kernels are meant: `debian/*`, `debian/12/x86_64`, `*/*/arm64/6.1.*`.

use kernels::{Arch, KernelId};

use crate::file::glob::matches;
use crate::yaml::problem::{At, Problem};

/// A pattern over the parts of a kernel's identity; parts that it doesn't have match everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    parts: Vec<String>,
}

const PARTS: [&str; 4] = ["distribution", "version", "architecture", "release"];

impl Selection {
    /// Checks a pattern; the error says what is wrong with it.
    pub fn new(pattern: &str) -> Result<Selection, String> {
        let mut parts: Vec<String> = pattern.split('/').map(str::to_owned).collect();
        if parts.iter().any(String::is_empty) {
            return Err("a part of it is empty; `*` stands for any".to_owned());
        }
        if parts.len() > PARTS.len() {
            return Err("a kernel has four parts: distribution/version/architecture/release".to_owned());
        }
        if let Some(arch) = parts.get_mut(2).filter(|arch| !is_glob(arch)) {
            *arch = arch
                .parse::<Arch>()
                .map_err(|_| format!("`{arch}` is no architecture; known here: x86_64, arm64"))?
                .to_string();
        }
        Ok(Selection { parts })
    }

    /// Whether this kernel is meant.
    pub fn matches(&self, id: &KernelId) -> bool {
        self.parts.iter().zip(parts_of(id)).all(|(pattern, part)| matches(pattern, &part))
    }

    /// The problem when none of `kernels` is meant: which part is the first that none has.
    pub fn nothing<'a>(&self, at: At, kernels: impl Iterator<Item = &'a KernelId>) -> Option<Problem> {
        let mut left: Vec<[String; 4]> = kernels.map(parts_of).collect();
        for (place, pattern) in self.parts.iter().enumerate() {
            let mut here: Vec<String> = left.iter().map(|parts| parts[place].clone()).collect();
            here.sort();
            here.dedup();
            left.retain(|parts| matches(pattern, &parts[place]));
            if left.is_empty() {
                let before = self.parts[..place].join("/");
                let of = if before.is_empty() { String::new() } else { format!(" of {before}") };
                let message =
                    format!("`{self}` selects no kernel: none{of} has the {} `{pattern}`", PARTS[place]);
                return Some(
                    Problem::new(at, message).did_you_mean(pattern, here.iter().map(String::as_str)),
                );
            }
        }
        None
    }
}

impl std::fmt::Display for Selection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.parts.join("/"))
    }
}

fn is_glob(part: &str) -> bool {
    part.contains(['*', '?'])
}

fn parts_of(id: &KernelId) -> [String; 4] {
    [id.distro().to_owned(), id.version().to_owned(), id.arch().to_string(), id.release().to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str = "debian/12/x86_64/6.1.0-50-cloud-amd64";

    #[test]
    fn parts_match_from_the_front() {
        let check = |pattern: &str, wanted: bool| {
            let selection = Selection::new(pattern).unwrap();
            assert_eq!(selection.matches(&KERNEL.parse().unwrap()), wanted, "{pattern}");
        };
        check("debian", true);
        check("debian/*", true);
        check("debian/12/amd64", true);
        check("*/*/x86_64/6.1.*", true);
        check("*/*/*/*-cloud-*", true);
        check("ubuntu/*", false);
        check("debian/1?/arm64", false);
        check("debian/12/x86_64/6.1", false);
    }

    #[test]
    fn what_is_no_pattern() {
        let check = |pattern: &str, wanted: &str| {
            let error = Selection::new(pattern).unwrap_err();
            assert!(error.contains(wanted), "{pattern}: {error}");
        };
        check("", "a part of it is empty");
        check("debian//x", "a part of it is empty");
        check("a/b/x86_64/d/e", "four parts");
        check("a/b/x86", "`x86` is no architecture");
    }

    #[test]
    fn what_selects_nothing_says_what_there_is() {
        let ids: Vec<KernelId> = vec![KERNEL.parse().unwrap(), "debian/13/arm64/6.12".parse().unwrap()];
        let check = |pattern: &str, wanted: Option<(&str, &str)>| {
            let problem = Selection::new(pattern).unwrap().nothing(At::START, ids.iter());
            let told = problem.as_ref().map(|problem| (problem.message.as_str(), problem.help[0].as_str()));
            assert_eq!(told, wanted, "{pattern}");
        };
        check("debian/1?", None);
        check(
            "debain/*",
            Some((
                "`debain/*` selects no kernel: none has the distribution `debain`",
                "did you mean `debian`?",
            )),
        );
        check(
            "debian/10/x86_64",
            Some((
                "`debian/10/x86_64` selects no kernel: none of debian has the version `10`",
                "did you mean `12`?",
            )),
        );
    }
}
