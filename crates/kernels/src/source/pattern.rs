//! Patterns over the parts of a text between slashes: identities and paths.

use std::str::FromStr;

/// `ubuntu/*/x86_64/5.4.0-*`: `*` and `?` stay within a part, `**` stands for any number of parts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Pattern(String);

impl Pattern {
    /// Whether a text matches, all of it.
    pub fn matches(&self, text: &str) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        let parts: Vec<&str> = text.split('/').collect();
        match_parts(&pattern, &parts)
    }
}

/// Each pair is looked at once, so that many stars cost nothing.
fn match_parts(pattern: &[&str], parts: &[&str]) -> bool {
    let mut reached = vec![false; parts.len() + 1];
    reached[0] = true;
    for one in pattern {
        let mut next = vec![false; parts.len() + 1];
        for at in 0..=parts.len() {
            if *one == "**" {
                next[at] = reached[at] || (at > 0 && next[at - 1]);
            } else if at > 0 {
                next[at] = reached[at - 1] && match_part(one.as_bytes(), parts[at - 1].as_bytes());
            }
        }
        reached = next;
    }
    reached[parts.len()]
}

/// Goes back to the last star only.
pub(super) fn match_part(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, String> {
        let odd = text.split('/').any(|part| part.is_empty() || (part.contains("**") && part != "**"));
        match odd {
            true => Err(format!("{text:?} is no pattern such as \"ubuntu/20.04/*/5.4.0-*\"")),
            false => Ok(Pattern(text.to_owned())),
        }
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.0
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Pattern, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching() {
        let check = |pattern: &str, text: &str, wanted: bool| {
            assert_eq!(pattern.parse::<Pattern>().unwrap().matches(text), wanted, "{pattern} and {text}");
        };
        let kernel = "ubuntu/20.04/x86_64/5.4.0-91-generic";
        check(kernel, kernel, true);
        check("ubuntu/20.04/*/5.4.0-*-generic", kernel, true);
        check("ubuntu/*/x86_64/5.4.?-*", kernel, true);
        check("ubuntu/**", kernel, true);
        check("**/5.4.0-91-generic", kernel, true);
        check("**", kernel, true);
        check("ubuntu/**/*generic", kernel, true);
        check("ubuntu/**/*azure", kernel, false);
        check("ubuntu/*", kernel, false);
        check("ubuntu/*/*/*/*", kernel, false);
        check("*/*/*/5.4.0-9-generic", kernel, false);
        check("ubuntu", "ubuntu", true);
        check(&format!("{}b", "*a".repeat(50)), &"a".repeat(200), false);
        check(&format!("{}b", "**/".repeat(50)), &"a/".repeat(200), false);
        for wrong in ["", "/a", "a//b", "a**/b"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }
}
