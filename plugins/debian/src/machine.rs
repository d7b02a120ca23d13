//! What this machine's apt is set up with. Read, never changed.

use std::path::{Path, PathBuf};

use plugin::Failure;

use crate::archive::Archive;
use crate::program::{command, not_started};
use crate::sources::{self, Entry, Mirror};

/// The machine's apt.
pub struct Machine {
    /// Where it gets packages from.
    pub mirror: Mirror,
    /// `apt-helper`, which reads apt's compressed files.
    pub helper: PathBuf,
}

/// Where the package debian-archive-keyring puts its keys.
const KEYRINGS: &[&str] =
    &["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];

impl Machine {
    /// Asks apt-config, so that `APT_CONFIG` and apt.conf.d are respected; its sources are those of Debian, or the
    /// archive that is given.
    pub fn read(archive: Option<&Archive>) -> Result<Machine, Failure> {
        let output = command("apt-config")
            .args(["shell", "LIST", "Dir::Etc::sourcelist/f"])
            .args(["PARTS", "Dir::Etc::sourceparts/d", "METHODS", "Dir::Bin::methods/d"])
            .output()
            .map_err(|error| not_started("apt-config", &error))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let value = |name: &str| text.lines().find_map(|line| parse_assignment(line, name));
        let list = value("LIST").unwrap_or_else(|| "/etc/apt/sources.list".into());
        let parts = value("PARTS").unwrap_or_else(|| "/etc/apt/sources.list.d".into());
        let methods = value("METHODS").unwrap_or_else(|| "/usr/lib/apt/methods".into());
        let mirror = archive.map_or_else(|| debian(&list, &parts), |archive| Ok(mirror_of(archive)))?;
        let helper = methods.parent().unwrap_or(Path::new("/usr/lib/apt")).join("apt-helper");
        Ok(Machine { mirror, helper })
    }
}

/// Debian as the machine's apt has it.
fn debian(list: &Path, parts: &Path) -> Result<Mirror, Failure> {
    let entries = sources::read(list, parts)
        .map_err(|error| Failure::tool(format!("apt's sources can't be read: {error}")))?;
    let mut mirror = Mirror::find(&entries).ok_or_else(|| no_mirror(list, parts))?;
    let entries = [Some(&mut mirror.archive), mirror.security.as_mut()];
    for entry in entries.into_iter().flatten().filter(|entry| entry.signed_by.is_none()) {
        // Stricter than apt's default of all keys that the machine trusts for anything.
        entry.signed_by =
            KEYRINGS.iter().find(|keyring| Path::new(keyring).exists()).map(|keyring| (*keyring).to_owned());
    }
    Ok(mirror)
}

fn mirror_of(archive: &Archive) -> Mirror {
    let entry = |url: &String| Entry {
        uri: url.clone(),
        suite: String::new(),
        components: archive.components.clone(),
        signed_by: Some(archive.keyring.clone()),
    };
    Mirror { archive: entry(&archive.url), security: archive.security_url.as_ref().map(entry) }
}

/// `NAME='value'`
fn parse_assignment(line: &str, name: &str) -> Option<PathBuf> {
    let value = line.strip_prefix(name)?.strip_prefix("='")?.strip_suffix('\'')?;
    Some(PathBuf::from(value.replace("'\\''", "'")))
}

fn no_mirror(list: &Path, parts: &Path) -> Failure {
    Failure::user(format!("no Debian archive in {} and {}", list.display(), parts.display()))
        .help("let this machine's apt have an entry for a suite of Debian, with the component main")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments() {
        let check = |line, expected: Option<&str>| {
            assert_eq!(parse_assignment(line, "LIST"), expected.map(PathBuf::from), "{line}");
        };
        check("LIST='/etc/apt/sources.list'", Some("/etc/apt/sources.list"));
        check("LIST='/it'\\''s'", Some("/it's"));
        check("LISTS='/x'", None);
        check("LIST=/x", None);
    }
}
