//! The machine's apt sources: both formats of sources.list(5), and which of them are Debian's archives.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// One URI and suite of the machine's sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// As written; apt knows what to do with `mirror+file:` and the like.
    pub uri: String,
    /// As written, e.g. `bookworm-updates`.
    pub suite: String,
    /// E.g. `main`.
    pub components: Vec<String>,
    /// Keyring files, fingerprints, or a key block with its line breaks.
    pub signed_by: Option<String>,
}

/// Debian's archives as this machine reaches them.
#[derive(Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where `SUITE` and `SUITE-updates` are.
    pub archive: Entry,
    /// Where `SUITE-security` is.
    pub security: Option<Entry>,
}

/// Names of Debian's suites that a machine's sources may have.
const CODENAMES: &[&str] = &[
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "stable",
    "oldstable",
    "oldoldstable",
    "testing",
    "unstable",
];

impl Mirror {
    /// Picks Debian's archives. Others use Debian's suite names too; Debian's installer writes its keyring into
    /// Signed-By (older ones nothing), others name their own.
    pub fn find(entries: &[Entry]) -> Option<Mirror> {
        let is_codename = |name: &str| CODENAMES.contains(&name);
        let archive = best(entries, |suite| is_codename(suite.strip_suffix("-updates").unwrap_or(suite)))?;
        let security = best(entries, |suite| {
            suite
                .strip_suffix("-security")
                .or_else(|| suite.strip_suffix("/updates"))
                .is_some_and(is_codename)
        });
        Some(Mirror { archive, security })
    }
}

fn best(entries: &[Entry], is_suite: impl Fn(&str) -> bool) -> Option<Entry> {
    entries
        .iter()
        .filter(|entry| is_suite(&entry.suite) && entry.components.iter().any(|name| name == "main"))
        .min_by_key(|entry| match &entry.signed_by {
            Some(keys) if keys.contains("debian-archive") => 0,
            None => 1,
            Some(_) => 2,
        })
        .cloned()
}

/// Reads a sources.list and the files of a sources.list.d in apt's order. Either may be missing.
pub fn read(list: &Path, parts: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = parse_file(list, &read_if_there(list)?);
    let mut files: Vec<_> = match fs::read_dir(parts) {
        Ok(files) => files.map(|file| file.map(|file| file.path())).collect::<io::Result<_>>()?,
        // People switch it off with /dev/null.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Vec::new(),
        Err(error) => return Err(at(parts, &error)),
    };
    files.sort();
    for file in files {
        let extension = file.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("list" | "sources")) {
            entries.extend(parse_file(&file, &read_if_there(&file)?));
        }
    }
    Ok(entries)
}

fn read_if_there(path: &Path) -> io::Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(at(path, &error)),
    }
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn parse_file(path: &Path, text: &str) -> Vec<Entry> {
    if path.extension().is_some_and(|extension| extension == "sources") {
        parse_deb822(text)
    } else {
        text.lines().filter_map(parse_line).collect()
    }
}

/// `deb [ signed-by=/k arch=amd64 ] URI SUITE COMPONENT…`
fn parse_line(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Entry {
        uri: words.next()?,
        suite: words.next()?,
        components: words.collect(),
        signed_by: options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(|keys| keys.replace(',', " ")),
    })
}

/// Stanzas of `Key: value` with continuation lines.
fn parse_deb822(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            entries.extend(stanza_entries(&std::mem::take(&mut fields)));
        } else if line.starts_with('#') {
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((key, value)) = line.split_once(':') {
            fields.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    entries
}

fn stanza_entries(fields: &[(String, String)]) -> Vec<Entry> {
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let words = |name: &str| field(name).unwrap_or_default().split_whitespace();
    if !words("types").any(|kind| kind == "deb") || field("enabled").is_some_and(is_no) {
        return Vec::new();
    }
    let mut entries = Vec::new();
    for uri in words("uris") {
        for suite in words("suites") {
            entries.push(Entry {
                uri: uri.to_owned(),
                suite: suite.to_owned(),
                components: words("components").map(str::to_owned).collect(),
                signed_by: field("signed-by").filter(|keys| !keys.is_empty()).map(str::to_owned),
            });
        }
    }
    entries
}

/// apt's words for false.
fn is_no(value: &str) -> bool {
    ["no", "false", "without", "off", "disable", "0"].contains(&value.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries as `URI SUITE COMPONENTS SIGNED-BY`.
    fn check(file: &str, text: &str, expected: &[&str]) {
        let found: Vec<String> = parse_file(Path::new(file), text)
            .iter()
            .map(|entry| {
                let keys = entry.signed_by.as_deref().unwrap_or("-");
                format!("{} {} {} {keys}", entry.uri, entry.suite, entry.components.join("+"))
            })
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn one_line_format() {
        let list = |text, expected: &[&str]| check("sources.list", text, expected);
        list("deb http://m/debian bookworm main contrib", &["http://m/debian bookworm main+contrib -"]);
        list(
            "  deb [arch=amd64 signed-by=/k.gpg,/l.gpg]  http://m/d sid main # why",
            &["http://m/d sid main /k.gpg /l.gpg"],
        );
        list("deb [ signed-by=/k ] file:/srv/d sid main", &["file:/srv/d sid main /k"]);
        list("deb-src http://m/debian bookworm main", &[]);
        list("# deb http://m/debian bookworm main", &[]);
        list("deb [arch=amd64 http://m/debian bookworm main", &[]);
        list("deb http://m/debian", &[]);
        list("", &[]);
    }

    #[test]
    fn deb822_format() {
        let sources = |text, expected: &[&str]| check("x.sources", text, expected);
        sources(
            "Types: deb deb-src\n# why\nURIs: http://m/debian\nSuites: bookworm bookworm-updates\n\
             Components: main\nSigned-By: /k.gpg\n\n\nTypes: deb\nURIs: http://s\n http://t\n\
             suites: bookworm-security\ncomponents: main",
            &[
                "http://m/debian bookworm main /k.gpg",
                "http://m/debian bookworm-updates main /k.gpg",
                "http://s bookworm-security main -",
                "http://t bookworm-security main -",
            ],
        );
        sources(
            "Types: deb\nURIs: u\nSuites: sid\nComponents: main\nSigned-By:\n -----BEGIN\n .\n ab\n -----END\n",
            &["u sid main \n -----BEGIN\n .\n ab\n -----END"],
        );
        sources("Types: deb-src\nURIs: u\nSuites: sid\nComponents: main\n", &[]);
        sources("Enabled: no\nTypes: deb\nURIs: u\nSuites: sid\nComponents: main\n", &[]);
        sources(" continues nothing\nno colon\n", &[]);
    }

    fn check_mirror(list: &str, expected: Option<(&str, Option<&str>)>) {
        let found = Mirror::find(&parse_file(Path::new("sources.list"), list));
        let uris = found
            .as_ref()
            .map(|mirror| (mirror.archive.uri.as_str(), mirror.security.as_ref().map(|s| s.uri.as_str())));
        assert_eq!(uris, expected, "{list}");
    }

    #[test]
    fn debian_among_others() {
        check_mirror(
            "deb http://d/debian bookworm main\ndeb http://d/security bookworm-security main",
            Some(("http://d/debian", Some("http://d/security"))),
        );
        check_mirror("deb http://d/debian trixie-updates main", Some(("http://d/debian", None)));
        check_mirror(
            "deb http://d/debian bullseye main\ndeb http://d/s buster/updates main",
            Some(("http://d/debian", Some("http://d/s"))),
        );
        // Vendors who take Debian's suite names, and those who don't.
        check_mirror(
            "deb [signed-by=/usr/share/keyrings/vendor.gpg] http://vendor/debian bookworm main\n\
             deb http://x bookworm stable\ndeb http://y bookworm-pgdg main\ndeb http://z nodistro main\n\
             deb http://d/debian bookworm main",
            Some(("http://d/debian", None)),
        );
        check_mirror(
            "deb http://vendor/debian bookworm main\n\
             deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://d/debian bookworm main",
            Some(("http://d/debian", None)),
        );
        check_mirror("deb http://u/ubuntu noble main", None);
        check_mirror("", None);
    }

    #[test]
    fn files_that_are_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let entries =
            read(&folder.path().join("sources.list"), &folder.path().join("sources.list.d")).unwrap();
        assert!(entries.is_empty());
        assert!(read(Path::new("/dev/null"), Path::new("/dev/null")).unwrap().is_empty());
    }

    #[test]
    fn files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("sources.list", "deb http://0 sid main\n");
        let parts = folder.path().join("parts");
        fs::create_dir(&parts).unwrap();
        write("parts/b.list", "deb http://2 sid main\n");
        write("parts/a.sources", "Types: deb\nURIs: http://1\nSuites: sid\nComponents: main\n");
        write("parts/c.list.disabled", "deb http://3 sid main\n");
        let entries = read(&folder.path().join("sources.list"), &parts).unwrap();
        let uris: Vec<&str> = entries.iter().map(|entry| entry.uri.as_str()).collect();
        assert_eq!(uris, ["http://0", "http://1", "http://2"]);
    }
}
