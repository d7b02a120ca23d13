//! The order of releases, their series, and ranges of versions.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::str::{Chars, FromStr};

/// Compares releases as people do: numbers by value, the rest by bytes; `~` is before everything.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.chars().peekable(), b.chars().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return Ordering::Equal,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                number(&mut a).cmp(&number(&mut b))
            }
            (x, y) => {
                let order = rank(x.copied()).cmp(&rank(y.copied()));
                a.next();
                b.next();
                order
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Its digits without leading zeros; longer ones are larger.
fn number(text: &mut Peekable<Chars<'_>>) -> (usize, String) {
    let mut digits = String::new();
    while let Some(digit) = text.next_if(char::is_ascii_digit) {
        if !digits.is_empty() || digit != '0' {
            digits.push(digit);
        }
    }
    (digits.len(), digits)
}

/// The end comes after `~`, before all else; then separators, letters, digits: 147.5.1.el8 is newer than 147.el8.
fn rank(c: Option<char>) -> (u8, char) {
    match c {
        Some('~') => (0, '~'),
        None => (1, ' '),
        Some(c) if c.is_ascii_digit() => (4, c),
        Some(c) if c.is_ascii_alphabetic() => (3, c),
        Some(c) => (2, c),
    }
}

/// Releases of which a newer one stands for an older one: the kernel's version and the words after it.
///
/// `5.4.0-91-generic` is of `5.4 generic`, `4.18.0-147.5.1.el8_1.x86_64` of `4.18 el x`.
pub fn series(release: &str) -> String {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let words = release.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    words.fold(format!("{major}.{minor}"), |series, word| series + " " + word)
}

/// Versions within bounds: `>=4.18, <5.10`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Range {
    text: String,
    bounds: Vec<(Bound, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    AtLeast,
    Above,
    AtMost,
    Below,
    Exactly,
}

/// `=` comes after what it is the end of.
const BOUNDS: [(&str, Bound); 5] = [
    (">=", Bound::AtLeast),
    (">", Bound::Above),
    ("<=", Bound::AtMost),
    ("<", Bound::Below),
    ("=", Bound::Exactly),
];

impl Range {
    /// Whether a release is within all bounds. What a bound does not name is not looked at: 5.10.3 is `<=5.10`.
    pub fn contains(&self, release: &str) -> bool {
        self.bounds.iter().all(|(bound, version)| {
            let order = compare(&cut(release, version.split('.').count()), version);
            match bound {
                Bound::AtLeast => order.is_ge(),
                Bound::Above => order.is_gt(),
                Bound::AtMost => order.is_le(),
                Bound::Below => order.is_lt(),
                Bound::Exactly => order.is_eq(),
            }
        })
    }
}

/// The first numbers of a release.
fn cut(release: &str, numbers: usize) -> String {
    let numbers: Vec<&str> = release.split(|c: char| !c.is_ascii_digit()).take(numbers).collect();
    numbers.join(".")
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let parse = |part: &str| {
            let part = part.trim();
            let (sign, bound) = BOUNDS.iter().find(|(sign, _)| part.starts_with(sign))?;
            let version = part[sign.len()..].trim();
            let is_number = |number: &str| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            version.split('.').all(is_number).then(|| (*bound, version.to_owned()))
        };
        let bounds: Option<Vec<_>> = text.split(',').map(parse).collect();
        let wrong = || format!("{text:?} is no range of versions such as \">=4.18, <5.10\"");
        Ok(Range { text: text.to_owned(), bounds: bounds.ok_or_else(wrong)? })
    }
}

impl From<Range> for String {
    fn from(range: Range) -> String {
        range.text
    }
}

impl TryFrom<String> for Range {
    type Error = String;

    fn try_from(text: String) -> Result<Range, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order() {
        let sorted = [
            "4.9.0-19-amd64",
            "4.18.0-80.el8.x86_64",
            "4.18.0-147.el8.x86_64",
            "4.18.0-147.5.1.el8_1.x86_64",
            "5.4.0-9-generic",
            "5.4.0-91-generic",
            "5.4.0-100-generic",
            "5.15.0-1-generic",
            "6.1~rc1",
            "6.1",
            "6.1.0",
        ];
        for (index, a) in sorted.iter().enumerate() {
            for (other, b) in sorted.iter().enumerate() {
                assert_eq!(compare(a, b), index.cmp(&other), "{a} and {b}");
            }
        }
        assert_eq!(compare("5.04", "5.4"), Ordering::Equal);
        assert_eq!(compare(&"9".repeat(50), &"8".repeat(50)), Ordering::Greater);
    }

    #[test]
    fn of_one_series() {
        let check = |release: &str, wanted: &str| assert_eq!(series(release), wanted);
        check("5.4.0-91-generic", "5.4 generic");
        check("5.4.0-1042-azure", "5.4 azure");
        check("4.18.0-147.5.1.el8_1.x86_64", "4.18 el x");
        check("4.18.0-80.el8.x86_64", "4.18 el x");
        check("6.12.107+deb13-cloud-amd64", "6.12 deb cloud amd");
        check("", ".");
    }

    #[test]
    fn ranges() {
        let check = |range: &str, inside: &[&str], outside: &[&str]| {
            let range: Range = range.parse().unwrap();
            inside.iter().for_each(|release| assert!(range.contains(release), "{release}"));
            outside.iter().for_each(|release| assert!(!range.contains(release), "{release}"));
        };
        check(
            ">=4.18, <5.10",
            &["4.18.0-80.el8", "5.4.0-91-generic", "4.19"],
            &["5.10.0-1", "4.17.99", "6.1"],
        );
        check("<=5.10", &["5.10.3", "4.4.0"], &["5.11.0"]);
        check(">5.10", &["5.11.0", "6.0"], &["5.10.99"]);
        check("=5.4", &["5.4.0-91-generic", "5.4.210"], &["5.40.0"]);
        check(">=5", &["5.0.0", "6.1"], &["4.20"]);
        for wrong in ["", "5.4", ">=", ">=x", ">=5.4,", "~5.4"] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong}");
        }
    }
}
