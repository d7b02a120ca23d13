//! Kernels that are known to give no BTF.

use crate::config::Impossible;

/// Pattern of ids, and why.
const KNOWN: &[(&str, &str)] = &[
    ("ubuntu/*/arm64/4.15.0-*-azure", "its DWARF is invalid (aquasecurity/btfhub#59)"),
    ("openEuler/23.03/*", "its debug packages have no vmlinux"),
];

/// Why a kernel can give none, when that is known.
pub fn find<'a>(id: &str, more: &'a [Impossible]) -> Option<&'a str> {
    let given = more.iter().map(|one| (one.kernel.as_str(), one.reason.as_str()));
    given.chain(KNOWN.iter().copied()).find(|(pattern, _)| matches(pattern, id)).map(|(_, reason)| reason)
}

/// `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = pattern.contains('*').then(|| pieces.next_back()).flatten() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_given() {
        let given = [Impossible { kernel: "rhel/8/*".into(), reason: "no".into() }];
        assert_eq!(find("rhel/8/x86_64/4.18", &given), Some("no"));
        assert!(
            find("ubuntu/18.04/arm64/4.15.0-1009-azure", &given).is_some_and(|why| why.contains("btfhub#59"))
        );
        assert_eq!(find("ubuntu/18.04/x86_64/4.15.0-1009-azure", &given), None);
        let check =
            |pattern: &str, text: &str, wanted: bool| assert_eq!(matches(pattern, text), wanted, "{pattern}");
        check("a", "a", true);
        check("a", "ab", false);
        check("a*", "a", true);
        check("a*b*c", "axbyc", true);
        check("a*b*c", "axcyb", false);
        check("*", "", true);
    }
}
