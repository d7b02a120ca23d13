//! Paths with stars and with names for what they tell: `btf/{distro}/{version}/{arch}/{release}.btf*`.

use std::collections::BTreeMap;
use std::str::FromStr;

/// The parts of an identity that a path may tell.
pub(super) const KEYS: [&str; 4] = ["distro", "version", "arch", "release"];

/// A pattern of paths.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`: any number of folders.
    Folders,
    One(Vec<Piece>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `*`
    Any,
    /// `?`
    AnyOne,
    /// `{release}`: at least one character.
    Key(&'static str),
}

/// What a path told.
pub(super) type Told = BTreeMap<&'static str, String>;

impl Template {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The folders in front that have no star, as a path.
    pub(super) fn folder(&self) -> String {
        let literal = |part: &Part| match part {
            Part::One(pieces) => match &pieces[..] {
                [] => Some(String::new()),
                [Piece::Text(text)] => Some(text.clone()),
                _ => None,
            },
            Part::Folders => None,
        };
        let folders = &self.parts[..self.parts.len() - 1];
        let folders: Vec<String> = folders.iter().map_while(literal).collect();
        match &folders[..] {
            // An absolute path begins with an empty part.
            [root] if root.is_empty() => "/".to_owned(),
            folders => folders.join("/"),
        }
    }

    /// Whether the path itself is named.
    pub(super) fn is_plain(&self) -> bool {
        self.parts.iter().all(|part| match part {
            Part::One(pieces) => pieces.iter().all(|piece| matches!(piece, Piece::Text(_))),
            Part::Folders => false,
        })
    }

    /// What a path tells; None when it does not match.
    pub(super) fn match_path(&self, path: &str) -> Option<Told> {
        let parts: Vec<&str> = path.split('/').collect();
        let mut told = Told::new();
        match_parts(&self.parts, &parts, &mut told).then_some(told)
    }
}

fn match_parts(pattern: &[Part], parts: &[&str], told: &mut Told) -> bool {
    match pattern.split_first() {
        None => parts.is_empty(),
        Some((Part::Folders, rest)) => (0..=parts.len()).any(|skipped| {
            let mut here = told.clone();
            let matches = match_parts(rest, &parts[skipped..], &mut here);
            if matches {
                *told = here;
            }
            matches
        }),
        Some((Part::One(pieces), rest)) => parts.split_first().is_some_and(|(part, others)| {
            match_pieces(pieces, part, told) && match_parts(rest, others, told)
        }),
    }
}

/// Shorter matches first; a key that comes twice has to tell the same twice.
fn match_pieces(pieces: &[Piece], text: &str, told: &mut Told) -> bool {
    let Some((piece, rest)) = pieces.split_first() else { return text.is_empty() };
    let ends = || text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let mut try_end = |end: usize| {
        let mut here = told.clone();
        if let Piece::Key(key) = piece {
            let known = here.entry(key).or_insert_with(|| text[..end].to_owned());
            if end == 0 || *known != text[..end] {
                return false;
            }
        }
        let matches = match_pieces(rest, &text[end..], &mut here);
        if matches {
            *told = here;
        }
        matches
    };
    match piece {
        Piece::Text(literal) => {
            text.strip_prefix(literal.as_str()).is_some_and(|text| match_pieces(rest, text, told))
        }
        Piece::AnyOne => {
            let mut chars = text.chars();
            chars.next().is_some() && match_pieces(rest, chars.as_str(), told)
        }
        Piece::Any | Piece::Key(_) => ends().any(&mut try_end),
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Template, String> {
        let path = text.strip_prefix("./").unwrap_or(text);
        if path.is_empty() || path.ends_with('/') {
            return Err(format!("{text:?} names no file"));
        }
        let parts: Result<Vec<Part>, String> = path.split('/').map(parse_part).collect();
        Ok(Template { text: path.to_owned(), parts: parts? })
    }
}

fn parse_part(part: &str) -> Result<Part, String> {
    if part == "**" {
        return Ok(Part::Folders);
    }
    let mut pieces = Vec::new();
    let mut rest = part;
    while !rest.is_empty() {
        let literal = rest.find(['*', '?', '{']).unwrap_or(rest.len());
        if literal > 0 {
            pieces.push(Piece::Text(rest[..literal].to_owned()));
            rest = &rest[literal..];
        } else if let Some(after) = rest.strip_prefix('*') {
            pieces.push(Piece::Any);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('?') {
            pieces.push(Piece::AnyOne);
            rest = after;
        } else {
            let (name, after) = rest[1..].split_once('}').ok_or_else(|| format!("{part:?}: no }} for {{"))?;
            let key = KEYS.iter().find(|key| **key == name);
            pieces.push(Piece::Key(key.ok_or_else(|| format!("{{{name}}} is none of {}", KEYS.join(", ")))?));
            rest = after;
        }
    }
    Ok(Part::One(pieces))
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Template, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, path: &str, wanted: Option<&[(&'static str, &str)]>) {
        let found = template.parse::<Template>().unwrap().match_path(path);
        let wanted =
            wanted.map(|told| told.iter().map(|(key, value)| (*key, (*value).to_owned())).collect::<Told>());
        assert_eq!(found, wanted, "{template} and {path}");
    }

    #[test]
    fn matching() {
        check("a/b.btf", "a/b.btf", Some(&[]));
        check("*.btf", "b.btf", Some(&[]));
        check("*.btf", "a/b.btf", None);
        check("**/*.btf", "a/c/b.btf", Some(&[]));
        check("**/*.btf", "b.btf", Some(&[]));
        check(
            "{release}.btf.tar.xz",
            "5.4.0-91-generic.btf.tar.xz",
            Some(&[("release", "5.4.0-91-generic")]),
        );
        check(
            "btf/{distro}/{version}/{arch}/{release}.btf*",
            "btf/rhel/8/x86_64/4.18.btf.xz",
            Some(&[("arch", "x86_64"), ("distro", "rhel"), ("release", "4.18"), ("version", "8")]),
        );
        check("vmlinux-{release}", "vmlinux-", None);
        check("{release}/boot/vmlinuz-{release}", "6.1/boot/vmlinuz-6.1", Some(&[("release", "6.1")]));
        check("{release}/boot/vmlinuz-{release}", "6.1/boot/vmlinuz-6.2", None);
        check("{distro}-{version}_?", "a-b-1_x", Some(&[("distro", "a"), ("version", "b-1")]));
        check("ü{release}ä", "üßä", Some(&[("release", "ß")]));
    }

    #[test]
    fn folders() {
        let check = |template: &str, folder: &str, plain: bool| {
            let template: Template = template.parse().unwrap();
            assert_eq!((template.folder().as_str(), template.is_plain()), (folder, plain));
        };
        check("a/b/*.btf", "a/b", false);
        check("/*.btf", "/", false);
        check("/a/{release}/x", "/a", false);
        check("a/**/x", "a", false);
        check("x", "", true);
        check("./a/x", "a", true);
        for wrong in ["", "a/", "{x}", "{release"] {
            assert!(wrong.parse::<Template>().is_err(), "{wrong}");
        }
    }
}
