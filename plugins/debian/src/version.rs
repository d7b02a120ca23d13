//! The order of Debian versions, as deb-version(7) and dpkg define it.

use std::cmp::Ordering;

/// Compares two versions: epoch, upstream version, revision.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a_epoch, a_upstream, a_revision) = split(a);
    let (b_epoch, b_upstream, b_revision) = split(b);
    compare_part(a_epoch, b_epoch)
        .then_with(|| compare_part(a_upstream, b_upstream))
        .then_with(|| compare_part(a_revision, b_revision))
}

fn split(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    (epoch, upstream, revision)
}

/// Non-digits and digits in turn, until they differ (dpkg: `verrevcmp`).
fn compare_part(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (a_text, a_rest) = split_at_first(a, |c| c.is_ascii_digit());
        let (b_text, b_rest) = split_at_first(b, |c| c.is_ascii_digit());
        let (a_digits, a_rest) = split_at_first(a_rest, |c| !c.is_ascii_digit());
        let (b_digits, b_rest) = split_at_first(b_rest, |c| !c.is_ascii_digit());
        let order = compare_text(a_text, b_text).then_with(|| compare_digits(a_digits, b_digits));
        if order.is_ne() {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
    Ordering::Equal
}

fn split_at_first(text: &str, stop: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(stop).unwrap_or(text.len()))
}

/// `~` sorts before the end, the end before letters, letters before the rest.
fn compare_text(a: &str, b: &str) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    };
    (0..a.len().max(b.len()))
        .map(|at| weight(a.as_bytes().get(at)).cmp(&weight(b.as_bytes().get(at))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Numbers of any length.
fn compare_digits(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each is older than the next.
    const ASCENDING: &[&str] = &[
        "~~",
        "~~a",
        "~",
        "0-0~1",
        "0",
        "0-0.1",
        "1~rc1-1",
        "1",
        "1-1",
        "1.0",
        "1.0a",
        "1.0+b1",
        "1.0.0",
        "1.2",
        "1.10",
        "5.10.99-1",
        "5.10.262-1",
        "6.1.0-1",
        "6.1.176-1",
        "6.12.90-1",
        "6.12.90-1+b1",
        "6.12.90-2~deb12u1",
        "6.12.90-2",
        "6.12.90+1-1",
        "6.12.107-1",
        "7.2~rc4-1~exp1",
        "7.2~rc4-1",
        "7.2.13-1",
        "99999999999999999999999",
        "1:0",
        "2:0",
        "10:0",
    ];

    #[test]
    fn ascending() {
        for (low, a) in ASCENDING.iter().enumerate() {
            for (high, b) in ASCENDING.iter().enumerate() {
                assert_eq!(compare(a, b), low.cmp(&high), "{a} and {b}");
            }
        }
    }

    #[test]
    fn equal() {
        for (a, b) in [("1", "01"), ("1", "0:1"), ("1", "1-0"), ("1.0-1", "1.00-01"), ("", "")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} and {b}");
        }
    }
    #[test]
    fn dpkg_agrees() {
        for pair in ASCENDING.windows(2) {
            let status = std::process::Command::new("dpkg")
                .args(["--compare-versions", pair[0], "lt", pair[1]])
                .stderr(std::process::Stdio::null())
                .status();
            match status {
                Ok(status) => assert!(status.success(), "{} lt {}", pair[0], pair[1]),
                Err(error) => return eprintln!("skipped: dpkg: {error}"),
            }
        }
    }
}
