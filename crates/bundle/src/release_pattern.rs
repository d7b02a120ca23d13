//! The distribution that a kernel release names by itself: `.amzn2.`, `.fc31.` …

/// The distribution and version that a release names; the version is empty where the release doesn't say it.
///
/// `.el8` is not among them: RHEL and its rebuilds share it.
pub(crate) fn release_pattern(release: &str) -> Option<(&'static str, String)> {
    release.split(['.', '-', '_', '+']).find_map(platform_of)
}

fn platform_of(word: &str) -> Option<(&'static str, String)> {
    let number =
        |text: &str| (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.to_owned());
    if let Some(rest) = word.strip_prefix("amzn") {
        // Amazon Linux 1 calls itself 2018.03 and the like.
        return number(rest).map(|n| ("amzn", if n == "1" { String::new() } else { n }));
    }
    if let Some(rest) = word.strip_prefix("el").and_then(|rest| rest.strip_suffix("uek")) {
        return number(rest).map(|n| ("ol", n));
    }
    if let Some(rest) = word.strip_prefix("deb") {
        return number(rest.split_once('u').map_or(rest, |(major, _)| major)).map(|n| ("debian", n));
    }
    if let Some(rest) = word.strip_prefix("fc") {
        return number(rest).map(|n| ("fedora", n));
    }
    if let Some(minor) = word.strip_prefix("lp15") {
        return number(minor).map(|n| ("opensuse-leap", format!("15.{n}")));
    }
    let sles = word.strip_prefix("150").and_then(|rest| rest.strip_suffix("00")).filter(|n| n.len() == 1);
    sles.and_then(number).map(|n| ("sles", format!("15.{n}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |release: &str, want: Option<(&str, &str)>| {
            let found = release_pattern(release);
            assert_eq!(
                found.as_ref().map(|(distro, version)| (*distro, version.as_str())),
                want,
                "{release}"
            );
        };
        check("4.14.198-152.320.amzn2.x86_64", Some(("amzn", "2")));
        check("6.1.10-15.42.amzn2023.aarch64", Some(("amzn", "2023")));
        check("4.14.1-1.amzn1.x86_64", Some(("amzn", "")));
        check("5.4.17-2136.el8uek.x86_64", Some(("ol", "8")));
        check("5.10.0-0.deb10.16-amd64", Some(("debian", "10")));
        check("5.3.7-301.fc31.x86_64", Some(("fedora", "31")));
        check("5.3.18-lp152.19-default", Some(("opensuse-leap", "15.2")));
        check("5.3.18-150300.59.43-default", Some(("sles", "15.3")));
        check("4.18.0-80.el8.x86_64", None);
        check("6.1.0-50-cloud-amd64", None);
        check("5.4.0-debug-fcx", None);
        check("1.150.150000-x", Some(("sles", "15.0")));
        check("", None);
    }
}
