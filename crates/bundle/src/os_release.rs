//! `/etc/os-release`: which distribution a machine says it is.

/// The keys of os-release that name a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// ID, without quotes.
    pub id: Option<String>,
    /// VERSION_ID, without quotes. Absent on rolling distributions.
    pub version_id: Option<String>,
}

impl OsRelease {
    /// Where the file may be, best first: the host's own when a container has it mounted.
    pub const PATHS: [&'static str; 3] = ["/host/etc/os-release", "/etc/os-release", "/usr/lib/os-release"];

    /// Reads the text of the file, as os-release(5) describes it. Of a key that is there twice the last one counts.
    pub fn parse(text: &str) -> OsRelease {
        let mut os = OsRelease::default();
        for line in text.lines() {
            let Some((key, value)) = line.trim().split_once('=') else {
                continue;
            };
            match key {
                "ID" => os.id = unquote(value),
                "VERSION_ID" => os.version_id = unquote(value),
                _ => {}
            }
        }
        os
    }
}

/// The value without its quotes, as a shell would see it. An empty value is none.
fn unquote(value: &str) -> Option<String> {
    let value = value.trim();
    let inside = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    let plain = match (inside('\''), inside('"')) {
        (Some(literal), _) => literal.to_owned(),
        (None, Some(escaped)) => unescape(escaped),
        (None, None) => unescape(value),
    };
    (!plain.is_empty()).then_some(plain)
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let check = |text: &str, id: Option<&str>, version_id: Option<&str>| {
            let os = OsRelease::parse(text);
            assert_eq!((os.id.as_deref(), os.version_id.as_deref()), (id, version_id), "{text:?}");
        };
        check("ID=debian\nVERSION_ID=\"12\"\n", Some("debian"), Some("12"));
        check("ID=\"centos\"\nVERSION_ID=\"8\"", Some("centos"), Some("8"));
        check("ID='ol'\r\nVERSION_ID='7.9'\r\n", Some("ol"), Some("7.9"));
        check("ID=fedora\nVERSION_ID=38", Some("fedora"), Some("38"));
        check("PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_CODENAME=forky\nID_LIKE=x", Some("debian"), None);
        check("# ID=no\nID=a\nID=b", Some("b"), None);
        check("ID=\"a\\\"b\"", Some("a\"b"), None);
        check("ID=", None, None);
        check("ID=\"", Some("\""), None);
        check("ID=\"\"\nVERSION_ID", None, None);
        check("", None, None);
    }
}
