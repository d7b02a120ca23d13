//! The pipeline's `with:`, read strictly and with every problem at once.

use plugin::Problem;
use serde_json::{Map, Value};

use crate::archive::Archive;
use crate::suite::Suite;

/// What the pipeline asks for: of each suite and flavour, the newest kernels.
pub struct Config {
    /// In the file's order.
    pub suites: Vec<Suite>,
    /// In the file's order.
    pub flavours: Vec<Flavour>,
    /// Where they are, if not where this machine gets Debian from.
    pub archive: Option<Archive>,
    /// At least 1.
    pub newest: usize,
}

/// A kind of kernel, e.g. `cloud-amd64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flavour {
    /// What follows the version in a package's name.
    pub name: String,
    /// The architecture whose packages it is among.
    pub arch: Arch,
}

/// An architecture that has BTF; i386 and armhf are built without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// x86-64
    Amd64,
    /// AArch64
    Arm64,
}

impl Arch {
    /// Debian's name.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }

    /// The name in kernel ids.
    pub fn id(self) -> &'static str {
        match self {
            Arch::Amd64 => "x86_64",
            Arch::Arm64 => "arm64",
        }
    }

    /// By either name.
    pub fn find(name: &str) -> Option<Self> {
        [Arch::Amd64, Arch::Arm64].into_iter().find(|arch| arch.debian() == name || arch.id() == name)
    }
}

impl Flavour {
    /// Words of a-z and 0-9 joined by `-`, the last being the architecture.
    fn parse(name: &str) -> Option<Self> {
        let (_, arch) = name.rsplit_once('-').unwrap_or(("", name));
        let arch = Arch::find(arch).filter(|found| found.debian() == arch)?;
        let is_word = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        name.split('-').all(is_word).then(|| Flavour { name: name.to_owned(), arch })
    }
}

const KEYS: &[&str] = &["suites", "flavours", "archive", "newest"];
const NEWEST: u64 = 1000;

impl Config {
    /// Reads a `with:`, or says all that is wrong with it.
    pub fn parse(value: &Value) -> Result<Config, Vec<Problem>> {
        let Some(map) = value.as_object() else {
            return Err(vec![problem(
                "",
                "not a mapping",
                "write with: { suites: [bookworm], flavours: [cloud-amd64] }",
            )]);
        };
        let mut problems: Vec<Problem> = map
            .keys()
            .filter(|key| !KEYS.contains(&key.as_str()))
            .map(|key| {
                problem(
                    &format!("/{key}"),
                    &format!("unknown key \"{key}\""),
                    &format!("the keys are {}", KEYS.join(", ")),
                )
            })
            .collect();
        if let Some(archive) = map.get("archive") {
            return Config::of_archive(map, archive, problems);
        }
        let suites = parse_list(
            map,
            "suites",
            "suite",
            &Suite::names().collect::<Vec<_>>().join(", "),
            Suite::find,
            &mut problems,
        );
        let flavours = parse_list(
            map,
            "flavours",
            "flavour",
            "what follows the version in a package's name, for amd64 or arm64, e.g. cloud-amd64",
            Flavour::parse,
            &mut problems,
        );
        let newest = parse_newest(map.get("newest"), &mut problems);
        match problems.is_empty() {
            true => Ok(Config { suites, flavours, archive: None, newest }),
            false => Err(problems),
        }
    }

    /// An archive says itself which suites and flavours it has.
    fn of_archive(
        map: &Map<String, Value>,
        archive: &Value,
        mut problems: Vec<Problem>,
    ) -> Result<Config, Vec<Problem>> {
        for key in ["suites", "flavours"].into_iter().filter(|key| map.contains_key(*key)) {
            let message = format!("\"{key}\" beside \"archive\"");
            problems.push(problem(
                &format!("/{key}"),
                &message,
                &format!("write it as archive: {{ {key}: … }}"),
            ));
        }
        let newest = parse_newest(map.get("newest"), &mut problems);
        let archive: Archive = match serde_json::from_value(archive.clone()) {
            Ok(archive) => archive,
            Err(error) => {
                let help = "it takes distro, suites, url, keyring and flavours";
                problems.push(problem("/archive", &error.to_string(), help));
                return Err(problems);
            }
        };
        problems.extend(archive.problems().into_iter().chain(archive.gaps()));
        let mut flavours = Vec::new();
        for (at, name) in archive.arches.iter().enumerate() {
            match Arch::find(name).filter(|arch| arch.debian() == name) {
                Some(arch) => {
                    flavours.extend(archive.flavours.iter().map(|name| Flavour { name: name.clone(), arch }))
                }
                None => {
                    let message = format!("unknown architecture \"{name}\"");
                    problems.push(problem(&format!("/archive/arches/{at}"), &message, "known: amd64, arm64"));
                }
            }
        }
        let suites = archive.suites.keys().filter_map(|name| Suite::of(&archive, name)).collect();
        match problems.is_empty() {
            true => Ok(Config { suites, flavours, archive: Some(archive), newest }),
            false => Err(problems),
        }
    }
}

/// A list of distinct names that `find` knows.
fn parse_list<T>(
    map: &Map<String, Value>,
    key: &str,
    noun: &str,
    expected: &str,
    find: impl Fn(&str) -> Option<T>,
    problems: &mut Vec<Problem>,
) -> Vec<T> {
    let names = match map.get(key) {
        Some(Value::Array(names)) if !names.is_empty() => names,
        Some(_) => {
            problems.push(problem(
                &format!("/{key}"),
                &format!("not a list of {noun}s"),
                &format!("a list of at least one of: {expected}"),
            ));
            return Vec::new();
        }
        None => {
            problems.push(problem(
                "",
                &format!("no \"{key}\""),
                &format!("a list of at least one of: {expected}"),
            ));
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let path = format!("/{key}/{at}");
        match name.as_str().and_then(&find) {
            _ if names[..at].contains(name) => {
                problems.push(problem(&path, &format!("{noun} {name} twice"), "name it once"));
            }
            Some(value) => found.push(value),
            None => problems.push(problem(
                &path,
                &format!("unknown {noun} {name}"),
                &format!("known: {expected}"),
            )),
        }
    }
    found
}

fn parse_newest(value: Option<&Value>, problems: &mut Vec<Problem>) -> usize {
    let Some(value) = value else {
        return 1;
    };
    match value.as_u64().filter(|number| (1..=NEWEST).contains(number)) {
        Some(number) => usize::try_from(number).unwrap_or(1),
        None => {
            problems.push(problem(
                "/newest",
                &format!("not a number of kernels: {value}"),
                &format!("a whole number from 1 to {NEWEST}"),
            ));
            1
        }
    }
}

fn problem(path: &str, message: &str, help: &str) -> Problem {
    Problem { path: path.to_owned(), message: message.to_owned(), help: Some(help.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(config: Value, suites: &[&str], flavours: &[&str], newest: usize) {
        let config = Config::parse(&config).unwrap();
        assert!(config.suites.iter().map(|suite| suite.name.as_str()).eq(suites.iter().copied()));
        assert!(config.flavours.iter().map(|flavour| &flavour.name).eq(flavours));
        assert_eq!(config.newest, newest);
    }

    fn check_wrong(config: Value, expected: &[(&str, &str)]) {
        let problems = Config::parse(&config).err().unwrap();
        let found: Vec<(&str, &str)> =
            problems.iter().map(|found| (found.path.as_str(), found.message.as_str())).collect();
        assert_eq!(found, expected, "{config}");
        assert!(problems.iter().all(|found| found.help.is_some()));
    }

    #[test]
    fn right() {
        check(
            json!({"suites": ["sid", "bookworm"], "flavours": ["cloud-amd64", "arm64"], "newest": 3}),
            &["sid", "bookworm"],
            &["cloud-amd64", "arm64"],
            3,
        );
        check(json!({"suites": ["bullseye"], "flavours": ["rt-amd64"]}), &["bullseye"], &["rt-amd64"], 1);
    }

    #[test]
    fn another_archive() {
        let mut archive = crate::archive::tests::written();
        archive["arches"] = json!(["amd64", "arm64"]);
        let config = Config::parse(&json!({"archive": archive, "newest": 2})).unwrap();
        assert!(config.suites.iter().map(|suite| suite.version.as_str()).eq(["22.04", "24.04"]));
        assert_eq!((config.flavours.len(), config.newest), (4, 2));
        let both = json!({"archive": archive, "suites": ["sid"]});
        check_wrong(both, &[("/suites", "\"suites\" beside \"archive\"")]);
        archive["arches"] = json!(["armhf"]);
        check_wrong(json!({"archive": archive}), &[("/archive/arches/0", "unknown architecture \"armhf\"")]);
        check_wrong(json!({"archive": {"distro": "x"}}), &[("/archive", "missing field `suites`")]);
    }

    #[test]
    fn wrong() {
        let good = |key: &str, value: Value| {
            let mut config = json!({"suites": ["sid"], "flavours": ["amd64"]});
            config[key] = value;
            config
        };
        check_wrong(json!(null), &[("", "not a mapping")]);
        check_wrong(json!({}), &[("", "no \"suites\""), ("", "no \"flavours\"")]);
        check_wrong(good("suite", json!("sid")), &[("/suite", "unknown key \"suite\"")]);
        check_wrong(good("suites", json!("sid")), &[("/suites", "not a list of suites")]);
        check_wrong(good("suites", json!([])), &[("/suites", "not a list of suites")]);
        check_wrong(good("suites", json!(["noble"])), &[("/suites/0", "unknown suite \"noble\"")]);
        check_wrong(good("suites", json!(["sid", 12])), &[("/suites/1", "unknown suite 12")]);
        check_wrong(good("suites", json!(["sid", "sid"])), &[("/suites/1", "suite \"sid\" twice")]);
        for flavour in
            ["686", "x86_64", "cloud-x86_64", "Cloud-amd64", "-amd64", "cloud--amd64", "a b-amd64", ""]
        {
            check_wrong(
                good("flavours", json!([flavour])),
                &[("/flavours/0", &format!("unknown flavour \"{flavour}\""))],
            );
        }
        for newest in [json!(0), json!(-1), json!(1.5), json!("1"), json!(1001)] {
            check_wrong(
                good("newest", newest.clone()),
                &[("/newest", &format!("not a number of kernels: {newest}"))],
            );
        }
        check_wrong(
            json!({"suites": ["nope"], "flavours": ["nope"], "newest": 0, "x": 1}),
            &[
                ("/x", "unknown key \"x\""),
                ("/suites/0", "unknown suite \"nope\""),
                ("/flavours/0", "unknown flavour \"nope\""),
                ("/newest", "not a number of kernels: 0"),
            ],
        );
    }
}
