//! The makefile in which clang says what it read.

/// The prerequisites of the only rule of a makefile that clang wrote.
pub(super) fn parse_dependencies(makefile: &str) -> Vec<String> {
    let rule = makefile.split_once(": ").map_or("", |(_, prerequisites)| prerequisites);
    let mut paths = vec![String::new()];
    let mut chars = rule.chars().peekable();
    while let Some(char) = chars.next() {
        let escaped = match (char, chars.peek()) {
            ('\\', Some(&next @ (' ' | '#'))) | ('$', Some(&next @ '$')) => Some(next),
            ('\\', Some('\n')) => Some('\n'),
            _ => None,
        };
        match escaped {
            Some('\n') => paths.push(String::new()),
            Some(next) => paths.last_mut().expect("begins with one").push(next),
            None if char.is_whitespace() => paths.push(String::new()),
            None => paths.last_mut().expect("begins with one").push(char),
        }
        if escaped.is_some() {
            chars.next();
        }
    }
    paths.retain(|path| !path.is_empty());
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_of_a_makefile() {
        let check = |makefile: &str, expected: &[&str]| {
            assert_eq!(parse_dependencies(makefile), expected, "{makefile:?}")
        };
        check("", &[]);
        check("o: a.bpf.c\n", &["a.bpf.c"]);
        check(
            "/tmp/x/o: a.bpf.c kernel.h \\\n  /usr/include/bpf/bpf.h\n",
            &["a.bpf.c", "kernel.h", "/usr/include/bpf/bpf.h"],
        );
        check("o: a\\ b.c c\\#d.h e$$f.h g$h.h i\\j.h\n", &["a b.c", "c#d.h", "e$f.h", "g$h.h", "i\\j.h"]);
        check("o: a: b\n", &["a:", "b"]);
        check("no rule", &[]);
    }
}
