//! Paths with `*`, `?` and `**`, walked in sorted order.

use std::io;
use std::path::{Path, PathBuf};

/// How deep `**` goes down, so that a loop of links ends.
const DEEPEST: usize = 32;

/// A pattern over path components. `*` and `?` stay within one; `**` stands for any number of folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    absolute: bool,
    parts: Vec<String>,
}

impl Glob {
    /// Checks a pattern; the error says what is wrong with it.
    pub fn new(pattern: &str) -> Result<Glob, &'static str> {
        let parts: Vec<String> =
            pattern.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect();
        match parts.last() {
            None => Err("the path is empty"),
            Some(last) if last == "**" => Err("`**` stands for folders; say which files, e.g. `**/*.bpf.o`"),
            Some(_) if parts.iter().any(|part| part.contains("**") && part != "**") => {
                Err("`**` must be a whole part of the path")
            }
            Some(_) => Ok(Glob { absolute: pattern.starts_with('/'), parts }),
        }
    }

    /// The files below `root` (or `/`) that match, sorted. Hidden files match only where the pattern names the dot.
    pub fn files(&self, root: &Path) -> io::Result<Vec<PathBuf>> {
        let start = if self.absolute { PathBuf::from("/") } else { root.to_owned() };
        let mut found = Vec::new();
        walk(&start, &self.parts, 0, &mut found)?;
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Whether the pattern names one file, without any `*` or `?`.
    pub fn is_plain(&self) -> bool {
        !self.parts.iter().any(|part| part.contains(['*', '?']))
    }
}

fn walk(folder: &Path, parts: &[String], depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let Some((part, rest)) = parts.split_first() else {
        return Ok(());
    };
    if part == "**" {
        walk(folder, rest, depth, found)?;
        for name in names(folder)?.into_iter().filter(|name| !name.starts_with('.') && depth < DEEPEST) {
            let below = folder.join(name);
            if below.is_dir() && !below.is_symlink() {
                walk(&below, parts, depth + 1, found)?;
            }
        }
        return Ok(());
    }
    let candidates = if part.contains(['*', '?']) {
        names(folder)?.into_iter().filter(|name| matches(part, name)).collect()
    } else {
        vec![part.clone()]
    };
    for path in candidates.into_iter().map(|name| folder.join(name)) {
        if rest.is_empty() && path.is_file() {
            found.push(path);
        } else if !rest.is_empty() && path.is_dir() {
            walk(&path, rest, depth, found)?;
        }
    }
    Ok(())
}

/// Names that aren't UTF-8 can't be written in a pipeline file and are left out.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Whether `name` matches one part of a pattern. Linear: only the last `*` is ever tried again.
pub fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part() {
        let check = |pattern, name, wanted| assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        check("*.bpf.c", "opens.bpf.c", true);
        check("*.bpf.c", "opens.c", false);
        check("*", "", true);
        check("a?c", "abc", true);
        check("a?c", "ac", false);
        check("*a*b", "xaxbxb", true);
        check("*a*b", "xaxbxc", false);
        check("*", ".hidden", false);
        check(".*", ".hidden", true);
        check(&"*a".repeat(30), &"a".repeat(29), false);
    }

    #[test]
    fn folders() {
        let root = tempfile::tempdir().unwrap();
        for file in ["a/x.o", "a/b/y.o", "a/b/c/z.o", "a/b/n.txt", ".git/h.o"] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let check = |pattern: &str, wanted: &[&str]| {
            let files = Glob::new(pattern).unwrap().files(root.path()).unwrap();
            let names: Vec<_> =
                files.iter().map(|file| file.strip_prefix(root.path()).unwrap().to_str().unwrap()).collect();
            assert_eq!(names, wanted, "{pattern}");
        };
        check("a/*.o", &["a/x.o"]);
        check("./a//x.o", &["a/x.o"]);
        check("a/*/*.o", &["a/b/y.o"]);
        check("**/*.o", &["a/b/c/z.o", "a/b/y.o", "a/x.o"]);
        check("a/**/z.o", &["a/b/c/z.o"]);
        check("a/b", &[]);
        check("nowhere/*.o", &[]);
        assert!(Glob::new("a/**").is_err());
        assert!(Glob::new("/").is_err());
        assert!(Glob::new("a/x**/y").is_err());
    }
}
